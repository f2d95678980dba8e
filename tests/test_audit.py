"""An audit corrects an estimated relation as far as co-annotated rows show it to be off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import concord as cc
from asserts import raises
from concord.errors import NoAnnotationError, RangeError, ShapeError
from concord.estimation import Observations
from concord.estimation.assisted import assisted_intervals
from concord.estimation.audit import STRENGTHS, _mixture, _strength_weights, _worth

KIND = cc.MulticlassTask("kind", ["a", "b", "c"])
MARKS = cc.MultilabelTask("marks", ["x", "y"])
TABLE = np.array([[0.2, 0.7], [0.5, 0.4], [0.8, 0.1]])


def world(seed, n=900, audited=90, bias=0.0):
    """Rows with a class, rows with labels, audited rows last; the class head is sure, and wrong by `bias`."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    a = (rng.random((n, 2)) < TABLE[y]).astype(float)
    said = np.where(rng.random(n) < bias, (y + 1) % 3, y)
    p = np.eye(3)[said] * 0.97 + 0.01
    which = np.arange(n - audited, n)
    classes, labels = y.copy(), a.copy()
    labels[: n // 3] = np.nan
    classes[n // 3 : n - audited] = -1
    return classes, labels, p, which


def audit(classes, labels, p, which, **options):
    return cc.audit_relation(KIND, MARKS, classes, labels, class_proba=p, audited=which, **options)


def test_a_right_estimate_is_kept_and_a_biased_one_corrected():
    right, biased = audit(*world(0)), audit(*world(0, bias=0.5))
    assert right.assumptions_held
    assert not biased.assumptions_held
    assert right.worth > 5 * biased.worth
    assert right.error < biased.error
    before = np.abs(biased.estimate.table - TABLE).mean()
    assert np.abs(biased.relation.table - TABLE).mean() < before / 2
    assert np.abs(right.relation.table - right.estimate.table).max() < 0.05


def test_intervals_cover_whatever_the_bias():
    inside = [
        (found.interval[0] <= TABLE) & (found.interval[1] >= TABLE)
        for seed in range(10)
        for bias in (0.0, 0.3, 0.6)
        for found in [audit(*world(seed, n=450, audited=60, bias=bias)).relation]
    ]
    assert np.mean(inside) >= 0.9


def test_they_are_narrower_than_the_audit_alone_where_the_estimate_is_right():
    classes, labels, p, which = world(1)
    found = audit(classes, labels, p, which).relation
    member = np.eye(3)[classes[which]]
    n, k = member.T @ np.ones((90, 2)), member.T @ labels[which]
    exact = stats.beta.ppf(0.975, k + 1, n - k) - stats.beta.ppf(0.025, k, n - k + 1)
    assert (found.interval[1] - found.interval[0]).mean() < 0.9 * exact.mean()


@given(st.integers(1, 25), st.floats(0.01, 0.99), st.floats(0.3, 300), st.sampled_from([0.8, 0.9, 0.95]))
def test_no_guess_misleads_an_assisted_interval(n, guess, strength, level):
    hits = np.arange(n + 1.0)
    low, high = assisted_intervals(
        np.full(n + 1, guess), hits, np.full(n + 1, float(n)), np.array([strength]), np.ones(1), level
    )
    truth = np.linspace(0.01, 0.99, 99)[:, None]
    covered = (stats.binom.pmf(hits, n, truth) * ((low <= truth) & (truth <= high))).sum(axis=1)
    assert covered.mean() >= level - 0.01
    assert covered.min() >= level - (1 - level)
    assert ((low <= hits / n) & (hits / n <= high)).all()


def test_a_right_guess_shortens_an_assisted_interval_and_nothing_counted_says_nothing():
    strengths, ones = np.array([100.0]), np.ones(1)
    four = [np.full(5, 4.0), strengths, ones, 0.95]
    near = assisted_intervals(np.full(5, 0.02), np.arange(5.0), *four)
    blind = assisted_intervals(np.full(5, 0.5), np.arange(5.0), four[0], np.array([2.0]), ones, 0.95)
    assert near[1, 0] < blind[1, 0] < 0.6
    nothing = assisted_intervals(np.array([0.3]), np.zeros(1), np.zeros(1), strengths, ones, 0.95)
    assert nothing.ravel().tolist() == [0, 1]


def test_the_level_of_an_audit_is_that_of_its_intervals():
    wide, narrow = (audit(*world(8), level=level).relation.interval for level in (0.95, 0.6))
    assert ((narrow[1] - narrow[0]) < (wide[1] - wide[0])).all()


@given(st.integers(0, 10_000))
def test_the_mixture_is_that_of_plain_integration(seed):
    rng = np.random.default_rng(seed)
    mean, total = rng.uniform(0.05, 0.95, (2, 2)), rng.integers(0, 30, (2, 2)).astype(float)
    hits = rng.binomial(total.astype(int), mean).astype(float)
    weight = _strength_weights(mean.ravel(), hits.ravel(), total.ravel())
    by_hand = np.array(
        [
            np.prod(
                [
                    stats.betabinom.pmf(h, n, m * s, (1 - m) * s)
                    for m, h, n in zip(*map(np.ravel, (mean, hits, total)), strict=True)
                ]
            )
            for s in STRENGTHS
        ]
    )
    np.testing.assert_allclose(weight, by_hand / by_hand.sum(), atol=1e-8)
    centre, low, high = _mixture(mean, hits, total, weight, 0.9)
    for tail, end in ((0.05, low), (0.95, high)):
        mass = sum(
            w * stats.beta.cdf(end, mean * s + hits, (1 - mean) * s + total - hits)
            for w, s in zip(weight, STRENGTHS, strict=True)
        )
        np.testing.assert_allclose(mass, tail, atol=1e-3)
    assert ((low <= centre) & (centre <= high)).all()


def test_the_order_of_rows_and_classes_does_not_matter():
    classes, labels, p, which = world(2, bias=0.3)
    order = np.random.default_rng(0).permutation(len(classes))
    mask = np.isin(np.arange(len(classes)), which)
    one, other = audit(classes, labels, p, mask), audit(classes[order], labels[order], p[order], mask[order])
    np.testing.assert_allclose(one.relation.table, other.relation.table, atol=1e-9)
    turned = cc.MulticlassTask("kind", ["c", "b", "a"])
    flipped = np.where(classes < 0, -1, 2 - classes)
    again = cc.audit_relation(turned, MARKS, flipped, labels, class_proba=p[:, ::-1], audited=mask)
    np.testing.assert_allclose(again.relation.table[::-1], one.relation.table, atol=1e-9)


def test_copies_within_groups_add_nothing():
    classes, labels, p, which = world(3, bias=0.3)
    names = np.arange(len(classes))
    repeated = np.concatenate([names, which, which])
    mask = np.isin(repeated, which)
    once = audit(classes, labels, p, which, groups=names)
    many = audit(classes[repeated], labels[repeated], p[repeated], mask, groups=repeated)
    assert many.rows == once.rows == len(which)
    np.testing.assert_allclose(many.relation.interval, once.relation.interval, atol=1e-6)


def grouped_rows(seed, groups, alike, size=None):
    """Audited rows in groups of one class: copies of one row, or as different as rows of other groups."""
    rng = np.random.default_rng([seed, 3])
    group = np.repeat(np.arange(groups), rng.integers(2, 25, groups) if size is None else size)
    y = group % 3
    draw = rng.random((groups, 2))[group] if alike else rng.random((len(group), 2))
    return y, (draw < TABLE[y]).astype(float), group


def audit_of_groups(seed, groups, alike, size=None, bias=0.3):
    classes, labels, p, _ = world(seed, n=300, audited=0, bias=bias)
    y, a, group = grouped_rows(seed, groups, alike, size)
    return audit(
        np.r_[classes, y],
        np.r_[labels, a],
        np.r_[p, np.eye(3)[y]],
        np.arange(300, 300 + len(y)),
        groups=np.r_[1000 + np.arange(300), group],
    ).relation.interval


@pytest.mark.parametrize("groups", [12, 30])
def test_intervals_cover_whether_rows_of_a_group_are_alike_or_not(groups):
    width = {}
    for alike in (True, False):
        low, high = np.stack([audit_of_groups(seed, groups, alike) for seed in range(25)], axis=1)
        assert ((low <= TABLE) & (high >= TABLE)).mean() >= 0.9
        width[alike] = (high - low).mean()
    assert width[False] < (0.75 if groups == 12 else 0.5) * width[True]


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 8), st.booleans())
def test_rows_of_a_group_count_as_far_as_their_labels_differ(seed, groups, size, class_to_class):
    target = cc.MulticlassTask("other", ["u", "v"]) if class_to_class else MARKS

    def worth(y, a, group):
        a = a[:, 0] if class_to_class else a
        blank = np.full((len(y), 2), 0.5)
        rows = Observations(KIND, target, y, a, np.eye(3)[y], blank, group=group)
        return (
            _worth(rows, group, 0.95),
            np.eye(3)[y].T @ rows.seen,
            np.bincount(y[np.unique(group, return_index=True)[1]], minlength=3),
        )

    y, a, group = grouped_rows(seed, groups, True, size)
    found, total, count = worth(y, a, group)
    np.testing.assert_allclose(found, count[:, None] * np.ones(2))  # copies: one row a group
    alone, total, _ = worth(y, a, np.random.default_rng(seed).permutation(len(y)))
    np.testing.assert_allclose(alone, total)
    y, a, group = grouped_rows(seed, groups, False, size)
    some, total, count = worth(y, a, group)
    assert (some <= total).all()
    assert (some >= np.minimum(count[:, None], total) - 1e-9).all()
    # Every group shows a label on half of its rows: nothing is as different as that.
    y, a, group = (np.repeat(part, 2, axis=0) for part in (y, a, group))
    a[::2], a[1::2] = 0.0, 1.0
    differing, total, count = worth(y, a, group)
    several = count > 1
    cut = stats.t.ppf(0.975, np.maximum(total - 1, 1)) / stats.t.ppf(0.975, np.maximum(count - 1, 1))[:, None]
    np.testing.assert_allclose(
        differing[several], np.maximum(total * cut**2, count[:, None])[several], rtol=1e-9
    )


