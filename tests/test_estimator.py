from __future__ import annotations

import datetime as dt
import shutil
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

import concord as cc
from asserts import raises
from concord.couplings import coupling_names
from concord.errors import (
    AnnotationError,
    CheckpointError,
    ConcordWarning,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    NotFiniteError,
    RangeError,
    ShapeError,
    SourceShiftWarning,
    UnknownNameError,
)
from concord.estimator.classifier import EXPECTED_FAILED_CHECKS, CoupledClassifier
from forging import forge

KIND = cc.MulticlassTask("kind", [f"c{i}" for i in range(4)])
MARKS = cc.MultilabelTask("marks", [f"l{i}" for i in range(6)])
FINE = cc.MulticlassTask("fine", [f"d{i}" for i in range(8)])
CODES = np.array([[1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]])
TABLE = np.where(CODES == 1, 0.92, 0.08)
RELATION = cc.Relation(KIND, MARKS, TABLE)
FINER = cc.Relation(KIND, FINE, np.kron(np.eye(4), [[0.5, 0.5]]))
SMALL: dict[str, Any] = {
    "steps": 40,
    "hidden": (16, 16),
    "dropout": 0.0,
    "rows_per_task": 32,
    "learning_rate": 0.015,
    "effort": "fast",
    "random_state": 0,
}


