"""Co-annotation as data: gaps of one task filled from the annotations of a related one.

The same functions as in training fill the gaps (`concord.couplings`), so what other tools get is what the
couplings see. Beside each column that is filled stand columns of how sure that is and where it comes from:

- of a class task: `TASK:weight`, `TASK:provenance`, and `TASK:CLASS:probability` for every class;
- of a label task, for every label: `TASK:LABEL:weight`, `TASK:LABEL:provenance`, `TASK:LABEL:probability`.

A weight is 1 for an annotation, the probability (hard: the cell of the relation, which is 1) for a filled
value, and null for a gap. A provenance is `annotated`, or method and relation as in
`soft:expression->action_units`. A probability is 0 or 1 for an annotation; hard co-annotation has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from concord.couplings import (
    PROTOTYPICAL,
    View,
    check_temperature,
    class_posterior,
    hard_classes,
    hard_labels,
    soft_classes,
)
from concord.data.manifest import Manifest, class_type, task_columns
from concord.errors import DuplicateNameError, RangeError, ShapeError, UnknownNameError
from concord.relations import Relation
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task

Method = Literal["hard", "soft", "posterior"]
Fill = Literal["both", "source", "target"]
Neutral = Literal["absent-share", "renormalise"]
Array = npt.NDArray[Any]

ANNOTATED = "annotated"
"""Provenance of a value that somebody annotated."""

CHUNK = 2**16
TIE = 1e-9
"""Two probabilities as near as this are a tie, and nothing is filled in."""


@dataclass(frozen=True)
class _Values:
    """What one task gets: class index or label, weight (0: nothing is given), and probabilities."""

    values: Array  # (n,) or (n, K)
    weights: Array  # as values
    probabilities: Array | None  # (n, C) or (n, K), NaN where there is none

    def small(self, min_weight: float) -> _Values:
        """Without values below a weight, in small types."""
        weights = np.where(self.weights >= min_weight, self.weights, 0)
        chances = None if self.probabilities is None else self.probabilities.astype(np.float32)
        return _Values(self.values.astype(np.int32), weights.astype(np.float32), chances)


def _joined(parts: list[_Values]) -> _Values:
    chances = [part.probabilities for part in parts if part.probabilities is not None]
    return _Values(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate(chances) if chances else None,
    )


def annotate(
    manifest: Manifest,
    relation: Relation,
    method: Method = "posterior",
    *,
    fill: Fill = "both",
    exponent: float = 1.0,
    temperature: float = 1.0,
    neutral: Neutral = "absent-share",
    min_weight: float = 0.0,
) -> Manifest:
    """Fill the gaps of two tasks from each other.

    From a class to labels, `"hard"` gives its prototypical labels (cell 1) as present and nothing else: in
    training an observational label has its cell as weight, but a value that is written may be read without
    its weight. `"soft"` and `"posterior"` give every label with a known cell, as the likelier of present and
    absent. From labels to the class, `"hard"` gives a class if all
    its prototypical labels are present; `"soft"` the likeliest by the indicator scores; `"posterior"` the
    likeliest by Bayes' rule, with the relation's prior. A tie gives nothing but probabilities. Only what is
    `annotated` counts as evidence, never what was filled in before, and nothing is overwritten.

    Args:
        manifest: What is annotated. A task of the relation that it lacks is added.
        relation: Between a class task and another task, of the manifest's classes and labels.
        method: One of the three above.
        fill: The gaps of which task: of the relation's source, of its target, or of both.
        exponent: Tempering of the evidence in [0, 1], for `"posterior"`.
        temperature: Finite and >= 1e-6, of the softmax of the scores, for `"soft"`.
        neutral: How a class with a row of zeros is scored, for `"soft"`; see
            `concord.couplings.indicator_scores`.
        min_weight: Values of a smaller weight stay gaps (their probabilities are given).

    Returns:
        The manifest with gaps filled, and further columns as the module says.

    Raises:
        UnknownNameError: An unknown method or option.
        RangeError: An exponent, temperature or weight outside its range.
        ShapeError: A task of the manifest with other classes or labels than the relation's.
        DuplicateNameError: A column of the manifest in the place of one that is to be written.
    """
    for kind, value, known in (
        ("method", method, get_args(Method)),
        ("fill", fill, get_args(Fill)),
        ("neutral", neutral, get_args(Neutral)),
    ):
        if value not in known:
            raise UnknownNameError.of(f"{kind} of co-annotation", value, known)
    check_temperature(temperature)
    if not (0 <= exponent <= 1 and 0 <= min_weight <= 1):
        raise RangeError(
            f"exponent and min_weight of co-annotation lie in [0, 1], found {exponent} and {min_weight}"
        )

    def classes(view: View) -> _Values:
        if method == "hard":
            index, given = hard_classes(view)
            return _Values(index.numpy(), given.numpy().astype(float), None)
        if method == "soft":
            log_q, _, some = soft_classes(view, neutral, temperature)
            return _likeliest(log_q.exp(), some.bool() & (view.target_known > 0))
        return _likeliest(class_posterior(view, exponent), view.informed > 0)

    direction: dict[str, Callable[[View], _Values]] = {}
    if fill != "target":
        direction[relation.source.name] = classes
    if fill != "source":
        direction[relation.target.name] = lambda view: _given(view, hard=method == "hard")
    whole = _with_tasks(manifest, (relation.source, relation.target))
    return _filled(whole, relation, direction, f"{method}:{relation.name}", min_weight)


def filled_counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """How many values of each column come from where: by column, then by provenance."""
    counts: dict[str, dict[str, int]] = {}
    for task in manifest.tasks:
        for column, output in _value_columns(task):
            place = f"{_stem(task, output)}:provenance"
            if place in manifest.frame.columns:
                found = manifest.frame[place].drop_nulls().cast(pl.String).value_counts(sort=True)
                counts[column] = dict(found.iter_rows())
    return counts


# -- what the couplings give -------------------------------------------------------------------------


def _likeliest(probabilities: Tensor, some: Tensor) -> _Values:
    top = probabilities.topk(2, dim=-1)
    first, second = top.values.unbind(-1)
    weights = torch.where(some & (first - second > TIE), first, torch.zeros_like(first))
    shown = torch.where(some.unsqueeze(-1), probabilities, torch.full_like(probabilities, torch.nan))
    return _Values(top.indices[:, 0].numpy(), weights.numpy(), shown.numpy())


def _given(view: View, hard: bool) -> _Values:
    """What an annotated class says of the target."""
    if hard:
        weights = hard_labels(view)
        if view.relation.class_to_class:
            return _Values(weights.argmax(dim=-1).numpy(), weights.amax(dim=-1).numpy(), None)
        certain = torch.where(weights >= PROTOTYPICAL, weights, torch.zeros_like(weights))
        return _Values(np.ones(certain.shape), certain.numpy(), None)
    rows, known = view.table_rows
    if view.relation.class_to_class:
        return _likeliest(rows, known.amax(dim=-1) > 0)
    present = rows > 0.5
    weights = torch.where(present, rows, 1 - rows) * known * ((rows - 0.5).abs() > TIE)
    shown = torch.where(known > 0, rows, torch.full_like(rows, torch.nan))
    return _Values(present.to(rows.dtype).numpy(), weights.numpy(), shown.numpy())


# -- columns -----------------------------------------------------------------------------------------


def _filled(
    manifest: Manifest,
    relation: Relation,
    direction: Mapping[str, Callable[[View], _Values]],
    provenance: str,
    min_weight: float,
) -> Manifest:
    parts: dict[str, list[_Values]] = {name: [] for name in direction}
    for view in _views(manifest, relation):
        for name, of in direction.items():
            parts[name].append(of(view).small(min_weight))
    columns: list[pl.Series] = []
    for name, given in parts.items():
        columns += _columns(manifest, manifest.task(name), _joined(given), provenance)
    return replace(manifest, frame=manifest.frame.with_columns(columns))


def _views(manifest: Manifest, relation: Relation) -> Iterator[View]:
    """The evidence, in parts: annotated values only, in double precision."""
    targets = {task.name: evidence(manifest, task) for task in (relation.source, relation.target)}
    for start in range(0, len(manifest), CHUNK):
        part = {name: torch.from_numpy(values[start : start + CHUNK]) for name, values in targets.items()}
        logits = {
            task.name: torch.zeros(len(part[task.name]), task.width, dtype=torch.float64)
            for task in (relation.source, relation.target)
        }
        yield View(logits, part, relation)


def evidence(manifest: Manifest, task: Task) -> Array:
    """Encoded targets of a task that somebody annotated; what was filled in before is a gap."""
    values = manifest.select(task.name).targets()[task.name]
    for number, (_, output) in enumerate(_value_columns(task)):
        place = f"{_stem(task, output)}:provenance"
        if place in manifest.frame.columns:
            filled = (manifest.frame[place] != ANNOTATED).fill_null(False).to_numpy()
            if isinstance(task, MulticlassTask):
                values[filled] = MISSING_CLASS
            else:
                values[filled, number] = np.nan
    return values


def _columns(manifest: Manifest, task: Task, given: _Values, provenance: str) -> list[pl.Series]:
    frame, out = manifest.frame, []
    for number, (column, output) in enumerate(_value_columns(task)):
        several = isinstance(task, MultilabelTask)
        values = given.values[:, number] if several else given.values
        weights = given.weights[:, number] if several else given.weights
        was = frame[column]
        gap = was.is_null()
        fill = gap & pl.Series(weights > 0)
        stem = _stem(task, output)
        out.append(_value_series(task, values).zip_with(fill, was).alias(column))
        before = pl.Series(np.ones(len(was), np.float32)).set(gap, None)
        before = _existing(frame, f"{stem}:weight", before, pl.Float32)
        weighed = pl.Series(weights).zip_with(fill, before)
        out.append(weighed.alias(f"{stem}:weight"))
        before = pl.Series([ANNOTATED], dtype=pl.String).new_from_index(0, len(was)).set(gap, None)
        before = _existing(frame, f"{stem}:provenance", before, pl.String)
        origins = pl.Series([provenance]).new_from_index(0, len(was)).zip_with(fill, before)
        out.append(origins.cast(pl.Categorical).alias(f"{stem}:provenance"))
    if given.probabilities is not None:
        out += _probability_columns(manifest, task, given.probabilities)
    return out


def _probability_columns(manifest: Manifest, task: Task, given: Array) -> list[pl.Series]:
    targets = evidence(manifest, task)
    if isinstance(task, MulticlassTask):
        own = np.eye(task.width)[targets]
        own[targets == MISSING_CLASS] = np.nan
    else:
        own = targets
    out = []
    for number, output in enumerate(task.outputs):
        name = f"{task.name}:{output}:probability"
        merged = np.where(np.isnan(own[:, number]), given[:, number], own[:, number])
        new = pl.Series(merged.astype(np.float32)).fill_nan(None)
        out.append(_existing(manifest.frame, name, new, pl.Float32).alias(name))
    return out


def _existing(frame: pl.DataFrame, name: str, new: pl.Series, dtype: Any) -> pl.Series:
    """What stands in a column of an earlier co-annotation, completed by what is new."""
    if name not in frame.columns:
        return new
    old = frame[name]
    if not (old.dtype.is_float() if dtype == pl.Float32 else old.dtype in (pl.String, pl.Categorical)):
        raise DuplicateNameError(
            f"column {name!r} is needed for co-annotation, and the manifest uses it otherwise; rename it"
        )
    old = old.cast(dtype)
    return old.zip_with(old.is_not_null(), new)


def _value_columns(task: Task) -> list[tuple[str, str | None]]:
    """Columns of values, each with its label; a class task has one column, and no label."""
    outputs = task.outputs if isinstance(task, MultilabelTask) else (None,)
    return list(zip(task_columns(task), outputs, strict=True))


def _stem(task: Task, output: str | None) -> str:
    return task.name if output is None else f"{task.name}:{output}"


def _value_series(task: Task, values: Array) -> pl.Series:
    if isinstance(task, MulticlassTask):
        return pl.Series(task.classes, dtype=class_type(task)).gather(values)
    return pl.Series(values.astype(np.int8))


def _with_tasks(manifest: Manifest, tasks: tuple[MulticlassTask, Task]) -> Manifest:
    frame, known = manifest.frame, {task.name: task for task in manifest.tasks}
    for task in tasks:
        own = known.setdefault(task.name, task)
        if own != task:
            raise ShapeError(
                f"task {task.name!r} of the relation must be that of the manifest: {len(task.outputs)} "
                f"names ({', '.join(task.outputs[:5])}, ...) against {len(own.outputs)} "
                f"({', '.join(own.outputs[:5])}, ...)"
            )
        if own not in manifest.tasks:
            dtype = class_type(task) if isinstance(task, MulticlassTask) else pl.Int8
            for column in task_columns(task):
                if column in frame.columns:
                    raise DuplicateNameError(
                        f"column {column!r} of the manifest is not an annotation of task {task.name!r}; "
                        "rename it"
                    )
                frame = frame.with_columns(pl.lit(None, dtype=dtype).alias(column))
    return replace(manifest, frame=frame, tasks=tuple(known.values()))
