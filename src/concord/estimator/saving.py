"""A fitted estimator as tensors and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from concord.auto import Alignment, Automatic, Choice, Family
from concord.decoding import thresholds_of
from concord.errors import CheckpointError
from concord.estimator.tables import TableForm
from concord.hub import PLACE, Card, fenced, model_card
from concord.learners import (
    FittedOutput,
    FittedTask,
    check_linear,
    keep_estimators,
    linear_network,
    read_estimators,
)
from concord.relations import relation_of, relation_record, task_of, task_record
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[Any]

WEIGHTS = "weights.safetensors"

ESTIMATORS = "estimators.skops"
"""Estimators that are more than weights."""


def one_line(error: Exception) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())


# -- writing -------------------------------------------------------------------------------------------


def state_of(model: Any) -> tuple[dict[str, Any], bytes | None]:
    """What a fitted estimator is restored from: plain data and tensors, for `concord.archive.pack`.

    With a base that is more than weights, also the content of a file by skops.
    """
    rivals = [rival for rival in model.rivals or () if not isinstance(rival, str)]
    numbered = _Numbered([model.base, *rivals])
    families: dict[str, Any] = {}
    if model._automatic is None:
        numbered.number(model._network)
    else:
        for name, family in model._automatic.families.items():
            nets = [{task: numbered.number(net) for task, net in each.items()} for each in family.networks]
            families[name] = {"networks": nets, "scale": family.scale}
    names = getattr(model, "feature_names_in_", None)
    kept = model.base is not None or bool(rivals)
    estimators, data = keep_estimators(numbered.estimators) if kept else (None, None)
    state = {
        "parameters": _parameters(model.get_params(deep=False)),
        "supplied": None if model.relations is None else [relation_record(r) for r in model.relations],
        "own_trunk": model.trunk is not None,
        "tasks": [task_record(task) for task in model.tasks_],
        "single": model._single,
        "classes": _array_record(model.classes_) if model._single else None,
        "features": model.n_features_in_,
        "feature_names": None if names is None else names.tolist(),
        "mean": np.asarray(model._mean).tolist(),
        "std": np.asarray(model._std).tolist(),
        "networks": numbered.states,
        "families": families,
        "automatic": model._automatic is not None,
        "alignment": _alignment_record(model._automatic),
        "start": None if model._automatic is None else model._automatic.base,
        "relations": [relation_record(relation) for relation in model.relations_],
        "choices": {name: asdict(choice) for name, choice in model.choices_.items()},
        "report": model.report_,
        "cost": model.cost_,
        "steps": getattr(model, "steps_", None),
        "zero_shot": model.zero_shot_,
        "example": list(model._example_shape),
        "thresholds": None if model._thresholds is None else model._thresholds.record(),
        "table": None if model._table is None else asdict(model._table),
    }
    if model.rivals is not None:
        numbers = iter(range(1, len(rivals) + 1))
        state["rivals"] = [rival if isinstance(rival, str) else next(numbers) for rival in model.rivals]
    if kept:
        state["base"] = {"estimators": estimators}
    return state, data


def card_of(model: Any, licence: str | None = None) -> bytes:
    """The model card of a fitted estimator."""
    trunk = ", trunk=YOUR_TRUNK" if model.trunk is not None else ""
    base = "Linear models and perceptrons, or what the user gave."
    if model.base is not None:
        base = fenced(repr(model.base))
    elif model.trunk is None:
        base = "Perceptrons on standardised features, linear models where they were chosen."
    usage = (
        "import concord\n\nX = ...  # an array (n, features), or a table with the columns of the training\n"
        f"predicted = concord.CoupledClassifier.load({PLACE}{trunk}).predict(X)"
    )
    text = model_card(
        Card(name="A fitted CoupledClassifier", license=licence),
        model.tasks_,
        usage=usage,
        trunk=base,
        relations=model.relations_,
        cuts=model.thresholds_,
        notes=model.report_,
    )
    return text.encode()


def _alignment_record(automatic: Any) -> dict[str, Any] | None:
    """Mean and deviation of each source as plain data; None where sources are not aligned."""
    if automatic is None or automatic.alignment is None:
        return None
    return {
        task: [mean.tolist(), deviation.tolist()]
        for task, (mean, deviation) in automatic.alignment.of_task.items()
    }


class _Numbered:
    """Models by number, each once, whichever tasks share it; and estimators by theirs, those given first."""

    def __init__(self, given: list[Any]) -> None:
        self.states: list[dict[str, Any]] = []
        self.estimators = given
        self._numbers: dict[int, int] = {}

    def number(self, network: Any) -> int:
        if id(network) not in self._numbers:
            self._numbers[id(network)] = len(self.states)
            self.states.append(self.state(network))
        return self._numbers[id(network)]

    def state(self, network: Any) -> dict[str, Any]:
        if isinstance(network, Mapping):
            return {
                "outputs": {name: [self._output(o) for o in each.outputs] for name, each in network.items()}
            }
        return {
            "tasks": [task.name for task in network.tasks],
            "capacity": _capacity(network),
            "weights": dict(network.state_dict()),
        }

    def _output(self, output: FittedOutput) -> dict[str, Any]:
        number = None
        if output.estimator is not None:
            number = len(self.estimators)
            self.estimators.append(output.estimator)
        return {"width": output.width, "present": list(output.present), "estimator": number}


def _capacity(network: Any) -> str:
    if isinstance(network.trunk, nn.Flatten):
        return "linear"
    return "half-shared" if network.private else "shared"


def _parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as plain data; without a random state that is no number, and without `n_jobs`."""
    plain = {
        key: value
        for key, value in params.items()
        if key not in ("tasks", "relations", "trunk", "base", "rivals", "n_jobs")
    }
    if not (plain["coupling"] is None or isinstance(plain["coupling"], str)):
        plain["coupling"] = "of objects, which are not saved"  # a name that no fit takes
    if not isinstance(plain["random_state"], (int, np.integer)):
        del plain["random_state"]
    plain["hidden"] = [int(width) for width in plain["hidden"]]
    plain["device"] = str(plain["device"])
    return plain


