"""Sources as those of `concord train` as a problem: readers, open packs and manifests, in memory or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.config import Config, SourcePlan, as_config
from concord.data import (
    IMAGENET,
    Inputs,
    Loaded,
    Manifest,
    Source,
    StreamedInputs,
    group_codes,
    soft_columns,
)
from concord.errors import EmptyDataError, StudyError
from concord.relations import Relation
from concord.runs import (
    Preparation,
    columns_across,
    mixture_of,
    open_sources,
    relation_of,
    shape_across,
    sources_of,
    trunk_kind,
    vocabulary_across,
)
from concord.study.plan import Sourced
from concord.study.problems.own_data import standardised
from concord.study.problems.problem import SPLITS, Index, Problem
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task

Array = npt.NDArray[Any]
ROWS_AT_A_TIME = 256
OWN = ("rows", "outputs", "stream", "workers")
"""What a plan says of sources and a config does not."""


def sourced_problem(plan: Sourced) -> Problem:
    """Read what a plan says of sources; feature rows are standardised by the training rows.

    Rows are in the same order, and inputs the same numbers, whether they are read now or when needed.

    Args:
        plan: The plan's part about data.

    Raises:
        MissingDataError: Data that are not there; says what to get from whom.
        EmptyDataError: A source without training rows.
        StudyError: Texts, a source with a share, images that are streamed and skipped where they cannot be
            read, a split without rows, a task of which no two classes, or no label, are left.
        ConcordError: What readers, inputs and relations raise; the message names the source.
    """
    config = as_config(plan.model_dump(mode="json", exclude=set(OWN), exclude_unset=True))
    for name, source in config.sources.items():
        _check_source(name, source, plan.stream)
    sources = open_sources(config)
    most = {str(split): n for split, n in plan.rows.items()}
    parts = {split: _at_most(_by_class(sources.split(config, split)), most.get(split)) for split in SPLITS}
    for name in config.sources:
        if name not in parts["train"]:
            raise EmptyDataError(f"sources.{name}: no training rows (split train, and train_where)")
    for split, part in parts.items():
        if not part:
            raise StudyError(f"no source has rows of split {split!r}; sources.NAME.splits draws one")
    relations = tuple(relation_of(each, sources, config) for each in config.relations)
    listed = _listed(config, sources.tasks, parts, plan.workers)
    inputs: StreamedInputs | npt.NDArray[np.float32] = listed.inputs
    if not plan.stream:
        inputs, listed = _read(listed)
    streamed, targets, splits = listed.inputs, listed.targets, listed.splits
    tasks = sources.tasks
    if plan.outputs == "present":
        kept = {task.name: _present(task, targets[task.name], splits) for task in tasks}
        targets = {task.name: _restricted(task, targets[task.name], kept[task.name]) for task in tasks}
        tasks = tuple(_part_of(task, kept[task.name]) for task in tasks)
        relations = tuple(_related(each, tasks, kept) for each in relations)
    images = trunk_kind(next(iter(config.sources.values())).inputs) == "images"
    if isinstance(inputs, np.ndarray) and not images:
        inputs = standardised(inputs, splits["train"])
    return Problem(
        name="+".join(config.sources),
        tasks=tasks,
        inputs=inputs,
        targets=targets,
        splits=splits,
        relations=relations,
        picture=(lambda row: _png(streamed[[row]].read()[0].numpy())) if images else None,
        groups=listed.groups,
        origins=tuple(dict.fromkeys(o for m in sources.manifests.values() for o in m.origins)),
    )


def _check_source(name: str, source: SourcePlan, stream: bool) -> None:
    """Raise where a study cannot do what a source asks for."""
    inputs = source.inputs
    if inputs.kind == "texts":
        raise StudyError(f"sources.{name}: a study takes no texts; give features of them as a file")
    if source.share is not None:
        raise StudyError(
            f"sources.{name}: share has no part in a study, whose steps take as many rows of each task; "
            "leave it out, and give the rows of a regime"
        )
    if stream and inputs.kind not in ("images", "arrays"):
        raise StudyError(f"sources.{name}: stream is for images; features are held in memory")
    if stream and inputs.on_error == "skip":
        # Which rows there are is known once all are read, and seeds draw from the rows that there are.
        raise StudyError(
            f"sources.{name}: with stream, which images cannot be read is not known when rows are drawn; "
            "leave stream out, or leave out those rows and on_error: skip"
        )


def _by_class(part: dict[str, Manifest]) -> dict[str, Manifest]:
    """Rows with votes by the class of most votes, which is what conditions and metrics of a study go by."""
    out = {}
    for name, manifest in part.items():
        votes = {column for task in manifest.tasks for column in soft_columns(task)}
        out[name] = replace(manifest, frame=manifest.frame.drop(votes.intersection(manifest.frame.columns)))
    return out


def _at_most(part: dict[str, Manifest], most: int | None) -> dict[str, Manifest]:
    if most is None:
        return part
    out = {}
    for name, manifest in part.items():
        chosen = np.sort(np.random.default_rng(0).permutation(len(manifest))[:most])
        out[name] = replace(manifest, frame=manifest.frame[chosen])
    return out


@dataclass(frozen=True)
class _Listed:
    """Rows of all splits in order, with what is known without reading an input."""

    inputs: StreamedInputs
    targets: dict[str, Array]
    splits: dict[str, Index]
    groups: Array | None

    def take(self, rows: Index) -> _Listed:
        """Some of the rows, in their order."""
        return _Listed(
            self.inputs[rows],
            {name: values[rows] for name, values in self.targets.items()},
            {split: np.flatnonzero(np.isin(rows, own)) for split, own in self.splits.items()},
            None if self.groups is None else self.groups[rows],
        )


class _Unread(Inputs):
    """In place of inputs, where it only matters which rows come in which order."""

    def keys(self, manifest: Manifest) -> Callable[[Any], Any]:
        """How many rows are asked for."""
        del manifest
        return len

    def load(self, keys: int) -> Loaded:
        """As many rows without any value."""
        return Loaded(torch.empty(keys, 0))


def _listed(
    config: Config, tasks: tuple[Task, ...], parts: Mapping[str, dict[str, Manifest]], workers: int
) -> _Listed:
    """Rows of all splits, sources mixed evenly within each, with what is known without reading an input."""
    vocabulary = vocabulary_across(config, parts["train"])
    columns = columns_across(config, parts["train"])
    shape_across(config, vocabulary, columns)
    preparation = Preparation(Path(config.data), IMAGENET, None, vocabulary, columns)
    targets: dict[str, list[Array]] = {task.name: [] for task in tasks}
    codes = group_codes(manifest for part in parts.values() for manifest in part.values())
    sources, number, splits, start = list[Source](), list[Array](), dict[str, Index](), 0
    for split, part in parts.items():
        starts = start + np.cumsum([0, *(len(manifest) for manifest in part.values())])
        own = sources_of(config, part, preparation)
        unread = {name: Source(s.manifest, _Unread(), name=name) for name, s in own.items()}
        for batch in mixture_of(unread, tasks, ROWS_AT_A_TIME):
            number.append(starts[batch.source.numpy()] + batch.index.numpy())
            for task in tasks:
                targets[task.name].append(batch.targets[task.name].numpy())
        sources += own.values()
        splits[split] = np.arange(start, int(starts[-1]))
        start = int(starts[-1])
    every = np.concatenate(number)
    return _Listed(
        StreamedInputs(tuple(sources), every, workers=workers),
        {name: np.concatenate(part) for name, part in targets.items()},
        splits,
        None if codes is None else codes[every],
    )


def _read(listed: _Listed) -> tuple[npt.NDArray[np.float32], _Listed]:
    """Inputs in memory, and the rows that they are of: those that can be read."""
    n = len(listed.inputs)
    pieces = np.split(np.arange(n), range(ROWS_AT_A_TIME, n, ROWS_AT_A_TIME))
    read = list(listed.inputs.load(pieces))
    places = np.concatenate([found for _, found in read])
    inputs = np.concatenate([values.float().numpy() for values, _ in read])
    return inputs, listed if len(places) == n else listed.take(places)


# -- classes and labels that every split has -----------------------------------------------------------


def _present(task: Task, targets: Array, splits: Mapping[str, Index]) -> list[int]:
    """Outputs that every split has a row of; of labels, one that shows it and one that does not."""
    kept = np.ones(task.width, dtype=bool)
    for rows in splits.values():
        own = targets[rows]
        if isinstance(task, MulticlassTask):
            kept &= np.bincount(own[own != MISSING_CLASS], minlength=task.width) > 0
        else:
            kept &= (own == 1).any(axis=0) & (own == 0).any(axis=0)
    if kept.sum() < (2 if isinstance(task, MulticlassTask) else 1):
        raise StudyError(f"task {task.name!r}: train, val and test have too few classes or labels in common")
    return np.flatnonzero(kept).tolist()


def _restricted(task: Task, targets: Array, kept: list[int]) -> Array:
    if not isinstance(task, MulticlassTask):
        return targets[:, kept]
    place = np.full(task.width + 1, MISSING_CLASS)
    place[kept] = np.arange(len(kept))
    return place[targets]  # a gap, -1, is the last


def _part_of(task: Task, kept: list[int]) -> Task:
    names = [task.outputs[k] for k in kept]
    return (
        MulticlassTask(task.name, names)
        if isinstance(task, MulticlassTask)
        else MultilabelTask(task.name, names)
    )


def _related(relation: Relation, tasks: tuple[Task, ...], kept: Mapping[str, list[int]]) -> Relation:
    by_name = {task.name: task for task in tasks}
    source, target = by_name[relation.source.name], by_name[relation.target.name]
    assert isinstance(source, MulticlassTask)
    cells = relation.table[np.ix_(kept[source.name], kept[target.name])]
    if relation.class_to_class:  # a row whose classes are all left out is unknown
        with np.errstate(invalid="ignore"):
            cells = cells / cells.sum(axis=1, keepdims=True)
    return Relation(source, target, cells)


def _png(pixels: Array) -> bytes:
    from PIL import Image

    mean, deviation = (np.asarray(values)[:, None, None] for values in IMAGENET)
    shown = (255 * (pixels * deviation + mean)).round().clip(0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(shown.transpose(1, 2, 0)).save(file, "PNG", optimize=True)
    return file.getvalue()
