"""Statistics of paired comparisons: intervals over seeds, verdicts, ranks, the bootstrap over rows.

Plain functions of arrays, vectorised over leading axes where that is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from concord.errors import RangeError, ShapeError
from concord.metrics import standard_error

Array = npt.NDArray[np.float64]
Verdict = Literal["superior", "inferior", "non-inferior", "undecided"]


MIN_SEEDS = 3
"""Fewer paired seeds decide nothing: two may agree by chance to any number of digits."""


@dataclass(frozen=True)
class Paired:
    """A mean paired difference with its interval and tests; arrays where the input had leading axes.

    Attributes:
        mean: Mean difference.
        low: Lower end of the interval; NaN with fewer than two pairs.
        high: Upper end.
        p: Two-sided p-value of no difference; 1 with fewer than three pairs.
        p_worse: One-sided p-value of being worse by the margin or more: small means non-inferior; 1 with
            fewer than three pairs.
    """

    mean: Array
    low: Array
    high: Array
    p: Array
    p_worse: Array


def paired(
    differences: Any,
    *,
    level: float = 0.95,
    margin: float = 0.0,
    row_variance: Any = 0.0,
    row_units: Any = None,
) -> Paired:
    """Student's t over paired differences (last axis: the seeds), joined with the noise of the test rows.

    Seeds that share test rows share their luck, which their spread does not show. So the half-width of the
    interval is the root of t_{n-1}^2 s^2 / n, of the seeds, plus t_{m-1}^2 v, of the m test rows: each part
    at the quantile of its own degrees of freedom. One number of degrees of freedom for the sum is that of
    the seeds, and decides next to nothing, or Satterthwaite's, and says too much with three seeds
    (`tests/study/test_statistics.py` counts). What a seed's own errors on the rows add is in both parts, so
    that the interval is rather too wide than too narrow.

    Args:
        differences: (..., n), in the metric's unit, positive where the condition is better.
        level: Mass of the interval, in (0, 1).
        margin: Non-inferiority margin, >= 0, in the metric's unit.
        row_variance: (...) variance of the mean difference by the test rows, >= 0; NaN where nothing is known
            of it, as of a single row: then there is no interval, and every p is 1.
        row_units: (...) how many test rows, or groups of them, judge a difference; None for very many.

    Raises:
        RangeError: A level outside (0, 1), or a negative margin.
        ShapeError: No difference at all.
    """
    if not 0 < level < 1 or margin < 0:
        raise RangeError(f"level lies in (0, 1) and margin is >= 0, found {level} and {margin}")
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim == 0 or d.shape[-1] == 0:
        raise ShapeError("at least one paired difference is needed")
    n, mean = d.shape[-1], d.mean(axis=-1)
    if n < 2:
        nothing = np.full_like(mean, np.nan)
        return Paired(mean, nothing, nothing, np.ones_like(mean), np.ones_like(mean))
    # Identical pairs have no variance: a floor far below any metric's resolution keeps t finite.
    noise = _Noise(np.maximum(standard_error(d), 1e-12), n, np.sqrt(np.asarray(row_variance)), row_units)
    half = noise.quantile((1 - level) / 2)
    untold = np.isnan(noise.rows) | (n < MIN_SEEDS)
    return Paired(
        mean,
        mean - half,
        mean + half,
        np.where(untold, 1.0, 2 * noise.tail(np.abs(mean))),
        np.where(untold, 1.0, noise.tail(mean + margin)),
    )


@dataclass(frozen=True)
class _Noise:
    """How far a mean difference may lie from the truth, by its seeds and by its test rows.

    Attributes:
        seeds: (...) standard error by the seeds, > 0.
        n: How many seeds, >= 2.
        rows: (...) or (), standard error by the test rows, >= 0; NaN where it is not known.
        units: (...) or (), how many rows or groups; None for very many.
    """

    seeds: Array
    n: int
    rows: Array
    units: Any

    def quantile(self, tail: Any) -> Array:
        """The distance that is exceeded, on one side, with this probability at most; tail in (0, 1/2]."""
        own = stats.t.isf(tail, self.n - 1) * self.seeds
        if not np.any(self.rows):
            return np.asarray(own)
        df = np.inf if self.units is None else np.maximum(np.asarray(self.units) - 1, 1)
        return np.hypot(own, stats.t.isf(tail, df) * self.rows)

    def tail(self, distance: Array) -> Array:
        """Of a distance, the probability that `quantile` gives it for; 1 less it for a negative one."""
        if not np.any(self.rows):
            return np.asarray(stats.t.sf(distance / self.seeds, self.n - 1))
        # The quantile falls with the probability, over hundreds of orders of magnitude: by their logarithm.
        low, high = np.full(np.shape(distance), -300.0), np.full(np.shape(distance), np.log10(0.5))
        for _ in range(60):
            middle = (low + high) / 2
            further = self.quantile(10.0**middle) > np.abs(distance)
            low, high = np.where(further, middle, low), np.where(further, high, middle)
        p = 10.0**high
        unknown = np.isnan(distance) | np.isnan(self.seeds) | np.isnan(self.rows)
        return np.where(unknown, np.nan, np.where(distance >= 0, p, 1 - p))


def holm(p: Any) -> Array:
    """p-values adjusted for the family that they form, by Holm's step-down rule: (..., m), last axis."""
    values = np.asarray(p, dtype=np.float64)
    m = values.shape[-1]
    order = np.argsort(values, axis=-1)
    stepped = np.take_along_axis(values, order, axis=-1) * (m - np.arange(m))
    running = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    out = np.empty_like(running)
    np.put_along_axis(out, order, running, axis=-1)
    return out


