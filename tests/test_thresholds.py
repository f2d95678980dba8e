"""Thresholds against brute force and scikit-learn, and by their properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from asserts import raises
from concord import MulticlassTask, MultilabelTask
from concord.decoding import choose_thresholds, thresholds_of
from concord.decoding.thresholds import (
    MIN_SAMPLES,
    PRIOR_STRENGTHS,
    best_cut,
    checked_metric,
    class_thresholds,
)
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.metrics import decisions, evaluate, task_metrics

TRAITS = MultilabelTask("traits", ["purrs", "barks", "swims"])
PET = MulticlassTask("pet", ["cat", "dog", "eel"])
metrics = pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", {"precision": 0.6}])


@st.composite
def one_label(draw):
    """Targets of a label, both values among them, and probabilities with ties."""
    n = draw(st.integers(2, 40))
    a = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=float)
    assume(0 < a.sum() < n)
    levels = draw(st.sampled_from([3, 20, 10**6]))
    p = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    return a, p


def measure(metric, a, predicted):
    if metric == "f1":
        return f1_score(a, predicted, zero_division=0)
    if metric == "balanced_accuracy":
        return balanced_accuracy_score(a, predicted)
    reached = precision_score(a, predicted, zero_division=0) >= metric["precision"] - 1e-12
    return recall_score(a, predicted) if reached else -1.0


@metrics
@given(one_label())
def test_no_cut_is_better_than_the_chosen_one(metric, drawn):
    a, p = drawn
    cut = best_cut(metric, a, p)
    best = max(measure(metric, a, p >= each) for each in np.unique(p))
    if cut is None:
        assert best == -1.0
    else:
        assert measure(metric, a, p >= cut) == pytest.approx(best)


@metrics
@given(one_label(), st.integers(0, 2**32 - 1))
def test_what_is_predicted_depends_on_the_order_of_probabilities_alone(metric, drawn, seed):
    a, p = drawn
    levels, index = np.unique(p, return_inverse=True)
    moved = np.sort(np.random.default_rng(seed).random(len(levels)))[index]
    assume(len(np.unique(moved)) == len(levels))
    one, other = best_cut(metric, a, p), best_cut(metric, a, moved)
    assert (one is None) == (other is None)
    if one is not None:
        assert ((p >= one) == (moved >= other)).all()


def test_neighbouring_floats_are_still_cut_apart():
    low = 0.3
    p = np.array([low, np.nextafter(low, 1)])
    assert (p >= best_cut("f1", np.array([0.0, 1.0]), p)).tolist() == [False, True]


def labels_of(seed, n=400):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, (n, 3))
    a = (rng.random((n, 3)) < p).astype(float)
    return a, p


def test_gaps_take_no_part():
    a, p = labels_of(0)
    gaps = np.random.default_rng(1).random(a.shape) < 0.4
    masked = np.where(gaps, np.nan, a)
    strange = np.where(gaps, 1 - p, p)  # whatever is predicted where nothing is annotated
    found = [
        choose_thresholds("f1", [TRAITS], {"traits": masked}, {"traits": q}).of(TRAITS) for q in (p, strange)
    ]
    np.testing.assert_array_equal(*found)
    kept = ~gaps[:, 1]
    assert found[0][1] == best_cut("f1", a[kept, 1], p[kept, 1])


def test_labels_that_too_few_rows_show_keep_one_half_and_are_told():
    a, p = labels_of(2)
    a[:, 1] = 0
    a[: MIN_SAMPLES - 1, 1] = 1
    found = choose_thresholds("f1", [TRAITS], {"traits": a}, {"traits": p})
    assert found.of(TRAITS)[1] == 0.5
    assert found.of(TRAITS)[0] < 0.5
    (note,) = found.notes
    assert "barks at .5" in note
    assert f"fewer than {MIN_SAMPLES} held-out rows" in note


def test_rows_of_a_group_count_once():
    a, p = labels_of(3)
    groups = np.arange(len(a)) // 40
    found = choose_thresholds("f1", [TRAITS], {"traits": a}, {"traits": p}, groups)
    few = [k for k in range(3) if len(np.unique(groups[a[:, k] == 1])) < MIN_SAMPLES]
    assert [k for k in range(3) if found.of(TRAITS)[k] == 0.5] == few
    alone = choose_thresholds("f1", [TRAITS], {"traits": a}, {"traits": p}, groups // 2)
    assert (alone.of(TRAITS) == 0.5).all()
    assert "held-out groups" in alone.notes[0]


def test_a_precision_that_no_cut_reaches_is_told():
    a, p = labels_of(4)
    a[:, 0] = (np.arange(len(a)) % 5 == 0).astype(float)
    p[:, 0] = 0.2
    found = choose_thresholds({"precision": 0.9}, [TRAITS], {"traits": a}, {"traits": p})
    assert found.of(TRAITS)[0] == 0.5
    assert any("purrs" in note and "precision of 0.9" in note for note in found.notes)


def classes_of(seed, n=600):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([8.0, 2.0, 0.5], n)
    y = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return y, p


@pytest.mark.parametrize(("metric", "measured"), [("f1", "macro_f1"), ("balanced_accuracy",) * 2])
@pytest.mark.parametrize("seed", range(3))
def test_classes_are_cut_by_the_best_power_of_their_frequency(metric, measured, seed):
    y, p = classes_of(seed)
    y[::7] = -1
    known = y >= 0
    share = np.bincount(y[known], minlength=3) / known.sum()
    truth = (
        balanced_accuracy_score if metric == "balanced_accuracy" else lambda *a: f1_score(*a, average="macro")
    )
    scores = [truth(y[known], (p / share**s).argmax(axis=1)[known]) for s in PRIOR_STRENGTHS]
    found = choose_thresholds(metric, [PET], {"pet": y}, {"pet": p})
    reached = task_metrics(PET, y, p, found.of(PET))[measured]
    assert reached == pytest.approx(max(scores))
    assert reached >= task_metrics(PET, y, p)[measured]
    assert found.of(PET).max() == 0.5


def test_a_class_without_rows_counts_as_an_average_one():
    cut = class_thresholds(np.array([0] * 8 + [1] * 2), 4, 1.0)
    np.testing.assert_allclose(cut / cut[0], [1, 0.25, 0.25 / 0.8, 0.25 / 0.8])


def test_classes_are_told_what_a_precision_and_few_rows_mean():
    y, p = classes_of(0)
    precise = choose_thresholds({"precision": 0.9}, [PET], {"pet": y}, {"pet": p})
    few = choose_thresholds("f1", [PET], {"pet": y[:9]}, {"pet": p[:9]})
    assert "precision is asked of labels" in precise.notes[0]
    assert "fewer than 20 held-out rows" in few.notes[0]
    for found in (precise, few):
        np.testing.assert_array_equal(found.decide(PET, p), p.argmax(axis=1))


def test_equal_thresholds_are_no_thresholds():
    y, p = classes_of(1)
    np.testing.assert_array_equal(decisions(PET, p, np.full(3, 0.5)), p.argmax(axis=1))
    z = np.log(p)
    assert evaluate(PET, y, z, thresholds={"pet": np.full(3, 0.25)}) == evaluate(PET, y, z)
    a, q = labels_of(5)
    assert task_metrics(TRAITS, a, q, np.full(3, 0.5)) == task_metrics(TRAITS, a, q)


def test_metrics_at_thresholds_are_those_of_the_decisions():
    y, p = classes_of(2)
    cut = np.array([0.5, 0.2, 0.05])
    predicted = (p / cut).argmax(axis=1)
    found = task_metrics(PET, y, p, cut)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(y, predicted, average="macro"))


def test_thresholds_come_back_from_plain_data():
    (a, q), (y, p) = labels_of(6), classes_of(6)
    found = choose_thresholds("f1", [PET, TRAITS], {"pet": y, "traits": a}, {"pet": p, "traits": q})
    back = thresholds_of(json.loads(json.dumps(found.record())), [PET, TRAITS])
    assert (back.metric, back.notes) == (found.metric, found.notes)
    for task, proba in ((PET, p), (TRAITS, q)):
        np.testing.assert_array_equal(back.of(task), found.of(task))
        np.testing.assert_array_equal(back.decide(task, proba), found.decide(task, proba))
    assert thresholds_of(None, [PET]) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"values": {"pet": [0.5, 0.5]}}, ShapeError),
        ({"values": {"fish": [0.5, 0.5, 0.5]}}, ShapeError),
        ({"values": {"pet": [0.5, 0.0, 0.5]}}, RangeError),
        ({"values": {"traits": [0.5, 1.5, 0.5]}}, RangeError),
        ({"metric": None}, UnknownNameError),
    ],
)
def test_thresholds_of_something_else_are_refused(change, error):
    record = {"metric": "f1", "values": {"pet": [0.5, 0.5, 0.5]}, "notes": []}
    with raises(error):
        thresholds_of({**record, **change}, [PET, TRAITS])


@pytest.mark.parametrize("metric", ["accuracy", 0.5, {"recall": 0.5}, {"precision": 0.5, "recall": 0.5}])
def test_other_metrics_are_refused(metric):
    with raises(UnknownNameError, "f1"):
        checked_metric(metric)


@pytest.mark.parametrize("value", [0, 1, -0.1, True, "high", float("nan")])
def test_other_precisions_are_refused(value):
    with raises(RangeError, "precision"):
        checked_metric({"precision": value})
