"""A fitted estimator as tensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from concord.auto import Automatic, Choice, Family
from concord.networks import Capacity
from concord.relations import relation_of, task_of
from concord.tasks import Task

Array = npt.NDArray[Any]


FORMAT = 3


def one_line(error: Exception) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())


def plain_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON holds them; a random state that it cannot hold is left to its default."""
    plain = {key: value for key, value in params.items() if key not in ("tasks", "relations", "trunk")}
    if not (plain["coupling"] is None or isinstance(plain["coupling"], str)):
        plain["coupling"] = "of objects, which are not saved"  # a name that no fit takes
    if not isinstance(plain["random_state"], (int, np.integer)):
        del plain["random_state"]
    plain["hidden"] = [int(width) for width in plain["hidden"]]
    plain["device"] = str(plain["device"])
    plain["class_weight"] = _pairs_of(plain["class_weight"])
    return plain


def as_list(values: Array) -> list[Any]:
    """An array as a list that JSON holds; dates as text."""
    found: list[Any] = (values.astype(str) if values.dtype.kind in "mM" else values).tolist()
    return found


def _pairs_of(weights: Any) -> Any:
    """A dictionary as a list of pairs: keys of JSON's own are always text."""
    if not isinstance(weights, Mapping):
        return weights
    return [[key, _pairs_of(value)] for key, value in weights.items()]


def _dictionary(pairs: Any) -> Any:
    return {key: _dictionary(value) for key, value in pairs} if isinstance(pairs, list) else pairs


def prefixed_state(prefix: str, network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights on the CPU, named below a prefix."""
    return {f"{prefix}/{name}": value.detach().cpu() for name, value in network.state_dict().items()}


def restored(
    cls: type[Any], record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], trunk: Any
) -> Any:
    """The fitted estimator of a record and its tensors."""
    tasks = [task_of(each) for each in record["tasks"]]
    single = record["single"]
    parameters = dict(record["parameters"])
    parameters["class_weight"] = _dictionary(parameters["class_weight"])
    supplied = record["supplied"]
    relations = None if supplied is None else [relation_of(each, tasks) for each in supplied]
    model = cls(None if single else tasks, relations, trunk=trunk, **parameters)
    model.tasks_, model._single = tasks, single
    if single:
        model.classes_ = np.asarray(record["classes"], dtype=record["classes_dtype"])
    model.n_features_in_ = record["features"]
    if record["feature_names"] is not None:
        model.feature_names_in_ = np.asarray(record["feature_names"], dtype=object)
    model._mean, model._std = np.asarray(record["mean"]), np.asarray(record["std"])
    model.report_, model.cost_ = record["report"], record["cost"]
    model.choices_ = {name: Choice(**each) for name, each in record["choices"].items()}
    model.zero_shot_, model.shifts_ = record["zero_shot"], ()
    model.checks_, model._automatic, model._seed = (), None, 0
    shape = model._example_shape = tuple(record["example"])
    known = {task.name: task for task in tasks}

    def network(prefix: str, of: Sequence[Task], capacity: Capacity) -> nn.Module:
        net = model._learner().build(of, shape, capacity, 0)
        state = {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")}
        net.load_state_dict(state)
        return net.eval()

    model.relations_ = [relation_of(each, tasks) for each in record["relations"]]
    if not record["automatic"]:
        model._network = network("network", tasks, "shared" if len(tasks) == 1 else "half-shared")
        return model
    families = {}
    for name, each in record["families"].items():
        networks = []
        for i, names in enumerate(each["networks"]):
            if name == "single-task":
                nets = {t: network(f"{name}/{i}/{t}", [known[t]], "shared") for t in names}
            else:
                nets = dict.fromkeys(names, network(f"{name}/{i}/{names[0]}", tasks, "half-shared"))
            networks.append(nets)
        families[name] = Family(name, networks, {}, each["scale"])
    model._automatic = Automatic(
        tuple(tasks), (), model.choices_, families, model.cost_, relations=tuple(model.relations_)
    )
    return model
