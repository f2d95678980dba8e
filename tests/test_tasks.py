from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import concord as cc
import strategies
from asserts import raises
from concord.arrays import check_probability
from concord.errors import AnnotationError, DuplicateNameError, RangeError, ShapeError, UnknownNameError
from concord.tasks import Encoded, as_predictions, task_names

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "barks"])
ONE = cc.MultilabelTask("tame", ["tame"])


@given(st.data())
def test_names_and_indices_are_one(data: Any) -> None:
    task = data.draw(strategies.multiclass_tasks())
    y = data.draw(strategies.targets(task, 7))
    names = task.decode(y)
    np.testing.assert_array_equal(task.encode(names), y)
    np.testing.assert_array_equal(task.encode(Encoded(y.astype(float))), y)
    np.testing.assert_array_equal(task.annotated(y), [name is not None for name in names])
    assert not task.annotated(task.gaps(3)).any()


@given(st.data())
def test_labels_keep_their_gaps(data: Any) -> None:
    task = data.draw(strategies.multilabel_tasks())
    a = data.draw(strategies.targets(task, 5))
    np.testing.assert_array_equal(task.encode(a.astype(object)), a)
    np.testing.assert_array_equal(task.encode([[None if np.isnan(v) else v for v in row] for row in a]), a)
    np.testing.assert_array_equal(task.annotated(a), [not np.isnan(row).all() for row in a])
    assert task.gaps(4).shape == (4, task.width)
    assert not task.annotated(task.gaps(4)).any()


@pytest.mark.parametrize("gap", [None, np.nan, "", "  ", np.float32("nan"), pd.NA, pd.NaT, -1])
def test_a_gap_may_be_written_in_many_ways(gap: object) -> None:
    values = np.array(["dog", gap, 2, np.int64(0), 1.0], dtype=object)
    np.testing.assert_array_equal(PET.encode(values), [1, -1, 2, 0, 1])
    if not isinstance(gap, int):
        np.testing.assert_array_equal(ONE.encode(np.array([1, gap], dtype=object)), [[1.0], [np.nan]])


def test_a_list_may_mix_names_numbers_and_gaps() -> None:
    np.testing.assert_array_equal(PET.encode(["cat", float("nan"), -1, None, "", 1]), [0, -1, -1, -1, -1, 1])
    people = cc.MulticlassTask("person", ["nan", "ann"])
    np.testing.assert_array_equal(people.encode(["nan", float("nan"), "ann"]), [0, -1, 1])
    np.testing.assert_array_equal(
        ONE.encode(["1", float("nan"), "nan", True]), [[1], [np.nan], [np.nan], [1]]
    )


@pytest.mark.parametrize("as_held", [list, np.array, pd.Series, pl.Series])
def test_truth_values_are_names_of_classes(as_held: Any) -> None:
    task = cc.MulticlassTask("smokes", [True, False])
    np.testing.assert_array_equal(task.encode(as_held([True, False, True])), [0, 1, 0])
    assert task.as_given(task.encode(as_held([True, False]))).tolist() == [True, False]


def test_truth_values_beside_gaps_are_names_of_classes() -> None:
    task = cc.MulticlassTask("smokes", [True, False])
    for values in ([True, float("nan")], [True, None], pd.array([True, None]), pl.Series([True, None])):
        np.testing.assert_array_equal(task.encode(values), [0, -1])


def test_what_is_masked_is_a_gap() -> None:
    np.testing.assert_array_equal(PET.encode(np.ma.array([1, 2], mask=[False, True])), [1, -1])
    np.testing.assert_array_equal(PET.encode(list(np.ma.array(["dog", "cat"], mask=[False, True]))), [1, -1])
    labels = np.ma.array([[1, 0], [0, 1]], mask=[[False, True], [False, False]])
    np.testing.assert_array_equal(TRAIT.encode(labels), [[1, np.nan], [0, 1]])


def test_named_columns_are_taken_by_name_and_others_by_position() -> None:
    turned = {"barks": [0, 1, 1], "purrs": [1, 0, None]}
    expected = [[1, 0], [0, 1], [np.nan, 1]]
    nullable = pd.DataFrame(turned, dtype="Int64")
    for table in (pd.DataFrame(turned), nullable, nullable.astype("boolean"), pl.DataFrame(turned)):
        np.testing.assert_array_equal(TRAIT.encode(table), expected)
    plain = np.array([[0, 1], [1, 0], [1, np.nan]])
    for table in (pd.DataFrame(plain), pl.DataFrame(plain), pd.DataFrame(plain, index=["x", "y", "z"])):
        np.testing.assert_array_equal(TRAIT.encode(table), plain)
    odd = cc.MultilabelTask("odd", ["column_1", "column_0"])
    np.testing.assert_array_equal(odd.encode(pl.DataFrame([[1], [0]], orient="col")), [[0, 1]])


