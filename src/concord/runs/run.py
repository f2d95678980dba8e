"""A finished training in a folder: weights in safetensors, everything else in JSON, no pickle.

`model.safetensors` holds the weights, `run.json` what rebuilds the network and decodes its predictions:
tasks, relations, trunk, inputs, strengths of the joint decoding, and the SHA-256 of the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from concord.archive import read_tensors, write_file
from concord.config import Config, InputPlan, TrunkPlan, as_config
from concord.data import IMAGENET, Normalization
from concord.decoding import Decoders
from concord.errors import CheckpointError
from concord.networks import (
    MultiTaskNetwork,
    NamedTrunk,
    Standardize,
    TaskwiseNetwork,
    build_trunk,
    seeded,
    usual_torch,
)
from concord.relations import Relation
from concord.runs.inputs import Preparation, Vocabulary
from concord.tasks import MulticlassTask, MultilabelTask, Task

FORMAT = 1
RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Run:
    """A network with all that is needed to use it.

    Attributes:
        folder: Where it lies.
        config: The config that it was trained with.
        network: Input to logits by task, in evaluation mode, on the CPU.
        tasks: The tasks.
        relations: The relations between them.
        decoder: Joint decoding, with strengths fitted on validation rows.
        example_input: One input as the network takes it: a tensor, or a mapping of tensors, rows first.
        inputs: By source, where its inputs come from.
        shape: Shape of one input without the row; None for texts.
        normalization: Mean and standard deviation by channel, of images.
        vocabulary: Of feature columns of manifests.
        tokenize: Turns texts into what the network takes; None for other inputs.
        trunk: What rebuilds the trunk (`NamedTrunk.resolved`).
        standardize: Whether the network standardises feature rows.
        chosen: By task, the number of the network that it selected; empty where one serves all.
        facts: What else is known: steps, rows, metrics on validation rows.
    """

    folder: Path
    config: Config
    network: nn.Module
    tasks: tuple[Task, ...]
    relations: tuple[Relation, ...]
    decoder: Decoders
    example_input: Any
    inputs: dict[str, InputPlan]
    shape: tuple[int, ...] | None
    normalization: Normalization = IMAGENET
    vocabulary: Vocabulary = field(default_factory=dict)
    tokenize: Callable[[list[str]], Any] | None = None
    trunk: Mapping[str, Any] = field(default_factory=dict)
    standardize: bool = False
    chosen: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def preparation(self, data: Path | None = None) -> Preparation:
        """What makes inputs of a source's manifest, with paths relative to `data`."""
        return Preparation(
            Path(self.config.data) if data is None else data,
            self.normalization,
            self.tokenize,
            self.vocabulary,
        )


def network_of(
    trunk: NamedTrunk, tasks: Sequence[Task], standardize: Standardize | None = None
) -> MultiTaskNetwork:
    """The network of a config: a trunk, perhaps after a standardising layer, with a head a task."""
    module = trunk.module if standardize is None else nn.Sequential(standardize, trunk.module)
    return MultiTaskNetwork(module, tasks, trunk.example)


def trunk_of(
    plan: TrunkPlan, shape: Sequence[int] | None, resolved: Mapping[str, Any] | None = None
) -> NamedTrunk:
    """The trunk of a config; rebuilt, without the weights it began with, where `resolved` is given."""
    return build_trunk(
        plan.name,
        shape=shape,
        pretrained=plan.pretrained and resolved is None,
        download=plan.download and resolved is None,
        options=plan.options,
        resolved=resolved,
    )


# -- writing -----------------------------------------------------------------------------------------


def save_run(run: Run) -> None:
    """Write a run into its folder: each file whole or not at all, weights first.

    Raises:
        CheckpointError: It cannot be written.
    """
    from safetensors.torch import save

    # Copies of their own: safetensors refuses tensors that share memory.
    state = run.network.state_dict()
    weights = save({k: v.detach().to("cpu", copy=True).contiguous() for k, v in state.items()})
    content = _described(run) | {"weights": {"sha256": _digest(weights), "bytes": len(weights)}}
    content["digest"] = _content_digest(content)
    try:
        save_tokenizer = getattr(run.tokenize, "save", None)
        if save_tokenizer is not None:
            save_tokenizer(run.folder / TOKENIZER)
        write_file(run.folder / WEIGHTS_FILE, weights)
        write_file(run.folder / RUN_FILE, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise CheckpointError(f"cannot write to {run.folder}: {error.strerror or error}") from error


def _described(run: Run) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": run.config.model_dump(mode="json"),
        "tasks": [_task_to_json(task) for task in run.tasks],
        "relations": [_relation_to_json(relation) for relation in run.relations],
        "strengths": run.decoder.strengths(),
        "inputs": {
            name: plan.model_dump(mode="json", exclude_defaults=True) for name, plan in run.inputs.items()
        },
        "shape": None if run.shape is None else list(run.shape),
        "normalization": [list(part) for part in run.normalization],
        "vocabulary": run.vocabulary,
        "trunk": dict(run.trunk),
        "standardize": run.standardize,
        "chosen": dict(run.chosen),
        "facts": dict(run.facts),
    }


