"""A number may be a name: matched by name where names agree, never by place in silence."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.errors import (
    AnnotationError,
    ConcordWarning,
    DuplicateNameError,
    ShapeError,
    UnknownNameError,
)
from concord.names import Names, spelt_alike
from concord.relations import task_of, task_record
from concord.tasks import Encoded

whole = st.integers(-(2**40), 2**40).filter(lambda value: value != -1)
many = st.lists(whole, min_size=2, max_size=6, unique=True)
MARKS = cc.MultilabelTask("marks", ["p", "q"])


@given(classes=many, data=st.data())
def test_numbers_are_names_however_they_are_held(classes: list[int], data: Any) -> None:
    task = cc.MulticlassTask("t", data.draw(st.sampled_from([classes, list(map(str, classes))])))
    places = data.draw(st.lists(st.integers(0, len(classes) - 1), min_size=1, max_size=8))
    values = [classes[i] for i in places]
    held: list[Any] = [
        values,
        list(map(str, values)),
        np.array(values),
        np.array(values, dtype=float),
        pd.Series(values, dtype="Int64"),
        pl.Series(values),
        [str(value) if i % 2 else value for i, value in enumerate(values)],
    ]
    for each in held:
        assert task.encode(each).tolist() == places
    assert task.encode([*values, None, float("nan"), -1]).tolist() == [*places, -1, -1, -1]
    assert task.encode(Encoded([*places, -1])).tolist() == [*places, -1]
    assert task.decode(places).tolist() == list(map(str, values))
    again = task_of(task_record(task))
    assert again == task
    assert isinstance(again, cc.MulticlassTask)
    assert again.as_given(places).tolist() == [task.values[i] for i in places]


@given(classes=many, stranger=whole)
def test_a_number_that_is_no_name_is_refused(classes: list[int], stranger: int) -> None:
    task = cc.MulticlassTask("t", classes)
    if stranger not in classes:
        for held in ([classes[0], stranger], np.array([classes[0], stranger], dtype=float)):
            with raises(AnnotationError, "in row 1", "no class"):
                task.encode(held)


@given(classes=many, order=st.randoms(use_true_random=False), text=st.booleans(), data=st.data())
def test_rows_and_columns_of_tables_are_taken_by_number(
    classes: list[int], order: Any, text: bool, data: Any
) -> None:
    task = cc.MulticlassTask("t", map(str, classes) if text else classes)
    table = np.array(
        data.draw(st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=len(classes), max_size=len(classes)))
    )
    turned = list(range(len(classes)))
    order.shuffle(turned)
    kind = data.draw(st.sampled_from([int, float, str]))
    frame = pd.DataFrame(table[turned], index=[kind(classes[i]) for i in turned], columns=["p", "q"])
    np.testing.assert_array_equal(cc.Relation(task, MARKS, frame[["q", "p"]]).table, table)
    labels = cc.MultilabelTask("l", classes)
    ones = np.eye(len(classes))
    columns = pd.DataFrame(ones[:, turned], columns=[kind(classes[i]) for i in turned])
    np.testing.assert_array_equal(labels.encode(columns), ones)


def test_whole_numbers_are_indices_only_where_no_name_is_a_number() -> None:
    pet = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
    table = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    for index, expected in (([0, 1, 2], table), ([2, 0, 1], table[[1, 2, 0]])):
        frame = pd.DataFrame(table, index=index, columns=["p", "q"])
        np.testing.assert_array_equal(cc.Relation(pet, MARKS, frame).table, expected)
    with raises(UnknownNameError, "3, 2, 1", "neither names nor the indices"):
        cc.Relation(pet, MARKS, pd.DataFrame(table, index=[3, 2, 1], columns=["p", "q"]))
    stars = cc.MulticlassTask("stars", [1, 2, 3])
    with raises(UnknownNameError, "unknown row '0'"):
        cc.Relation(stars, MARKS, pd.DataFrame(table, columns=["p", "q"]))
    np.testing.assert_array_equal(cc.Relation(stars, MARKS, table).table, table)  # an array has no names


def test_levels_dates_and_names_that_meet_are_refused() -> None:
    stars = cc.MulticlassTask("stars", [1, 2])
    table = [[0.1, 0.2], [0.3, 0.4]]
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    with raises(ShapeError, "several levels", "join them"):
        cc.Relation(stars, MARKS, pd.DataFrame(table, index=levels, columns=["p", "q"]))
    with raises(DuplicateNameError, "'1' occurs twice"):
        cc.Relation(stars, MARKS, pd.DataFrame(table, index=[1, "1"], columns=["p", "q"]))
    with raises(UnknownNameError, "2024"):
        cc.Relation(stars, MARKS, pd.DataFrame(table, index=pd.to_datetime(["2024-01-01", "2024-01-02"])))


def test_identifiers_stay_what_they_are() -> None:
    long = ["12345678901234567890", "12345678901234567891"]
    task = cc.MulticlassTask("person", ["007", *long])
    assert task.encode(["007", *long]).tolist() == [0, 1, 2]
    assert task.encode(np.array(list(map(int, long)), dtype=np.uint64)).tolist() == [1, 2]
    for value in (7, "7", float(long[0])):  # the float is either of the two
        with raises(AnnotationError):
            task.encode([value])


def test_truth_values_are_their_numbers() -> None:
    task = cc.MulticlassTask("smokes", [True, False])
    assert task.encode([1.0, np.nan, 0.0]).tolist() == [0, -1, 1]
    assert task.as_given([0, 1]).tolist() == [True, False]
    assert task.as_given([0, 1]).dtype == np.dtype(bool)
    assert task.as_given([0, -1]).tolist() == [True, None]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_dates_are_found_in_columns_of_every_unit(unit: str) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    column = pd.Series(pd.to_datetime(["2024-01-02", None, "2024-01-01"])).astype(f"datetime64[{unit}]")
    for classes in (days, [datetime.combine(day, time()) for day in days]):
        assert cc.MulticlassTask("day", classes).encode(column).tolist() == [1, -1, 0]
    assert cc.MulticlassTask("day", days).encode(column.to_numpy().astype("datetime64[D]")).tolist() == [
        1,
        -1,
        0,
    ]


def test_prototypes_are_taken_by_number() -> None:
    stars, marks = cc.MulticlassTask("stars", [1, 2]), cc.MultilabelTask("marks", [10, 20])
    relation = cc.Relation.from_prototypes(stars, marks, {2: [10], 1: ["20"]})  # type: ignore[dict-item, list-item]
    np.testing.assert_array_equal(relation.table, [[0, 1], [1, 0]])


@given(st.text(min_size=1, max_size=5))
def test_a_name_is_found_as_itself(name: str) -> None:
    assert Names(["", name] if name else [""]).find(name) == 1


@pytest.mark.parametrize("names", [["Café", "Cafe\u0301"], ["happy", "Happy"], ["a", "a "]])
def test_one_name_in_two_spellings_is_told(names: list[str]) -> None:
    assert spelt_alike(names) == [tuple(names)]
    with pytest.warns(ConcordWarning, match="differ in spelling alone"):
        cc.MulticlassTask("mood", names)
    with raises(UnknownNameError, "same name in another spelling"):
        cc.Relation.from_prototypes(cc.MulticlassTask("mood", [names[0], "z"]), MARKS, {names[1]: ["p"]})


def test_an_estimator_speaks_in_the_numbers_it_was_given(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    stars = rng.integers(1, 5, 120)
    X = np.c_[5.0 * stars, rng.normal(size=120)]
    rating, tag = cc.MulticlassTask("rating", [1, 2, 3, 4]), cc.MultilabelTask("tag", ["p"])
    y = {"rating": stars, "tag": (stars > 2).astype(float)[:, None]}

    def fitted(weight: Any) -> Any:
        return cc.CoupledClassifier(
            [rating, tag], coupling=None, steps=50, learning_rate=3e-3, random_state=0, class_weight=weight
        ).fit(X, y)

    model = fitted({"rating": {1: 5}})
    found = model.predict(X)["rating"]
    assert found.dtype.kind == "i"
    assert (found == stars).mean() > 0.9
    assert model.score(X, y) == model.score(X, {**y, "rating": stars.astype(str)})
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(cc.CoupledClassifier.load(tmp_path / "m").predict(X)["rating"], found)
    for weight in ({"rating": {"1": 5}}, {"rating": {1.0: 5}}):
        np.testing.assert_array_equal(
            fitted(weight).predict_proba(X)["rating"], model.predict_proba(X)["rating"]
        )
    with raises(UnknownNameError, "class in class_weight '0'"):
        fitted({"rating": {0: 5}})
