"""A small audit: rows annotated for both tasks, which tell how far an estimated relation can be trusted.

A relation that is estimated from annotations that share no row rests on assumptions about the heads that no
such row can check. A few co-annotated rows can. Here they are not used to re-estimate the relation, but to
measure the error of the estimate made without them, and to correct each cell as far as that error suggests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import group_of_rows
from concord.errors import NoAnnotationError, RangeError, ShapeError
from concord.estimation.assisted import assisted_intervals
from concord.estimation.calibration import calibrated
from concord.estimation.em import estimate_by_em
from concord.estimation.observations import Observations, observed
from concord.relations import Relation, effective_counts, row_weights, sure_counts
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

Array = npt.NDArray[np.float64]

STRENGTHS = np.geomspace(0.25, 1000.0, 49)
"""How many audited rows the estimate without the audit may be worth in a cell."""

EDGE = 1e-3
"""Estimated cells keep this distance from 0 and 1: a prior that allows one value alone learns nothing."""


@dataclass(frozen=True)
class RelationAudit:
    """What co-annotated rows say of an estimated relation.

    Attributes:
        relation: The corrected relation. The `interval` of an audited cell covers its truth whatever the
            error of the estimate; that of a cell without an audited row supposes that its error is as those
            of the others. `strength` says how many rows a cell is worth.
        estimate: The estimate without the audit; its intervals assume that the heads are right on average.
        rows: Number of audited rows; of groups, where rows come in groups.
        worth: How many audited rows of its class the estimate is worth in a cell, on average over what the
            audit leaves possible.
        error: Root mean square of the estimate's error over cells, as far as the audit shows it.
        covered: Share of audited frequencies within the conditional intervals of the estimate, widened by the
            audit's own sampling noise; about `level` if the assumptions hold.
        cells: Number of cells behind `covered`: those with three audited rows or more.
        level: Probability mass of the intervals.
    """

    relation: Relation
    estimate: Relation
    rows: int
    worth: float
    error: float
    covered: float
    cells: int
    level: float

    @property
    def assumptions_held(self) -> bool:
        """Whether the conditional intervals of the estimate cover what they promise, beyond chance (5 %)."""
        from scipy.stats import binom

        return bool(binom.cdf(round(self.covered * self.cells), self.cells, self.level) >= 0.05)

    def sentences(self) -> list[str]:
        """The outcome in plain words."""
        held = "held" if self.assumptions_held else "did not hold"
        worth = (
            f"{self.estimate.name}: {self.rows} audited rows. The estimate without them is off by "
            f"{self.error:.3f} (root mean square over cells) and worth {self.worth:.1f} audited rows a class."
        )
        if not self.cells:
            return [worth, "No cell has three audited rows, so that nothing is known of its intervals."]
        covered = (
            f"Its conditional intervals cover {self.covered:.0%} of what was audited, where {self.level:.0%} "
            f"is promised: the assumptions about the heads {held}."
        )
        return [worth, covered]


def audit_relation(
    source: MulticlassTask,
    target: Task,
    classes: Any,
    targets: Any,
    *,
    class_proba: Any,
    target_proba: Any = None,
    audited: Any,
    weights: Any = None,
    groups: Any = None,
    level: float = 0.95,
) -> RelationAudit:
    """Estimate a relation and correct it by rows that were annotated for both tasks for this purpose.

    The relation is first estimated without the audited rows. The number of audited rows s that this estimate
    is worth in a cell has a flat prior on its logarithm and the likelihood of the audited counts, each
    beta-binomial around its estimated cell; a cell's posterior is the mixture over s of Beta distributions
    (empirical Bayes as in Efron and Morris, with s integrated out). If the estimate is good, s is large and
    the audit changes little; if it is biased, s is small and audited cells follow their own counts.

    The interval of an audited cell is a confidence interval: for each truth by itself it covers with
    probability `level` (by mid-p, so on average over the possible truths), however wrong the estimate; the
    estimate only makes it shorter than that of the counts alone (Yu and Hoff, "Adaptive multigroup confidence
    intervals with constant coverage", Biometrika 105, 2018).

    Args:
        source: The task of the rows of the table.
        target: The task of its columns.
        classes: Shape (n,): classes as names or indices, with gaps.
        targets: Shape (n, K) labels, or (n,) classes of the target, with gaps.
        class_proba: Shape (n, C): class probabilities by a head that was not trained on the row.
        target_proba: Shape (n, K): probabilities of the target, likewise; None takes the base rates for them.
        audited: Shape (n,) truth values, or the numbers of the audited rows. Which rows are audited must not
            depend on what they were found to show; `propose_audit` draws them.
        weights: Shape (n,), >= 0: how many samples a row counts for in the estimate; None counts each once.
            An audited row counts once, whatever its weight.
        groups: Shape (n,): videos, persons; rows of one group count as far as their labels differ: as one
            where they are all alike, each where they differ as much as rows of other groups. How far that is
            is known from the groups themselves, so that few of them count for less.
        level: Probability mass of the intervals, in (0, 1).

    Raises:
        NoAnnotationError: No audited row is annotated for both tasks, or no other row for the target.
        ShapeError: Arrays of different lengths, or predictions of another width than their task.
        RangeError: Predictions that are no probabilities, a level outside (0, 1), or audited rows that do not
            exist, occur twice or are no whole numbers.

    Example:
        >>> import numpy as np
        >>> from concord import MulticlassTask, MultilabelTask
        >>> pet, trait = MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("trait", ["barks"])
        >>> y, gap = np.arange(80) % 2, np.nan
        >>> classes = np.where(np.arange(80) < 40, y, -1)  # 40 rows with a class, 40 with a label
        >>> labels = np.where(np.arange(80) < 40, gap, y)[:, None].astype(float)
        >>> classes[40:60] = y[40:60]  # 20 of the latter were given a class, too
        >>> p = np.eye(2)[y] * 0.8 + 0.1
        >>> found = audit_relation(pet, trait, classes, labels, class_proba=p, audited=range(40, 60))
        >>> found.relation.table.round().tolist()
        [[0.0], [1.0]]
    """
    rows = observed(source, target, classes, targets, class_proba, target_proba, groups=groups)
    if weights is not None:
        rows = replace(rows, weight=row_weights(weights, len(rows.classes)))
    which = _mask(audited, len(rows.classes))
    both = which & (rows.classes != MISSING_CLASS) & rows.seen.any(axis=1)
    if not both.any():
        raise NoAnnotationError(f"no audited row is annotated for both {source.name!r} and {target.name!r}")
    rest = rows.take(~both).counting()
    if target_proba is None:  # base rates of the rows that the estimate is made of
        rest = replace(rest, target_proba=np.broadcast_to(rest.base_rates(), rest.target_proba.shape))
    estimate = estimate_by_em(calibrated(rest), level=level)
    return _corrected(estimate, rows.take(both), level)


def propose_audit(
    class_proba: Any, rows: int = 100, *, candidates: Any = None, groups: Any = None, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Which rows to annotate for both tasks: the same number of each predicted class, groups in turn.

    Cells of rare classes are the uncertain ones, so rows are drawn evenly over predicted classes, at random
    within each. Nothing but the class head's prediction decides, so that the audit is unbiased given it.

    Args:
        class_proba: Shape (n, C): class probabilities by a head that was not trained on the row.
        rows: How many rows to propose, >= 1; fewer where there are fewer candidates.
        candidates: Shape (n,) truth values, or numbers of the rows to choose from; None: all.
        groups: Shape (n,): videos, persons.
        seed: Of the draw.

    Returns:
        Numbers of the rows, in increasing order.

    Raises:
        RangeError: A number of rows below 1, or a candidate that does not exist.
        ShapeError: Probabilities that are no (n, C) array, or groups of another number of rows.
        AnnotationError: A row without a group.
    """
    p = np.asarray(class_proba, dtype=np.float64)
    if p.ndim != 2:
        raise ShapeError(f"class_proba has shape (n, C), found {p.shape}")
    if rows < 1:
        raise RangeError(f"an audit has at least one row, found {rows}")
    open_rows = np.flatnonzero(
        np.ones(len(p), dtype=bool) if candidates is None else _mask(candidates, len(p))
    )
    order = np.random.default_rng([seed, 17]).permutation(open_rows)
    guess = p[order].argmax(axis=1)
    group = group_of_rows(groups, len(p))
    repeat = np.zeros(len(order), dtype=np.int64) if group is None else _occurrence(group[order])
    # Later rows of a group come after the first rows of all; within that, classes take turns.
    turn = np.empty(len(order), dtype=np.int64)
    for c in np.unique(guess):
        mine = np.flatnonzero(guess == c)
        turn[mine[np.argsort(repeat[mine], kind="stable")]] = np.arange(len(mine))
    chosen = np.lexsort((np.arange(len(order)), turn))[:rows]
    return np.sort(order[chosen])


def _occurrence(names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How many equal names stand before each one."""
    out = np.empty(len(names), dtype=np.int64)
    for name in np.unique(names):
        mine = np.flatnonzero(names == name)
        out[mine] = np.arange(len(mine))
    return out


def _mask(which: Any, n: int) -> npt.NDArray[np.bool_]:
    given = np.asarray(list(which) if isinstance(which, (range, set, frozenset, Sequence)) else which)
    if given.dtype == np.bool_:
        if given.shape != (n,):
            raise ShapeError(f"truth values of {n} rows are needed, found shape {given.shape}")
        return given
    whole = given.ndim == 1 and (not len(given) or (given.dtype.kind in "iuf" and (given % 1 == 0).all()))
    if not whole or len(np.unique(given)) < len(given):  # a column of 0 and 1 is no list of rows 0 and 1
        raise RangeError(f"rows are given by truth values of all {n}, or by their numbers, each once")
    numbers = given.astype(np.int64)
    if len(numbers) and not ((numbers >= 0) & (numbers < n)).all():
        raise RangeError(f"numbers of rows lie in 0 .. {n - 1}")
    out = np.zeros(n, dtype=bool)
    out[numbers] = True
    return out


def _corrected(estimate: Relation, rows: Observations, level: float) -> RelationAudit:
    member = np.eye(rows.source.width)[rows.classes]
    total, hits = member.T @ rows.seen, member.T @ (rows.active * rows.seen)
    if rows.group is not None:
        worth = _worth(rows, rows.group, level)
        hits = np.divide(hits, total, out=np.zeros_like(total), where=total > 0) * worth
        total = worth
    known = ~np.isnan(estimate.table)
    if not known.any():
        raise NoAnnotationError(
            f"{estimate.name}: no row is annotated besides the audited ones, so that there is no estimate to "
            "correct; estimate the table from the rows annotated for both tasks"
        )
    mean = np.clip(np.where(known, estimate.table, 0.5), EDGE, 1 - EDGE)
    weight = _strength_weights(mean[known], hits[known], total[known])
    table, low, high = _mixture(mean, hits, total, weight, level)
    spread = np.maximum(high - low, 1e-9)
    counted = assisted_intervals(mean, hits, total, STRENGTHS, weight, level)
    low, high = np.where(total > 0, counted, np.stack([low, high]))
    relation = estimate.replace(
        table=_rows_of_one(np.where(known, table, np.nan), rows.class_to_class),
        interval=np.where(known, np.stack([np.minimum(low, table), np.maximum(high, table)]), np.nan),
        strength=np.where(known, table * (1 - table) * (2 * _quantile(level) / spread) ** 2, 0.0),
    )
    bias = np.sqrt(
        (weight[:, None] * (mean[known] * (1 - mean[known])) / (STRENGTHS[:, None] + 1)).sum(axis=0)
    )
    return RelationAudit(
        relation,
        estimate,
        len(rows.classes) if rows.group is None else len(np.unique(rows.group)),
        float(np.exp(weight @ np.log(STRENGTHS))),
        float(np.sqrt(np.mean(bias**2))),
        *_coverage(estimate, hits, total, level),
        level,
    )


def _worth(rows: Observations, group: npt.NDArray[Any], level: float) -> Array:
    """How many rows that stand alone the audited rows of each cell are worth: (C, K), 0 .. their number."""
    total = np.eye(rows.source.width)[rows.classes].T @ rows.seen
    counts, groups = effective_counts(
        rows.classes,
        rows.active,
        rows.seen,
        np.ones(len(rows.classes)),
        group,
        width=rows.source.width,
        exclusive=rows.class_to_class,
    )
    return sure_counts(counts, total, groups, level)


def _quantile(level: float) -> float:
    """Half the width of a normal interval of this level, in standard deviations."""
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def _strength_weights(mean: Array, hits: Array, total: Array) -> Array:
    """Posterior of the estimate's worth on `STRENGTHS`, from beta-binomial counts of all cells."""
    from scipy.special import betaln

    s = STRENGTHS[:, None]
    a, b = mean * s, (1 - mean) * s
    loglik = (betaln(a + hits, b + total - hits) - betaln(a, b)).sum(axis=1)
    weight = np.exp(loglik - loglik.max())
    return np.asarray(weight / weight.sum())


def _mixture(
    mean: Array, hits: Array, total: Array, weight: Array, level: float
) -> tuple[Array, Array, Array]:
    """Mean and interval of every cell under the mixture over strengths: (C, K) each."""
    from scipy import stats

    used = weight > 1e-4
    s, w = STRENGTHS[used], weight[used] / weight[used].sum()
    a = mean[..., None] * s + hits[..., None]
    b = (1 - mean[..., None]) * s + (total - hits)[..., None]
    centre = (w * a / (a + b)).sum(axis=-1)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        below, above = np.zeros_like(centre), np.ones_like(centre)
        for _ in range(40):  # bisection: the distribution function of a mixture has no inverse of its own
            middle = (below + above) / 2
            mass = (w * stats.beta.cdf(middle[..., None], a, b)).sum(axis=-1)
            below, above = np.where(mass < tail, middle, below), np.where(mass < tail, above, middle)
        ends.append((below + above) / 2)
    return centre, ends[0], ends[1]


def _rows_of_one(table: Array, class_to_class: bool) -> Array:
    return table / table.sum(axis=1, keepdims=True) if class_to_class else table


def _coverage(estimate: Relation, hits: Array, total: Array, level: float) -> tuple[float, int]:
    """Share and number of cells whose audited frequency lies within the interval, plus the audit's noise."""
    assert estimate.interval is not None
    low, high = estimate.interval
    seen = (total >= 3) & ~np.isnan(estimate.table)
    if not seen.any():
        return 1.0, 0
    mean = np.clip(estimate.table, EDGE, 1 - EDGE)
    noise = np.sqrt(mean * (1 - mean) / np.maximum(total, 1.0))
    half = np.sqrt(((high - low) / 2) ** 2 + (_quantile(level) * noise) ** 2)
    off = np.abs(hits / np.maximum(total, 1.0) - estimate.table)
    return float((off <= half)[seen].mean()), int(seen.sum())