def _task_to_json(task: Task) -> dict[str, Any]:
    kind = "classes" if isinstance(task, MulticlassTask) else "labels"
    return {"name": task.name, kind: list(task.outputs)}


def _relation_to_json(relation: Relation) -> dict[str, Any]:
    def listed(values: Any) -> Any:
        if values is None:
            return None
        array = np.asarray(values, dtype=object)
        array[np.isnan(values)] = None
        return array.tolist()

    return {
        "source": relation.source.name,
        "target": relation.target.name,
        "table": listed(relation.dense().table),
        "prior": listed(relation.prior),
        "base_rate": listed(relation.base_rate),
    }


# -- reading -----------------------------------------------------------------------------------------


@usual_torch()
@seeded(None)  # a network draws weights before it is given its own
def load_run(folder: str | Path) -> Run:
    """Load a finished training. Nothing in its files is executed, and no data is needed.

    Args:
        folder: The output folder of a training.

    Raises:
        CheckpointError: There is none, or one that is unfinished, truncated or changed.
    """
    folder = Path(folder)
    content = _content(folder)
    try:
        tasks = tuple(_task_from_json(task) for task in content["tasks"])
        config = as_config(content["config"], str(folder / RUN_FILE))
        inputs = {name: InputPlan.model_validate(plan) for name, plan in content["inputs"].items()}
        by_name = {task.name: task for task in tasks}
        relations = tuple(_relation_from_json(relation, by_name) for relation in content["relations"])
        decoder = Decoders(relations)
        decoder.set_strengths(content["strengths"])
        shape = None if content["shape"] is None else tuple(content["shape"])
        resolved = dict(content["trunk"])
        if (folder / TOKENIZER).is_dir():
            resolved["tokenizer"] = str(folder / TOKENIZER)
        trunk = trunk_of(config.trunk, shape, resolved)
        network = _network(trunk, tasks, shape, content)
        mean, deviation = content["normalization"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / RUN_FILE} is not whole: {error!r}") from error
    _fill(network, folder, content)
    return Run(
        folder=folder,
        config=config,
        network=network.eval(),
        tasks=tasks,
        relations=relations,
        decoder=decoder,
        example_input=trunk.example,
        inputs=inputs,
        shape=shape,
        normalization=(mean, deviation),
        vocabulary=content["vocabulary"],
        tokenize=trunk.tokenize,
        trunk=content["trunk"],
        standardize=content["standardize"],
        chosen=content["chosen"],
        facts=content["facts"],
    )


def _content(folder: Path) -> dict[str, Any]:
    path = folder / RUN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"no finished training in {folder}: it has no {RUN_FILE}; `concord train` writes it at its end"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is of another format; this version reads {FORMAT}")
    if content.get("digest") != _content_digest(content):
        raise CheckpointError(f"{path} was changed after it was written")
    return content


def _network(
    trunk: NamedTrunk, tasks: Sequence[Task], shape: tuple[int, ...] | None, content: Mapping[str, Any]
) -> nn.Module:
    def one(module: nn.Module) -> nn.Module:
        blank = None
        if content["standardize"]:
            assert shape is not None
            blank = Standardize(torch.zeros(shape), torch.ones(shape))
        return network_of(NamedTrunk(module, trunk.kind, trunk.example), tasks, blank)

    chosen: Mapping[str, int] = content["chosen"]
    if not chosen:
        return one(trunk.module)
    from copy import deepcopy

    networks = [one(deepcopy(trunk.module)) for _ in range(max(chosen.values()) + 1)]
    return TaskwiseNetwork({task: networks[number] for task, number in chosen.items()})


def _fill(network: nn.Module, folder: Path, content: Mapping[str, Any]) -> None:
    path, expected = folder / WEIGHTS_FILE, content["weights"]
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if size != expected["bytes"]:
        raise CheckpointError(f"{path} is truncated: {expected['bytes']} bytes expected, found {size}")
    if digest != expected["sha256"]:
        raise CheckpointError(f"{path} was changed after it was written: its SHA-256 is another")
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path} is of another network: {' '.join(str(error).split())}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content_digest(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "digest"}
    return _digest(json.dumps(rest, sort_keys=True).encode())


def _task_from_json(task: Mapping[str, Any]) -> Task:
    if "classes" in task:
        return MulticlassTask(task["name"], task["classes"])
    return MultilabelTask(task["name"], task["labels"])


def _relation_from_json(values: Mapping[str, Any], tasks: Mapping[str, Task]) -> Relation:
    def array(key: str) -> Any:
        return None if values[key] is None else np.asarray(values[key], dtype=np.float64)

    source = tasks[values["source"]]
    assert isinstance(source, MulticlassTask)
    return Relation(
        source,
        tasks[values["target"]],
        array("table"),
        prior=array("prior"),
        base_rate=array("base_rate"),
    )
