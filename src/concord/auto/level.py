"""One test for all candidates of a task: whether any is better than the start, at a stated error level."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from concord.metrics import standard_error

Array = npt.NDArray[np.float64]


ALPHA = 0.05
"""The guard's error level unless said: what one candidate alone was held to before levels were joint."""


DRAWS = 1000
"""Resamples by which the distribution of the greatest gain is known."""


TAIL = 20
"""The level is lowered by n / (n + this) for n rows or what groups are worth: `benchmarks/guard_level.py`."""


FEWEST = 4
"""So many draws lie beyond a quantile that they tell."""


SMALL = 1e-12
"""A standard error below it is none: the candidate is the start itself."""


MOST_UNITS = 1000
"""More rows or groups than these are put together by chance into so many units, which lose little."""


def studentised(gains: Array, group: npt.NDArray[Any] | None = None) -> Array:
    """Mean gains in standard errors, rows of one group counted as one sample.

    Args:
        gains: (n, m) gains of m candidates over the start on n rows.
        group: (n,) any labels, equal for rows that belong together; None: each row stands alone.

    Returns:
        (m,); 0 for a candidate that is the start itself.
    """
    sums, sizes = _units(gains, group)
    mean, error = _mean_and_error(sums, sizes)
    return np.divide(mean, error, out=np.zeros_like(mean), where=error > SMALL)


def critical_value(gains: Array, group: npt.NDArray[Any] | None, alpha: float) -> float:
    """What the greatest of the studentised gains stays below with probability 1 - alpha if no gain is real.

    The larger of two values. One is of the bootstrap: whole groups are drawn with replacement and gains are
    centred, so that candidates that resemble each other cost little, and each draw has its own standard
    errors, which allows for lopsided losses (Romano and Wolf, "Stepwise multiple testing as formalized data
    snooping", Econometrica 73, 2005, for the maximum; Hall, "Theoretical comparison of bootstrap confidence
    intervals", Annals of Statistics 16, 1988, for the standard errors). The other is of the multivariate t
    with the correlations of the gains, which is the right one for normal gains of few groups. Losses have
    longer tails than few rows show: with n rows both are taken at the level alpha n / (n + 20). The sum of a
    group's rows has shorter tails than a row where rows differ, and the same where they are alike: of groups,
    n is the geometric mean of their effective number and of the rows that they are worth by their design
    effect (Kish, Survey Sampling, 1965). A level so low that the draws do not tell is held by Student's t as
    well, with Bonferroni's correction.

    Args:
        gains: (n, m) gains of m candidates over the start on n rows.
        group: (n,) any labels, equal for rows that belong together; None: each row stands alone.
        alpha: One-sided error level over all candidates, in (0, 1).

    Returns:
        Infinity where no candidate differs from the start, or there are fewer than two groups.
    """
    sums, sizes = _units(gains, group)
    count = len(sizes)
    if count < 2:
        return float("inf")
    mean, error = _mean_and_error(sums, sizes)
    differs = error > SMALL
    if not differs.any():
        return float("inf")
    rest = (sums - mean * sizes[:, None])[:, differs]
    found = _bootstrap(rest, sizes), _normal(rest)
    n = count if group is None else _worth((gains - mean)[:, differs], rest, sizes)
    level = alpha * n / (n + TAIL)
    values = [float(np.quantile(greatest, 1 - level)) for greatest in found]
    if level < FEWEST / DRAWS:
        values.append(float(stats.t.isf(level / differs.sum(), count - 1)))
    return max(*values, 0.0)  # at a level above a half, too: what loses is never shown to gain


def _worth(each: Array, rest: Array, sizes: Array) -> float:
    """Between how many groups there are and how many rows these are worth: for the candidate that has fewest.

    Args:
        each: (n, m) centred gains of rows.
        rest: (u, m) their sums by group.
        sizes: (u,) rows of each group.
    """
    effect = np.maximum((rest**2).sum(axis=0) / (each**2).sum(axis=0), 1.0)
    groups = float(sizes.sum() ** 2 / (sizes**2).sum())
    return float(np.sqrt(groups * max(groups, len(each) / effect.max())))


def _bootstrap(rest: Array, sizes: Array) -> Array:
    """Greatest studentised gain of each resample of units, of centred sums (u, m): (draws,)."""
    count = len(sizes)
    weight = _drawn(count)
    total = (weight @ sizes)[:, None]
    shift = (weight @ rest) / total
    squares = weight @ rest**2 - 2 * shift * (weight @ (rest * sizes[:, None]))
    squares += shift**2 * (weight @ sizes**2)[:, None]
    spread = np.sqrt(np.maximum(squares, 0.0) * count / (count - 1)) / total
    z = np.divide(shift, spread, out=np.zeros_like(shift), where=spread > SMALL)
    return np.asarray(z.max(axis=1))


def _normal(rest: Array) -> Array:
    """The greatest of correlated t variables, of centred sums (u, m): (draws,)."""
    rng, degrees = np.random.default_rng(len(rest)), len(rest) - 1
    unit = rest / np.sqrt((rest**2).sum(axis=0))
    # Of the sums' correlations, without a decomposition: mixtures of as many normals as there are units.
    z = rng.normal(size=(DRAWS, len(rest))) @ unit
    return np.asarray(z.max(axis=1) / np.sqrt(rng.chisquare(degrees, size=DRAWS) / degrees))


@lru_cache(maxsize=4)
def _drawn(count: int) -> Array:
    """How often each of so many units is in each resample: (draws, units), always the same."""
    drawn = np.random.default_rng(count).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return drawn.astype(np.float64)


def _units(gains: Array, group: npt.NDArray[Any] | None) -> tuple[Array, Array]:
    """Sums (u, m) of the gains of independent units, and how many rows (u,) each has."""
    n = len(gains)
    unit = np.arange(n) if group is None else np.unique(group, return_inverse=True)[1]
    count = int(unit.max()) + 1 if n else 0
    if count > MOST_UNITS:
        unit = np.random.default_rng(count).permutation(count)[unit] % MOST_UNITS
        count = MOST_UNITS
    sums = np.zeros((count, gains.shape[1]))
    np.add.at(sums, unit, gains)
    return sums, np.bincount(unit, minlength=count).astype(np.float64)


def _mean_and_error(sums: Array, sizes: Array) -> tuple[Array, Array]:
    """Mean (m,) over rows and its standard error (m,); an error of 0 where there are fewer than two units."""
    mean = sums.sum(axis=0) / sizes.sum()
    if len(sizes) < 2:
        return mean, np.zeros_like(mean)
    return mean, standard_error((sums / sizes[:, None]).T, weights=sizes)
