"""What a table tells: which classes its labels keep apart, and which labels differ between classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from concord.relations.checking import is_sparse

Array = npt.NDArray[np.float64]


def alike(table: Array, tolerance: float) -> npt.NDArray[np.intp]:
    """A number for every class, the same for classes that no label tells apart: (C,).

    Two classes are told apart by a label whose cells are known for both and differ by more than the
    tolerance; groups are the connected components of the others.

    Args:
        table: (C, K), NaN where unknown.
        tolerance: Largest difference that counts as none, >= 0.
    """
    known = ~np.isnan(table)
    distinct, first, kind = np.unique(
        np.where(known, table, -1.0) + 0.0, axis=0, return_index=True, return_inverse=True
    )
    component = np.arange(len(distinct))
    if tolerance > 0 or not known.all():  # else distinct rows are told apart
        rows = table[first]
        for i in range(len(rows) - 1):
            close = ~(np.abs(rows[i + 1 :] - rows[i]) > tolerance).any(axis=1)
            touched = np.unique(component[i + 1 :][close])
            component[np.isin(component, touched)] = component[i]
    found: npt.NDArray[np.intp] = component[kind.reshape(-1)]
    return found


def spread(table: Any, whole: npt.NDArray[np.bool_] | None = None) -> Array:
    """Largest less smallest known cell of every label: (K,); -inf where no cell is known.

    Args:
        table: (C, K), NaN where unknown, or sparse, with its stored cells known.
        whole: (C,) rows of a sparse table whose other cells are known to be 0; None of none.
    """
    if not is_sparse(table):
        known = ~np.isnan(table)
        high = np.where(known, table, -np.inf).max(axis=0)
        return np.asarray(high - np.where(known, table, np.inf).min(axis=0))
    k = table.shape[1]
    high, low = np.full(k, -np.inf), np.full(k, np.inf)
    if whole is not None:
        zero = np.bincount(table.indices, minlength=k) < whole.sum()
        high[zero] = low[zero] = 0.0
    np.maximum.at(high, table.indices, table.data)
    np.minimum.at(low, table.indices, table.data)
    return high - low