def draw(seed: int, n: int = 240, tasks: int = 2, classes: tuple[int, ...] = (0, 1, 2, 3)) -> Any:
    """Inputs with all truths, and the same with each row annotated for one task."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n)
    a = (rng.random((n, 6)) < TABLE[y]).astype(float)
    d = 2 * y + rng.integers(0, 2, n)
    x = rng.normal(size=(n, 12))
    x[:, :4] += 2.0 * np.eye(4)[y]
    x[:, 4:10] += a
    x[:, 10] += d % 2
    part = np.arange(n) % tasks
    gaps = {
        "kind": np.where(part == 0, y, -1),
        "marks": np.where((part == 1)[:, None], a, np.nan),
        "fine": np.where(part == 2, d, -1),
    }
    truth = {"kind": y, "marks": a, "fine": d}
    names = ["kind", "marks", "fine"][:tasks]
    return x, {name: gaps[name] for name in names}, {name: truth[name] for name in names}


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)


# -- scikit-learn's contract ----------------------------------------------------------------------------


def test_a_single_task_keeps_the_contract_but_for_what_is_listed() -> None:
    model = CoupledClassifier(**{**SMALL, "steps": 12, "learning_rate": 0.05})
    found = check_estimator(
        model, expected_failed_checks=EXPECTED_FAILED_CHECKS, on_skip=None, on_fail="raise"
    )
    failed = {each["check_name"] for each in found if each["status"] == "xfail"}
    assert failed == set(EXPECTED_FAILED_CHECKS)  # none is listed that passes
    assert len(found) > 40


def test_parameters_are_kept_as_they_are_given() -> None:
    model = CoupledClassifier(
        [KIND, MARKS], [RELATION], coupling="posterior", class_weight={"kind": {"c0": 2}}
    )
    twin = clone(model)
    assert twin is not model
    assert twin.get_params()["class_weight"] == {"kind": {"c0": 2}}
    assert twin.get_params()["coupling"] == "posterior"


def test_one_dimensional_targets_of_any_kind() -> None:
    x, _, truth = draw(0)
    names = np.array(["ash", "birch", "cedar", "dogwood"])[truth["kind"]]
    model = CoupledClassifier(**SMALL).fit(x, names)
    assert model.score(x, names) > 0.8
    assert set(model.predict(x)) <= set(names)
    assert model.predict_proba(x).shape == (240, 4)
    assert model.cost_ == 0.5
    numbers = CoupledClassifier(**SMALL).fit(x, 10 * truth["kind"])
    np.testing.assert_array_equal(numbers.classes_, [0, 10, 20, 30])
    np.testing.assert_array_equal(numbers.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b", None, "a"],
        ["a", "b", "", "a"],
        [0.0, 1.0, np.nan, 1.0],
        [0, 1, -1, 1],
        [1, 2, -1, 3],
        pd.array([1, 2, None, 1], dtype="Int64"),
        np.ma.array([0, 1, 1, 1], mask=[False, False, True, False]),
    ],
)
def test_a_gap_in_one_dimensional_targets_sends_to_tasks(y: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    with raises(AnnotationError, "1 of 4 rows", "in row 2", "tasks=[MulticlassTask('y', [...])]"):
        CoupledClassifier(**SMALL).fit(x, y)


def test_two_classes_may_be_called_minus_one_and_one() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    model = CoupledClassifier(**SMALL).fit(x, np.where(x[:, 0] > 0, 1, -1))
    assert model.classes_.tolist() == [-1, 1]


# -- a whole fit ----------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "auto-distilled": {"coupling": "auto"},
    "auto-bagged": {"coupling": "auto", "artefact": "bagged"},
    "auto-estimated": {"coupling": "auto", "relations": None},
    "balanced-shared": {"coupling": None},
    "two-stage": {"coupling": "two-stage"},
    "a-coupling": {"coupling": cc.couplings.PosteriorCoannotation()},
    **{name: {"coupling": name} for name in ("paper", "posterior", "marginal", "population")},
}


def made(way: str, **changes: Any) -> CoupledClassifier:
    options = {"relations": [RELATION], **SMALL, **WAYS[way], **changes}
    return CoupledClassifier([KIND, MARKS], **options)


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow if way == "auto-bagged" else ()) for way in WAYS]
)
def test_a_fit_is_repeatable_and_survives_saving(way: str, tmp_path: Path) -> None:
    x, y, truth = draw(1)
    model = made(way).fit(x, y)
    found = model.predict_proba(x)
    assert same(found, made(way).fit(x, y).predict_proba(x))
    assert (found["kind"].argmax(axis=1) == truth["kind"]).mean() > 0.7
    if way != "paper":  # which is known for what it does to labels
        assert ((found["marks"] > 0.5) == truth["marks"]).mean() > 0.7
    predicted = model.predict(x)
    assert set(predicted["kind"]) <= set(KIND.classes)
    assert set(np.unique(predicted["marks"])) <= {0, 1}
    assert (0.5 if way != "paper" else 0.25) < model.score(x, truth) <= 1
    model.save(tmp_path / "model")
    assert {f.name for f in (tmp_path / "model").iterdir()} == {
        "README.md",
        "model.json",
        "weights.safetensors",
    }
    again = CoupledClassifier.load(tmp_path / "model")
    assert same(found, again.predict_proba(x))
    assert again.report_ == model.report_
    assert again.choices_ == model.choices_
    assert again.zero_shot_ == model.zero_shot_ == {}
    assert again.cost_ == model.cost_
    assert again.get_params()["steps"] == 40
    if isinstance(WAYS[way]["coupling"], (str, type(None))):
        assert again.coupling == WAYS[way]["coupling"]


def test_another_seed_is_another_model() -> None:
    x, y, _ = draw(1)
    first, second = (made("balanced-shared", random_state=seed).fit(x, y).predict_proba(x) for seed in (0, 1))
    assert not same(first, second)


def test_a_single_task_survives_saving_with_its_classes(tmp_path: Path) -> None:
    x, _, truth = draw(0)
    for i, values in enumerate((np.array(["a", "b", "c", "d"])[truth["kind"]], truth["kind"] % 2 == 0)):
        weights = {value: i + 1.5 for i, value in enumerate(np.unique(values).tolist())}
        model = CoupledClassifier(**SMALL, class_weight=weights).fit(x, values)
        model.save(tmp_path / str(i))
        again = CoupledClassifier.load(tmp_path / str(i))
        np.testing.assert_array_equal(again.predict(x), model.predict(x))
        assert again.classes_.dtype == model.classes_.dtype
        assert again.class_weight == weights


@pytest.mark.parametrize("coupling", coupling_names())
def test_every_coupling_by_name_trains(coupling: str) -> None:
    x, y, _ = draw(2, n=60)
    model = CoupledClassifier([KIND, MARKS], [RELATION], coupling, **{**SMALL, "steps": 3}).fit(x, y)
    assert "one balanced shared network" in model.report_[0]
    assert np.isfinite(model.predict_proba(x)["marks"]).all()


# -- saved models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y, _ = draw(3, n=80)
    folder = tmp_path_factory.mktemp("saved") / "model"
    made("auto-distilled", steps=8).fit(x, y).save(folder)
    return folder


def test_a_model_of_another_shape_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "edited")
    for changes in ({"example": [3]}, {"networks": []}, {"mean": ...}, {"tasks": [3]}):
        forge(tmp_path / "edited", "estimator", **changes)
        with raises(CheckpointError, "does not hold the model it says"):
            CoupledClassifier.load(tmp_path / "edited")


def test_a_folder_in_use_is_not_written_over(saved: Path) -> None:
    model = CoupledClassifier.load(saved)
    with raises(CheckpointError, "not empty"):
        model.save(saved)


# -- inputs ---------------------------------------------------------------------------------------------


def test_the_kind_of_table_changes_nothing() -> None:
    x, y, _ = draw(4, n=120)
    x[np.abs(x) < 0.5] = 0.0
    columns = [f"f{i}" for i in range(x.shape[1])]
    names = [None if c < 0 else KIND.classes[c] for c in y["kind"]]
    y_pandas = {"kind": pd.Series(names), "marks": pd.DataFrame(y["marks"])}
    y_polars = {"kind": pl.Series(names), "marks": pl.DataFrame(y["marks"])}
    inputs: list[tuple[Any, Any]] = [
        (x, y),
        (pd.DataFrame(x, columns=columns), y_pandas),
        (pl.DataFrame(x, schema=columns), y_polars),
        (sparse.csr_matrix(x), y),
        (sparse.csc_array(x), {"kind": np.array(names, dtype=object), "marks": y["marks"].tolist()}),
        (x.tolist(), y),
    ]
    found = []
    for values, targets in inputs:
        model = made("balanced-shared", steps=20).fit(values, targets)
        found.append(model.predict_proba(values))
    for each in found[1:]:
        assert same(found[0], each)


def test_sources_may_leave_tasks_out_of_prediction_and_scoring() -> None:
    x, y, truth = draw(4, n=120)
    model = made("balanced-shared", steps=20).fit(x, y)
    assert model.score(x, {"kind": truth["kind"]}) == pytest.approx(
        np.mean(
            [
                (model.predict(x)["kind"] == np.array(KIND.classes)[c])[truth["kind"] == i].mean()
                for i, c in enumerate(range(4))
            ]
        ),
        abs=0.3,
    )
    with raises(NoAnnotationError, "nothing can be scored"):
        model.score(x, {})


BAD: dict[str, tuple[Any, type, str]] = {
    "nan": (lambda x, y: (np.where(x > 1, np.nan, x), y), ValueError, "NaN"),
    "infinite": (lambda x, y: (np.where(x > 1, np.inf, x), y), ValueError, "infinity"),
    "another number of rows": (lambda x, y: (x[:-1], y), ShapeError, "rows of inputs"),
    "one class": (
        lambda x, y: (x, {**y, "kind": np.where(y["kind"] > 0, -1, y["kind"])}),
        AnnotationError,
        "all annotated rows are of class 'c0'",
    ),
    "no annotation": (
        lambda x, y: (x, {**y, "kind": np.full(len(x), -1)}),
        NoAnnotationError,
        "'kind' has no annotation",
    ),
    "a task left out": (
        lambda x, y: (x, {"kind": y["kind"]}),
        NoAnnotationError,
        "'marks' has no annotation",
    ),
    "fewer rows than folds": (
        lambda x, y: (x, {**y, "marks": np.where(np.arange(len(x))[:, None] == 1, y["marks"], np.nan)}),
        RangeError,
        "1 annotated rows, fewer than the 2 folds",
    ),
    "an unknown task": (lambda x, y: (x, {**y, "kid": y["kind"]}), UnknownNameError, "did you mean 'kind'"),
    "an array for two tasks": (lambda x, y: (x, y["kind"]), ShapeError, "dictionary by task name"),
    "an unknown class": (
        lambda x, y: (x, {**y, "kind": np.full(len(x), 9)}),
        AnnotationError,
        "kind",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_with_a_name(case: str) -> None:
    x, y, _ = draw(5, n=80)
    spoil, kind, said = BAD[case]
    with pytest.raises(kind, match=said):
        made("auto-distilled", steps=2).fit(*spoil(x, y))


OPTIONS: dict[str, tuple[dict[str, Any], type, str]] = {
    "coupling": ({"coupling": "posteriro"}, UnknownNameError, "did you mean 'posterior'"),
    "effort": ({"effort": "quick"}, UnknownNameError, "unknown effort"),
    "artefact": ({"artefact": "bag"}, UnknownNameError, "did you mean 'bagged'"),
    "tasks of one name": ({"tasks": [KIND, KIND]}, DuplicateNameError, "'kind' twice"),
    "no tasks": ({"tasks": None}, ShapeError, "tasks="),
    "a relation of a task not given": ({"relations": [FINER]}, UnknownNameError, "kind->fine"),
    "a relation of another task of this name": (
        {"relations": [cc.Relation(cc.MulticlassTask("kind", ["a", "b"]), MARKS, TABLE[:2])]},
        ShapeError,
        "another task 'kind'",
    ),
    "two relations of a pair": ({"relations": [RELATION, RELATION]}, DuplicateNameError, "twice"),
    "a coupling without a relation": (
        {"relations": None, "coupling": "posterior"},
        ShapeError,
        "no relation",
    ),
    "two stages without a relation": ({"relations": None, "coupling": "two-stage"}, ShapeError, "relations="),
    "class_weight": ({"class_weight": "equal"}, UnknownNameError, "unknown class_weight"),
    "class_weight of a task": (
        {"class_weight": {"kid": "balanced"}},
        UnknownNameError,
        "did you mean 'kind'",
    ),
    "class_weight of no task": (
        {"class_weight": {"kind": 3.0}},
        ShapeError,
        "dictionary of weights by class",
    ),
    "class_weight of labels": ({"class_weight": {"marks": {"l0": 2.0}}}, ShapeError, "has labels"),
    "balanced labels": ({"class_weight": {"marks": "balanced"}}, ShapeError, "'marks' has labels"),
    "class_weight of a class": (
        {"class_weight": {"kind": {"c9": 2}}},
        UnknownNameError,
        "class in class_weight",
    ),
    "a negative weight": ({"class_weight": {"kind": {"c0": -1}}}, RangeError, ">= 0"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options_are_errors_with_a_name(case: str) -> None:
    x, y, _ = draw(5, n=80)
    changes, kind, said = OPTIONS[case]
    model = made("auto-distilled", steps=2).set_params(**changes)
    with pytest.raises(kind, match=said):
        model.fit(x, y)


DAY = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]")
TIMES: dict[str, Any] = {
    "pandas dates": pd.Series(DAY),
    "pandas times of a zone": pd.Series(DAY).dt.tz_localize("UTC"),
    "pandas durations": pd.Series(DAY) - pd.Timestamp("2020-01-01"),
    "pandas periods": pd.Series(DAY).dt.to_period("D"),
    "pandas objects": pd.Series([None, dt.date(2024, 1, 1)], dtype=object),
    "pandas of Arrow": pd.Series(DAY).astype("date32[pyarrow]"),
    "polars dates": pl.Series(DAY),
    "polars times": pl.Series(DAY).cast(pl.Datetime("ms")),
    "polars durations": pl.Series(DAY) - dt.date(2020, 1, 1),
    "polars times of day": pl.Series([dt.time(1), dt.time(2)]),
}


@pytest.mark.parametrize("case", TIMES)
@pytest.mark.parametrize("options", [{}, {"trunk": nn.Linear(2, 3)}], ids=["features", "trunk"])
def test_a_column_of_times_is_refused_by_name(case: str, options: dict[str, Any]) -> None:
    column = TIMES[case]
    frame = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    y = {"kind": ["c0", "c1"], "marks": np.full((2, 6), np.nan)}
    with raises(ShapeError, "feature column 'seen' holds dates, times or durations; make numbers of it"):
        made("balanced-shared", **options).fit(frame({"age": [1.0, 2.0], "seen": column}), y)


@pytest.mark.parametrize("dtype", ["datetime64[s]", "timedelta64[D]"])
def test_an_array_of_times_is_refused_at_prediction_too(dtype: str) -> None:
    x, y, _ = draw(5, n=80)
    model = made("balanced-shared", steps=2)
    for use in (lambda rows: model.fit(rows, y), model.fit(x, y).predict):
        with raises(ShapeError, "features are dates, times or durations"):
            use(np.zeros(x.shape, dtype=dtype))


def test_another_width_at_prediction_is_an_error() -> None:
    x, y, _ = draw(5, n=80)
    model = made("balanced-shared", steps=2).fit(x, y)
    with pytest.raises(ValueError, match="features"):
        model.predict(x[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.full_like(x, np.nan))


def test_a_classifier_of_one_class_is_an_error() -> None:
    with raises(AnnotationError, "at least 2 classes"):
        CoupledClassifier(**SMALL).fit(np.zeros((4, 2)), [1, 1, 1, 1])


def test_what_is_missing_is_said() -> None:
    x, y, _ = draw(6, n=120)
    y["marks"][:, 2] = np.nan
    y["marks"][:, 3] = np.where(np.isnan(y["marks"][:, 3]), np.nan, 0.0)
    y["kind"][:8] = -1
    y["marks"][:8] = np.nan
    with pytest.warns(ConcordWarning, match="label l2 is never annotated"):
        model = made("balanced-shared", steps=2).fit(x, y)
    said = "\n".join(model.report_)
    assert "l2 is never annotated" in said
    assert "no row shows label l3" in said
    assert "8 of 120 rows carry no annotation" in said


def test_pairs_without_a_relation_are_named_and_labels_alone_are_not_coupled() -> None:
    x, y, _ = draw(6, n=120, tasks=3)
    model = CoupledClassifier([KIND, MARKS, FINE], [RELATION], **{**SMALL, "steps": 4}).fit(x, y)
    assert any("no relation was given between kind, fine; fine, marks" in said for said in model.report_)
    other = cc.MultilabelTask("other", ["m0", "m1"])
    targets = {"marks": y["marks"], "other": np.where(y["kind"][:, None] >= 0, x[:, :2] > 0, np.nan)}
    model = CoupledClassifier([MARKS, other], **{**SMALL, "steps": 4}).fit(x, targets)
    assert any("no coupling" in said for said in model.report_)
    assert model.relations_ == []


# -- weights --------------------------------------------------------------------------------------------


def test_rows_of_weight_0_teach_nothing() -> None:
    x, y, truth = draw(7)
    wrong = np.arange(240) % 8 < 4
    spoilt = {
        "kind": np.where(wrong & (y["kind"] >= 0), (y["kind"] + 1) % 4, y["kind"]),
        "marks": np.where(wrong[:, None], 1 - y["marks"], y["marks"]),
    }
    weighted = made("balanced-shared").fit(x, spoilt, sample_weight=1.0 - wrong)
    plain = made("balanced-shared").fit(x, spoilt)
    for name in ("kind", "marks"):
        assert weighted.score(x, {name: truth[name]}) > plain.score(x, {name: truth[name]}) + 0.1


@cache
def unweighted(way: str) -> dict[str, np.ndarray]:
    """Predictions of ten steps on the rows of the test below, trained once for all weights."""
    x, y, _ = draw(3, 160)
    return made(way, steps=10).fit(x, y).predict_proba(x)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"kind": "balanced"}, {"kind": {"c0": 2.0}}])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("way", ["auto-distilled", "balanced-shared", "two-stage", "posterior"])
def test_every_way_takes_every_kind_of_weight(way: str, weighted: bool, class_weight: Any) -> None:
    x, y, _ = draw(3, 160)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 160) if weighted else None
    model = made(way, class_weight=class_weight, steps=10).fit(x, y, sample_weight=weight)
    found = model.predict_proba(x)
    alike = same(found, unweighted(way))
    assert alike if class_weight is None and not weighted else not alike  # a weight that does nothing is none


def test_bad_sample_weights_are_named() -> None:
    x, y, _ = draw(7, n=80)
    model = made("balanced-shared", steps=2)
    with raises(ShapeError, "(80,)"):
        model.fit(x, y, sample_weight=np.ones(3))
    for bad in (-1.0, np.nan, np.inf):
        with raises(RangeError, ">= 0"):
            model.fit(x, y, sample_weight=np.full(80, bad))
    with raises(RangeError, "weights are zero", "'kind'"):
        model.fit(x, y, sample_weight=np.where(y["kind"] >= 0, 0.0, 1.0))
    with raises(RangeError, "weights are zero", "'kind'"):
        made("balanced-shared", class_weight={"kind": dict.fromkeys(range(4), 0)}).fit(x, y)


def test_class_weights_move_predictions() -> None:
    x, y, _ = draw(8)
    x[:, :4] *= 0.3

    def share(class_weight: Any) -> float:
        model = made("balanced-shared", class_weight=class_weight).fit(x, y)
        return float((model.predict(x)["kind"] == "c2").mean())

    assert share({"kind": {"c2": 20.0}}) > share(None) + 0.2
    assert share({"kind": {2: 20.0}}) == share({"kind": {"c2": 20.0}})
    assert share({"marks": None, "kind": None}) == share(None)
    assert share({"kind": "balanced"}) == share("balanced")
    rare = y["kind"] == 2
    y["kind"][np.flatnonzero(rare)[4:]] = -1
    assert share("balanced") > share(None)


# -- a class without an annotated row -------------------------------------------------------------------


def unseen(seed: int) -> Any:
    """Class c3 never occurs among the class-annotated rows, though among the others."""
    x, y, truth = draw(seed, n=600)
    y["kind"] = np.where(y["kind"] == 3, -1, y["kind"])
    return x, y, truth


@pytest.mark.parametrize(
    ("way", "at_least"), [("auto-distilled", 0.5), ("two-stage", 0.5), ("auto-bagged", 0.4)]
)
def test_a_class_without_a_row_is_predicted_through_the_relation(
    way: str, at_least: float, tmp_path: Path
) -> None:
    x, y, _ = unseen(0)
    fresh, _, truth = draw(99, n=400)
    options = {"steps": 100, "hidden": (32, 32)}
    with pytest.warns(ConcordWarning, match="no annotated row of c3"):
        model = made(way, **options).fit(x, y)
    right = model.predict(fresh)["kind"] == np.array(KIND.classes)[truth["kind"]]
    assert right[truth["kind"] == 3].mean() > at_least  # chance is .25
    assert right[truth["kind"] != 3].mean() > 0.7
    assert model.zero_shot_ == {"kind": ["c3"]}
    assert any("c3 without an annotated row, predicted through a relation" in s for s in model.report_)
    model.save(tmp_path / "model")
    assert CoupledClassifier.load(tmp_path / "model").zero_shot_ == {"kind": ["c3"]}


@pytest.mark.filterwarnings("ignore::concord.errors.SourceShiftWarning")  # the shares do differ
def test_without_a_relation_such_a_class_is_not_predicted_and_that_is_said() -> None:
    x, y, _ = unseen(0)
    for way in ("balanced-shared", "auto-estimated"):
        with pytest.warns(ConcordWarning, match="no annotated row of c3"):
            model = made(way).fit(x, y)
        assert model.zero_shot_ == {}
        assert (model.predict(x)["kind"] == "c3").mean() < 0.05
        assert any("c3 without an annotated row, never predicted" in s for s in model.report_)


def test_a_coupling_by_name_predicts_such_a_class_too() -> None:
    x, y, truth = unseen(0)
    with pytest.warns(ConcordWarning, match="no annotated row of c3"):
        model = made("posterior", steps=200).fit(x, y)
    assert model.zero_shot_ == {"kind": ["c3"]}
    found = model.predict(x)["kind"][y["kind"] < 0] == "c3"
    assert found[truth["kind"][y["kind"] < 0] == 3].mean() > 0.3


# -- sources that differ --------------------------------------------------------------------------------


def test_other_class_shares_in_another_source_are_measured_and_said() -> None:
    x1, y1, _ = draw(10, n=800)
    x2, y2, _ = draw(11, n=800, classes=(0, 0, 0, 0, 0, 1, 2, 3))
    kind, marks = y1["kind"] >= 0, y2["kind"] < 0
    x = np.vstack([x1[kind], x2[marks]])
    y = {name: np.concatenate([y1[name][kind], y2[name][marks]]) for name in y1}
    with pytest.warns(SourceShiftWarning) as caught:
        model = made("auto-distilled", steps=60).fit(x, y)
    said = [str(w.message) for w in caught if "total variation" in str(w.message)]
    assert len(said) == 1
    assert said[0] in model.report_
    (shift,) = model.shifts_
    assert (shift.task, shift.source) == ("kind", "marks")
    assert shift.distance == pytest.approx(0.375, abs=0.12)
    assert shift.noise < shift.distance
    np.testing.assert_allclose(shift.prior, [0.625, 0.125, 0.125, 0.125], atol=0.15)


def test_other_inputs_in_another_source_are_measured_and_said() -> None:
    x, y, _ = draw(12, n=300)
    x[y["kind"] < 0, 11] += 3.0
    with pytest.warns(SourceShiftWarning, match="area under the curve"):
        made("auto-distilled", steps=4).fit(x, y)


def test_sources_that_do_not_differ_bring_no_warning() -> None:
    x, y, _ = draw(13, n=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = made("auto-distilled").fit(x, y)
    assert not any(shift.real for shift in model.shifts_)


# -- three tasks, groups, trunks ------------------------------------------------------------------------


@pytest.mark.parametrize(("relations", "overlap"), [([RELATION, FINER], False), (None, True)])
def test_three_tasks_of_both_kinds_in_any_overlap(relations: Any, overlap: bool) -> None:
    x, y, truth = draw(14, n=300, tasks=3)
    if overlap:
        both = np.arange(300) % 4 == 0
        y["kind"] = np.where(both, truth["kind"], y["kind"])
        y["marks"] = np.where(both[:, None], truth["marks"], y["marks"])
        y["fine"] = np.where(both, truth["fine"], y["fine"])
    model = CoupledClassifier([KIND, MARKS, FINE], relations, **SMALL).fit(x, y)
    found = model.predict_proba(x)
    assert (found["kind"].argmax(axis=1) == truth["kind"]).mean() > 0.75
    assert (found["fine"].argmax(axis=1) == truth["fine"]).mean() > 0.3
    assert len(model.checks_) == (2 if relations else 3)
    assert set(model.choices_) == {"kind", "marks", "fine"}


@pytest.mark.parametrize("coupling", [None, "posterior", "two-stage"])
def test_three_tasks_by_name(coupling: str | None) -> None:
    x, y, truth = draw(15, n=240, tasks=3)
    model = CoupledClassifier([KIND, MARKS, FINE], [RELATION, FINER], coupling, **SMALL).fit(x, y)
    assert (model.predict_proba(x)["kind"].argmax(axis=1) == truth["kind"]).mean() > 0.7


def test_groups_reach_the_folds() -> None:
    x, y, _ = draw(16, n=120)
    groups = [f"s{i % 12}" for i in range(120)]
    made("auto-distilled", steps=4).fit(x, y, groups=groups)
    for way in ("auto-distilled", "two-stage"):
        with raises(ShapeError, "groups"):
            made(way, steps=4).fit(x, y, groups=groups[:-1])


def test_the_first_stage_alone_weighs_a_table_as_auto_does() -> None:
    x, y, _ = draw(17)
    model = made("auto-distilled", steps=20)
    first = model.cross_fit(x, y)
    alone, within = first.check(RELATION), model.fit(x, y).checks_[0]
    assert (alone.verdict, alone.trust, alone.exponent) == (within.verdict, within.trust, within.exponent)
    assert np.array_equal(alone.estimate.table, within.estimate.table)


def _trunk(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU())


@pytest.mark.parametrize("trunk", [_trunk(), _trunk])
def test_a_trunk_of_ones_own(trunk: Any, tmp_path: Path) -> None:
    x, y, truth = draw(17, n=160)
    images = x.reshape(160, 3, 4)
    model = made("auto-distilled", trunk=trunk).fit(images, y)
    assert (model.predict_proba(images)["kind"].argmax(axis=1) == truth["kind"]).mean() > 0.6
    model.save(tmp_path / "model")
    again = CoupledClassifier.load(tmp_path / "model", trunk=trunk)
    assert same(model.predict_proba(images), again.predict_proba(images))
    with raises(CheckpointError, "does not hold the model it says"):
        CoupledClassifier.load(tmp_path / "model", trunk=_trunk(5))
    with raises(ShapeError, "(n, 3, 4)"):
        model.predict(x)
    with raises(NotFiniteError, "NaN"):
        model.predict(np.full_like(images, np.nan))


class _InPlace(nn.Module):
    """A trunk that works on its inputs themselves, or on a copy of them."""

    def __init__(self, copies: bool) -> None:
        super().__init__()
        self.copies, self.layer = copies, nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer((x.clone() if self.copies else x).sub_(3.0)).relu()
        return features


@pytest.mark.parametrize("artefact", ["distilled", "bagged"])
def test_a_trunk_that_works_in_place_is_one_that_does_not(artefact: str) -> None:
    x, y, _ = draw(17, n=80)
    x = x.astype(np.float32)
    given = x.copy()
    settings = {"trunk": None, "artefact": artefact, "steps": 10}
    proper, in_place = (
        made("auto-distilled", **{**settings, "trunk": partial(_InPlace, copies)}).fit(x, y)
        for copies in (True, False)
    )
    assert same(proper.predict_proba(x), in_place.predict_proba(x))
    assert same(in_place.predict_proba(x), in_place.predict_proba(x))
    np.testing.assert_array_equal(x, given)


def test_read_only_inputs_of_a_trunk_are_no_cause_of_warnings(recwarn: pytest.WarningsRecorder) -> None:
    x, y, _ = draw(17, n=80)
    x = x.astype(np.float32)
    x.setflags(write=False)
    made("balanced-shared", trunk=_trunk, steps=3).fit(x, y)
    assert not [each for each in recwarn if "writable" in str(each.message)]


def test_inputs_that_hold_nothing_or_too_much_are_named() -> None:
    x, y, _ = draw(17, n=80)
    with raises(NotFiniteError, "too large beside those of the training"):
        made("balanced-shared", steps=3).fit(x, y).predict(x * 1e50)
    with raises(EmptyDataError, "(0, 12)"):
        made("balanced-shared", trunk=_trunk, steps=3).fit(x, y).predict(x[:0])


def test_settings_are_taken_in_the_types_of_numpy() -> None:
    x, y, _ = draw(17, n=80)
    kept = [made("balanced-shared", steps=3, dropout=kind(0.25)).fit(x, y) for kind in (float, np.float32)]
    assert same(kept[0].predict_proba(x), kept[1].predict_proba(x))


def test_a_mask_among_weights_is_no_weight() -> None:
    x, y, _ = draw(17, n=80)
    with raises(RangeError, "sample_weight is finite"):
        made("balanced-shared", steps=3).fit(x, y, sample_weight=np.ma.masked_less(np.arange(80.0), 3))


def test_a_trunk_is_copied_not_trained() -> None:
    x, y, _ = draw(17, n=80)
    trunk = _trunk()
    before = trunk[1].weight.detach().clone()
    made("balanced-shared", trunk=trunk, steps=3).fit(x, y)
    assert torch.equal(trunk[1].weight, before)


def test_a_verbose_fit_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    x, y, _ = draw(18, n=80)
    model = made("auto-distilled", steps=4, verbose=True).fit(x, y)
    printed = capsys.readouterr().out
    assert "times the pair of single-task models" in printed
    assert printed.splitlines() == model.report_


# -- settings, refused before anything is trained ---------------------------------------------------------

NONSENSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    *[({"steps": value}, RangeError, "steps is a whole number >= 1") for value in (0, -1, 1.5, True, "5")],
    ({"rows_per_task": 2.5}, RangeError, "rows_per_task is a whole number >= 1"),
    *[
        ({"learning_rate": value}, RangeError, "learning_rate is a number > 0 and finite")
        for value in (0, -1, np.nan, np.inf, "1e-3", None)
    ],
    ({"weight_decay": -1}, RangeError, "weight_decay is a number >= 0 and finite, found -1"),
    *[({"dropout": value}, RangeError, "dropout is a number >= 0 and < 1") for value in (1, -0.1, np.nan)],
    ({"hidden": 64}, ShapeError, "hidden is a list of widths, found int"),
    ({"hidden": ()}, ShapeError, "hidden is a list of at least one width, found none"),
    ({"hidden": (0,)}, RangeError, "a width in hidden is a whole number >= 1, found 0"),
    ({"hidden": (8.5,)}, ShapeError, "hidden is a list of widths, found a float in it"),
    ({"effort": "fastt", "coupling": None}, UnknownNameError, "did you mean 'fast'"),
    ({"effort": ["fast"]}, UnknownNameError, "effort"),
    ({"artefact": "x", "coupling": None}, UnknownNameError, "artefact"),
    ({"coupling": 3}, ShapeError, "coupling is a list of couplings, or a name, or None, found int"),
    ({"coupling": cc.couplings.HardCoannotation}, ShapeError, "coupling is a list of"),
    ({"coupling": ["posterior"]}, ShapeError, "found a str in it"),
    ({"coupling": "posterio"}, UnknownNameError, "did you mean 'posterior'"),
    ({"tasks": KIND}, ShapeError, "tasks is a list of tasks"),
    ({"tasks": ["kind", "marks"]}, ShapeError, "found a str in it"),
    ({"relations": RELATION}, ShapeError, "relations is a list of relations"),
    ({"relations": [TABLE]}, ShapeError, "found a ndarray in it"),
    ({"class_weight": 3}, ShapeError, "class_weight is 'balanced', None or a dictionary"),
    ({"class_weight": {"kind": {"c0": "2"}}}, RangeError, "class_weight of 'c0' is a number >= 0"),
    ({"trunk": "resnet18"}, ShapeError, "trunk is a module, or a function that makes one"),
    ({"trunk": lambda: None}, ShapeError, "one that made None"),
    ({"trunk": nn.Linear(5, 8)}, ShapeError, "the trunk does not take inputs of shape"),
    ({"device": "gpu"}, RangeError, "device 'gpu' cannot be used on this machine"),
    ({"device": "meta"}, RangeError, "holds no numbers"),
]


@pytest.mark.parametrize(("changes", "error", "message"), NONSENSE)
def test_settings_that_nothing_can_be_trained_with(changes: Any, error: Any, message: str) -> None:
    x, y, _ = draw(0)
    options = {"tasks": [KIND, MARKS], "relations": [RELATION], "coupling": None, **SMALL, **changes}
    with raises(error, message):
        CoupledClassifier(**options).fit(x, y)


def test_a_refused_fit_changes_nothing() -> None:
    x, y, _ = draw(3)
    model = made("posterior", steps=3).fit(x, y)
    before = model.predict_proba(x)
    with raises(NoAnnotationError, "annotation"):
        model.fit(100 * x + 50, {"kind": y["kind"], "marks": np.full_like(y["marks"], np.nan)})
    assert same(before, model.predict_proba(x))
    new = made("posterior")
    with raises(NoAnnotationError, "annotation"):
        new.fit(x, {"kind": y["kind"], "marks": np.full_like(y["marks"], np.nan)})
    with pytest.raises(NotFittedError):
        new.predict(x)


def test_a_coupling_carries_nothing_from_one_fit_to_the_next() -> None:
    x, y, _ = draw(3)
    model = made("posterior", steps=20, coupling=cc.couplings.PopulationMatching(momentum=0.9))
    first = model.fit(x, y).predict_proba(x)
    assert same(first, model.fit(x, y).predict_proba(x))


def test_with_a_trunk_frames_and_arrays_are_the_same_numbers() -> None:
    x, y, _ = draw(3)
    x = 50 + 9 * x
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    model = made("posterior", steps=3, trunk=_trunk())
    of_array, of_frame = model.fit(x, y).predict_proba(x), model.fit(frame, y).predict_proba(frame)
    assert same(of_array, of_frame)
    with pytest.raises(ValueError, match="feature names"):
        model.predict_proba(frame[frame.columns[::-1]])
    assert same(of_array, model.fit(sparse.csr_array(x), y).predict_proba(sparse.csr_array(x)))


def test_groups_are_checked_whatever_the_coupling() -> None:
    x, y, _ = draw(3)
    for way in ("posterior", "two-stage"):
        with raises(ShapeError, "groups has shape (240,), found (2,)"):
            made(way, steps=2).fit(x, y, groups=[1, 2])
        for gap in (None, np.nan, pd.NA):
            with raises(AnnotationError, "groups: row 239 has none"):
                made(way, steps=2).fit(x, y, groups=["a"] * 239 + [gap])
    made("two-stage", steps=2).fit(x, y, groups=[*range(239), "a"])


def test_targets_in_another_container_are_named() -> None:
    x, y, _ = draw(3)
    for other in (y["kind"], [y["kind"], y["marks"]], pd.DataFrame({"kind": y["kind"]}).to_numpy()):
        with raises(ShapeError, "y is a dictionary by task name"):
            made("posterior").fit(x, other)
    with raises(ShapeError, "y is a dictionary by task name"):  # names of its own, in an order of its own
        CoupledClassifier([KIND], **SMALL).fit(x, y["kind"])
    with raises(NotFiniteError, "too large"):
        made("posterior").fit(x * 1e200, y)


def test_a_score_is_of_the_tasks_that_were_meant() -> None:
    x, y, truth = draw(3)
    model = made("posterior", steps=3).fit(x, y)
    with raises(UnknownNameError, "did you mean 'marks'"):
        model.score(x, {"kind": truth["kind"], "mark": truth["marks"]})
    with raises(ShapeError, "unweighted"):
        model.score(x, truth, sample_weight=np.ones(len(x)))
    with raises(ShapeError, "X has 10 rows, but y['kind'] has 240"):
        model.score(x[:10], truth)
    with raises(ShapeError, "y is a dictionary"):
        model.score(x, truth["kind"])
    single = CoupledClassifier(**{**SMALL, "steps": 2}).fit(x, truth["kind"])
    with raises(ShapeError, "one-dimensional"):
        single.score(x, {"y": truth["kind"]})


def test_warnings_point_at_the_line_that_fits() -> None:
    x, y, _ = draw(3)
    y = y | {"kind": np.where(y["kind"] == 3, -1, y["kind"])}
    model = made("posterior", steps=2)
    with pytest.warns(ConcordWarning, match="no annotated row of c3") as found:
        model.fit(x, y)
    with pytest.warns(ConcordWarning, match="no annotated row of c3") as cross:
        model.cross_fit(x, y)
    assert {each.filename for each in [*found, *cross]} == {__file__}


# -- what a saved model keeps -----------------------------------------------------------------------------


def test_a_saved_model_keeps_names_and_relations(tmp_path: Path) -> None:
    x, y, _ = draw(3)
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    model = made("posterior", steps=3, hidden=np.array([8, 8]), device=torch.device("cpu")).fit(frame, y)
    model.save(tmp_path / "model")
    again = CoupledClassifier.load(tmp_path / "model")
    assert [relation.name for relation in again.relations_] == ["kind->marks"]
    with pytest.raises(ValueError, match="feature names"):
        again.predict_proba(frame[frame.columns[::-1]])
    assert same(clone(again).fit(frame, y).predict_proba(frame), model.predict_proba(frame))


def test_what_a_saved_model_cannot_keep_is_missed_by_name(tmp_path: Path) -> None:
    x, y, _ = draw(3)
    made("a-coupling", steps=3).fit(x, y).save(tmp_path / "coupling")
    with raises(UnknownNameError, "of objects, which are not saved"):
        CoupledClassifier.load(tmp_path / "coupling").fit(x, y)
    made("posterior", steps=3, trunk=_trunk()).fit(x, y).save(tmp_path / "trunk")
    with raises(CheckpointError, "give trunk="):
        CoupledClassifier.load(tmp_path / "trunk")


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    x, y, _ = draw(3)
    model = made("posterior", steps=2).fit(x, y)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with raises(CheckpointError, "cannot write the saved estimator to"):
            model.save(folder)
    assert (tmp_path / "file").read_text() == ""
