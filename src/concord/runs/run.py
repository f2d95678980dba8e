"""A finished training in a folder: weights in safetensors, everything else in JSON, no pickle.

`model.safetensors` holds the weights, `run.json` what rebuilds the network and decodes its predictions:
tasks, relations, trunk, inputs, strengths of the joint decoding, and the digests of all that is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from concord.archive import FORMATS, Claim, pack, read_archive, save_archive, sha256, tensor_bytes, unpack
from concord.config import Config, InputPlan, TrunkPlan, as_config
from concord.data import IMAGENET, SPLITS, Columns, Normalization, columns_record
from concord.decoding import Decoders, Thresholds, thresholds_of
from concord.errors import CheckpointError, ConcordError
from concord.networks import (
    MultiTaskNetwork,
    NamedTrunk,
    Standardize,
    TaskwiseNetwork,
    build_trunk,
    seeded,
    tasks_of_part,
    usual_torch,
)
from concord.relations import Relation, relation_of, relation_record, task_of, task_record
from concord.runs.inputs import Preparation, Vocabulary
from concord.runs.predictor import Predictor
from concord.tasks import Task

RUN_FILE = FORMATS["run"].record
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
        columns: What the columns of feature tables are; None where inputs are no such tables.
        tokenize: Turns texts into what the network takes; None for other inputs.
        trunk: What rebuilds the trunk (`NamedTrunk.resolved`).
        standardize: Whether the network standardises feature rows.
        chosen: By task, the number of the network that it selected, or several; empty where one serves all.
        thresholds: Where predictions are cut; None cuts labels at .5.
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
    columns: Columns | None = None
    tokenize: Callable[[list[str]], Any] | None = None
    trunk: Mapping[str, Any] = field(default_factory=dict)
    standardize: bool = False
    chosen: Mapping[str, int | list[int]] = field(default_factory=dict)
    thresholds: Thresholds | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def predictor(self) -> Predictor:
        """What its predictions take."""
        cuts = {} if self.thresholds is None else self.thresholds.values
        return Predictor(self.network, self.tasks, self.decoder, self.preparation().collate, cuts)

    def preparation(self, data: Path | None = None) -> Preparation:
        """What makes inputs of a source's manifest, with paths relative to `data`."""
        return Preparation(
            Path(self.config.data) if data is None else data,
            self.normalization,
            self.tokenize,
            self.vocabulary,
            self.columns,
        )


def network_of(
    trunk: NamedTrunk, tasks: Sequence[Task], standardize: Standardize | None = None
) -> MultiTaskNetwork:
    """The network of a config: a trunk, perhaps after a standardising layer, with one head per task."""
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


def save_run(run: Run, owner: Claim | None = None) -> None:
    """Write a run into its folder; see `concord.archive.save_archive`.

    Metrics that were written of other weights there are removed.

    Args:
        run: The run.
        owner: The claim on its folder, where this process holds it already.

    Raises:
        CheckpointError: It cannot be written.
    """
    files = {WEIGHTS_FILE: tensor_bytes(run.network.state_dict()), **tokenizer_files(run.tokenize)}
    _remove_metrics(run.folder, files[WEIGHTS_FILE], owner)
    save_archive(run.folder, "run", pack(_described(run))[0], files, owner=owner)


def _remove_metrics(folder: Path, weights: bytes, owner: Claim | None) -> None:
    """Remove what `write_metrics` wrote of other weights; first, so that no metrics outlive their own."""
    if owner is not None:
        owner.check()
    try:
        if (folder / WEIGHTS_FILE).is_file() and not _holds(folder / WEIGHTS_FILE, weights):
            for split in SPLITS:
                (folder / metrics_file(split)).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot replace {error.filename}: {error.strerror or error}") from error


def _holds(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:  # which may be as large as memory takes
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256(content)


def metrics_file(split: str) -> str:
    """Name of the file of what a run's weights reach on a split."""
    return f"metrics-{split}.json"


def tokenizer_files(tokenize: Any) -> dict[str, bytes]:
    """The files of a tokenizer that can save itself, by name below a run's folder; none of any other."""
    if not hasattr(tokenize, "save"):
        return {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / TOKENIZER
        tokenize.save(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in paths}


def _described(run: Run) -> dict[str, Any]:
    return {
        "config": run.config.model_dump(mode="json"),
        "tasks": [task_record(task) for task in run.tasks],
        "relations": [relation_record(relation) for relation in run.relations],
        "strengths": run.decoder.strengths(),
        "inputs": {
            name: plan.model_dump(mode="json", exclude_defaults=True) for name, plan in run.inputs.items()
        },
        "shape": None if run.shape is None else list(run.shape),
        "normalization": [list(part) for part in run.normalization],
        "vocabulary": run.vocabulary,
        **({} if run.columns is None else {"columns": columns_record(run.columns)}),
        "trunk": dict(run.trunk),
        "standardize": run.standardize,
        "chosen": dict(run.chosen),
        **({} if run.thresholds is None else {"thresholds": run.thresholds.record()}),
        "facts": dict(run.facts),
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
    archive = read_archive(folder, "run")
    archive.verify()
    content = unpack(archive.content, {})
    try:
        tasks = tuple(task_of(task) for task in content["tasks"])
        config = as_config(content["config"], str(folder / RUN_FILE))
        inputs = {name: InputPlan.model_validate(plan) for name, plan in content["inputs"].items()}
        relations = tuple(relation_of(relation, tasks) for relation in content["relations"])
        decoder = Decoders(relations)
        decoder.set_strengths(content["strengths"])
        thresholds = thresholds_of(content.get("thresholds"), tasks)
        shape = None if content["shape"] is None else tuple(content["shape"])
        resolved = dict(content["trunk"])
        tokenizer = archive.part(TOKENIZER)
        if tokenizer is not None:
            resolved["tokenizer"] = str(tokenizer)
        trunk = trunk_of(config.trunk, shape, resolved)
        weights = archive.tensors(WEIGHTS_FILE)
        network = _network(trunk, tasks, shape, content, weights)
        mean, deviation = content["normalization"]
    except CheckpointError:
        raise
    except (ConcordError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / RUN_FILE} is not whole: {error!r}") from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / WEIGHTS_FILE} is of another network: {reason}") from error
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
        columns=content.get("columns"),
        tokenize=trunk.tokenize,
        trunk=content["trunk"],
        standardize=content["standardize"],
        chosen=content["chosen"],
        thresholds=thresholds,
        facts=content["facts"],
    )


def _network(
    trunk: NamedTrunk,
    tasks: Sequence[Task],
    shape: tuple[int, ...] | None,
    content: Mapping[str, Any],
    weights: Mapping[str, Tensor],
) -> nn.Module:
    def one(module: nn.Module, tasks: Sequence[Task]) -> nn.Module:
        blank = None
        if content["standardize"]:
            assert shape is not None
            blank = Standardize(torch.zeros(shape), torch.ones(shape))
        return network_of(NamedTrunk(module, trunk.kind, trunk.example), tasks, blank)

    if not content["chosen"]:
        return one(trunk.module, tasks)
    from copy import deepcopy

    return TaskwiseNetwork.restored(
        content["chosen"],
        lambda number: one(deepcopy(trunk.module), tasks_of_part(weights, number, tasks)),
    )
