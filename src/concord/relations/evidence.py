"""Evidence of targets for classes: log-likelihood ratios of a table's cells against base rates.

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

from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


CLIP = 0.03
"""Least likelihood ratio of a target class, and distance that a label's cell keeps from 0 and from 1: no
single target rules a class out."""


FLOOR = 2e-3
"""Least probability of a target, as a share of what it has where all outcomes are alike; see
`least_probability`."""


def least_probability(target: Task) -> float:
    """Floor of base rates and implied probabilities: .001 of a label, .002 / K of K classes.

    An absolute floor would level the shares of thousands of classes, which are all small. This one scales
    with them: classes that are split into equal parts are decoded as before.
    """
    return FLOOR / (target.width if isinstance(target, MulticlassTask) else 2)


TINY = 1e-12
"""Keeps the logarithm of a prediction without any mass finite."""


@dataclass(frozen=True, eq=False)
class EvidenceTable:
    """Log-likelihood ratios of all cells, relative to the base rates; 0 where a cell is unknown.

    Labels: cells and base rates are kept in [.03, .97]. Class to class: a ratio is at least .03, relative to
    the base rate, however many target classes there are.

    A cell's ratio is `on` plus its row's `rest`. A sparse class-to-class table needs `rest`: a known row is 0
    wherever it stores nothing, and each of these cells is worth log .03.

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
            return cls._of_stored(table, rates, class_to_class)
        known, rest = ~np.isnan(table), np.zeros(len(table))
        cell = np.where(known, table, 0.5)
        if class_to_class:
            on = _of_classes(cell, _floored(rates, np.where(known, table, 0.0)))
            return cls(np.where(known, on, 0.0), None, rest)
        on, off = _of_labels(cell, rates)
        return cls(np.where(known, on, 0.0), np.where(known, off, 0.0), rest)

    @classmethod
    def _of_stored(cls, table: Any, rates: Array, class_to_class: bool) -> EvidenceTable:
        def stored(cells: Array) -> Any:
            return type(table)((cells, table.indices, table.indptr), shape=table.shape)

        if class_to_class:
            rest = np.log(CLIP) * (np.diff(table.indptr) > 0)
            on = _of_classes(table.data, _floored(rates, table)[table.indices])
            return cls(stored(on - np.log(CLIP)), None, rest)
        on, off = _of_labels(table.data, rates[table.indices])
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
            return self.rest + np.log(np.maximum(mixed, TINY))
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


def _floored(rates: Array, table: Any) -> Array:
    """Base rates of target classes, each at least what a class of `CLIP` of a uniform share gives it: (K,).

    So a ratio is at most C / CLIP, also where a rate is 0 next to a cell above 0 (a class with prior 0).
    Being relative to the cells, the floor never makes evidence of a row that repeats the base rates, however
    rare a target class is.
    """
    largest = table.max(axis=0)
    largest = largest.toarray().ravel() if hasattr(largest, "toarray") else largest
    return np.maximum(rates, CLIP / table.shape[0] * largest)


def _of_classes(cell: Array, rate: Array) -> Array:
    ratio = np.divide(cell, rate, out=np.zeros_like(cell), where=rate > 0)
    return np.log(np.maximum(ratio, CLIP))


def _of_labels(cell: Array, rate: Array) -> tuple[Array, Array]:
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rate, CLIP, 1 - CLIP)
    return np.log(cell / rate), np.log((1 - cell) / (1 - rate))


def _mapped(function: Any, cells: Any) -> Any:
    """A function of every stored cell."""
    if not hasattr(cells, "tocsr"):
        return function(cells)
    return type(cells)((function(cells.data), cells.indices, cells.indptr), shape=cells.shape)
