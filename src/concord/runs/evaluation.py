"""Metrics of a finished training on a split of its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from concord.config import Config, InputPlan, shown
from concord.data import SPLITS
from concord.decoding import HALF, Thresholds
from concord.errors import (
    CheckpointError,
    ConfigError,
    EmptyDataError,
    NoAnnotationError,
    OutputError,
    UnknownNameError,
)
from concord.files import write_text
from concord.metrics import NEED_A_LABEL, measured, metric_names
from concord.runs.leaks import tell_leaks
from concord.runs.outputs import Outputs, device_of, outputs_of, taken_by
from concord.runs.run import Run, metrics_file
from concord.runs.sources import Sources, named, open_sources
from concord.tasks import Task
from concord.terminal import plain, whole_table

if TYPE_CHECKING:
    from rich.table import Table

    from concord.data import Source


def split_sources(run: Run, config: Config, split: str) -> dict[str, Source]:
    """The rows of a split of a config's sources, as a run's network takes them.

    Args:
        run: The run.
        config: Where the data are: the run's own config, or the same with other places.
        split: `train`, `val` or `test`.

    Raises:
        UnknownNameError: Another split.
        EmptyDataError: No rows of it.
        ConfigError: Inputs of a source that are made in another way than those that the network learnt from.
        ShapeError: Feature rows of another width than the network was trained on.
    """
    if split not in SPLITS:
        raise UnknownNameError.of("split", split, SPLITS)
    sources: Sources = open_sources(config)
    parts = sources.split(config, split)
    if split != "train":
        tell_leaks(config, sources, [split])
    if not parts:
        raise EmptyDataError(
            f"no source has rows of split {split!r}; `concord data split` draws one, --split names another"
        )
    preparation = run.preparation(Path(config.data))
    out = {}
    for name, manifest in parts.items():
        plan = _inputs_of(run, name, config.sources[name].inputs)
        with named(f"sources.{name}.inputs", config.data):
            out[name] = taken_by(run, plan, manifest, preparation, name)
    return out


PLACES = ("file", "key", "on_error")
"""Of the inputs of a source, what says where they lie, and not how they are made."""


def _inputs_of(run: Run, name: str, asked: InputPlan) -> InputPlan:
    """How the inputs of a source are made, as in training; where they lie, as it is asked for.

    A source that was not trained on says all of it itself.
    """
    if name not in run.inputs or name not in run.config.sources:
        return run.inputs.get(name, asked)
    trained = run.config.sources[name].inputs
    changed = {
        key: getattr(asked, key)
        for key in type(asked).model_fields
        if getattr(asked, key) != getattr(trained, key)
    }
    for key, value in changed.items():
        if key not in PLACES:
            raise ConfigError(
                f"sources.{name}.inputs.{key} was {shown(getattr(trained, key))} in training, here it is "
                f"{shown(value)}: the network learnt from inputs that are made in the one way"
            )
    return run.inputs[name].model_copy(update=changed)


def evaluate(run: Run, config: Config | None = None, split: str = "test") -> dict[str, Any]:
    """Metrics by task of the heads alone and of the joint decoding.

    Args:
        run: The run.
        config: Where the data are, and what it runs on; the run's own config unless given.
        split: `train`, `val` or `test`.

    Returns:
        `split`; `rows` by source; `tasks`: by task `annotated` (rows), `head` and `joint` (metrics by name,
        empty where nothing is annotated), `thresholds` where the run has any (metrics of the joint decoding
        cut there), `undefined` (names of metrics that these rows cannot give: all, or
        those of labels of which none is present); `disagreement`: by relation its mean over all rows.

    Raises:
        UnknownNameError: Another split.
        EmptyDataError: No rows of it.
        ConfigError: An accelerator that is not there; see also `split_sources`.
    """
    config = run.config if config is None else config
    device = device_of(config.training.accelerator)
    size = config.validation.batch_size
    sources = split_sources(run, config, split)
    outputs = [outputs_of(run.predictor, source, size, device) for source in sources.values()]
    return {
        "split": split,
        "rows": {name: len(each.index) for name, each in zip(sources, outputs, strict=True)},
        "tasks": {task.name: _of_task(task, outputs, run.thresholds) for task in run.tasks},
        "disagreement": {
            relation.name: float(
                np.concatenate([each.disagreement[relation.name] for each in outputs]).mean()
            )
            for relation in run.relations
        },
        "skipped": [path for each in outputs for path in each.skipped],
    }


def write_metrics(found: dict[str, Any], folder: Path) -> Path:
    """Write what `evaluate` found to `metrics-SPLIT.json` in a folder.

    Raises:
        CheckpointError: It cannot be written.
    """
    path = folder / metrics_file(found["split"])
    try:
        write_text(path, json.dumps(found, indent=1) + "\n")
    except OutputError as error:
        raise CheckpointError(str(error)) from error
    return path


def as_table(found: dict[str, Any]) -> Table:
    """What `evaluate` found, to be printed."""
    kinds = ["head", "joint"]
    if any("thresholds" in values for values in found["tasks"].values()):
        kinds.append("thresholds")
    table = whole_table(f"split {found['split']}", framed=True)
    table.add_column("task")
    table.add_column("metric")
    for kind in kinds:
        table.add_column(kind, justify="right")
    blank = [""] * (len(kinds) - 1)
    for task, values in found["tasks"].items():
        if not values["head"]:
            table.add_row(plain(task), "nothing is annotated", "", *blank)
        for number, metric in enumerate(values["head"]):
            name = plain(f"{task} ({values['annotated']:,} rows)") if number == 0 else ""
            table.add_row(name, plain(metric), *(f"{values[kind][metric]:.4f}" for kind in kinds))
        if values["head"] and not NEED_A_LABEL.isdisjoint(values["undefined"]):
            table.add_row("", ", ".join(values["undefined"]), "no label is present", *blank)
    return table


def _of_task(task: Task, outputs: list[Outputs], thresholds: Thresholds | None) -> dict[str, Any]:
    targets = np.concatenate([each.targets[task.name] for each in outputs])
    out: dict[str, Any] = {"annotated": int(task.annotated(targets).sum())}
    cuts: dict[str, Any] = {"head": HALF, "joint": HALF}
    if thresholds is not None:
        cuts["thresholds"] = thresholds.of(task)
    for kind, cut in cuts.items():
        by_source = [each.heads if kind == "head" else each.joint for each in outputs]
        p = np.concatenate([part[task.name] for part in by_source])
        try:
            out[kind] = measured(task, targets, p, cut)
        except NoAnnotationError:
            out[kind] = {}
        out[kind] |= _cross_entropy(task, outputs, p)
    out["undefined"] = [name for name in metric_names(task) if name not in out["head"]]
    return out


def _cross_entropy(task: Task, outputs: list[Outputs], p: npt.NDArray[Any]) -> dict[str, float]:
    """Mean cross-entropy to the votes, in nats, over the rows that have some; nothing where no row does."""
    none = [np.full((len(each.index), task.width), np.nan) for each in outputs]
    votes = np.concatenate(
        [each.shares.get(task.name, gaps) for each, gaps in zip(outputs, none, strict=True)]
    )
    voted = ~np.isnan(votes).any(axis=1)
    if not voted.any():
        return {}
    logs = np.log(np.clip(p[voted], np.finfo(float).tiny, None))
    return {"cross-entropy to votes": float(-(votes[voted] * logs).sum(axis=1).mean())}
