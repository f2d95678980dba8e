"""Annotations next to out-of-sample predictions: what every estimate starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import group_of_rows
from concord.errors import NoAnnotationError, ShapeError
from concord.metrics import count_samples, z_score
from concord.relations import check_ends, row_weights
from concord.tasks import MISSING_CLASS, MulticlassTask, Task, as_predictions

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """How values of rows are averaged, and which of them are one sample where noise is measured.

    Weights enter as shares: a common factor changes nothing. A row stays one draw whatever its weight, so
    that the noise of a mean is that between rows (groups), each by its share; see `standard_error`.

    Attributes:
        rows: How many rows.
        weight: (rows,) > 0; None where all rows weigh the same.
        group: (rows,) which rows belong together; None: each row stands alone.
    """

    rows: int
    weight: Array | None
    group: npt.NDArray[Any] | None

    @property
    def size(self) -> int:
        """How many samples the rows are worth: their groups, or the rows where they have none."""
        return count_samples(self.rows, self.group)

    def mean(self, values: Array) -> Array:
        """Weighted means of (..., rows): (...)."""
        return np.asarray(np.average(values, axis=-1, weights=self.weight))

    def z(self, values: Array) -> float:
        """The weighted mean of (rows,) in standard errors; 0 where there are less than two samples."""
        return z_score(values, self.group, self.weight)


@dataclass(frozen=True)
class Observations:
    """Rows with what is annotated and what uncoupled heads predict, out of sample.

    Args:
        source: The class task.
        target: The label task, or another class task.
        classes: (n,) class indices with -1.
        targets: (n, K) labels with NaN, or (n,) classes of the target with -1.
        class_proba: (n, C) class probabilities by a head that was not trained on the row.
        target_proba: (n, K) label (or target class) probabilities, likewise.
        weight: (n,) >= 0: how many samples a row counts for in tables, rates and means; None for ones. What
            estimates or judges leaves rows of weight 0 out; see `counting`.
        group: (n,) which rows belong together (a video, a person): rows of one group count as one sample
            wherever noise is measured. None: each row stands alone.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
    """

    source: MulticlassTask
    target: Task
    classes: npt.NDArray[np.int64]
    targets: Array
    class_proba: Array
    target_proba: Array
    weight: Array | None = None
    group: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        n = len(self.classes)
        for name, values, shape in (
            ("class_proba", self.class_proba, (n, self.source.width)),
            ("target_proba", self.target_proba, (n, self.target.width)),
            ("targets", self.targets, (n,) if self.class_to_class else (n, self.target.width)),
            ("group", np.zeros(n) if self.group is None else self.group, (n,)),
        ):
            if np.shape(values) != shape:
                raise ShapeError(f"observations: {name} has shape {shape}, found {np.shape(values)}")

    @property
    def class_to_class(self) -> bool:
        """Whether the target is a multiclass task."""
        return isinstance(self.target, MulticlassTask)

    @property
    def active(self) -> Array:
        """(n, K) 1 where a label is annotated as present (class to class: one-hot)."""
        if self.class_to_class:
            known = self.targets != MISSING_CLASS
            return np.eye(self.target.width)[np.where(known, self.targets, 0).astype(int)] * known[:, None]
        return np.nan_to_num(self.targets.astype(np.float64))

    @property
    def seen(self) -> Array:
        """(n, K) 1 where a label is annotated (class to class: a whole row)."""
        if self.class_to_class:
            return np.repeat((self.targets != MISSING_CLASS)[:, None], self.target.width, axis=1).astype(
                float
            )
        return (~np.isnan(self.targets)).astype(np.float64)

    @property
    def weights(self) -> Array:
        """(n,) row weights."""
        return np.ones(len(self.classes)) if self.weight is None else np.asarray(self.weight, dtype=float)

    def take(self, rows: Any) -> Observations:
        """Some of the rows."""
        return Observations(
            self.source,
            self.target,
            self.classes[rows],
            self.targets[rows],
            self.class_proba[rows],
            self.target_proba[rows],
            None if self.weight is None else self.weight[rows],
            None if self.group is None else self.group[rows],
        )

    def counting(self) -> Observations:
        """The rows of weight above 0; these very observations where that is all of them."""
        counts = self.weights > 0
        return self if counts.all() else self.take(counts)

    def sample(self, rows: Any) -> Sample:
        """How values of some of the rows are averaged; `rows` is a mask or numbers, of rows that count."""
        w = self.weights[rows]
        # Rows alike in weight are averaged as without weights, to the bit.
        even = self.weight is None or not len(w) or bool((w == w[0]).all())
        return Sample(len(w), None if even else w, None if self.group is None else self.group[rows])

    @property
    def both(self) -> npt.NDArray[np.bool_]:
        """(n,) which rows are annotated for both tasks."""
        return np.asarray(self.seen.any(axis=1) & (self.classes != MISSING_CLASS))

    def base_rates(self) -> Array:
        """Share of each label among its annotated rows, never 0 or 1: (K,)."""
        w = self.weights[:, None]
        hits, total = (w * self.active).sum(axis=0), (w * self.seen).sum(axis=0)
        if self.class_to_class:
            return (hits + 1 / self.target.width) / (hits.sum() + 1)
        return (hits + 0.5) / (total + 1)


def observed(
    source: MulticlassTask,
    target: Task,
    classes: Any,
    targets: Any,
    class_proba: Any,
    target_proba: Any = None,
    weights: Any = None,
    groups: Any = None,
) -> Observations:
    """Observations from annotations as people write them, checked.

    Args:
        source: The class task.
        target: The label task, or another class task.
        classes: (n,) classes as names or indices, with gaps.
        targets: (n, K) labels, or (n,) classes of the target, with gaps.
        class_proba: (n, C) out-of-sample class probabilities.
        target_proba: (n, K) out-of-sample probabilities of the target; None takes the base rates, which tell
            nothing.
        weights: (n,) >= 0; None for ones. Rows of weight 0 stay among the observations, and count nowhere.
        groups: (n,) videos, persons: rows of one are counted as one sample where noise is measured; None:
            each row stands alone.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
        RangeError: A probability outside [0, 1], class probabilities that do not sum to 1, a bad weight.
        UnknownNameError: A named column of probabilities that is no class or label.
        NoAnnotationError: A task without any annotation on rows of weight above 0.
        AnnotationError: A row without a group.
    """
    check_ends(source, target)
    y, a = source.encode(classes), target.encode(targets)
    if len(y) != len(a):
        raise ShapeError(f"{len(y)} rows of {source.name!r}, but {len(a)} of {target.name!r}")
    w = None if weights is None else row_weights(weights, len(y))
    for task, values in ((source, y), (target, a)):
        annotated = task.annotated(values)
        if not annotated.any():
            raise NoAnnotationError(f"no row is annotated for {task.name!r}; both tasks need annotations")
        if w is not None and not w[annotated].any():
            raise NoAnnotationError(
                f"all rows annotated for {task.name!r} have weight 0; both tasks need annotations that count"
            )
    blank = np.zeros((len(y), target.width))
    rows = Observations(
        source,
        target,
        y,
        a.astype(y.dtype if a.ndim == 1 else np.float64),
        as_predictions(source, class_proba, len(y)),
        blank if target_proba is None else as_predictions(target, target_proba, len(y)),
        w,
        group_of_rows(groups, len(y)),
    )
    if target_proba is not None:
        return rows
    return replace(rows, target_proba=np.broadcast_to(rows.counting().base_rates(), blank.shape))
