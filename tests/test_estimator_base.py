"""`CoupledClassifier(base=...)`: estimators of scikit-learn in place of networks."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import concord as cc
from asserts import raises
from concord.errors import ConfigError, EmptyDataError, EstimatorError, ShapeError
from concord.estimator.classifier import EXPECTED_FAILED_CHECKS, CoupledClassifier
from config_worlds import MARKS, SHAPE, TABLE, classes_and_labels

TASKS = [SHAPE, MARKS]
RELATION = cc.Relation(SHAPE, MARKS, np.array(TABLE))
LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
TREES = HistGradientBoostingClassifier(max_iter=4, learning_rate=0.5, min_samples_leaf=5)


def world(n: int = 240, classed: int = 60, seed: int = 0) -> Any:
    """Features, targets with gaps (the first rows have a class, the others labels), and all classes."""
    y, a = classes_and_labels(n, seed)
    x = np.random.default_rng(seed + 1).normal(size=(n, 8))
    x[:, :3] += 1.5 * np.eye(3)[y]
    x[:, 3:5] += 2.5 * a
    labels = a.astype(float)
    labels[:classed] = np.nan
    return x, {"shape": np.where(np.arange(n) < classed, y, -1), "marks": labels}, y


def model(base: Any = LINEAR, **options: Any) -> CoupledClassifier:
    given = {"relations": [RELATION], "effort": "fast", "random_state": 0, **options}
    return CoupledClassifier(TASKS, base=base, **given)


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in ("shape", "marks"))


@pytest.mark.parametrize("base", [LogisticRegression(), TREES])
def test_a_single_task_keeps_scikit_learns_contract(base: Any) -> None:
    found = check_estimator(CoupledClassifier(base=base), on_skip=None, on_fail=None)
    failed = {each["check_name"] for each in found if each["status"] == "failed"}
    # Bins of boosting know nothing of weights, here as without the package.
    assert failed <= (set() if isinstance(base, LogisticRegression) else set(EXPECTED_FAILED_CHECKS))


def test_without_coupling_each_output_is_the_estimator_on_its_own_rows() -> None:
    x, y, _ = world()
    found = model(coupling=None).fit(x, y).predict_proba(x)
    classed = y["shape"] >= 0
    alone = clone(LINEAR).fit(x[classed], y["shape"][classed])
    np.testing.assert_allclose(found["shape"], alone.predict_proba(x), atol=1e-6)
    for k in range(2):
        alone = clone(LINEAR).fit(x[~classed], y["marks"][~classed, k])
        np.testing.assert_allclose(found["marks"][:, k], alone.predict_proba(x)[:, 1], atol=1e-6)


@pytest.mark.parametrize("base", [LINEAR, TREES, KNeighborsClassifier(15)])
def test_auto_weighs_the_table_and_offers_the_kinds_that_the_estimator_has(base: Any) -> None:
    x, y, truth = world(600, 60)
    fitted = model(base).fit(x, y, groups=np.arange(600) // 2)
    kinds = {name.partition("/")[0] for c in fitted.choices_.values() for name in c.losses}
    assert kinds == (
        {"single-task"} if isinstance(base, KNeighborsClassifier) else {"single-task", "coupled"}
    )
    assert fitted.checks_[0].verdict in ("kept", "calibrated", "partly wrong", "estimated")
    assert not any("network" in sentence for sentence in fitted.report_)
    hit = (fitted.predict_proba(x)["shape"].argmax(axis=1) == truth)[40:].mean()
    alone = (model(base, coupling=None).fit(x, y).predict_proba(x)["shape"].argmax(axis=1) == truth)[40:]
    assert hit >= alone.mean() - 0.05
    with pytest.raises(NotFittedError):
        check_is_fitted(base)


def test_two_stages_teach_scarce_classes_through_weighted_copies() -> None:
    x, y, truth = world(900, 15)
    taught, alone = (
        (model(coupling=c).fit(x, y).predict_proba(x)["shape"].argmax(axis=1) == truth)[15:].mean()
        for c in ("two-stage", None)
    )
    assert taught > alone + 0.05


@pytest.mark.parametrize("coupling", ["auto", None])
def test_the_same_seed_is_the_same_model_in_every_thread_and_for_every_table(coupling: Any) -> None:
    x, y, _ = world()
    forest = RandomForestClassifier(2)
    table = cc.target_frame(TASKS, y)

    def found(targets: Any, seed: int = 0) -> Any:
        return model(forest, coupling=coupling, random_state=seed).fit(x, targets).predict_proba(x)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(found, [y, table])
    assert same(first, second)
    assert same(first, found(table.to_pandas()))
    assert not same(first, found(y, 1))


def test_parameters_of_the_estimator_are_parameters() -> None:
    x, y, _ = world()
    search = GridSearchCV(
        model(LogisticRegression(), coupling=None), {"base__C": [1e-6, 1.0]}, cv=cc.TaskKFold(TASKS, 2)
    ).fit(x, cc.target_frame(TASKS, y))
    assert search.best_params_ == {"base__C": 1.0}
    assert model(LogisticRegression()).get_params(deep=True)["base__C"] == 1.0
    strict = model(LogisticRegression()).set_params(base__C=1e-6)
    twin = clone(strict)
    assert twin.base is not strict.base
    assert twin.base.C == 1e-6
    assert np.ptp(strict.set_params(coupling=None).fit(x, y).predict_proba(x)["shape"], axis=0).max() < 0.01


def test_classes_come_back_as_they_were_given() -> None:
    x, _, truth = world()
    for names in (np.array(["ash", "birch", "cedar"])[truth], 10 * truth):
        fitted = CoupledClassifier(base=TREES, random_state=0).fit(x, names)
        assert set(fitted.predict(x)) <= set(np.unique(names))
        assert fitted.score(x, names) > 0.5


# -- what features may be --------------------------------------------------------------------------------


def test_gaps_in_features_reach_estimators_that_take_them() -> None:
    x, y, truth = world(400, 200)
    x[::3, 0] = np.nan
    fitted = model(TREES).fit(x, y)
    assert (fitted.predict_proba(x)["shape"].argmax(axis=1) == truth).mean() > 0.5
    with raises(EstimatorError, "LogisticRegression refuses the", "task 'shape'", "NaN"):
        model(LINEAR, coupling=None).fit(x, y)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("coupling", ["auto", "two-stage"])
def test_frames_reach_pipelines_with_names_and_text(frame: Any, coupling: str) -> None:
    x, y, _ = world(400, 200)
    table = frame({"size": x[:, 0], "colour": np.where(x[:, 1] > 0, "red", "blue")})
    base = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["colour"]), (StandardScaler(), ["size"])),
        LogisticRegression(),
    )
    fitted = model(base, coupling=coupling).fit(table, y)
    assert fitted.feature_names_in_.tolist() == ["size", "colour"]
    plain = np.stack([x[:, 0], x[:, 1] > 0], axis=1)
    by_hand = model(base.set_params(columntransformer="passthrough"), coupling=None).fit(plain, y)
    assert fitted.predict_proba(table)["marks"].shape == by_hand.predict_proba(plain)["marks"].shape
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(table[["colour", "size"]])


def test_sparse_features_stay_sparse_and_change_nothing() -> None:
    x, y, _ = world()
    x[np.abs(x) < 1] = 0
    dense, thin = (model(LogisticRegression()).fit(X, y) for X in (x, sparse.csr_matrix(x)))
    found, other = dense.predict_proba(x), thin.predict_proba(sparse.coo_matrix(x))
    np.testing.assert_allclose(found["shape"], other["shape"], atol=1e-3)
    np.testing.assert_allclose(found["marks"], other["marks"], atol=1e-3)


def test_sources_that_differ_are_told_whatever_the_features_are() -> None:
    x, y, _ = world(400, 200)
    x[:200, 5] += 3
    x[::5, 5] = np.nan
    with pytest.warns(cc.errors.SourceShiftWarning, match="differ in their inputs"):
        model(clone(TREES).set_params(max_iter=8, learning_rate=0.3)).fit(pd.DataFrame(x).add_prefix("f"), y)


@pytest.mark.parametrize("coupling", ["auto", "two-stage", None])
def test_constant_labels_and_classes_missing_from_a_fold(coupling: Any) -> None:
    x, y, _ = world()
    y["marks"][60:, 1] = 0.0
    y["shape"][y["shape"] == 2] = -1
    y["shape"][5] = 2  # a single row, which one of the folds lacks
    found = model(LogisticRegression(), coupling=coupling).fit(x, y).predict_proba(x)
    assert (found["marks"][:, 1] < 0.05).all()
    np.testing.assert_allclose(found["shape"].sum(axis=1), 1)


# -- weights ---------------------------------------------------------------------------------------------


def test_rows_of_weight_0_teach_nothing_and_weights_that_are_not_taken_are_refused() -> None:
    x, y, _ = world()
    weight = np.ones(240)
    weight[::4] = 0
    rest = weight > 0
    found = model(coupling=None).fit(x, y, sample_weight={"shape": weight}).predict_proba(x)["shape"]
    less = {"shape": y["shape"][rest], "marks": y["marks"][rest]}
    expected = model(coupling=None).fit(x[rest], less).predict_proba(x)["shape"]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    for coupling in ("auto", None):
        knn = model(KNeighborsClassifier(), coupling=coupling)
        with raises(EstimatorError, "KNeighborsClassifier takes no weights", "sample_weight"):
            knn.fit(x, y, sample_weight=weight)
        with raises(EstimatorError, "KNeighborsClassifier takes no weights", "class_weight"):
            knn.set_params(class_weight={"shape": "balanced"}).fit(x, y)


# -- what is refused -------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], Any, list[str]]] = {
    "steps": (
        {"steps": 100, "dropout": 0.5},
        ConfigError,
        ["dropout, steps", "only networks", "LogisticRegression"],
    ),
    "hidden": ({"hidden": [64]}, ConfigError, ["hidden"]),
    "trunk": ({"trunk": lambda: None}, ConfigError, ["trunk"]),
    "a loss": ({"coupling": "posterior"}, ConfigError, ["'posterior' is a loss of networks"]),
    "a class": ({"base": LogisticRegression}, EstimatorError, ["give an estimator: LogisticRegression()"]),
    "no probabilities": ({"base": LinearSVC()}, EstimatorError, ["LinearSVC has no predict_proba"]),
    "no estimator": ({"base": "trees"}, EstimatorError, ["found 'trees'"]),
    "no weights": (
        {"base": KNeighborsClassifier(), "coupling": "two-stage"},
        ConfigError,
        ["weighted copies"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_an_estimator_is_refused_by_name(case: str) -> None:
    changes, error, said = REFUSED[case]
    x, y, _ = world(40, 20)
    with raises(error, *said):
        model(**changes).fit(x, y)


def test_the_usual_values_of_networks_are_no_mistake() -> None:
    x, y, _ = world()
    assert same(
        *(
            model(coupling=None, **o).fit(x, y).predict_proba(x)
            for o in ({}, {"hidden": [128, 128], "steps": None})
        )
    )


def test_features_that_are_no_table_are_refused() -> None:
    x, y, _ = world(40, 20)
    with raises(ShapeError, "shape (n, d), found (40,)"):
        model().fit(x[:, 0], y)
    with raises(EmptyDataError, "0 feature(s)"):
        model().fit(x[:, :0], y)


@pytest.mark.parametrize("coupling", ["auto", None])
def test_thresholds_are_chosen_on_rows_that_the_estimators_have_not_seen(coupling: Any) -> None:
    x, y, _ = world()
    fitted = model(coupling=coupling, thresholds="f1").fit(x, y)
    found = fitted.predict_proba(x)["marks"] >= fitted.thresholds_["marks"]
    np.testing.assert_array_equal(fitted.predict(x)["marks"], found)


def test_an_array_with_text_reaches_the_estimator_as_it_is() -> None:
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    x, y, _ = world(80, 40)
    given = np.array([[round(v), "high" if w > 0 else "low"] for v, w in x[:, :2]], dtype=object)
    base = make_pipeline(OneHotEncoder(handle_unknown="ignore"), DecisionTreeClassifier(max_depth=3))
    fitted = CoupledClassifier(TASKS, base=base, effort="fast", random_state=0).fit(given, y)
    assert fitted.predict_proba(given)["shape"].shape == (80, SHAPE.width)


def test_what_a_base_costs_is_what_the_documentation_says():
    x, y, _ = world()
    for effort, pairs in (("fast", 6.5), ("standard", 10.5)):
        model = CoupledClassifier(TASKS, [RELATION], base=LogisticRegression(), effort=effort, random_state=0)
        said = model.fit(x, y).report_
        assert any(f"about {pairs} times the pair of single-task models" in each for each in said)
        assert f"{pairs}" in CoupledClassifier.__doc__


# -- what an estimator refuses ---------------------------------------------------------------------------


class Raising(LogisticRegression):
    """Fits, and then says nothing, or nothing that is a probability."""

    def __init__(self, says: Any = None) -> None:
        super().__init__()
        self.says = says

    def predict_proba(self, X: Any) -> Any:
        if self.says is None:
            raise IndexError("no neighbours found\nfor some rows")
        return np.full((len(X), len(self.classes_)), self.says)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (Raising(), "Raising does not predict"),
        (Raising(np.nan), "not finite"),
        (KNeighborsClassifier(50), "n_neighbors"),
    ],
)
@pytest.mark.parametrize("role", ["base", "rivals"])
def test_what_an_estimator_refuses_is_told_with_the_task(base: Any, words: str, role: str) -> None:
    x, y, _ = world(60, 30)
    few = {"steps": 2, "hidden": (4,), "effort": "fast", "random_state": 0, "relations": []}
    asked = model(base, relations=[]) if role == "base" else CoupledClassifier(TASKS, rivals=[base], **few)
    with raises(EstimatorError, words, "task "):
        asked.fit(x, y)


def test_gaps_in_sparse_features_are_the_estimators_own() -> None:
    x, y, truth = world(400, 200)
    x[np.abs(x) < 0.3] = 0
    x[::5, 7] = np.nan
    base = make_pipeline(SimpleImputer(), LogisticRegression())
    fitted = model(base).fit(sparse.csr_matrix(x), y)
    assert (fitted.predict_proba(sparse.csr_matrix(x))["shape"].argmax(axis=1) == truth).mean() > 0.5


@pytest.mark.parametrize("base", [None, LogisticRegression()])
def test_a_class_of_weight_0_is_as_good_as_not_annotated(base: Any) -> None:
    x, y, _ = world(400, 300)
    absent = {**y, "shape": np.where(y["shape"] == 0, -1, y["shape"])}
    options: dict[str, Any] = {"effort": "fast", "random_state": 0, "relations": []}
    options |= {"steps": 20, "hidden": (8,)} if base is None else {"base": base}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class without rows
        found = CoupledClassifier(TASKS, class_weight={"shape": {"circle": 0}}, **options).fit(x, y)
        wanted = CoupledClassifier(TASKS, class_weight={"shape": {"star": 1}}, **options).fit(x, absent)
    assert same(found.predict_proba(x), wanted.predict_proba(x))