def test_columns_may_be_called_as_in_a_table_of_several_tasks() -> None:
    turned = {"trait.barks": [0, 1], "trait.purrs": [1, 0]}
    for table in (pd.DataFrame(turned), pl.DataFrame(turned)):
        np.testing.assert_array_equal(TRAIT.encode(table), [[1, 0], [0, 1]])
        np.testing.assert_array_equal(as_predictions(TRAIT, table), [[1, 0], [0, 1]])
    itself = cc.MultilabelTask("trait", ["barks", "trait.barks"])  # a label may be called so
    np.testing.assert_array_equal(itself.encode(pd.DataFrame({"trait.barks": [1], "barks": [0]})), [[0, 1]])
    with raises(UnknownNameError, "'trait'", "unknown column"):
        TRAIT.encode(pd.DataFrame({"trait.barks": [1], "purrs": [0]}))


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        (["purr", "barks"], UnknownNameError, "unknown column 'purr'; did you mean 'purrs'?"),
        (["barks"], ShapeError, "no column 'purrs'"),
        (["purrs", "barks", "purrs"], DuplicateNameError, "'purrs' occurs twice"),
    ],
)
def test_columns_of_other_names_are_named(columns: list[str], error: Any, said: str) -> None:
    with raises(error, "'trait'", said):
        TRAIT.encode(pd.DataFrame(np.ones((2, len(columns))), columns=columns))


def test_sparse_labels_are_made_dense() -> None:
    np.testing.assert_array_equal(TRAIT.encode(sparse.csr_array(np.eye(2))), np.eye(2))


def test_labels_of_one_column_may_be_flat() -> None:
    np.testing.assert_array_equal(ONE.encode([True, False]), [[1.0], [0.0]])
    assert ONE.encode([0, 1]).dtype == np.float32


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ([[0, 1]], ShapeError, "shape (n,)"),
        ([3], AnnotationError, "found 3 in row 0"),
        ([0, -2], AnnotationError, "found -2 in row 1"),
        ([0.5], AnnotationError, "found 0.5"),
        ([0.0, np.inf], AnnotationError, "found inf"),
        (["cat", "cow"], AnnotationError, "unknown class 'cow' in row 1"),
        (["cat", 7], AnnotationError, "found 7 in row 1"),
        ([1, True], AnnotationError, "unknown class 'True' in row 1"),
        (np.array([True, False]), AnnotationError, "unknown class 'True' in row 0"),
        ([["cat"], ["dog", "cat"]], ShapeError, "in row 1"),
        (np.array(["cat", 7], dtype=object), AnnotationError, "found 7 in row 1"),
        (np.array([None, {"a": 1}], dtype=object), AnnotationError, "a name or an index"),
    ],
)
def test_bad_classes_are_named(values: Any, error: Any, said: str) -> None:
    with raises(error, "'pet'", said):
        PET.encode(values)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ([0, 1], ShapeError, "shape (n, 2)"),
        ([[0, 1, 1]], ShapeError, "shape (n, 2)"),
        ([[0, 1], [1, 0.5]], AnnotationError, "found 0.5 in row 1, label 'barks'"),
        ([["yes", "no"]], AnnotationError, "no number"),
        ([[0, 1], [1]], ShapeError, "in row 1"),
        ([None] * 80 + [[1, 0]], ShapeError, "in row 80"),
    ],
)
def test_bad_labels_are_named(values: Any, error: Any, said: str) -> None:
    with raises(error, "'trait'", said):
        TRAIT.encode(values)


def test_names_are_distinct_and_not_empty() -> None:
    with raises(DuplicateNameError, "'a' twice"):
        cc.MulticlassTask("t", ["a", "b", "a"])
    with raises(ShapeError, "at least 2 classes"):
        cc.MulticlassTask("t", ["a"])
    with raises(ShapeError, "at least 1 labels"):
        cc.MultilabelTask("t", [])
    with raises(ShapeError, "empty"):
        cc.MultilabelTask("t", [" "])
    with raises(ShapeError, "list of names"):
        cc.MultilabelTask("t", "abc")
    assert cc.MulticlassTask("t", [1, 2]).classes == ("1", "2")
    assert task_names([PET, TRAIT]) == ("pet", "trait")
    with raises(DuplicateNameError, "'pet' twice"):
        task_names([PET, PET])
    with raises(ShapeError, "at least one task"):
        task_names([])


def test_tasks_are_equal_by_what_they_say() -> None:
    assert cc.MulticlassTask("pet", ["cat", "dog", "fish"]) == PET
    assert cc.MulticlassTask("pet", ["dog", "cat", "fish"]) != PET
    assert len({PET, cc.MulticlassTask("pet", PET.classes), TRAIT}) == 2
    check_probability("x", np.array([0.0, np.nan, 1.0]))
    with raises(RangeError, "x: probabilities"):
        check_probability("x", np.array([1.5]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("grad", [False, True])
def test_tensors_of_any_type_are_labels(dtype: torch.dtype, grad: bool) -> None:
    labels = torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]).to(dtype).requires_grad_(grad)
    np.testing.assert_array_equal(TRAIT.encode(labels), [[0, 1], [np.nan, 1]])
    classes = torch.tensor([2.0, 0.0, torch.nan]).to(dtype).requires_grad_(grad)
    np.testing.assert_array_equal(PET.encode(classes), [2, 0, -1])


def test_a_sparse_tensor_is_made_dense() -> None:
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(TRAIT.encode(labels.to_sparse()), labels.numpy())
