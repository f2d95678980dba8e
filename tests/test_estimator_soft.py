"""Soft targets of `fit`: they are learnt, a row counts once, and what is no distribution is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

import concord as cc
from concord.errors import EstimatorError, RangeError, ShapeError, UnknownNameError

MOOD = cc.MulticlassTask("mood", ["glad", "calm", "sad"])
UNITS = cc.MultilabelTask("units", ["smile", "frown"])
SHARES = np.array([[0.6, 0.3, 0.1], [0.1, 0.55, 0.35], [0.15, 0.15, 0.7]])
TABLE = [[0.9, 0.1], [0.4, 0.2], [0.1, 0.8]]


@pytest.fixture(scope="module")
def rows():
    """Rows of three kinds; the first 90 have votes for the mood, the others units."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 180)
    X = np.eye(3)[kind] * 3 + rng.normal(scale=0.3, size=(180, 3))
    votes = SHARES[kind]
    votes[90:] = np.nan
    units = (rng.random((180, 2)) < np.array(TABLE)[kind]).astype(float)
    units[:90] = np.nan
    return X, votes, units, kind


def model(coupling=None, **more):
    options = (
        {"random_state": 0}
        | ({} if "base" in more else {"steps": 80, "learning_rate": 2e-3, "dropout": 0.0})
        | more
    )
    return cc.CoupledClassifier([MOOD, UNITS], [cc.Relation(MOOD, UNITS, TABLE)], coupling, **options)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"coupling": "posterior", "steps": 120},
        {"coupling": "two-stage", "effort": "fast", "steps": 120},
        pytest.param({"coupling": "auto", "effort": "fast", "steps": 250}, marks=pytest.mark.slow),
        {"base": LogisticRegression(C=100.0)},
    ],
    ids=["shared", "posterior", "two-stage", "auto", "base"],
)
def test_probabilities_come_near_the_votes(rows, settings):
    X, votes, units, kind = rows
    fitted = model(**settings).fit(X, {"units": units}, soft={"mood": votes})
    p = fitted.predict_proba(X)["mood"][:90]
    by_kind = np.stack([p[kind[:90] == k].mean(axis=0) for k in range(3)])
    hard = model(**settings).fit(X, {"units": units, "mood": np.where(np.arange(180) < 90, kind, -1)})
    of_classes = hard.predict_proba(X)["mood"][:90]
    sharp = np.stack([of_classes[kind[:90] == k].mean(axis=0) for k in range(3)])
    # A coupling pulls, too: to what the annotated labels say of the class.
    assert np.abs(by_kind - SHARES).mean() < min(0.12, 0.5 * np.abs(sharp - SHARES).mean())
    np.testing.assert_array_equal(fitted.predict(X[:90])["mood"], np.array(MOOD.classes)[kind[:90]])


def test_columns_are_found_by_name_and_a_task_may_be_in_both(rows):
    X, votes, units, kind = rows
    y = {"units": units, "mood": np.where(np.arange(180) < 90, kind, -1)}
    frame = pd.DataFrame(votes, columns=MOOD.classes)[["sad", "glad", "calm"]]
    first = model(steps=5).fit(X, y, soft={"mood": votes}).predict_proba(X)
    second = model(steps=5).fit(X, {"units": units}, soft={"mood": frame}).predict_proba(X)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_labels_in_between(rows):
    X, _, _, kind = rows
    soft = np.array(TABLE)[kind]
    soft[:90] = np.nan
    y = {"mood": np.where(np.arange(180) < 90, kind, -1)}
    p = model().fit(X, y, soft={"units": soft}).predict_proba(X)["units"]
    by_kind = np.stack([p[90:][kind[90:] == k].mean(axis=0) for k in range(3)])
    assert np.abs(by_kind - TABLE).mean() < 0.06


def test_one_hot_shares_are_classes_bit_by_bit_close(rows):
    X, _, units, kind = rows
    y = {"units": units, "mood": np.where(np.arange(180) < 90, kind, -1)}
    sure = np.where((np.arange(180) < 90)[:, None], np.eye(3)[kind], np.nan)
    first = model(steps=20).fit(X, y).predict_proba(X)["mood"]
    second = model(steps=20).fit(X, y, soft={"mood": sure}).predict_proba(X)["mood"]
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("soft", "error", "match"),
    [
        ({"mood": [[0.5, 0.2, 0.2]] * 180}, RangeError, "row 0 sums to 0.9; a distribution sums to 1"),
        ({"mood": [[1.2, -0.2, 0.0]] * 180}, RangeError, r"row 0 holds 1.2; probabilities lie in \[0, 1\]"),
        ({"mood": [[np.nan, 0.5, 0.5]] * 180}, RangeError, "row 0 has some classes and not others"),
        ({"mood": [[np.inf, 0.0, 0.0]] * 180}, RangeError, "row 0 holds inf"),
        ({"mood": [[0.5, 0.5]] * 180}, ShapeError, "mood"),
        ({"mood": [[0.2, 0.3, 0.5]]}, ShapeError, r"\(180, 3\), found \(1, 3\)"),
        ({"mode": [[0.2, 0.3, 0.5]] * 180}, UnknownNameError, "'mode'"),
        ([[0.2, 0.3, 0.5]] * 180, ShapeError, "dictionary by task name"),
    ],
)
def test_what_is_no_distribution_is_refused(rows, soft, error, match):
    X, _, units, _ = rows
    with pytest.raises(error, match=match):
        model(steps=2).fit(X, {"units": units, "mood": [0, 1] * 90}, soft=soft)


def test_an_estimator_that_takes_no_weights_says_so(rows):
    from sklearn.neighbors import KNeighborsClassifier

    X, votes, units, _ = rows
    with pytest.raises(EstimatorError, match="soft"):
        model(base=KNeighborsClassifier()).fit(X, {"units": units}, soft={"mood": votes})


def test_the_objective_counts_a_row_once_and_couplings_know_the_class_of_most_votes():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(4, 3))
    votes = np.array([[0.6, 0.4, 0], [np.nan] * 3, [np.nan] * 3, [0.1, 0.1, 0.8]])
    classes, units = torch.tensor([0, 2, -1, 2]), torch.full((4, 2), torch.nan)
    relation = cc.Relation(MOOD, UNITS, TABLE)
    objective = cc.CoupledObjective([MOOD, UNITS], [relation], [cc.couplings.ClassToLabels()])
    logits = {"mood": torch.tensor(z), "units": torch.zeros(4, 2)}
    found = objective(logits, {"mood": classes, "units": units}, shares={"mood": votes}).parts
    wanted = -(np.array([votes[0], [0, 0, 1], [0, 0, 0], votes[3]]) * log_softmax(z, axis=1)).sum() / 3
    assert found["mood"].item() == pytest.approx(wanted, rel=1e-5)
    alone = objective(logits, {"mood": classes, "units": units}).parts
    assert set(found) == set(alone)
    coupling = next(name for name in found if "->" in name)
    assert found[coupling] == alone[coupling] != 0
