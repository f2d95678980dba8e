"""What the targets of a row say of its class: log-likelihood ratios of a table's cells against base rates.

They are computed here and nowhere else. Estimation, decoding, couplings and the ONNX graph multiply by these
arrays, or by their exponentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


CLIP = 0.03
"""Least likelihood ratio of a target class, and distance that a label's cell keeps from 0 and from 1: no
single target rules a class out."""


SMALLEST = 1e-12
"""Least base rate of a target class."""


@dataclass(frozen=True, eq=False)
class EvidenceTable:
    """Log-likelihood ratios of all cells, relative to the base rates; 0 where a cell is unknown.

    A cell's ratio is `on` plus its row's `rest`. `rest` is what a sparse class-to-class table needs: a known
    row holds 0 wherever it stores nothing, so that all these cells are worth the same.

    Attributes:
        on: (C, K) log R / pi, what a present target adds; stored like the table, dense or sparse.
        off: (C, K) log (1 - R) / (1 - pi), what an absent label adds; None from class to class.
        rest: (C,) added to every cell of a row of `on`.
    """

    on: Any
    off: Any
    rest: Array

    @classmethod
    def of(cls, table: Any, rates: Array, class_to_class: bool) -> EvidenceTable:
        """The ratios of a table.

        Args:
            table: (C, K), NaN where unknown; or a sparse one, as `Relation` holds it.
            rates: (K,) base rates.
            class_to_class: Whether a row of the table is a distribution.
        """
        if hasattr(table, "tocsr"):
            return cls._of_stored(table, rates[table.indices], class_to_class)
        known, rest = ~np.isnan(table), np.zeros(len(table))
        cell = np.where(known, table, 0.5)
        if class_to_class:
            return cls(np.where(known, _of_classes(cell, rates), 0.0), None, rest)
        on, off = _of_labels(cell, rates)
        return cls(np.where(known, on, 0.0), np.where(known, off, 0.0), rest)

    @classmethod
    def _of_stored(cls, table: Any, rates: Array, class_to_class: bool) -> EvidenceTable:
        def stored(cells: Array) -> Any:
            return type(table)((cells, table.indices, table.indptr), shape=table.shape)

        if class_to_class:
            rest = np.log(CLIP) * (np.diff(table.indptr) > 0)
            return cls(stored(_of_classes(table.data, rates) - np.log(CLIP)), None, rest)
        on, off = _of_labels(table.data, rates)
        return cls(stored(on), stored(off), np.zeros(table.shape[0]))

    def of_annotations(self, active: Array, seen: Array) -> Array:
        """Log-likelihood of every class by annotated targets; gaps and unknown cells add 0: (n, C).

        Args:
            active: (n, K) 1 where present.
            seen: (n, K) 1 where annotated.
        """
        found: Array = active @ self.on.T + active.sum(axis=1, keepdims=True) * self.rest
        return found if self.off is None else found + (seen - active) @ self.off.T

    def of_predictions(self, target_proba: Array) -> Array:
        """Log-likelihood of every class by predicted targets: (n, C).

        Labels: sum_k log(q_k R/pi + (1-q_k)(1-R)/(1-pi)). Class to class: log sum_d q_d S_cd/pi_d. Certain
        predictions are worth what annotations are.

        Args:
            target_proba: (n, K) probabilities q.
        """
        if self.off is None:
            mixed = target_proba @ _mapped(np.expm1, self.on).T + target_proba.sum(axis=1, keepdims=True)
            return self.rest + np.log(np.maximum(mixed, SMALLEST))
        score = np.zeros((len(target_proba), len(self.rest)))
        for q, (classes, on, off) in zip(target_proba.T, self._labels(), strict=True):
            score[:, classes] += np.log(q[:, None] * on + (1 - q[:, None]) * off)
        return score

    def _labels(self) -> Iterator[tuple[Any, Array, Array]]:
        """Label by label, so that nothing of size (n, C, K) is made: classes with a cell, their ratios."""
        if not hasattr(self.on, "tocsc"):
            for on, off in zip(self.on.T, self.off.T, strict=True):
                yield slice(None), np.exp(on), np.exp(off)
            return
        present, absent = self.on.tocsc(), self.off.tocsc()
        for start, stop in pairwise(present.indptr):
            cells = slice(start, stop)
            yield present.indices[cells], np.exp(present.data[cells]), np.exp(absent.data[cells])


def _of_classes(cell: Array, rate: Array) -> Array:
    rate = np.maximum(rate, SMALLEST)  # a class of no mass has cells of 0
    ratios: Array = np.log(np.maximum(cell, CLIP * rate) / rate)
    return ratios


def _of_labels(cell: Array, rate: Array) -> tuple[Array, Array]:
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rate, CLIP, 1 - CLIP)
    return np.log(cell / rate), np.log((1 - cell) / (1 - rate))


def _mapped(function: Any, cells: Any) -> Any:
    """A function of every stored cell."""
    if not hasattr(cells, "tocsr"):
        return function(cells)
    return type(cells)((function(cells.data), cells.indices, cells.indptr), shape=cells.shape)
