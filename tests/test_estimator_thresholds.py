"""Thresholds of an estimator: chosen out of fold, used by its predictions, kept with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import concord as cc
from asserts import raises
from concord.decoding import choose_thresholds
from concord.errors import RangeError, UnknownNameError
from concord.metrics import label_metrics

KIND = cc.MulticlassTask("kind", ["common", "rare", "rarer"])
MARKS = cc.MultilabelTask("marks", ["often", "seldom", "hardly"])
TABLE = np.array([[0.8, 0.1, 0.02], [0.3, 0.4, 0.02], [0.5, 0.1, 0.3]])
RELATION = cc.Relation(KIND, MARKS, TABLE)
SMALL: dict[str, Any] = {
    "steps": 25,
    "hidden": (16, 16),
    "rows_per_task": 32,
    "learning_rate": 0.01,
    "effort": "fast",
    "random_state": 0,
}
WAYS: dict[str, Any] = {
    "auto": {"coupling": "auto"},
    "bagged": {"coupling": "auto", "artefact": "bagged"},
    "uncoupled": {"coupling": None},
    "two-stage": {"coupling": "two-stage"},
}


def draw(seed: int, n: int = 600) -> Any:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.8, 0.15, 0.05])
    a = (rng.random((n, 3)) < TABLE[y]).astype(float)
    x = rng.normal(size=(n, 8))
    x[:, :3] += np.eye(3)[y]
    x[:, 3:6] += 0.8 * a
    kind = np.arange(n) % 2 == 0
    return (
        x,
        {"kind": np.where(kind, y, -1), "marks": np.where(kind[:, None], np.nan, a)},
        {"kind": y, "marks": a},
    )


def made(way: str, **changes: Any) -> cc.CoupledClassifier:
    return cc.CoupledClassifier([KIND, MARKS], [RELATION], **{**SMALL, **WAYS[way], **changes})


@pytest.mark.parametrize("way", WAYS)
def test_predictions_are_cut_by_thresholds_that_leave_probabilities_alone(way: str, tmp_path: Any) -> None:
    x, y, truth = draw(0, 400)
    plain, model = made(way).fit(x, y), made(way, thresholds="f1").fit(x, y)
    p = model.predict_proba(x)
    for name, values in plain.predict_proba(x).items():
        np.testing.assert_array_equal(values, p[name])
    cuts, predicted = model.thresholds_, model.predict(x)
    assert plain.thresholds_ is None
    np.testing.assert_array_equal(predicted["marks"], p["marks"] >= cuts["marks"])
    np.testing.assert_array_equal(KIND.encode(predicted["kind"]), (p["kind"] / cuts["kind"]).argmax(axis=1))
    assert cuts["marks"].min() < 0.5
    assert model.score(x, truth) != plain.score(x, truth)
    model.save(tmp_path / "model")
    loaded = cc.CoupledClassifier.load(tmp_path / "model")
    for name, values in loaded.predict(x).items():
        np.testing.assert_array_equal(values, predicted[name])
        np.testing.assert_array_equal(loaded.thresholds_[name], cuts[name])
    assert loaded.get_params()["thresholds"] == "f1"


def test_thresholds_are_those_of_out_of_fold_predictions() -> None:
    x, y, _ = draw(1)
    model = made("auto", thresholds="balanced_accuracy").fit(x, y)
    targets = {"kind": KIND.encode(y["kind"]), "marks": y["marks"]}
    found = choose_thresholds("balanced_accuracy", [KIND, MARKS], targets, model._automatic.held_out)
    for name, values in model.thresholds_.items():
        np.testing.assert_array_equal(values, found.values[name])
    assert any("at the thresholds, which were chosen on these rows" in each for each in model.report_)
    worth = {each.split(":")[0]: each for each in model.report_ if "at the thresholds" in each}
    assert " without thresholds, " in worth["kind"]  # classes are the most probable ones, and not cut
    assert " at .5, " in worth["marks"]


def test_rare_labels_gain_f1_on_new_rows() -> None:
    x, y, _ = draw(2, 900)
    new, _, truth = draw(3, 2000)
    seldom = cc.MultilabelTask("marks", ["seldom"])
    targets = {"kind": y["kind"], "marks": y["marks"][:, 1:2]}
    relation = cc.Relation(KIND, seldom, TABLE[:, 1:2])
    model = cc.CoupledClassifier([KIND, seldom], [relation], thresholds="f1", **{**SMALL, "steps": 80}).fit(
        x, targets
    )
    p, a = model.predict_proba(new)["marks"], truth["marks"][:, 1:2]
    at_half, at_cut = (
        label_metrics(a, p, ["seldom"], cut)["mean_f1"] for cut in (0.5, model.thresholds_["marks"])
    )
    assert at_cut > at_half + 0.05


@pytest.mark.parametrize(("way", "factor"), [("uncoupled", 1 + 2 * 1.0), ("auto", None)])
def test_the_cost_of_thresholds_is_counted(way: str, factor: float | None) -> None:
    x, y, _ = draw(4, 300)
    plain, model = made(way, steps=4).fit(x, y), made(way, steps=4, thresholds="f1").fit(x, y)
    assert model.cost_ == pytest.approx(plain.cost_ * (factor or 1.0))


def test_a_single_task_has_thresholds_too() -> None:
    x, _, truth = draw(5)
    names = np.array(["common", "rare", "rarer"])[truth["kind"]]
    model = cc.CoupledClassifier(thresholds="balanced_accuracy", **SMALL).fit(x, names)
    cut = model.thresholds_["y"]
    assert cut[0] == 0.5 > cut[1] > cut[2]
    np.testing.assert_array_equal(
        model.predict(x), model.classes_[(model.predict_proba(x) / cut).argmax(axis=1)]
    )


def test_few_labels_keep_one_half_and_the_report_says_so() -> None:
    x, y, _ = draw(6, 300)
    y["marks"][:, 2] = np.where(np.isnan(y["marks"][:, 2]), np.nan, 0.0)
    y["marks"][1:13:2, 2] = 1.0
    model = made("uncoupled", thresholds={"precision": 0.5}).fit(x, y)
    assert model.thresholds_["marks"][2] == 0.5
    assert any("hardly at .5" in each for each in model.report_)
    assert any("precision is asked of labels" in each for each in model.report_)


def test_scorers_follow_the_predictions() -> None:
    x, y, truth = draw(7)
    model = made("uncoupled", thresholds="f1").fit(x, y)
    found = cc.make_scorer("marks")(model, x, truth)
    expected = label_metrics(
        truth["marks"], model.predict_proba(x)["marks"], MARKS.labels, model.thresholds_["marks"]
    )
    assert found == expected["mean_f1"]


@pytest.mark.parametrize(
    ("thresholds", "error"), [("accuracy", UnknownNameError), ({"precision": 2}, RangeError)]
)
def test_other_thresholds_are_refused_before_anything_is_trained(thresholds: Any, error: Any) -> None:
    x, y, _ = draw(8)
    with raises(error):
        made("auto", thresholds=thresholds).fit(x, y)
