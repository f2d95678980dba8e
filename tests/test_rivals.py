"""Single-task models that compete with the network: linear ones and estimators of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import concord as cc
from asserts import raises
from concord.auto import best_alone
from concord.auto.families import Family
from concord.auto.guard import guard
from concord.auto.starts import Start
from concord.decoding import row_loss
from concord.errors import ConfigError, EstimatorError, RangeError
from concord.fitting import Rows
from concord.learners import fit_linear, network_logits
from config_worlds import MARKS, SHAPE
from test_estimator_base import TASKS, same, world

ONE = cc.MulticlassTask("one", ["no", "yes"])
TREE = DecisionTreeClassifier(max_depth=3)
FEW: dict[str, Any] = {"steps": 4, "hidden": (4,), "effort": "fast", "random_state": 0, "relations": []}
"""Networks that learn next to nothing, so that everything else is better."""


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_linear_models_are_scikit_learns_logistic_regression(C: float) -> None:
    x, y, _ = world(300, 150)
    x = x * np.arange(1, 9) + 5
    y["marks"][200:210, 0] = np.nan
    weight = np.random.default_rng(0).uniform(0, 2, 300)
    rows = Rows.of(x.astype(np.float32), y, TASKS)
    rows.weights["shape"] = torch.from_numpy(weight.astype(np.float32))
    twin = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-8, max_iter=1000))
    classed = y["shape"] >= 0
    share = weight[classed] / weight[classed].mean()
    expected = clone(twin).fit(x[classed], y["shape"][classed], logisticregression__sample_weight=share)
    found = network_logits(fit_linear(rows, SHAPE, C), rows.inputs)["shape"]
    np.testing.assert_allclose(softmax(found, axis=1), expected.predict_proba(x), atol=1e-3)
    known = ~np.isnan(y["marks"][:, 1])
    expected = clone(twin).fit(x[known], y["marks"][known, 1])
    found = network_logits(fit_linear(rows, MARKS, C), rows.inputs)["marks"]
    np.testing.assert_allclose(expit(found[:, 1]), expected.predict_proba(x)[:, 1], atol=2e-3)
    with raises(RangeError, "C is a number > 0"):
        fit_linear(rows, MARKS, 0.0)


def family(name: str, **logits: np.ndarray) -> Family:
    """What two models, one of each fold, say of all rows."""
    models = [dict.fromkeys(logits, f"{name}-{k}") for k in range(2)]
    return Family(
        name, models, {task: np.stack([z] * 2) for task, z in logits.items()}, dict.fromkeys(logits, 1.0)
    )


def test_each_task_takes_the_family_of_least_log_loss_on_unseen_rows() -> None:
    _, y, truth = world(60, 30)
    rows = Rows.of(np.zeros((60, 1), dtype=np.float32), y, TASKS)
    fold = np.arange(60) % 2

    def sure(name: str, shape: float, marks: float) -> Family:
        signs = 2 * np.nan_to_num(y["marks"]) - 1
        return family(name, shape=shape * np.eye(3)[truth], marks=marks * signs)

    families = {each.name: each for each in (sure("single-task", 1, 2), sure("linear:1", 3, 1))}
    found = best_alone(families, rows, TASKS, fold)
    assert found.name == "single-task"
    assert found.kinds == {"shape": "linear:1"}
    assert found.networks[1] == {"shape": "linear:1-1", "marks": "single-task-1"}
    assert found.logits["shape"] is families["linear:1"].logits["shape"]


def test_of_rare_labels_a_lower_log_loss_is_not_bought_by_predicting_none() -> None:
    """A cautious model has the lowest log-loss, and no label at all above one half."""
    present = np.zeros((60, 2))
    present[::5] = 1
    labels = [cc.MultilabelTask("marks", ["a", "b"])]
    rows = Rows.of(np.zeros((60, 1), dtype=np.float32), {"marks": present}, labels)

    def says(name: str, where_present: float, elsewhere: float) -> Family:
        return family(name, marks=logit(np.where(present == 1, where_present, elsewhere)))

    network, cautious, finds = (
        says("single-task", 0.6, 0.3),
        says("trees", 0.45, 0.03),
        says("linear:1", 0.6, 0.2),
    )
    for given, taken in (([network, cautious], {}), ([network, cautious, finds], {"marks": "linear:1"})):
        families = {each.name: each for each in given}
        assert best_alone(families, rows, labels, np.arange(60) % 2).kinds == taken


def chosen(fitted: cc.CoupledClassifier) -> set[str]:
    return {name for choice in fitted.choices_.values() for name in choice.weights}


@pytest.mark.parametrize("artefact", ["distilled", "bagged"])
def test_a_linear_model_takes_the_place_of_networks_that_are_worse(artefact: str, tmp_path: Path) -> None:
    x, y, truth = world(400, 200)
    plain, fitted = (
        cc.CoupledClassifier(TASKS, rivals=r, artefact=artefact, **FEW).fit(x, y) for r in (None, ["linear"])
    )
    assert any("single-task model is linear, C = " in sentence for sentence in fitted.report_)
    assert not any("linear" in sentence for sentence in plain.report_)
    assert "single-task" in chosen(fitted)
    hit, before = (m.predict_proba(x)["shape"].argmax(axis=1) == truth for m in (fitted, plain))
    assert hit.mean() > before.mean() + 0.1
    fitted.save(tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "README.md",
        "model.json",
        "weights.safetensors",
    }
    again = cc.CoupledClassifier.load(tmp_path / "model")
    assert same(again.predict_proba(x), fitted.predict_proba(x))
    assert again.rivals == ["linear"]


def test_any_estimator_can_be_a_rival(tmp_path: Path) -> None:
    x, y, truth = world(400, 200)
    x[:, 3] = np.where(truth == 1, 1, -1) * np.random.default_rng(0).choice([-1, 1], 400)  # no use alone
    x[:, 4] = x[:, 3] * np.where(truth == 1, 1, -1)
    fitted = cc.CoupledClassifier(TASKS, rivals=["linear", TREE, clone(TREE)], **FEW).fit(x, y)
    kinds = fitted._automatic.families["single-task"].kinds
    assert kinds
    assert set(kinds.values()) <= {
        *(f"linear:{c:g}" for c in (0.001, 0.01, 0.1, 1)),
        "DecisionTreeClassifier",
    }
    pytest.importorskip("skops")
    fitted.save(tmp_path / "model")
    again = cc.CoupledClassifier.load(tmp_path / "model")
    assert same(again.predict_proba(x), fitted.predict_proba(x))
    assert repr(again.rivals) == repr(fitted.rivals)


def test_relations_are_judged_by_networks_whatever_the_rivals() -> None:
    x, y, _ = world(200, 100)
    first, second = (
        cc.CoupledClassifier(TASKS, rivals=r, **{**FEW, "relations": None}).fit(x, y).checks_[0]
        for r in (None, ["linear"])
    )
    assert (first.verdict, first.evidence) == (second.verdict, second.evidence)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"rivals": ["boosting"]}, EstimatorError, "found 'boosting'"),
        ({"rivals": [TREE], "coupling": None}, ConfigError, "coupling='auto'"),
        ({"rivals": [TREE], "base": TREE, "steps": 800, "hidden": (128, 128)}, ConfigError, "leave out one"),
    ],
)
def test_rivals_that_cannot_compete_are_refused(changes: Any, error: Any, said: str) -> None:
    x, y, _ = world(60, 30)
    with raises(error, said):
        cc.CoupledClassifier(TASKS, **{**FEW, **changes}).fit(x, y)


def test_what_is_compared_with_estimators_is_trained_for_all_steps() -> None:
    options = {**FEW, "steps": 2000}
    assert cc.CoupledClassifier(TASKS, rivals=["linear"], **options)._effort().share == 1.0
    assert cc.CoupledClassifier(TASKS, **options)._effort().share < 1.0


def test_linear_models_learn_shares() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3))
    share = softmax(x @ rng.normal(size=(3, SHAPE.width)), axis=1)
    y = {"shape": share.argmax(axis=1), "marks": np.full((600, MARKS.width), np.nan)}
    rows = Rows.of(x.astype(np.float32), y, TASKS)
    rows.shares["shape"] = torch.from_numpy(share.astype(np.float32))
    found = softmax(network_logits(fit_linear(rows, SHAPE, 1e4), rows.inputs)["shape"], axis=1)
    np.testing.assert_allclose(found, share, atol=0.01)


def test_of_one_task_there_is_no_choice_for_rivals_to_be_in() -> None:
    x, y, _ = world(60, 30)
    with raises(ConfigError, "of one task alone it does not"):
        cc.CoupledClassifier([SHAPE], **FEW, rivals=["linear"]).fit(x, {"shape": y["shape"]})


def test_weights_that_a_rival_does_not_take_are_refused_before_anything_is_trained(monkeypatch: Any) -> None:
    x, y, _ = world(60, 30)
    monkeypatch.setattr("concord.learners.torch_memory.fit", None)
    with raises(EstimatorError, "takes no weights of rows"):
        cc.CoupledClassifier(TASKS, **FEW, rivals=[KNeighborsClassifier()]).fit(
            x, y, sample_weight=np.ones(60)
        )


def test_every_kind_that_was_tried_counts_in_the_test_of_the_guard() -> None:
    """Five kinds of single-task models, none better than the start: the best one counts as five."""
    taken, rng = 0, np.random.default_rng(0)
    start = Start("shared", "")
    for _ in range(200):
        y = rng.integers(0, 2, 200)
        rows = Rows.of(np.zeros((200, 1), dtype=np.float32), {"one": y}, [ONE])
        base = 0.5 * rng.normal(size=200)
        kinds = {f"k{i}": np.stack([-z, z], axis=1) for i in range(5) for z in [0.5 * rng.normal(size=200)]}
        losses = {name: float(row_loss(softmax(z, axis=1), y, True).mean()) for name, z in kinds.items()}
        best = min(losses, key=lambda name: losses[name])

        def family(name: str, z: Any) -> Family:
            return Family(name, [{}], {"one": z[None]}, {"one": 1.0})

        families = {"single-task": family("single-task", kinds.pop(best))}
        families["shared"] = family("shared", np.stack([-base, base], axis=1))
        choice, _ = guard(
            ONE, families, rows, np.zeros(200, dtype=int), [[]], np.zeros(200, dtype=int), lambda task: None,
            np.zeros(2, dtype=bool),
            average=False, start=start, alpha=0.05,
            others={name: softmax(z, axis=1) for name, z in kinds.items()},
        )  # fmt: skip
        taken += "single-task" in choice.weights
    assert taken <= 19  # a twentieth, and three standard errors; 28 where the others are left out


def test_a_common_factor_of_weights_changes_no_linear_model() -> None:
    x, y, _ = world(200, 100)
    rows = Rows.of(x.astype(np.float32), y, TASKS)
    weight = np.random.default_rng(0).uniform(0, 2, 200).astype(np.float32)
    found = []
    for factor in (1.0, 2.0**-14, 2.0**10):
        rows.weights["shape"] = torch.from_numpy(weight * np.float32(factor))
        found.append(network_logits(fit_linear(rows, SHAPE, 0.1), rows.inputs)["shape"])
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)
