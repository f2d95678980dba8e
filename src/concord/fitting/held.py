"""Features as people hold them, for learners that take more than tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


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