def verdicts(
    differences: Any,
    *,
    level: float = 0.95,
    margin: float = 0.01,
    row_variance: Any = 0.0,
    row_units: Any = None,
) -> tuple[npt.NDArray[np.str_], Paired, Array]:
    """A verdict on every member of a family of comparisons.

    *Superior* or *inferior*: the difference is not 0, by a two-sided t test with Holm's correction over
    the family. Else *non-inferior*: worse by the margin is ruled out, by a one-sided test at half the
    level, with Holm's correction over the family. Else *undecided*, as with fewer than three seeds. Under no
    difference at all, a single 'superior' or 'inferior' in the family has probability 1 - level at most.

    Args:
        differences: (..., m, n): m comparisons over n paired seeds, positive where better.
        level: 1 minus the error that is allowed.
        margin: Non-inferiority margin in the metric's unit, >= 0.
        row_variance: (..., m) variance of each mean difference by the test rows, >= 0; NaN where nothing is
            known of it.
        row_units: (..., m) how many test rows, or groups of them, judge each; None for very many.

    Returns:
        Verdicts (..., m), the tests they rest on, and the adjusted two-sided p-values (..., m).
    """
    tests = paired(differences, level=level, margin=margin, row_variance=row_variance, row_units=row_units)
    adjusted = holm(tests.p)
    alpha = 1 - level
    differs = adjusted < alpha
    not_worse = holm(tests.p_worse) < alpha / 2
    decided = np.where(not_worse, "non-inferior", "undecided")
    decided = np.where(differs & (tests.mean > 0), "superior", decided)
    return np.where(differs & (tests.mean < 0), "inferior", decided), tests, adjusted


def bootstrap_weights(rows: int, resamples: int, seed: int = 0, groups: Any = None) -> Array:
    """How often each test row is drawn in each resample: (resamples, rows).

    Args:
        rows: How many test rows.
        resamples: How many resamples.
        seed: Of the draws.
        groups: (rows,) whole groups are drawn; None: each row stands alone, and weights sum to `rows`.
    """
    rng = np.random.default_rng(seed)
    unit = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(unit.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples)[:, unit].astype(np.float64)


def percentile_interval(samples: Any, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples; NaN samples (nothing annotated was drawn) are left out."""
    values = np.asarray(samples, dtype=np.float64)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def delta_m(values: Any, baseline: Any, lower: Sequence[bool] | None = None) -> Array:
    """The usual mean relative gain over tasks, in percent: (...,) from (..., tasks).

    Source: Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019. A mean
    over tasks can hide that one of them lost.

    Args:
        values: (..., T) metrics of the multi-task model.
        baseline: (..., T) metrics of single-task models, not 0.
        lower: (T,) whether small values of a metric are good.
    """
    v, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    sign = np.where(np.zeros(v.shape[-1], dtype=bool) if lower is None else np.asarray(lower), -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (100 * sign * (v - b) / b).mean(axis=-1)


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over blocks, 1 the best.

    Attributes:
        mean: (k,) mean rank of each condition.
        p: Friedman's test of no difference; 1 where there are too few blocks or conditions.
        critical: Nemenyi's critical difference of mean ranks.
    """

    mean: Array
    p: float
    critical: float

    def groups(self) -> list[list[int]]:
        """Conditions that cannot be told apart: indices, best first; no group lies within another.

        These are the bars of Demsar's diagram: the ranks of a group lie within the critical difference.
        """
        order = [int(i) for i in np.argsort(self.mean, kind="stable")]
        found: list[list[int]] = []
        for start, first in enumerate(order):
            near = [i for i in order[start:] if self.mean[i] - self.mean[first] <= self.critical]
            if len(near) > 1 and not (found and set(near) <= set(found[-1])):
                found.append(near)
        return found


def mean_ranks(values: Any, *, level: float = 0.95) -> Ranks:
    """Friedman's test and Nemenyi's critical difference.

    Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.

    Args:
        values: (blocks, k), greater is better; a block is a task in a regime (means over seeds).
        level: 1 minus the level of the critical difference.

    Raises:
        ShapeError: Not two-dimensional, or fewer than two conditions.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or v.shape[1] < 2:
        raise ShapeError(f"ranks need values of shape (blocks, k >= 2), found {v.shape}")
    blocks, k = v.shape
    ranks = stats.rankdata(-v, axis=1).mean(axis=0)
    varied = not np.all(v == v[:, :1])
    p = float(stats.friedmanchisquare(*v.T).pvalue) if k > 2 and blocks > 1 and varied else 1.0
    return Ranks(ranks, p, _nemenyi(level, k) * float(np.sqrt(k * (k + 1) / (6 * blocks))))


@cache
def _nemenyi(level: float, k: int) -> float:
    return float(stats.studentized_range.ppf(level, k, np.inf) / np.sqrt(2))
