"""Annotations next to out-of-sample predictions: what every estimate starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.errors import NoAnnotationError, ShapeError
from concord.relations import check_ends, row_weights
from concord.tasks import MISSING_CLASS, MulticlassTask, Task, as_predictions

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """Rows with what is annotated and what uncoupled heads predict, out of sample.

    Args:
        source: The class task.
        target: The label task, or another class task.
        y: (n,) class indices with -1.
        a: (n, K) labels with NaN, or (n,) classes of the target with -1.
        p: (n, C) class probabilities by a head that was not trained on the row.
        q: (n, K) label (or target class) probabilities, likewise.
        weight: (n,) >= 0, None for ones.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
    """

    source: MulticlassTask
    target: Task
    y: npt.NDArray[np.int64]
    a: Array
    p: Array
    q: Array
    weight: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.y)
        for name, values, shape in (
            ("p", self.p, (n, self.source.width)),
            ("q", self.q, (n, self.target.width)),
            ("a", self.a, (n,) if self.class_to_class else (n, self.target.width)),
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
            known = self.a != MISSING_CLASS
            return np.eye(self.target.width)[np.where(known, self.a, 0).astype(int)] * known[:, None]
        return np.nan_to_num(self.a.astype(np.float64))

    @property
    def seen(self) -> Array:
        """(n, K) 1 where a label is annotated (class to class: a whole row)."""
        if self.class_to_class:
            return np.repeat((self.a != MISSING_CLASS)[:, None], self.target.width, axis=1).astype(float)
        return (~np.isnan(self.a)).astype(np.float64)

    @property
    def weights(self) -> Array:
        """(n,) row weights."""
        return np.ones(len(self.y)) if self.weight is None else np.asarray(self.weight, dtype=float)

    def take(self, rows: Any) -> Observations:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Observations(
            self.source, self.target, self.y[rows], self.a[rows], self.p[rows], self.q[rows], weight
        )

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
    p: Any,
    q: Any = None,
    weights: Any = None,
) -> Observations:
    """Observations from annotations as people write them, checked.

    Args:
        source: The class task.
        target: The label task, or another class task.
        classes: (n,) classes as names or indices, with gaps.
        targets: (n, K) labels, or (n,) classes of the target, with gaps.
        p: (n, C) out-of-sample class probabilities.
        q: (n, K) out-of-sample probabilities of the target; None takes the base rates, which tell nothing.
        weights: (n,) >= 0; None for ones.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
        RangeError: A probability outside [0, 1], class probabilities that do not sum to 1, a bad weight.
        UnknownNameError: A named column of p or q that is no class or label.
        NoAnnotationError: A task without any annotation.
    """
    check_ends(source, target)
    y, a = source.encode(classes), target.encode(targets)
    if len(y) != len(a):
        raise ShapeError(f"{len(y)} rows of {source.name!r}, but {len(a)} of {target.name!r}")
    for task, values in ((source, y), (target, a)):
        if not task.annotated(values).any():
            raise NoAnnotationError(f"no row is annotated for {task.name!r}; both tasks need annotations")
    w = None if weights is None else row_weights(weights, len(y))
    said = as_predictions(source, p, len(y))
    blank = np.zeros((len(y), target.width))
    guess = blank if q is None else as_predictions(target, q, len(y))
    rows = Observations(source, target, y, a.astype(y.dtype if a.ndim == 1 else np.float64), said, guess, w)
    return rows if q is not None else replace(rows, q=np.broadcast_to(rows.base_rates(), blank.shape))
