"""Heads are brought to the scale of the annotations, and fill in no more than they have learnt from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax

import concord as cc
from concord.estimation import Observations, estimate_by_em
from concord.estimation.calibration import FLOOR, RIDGE, calibrated
from concord.tasks import MISSING_CLASS
from worlds import classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", list(MAKE))


def off_scale(rows: Observations) -> Observations:
    """Heads that are too sure of themselves and lean to the first class and to every label."""
    log_p = 3 * np.log(rows.class_proba)
    log_p[:, 0] += 1.5
    if rows.class_to_class:
        q = 3 * np.log(rows.target_proba)
        q[:, 0] += 1.5
        return replace(rows, class_proba=softmax(log_p, axis=1), target_proba=softmax(q, axis=1))
    q = expit(2 * logit(rows.target_proba) + 1)
    return replace(rows, class_proba=softmax(log_p, axis=1), target_proba=q)


@kinds
def test_heads_that_are_off_are_put_right(kind: str) -> None:
    rows = MAKE[kind](0).observations()
    found = calibrated(off_scale(rows))
    assert np.abs(found.class_proba - rows.class_proba).mean() < 0.02
    assert np.abs(found.target_proba - rows.target_proba).mean() < 0.03
    table = MAKE[kind](0).table
    errors = [
        np.abs(estimate_by_em(calibrated(each)).table - table).mean() for each in (rows, off_scale(rows))
    ]
    assert errors[1] == pytest.approx(errors[0], abs=0.01)


def test_the_fit_is_the_minimum_of_log_loss_and_ridge() -> None:
    rows = off_scale(labels_world(1, n=200).observations())
    known = rows.classes != MISSING_CLASS
    before, after = np.log(np.clip(rows.class_proba, FLOOR, None)), np.log(calibrated(rows).class_proba)
    # The parameters, up to the constant that a softmax takes away: regress one on the other.
    width = before.shape[1]
    design = np.concatenate([before.reshape(-1, 1), np.tile(np.eye(width), (len(before), 1))], axis=1)
    centre = (before - before.mean(axis=1, keepdims=True)).reshape(-1)
    design[:, 0] = centre
    target = (after - after.mean(axis=1, keepdims=True)).reshape(-1)
    values = np.linalg.lstsq(design, target, rcond=None)[0]
    scale, bias = values[0], values[1:] - values[1:].mean()

    def loss(scale: float, bias: np.ndarray) -> float:
        said = log_softmax(scale * before[known] + bias, axis=1)
        fit = -said[np.arange(known.sum()), rows.classes[known]].sum()
        return fit + RIDGE / 2 * ((scale - 1) ** 2 + (bias**2).sum())

    least = loss(scale, bias)
    rng = np.random.default_rng(0)
    for step in rng.normal(size=(30, width + 1)) * 0.05:
        assert loss(scale + step[0], bias + step[1:]) > least - 1e-3


@kinds
def test_without_annotated_rows_a_head_stays_as_it_is(kind: str) -> None:
    rows = MAKE[kind](2, n=100).observations()
    blind = replace(rows, classes=np.full(100, MISSING_CLASS))
    np.testing.assert_array_equal(calibrated(blind).class_proba, rows.class_proba)
    np.testing.assert_allclose(calibrated(blind).target_proba, calibrated(rows).target_proba)


@kinds
def test_only_the_rows_that_calibrate_move_a_head(kind: str) -> None:
    rows = off_scale(MAKE[kind](4, n=200).observations())
    some = np.arange(200) % 3 > 0
    found = calibrated(rows, rows.take(some))
    own = calibrated(rows.take(some))
    np.testing.assert_allclose(found.class_proba[some], own.class_proba)
    np.testing.assert_allclose(found.target_proba[some], own.target_proba)
    assert np.abs(found.class_proba - rows.class_proba)[~some].mean() > 0.01
    none = calibrated(rows, rows.take(np.zeros(200, dtype=bool)))
    np.testing.assert_array_equal(none.class_proba, rows.class_proba)
    np.testing.assert_array_equal(none.target_proba, rows.target_proba)


def test_copies_in_groups_move_a_head_no_more_than_the_rows() -> None:
    rows = labels_world(3, n=120).observations()
    index = np.repeat(np.arange(120), 9)
    copies = replace(rows.take(index), group=index)
    np.testing.assert_allclose(calibrated(copies).class_proba[::9], calibrated(rows).class_proba, atol=1e-6)
    np.testing.assert_allclose(calibrated(copies).target_proba[::9], calibrated(rows).target_proba, atol=1e-6)


def test_more_rows_with_a_class_alone_do_not_drown_the_labels() -> None:
    """Where a label head is wrong, 40 label rows are not outvoted by thousands of its guesses."""
    kind, marks = cc.MulticlassTask("kind", ["a", "b"]), cc.MultilabelTask("marks", ["x"])
    y = np.arange(40) % 2
    errors = []
    for more in (40, 4000):
        classes = np.concatenate([np.full(40, MISSING_CLASS), np.arange(more) % 2])
        labels = np.concatenate([y, np.full(more, np.nan)])[:, None]
        p = np.eye(2)[np.concatenate([y, np.arange(more) % 2])] * 0.98 + 0.01
        wrong = np.full((40 + more, 1), 0.02)
        wrong[40::3] = 0.98  # sure of itself, and no matter which class
        rows = Observations(kind, marks, classes, labels, p, wrong)
        errors.append(np.abs(estimate_by_em(rows).table[:, 0] - [0, 1]).mean())
    assert errors[1] == pytest.approx(errors[0], abs=0.02)


def test_a_head_that_says_the_same_of_every_row_is_not_made_to_know() -> None:
    """Groups weigh rows otherwise than base rates do: that is no knowledge of a row."""
    rows = MAKE["classes"](3, n=300).observations()
    one_video = np.r_[np.arange(200), np.full(100, 200)]
    silent = np.tile(rows.target_proba.mean(axis=0), (300, 1))
    found = calibrated(replace(rows, target_proba=silent, group=one_video))
    np.testing.assert_array_equal(found.target_proba, silent)


def test_labels_that_are_annotated_on_rows_of_their_own_weigh_as_on_one() -> None:
    """A group counts once for each label, whichever of its rows holds the annotation."""
    rng = np.random.default_rng(0)
    base = MAKE["labels"](4, n=400).observations()
    width = base.target_proba.shape[1]
    q = 0.5 + 0.01 * rng.random((40, width)).repeat(10, axis=0)
    present = (rng.random((40, width)) < 0.9).astype(float)
    group, place = np.arange(400) // 10, np.arange(400) % 10
    together, apart = np.full((400, width), np.nan), np.full((400, width), np.nan)
    together[place == 0] = present
    for k in range(width):
        apart[place == k % 10, k] = present[:, k]
    found = [
        calibrated(replace(base, target_proba=q, targets=targets, group=group)).target_proba
        for targets in (together, apart)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0].mean() > 0.75
