"""y as a table, folds over rows with gaps, scorers by task: what scikit-learn's model selection needs."""

from __future__ import annotations

import datetime as dt
import enum
import io
import sys
import tracemalloc
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.base import is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import concord as cc
from asserts import raises
from concord.arrays import group_of_rows
from concord.errors import (
    AnnotationError,
    ConcordError,
    DuplicateNameError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.estimator.progress import training_bar

PET = cc.MulticlassTask("pet", ["cat", "dog", "emu"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "barks"])
TASKS = [PET, TRAIT]
COLUMNS = ["pet", "trait.purrs", "trait.barks"]
QUICK = {"coupling": None, "steps": 8, "hidden": (8,), "random_state": 0}


def sources(n=60, seed=0):
    """Rows of one source with classes, then rows of another with labels."""
    rng = np.random.default_rng(seed)
    pets = [*np.resize(PET.classes, n // 2).tolist(), *[None] * (n - n // 2)]
    traits = np.concatenate([np.full((n // 2, 2), np.nan), rng.integers(0, 2, (n - n // 2, 2))])
    return rng.normal(size=(n, 4)), {"pet": pets, "trait": traits}


X, Y = sources()
POLARS = cc.target_frame(TASKS, Y)
PANDAS = POLARS.to_pandas().set_index(np.arange(100, 160))
TABLES = pytest.mark.parametrize("table", [POLARS, PANDAS], ids=["polars", "pandas"])


def model(**changes):
    return cc.CoupledClassifier(TASKS, **{**QUICK, **changes})


# -- y as a table --------------------------------------------------------------------------------------


def test_a_table_has_a_column_for_each_class_task_and_each_label_with_null_for_gaps():
    assert POLARS.columns == COLUMNS
    assert POLARS["pet"].to_list() == Y["pet"]
    assert POLARS["trait.barks"].null_count() == 30
    assert POLARS["trait.barks"].to_list()[30:] == Y["trait"][30:, 1].tolist()
    assert cc.target_frame(TASKS, {"trait": Y["trait"]}).columns == COLUMNS[1:]


DAYS = [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]


@pytest.mark.parametrize(
    ("classes", "polars", "pandas"),
    [
        ([1, 2], pl.Int64, "i"),
        ([1.5, 2.5], pl.Float64, "f"),
        ([1, 2.5], pl.Float64, "f"),
        ([True, False], pl.Boolean, "b"),
        (DAYS, pl.Date, "O"),
        ([dt.datetime(2024, 1, 1, 5), dt.datetime(2024, 1, 2)], pl.Datetime("us"), "O"),
        (["1", "2"], pl.String, "O"),
    ],
    ids=["whole", "float", "numbers", "truth", "dates", "times", "text"],
)
def test_a_table_is_predicted_with_columns_of_the_kind_that_target_frame_makes(classes, polars, pandas):
    pet, trait = cc.MulticlassTask("pet", classes), cc.MultilabelTask("trait", ["purrs", "barks"])
    y = {"pet": [*np.resize(np.array(classes, dtype=object), 30), *[None] * 30], "trait": Y["trait"]}
    frame = cc.target_frame([pet, trait], y)
    assert frame["pet"].dtype == polars
    assert frame["pet"].to_list() == y["pet"]
    fitted = cc.CoupledClassifier([pet, trait], **QUICK)
    found = fitted.fit(X, frame).predict(X)["pet"]
    assert found.dtype == polars
    of_dictionary = fitted.fit(X, y).predict(X)["pet"]
    assert of_dictionary.dtype.kind == pandas
    assert found.to_list() == of_dictionary.tolist()
    right = sum(a == b for a, b in zip(of_dictionary[:30], y["pet"][:30], strict=True))
    assert (found == frame["pet"]).sum() == right > 0
    in_pandas = fitted.fit(X, frame.to_pandas()).predict(X)["pet"]
    assert in_pandas.tolist() == found.to_list()
    if pandas != "O":
        assert in_pandas.dtype.kind == pandas
        assert (in_pandas == frame.to_pandas()["pet"]).sum() == right


def test_classes_that_no_column_of_one_kind_holds_are_names_in_a_table():
    for classes in ([1, "one"], [2**53, 2**53 + 1], [True, 2], list(Kind)):
        pet = cc.MulticlassTask("pet", classes)
        frame = cc.target_frame([pet, TRAIT], {"pet": [classes[1], None], "trait": [[None, None], [0, 1]]})
        assert frame["pet"].to_list() == [pet.classes[1], None]
        assert pet.encode(frame["pet"]).tolist() == pet.encode(frame.to_pandas()["pet"]).tolist() == [1, -1]
    whole = cc.MulticlassTask("pet", [2**53, 2**53 + 1])
    assert cc.target_frame([whole], {"pet": [2**53 + 1]})["pet"].dtype == pl.Int64


class Kind(enum.Enum):
    """Classes that polars has no column for."""

    CAT = 1
    DOG = 2


def test_a_task_of_nobody_is_a_column_of_gaps_of_its_kind():
    stars = cc.MulticlassTask("stars", [1, 2])
    assert cc.target_frame([stars, PET], {"stars": [None], "pet": [None]}).dtypes == [pl.Int64, pl.String]


@TABLES
def test_a_table_trains_the_model_that_the_dictionary_trains(table):
    by_name = model().fit(X, Y).predict_proba(X)
    by_table = model().fit(X, table[["pet", "trait.barks", "trait.purrs"]]).predict_proba(X)
    for name, p in by_name.items():
        np.testing.assert_array_equal(by_table[name], p)


@TABLES
def test_fitted_on_a_table_it_predicts_such_a_table(table):
    order = ["trait.barks", "pet", "trait.purrs"]
    fitted = model().fit(X, table[order])
    found = fitted.predict(pd.DataFrame(X, index=PANDAS.index).to_numpy())
    expected = model().fit(X, Y).predict(X)
    assert type(found) is type(table)
    assert list(found.columns) == order
    assert list(found["pet"]) == list(expected["pet"])
    assert list(found["trait.purrs"]) == list(expected["trait"][:, 0])


def test_the_index_of_pandas_is_kept():
    features = pd.DataFrame(X, index=PANDAS.index, columns=list("abcd"))
    assert model().fit(features, PANDAS).predict(features).index.equals(PANDAS.index)


def test_a_pipeline_that_hands_frames_on_keeps_the_index():
    features = pd.DataFrame(X, index=PANDAS.index, columns=list("abcd"))
    steps = make_pipeline(StandardScaler(), model()).set_output(transform="pandas")
    assert steps.fit(features, PANDAS).predict(features).index.equals(PANDAS.index)
    bare = make_pipeline(StandardScaler(), model()).fit(features, PANDAS)  # arrays, whose rows have no names
    assert bare.predict(features).index.equals(pd.RangeIndex(60))


def test_the_form_of_predictions_is_kept_in_a_saved_model(tmp_path):
    fitted = model().fit(X, PANDAS)
    fitted.save(tmp_path / "saved")
    pd.testing.assert_frame_equal(cc.CoupledClassifier.load(tmp_path / "saved").predict(X), fitted.predict(X))


def test_a_table_of_pandas_needs_pandas_where_the_model_is_loaded(monkeypatch):
    fitted = model().fit(X, PANDAS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with raises(ConcordError, "fitted on a table of pandas, which is not installed"):
        fitted.predict(X)


@TABLES
def test_columns_that_do_not_fit_are_named(table):
    renamed = table.rename({"pet": "Pet"}) if table is POLARS else table.rename(columns={"pet": "Pet"})
    with raises(UnknownNameError, "column in y 'Pet'"):
        model().fit(X, renamed)
    with raises(ShapeError, "y has 1 of 2 columns of task 'trait'; 'trait.barks' is missing"):
        model().fit(X, table[["pet", "trait.purrs"]])
    with raises(NoAnnotationError, "'trait' has no annotation"):
        model().fit(X, table[["pet"]])


def test_a_column_that_occurs_twice_and_other_kinds_of_y_are_refused():
    with raises(DuplicateNameError, "'pet' occurs twice in y"):
        model().fit(X, pd.concat([PANDAS, PANDAS[["pet"]]], axis=1))
    with raises(ShapeError, "y is a dictionary by task name, or a table with named columns"):
        model().fit(X, Y["pet"])


def test_a_table_is_made_of_known_tasks_of_one_length():
    with raises(UnknownNameError, "task in y 'tree'"):
        cc.target_frame(TASKS, {"tree": [0]})
    with raises(ShapeError, "one number of rows for each task, found"):
        cc.target_frame(TASKS, {"pet": [0], "trait": Y["trait"]})
    with raises(ShapeError, "found none"):
        cc.target_frame(TASKS, {})
    twice = cc.MulticlassTask("trait.purrs", ["no", "yes"])
    with raises(DuplicateNameError, "two tasks need the column 'trait.purrs'"):
        cc.target_frame([TRAIT, twice], {"trait": [[0, 1]], "trait.purrs": [0]})


# -- scikit-learn --------------------------------------------------------------------------------------


@TABLES
def test_cross_val_score_is_the_mean_of_main_metrics_on_each_fold(table):
    folds = cc.TaskKFold(TASKS, 3)
    scores = cross_val_score(model(), X, table, cv=folds, error_score="raise")
    for (train, test), score in zip(folds.split(X, Y), scores, strict=True):
        part = {"pet": np.array(Y["pet"], dtype=object)[train], "trait": Y["trait"][train]}
        held = {"pet": np.array(Y["pet"], dtype=object)[test], "trait": Y["trait"][test]}
        assert model().fit(X[train], part).score(X[test], held) == pytest.approx(score)


@TABLES
def test_cross_val_predict_gives_every_row_by_the_model_that_did_not_see_it(table):
    folds = cc.TaskKFold(TASKS, 2)
    found = pd.DataFrame(cross_val_predict(model(), X, table, cv=folds), columns=COLUMNS)
    train, test = next(folds.split(X, table))
    part = table[train] if table is POLARS else table.iloc[train]
    expected = model().fit(X[train], part).predict(X[test])
    assert found["pet"][test].tolist() == list(expected["pet"])
    assert found["trait.barks"][test].tolist() == list(expected["trait.barks"])


@TABLES
def test_a_grid_search_with_scorers_by_task_refits_the_best(table):
    search = GridSearchCV(
        model(),
        {"steps": [1, 30]},
        cv=cc.TaskKFold(TASKS, 2),
        scoring={"pets": cc.make_scorer("pet", "macro_f1"), "traits": cc.make_scorer("trait")},
        refit="pets",
        error_score="raise",
    ).fit(X, table)
    means = search.cv_results_["mean_test_pets"]
    assert search.best_params_["steps"] == [1, 30][int(np.argmax(means))]
    assert np.isfinite(search.cv_results_["mean_test_traits"]).all()
    assert search.predict(X).shape == (60, 3)


@TABLES
def test_train_test_split_keeps_rows_together(table):
    first, second, y_first, y_second = train_test_split(X, table, random_state=3)
    rebuilt = {tuple(x): y for x, y in zip(X, np.asarray(POLARS.to_pandas(), dtype=object), strict=True)}
    for inputs, targets in ((first, y_first), (second, y_second)):
        for x, row in zip(inputs, np.asarray(targets, dtype=object), strict=True):
            np.testing.assert_array_equal(pd.isna(row), pd.isna(rebuilt[tuple(x)]))


def test_with_tasks_it_is_no_classifier_of_one_y_and_without_them_it_is():
    assert not is_classifier(model())
    assert is_classifier(cc.CoupledClassifier())


def test_groups_are_routed_to_fit_where_that_is_asked_for():
    groups = np.repeat(np.arange(20), 3)
    seen = []

    class Watched(cc.CoupledClassifier):
        def fit(self, X, y, sample_weight=None, groups=None):
            seen.append(groups)
            return super().fit(X, y, sample_weight, groups)

    with sklearn.config_context(enable_metadata_routing=True):
        asking = Watched(TASKS, **QUICK).set_fit_request(groups=True)
        cross_val_score(
            asking, X, PANDAS, cv=cc.TaskKFold(TASKS, 2), params={"groups": groups}, error_score="raise"
        )
    assert len(seen) == 2
    assert not set(seen[0]) & set(seen[1])  # folds of whole groups


def test_the_diagram_of_the_estimator_and_the_table_of_a_relation_are_drawn():
    assert "CoupledClassifier" in model()._repr_html_()
    odd = cc.MultilabelTask("<i>", ["a & b", "<script>"])
    drawn = cc.Relation(PET, odd, [[0.25, np.nan], [0, 1], [1, 0.5]])._repr_html_()
    assert "<script>" not in drawn
    assert "a &amp; b" in drawn
    assert drawn.count("<td>") == 1 + 6
    assert "<td>0.25</td><td></td>" in drawn


def test_a_large_relation_is_drawn_in_part_and_says_so():
    many = cc.MulticlassTask("many", range(30))
    drawn = cc.Relation(many, TRAIT, np.full((30, 2), 0.5))._repr_html_()
    assert "24 of 30 rows and 2 of 2 columns" in drawn
    assert drawn.count("<tr>") == 1 + 24


# -- folds ---------------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(0, 2**31 - 1), st.booleans())
@settings(deadline=None, max_examples=30)
def test_folds_are_a_partition_alike_in_annotations_that_keeps_groups(n_splits, seed, grouped):
    inputs, y = sources(n=80, seed=seed)
    groups = np.arange(80) // 2 if grouped else None
    parts = list(cc.TaskKFold(TASKS, n_splits, random_state=seed).split(inputs, y, groups))
    tested = np.concatenate([test for _, test in parts])
    assert sorted(tested) == list(range(80))
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(80))
        assert not grouped or not set(groups[train]) & set(groups[test])
        annotated = (test < 40).sum()
        assert abs(annotated - 40 / n_splits) <= (4 if grouped else 1)
    if not grouped:
        for _, test in parts:
            counts = Counter(y["pet"][i] for i in test if i < 40)
            assert max(counts.values()) - min(counts.values()) <= 2


def test_the_same_seed_gives_the_same_folds_of_a_dictionary_and_of_tables():
    of_dictionary = [test.tolist() for _, test in cc.TaskKFold(TASKS, 3).split(X, Y)]
    for table in (POLARS, PANDAS):
        assert [test.tolist() for _, test in cc.TaskKFold(TASKS, 3).split(X, table)] == of_dictionary
    assert [test.tolist() for _, test in cc.TaskKFold(TASKS, 3, random_state=1).split(X, Y)] != of_dictionary
    assert cc.TaskKFold(TASKS, 3).get_n_splits() == 3


def test_folds_that_cannot_be_made_are_refused():
    with raises(RangeError, "n_splits is a whole number >= 2, found 1"):
        cc.TaskKFold(TASKS, 1)
    with raises(RangeError, "random_state is a whole number >= 0, found -1"):
        cc.TaskKFold(TASKS, random_state=-1)
    with raises(ShapeError, "give y"):
        next(cc.TaskKFold(TASKS).split(X))
    with raises(ShapeError, "X has 59 rows, but y has 60"):
        next(cc.TaskKFold(TASKS).split(X[1:], Y))
    few = {"pet": Y["pet"], "trait": np.where(np.arange(60)[:, None] == 59, 1.0, np.nan).repeat(2, axis=1)}
    with raises(RangeError, "task 'trait' has 1 annotated rows, which do not reach into all 5 folds"):
        next(cc.TaskKFold(TASKS).split(X, few))
    with raises(RangeError, "5 folds cannot be made of these groups"):
        next(cc.TaskKFold(TASKS).split(X, Y, groups=np.arange(60) // 30))


def test_the_splitters_of_scikit_learn_work_as_well():
    scores = cross_val_score(
        model(), X, PANDAS, groups=np.arange(60) % 4, cv=GroupKFold(2), error_score="raise"
    )
    assert ((scores >= 0) & (scores <= 1)).all()


# -- scorers -------------------------------------------------------------------------------------------


def test_a_scorer_is_the_metric_of_its_task_and_an_error_is_negative():
    fitted = model().fit(X, Y)
    p = fitted.predict_proba(X)
    found = {
        (name, metric): cc.make_scorer(name, metric)(fitted, X, PANDAS)
        for name, metric in [("pet", None), ("pet", "accuracy"), ("trait", "map"), ("trait", "ece")]
    }
    hits = p["pet"][:30].argmax(axis=1) == PET.encode(Y["pet"])[:30]
    assert found["pet", None] == found["pet", "accuracy"] == pytest.approx(hits.mean())
    assert found["trait", "ece"] < 0 < found["trait", "map"]


def test_a_scorer_says_what_it_does_not_know():
    fitted = model().fit(X, Y)
    with raises(UnknownNameError, "task of a scorer 'tree'"):
        cc.make_scorer("tree")(fitted, X, Y)
    with raises(UnknownNameError, "metric of task 'pet' 'map'"):
        cc.make_scorer("pet", "map")(fitted, X, Y)
    with raises(ShapeError, "y holds no targets of task 'pet'"):
        cc.make_scorer("pet")(fitted, X, {"trait": Y["trait"]})


# -- weights and progress ------------------------------------------------------------------------------


def test_weights_of_one_task_leave_rows_of_the_other_as_they_are():
    ones, drawn = np.ones(60), np.random.default_rng(1).uniform(0.1, 3, 60)
    by_name = model().fit(X, Y, sample_weight={"pet": drawn})
    by_table = model().fit(X, Y, sample_weight=pd.DataFrame({"pet": drawn, "trait": ones}))
    both = model().fit(X, Y, sample_weight=drawn)
    for name in ("pet", "trait"):
        np.testing.assert_array_equal(by_name.predict_proba(X)[name], by_table.predict_proba(X)[name])
    assert (by_name.predict_proba(X)["trait"] != both.predict_proba(X)["trait"]).any()


def test_weights_by_task_are_checked_by_task():
    with raises(UnknownNameError, "task in sample_weight 'tree'"):
        model().fit(X, Y, sample_weight={"tree": np.ones(60)})
    with raises(ShapeError, "sample_weight of 'pet' has shape (60,), found (2,)"):
        model().fit(X, Y, sample_weight={"pet": [1, 2]})
    with raises(RangeError, "all weights are zero in the annotated rows of task 'pet'"):
        model().fit(X, Y, sample_weight={"pet": np.zeros(60)})


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_bar_is_drawn_on_stderr_where_it_is_asked_for(verbose, capsys):
    model(verbose=verbose).fit(X, Y)
    drawn = capsys.readouterr()
    assert ("8 of at most 8 steps" in drawn.err) == bool(verbose)
    assert "steps" not in drawn.out


@pytest.mark.parametrize("coupling", ["auto", "two-stage"])
def test_the_bar_reckons_with_at_least_the_steps_that_are_taken(coupling, capsys):
    relation = cc.Relation(PET, TRAIT, [[0.9, 0.1], [0.1, 0.9], [0.1, 0.1]])
    model(coupling=coupling, relations=[relation], effort="fast", verbose=1).fit(X, Y)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    taken, most = (int(line.split(word)[0].split()[-1].replace(",", "")) for word in ("of at", "steps"))
    assert 8 < taken <= most


def test_a_bar_moves_by_the_steps_of_each_network():
    text = io.StringIO()
    with training_bar(10, console=Console(file=text, width=120)) as progress:
        for _ in range(2):
            log = progress()
            log({"step": 2.0})
            log({"step": 4.0})
    assert "8 of at most 10 steps" in text.getvalue()


def test_what_is_watched_is_trained_alike():
    np.testing.assert_array_equal(
        model(verbose=1).fit(X, Y).predict_proba(X)["pet"], model().fit(X, Y).predict_proba(X)["pet"]
    )


# -- what was read as something else ----------------------------------------------------------------------


STARS = cc.MulticlassTask("stars", [3, 2, 1])


def test_a_scorer_takes_classes_that_are_numbers_by_their_names():
    y = {"stars": np.resize([3, 2, 1], len(X))}
    for task in (STARS, cc.MulticlassTask("stars", [1, 2, 3])):
        fitted = cc.CoupledClassifier([task], **QUICK).fit(X, y)
        right = (fitted.predict(X)["stars"] == y["stars"]).mean()
        assert cc.make_scorer("stars", "accuracy")(fitted, X, y) == pytest.approx(right)


def test_a_scorer_scores_pipelines_and_searches_that_end_in_a_model():
    steps = make_pipeline(StandardScaler(), model())
    alone = model().fit(StandardScaler().fit_transform(X), POLARS)
    score = cc.make_scorer("pet")
    assert score(steps.fit(X, POLARS), X, POLARS) == score(alone, StandardScaler().fit_transform(X), POLARS)
    search = GridSearchCV(steps, {"coupledclassifier__steps": [5]}, scoring=score, cv=cc.TaskKFold(TASKS, 2))
    assert score(search.fit(X, POLARS), X, POLARS) == score(search.best_estimator_, X, POLARS)
    with raises(ShapeError, "CoupledClassifier", "LogisticRegression"):
        score(LogisticRegression().fit(X, np.arange(60) % 2), X, POLARS)


def test_predictions_are_a_table_whatever_x_and_the_names_of_columns_are():
    frame = pd.DataFrame({0: np.where(X[:, 0] > 0, "a", "b")})
    fitted = cc.CoupledClassifier([cc.MulticlassTask("0", ["a", "b"])], **QUICK).fit(X, frame)
    pd.testing.assert_frame_equal(fitted.predict(X.tolist()), fitted.predict(X))


def test_classes_of_several_kinds_are_text_in_a_table_of_polars():
    mixed = cc.MulticlassTask("mixed", [1, "cat"])
    y = pl.DataFrame({"mixed": np.where(X[:, 0] > 0, "1", "cat")})
    fitted = cc.CoupledClassifier([mixed], **QUICK).fit(X, y)
    one_kind = X[fitted.predict_proba(X)["mixed"].argmax(axis=1) == 0]
    assert fitted.predict(X)["mixed"].dtype == fitted.predict(one_kind)["mixed"].dtype == pl.String


def test_a_task_that_was_learnt_from_soft_targets_alone_is_predicted_as_well():
    soft = np.full((60, 2), 0.5)
    fitted = model().fit(X, PANDAS[["pet"]], soft={"trait": soft})
    assert list(fitted.predict(X).columns) == COLUMNS


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_of_many_rare_classes_are_made_with_groups_as_without(grouped):
    rare = cc.MulticlassTask("rare", [f"k{i}" for i in range(30)])
    y = {"rare": np.repeat(np.arange(30), 4)}
    folds = cc.TaskKFold([rare], 5).split(np.zeros((120, 1)), y, groups=np.arange(120) if grouped else None)
    assert [len(test) for _, test in folds] == [24] * 5


GAPS = {
    "None": [None] * 3 + ["a"] * 57,
    "NaN": np.r_[[np.nan] * 3, np.arange(57)],
    "NaT": pd.Series([pd.NaT] * 3 + list(pd.date_range("2020", periods=57))),
    "NA": pd.array([pd.NA] * 3 + [1] * 57, dtype="Int64"),
    "a mask": np.ma.masked_less(np.arange(60), 3),
    "no text": pl.Series([""] * 3 + ["a"] * 57),
}
IN_GROUPS = {
    "audit": lambda groups: cc.propose_audit(np.full((60, 3), 1 / 3), 5, groups=groups),
    "folds": lambda groups: list(cc.TaskKFold(TASKS, 2).split(X, Y, groups=groups)),
    "fit": lambda groups: model().fit(X, Y, groups=groups),
    "count": lambda groups: cc.Relation.from_annotations(PET, TRAIT, [0] * 60, [[0, 1]] * 60, groups=groups),
    "decode": lambda groups: cc.JointDecoder(cc.Relation(PET, TRAIT, np.full((3, 2), 0.5))).fit(
        np.full((60, 3), 1 / 3), np.full((60, 2), 0.5), [0] * 60, groups=groups
    ),
    "estimate": lambda groups: cc.estimate_relation(
        PET,
        TRAIT,
        Y["pet"],
        Y["trait"],
        class_proba=np.full((60, 3), 1 / 3),
        target_proba=np.full((60, 2), 0.5),
        groups=groups,
    ),
}


@pytest.mark.parametrize("how", IN_GROUPS)
@pytest.mark.parametrize("gap", GAPS)
def test_a_row_without_a_group_is_refused_everywhere(how, gap):
    with raises(AnnotationError, "groups: row 0 has none"):
        IN_GROUPS[how](GAPS[gap])


@pytest.mark.parametrize(
    "groups",
    [
        [f"g{i}" for i in (3, 1, 2)] * 20,
        np.array(["c", "a", "b"] * 20),
        pd.Series(["c", "a", "b"] * 20, dtype="category"),
        [2.5, 0.5, 1.5] * 20,
        np.array([9, 4, 6] * 20),
        pd.Series(pd.to_datetime(["2022", "2020", "2021"] * 20)),
    ],
    ids=lambda groups: type(groups).__name__,
)
def test_groups_are_those_of_their_numbers_whatever_they_are_called(groups):
    wanted = np.array([2, 0, 1] * 20)
    folds = [list(cc.TaskKFold(TASKS, 2).split(X, Y, groups=each)) for each in (groups, wanted)]
    for (train, test), (other_train, other_test) in zip(*folds, strict=True):
        assert train.tolist() == other_train.tolist()
        assert test.tolist() == other_test.tolist()
    assert np.unique(group_of_rows(groups, 60), return_inverse=True)[1].tolist() == wanted.tolist()


def test_one_long_name_of_a_group_costs_no_memory_of_the_others():
    names = [f"video {i}" for i in range(20_000)]
    names[0] = "x" * 100_000
    tracemalloc.start()
    group = group_of_rows(names, len(names))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(group)) == len(names)
    assert peak < 2**26  # as text of one width they take eight gigabytes


@pytest.mark.parametrize("setting", ["tasks", "relations", "coupling", "hidden"])
def test_what_can_be_read_only_once_is_no_setting(setting):
    given = {
        "tasks": TASKS,
        "relations": [],
        "coupling": [cc.couplings.PosteriorCoannotation()],
        "hidden": [8],
    }
    with raises(ShapeError, setting, "iterator"):
        cc.CoupledClassifier(**{"tasks": TASKS, **QUICK, setting: iter(given[setting])}).fit(X, Y)