def test_class_to_class_rows_stay_distributions():
    other = cc.MulticlassTask("other", ["u", "v", "w", "z"])
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, 600)
    table = rng.dirichlet(np.ones(4), 3)
    a = np.array([rng.choice(4, p=table[c]) for c in y])
    classes, targets = np.where(np.arange(600) < 250, y, -1), np.where(np.arange(600) < 250, -1, a)
    classes[500:] = y[500:]
    found = cc.audit_relation(
        KIND, other, classes, targets, class_proba=np.eye(3)[y] * 0.94 + 0.02, audited=range(500, 600)
    )
    np.testing.assert_allclose(found.relation.table.sum(axis=1), 1)
    assert np.abs(found.relation.table - table).max() < 0.15


def test_rows_are_proposed_evenly_over_predicted_classes_and_groups():
    rng = np.random.default_rng(5)
    p = rng.dirichlet([2, 1, 1], 1000)
    guess = p.argmax(axis=1)
    chosen = cc.propose_audit(p, 90, seed=1)
    assert len(set(chosen.tolist())) == 90
    assert np.bincount(guess[chosen], minlength=3).tolist() == [30, 30, 30]
    assert (cc.propose_audit(p, 90, seed=1) == chosen).all()
    assert (cc.propose_audit(p, 90, seed=2) != chosen).any()
    groups = np.arange(1000) // 10
    assert len(np.unique(groups[cc.propose_audit(p, 60, groups=groups)])) > 50
    few = cc.propose_audit(p, 50, candidates=range(20))
    assert set(few.tolist()) == set(range(20))


