"""Effort `probe`: heads on frozen features decide; nothing is trained on the trunk but what they chose."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import concord as cc
from asserts import raises
from concord.auto import selection
from concord.auto.effort import EFFORTS, ON_FEATURES
from concord.auto.selection import select
from concord.errors import ConcordWarning, ConfigError, ShapeError, UnknownNameError
from concord.fitting.rows import Rows
from concord.learners import EstimatorLearner, TorchLearner
from concord.learners.frozen import HEADS, MOST, PASSES, rows_worth_features
from concord.tasks import MulticlassTask, Task

PROBE = EFFORTS["probe"]
KIND = cc.MulticlassTask("kind", list("abcd"))
MARKS = cc.MultilabelTask("marks", ["u", "v", "w", "x"])
TASKS: list[Task] = [KIND, MARKS]
TABLE = np.where([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]], 0.95, 0.05)
RELATION = cc.Relation(KIND, MARKS, TABLE)
pytestmark = pytest.mark.filterwarnings("ignore:effort probe:concord.errors.ConcordWarning")


class Counting(nn.Module):
    """A trunk that counts the rows that pass through it, in training and without."""

    passed: ClassVar[dict[bool, int]] = {True: 0, False: 0}

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 32), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Counting.passed[torch.is_grad_enabled()] += len(x)
        return self.layers(x)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    Counting.passed = {True: 0, False: 0}
    monkeypatch.setitem(HEADS, "steps", 100)  # a third of the usual is enough to keep the table


def world(n: int = 340, classed: int = 40, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    a = (rng.random((n, 4)) < TABLE[y]).astype(float)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[:, :4] += 2 * np.eye(4)[y]
    x[:, 4:8] += 2 * a
    first = np.arange(n) < classed
    return x, {"kind": np.where(first, y, -1), "marks": np.where(first[:, None], np.nan, a)}


def learner(**options: Any) -> TorchLearner:
    return TorchLearner(**{**HEADS, "trunk": Counting, "steps": 30, "rows_per_task": 32, **options})


@pytest.mark.parametrize("given", [[RELATION], pytest.param([(KIND, MARKS)], marks=pytest.mark.slow)])
def test_only_what_was_chosen_is_trained_on_the_trunk(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    fit = TorchLearner.train

    def spy(self: TorchLearner, rows: Rows, tasks: Any, **options: Any) -> Any:
        if self.trunk is not None:
            trained.append(options["kind"])
        return fit(self, rows, tasks, **options)

    monkeypatch.setattr(TorchLearner, "train", spy)
    x, y = world()
    rows = Rows.of(x, y, TASKS)
    outcome = select(learner(), rows, TASKS, given, effort=PROBE, seed=0)
    used = {name.partition("/")[0] for choice in outcome.choices.values() for name in choice.weights}
    assert set(trained) == used == set(outcome.families)
    assert Counting.passed[True] == sum(30 * (32 if kind == "single-task" else 64) for kind in trained)
    passes = PASSES * Counting.passed[True]
    # The dry forward by which a network learns the width of its features is not a row of anyone's.
    extracted = Counting.passed[False] - 2 * (len(trained) + 1)
    assert extracted == len(rows)
    assert (passes + extracted) / passes <= ON_FEATURES
    final = Counting.passed[True] / (30 * 32 * 2)
    assert outcome.cost == pytest.approx(final + extracted / (PASSES * 30 * 32 * 2))
    assert outcome.cost <= PROBE.cost()
    assert f"of {len(rows)} of {len(rows)} rows, decided" in " ".join(outcome.notes)


def test_rows_without_features_are_not_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[torch.Tensor] = []
    real = selection.shared_training
    monkeypatch.setattr(
        selection,
        "shared_training",
        lambda rows, *rest: taught.extend(rows.soft.values()) or real(rows, *rest),
    )
    x, y = world(n=640, seed=1)
    rows = Rows.of(x, y, TASKS)
    one = learner(steps=10)  # features of 480 rows are as many as are cheap
    outcome = select(one, rows, TASKS, [RELATION], effort=PROBE, seed=0)
    assert outcome.checks[0].verdict == "kept"
    index = rows_worth_features(rows, TASKS, 10 * 64, 0)
    assert 400 < len(index) <= 480
    assert Counting.passed[False] < 500
    (soft,) = taught
    has = ~torch.isnan(soft).any(dim=1).numpy()
    assert set(np.flatnonzero(has)) == set(index) - set(np.flatnonzero(y["kind"] >= 0))


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_of_rows_is_cheap_and_has_something_of_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(900) < 0.05, rng.integers(0, 4, 900), -1)
    a = np.where((y >= 0)[:, None], np.nan, (rng.random((900, 4)) < [0.5, 0.5, 0.02, 0.02]).astype(float))
    rows = Rows.of(np.zeros((900, 1)), {"kind": y, "marks": a}, TASKS)
    index = rows_worth_features(rows, TASKS, 400, seed)
    assert len(index) / (PASSES * 400) <= MOST
    assert len(np.unique(index)) == len(index)
    assert set(np.flatnonzero(y >= 0)) <= set(index)  # the scarce task has all its rows
    for task in TASKS:
        values = rows.targets[task.name].numpy()
        columns = [values] if isinstance(task, MulticlassTask) else values.T
        for column in columns:
            assert set(column[index][~np.isnan(column[index])]) == set(column[~np.isnan(column)])
    np.testing.assert_array_equal(rows_worth_features(rows, TASKS, 1200, seed), np.arange(900))


def test_models_without_a_trunk_are_refused() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = world()
    rows = Rows.of(x, y, TASKS)
    for one in (learner(trunk=None), EstimatorLearner(LogisticRegression())):
        with raises(ShapeError, "these models have none; give a trunk"):
            select(one, rows, TASKS, [RELATION], effort=PROBE, seed=0)
    with raises(UnknownNameError, "artefact of effort probe"):
        select(learner(), rows, TASKS, [RELATION], effort=PROBE, seed=0, artefact="bagged")


def model(**options: Any) -> cc.CoupledClassifier:
    small = {"effort": "probe", "steps": 30, "trunk": Counting, "random_state": 0}
    return cc.CoupledClassifier(TASKS, [RELATION], **{**small, **options})


def test_the_estimator_says_so_keeps_it_and_loads_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "steps", 20)
    x, y = world()
    with pytest.warns(ConcordWarning, match="effort probe: experimental"):
        fitted = model().fit(x, y, groups=np.arange(340) // 2)
    assert any("frozen features of the trunk" in line for line in fitted.report_)
    fitted.save(tmp_path / "model")
    again = cc.CoupledClassifier.load(tmp_path / "model", trunk=Counting)
    twin = model().fit(x, y, groups=np.arange(340) // 2)
    for name, p in fitted.predict_proba(x).items():
        np.testing.assert_array_equal(p, again.predict_proba(x)[name])
        np.testing.assert_array_equal(p, twin.predict_proba(x)[name])
    with raises(UnknownNameError, "effort of thresholds"):
        model(thresholds="f1").fit(x, y)
    with raises(UnknownNameError, "effort of cross-fitting"):
        model().cross_fit(x, y)
    with raises(ConfigError, "rivals: with effort='probe'"):
        model(rivals=["linear"]).fit(x, y)
    with raises(ShapeError, "give a trunk"):
        model(trunk=None).fit(x, y)
