"""Statistics against SciPy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from concord.errors import RangeError, ShapeError
from concord.study.statistics import (
    bootstrap_weights,
    delta_m,
    holm,
    mean_ranks,
    paired,
    percentile_interval,
    verdicts,
)

ROUNDS = 4000


def noise(*shape, seed=0, sd=0.02):
    return np.random.default_rng(seed).normal(0, sd, shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.8, 0.99))
def test_paired_interval_and_p_equal_scipy(seed, n, level):
    d = noise(n, seed=seed) + 0.01
    ours, theirs = paired(d, level=level, margin=0.01), stats.ttest_1samp(d, 0)
    low, high = theirs.confidence_interval(level)
    assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.p_worse == pytest.approx(stats.ttest_1samp(d, -0.01, alternative="greater").pvalue)


def test_paired_interval_covers_the_truth_as_often_as_it_says():
    d = noise(ROUNDS, 5) + 0.013
    found = paired(d, level=0.9)
    covered = ((found.low <= 0.013) & (found.high >= 0.013)).mean()
    assert abs(covered - 0.9) < 3.5 * np.sqrt(0.9 * 0.1 / ROUNDS)


def test_one_pair_gives_no_interval_and_no_verdict():
    found = paired([0.2])
    assert np.isnan(found.low)
    assert found.p == 1
    assert verdicts([[0.2]])[0].tolist() == ["undecided"]


def test_identical_pairs_are_judged():
    said, tests, _ = verdicts([[0.05] * 3, [0.0] * 3, [-0.05] * 3])
    assert said.tolist() == ["superior", "non-inferior", "inferior"]
    assert np.isfinite(tests.low).all()


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_is_at_least_p_at_most_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= -1e-12).all()


def test_under_no_difference_the_family_is_wrong_at_most_as_often_as_stated():
    """Ten comparisons that share a baseline's noise, as the conditions of a regime do."""
    shared = noise(ROUNDS, 1, 5, seed=3)
    said, _, _ = verdicts(noise(ROUNDS, 10, 5, seed=4) - shared, level=0.95, margin=0.0)
    wrong = np.isin(said, ["superior", "inferior"]).any(axis=-1).mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / ROUNDS)
    assert wrong > 0.005  # not merely because nothing is ever decided


def test_non_inferiority_is_seldom_said_where_the_margin_is_lost():
    said, _, _ = verdicts(noise(ROUNDS, 1, 5, seed=5) - 0.01, level=0.95, margin=0.01)
    wrong = np.isin(said, ["superior", "non-inferior"]).mean()
    assert wrong <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / ROUNDS)


@pytest.mark.parametrize(("seeds", "effect"), [(5, 2.0), (5, 3.0), (10, 1.0)])
def test_a_known_effect_is_found_with_the_power_of_the_t_test(seeds, effect):
    """Effect in standard deviations of a seed's difference; power by the noncentral t distribution."""
    said, _, _ = verdicts(noise(ROUNDS, 1, seeds, sd=1.0, seed=6) + effect)
    critical = stats.t.ppf(0.975, seeds - 1)
    power = stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds))
    assert abs((said == "superior").mean() - power) < 4 * np.sqrt(0.25 / ROUNDS)
    assert not (said == "inferior").any()


def test_verdicts_mirror():
    d = noise(500, 6, 5, seed=7) + np.linspace(-0.05, 0.05, 6)[:, None]
    said, mirrored = verdicts(d)[0], verdicts(-d)[0]
    assert ((said == "superior") == (mirrored == "inferior")).all()
    assert (said == "superior").any()
    assert (said == "inferior").any()


def test_bootstrap_of_a_mean_has_its_standard_error():
    x = noise(400, sd=1.0)
    weights = bootstrap_weights(400, 2000, seed=1)
    assert (weights.sum(axis=1) == 400).all()
    means = weights @ x / 400
    assert means.std() == pytest.approx(x.std() / 20, rel=0.06)
    low, high = percentile_interval(means)
    assert low == pytest.approx(x.mean() - 1.96 * x.std() / 20, abs=0.01)
    assert high == pytest.approx(x.mean() + 1.96 * x.std() / 20, abs=0.01)
    assert (bootstrap_weights(5, 3, seed=1) == bootstrap_weights(5, 3, seed=1)).all()


def test_delta_m_by_hand():
    assert delta_m([0.66, 0.45], [0.6, 0.5]) == pytest.approx((10 - 10) / 2)
    assert delta_m([0.66, 0.45], [0.6, 0.5], [False, True]) == pytest.approx(10)
    assert delta_m(np.full((3, 2), 0.5), np.full((3, 2), 0.4)) == pytest.approx([25] * 3)


def test_ranks_equal_scipy_and_the_published_critical_values():
    values = noise(12, 4, seed=8)
    found = mean_ranks(values)
    assert found.mean.sum() == pytest.approx(4 * 5 / 2)
    assert found.p == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)
    # Demsar 2006: q at .05 is 1.960 for 2, 2.569 for 4 and 3.164 for 10 classifiers.
    for k, q in ((2, 1.960), (4, 2.569), (10, 3.164)):
        critical = mean_ranks(noise(7, k, seed=k)).critical
        assert critical == pytest.approx(q * np.sqrt(k * (k + 1) / 42), rel=1e-3)


def test_ranks_of_ties():
    assert mean_ranks([[0.5, 0.5, 0.1]]).mean.tolist() == [1.5, 1.5, 3.0]
    assert mean_ranks(np.ones((4, 3))).p == 1


def test_bad_input():
    with pytest.raises(RangeError, match="level"):
        paired([0.1, 0.2], level=1.0)
    with pytest.raises(ShapeError, match="at least one"):
        paired([])
    with pytest.raises(ShapeError, match="k >= 2"):
        mean_ranks([[1.0]])