def _array_record(values: Array) -> dict[str, Any]:
    """An array as plain data; dates and durations as whole numbers of their unit."""
    plain = values.astype(np.int64) if values.dtype.kind in "mM" else values
    return {"dtype": str(values.dtype), "values": plain.tolist()}


# -- reading -------------------------------------------------------------------------------------------


def restored(cls: type[Any], state: Mapping[str, Any], data: bytes | None, trunk: Any) -> Any:
    """The fitted estimator of what `state_of` gave."""
    kept, rivals = state.get("base"), state.get("rivals")
    estimators = [None] if kept is None else read_estimators(kept["estimators"], data)
    tasks = [task_of(each) for each in state["tasks"]]
    single, supplied = state["single"], state["supplied"]
    relations = None if supplied is None else [relation_of(each, tasks) for each in supplied]
    model = cls(
        None if single else tasks,
        relations,
        trunk=trunk,
        base=estimators[0],
        rivals=None if rivals is None else [r if isinstance(r, str) else estimators[r] for r in rivals],
        **state["parameters"],
    )
    model.tasks_, model._single = tasks, single
    if single:
        model.classes_ = _array_of(state["classes"])
    model.n_features_in_ = state["features"]
    if state["feature_names"] is not None:
        model.feature_names_in_ = np.asarray(state["feature_names"], dtype=object)
    model._mean, model._std = np.asarray(state["mean"]), np.asarray(state["std"])
    model.report_, model.cost_ = state["report"], state["cost"]
    if state.get("steps") is not None:
        model.steps_ = state["steps"]
    model.choices_ = {name: Choice(**each) for name, each in state["choices"].items()}
    model.zero_shot_, model.shifts_ = state["zero_shot"], ()
    model.checks_, model._automatic, model._seed = (), None, 0
    model._example_shape = tuple(state["example"])
    table = state.get("table")
    model._table = table and TableForm(table["library"], tuple(table["columns"]))
    model._thresholds = thresholds_of(state.get("thresholds"), tasks)
    model.thresholds_ = None if model._thresholds is None else dict(model._thresholds.values)
    model.relations_ = [relation_of(each, tasks) for each in state["relations"]]
    linear = kept is not None and kept["estimators"] is not None
    networks = [
        _model(tasks, each["outputs"], estimators, linear) if "outputs" in each else _network(model, each)
        for each in state["networks"]
    ]
    if not state["automatic"]:
        (model._network,) = networks
        return model
    families = {
        name: Family(
            name,
            [{task: networks[number] for task, number in fold.items()} for fold in each["networks"]],
            {},
            each["scale"],
        )
        for name, each in state["families"].items()
    }
    model._automatic = Automatic(
        tuple(tasks),
        (),
        model.choices_,
        families,
        model.cost_,
        relations=tuple(model.relations_),
        base=state.get("start", "shared"),
        alignment=_alignment(state.get("alignment")),
    )
    return model


def _model(
    tasks: Sequence[Task], state: Mapping[str, Any], estimators: Sequence[Any], linear: bool
) -> dict[str, FittedTask]:
    """The fitted estimators of some tasks, each with as many classes and labels as its task has."""
    out = {}
    for task in tasks:
        if task.name not in state:
            continue
        multiclass = isinstance(task, MulticlassTask)
        widths = [task.width] if multiclass else [2] * task.width
        outputs = state[task.name]
        if [output["width"] for output in outputs] != widths:
            raise CheckpointError(f"its estimators are of another task {task.name!r}")
        found = tuple(_output(output, estimators, linear) for output in outputs)
        out[task.name] = FittedTask(found, multiclass=multiclass)
    return out


def _output(state: Mapping[str, Any], estimators: Sequence[Any], linear: bool) -> FittedOutput:
    present = tuple(int(c) for c in state["present"])
    if not set(present) <= set(range(state["width"])):
        raise CheckpointError(f"an estimator of {state['width']} classes has seen class {max(present)}")
    if state["estimator"] is None:
        return FittedOutput(state["width"], present, None)
    estimator = estimators[state["estimator"]]
    if linear:
        check_linear(estimator, len(present))
    return FittedOutput(state["width"], present, estimator)


def _network(model: Any, state: Mapping[str, Any]) -> nn.Module:
    known = {task.name: task for task in model.tasks_}
    of = [known[name] for name in state["tasks"]]
    shape, capacity = model._example_shape, state["capacity"]
    network: nn.Module
    if capacity == "linear":
        network = linear_network(of, shape)
    else:
        network = model._learner().build(of, shape, capacity, 0)
    network.load_state_dict(state["weights"])
    return network.eval()


def _alignment(record: Mapping[str, Any] | None) -> Alignment | None:
    if record is None:
        return None
    return Alignment(
        {
            task: (torch.tensor(mean, dtype=torch.float32), torch.tensor(deviation, dtype=torch.float32))
            for task, (mean, deviation) in record.items()
        }
    )


def _array_of(record: Mapping[str, Any]) -> Array:
    dtype = np.dtype(record["dtype"])
    if dtype.kind in "mM":
        return np.asarray(record["values"], dtype=np.int64).astype(dtype)
    return np.asarray(record["values"], dtype=dtype)