@pytest.mark.parametrize(
    ("audited", "options", "error", "message"),
    [
        ([], {}, NoAnnotationError, "no audited row is annotated for both"),
        ([2000], {}, RangeError, "0 .. 899"),
        (np.ones(3, dtype=bool), {}, ShapeError, "truth values of 900 rows"),
        (range(810, 900), {"level": 1.0}, RangeError, "level"),
    ],
)
def test_bad_input_is_named(audited, options, error, message):
    classes, labels, p, _ = world(6)
    with raises(error, message):
        audit(classes, labels, p, audited, **options)


def test_the_sentences_say_what_was_found():
    worth, covered = audit(*world(7, bias=0.5)).sentences()
    assert "90 audited rows" in worth
    assert "did not hold" in covered


def test_what_too_few_rows_cannot_say_is_not_said():
    classes, labels, p, which = world(6)
    worth, covered = audit(classes, labels, p, which[:2]).sentences()
    assert "2 audited rows" in worth
    assert "nothing is known" in covered
    with raises(NoAnnotationError, "no row is annotated besides the audited ones"):
        audit(classes[which], labels[which], p[which], range(len(which)))


def test_rows_are_truth_values_or_distinct_numbers():
    """A column of 0 and 1, as a file has it, is no list of the rows 0 and 1."""
    classes, labels, p, numbers = world(0)
    mask = np.isin(np.arange(900), numbers)
    for wrong in (mask.astype(int), mask.astype(float), [810, 810], [810.5, 811.0], ["810"], [-1], [900]):
        with raises(RangeError, "row"):
            audit(classes, labels, p, wrong)
    wanted = audit(classes, labels, p, mask).relation.table
    for right in (numbers, numbers.tolist(), set(numbers.tolist()), numbers.astype(float), numbers[::-1]):
        np.testing.assert_array_equal(audit(classes, labels, p, right).relation.table, wanted)
