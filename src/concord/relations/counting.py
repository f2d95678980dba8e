"""Cells counted from rows that carry both annotations, and how many observations these rows are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import group_of_rows
from concord.errors import NoAnnotationError, RangeError, ShapeError
from concord.relations.checking import row_weights
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

Array = npt.NDArray[np.float64]

FEWEST_GROUPS = 2.0
"""Effective number of groups below which nothing is known of how alike their rows are."""


@dataclass(frozen=True, eq=False)
class Counted:
    """What annotations say of every cell.

    Attributes:
        mean: (C, K) posterior means, NaN for a label without an annotation.
        strength: (C, K) rows that each cell is worth.
        interval: (2, C, K) lower and upper bounds.
        prior: (C,) shares of the classes.
    """

    mean: Array
    strength: Array
    interval: Array
    prior: Array


def counted(
    source: MulticlassTask,
    target: Task,
    classes: Any,
    targets: Any,
    *,
    weights: Any,
    groups: Any,
    pseudo_count: float,
    level: float,
) -> Counted:
    """The cells (C, K): see `Relation.from_annotations`, whose arguments and errors these are."""
    if not 0 < pseudo_count < np.inf:
        raise RangeError(f"the weight of the prior is finite and > 0, found {pseudo_count}")
    if not 0 < level < 1:
        raise RangeError(f"the level of an interval lies in (0, 1), found {level}")
    y, a, w, both = _encoded(source, target, classes, targets, weights)
    group = group_of_rows(groups, len(y))
    from scipy import sparse, stats

    n = int(both.sum())
    member = sparse.csr_array((w[both], (y[both], np.arange(n))), shape=(source.width, n))
    if isinstance(target, MulticlassTask):
        present = np.eye(target.width)[a[both]]
        seen = np.ones_like(present)
    else:
        seen = (~np.isnan(a[both])).astype(np.float64)
        present = np.nan_to_num(a[both].astype(np.float64))
    hits, counts = member @ present, member @ seen
    total = counts.sum(axis=0)
    base = np.divide(hits.sum(axis=0) + 0.5, total + 1.0)
    if isinstance(target, MulticlassTask):
        base = (hits.sum(axis=0) + 1.0) / (hits.sum() + target.width)
    effective = sure = hits, counts
    if group is not None:
        worth, apart = effective_counts(
            y[both],
            present,
            seen,
            w[both],
            group[both],
            width=source.width,
            exclusive=isinstance(target, MulticlassTask),
        )
        share = np.divide(hits, counts, out=np.zeros_like(hits), where=counts > 0)
        effective, sure = ((share * rows, rows) for rows in (worth, sure_counts(worth, counts, apart, level)))

    def posterior(hits: Array, rows: Array) -> tuple[Array, Array]:
        return hits + pseudo_count * base, rows - hits + pseudo_count * (1 - base)

    unseen = np.broadcast_to(total == 0, counts.shape)
    alpha, beta = posterior(*effective)
    mean = np.where(unseen, np.nan, alpha / (alpha + beta))
    alpha, beta = posterior(*sure)
    tail = (1 - level) / 2
    interval = np.stack([stats.beta.ppf(tail, alpha, beta), stats.beta.ppf(1 - tail, alpha, beta)])
    classed = np.bincount(y[y != MISSING_CLASS], w[y != MISSING_CLASS], minlength=source.width)
    prior = (classed + 1.0) / (classed.sum() + source.width)
    return Counted(mean=mean, strength=effective[1], interval=np.where(unseen, np.nan, interval), prior=prior)


def _encoded(
    source: MulticlassTask, target: Task, classes: Any, targets: Any, weights: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Array, npt.NDArray[np.bool_]]:
    """Classes, targets, weights, and which rows carry both annotations."""
    y, a = source.encode(classes), target.encode(targets)
    if len(y) != len(a):
        raise ShapeError(f"{len(y)} rows of {source.name!r}, but {len(a)} of {target.name!r}")
    w = np.ones(len(y)) if weights is None else row_weights(weights, len(y))
    both = (y != MISSING_CLASS) & target.annotated(a) & (w > 0)
    if not both.any():
        raise NoAnnotationError(
            f"no sample is annotated for both {source.name!r} and {target.name!r}; "
            "a relation of disjoint annotations needs out-of-sample predictions of heads that were "
            "trained without coupling: give them to estimate_relation as class_proba and "
            "target_proba, or the features to "
            "`concord relation estimate --features`"
        )
    return y, a, w, both


def effective_counts(
    classes: npt.NDArray[Any],
    present: Array,
    seen: Array,
    weights: Array,
    groups: npt.NDArray[Any],
    *,
    width: int,
    exclusive: bool,
) -> tuple[Array, Array]:
    """The number of rows that stand alone from which the mean of a cell would be as certain; both (C, K).

    The rows' weight by the design effect, the variance of the mean with rows summed within groups by that of
    rows that stand alone (Kish, Survey Sampling, 1965), where that is above 1. A cell whose rows are all the
    same, or of less than two groups, says nothing of it: rows of one group are taken for copies there.

    Args:
        classes: (n,) classes, in 0 .. C - 1.
        present: (n, K) 0 or 1; 0 where not annotated.
        seen: (n, K) 1 where annotated, else 0.
        weights: (n,) >= 0.
        groups: (n,) any labels, equal ones for rows of one group.
        width: C.
        exclusive: Whether the targets are classes, of which a row has one: the cells of a class then share
            one design effect, the average one (Rao and Scott, Annals of Statistics 12, 1984), so that their
            means sum to 1.

    Returns:
        The numbers, and of how many groups of equal weight they are worth: (sum of m)^2 / sum of m^2 over the
        weight m of each group.
    """
    out, apart = np.zeros((2, width, present.shape[1]))
    for c in np.unique(classes):
        rows = classes == c
        weight = weights[rows, None] * seen[rows]
        total = weight.sum(axis=0)
        mean = np.divide(
            (weight * present[rows]).sum(axis=0), total, out=np.zeros_like(total), where=total > 0
        )
        residual = weight * (present[rows] - mean)
        index = np.unique(groups[rows], return_inverse=True)[1]
        own, mass = _sums(residual, index), _sums(weight, index)
        alone, together = (residual**2).sum(axis=0), (own**2).sum(axis=0)
        if exclusive:
            alone, together = (np.full_like(total, part.sum()) for part in (alone, together))
        single, joint = (weight**2).sum(axis=0), (mass**2).sum(axis=0)
        known = (alone > 0) & (total**2 >= FEWEST_GROUPS * joint)
        copies = np.divide(joint, single, out=np.ones_like(total), where=single > 0)
        effect = np.divide(together, alone, out=copies, where=known)
        out[c] = total / np.maximum(effect, 1.0)
        apart[c] = np.divide(total**2, joint, out=np.zeros_like(total), where=joint > 0)
    return out, apart


def sure_counts(counts: Array, rows: Array, groups: Array, level: float) -> Array:
    """Effective numbers of rows, cut by how little a few groups tell of their design effect: (C, K).

    By the squared ratio of the quantiles of Student's t for as many rows and for as many groups (Korn and
    Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data", Survey Methodology 24, 1998). A group is worth a row at the least.

    Args:
        counts: (C, K) effective numbers of rows.
        rows: (C, K) rows, or their weight.
        groups: (C, K) effective numbers of groups.
        level: Of the interval, in (0, 1).
    """
    from scipy.stats import t

    by_row, by_group = (t.ppf((1 + level) / 2, np.maximum(n - 1.0, 1.0)) for n in (rows, groups))
    return np.asarray(np.clip(counts * (by_row / by_group) ** 2, np.minimum(groups, rows), rows))


def _sums(values: Array, index: npt.NDArray[Any]) -> Array:
    """Sums over the rows of each group: (groups, K)."""
    out = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(out, index, values)
    return out
