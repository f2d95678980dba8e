"""How well labels and the class head agree through a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from concord.estimation.observations import Observations
from concord.relations import EvidenceTable

Array = npt.NDArray[np.float64]


EXPONENTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


MIN_AGREEMENT = 0.01


FEWEST = 4
"""Rows (groups of rows, where they come in groups) below which nothing is said."""


MIN_Z = 3.0


@dataclass(frozen=True)
class Evidence:
    """How much the labels say of the class, through a table.

    Attributes:
        exponent: s in [0, 1], 0 where the labels say nothing that can be told from noise.
        agreement: Mean gain in nats a row, at that exponent, of the network's own view of a row over the
            average view; rows count by their weights.
        z: The gain in standard errors; 0 where there are too few rows, or groups of rows, to know. A row is
            one draw whatever its weight: a common factor on all weights makes nothing surer.
    """

    exponent: float
    agreement: float
    z: float

    @property
    def shown(self) -> bool:
        """Whether it is above noise."""
        return self.agreement > MIN_AGREEMENT and self.z > MIN_Z


def agreement(observations: Observations, table: Array, exponent: float, rates: Array) -> Array:
    """Gain in nats of each label-annotated row: log sum p e^(s ll) - log sum mean(p) e^(s ll). (m,)."""
    rows = observations.seen.any(axis=1)
    if not rows.any():
        return np.zeros(0)
    some = observations.take(rows)
    evidence = EvidenceTable.of(table, rates, some.class_to_class)
    ll = exponent * evidence.of_annotations(some.active, some.seen)
    log_p = np.log(np.clip(some.class_proba, 1e-12, None))
    mean = np.log(np.average(some.class_proba, axis=0, weights=observations.sample(rows).weight) + 1e-12)
    return logsumexp(log_p + ll, axis=1) - logsumexp(mean + ll, axis=1)


def fit_exponent(observations: Observations, table: Array, rates: Array | None = None) -> Evidence:
    """The evidence exponent under which labels and the class head agree most.

    The exponent is 0 unless the agreement is above .01 nats a row and above 3 standard errors: a wrong
    table ends there.
    """
    observations = observations.counting()
    rates = observations.base_rates() if rates is None else rates
    best, sample = Evidence(0.0, 0.0, 0.0), observations.sample(observations.seen.any(axis=1))
    for exponent in EXPONENTS[1:]:
        gains = agreement(observations, table, exponent, rates)
        if len(gains) < 2:
            return best
        mean = float(sample.mean(gains))
        if mean > best.agreement:
            best = Evidence(exponent, mean, sample.z(gains))
    return best if best.shown else Evidence(0.0, best.agreement, best.z)


def halves(observations: Observations) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Two halves of the label-annotated rows, alike in how sure the class head is.

    Rows are ranked by the head's confidence, then by their number of labels, and dealt out in turn: neither
    the order of classes nor that of rows matters, but for rows equal in both, which keep the order they come
    in. Rows without labels belong to neither, and so to every fit. Rows of one group fall into one half:
    groups are ranked by the means of their rows. Weights decide nothing here: all rows count.
    """
    labelled = np.asarray(observations.seen.any(axis=1))
    rows = np.flatnonzero(labelled)
    given = rows if observations.group is None else observations.group[rows]
    _, first_row, unit = np.unique(given, return_index=True, return_inverse=True)
    size = np.bincount(unit)
    confidence = np.bincount(unit, (observations.class_proba[rows] ** 2).sum(axis=1)) / size
    labels = np.bincount(unit, observations.active[rows].sum(axis=1)) / size
    rank = np.empty(len(size), dtype=int)
    rank[np.lexsort((first_row, labels, np.round(confidence, 9)))] = np.arange(len(size))
    first = np.zeros(len(labelled), dtype=bool)
    first[rows] = rank[unit] % 2 == 0
    return first, labelled & ~first


Builder = Callable[[Observations], Array]
"""Observations -> table (C, K): makes a relation."""


def cross_fitted(observations: Observations, build: Builder, rates: Array) -> Evidence:
    """Agreement of tables that were fitted on the other half of the label rows.

    Args:
        observations: The rows, all of weight above 0.
        build: Called on each half of the label rows, with all rows that have no labels.
        rates: (K,) base rates.
    """
    gains: list[Array] = []
    if observations.sample(observations.seen.any(axis=1)).size < FEWEST:
        return Evidence(0.0, 0.0, 0.0)
    both = halves(observations)
    for judge_on in both:
        table = build(observations.take(~judge_on))
        judged = observations.take(judge_on)
        gains.append(np.stack([agreement(judged, table, s, rates) for s in EXPONENTS[1:]]))
    each = np.concatenate(gains, axis=1)
    sample = observations.sample(np.concatenate([np.flatnonzero(half) for half in both]))
    means = sample.mean(each)
    best = int(means.argmax())
    return Evidence(EXPONENTS[best + 1], float(means[best]), sample.z(each[best]))
