"""Metrics against scikit-learn and by hand, with gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
)

import strategies
from asserts import raises
from concord import MulticlassTask, MultilabelTask
from concord.errors import NoAnnotationError, NotFiniteError, ShapeError, UnknownNameError
from concord.metrics import (
    BINS,
    class_metrics,
    contributions,
    count_samples,
    evaluate,
    finish,
    label_metrics,
    lower_is_better,
    main_metric,
    measured,
    metric_names,
    probabilities,
    resampled_map,
    standard_error,
    task_metrics,
    z_score,
)

PET = MulticlassTask("pet", ["cat", "dog", "eel"])
TRAITS = MultilabelTask("traits", ["purrs", "barks", "swims", "flies"])


def reference_ece(confidence, hit):
    """Bin by bin, as the definition has it."""
    total, n = 0.0, len(confidence)
    for b in range(BINS):
        low, high = b / BINS, (b + 1) / BINS
        inside = (confidence >= low) & ((confidence < high) | (b == BINS - 1))
        if inside.any():
            total += inside.sum() / n * abs(confidence[inside].mean() - hit[inside].mean())
    return total


def classes_of(seed, n=60, gaps=0.3):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    p = rng.dirichlet(np.ones(3), n)
    y[rng.random(n) < gaps] = -1
    y[:3] = [0, 1, 2]
    return y, p


def labels_of(seed, n=60, gaps=0.3):
    rng = np.random.default_rng(seed)
    a = (rng.random((n, 4)) < 0.4).astype(float)
    a[rng.random((n, 4)) < gaps] = np.nan
    a[0], a[1] = 1, 0
    return a, rng.random((n, 4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_class_metrics_equal_scikit_learn_on_the_annotated_rows(seed):
    y, p = classes_of(seed)
    seen = y >= 0
    found = class_metrics(y, p, PET.classes)
    guess = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(y[seen], guess[seen]))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y[seen], guess[seen]))
    assert found["macro_f1"] == pytest.approx(f1_score(y[seen], guess[seen], average="macro"))
    assert found["ece"] == pytest.approx(reference_ece(p.max(axis=1)[seen], (guess == y)[seen]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 0.8))
def test_label_metrics_equal_scikit_learn_label_by_label(seed, threshold):
    a, p = labels_of(seed)
    found = label_metrics(a, p, TRAITS.labels, threshold)
    f1, ap, accuracy = [], [], []
    for k in range(4):
        seen = ~np.isnan(a[:, k])
        guess = p[seen, k] >= threshold
        f1.append(f1_score(a[seen, k], guess, zero_division=0))
        ap.append(average_precision_score(a[seen, k], p[seen, k]))
        accuracy.append(accuracy_score(a[seen, k], guess))
    cells = ~np.isnan(a)
    assert found["mean_f1"] == pytest.approx(np.mean(f1))
    assert found["map"] == pytest.approx(np.mean(ap))
    assert found["accuracy"] == pytest.approx(np.mean(accuracy))
    assert found["ece"] == pytest.approx(reference_ece(p[cells], a[cells]))


@given(st.integers(0, 1000))
def test_what_is_predicted_under_a_gap_changes_nothing(seed):
    y, p = classes_of(seed)
    other = p.copy()
    other[y < 0] = other[y < 0][:, ::-1]
    assert class_metrics(y, p, PET.classes) == class_metrics(y, other, PET.classes)
    a, q = labels_of(seed)
    noisy = np.where(np.isnan(a), 1 - q, q)
    assert label_metrics(a, q, TRAITS.labels) == pytest.approx(label_metrics(a, noisy, TRAITS.labels))


def test_a_class_or_label_that_never_occurs_is_in_no_mean():
    y, p = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.1, 0.9, 0]])
    assert class_metrics(y, p, PET.classes)["balanced_accuracy"] == 1.0
    assert class_metrics(y, p, PET.classes)["macro_f1"] == 1.0
    a = np.array([[1.0, 0, np.nan, 0], [0.0, 0, np.nan, 0]])
    q = np.array([[0.9, 0.9, 0.9, 0.1], [0.1, 0.1, 0.1, 0.9]])
    assert label_metrics(a, q, TRAITS.labels)["mean_f1"] == 1.0
    assert label_metrics(a, q, TRAITS.labels)["accuracy"] == pytest.approx((1 + 0.5 + 0.5) / 3)


@given(st.integers(0, 1000))
def test_weighted_sums_are_the_metric_of_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    y, p = classes_of(seed)
    a, q = labels_of(seed)
    counts = rng.multinomial(60, np.ones(60) / 60) + (np.arange(60) < 3)
    rows = np.repeat(np.arange(60), counts)
    for task, targets, values in ((PET, y, p), (TRAITS, a, q)):
        all_at_once = (class_metrics if task is PET else label_metrics)(
            targets[rows], values[rows], task.outputs
        )
        for name in metric_names(task):
            if name == "map":
                weighted = resampled_map(targets, values, counts[None].astype(float))[0]
            else:
                parts = contributions(name, task, targets, values)
                weighted = finish(name, np.tensordot(counts, parts, axes=1))
            assert float(weighted) == pytest.approx(all_at_once[name])


@given(st.integers(0, 1000), st.integers(1, 4))
def test_average_precision_of_drawn_rows_is_that_of_scikit_learn_with_weights(seed, levels):
    """Few levels of scores make ties; there are gaps, labels that no drawn row shows, and an empty draw."""
    rng = np.random.default_rng(seed)
    a = np.where(rng.random((12, 3)) < 0.3, np.nan, rng.random((12, 3)) < 0.3).astype(float)
    p = rng.integers(0, levels, (12, 3)) / levels
    weights = rng.poisson(0.5, (6, 12)).astype(float)
    weights[0] = 0.0
    expected = []
    for weight in weights:
        each = [
            average_precision_score(a[seen, k], p[seen, k], sample_weight=weight[seen])
            for k in range(3)
            if (weight[(seen := ~np.isnan(a[:, k]))] * a[seen, k]).sum() > 0
        ]
        expected.append(np.mean(each) if each else np.nan)
    np.testing.assert_allclose(resampled_map(a, p, weights), expected)


def test_evaluate_turns_logits_into_probabilities():
    y, p = classes_of(1)
    assert evaluate(PET, y, np.log(p)) == pytest.approx(class_metrics(y, p, PET.classes))
    a, q = labels_of(1)
    assert evaluate(TRAITS, a, np.log(q / (1 - q))) == pytest.approx(label_metrics(a, q, TRAITS.labels))
    strict = evaluate(TRAITS, a, np.log(q / (1 - q)), thresholds={"traits": 0.7})
    assert strict == pytest.approx(label_metrics(a, q, TRAITS.labels, 0.7))


def test_named_probabilities_are_taken_by_name():
    y, p = classes_of(1)
    named = pd.DataFrame(p, columns=PET.classes)[["eel", "cat", "dog"]]
    assert class_metrics(y, named, PET.classes) == class_metrics(y, p, PET.classes)


def test_names():
    assert main_metric(PET) == "accuracy"
    assert main_metric(TRAITS) == "mean_f1"
    assert lower_is_better("ece")
    assert not lower_is_better("map")


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"\(2, 3\), found \(2, 2\)"):
        class_metrics([0, 1], np.ones((2, 2)) / 2, PET.classes)
    with pytest.raises(NoAnnotationError, match="2 rows"):
        class_metrics([-1, -1], np.ones((2, 3)) / 3, PET.classes)
    with pytest.raises(NoAnnotationError, match="present"):
        label_metrics(np.zeros((2, 4)), np.ones((2, 4)) / 2, TRAITS.labels)
    with pytest.raises(NoAnnotationError, match="task 'pet' has no annotation"):
        class_metrics([-1, -1], np.ones((2, 3)) / 3, PET.classes, name="pet")
    with pytest.raises(NoAnnotationError, match="task 'traits' has no label"):
        label_metrics(np.zeros((2, 4)), np.ones((2, 4)) / 2, TRAITS.labels, name="traits")
    with pytest.raises(NotFiniteError, match="'pet'"):
        evaluate(PET, [0], [[np.nan, 0, 0]])
    with pytest.raises(ShapeError, match=r"\(n, 3\)"):
        probabilities(PET, np.zeros((2, 4)))
    with pytest.raises(UnknownNameError, match="map"):
        contributions("map", TRAITS, np.zeros((1, 4)), np.zeros((1, 4)))


@pytest.mark.parametrize("gap", [None, np.nan, np.inf])
def test_a_prediction_that_is_missing_is_not_counted_as_one(gap: object) -> None:
    with pytest.raises(NotFiniteError, match="task 'labels': probabilities must be finite"):
        label_metrics([[1, 0], [0, 1]], [[0.9, gap], [0.1, 0.8]], ["a", "b"])
    with pytest.raises(NotFiniteError, match="task 'classes': probabilities must be finite"):
        class_metrics([0, 1], [[0.9, gap], [0.1, 0.9]], ["a", "b"])


numbers = st.floats(-100, 100, allow_nan=False).map(lambda v: round(v, 3))


@given(st.lists(numbers, min_size=2, max_size=30))
def test_the_standard_error_of_rows_that_stand_alone_is_the_usual_one(values):
    usual = np.std(values, ddof=1) / np.sqrt(len(values))
    for group in (None, np.arange(len(values))[::-1]):
        assert standard_error(values, group) == pytest.approx(usual, rel=1e-9, abs=1e-12)
    assert standard_error([values, values]) == pytest.approx([usual, usual], rel=1e-9, abs=1e-12)


@given(st.lists(st.tuples(numbers, st.integers(0, 4), st.integers(1, 5)), min_size=2, max_size=20), st.data())
def test_the_standard_error_counts_groups(rows, data):
    x, group, weight = (np.array(part) for part in zip(*rows, strict=True))
    found = standard_error(x, group, weight)
    if len(set(group)) < 2:
        assert np.isnan(found)
        assert z_score(x, group, weight) == 0.0
        return
    order = np.array(data.draw(st.permutations(range(len(x)))))
    assert standard_error(x[order], group[order], weight[order]) == pytest.approx(found, abs=1e-9)
    # A row in more copies within its group, or with their number as its weight: the same.
    copied = np.repeat(np.arange(len(x)), weight)
    assert standard_error(x[copied], group[copied]) == pytest.approx(found, abs=1e-9)
    assert standard_error(np.tile(x, 3), np.tile(group, 3), np.tile(weight, 3)) == pytest.approx(
        found, abs=1e-9
    )
    # Rows without weight are not there.
    more, own, none = np.append(x, 7.0), np.append(group, 99), np.append(weight, 0)
    assert standard_error(more, own, none) == pytest.approx(found, abs=1e-9)
    assert standard_error(x, group, 10 * weight) == pytest.approx(found, abs=1e-9)


def test_the_standard_error_by_hand_and_what_it_refuses():
    # Groups of mean 0 and 3 with one and two rows: mean 2, sums of residuals -2 and 2, G/(G-1) = 2.
    assert standard_error([0.0, 3.0, 3.0], ["a", "b", "b"]) == pytest.approx(np.sqrt(2 * (4 + 4)) / 3)
    assert z_score([0.0, 3.0, 3.0], ["a", "b", "b"]) == pytest.approx(2 / (4 / 3))
    assert np.isnan(standard_error([[1.0], [2.0]])).all()
    assert (count_samples(3, ["a", "b", "b"]), count_samples(3)) == (2, 3)
    with pytest.raises(ShapeError, match="groups of 2 values"):
        standard_error([1.0, 2.0], ["a"])


@given(st.data())
def test_labels_none_of_which_is_present_have_what_needs_none(data: Any) -> None:
    task = data.draw(strategies.multilabel_tasks())
    a = np.where(data.draw(strategies.targets(task, 6)) == 1, 0.0, data.draw(strategies.targets(task, 6)))
    a[a == 1] = 0.0
    a[0, 0] = 0.0
    p = np.random.default_rng(0).random((6, task.width))
    found = measured(task, a, p)
    assert set(found) == {"accuracy", "ece"}
    with raises(NoAnnotationError, "no label annotated as present"):
        task_metrics(task, a, p)
    a[0, 0] = 1.0
    assert measured(task, a, p) == task_metrics(task, a, p)
