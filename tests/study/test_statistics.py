"""Statistics against SciPy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from concord.errors import RangeError, ShapeError
from concord.study.judging.statistics import (
    Ranks,
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
@given(st.integers(0, 10_000), st.integers(3, 9), st.floats(0.8, 0.99))
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


def test_two_seeds_that_agree_decide_nothing():
    said, tests, adjusted = verdicts([[0.05, 0.05], [-0.3, -0.3]])
    assert said.tolist() == ["undecided"] * 2
    assert (tests.p == 1).all()
    assert (adjusted == 1).all()


def test_the_noise_of_test_rows_joins_that_of_seeds():
    for units, df in ((None, np.inf), (12, 11)):  # the rows' alone: the seeds agree
        found = paired(np.full((1, 5), 2.0), row_variance=[1.0], row_units=units)
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, df))
        assert found.p == pytest.approx(2 * stats.t.sf(2.0, df))
    d = noise(50, 3, 5, seed=21)
    alone, joined = paired(d), paired(d, row_variance=np.full((50, 3), 1e-4))
    assert (joined.p >= alone.p).all()
    assert (joined.low < alone.low).all()
    assert (joined.high > alone.high).all()


def test_seeds_that_share_test_rows_are_judged_wrongly_at_most_as_often_as_stated():
    """No true difference, but the test rows favour one side in all seeds alike."""
    rng = np.random.default_rng(22)
    d = rng.normal(0, 0.02, (ROUNDS, 1, 1)) + rng.normal(0, 0.005, (ROUNDS, 1, 5))
    assert np.isin(verdicts(d)[0], ["superior", "inferior"]).mean() > 0.5
    joined = verdicts(d, row_variance=np.full((ROUNDS, 1), 0.02**2))[0]
    wrong = np.isin(joined, ["superior", "inferior"]).mean()
    assert 0.02 < wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / ROUNDS)  # nor is nothing ever decided


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rows", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_whichever_noise_is_larger_the_level_is_kept(seeds, rows):
    """`rows`: variance by the test rows, in that of the mean of the seeds; the seeds' is estimated."""
    rng = np.random.default_rng(23)
    variance = rows / seeds
    d = rng.normal(0, np.sqrt(variance), (ROUNDS, 1)) + rng.normal(0, 1, (ROUNDS, seeds))
    found = paired(d, row_variance=np.full(ROUNDS, variance))
    for level in (0.05, 0.005):
        assert (found.p < level).mean() <= level + 3 * np.sqrt(level * (1 - level) / ROUNDS)
    assert ((found.p < 0.05) == (np.sign(found.low) == np.sign(found.high))).all()
    mirrored = paired(-d, row_variance=np.full(ROUNDS, variance))
    np.testing.assert_allclose(found.p, mirrored.p, rtol=1e-9)
    np.testing.assert_allclose(found.p_worse + mirrored.p_worse, 1, rtol=1e-9)


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


@pytest.mark.parametrize("truth", [-0.005, 0.0])
def test_non_inferiority_is_found_with_the_power_of_its_test(truth):
    """Within the margin, a standard deviation of half of it, ten seeds: the one-sided noncentral t."""
    d = noise(ROUNDS, 1, 10, sd=0.005, seed=16) + truth
    critical = stats.t.ppf(0.975, 9)
    power = stats.nct.sf(critical, 9, (truth + 0.01) / 0.005 * np.sqrt(10))
    shown = paired(d, margin=0.01).p_worse < 0.025
    assert abs(shown.mean() - power) < 4 * np.sqrt(0.25 / ROUNDS)
    said = verdicts(d, margin=0.01)[0]
    # What is worse beyond doubt is called so, even within the margin: the stronger warning counts.
    assert (np.isin(said, ["non-inferior", "superior"]) == (shown & (said != "inferior"))).mean() > 0.999


def test_one_effect_among_many_comparisons_is_found_at_least_as_often_as_by_bonferroni():
    m, n, effect = 8, 5, 5.0
    d = noise(ROUNDS, m, n, sd=1.0, seed=17)
    d[:, 0] += effect
    said, _, _ = verdicts(d, margin=0.0)
    critical = stats.t.ppf(1 - 0.025 / m, n - 1)
    power = stats.nct.sf(critical, n - 1, effect * np.sqrt(n))
    assert 0.8 < power < 0.999
    assert (said[:, 0] == "superior").mean() >= power - 4 * np.sqrt(0.25 / ROUNDS)
    # The others are still wrong at most as often as is said.
    wrong = np.isin(said[:, 1:], ["superior", "inferior"]).any(axis=-1).mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / ROUNDS)


