"""Comparisons over data sets, each of which counts once: blocks of one data set are not independent.

Source: Benavoli, Corani, Demsar and Zaffalon, "Time for a Change: a Tutorial for Comparing Multiple
Classifiers Through Bayesian Analysis", JMLR 18, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from concord.errors import NotFiniteError, RangeError, ShapeError
from concord.study.judging.statistics import bootstrap_weights

Array = npt.NDArray[np.float64]

DRAWS = 20_000
"""Resamples of packs, and draws of a posterior; probabilities are right to about half a percent."""

STRENGTH = 0.5
"""Weight of the one pack without a difference that the signed-rank test adds to those that were seen."""


@dataclass(frozen=True)
class Belief:
    """How probable it is that a condition is worse, practically equal, and better. The three sum to 1.

    Attributes:
        worse: By more than the region of practical equivalence.
        equal: Within it.
        better: By more than it.
    """

    worse: float
    equal: float
    better: float


def pack_means(values: Any, packs: Sequence[str]) -> Array:
    """Mean over the blocks of each pack: (packs, ...), in the order of first occurrence.

    Args:
        values: (blocks, ...).
        packs: (blocks,) the pack of each.

    Raises:
        ShapeError: Packs of another number than the values.
        NotFiniteError: A value that is NaN or infinite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim == 0 or len(x) != len(packs) or not len(x):
        raise ShapeError(f"values of {len(packs)} blocks have shape ({len(packs)}, ...), found {x.shape}")
    _check_finite(x)
    named = np.asarray(packs, dtype=object)
    return np.stack([x[named == name].mean(axis=0) for name in dict.fromkeys(packs)])


def block_ranks(values: Any) -> Array:
    """Rank of every condition in each block, 1 the best; equal ones share: (blocks, k).

    Args:
        values: (blocks, k), greater is better.
    """
    return np.asarray(stats.rankdata(-np.asarray(values, dtype=np.float64), axis=1))


def resampled_means(by_pack: Any, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Means over packs that are drawn with replacement: (draws, ...).

    Args:
        by_pack: (packs, ...), as `pack_means` gives it.
        draws: How many resamples.
        seed: Of the draws.
    """
    x = np.asarray(by_pack, dtype=np.float64)
    n = len(x)
    return np.asarray(np.tensordot(bootstrap_weights(n, draws, seed) / n, x, axes=1))


def signed_rank(differences: Any, rope: float, *, draws: int = DRAWS, seed: int = 0) -> Belief:
    """The Bayesian signed-rank test: which of worse, equal and better is most probable for a new pack.

    The distribution of differences has a Dirichlet process as its prior, with one pseudo-observation of no
    difference of weight `STRENGTH`. Each draw weighs the packs, and adds up the weight of pairs whose mean
    lies below, within and above the region; the three numbers say how often each is the largest.

    Args:
        differences: (packs,) mean differences, positive where the condition is better.
        rope: Half width of the region of practical equivalence, >= 0, in the same unit.
        draws: How many draws of the posterior.
        seed: Of the draws.

    Raises:
        ShapeError: No difference, or more than one dimension.
        NotFiniteError: A difference that is NaN or infinite: it is neither equal nor better.
        RangeError: A negative region.
    """
    z = np.asarray(differences, dtype=np.float64)
    if z.ndim != 1 or not len(z):
        raise ShapeError(f"differences have shape (packs,), with at least one, found {z.shape}")
    _check_finite(z)
    _check(rope)
    z = np.concatenate([[0.0], z])
    pairs = z[:, None] + z[None, :]
    below, above = pairs < -2 * rope, pairs > 2 * rope
    weights = np.random.default_rng(seed).dirichlet([STRENGTH, *np.ones(len(z) - 1)], size=draws)
    parts = [
        np.einsum("di,ij,dj->d", weights, side.astype(np.float64), weights)
        for side in (below, ~(below | above), above)
    ]
    won = np.stack(parts)
    best = (won >= won.max(axis=0) - 1e-12).astype(np.float64)
    worse, equal, better = (best / best.sum(axis=0)).mean(axis=1).tolist()
    return Belief(worse, equal, better)


def correlated_t(differences: Any, rope: float, *, correlation: float = 0.0) -> Belief:
    """The Bayesian correlated t test of one pack: the posterior of the mean difference over its seeds.

    Student's t with n - 1 degrees of freedom, centred at the mean, of squared scale
    (1/n + correlation / (1 - correlation)) x variance (Nadeau and Bengio, Machine Learning 52, 2003).

    Args:
        differences: (n,) one difference per seed, n >= 2, positive where the condition is better.
        rope: Half width of the region of practical equivalence, >= 0, in the same unit.
        correlation: Of two seeds, in [0, 1): what they share of rows.

    Raises:
        ShapeError: Fewer than two differences.
        NotFiniteError: A difference that is NaN or infinite: it is neither equal nor better.
        RangeError: A negative region, or a correlation outside [0, 1).
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2:
        raise ShapeError(f"differences have shape (seeds >= 2,), found {d.shape}")
    _check_finite(d)
    _check(rope)
    if not 0 <= correlation < 1:
        raise RangeError(f"a correlation of seeds lies in [0, 1), found {correlation}")
    n = len(d)
    scale = np.sqrt((1 / n + correlation / (1 - correlation)) * d.var(ddof=1))
    posterior = stats.t(n - 1, loc=d.mean(), scale=max(float(scale), 1e-12))
    low, high = posterior.cdf([-rope, rope])
    return Belief(float(low), float(high - low), float(1 - high))


def _check_finite(values: Array) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError("values of packs must be finite, found NaN or infinity")


def _check(rope: float) -> None:
    if not rope >= 0:
        raise RangeError(f"the half width of a region of practical equivalence is >= 0, found {rope}")
