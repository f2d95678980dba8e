"""A relation by EM over missing classes and labels, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

from concord.errors import RangeError
from concord.estimation.observations import Observations
from concord.relations import EvidenceTable, Relation, least_probability
from concord.tasks import MISSING_CLASS

Array = npt.NDArray[np.float64]


def _em(
    obs: Observations,
    prior_table: Array,
    prior_strength: float | Array,
    *,
    iterations: int = 20,
    start: Array | None = None,
) -> tuple[Array, Array]:
    """EM over missing classes and labels; returns the table and the effective count of each cell."""
    rates, w = obs.base_rates(), obs.weights[:, None]
    active, seen = obs.active, obs.seen
    has_class = obs.classes != MISSING_CLASS
    known_class = np.eye(obs.source.width)[np.where(has_class, obs.classes, 0)]
    log_p = np.log(np.clip(obs.class_proba, 1e-12, None))
    labelled = np.asarray(seen.any(axis=1))
    least = least_probability(obs.target)
    q = np.clip(obs.target_proba, least / 10, 1 - least / 10)
    clipped_rates = np.clip(rates, least, 1 - least)
    info = _information(obs, q, clipped_rates, labelled)
    open_rows = has_class[:, None] & (seen == 0)
    # A label head knows no more than the rows that it learnt from: what it fills in weighs no more.
    known, filled = (w * seen).sum(axis=0), info * (w * open_rows).sum(axis=0)
    info = info * np.minimum(1.0, np.divide(known, filled, out=np.ones_like(known), where=filled > 0))
    prior_table = np.where(np.isnan(prior_table), rates, prior_table)
    table = prior_table.copy() if start is None else start.copy()
    for _ in range(iterations):
        ll = EvidenceTable.of(table, rates, obs.class_to_class).of_annotations(active, seen)
        r = np.where(has_class[:, None], known_class, softmax(log_p + ll, axis=1)) * w
        hits, total = r[labelled].T @ (active * seen)[labelled], r[labelled].T @ seen[labelled]
        if open_rows.any():
            rows = np.flatnonzero(open_rows.any(axis=1))
            cells = np.clip(table[obs.classes[rows]], least, 1 - least)
            if obs.class_to_class:
                t = softmax(np.log(q[rows]) + np.log(cells) - np.log(clipped_rates), axis=1)
            else:
                t = expit(logit(q[rows]) + logit(cells) - logit(clipped_rates))
            gate = info * open_rows[rows] * w[rows]
            member = known_class[rows]
            hits, total = hits + member.T @ (gate * t), total + member.T @ gate
        table = (hits + prior_strength * prior_table) / (total + prior_strength)
        if obs.class_to_class:
            table = table / table.sum(axis=1, keepdims=True)
    return table, total


def _information(obs: Observations, q: Array, rates: Array, labelled: npt.NDArray[np.bool_]) -> Array:
    """How much a label head says beyond the base rate, in [0, 1]: (K,)."""
    rows = (obs.classes != MISSING_CLASS) & ~labelled
    if not rows.any():
        return np.zeros(obs.target.width)
    w = None if obs.weight is None else np.maximum(obs.weights[rows], 1e-12)
    spread = np.average(q[rows] * (1 - q[rows]), axis=0, weights=w) / (rates * (1 - rates))
    return np.clip(1 - spread, 0.0, 1.0)


def calibrate(table: Array, estimate: Array, mass: Array) -> Array:
    """A table on the scale of the data: for each label, the regression of the estimate on the table.

    The slope is kept in [0, 1.2]: a label that the table has upside down becomes uninformative, never
    inverted. It turns 'may occur' tables of 0 and 1 into probabilities. Unknown cells stay unknown.

    Args:
        table: (C, K), NaN where unknown.
        estimate: (C, K).
        mass: (C,) or (C, K), how much each row (cell) counts.
    """
    known = ~np.isnan(table)
    weight = known * (mass if mass.ndim == 2 else mass[:, None])
    total = np.maximum(weight.sum(axis=0), 1e-12)
    x = np.nan_to_num(table)
    mean_x, mean_y = (weight * x).sum(axis=0) / total, (weight * estimate).sum(axis=0) / total
    cov = (weight * (x - mean_x) * (estimate - mean_y)).sum(axis=0)
    var = (weight * (x - mean_x) ** 2).sum(axis=0)
    # A ridge of next to nothing, so that a label whose column is constant keeps slope 0.
    slope = np.clip(cov / (var + 1e-6 * total), 0.0, 1.2)
    return np.where(known, np.clip(mean_y + slope * (x - mean_x), 0.0, 1.0), np.nan)


FREE_STRENGTH = 2.0


def free_estimate(
    observations: Observations, table: Array | None = None, strength: float = FREE_STRENGTH
) -> Array:
    """EM over missing classes and labels, shrunk to the known cells of `table` with `strength` rows.

    Where no cell is known the base rate is the prior, worth 2 rows: unknown cells are filled by the data.
    """
    if table is None:
        table = np.full((observations.source.width, observations.target.width), np.nan)
    return _em(observations, table, np.where(np.isnan(table), FREE_STRENGTH, strength))[0]


@dataclass(frozen=True, eq=False)
class TableRule:
    """A rule that makes a relation: called on `Observations`, it gives a table (C, K).

    Attributes:
        table: (C, K) the supplied table; None where nothing of it is used.
        scaled: Whether the table is calibrated to the data first.
        strength: How many rows the table is worth in EM; infinite: it is taken as it is.
        of_both: Whether rows that are annotated for both tasks are counted, and no others: what heads say of
            the others would lead the estimate astray where they know too little.
    """

    table: Array | None = None
    scaled: bool = False
    strength: float = FREE_STRENGTH
    of_both: bool = False

    @property
    def as_supplied(self) -> bool:
        """Whether the table is taken as it is, whatever the rows say."""
        return self.table is not None and not self.scaled and bool(np.isinf(self.strength))

    def __call__(self, observations: Observations) -> Array:
        """The table that these rows lead to."""
        if self.of_both:
            observations = observations.take(observations.both)
        start = self.table
        if start is not None and self.scaled:
            start = calibrate(start, free_estimate(observations), np.ones(len(start)))
            if observations.class_to_class:  # each column had a line of its own
                start = start / np.maximum(start.sum(axis=1, keepdims=True), 1e-12)
        if start is not None and np.isinf(self.strength):
            return start
        return free_estimate(observations, start, self.strength)


def class_prior(observations: Observations) -> Array:
    """Share of each class among annotated rows, with one row added to each: (C,)."""
    known = observations.classes != MISSING_CLASS
    count = np.bincount(
        observations.classes[known], weights=observations.weights[known], minlength=observations.source.width
    )
    return (count + 1.0) / (count + 1.0).sum()


def estimate_by_em(
    observations: Observations, *, level: float = 0.95, strength: float = FREE_STRENGTH
) -> Relation:
    """The data's own estimate of a relation, whatever the overlap, with an interval for every cell.

    EM over missing classes and labels; what a label head says of rows with a class alone weighs, over all of
    them, no more than the annotated rows that it was trained on.

    An interval is the Beta distribution of the cell's mean whose variance is that of the maximum likelihood
    estimate, by the outer product of the scores of all cells of a label: so it grows where the class head
    cannot tell two classes apart. Where rows come in groups it is the cluster-robust one (scores are summed
    within groups), and a cell that rests on less than two groups is worth no rows: its interval is that of
    the base rate. It is conditional: it holds no bias of the heads, and is right if they are on average.
    An audit makes intervals that are not (`audit_relation`).

    Args:
        observations: Rows with annotations and out-of-sample predictions of uncoupled heads, `calibrated`.
            Those of weight 0 are left out.
        level: Probability mass of the intervals, in (0, 1).
        strength: Weight of a label's base rate, in rows, > 0.

    Returns:
        The relation; `strength` counts the rows that a cell is worth. A label without an annotation is
        unknown.

    Raises:
        RangeError: A level outside (0, 1), or a strength that is not > 0.
    """
    if not 0 < level < 1:
        raise RangeError(f"the level of an interval lies in (0, 1), found {level}")
    if not 0 < strength < np.inf:
        raise RangeError(f"the weight of the prior is finite and > 0, found {strength}")
    observations = observations.counting()
    found = with_intervals(observations, observations.base_rates(), level, strength)
    never = ~observations.seen.any(axis=0)
    if not never.any():
        return found
    assert found.interval is not None
    return found.replace(
        table=np.where(never, np.nan, found.table), interval=np.where(never, np.nan, found.interval)
    )


def with_intervals(
    observations: Observations,
    rates: Array,
    level: float = 0.95,
    strength: float = FREE_STRENGTH,
) -> Relation:
    """The relation by EM, with a Beta interval for every cell."""
    from scipy import stats

    prior = np.tile(rates, (observations.source.width, 1))
    table, _ = _em(observations, prior, strength)
    mean = np.clip(table, 1e-6, 1 - 1e-6)
    count = np.maximum(mean * (1 - mean) / _variance(observations, table, rates, strength) - strength, 0.0)
    worth = count + strength
    tail = (1 - level) / 2
    low, high = (stats.beta.ppf(t, mean * worth, (1 - mean) * worth) for t in (tail, 1 - tail))
    return Relation(
        observations.source,
        observations.target,
        table,
        strength=count,
        interval=np.stack([low, high]),
        base_rate=rates,
        prior=class_prior(observations),
    )


FEWEST_GROUPS = 2.0
"""Effective number of groups below which nothing is known of the noise of a cell."""


def effective_groups(mass: Array, group: npt.NDArray[Any]) -> Array:
    """(sum of m)^2 / sum of m^2 over the mass m of each group: (C,) from (n, C)."""
    names, index = np.unique(group, return_inverse=True)
    by_group = np.zeros((len(names), mass.shape[1]))
    np.add.at(by_group, index, mass)
    return by_group.sum(axis=0) ** 2 / np.maximum((by_group**2).sum(axis=0), np.finfo(np.float64).tiny)


def _variance(observations: Observations, table: Array, rates: Array, strength: float) -> Array:
    """Variance of every cell, (C, K): the diagonal of the inverse information of each label's cells.

    With groups, the sandwich whose middle is the outer product of the scores of groups, where that is larger;
    infinite where less than two groups are behind a cell.
    """
    obs = observations.take(observations.seen.any(axis=1))
    active, seen, w = obs.active, obs.seen, obs.weights[:, None]
    has_class = obs.classes != MISSING_CLASS
    ll = EvidenceTable.of(table, rates, obs.class_to_class).of_annotations(active, seen)
    r = softmax(np.log(np.clip(obs.class_proba, 1e-12, None)) + ll, axis=1)
    r = np.where(has_class[:, None], np.eye(obs.source.width)[np.where(has_class, obs.classes, 0)], r)
    least = least_probability(obs.target)
    cell = np.clip(table, least, 1 - least)
    spread = cell * (1 - cell)
    out = np.empty_like(cell)
    for k in range(cell.shape[1]):
        score = r * seen[:, [k]] * (active[:, [k]] - cell[:, k]) / spread[:, k]
        prior = np.diag(strength / spread[:, k])
        inverse = np.linalg.inv(score.T @ (w * score) + prior)
        out[:, k] = np.diag(inverse)
        if obs.group is not None:
            names, index = np.unique(obs.group, return_inverse=True)
            sums = np.zeros((len(names), len(cell)))
            np.add.at(sums, index, w * score)
            middle = sums.T @ sums * (len(names) / max(len(names) - 1, 1)) + prior
            few = effective_groups(w * r * seen[:, [k]], obs.group) < FEWEST_GROUPS
            robust = np.maximum(out[:, k], np.diag(inverse @ middle @ inverse))
            out[:, k] = np.where(few, np.inf, robust)
    return out
