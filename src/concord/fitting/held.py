"""Features as people hold them, for learners that take more than tensors."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from concord.arrays import is_gap


@dataclass(frozen=True, eq=False)
class HeldFeatures:
    """Features in memory as they were given: gaps, text, names and sparsity stay.

    Attributes:
        values: (n, d) an array, a sparse matrix with rows (CSR), or a frame of pandas or polars.
    """

    values: Any

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __getitem__(self, index: Any) -> HeldFeatures:
        """The rows of a tensor of indices, or of a slice, in its order."""
        rows = index.numpy() if isinstance(index, Tensor) else index
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        return HeldFeatures(self.values.iloc[rows] if hasattr(self.values, "iloc") else self.values[rows])

    def numbers(self) -> Any:
        """Columns of numbers among held features, (n, d): a matrix without gaps, on one scale.

        Gaps are means; a sparse matrix stays one, divided by its largest absolute values, and its gaps are 0.
        """
        values = self.values
        if sparse.issparse(values):
            from sklearn.preprocessing import maxabs_scale

            filled = values.astype(np.float64, copy=True).tocsr()
            filled.data[~np.isfinite(filled.data)] = 0.0
            return maxabs_scale(filled)
        if hasattr(values, "columns"):
            columns = [_as_numbers(np.asarray(values[name])) for name in values.columns]
            columns = [c for c in columns if c is not None]
            values = np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))
        elif values.dtype.kind not in "biuf":
            columns = [c for c in map(_as_numbers, values.T) if c is not None]
            values = np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))
        array = np.asarray(values, dtype=np.float64)
        known = np.isfinite(array)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, array, 0.0).sum(axis=0) / count
        centred = np.where(known, array - mean, 0.0)
        deviation = np.sqrt((centred**2).sum(axis=0) / count)
        return centred / np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(mean)), deviation, 1.0)


def _as_numbers(column: Any) -> Any:
    """A column as numbers, with gaps; None for one that holds anything else, figures in quotes among it."""
    if column.dtype.kind in "biuf":
        return column
    if column.dtype.kind != "O":
        return None
    known = np.array([isinstance(each, Real) for each in column], dtype=bool)
    if not all(is_gap(each) for each in column[~known]):
        return None
    out = np.full(len(column), np.nan)
    out[known] = column[known].astype(np.float64)
    return out
