"""How many observations a cell's rows are worth, where rows come in groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FEWEST_GROUPS = 2.0
"""Effective number of groups below which nothing is known of how alike their rows are."""


def effective_counts(
    classes: npt.NDArray[Any],
    present: Array,
    seen: Array,
    weights: Array,
    groups: npt.NDArray[Any],
    *,
    width: int,
    exclusive: bool,
) -> Array:
    """The number of rows that stand alone from which the mean of a cell would be as certain: (C, K).

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
    """
    out = np.zeros((width, present.shape[1]))
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
    return out


def _sums(values: Array, index: npt.NDArray[Any]) -> Array:
    """Sums over the rows of each group: (groups, K)."""
    out = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(out, index, values)
    return out