def accuracies(rounds, conditions, seeds, *, rows=400, hard=0.02, seed=18):
    """Accuracies of equally good conditions on the same test rows: bounded, in steps of 1 / rows.

    A seed's training rows make it better or worse for all conditions (`hard`), as they share the rows.
    """
    rng = np.random.default_rng(seed)
    shared = 0.8 + hard * rng.normal(size=(rounds, 1, seeds))
    p = np.broadcast_to(np.clip(shared, 0, 1), (rounds, conditions, seeds))
    return rng.binomial(rows, p) / rows


@pytest.mark.parametrize("level", [0.95, 0.9])
def test_under_no_difference_accuracies_are_judged_wrongly_at_most_as_often_as_stated(level):
    """Six conditions against one baseline: no normal numbers, and all share the baseline's luck."""
    found = accuracies(ROUNDS, 7, 5)
    said, _, _ = verdicts(found[:, 1:] - found[:, :1], level=level, margin=0.01)
    wrong = np.isin(said, ["superior", "inferior"]).any(axis=-1).mean()
    alpha = 1 - level
    assert wrong <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / ROUNDS)
    assert wrong > alpha / 10
    each = [(said == name).any(axis=-1).mean() for name in ("superior", "inferior")]
    assert max(each) <= alpha / 2 + 4 * np.sqrt(alpha / ROUNDS)


def test_single_task_and_uncoupled_together_are_two_families():
    """Each baseline is a family of its own: over both, the error is at most the sum of theirs."""
    found = accuracies(ROUNDS, 5, 5, seed=19)
    wrong = [
        np.isin(verdicts(found[:, 2:] - found[:, i : i + 1])[0], ["superior", "inferior"]).any(axis=-1)
        for i in (0, 1)
    ]
    assert (wrong[0] | wrong[1]).mean() <= 0.10 + 3 * np.sqrt(0.1 * 0.9 / ROUNDS)


def test_ranks_of_equals_are_told_apart_at_most_as_often_as_stated():
    rounds = 400
    values = np.random.default_rng(20).normal(size=(rounds, 12, 5))
    found = [mean_ranks(v) for v in values]
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    apart = np.mean([np.ptp(r.mean) > r.critical for r in found])
    assert apart <= bound
    assert np.mean([r.p < 0.05 for r in found]) <= bound
    better = values - np.arange(5) * 1.5
    assert np.mean([np.ptp(r.mean) > r.critical for r in map(mean_ranks, better)]) > 0.99


def test_groups_of_ranks_by_hand():
    """Demsar's diagram: bars over neighbours within the critical difference."""
    assert Ranks(np.array([1.0, 1.8, 2.5, 4.7]), 0.01, 1.0).groups() == [[0, 1], [1, 2]]
    assert Ranks(np.array([3.0, 1.0, 2.0]), 0.01, 2.0).groups() == [[1, 2, 0]]
    assert Ranks(np.array([1.0, 2.0]), 0.01, 0.5).groups() == []
    assert Ranks(np.array([2.0, 1.0, 2.0]), 0.5, 5.0).groups() == [[1, 0, 2]]


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


@pytest.mark.parametrize("seeds", [[0.1, -0.2, 0.15], [0.3, 0.3, 0.3], [np.nan, 0.1, 0.2]])
def test_noise_that_is_not_known_decides_nothing(seeds):
    said, tests, _ = verdicts([seeds, [-d for d in seeds]], row_variance=[np.nan, np.nan])
    assert said.tolist() == ["undecided"] * 2
    assert (tests.p == 1).all()
    assert np.isnan([tests.low, tests.high]).all()


def test_each_comparison_has_the_degrees_of_freedom_of_its_own_test_rows():
    found = paired(np.full((2, 5), 2.0), row_variance=[1.0, 1.0], row_units=np.array([4, 400]))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, [3, 399]))
