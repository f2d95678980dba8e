"""Estimators of scikit-learn as learners: gaps, soft targets as weighted copies, and `auto` over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from concord.auto import Effort, select
from concord.data import StreamedInputs
from concord.errors import EstimatorError, ShapeError
from concord.fitting import Rows
from concord.learners import EstimatorLearner
from concord.relations import Relation
from config_worlds import MARKS, SHAPE, TABLE, classes_and_labels

TASKS = [SHAPE, MARKS]
PLAIN: Any = {"share": 1.0, "seed": 0, "task_weights": {}, "soft_weights": {}}


def rows(n: int = 240, classed: int = 80) -> Rows:
    y, a = classes_and_labels(n, 0)
    x = np.random.default_rng(1).normal(size=(n, 6))
    x[:, :3] += np.eye(3)[y]
    x[:, 3:5] += 1.5 * a
    labels = a.astype(float)
    labels[:classed] = np.nan
    labels[classed : classed + 20, 0] = np.nan
    return Rows.of(x, {"shape": np.where(np.arange(n) < classed, y, -1), "marks": labels}, TASKS)


def test_each_label_is_learnt_from_its_own_annotated_rows() -> None:
    given = rows()
    learner = EstimatorLearner(LogisticRegression())
    found = learner.predict(learner.train(given, TASKS, kind="single-task", **PLAIN), given)
    X = given.inputs.double().numpy()
    for k in range(2):
        a = given.targets["marks"][:, k].numpy()
        known = ~np.isnan(a)
        expected = LogisticRegression().fit(X[known], a[known]).predict_proba(X)[:, 1]
        np.testing.assert_allclose(expit(found["marks"][:, k]), expected, atol=1e-6)
    y = given.targets["shape"].numpy()
    expected = LogisticRegression().fit(X[y >= 0], y[y >= 0]).predict_proba(X)
    np.testing.assert_allclose(softmax(found["shape"], axis=1), expected, atol=1e-6)


def test_soft_targets_that_are_certain_are_rows_with_that_class() -> None:
    given = rows()
    hard = given.targets["shape"].clone()
    hard[100:] = torch.from_numpy(classes_and_labels(240, 0)[0])[100:]
    soft = torch.full((240, 3), torch.nan)
    soft[100:] = torch.eye(3)[hard[100:]]
    learner = EstimatorLearner(make_pipeline(StandardScaler(), LogisticRegression()))
    # Losses are means over rows: at weights by the numbers of rows every row counts the same.
    weights: Any = PLAIN | {"task_weights": {"shape": 80 / 140}, "soft_weights": {"shape": 1.0}}
    coupled = learner.train(
        Rows(given.inputs, given.targets, {"shape": soft}), TASKS, kind="coupled", **weights
    )
    plain = learner.train(
        Rows(given.inputs, {**given.targets, "shape": hard}), TASKS, kind="single-task", **PLAIN
    )
    first, second = learner.predict(coupled, given), learner.predict(plain, given)
    np.testing.assert_allclose(softmax(first["shape"], 1), softmax(second["shape"], 1), atol=1e-3)
    np.testing.assert_array_equal(first["marks"], second["marks"])


def test_a_label_that_is_never_seen_or_a_missing_class_is_unlikely_everywhere() -> None:
    given = rows()
    given.targets["marks"][:, 1] = torch.where(given.targets["marks"][:, 1].isnan(), torch.nan, 0.0)
    given.targets["shape"][given.targets["shape"] == 1] = -1
    learner = EstimatorLearner(RandomForestClassifier(5))
    found = learner.predict(learner.train(given, TASKS, kind="single-task", **PLAIN), given)
    assert (expit(found["marks"][:, 1]) < 1e-6).all()
    assert (softmax(found["shape"], axis=1)[:, 1] < 1e-6).all()
    assert np.isfinite(found["shape"]).all()


def test_the_seed_is_the_forests_own() -> None:
    given, learner = rows(), EstimatorLearner(RandomForestClassifier(5, random_state=7))
    found = [
        learner.predict(learner.train(given, TASKS, kind="single-task", **PLAIN | {"seed": s}), given)[
            "shape"
        ]
        for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_seed_may_be_greater_than_scikit_learn_takes() -> None:
    given = rows()
    learner = EstimatorLearner(RandomForestClassifier(3))
    large, small = (
        learner.predict(learner.train(given, TASKS, kind="single-task", **{**PLAIN, "seed": seed}), given)
        for seed in (2**32 + 7, 7)
    )
    for name in large:
        np.testing.assert_array_equal(large[name], small[name])


def test_what_an_estimator_cannot_do_is_no_kind() -> None:
    assert EstimatorLearner(KNeighborsClassifier()).kinds == ("single-task",)
    assert EstimatorLearner(make_pipeline(StandardScaler(), KNeighborsClassifier())).kinds == ("single-task",)
    assert EstimatorLearner(HistGradientBoostingClassifier()).kinds == ("single-task", "coupled")
    with pytest.raises(EstimatorError, match="LinearSVC has no predict_proba"):
        EstimatorLearner(LinearSVC())
    given = rows()
    streamed = Rows(StreamedInputs((), np.zeros(0, dtype=np.int64)), given.targets)
    with pytest.raises(ShapeError, match="takes features in memory"):
        EstimatorLearner(LogisticRegression()).train(streamed, TASKS, kind="single-task", **PLAIN)


@pytest.mark.parametrize("estimator", [LogisticRegression(), KNeighborsClassifier()])
def test_auto_couples_estimators_as_far_as_they_can_be(estimator: Any) -> None:
    given, learner = rows(900, 100), EstimatorLearner(estimator)
    relation = Relation(SHAPE, MARKS, np.array(TABLE))
    outcome = select(learner, given, TASKS, [relation], effort=Effort(2, 1.0), seed=0)
    families = {name.partition("/")[0] for c in outcome.choices.values() for name in c.losses}
    assert families == set(learner.kinds)
    p = outcome.probabilities(learner, given)
    truth = classes_and_labels(900, 0)[0][100:]
    alone = learner.predict(learner.train(given, [SHAPE], kind="single-task", **PLAIN), given)["shape"]
    assert (p["shape"].argmax(1)[100:] == truth).mean() >= (alone.argmax(1)[100:] == truth).mean() - 0.02
