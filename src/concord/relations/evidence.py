"""What labels say of the class: log-likelihood ratios of a table against base rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


CLIP = 0.03


SMALLEST = 1e-12


def class_evidence(table: Array, rates: Array, active: Array, seen: Array, class_to_class: bool) -> Array:
    """Log-likelihood of every class by the annotated labels, relative to base rates: (n, C).

    Unknown cells and gaps contribute 0.

    Args:
        table: (C, K), NaN where unknown; or a sparse one, as `Relation` holds it.
        rates: (K,) base rates.
        active: (n, K) 1 where present.
        seen: (n, K) 1 where annotated.
        class_to_class: Whether a row of the table is a distribution.
    """
    if hasattr(table, "tocsr"):
        return _sparse_evidence(table, rates, active, seen, class_to_class)
    known = ~np.isnan(table)
    cell = np.where(known, table, 0.5)
    if class_to_class:
        rates = np.maximum(rates, SMALLEST)  # a class of no mass has cells of 0
        ratio = np.log(np.maximum(cell, CLIP * rates) / rates)
        return active @ np.where(known, ratio, 0.0).T
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rates, CLIP, 1 - CLIP)
    present = np.where(known, np.log(cell / rate), 0.0)
    absent = np.where(known, np.log((1 - cell) / (1 - rate)), 0.0)
    return active @ present.T + (seen - active) @ absent.T


def _sparse_evidence(table: Any, rates: Array, active: Array, seen: Array, class_to_class: bool) -> Array:
    def times(cells: Array, labels: Array) -> Array:
        return (type(table)((cells, table.indices, table.indptr), shape=table.shape) @ labels.T).T

    cell, rate = table.data, rates[table.indices]
    if class_to_class:  # cells of 0 that a known row does not store are worth log CLIP each
        rate = np.maximum(rate, SMALLEST)
        ratio = np.log(np.maximum(cell, CLIP * rate) / rate) - np.log(CLIP)
        whole = np.log(CLIP) * (np.diff(table.indptr) > 0)
        return times(ratio, active) + active.sum(axis=1)[:, None] * whole
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rate, CLIP, 1 - CLIP)
    return times(np.log(cell / rate), active) + times(np.log((1 - cell) / (1 - rate)), seen - active)
