"""Comparisons over packs against closed forms and simulated data with a known answer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from asserts import raises
from concord.errors import NotFiniteError, RangeError, ShapeError
from concord.study.judging.packs import (
    STRENGTH,
    block_ranks,
    correlated_t,
    pack_means,
    resampled_means,
    signed_rank,
)

differences = st.lists(st.floats(-20, 20), min_size=1, max_size=8).map(np.array)


def test_a_pack_counts_once_however_many_blocks_it_has():
    values = [[1.0, 0.0]] * 9 + [[0.0, 1.0]]
    np.testing.assert_array_equal(pack_means(values, ["a"] * 9 + ["b"]), [[1, 0], [0, 1]])
    assert block_ranks([[3.0, 1.0, 3.0]]).tolist() == [[1.5, 3.0, 1.5]]


def test_resamples_of_packs_have_the_moments_of_the_multinomial():
    by_pack = np.array([3.0, -1.0, 0.5, 7.0])
    drawn = resampled_means(by_pack, draws=100_000)
    assert drawn.mean() == pytest.approx(by_pack.mean(), abs=0.03)
    assert drawn.std() == pytest.approx(by_pack.std() / 2, rel=0.02)
    two = resampled_means([0.0, 1.0], draws=100_000)
    shares = [np.isclose(two, value).mean() for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.01)


@pytest.mark.parametrize("draws", [1000])
def test_rows_of_conditions_are_resampled_together(draws):
    both = resampled_means(np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 10.0]]), draws=draws)
    np.testing.assert_allclose(both[:, 1] - both[:, 0], 1)


def test_one_pack_is_worth_what_the_beta_distribution_says():
    # The weight of the pseudo-observation is Beta(s, 1); better wins where its square is below one half.
    found = signed_rank([10.0], 1.0, draws=200_000)
    assert found.better == pytest.approx(np.sqrt(0.5) ** STRENGTH, abs=0.005)
    assert found.worse == 0


def test_two_packs_agree_with_an_integral_over_the_dirichlet_distribution():
    z, rope = np.array([0.0, 3.0, -2.0]), 1.0

    def density(u, v):  # of (w0, w1) under Dirichlet(s, 1, 1), up to its constant
        return u ** (STRENGTH - 1)

    def winner(u, v):
        w = np.array([u, v, 1 - u - v])
        parts = [0.0, 0.0, 0.0]
        for i, j in product(range(3), repeat=2):
            total = z[i] + z[j]
            parts[0 if total < -2 * rope else 2 if total > 2 * rope else 1] += w[i] * w[j]
        return int(np.argmax(parts))

    # w0 = x^2 takes out the pole at 0.
    grid = (np.arange(400) + 0.5) / 400
    mass = np.zeros(3)
    for x in grid:
        u = x**2
        for y in grid * (1 - u):
            mass[winner(u, y)] += density(u, y) * 2 * x * (1 - u)
    expected = mass / mass.sum()
    found = signed_rank(z[1:], rope, draws=100_000)
    np.testing.assert_allclose([found.worse, found.equal, found.better], expected, atol=0.01)


@given(differences, st.floats(0, 5))
def test_beliefs_sum_to_one_and_turn_with_the_sign(z, rope):
    found, turned = signed_rank(z, rope, draws=500), signed_rank(-z, rope, draws=500)
    assert found.worse + found.equal + found.better == pytest.approx(1)
    assert (found.worse, found.equal, found.better) == pytest.approx(
        (turned.better, turned.equal, turned.worse)
    )


def test_what_lies_apart_is_told_and_what_lies_within_the_region_is_equal():
    assert signed_rank(np.full(7, 5.0), 1.0).better > 0.99
    assert signed_rank(np.full(7, 0.5), 1.0).equal > 0.99
    assert signed_rank([5.0, -5.0] * 3, 1.0).better == pytest.approx(
        signed_rank([-5.0, 5.0] * 3, 1.0).worse, abs=0.02
    )


def test_worlds_without_a_difference_seldom_look_better():
    rng = np.random.default_rng(0)
    said = [signed_rank(rng.normal(0, 3, 7), 1.0, draws=1000, seed=i).better for i in range(400)]
    assert np.mean(np.array(said) > 0.95) < 0.06


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0, 3))
def test_seeds_without_correlation_give_students_posterior(seed, n, rope):
    d = np.random.default_rng(seed).normal(0.5, 2, n)
    found = correlated_t(d, rope)
    at = lambda value: stats.ttest_1samp(d, value, alternative="less").pvalue  # noqa: E731
    # P(mean < m) is the one-sided p-value of m from the other side: the t distribution is symmetric.
    assert found.better == pytest.approx(at(rope))
    assert found.worse == pytest.approx(1 - at(-rope))


def test_seeds_that_share_rows_are_worth_less():
    d, rho = np.array([2.0, 1.0, 3.0, 2.5]), 0.3
    scale = np.sqrt((1 / 4 + rho / (1 - rho)) * d.var(ddof=1))
    expected, _ = integrate.quad(lambda x: stats.t.pdf((x - d.mean()) / scale, 3) / scale, 1, np.inf)
    found = correlated_t(d, 1.0, correlation=rho)
    assert found.better == pytest.approx(expected)
    assert found.better < correlated_t(d, 1.0).better
    assert correlated_t([1.5, 1.5, 1.5], 1.0).better == pytest.approx(1)


def test_bad_input_is_named():
    with raises(ShapeError, "2 blocks"):
        pack_means([1.0], ["a", "b"])
    with raises(ShapeError, "at least one"):
        signed_rank([], 1.0)
    with raises(ShapeError, "seeds >= 2"):
        correlated_t([1.0], 1.0)
    with raises(RangeError, "practical equivalence"):
        signed_rank([1.0], -1.0)
    with raises(RangeError, "correlation"):
        correlated_t([1.0, 2.0], 1.0, correlation=1.0)


def test_a_difference_that_is_not_known_is_no_equal_one():
    with raises(NotFiniteError, "found NaN"):
        signed_rank([3.0, np.nan], 0.5)
    with raises(NotFiniteError, "found NaN"):
        pack_means([1.0, np.inf], ["a", "b"])
