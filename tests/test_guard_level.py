"""The guard's error level: how often anything takes the place of a start that it does not better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from concord.auto.level import MOST_UNITS, critical_value, studentised
from concord.metrics import z_score

DRAWS = 250


def taken(rng, n, groups, candidates, mean, alpha=0.05):
    """Share of draws in which any of several correlated candidates passes."""
    group = None if groups is None else np.arange(n) % groups
    found = 0
    for _ in range(DRAWS):
        common = rng.normal(size=(n, 1))
        own = rng.normal(size=(n, candidates))
        gains = mean + np.sqrt(0.5) * common + np.sqrt(0.5) * own
        if groups is not None:
            gains = gains + rng.normal(size=(groups, candidates))[group]
        found += bool((studentised(gains, group) > critical_value(gains, group, alpha)).any())
    return found / DRAWS


@pytest.mark.parametrize(
    ("n", "groups", "candidates"),
    [(50, None, 6), pytest.param(200, None, 1, marks=pytest.mark.slow), (150, 15, 3)],
)
def test_no_gain_is_taken_more_often_than_the_level(n, groups, candidates):
    noise = 3 * np.sqrt(0.05 * 0.95 / DRAWS)
    assert taken(np.random.default_rng(0), n, groups, candidates, 0.0) < 0.05 + noise
    assert taken(np.random.default_rng(1), n, groups, candidates, -0.1) < 0.05  # and harm still less often


def test_a_gain_of_many_standard_errors_is_taken():
    assert taken(np.random.default_rng(2), 100, None, 6, 0.5) > 0.95


def test_each_alone_would_be_taken_too_often():
    """What the joint level is for: six candidates, each at 5 %."""
    rng = np.random.default_rng(3)
    gains = [np.sqrt(0.5) * (rng.normal(size=(50, 1)) + rng.normal(size=(50, 6))) for _ in range(DRAWS)]
    assert np.mean([(studentised(each) > 1.64).any() for each in gains]) > 0.1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(20, 200), st.sampled_from([None, 10]))
def test_more_candidates_and_a_lower_level_ask_for_more(seed, n, groups):
    rng = np.random.default_rng(seed)
    gains = rng.normal(size=(n, 4))
    group = None if groups is None else rng.integers(0, groups, n)
    one, all_of = critical_value(gains[:, :1], group, 0.05), critical_value(gains, group, 0.05)
    assert one <= all_of <= critical_value(gains, group, 0.01)
    # Doubles of a candidate, and the start itself, cost nothing.
    doubled = np.concatenate([gains, gains, np.zeros((n, 1))], axis=1)
    assert critical_value(doubled, group, 0.05) == pytest.approx(all_of)
    assert studentised(gains, group) == pytest.approx([z_score(each, group) for each in gains.T])
    # Which rows come first, and in what unit losses are measured, does not matter to the statistic.
    order = rng.permutation(n)
    moved = studentised(3 * gains[order], None if group is None else group[order])
    assert moved == pytest.approx(studentised(gains, group))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 40))
def test_copies_in_a_group_ask_for_what_one_row_does_and_rows_that_differ_for_less(seed, groups):
    rng = np.random.default_rng(seed)
    gains = rng.normal(size=(groups, 3))
    copies, alone = np.repeat(np.arange(groups), 8), critical_value(gains, None, 0.05)
    assert critical_value(gains, np.arange(groups), 0.05) == pytest.approx(alone)
    assert critical_value(gains[copies], copies, 0.05) == pytest.approx(alone)
    # Rows that stand by themselves have the means of these groups, and differ: the same units, more rows.
    apart = rng.normal(size=(len(copies), 3))
    means = np.stack([apart[copies == k].mean(axis=0) for k in range(groups)])
    assert critical_value(apart, copies, 0.05) < critical_value(means, None, 0.05)


def test_many_rows_are_read_by_the_normal_distribution():
    gains = np.random.default_rng(4).normal(size=(4 * MOST_UNITS, 1))
    assert critical_value(gains, None, 0.05) == pytest.approx(stats.norm.ppf(0.95), abs=0.2)
    assert studentised(gains)[0] == pytest.approx(z_score(gains[:, 0]), rel=0.1, abs=0.05)


def test_what_loses_is_shown_to_gain_at_no_level():
    gains = np.random.default_rng(0).normal(-0.02, 1, size=(200, 1))
    for level in (0.5, 0.8, 0.95):
        assert critical_value(gains, None, level) >= 0


def test_one_group_or_no_difference_shows_nothing():
    gains = np.random.default_rng(5).normal(1.0, 0.1, size=(30, 2))
    assert critical_value(gains, np.zeros(30), 0.05) == np.inf
    assert studentised(gains, np.zeros(30)).tolist() == [0.0, 0.0]
    assert critical_value(np.zeros((30, 2)), None, 0.05) == np.inf
