"""Confidence intervals of a frequency that a guess shortens and cannot mislead."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, gammaln, xlog1py, xlogy

Array = npt.NDArray[np.float64]

POINTS = 401
"""Frequencies that are tried; an interval is open to the next of them on both sides."""

DIGITS = 3
"""To how many digits a guess is rounded: what is guessed decides on length alone."""


def assisted_intervals(
    guess: Array, hits: Array, total: Array, strengths: Array, weights: Array, level: float
) -> Array:
    """Intervals of frequencies from counts, assisted by a guess.

    A frequency is in the interval if the test of it accepts the counted hits. Each test accepts the hits that
    are most likely relative to what the guess expects, a mixture of beta-binomials, which makes the interval
    the shortest on average where the guess is right (Pratt, "Length of confidence intervals", JASA 56, 1961;
    Yu and Hoff, "Adaptive multigroup confidence intervals with constant coverage", Biometrika 105, 2018).
    Whatever the guess, the truth is covered with probability `level`, by mid-p (Lancaster, "Significance
    tests in discrete distributions", JASA 56, 1961): on average over possible truths, for one of them up to
    a few hundredths less.

    Args:
        guess: Any shape, in (0, 1): mean of each beta distribution of what is expected.
        hits: The same shape, >= 0.
        total: The same shape, >= hits; numbers of rows that are no integers are rounded down to at least 1.
        strengths: (S,) > 0: worth of the guess in rows, one for each part of the mixture.
        weights: (S,) >= 0, of the parts.
        level: In (0, 1).

    Returns:
        (2, ...): lower and upper ends; 0 and 1 where nothing was counted.
    """
    some = weights > 1e-3 * weights.max()
    mixture = (tuple(strengths[some]), tuple(np.log(weights[some] / weights[some].sum())))
    rows = np.where(total > 0, np.maximum(np.floor(total + 1e-9), 1), 0).astype(int)
    share = np.divide(hits, total, out=np.zeros_like(total), where=total > 0)
    ends = np.zeros((2, *guess.shape))
    ends[1] = 1.0
    for cell in np.argwhere(rows > 0):
        at = tuple(cell)
        n = int(rows[at])
        middle = float(np.clip(np.round(guess[at], DIGITS), 10.0**-DIGITS, 1 - 10.0**-DIGITS))
        ends[(slice(None), *at)] = _intervals(n, middle, mixture, level)[:, round(float(share[at]) * n)]
    return ends


@lru_cache(maxsize=20_000)
def _intervals(
    n: int, guess: float, mixture: tuple[tuple[float, ...], tuple[float, ...]], level: float
) -> Array:
    """Intervals for every number of hits among n: (2, n + 1)."""
    k = np.arange(n + 1)
    choose, likely, probable = _binomial(n)
    strength, weight = np.asarray(mixture[0])[:, None], np.asarray(mixture[1])[:, None]
    a, b = guess * strength, (1 - guess) * strength
    expected = np.logaddexp.reduce(weight + choose + betaln(a + k, b + n - k) - betaln(a, b), axis=0)
    order = np.argsort(expected - likely, axis=1, kind="stable")
    p = np.take_along_axis(probable, order, axis=1)
    accepted = np.cumsum(p, axis=1) - p / 2 < level
    inside = np.zeros_like(accepted)
    np.put_along_axis(inside, order, accepted, axis=1)
    # A count that no frequency accepts (a guess of great strength can make one) has its own frequency.
    inside[np.round(k / n * (POINTS - 1)).astype(int), k] = True
    first, last = inside.argmax(axis=0), POINTS - 1 - inside[::-1].argmax(axis=0)
    step = 1 / (POINTS - 1)
    return np.stack([np.maximum(first * step - step, 0.0), np.minimum(last * step + step, 1.0)])


@lru_cache(maxsize=8)
def _binomial(n: int) -> tuple[Array, Array, Array]:
    """Logarithms of the coefficients (n + 1,); log-probability and probability of counts (POINTS, n + 1)."""
    k = np.arange(n + 1)
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    theta = np.linspace(0.0, 1.0, POINTS)[:, None]
    likely = choose + xlogy(k, theta) + xlog1py(n - k, -theta)
    return choose, likely, np.exp(likely)
