from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.errors import (
    DuplicateNameError,
    MissingDataError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    TableFormatError,
    UnknownNameError,
)
from strategies import relations

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "barks", "swims"])
SIZE = cc.MulticlassTask("size", ["small", "large"])
TABLE = [[0.9, 0.05, np.nan], [0.0, 0.8, 0.4], [0.0, 0.0, 1.0]]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# -- files ----------------------------------------------------------------------------------------------


@given(relations())
def test_a_table_survives_its_file(relation: cc.Relation) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        relation.to_csv(path)
        again = cc.Relation.from_csv(relation.source, relation.target, path)
    np.testing.assert_array_equal(again.table, relation.table)


def test_a_file_may_come_in_any_order_turned_and_with_more(tmp_path: Path) -> None:
    text = "\ufeffx,barks,purrs\ndog,0.8,0\ncat,,0.9\n"
    expected = [[0.9, np.nan, np.nan], [0.0, 0.8, np.nan], [np.nan] * 3]
    found = cc.Relation.from_csv(PET, TRAIT, written(tmp_path / "a.csv", text))
    np.testing.assert_array_equal(found.table, expected)
    turned = written(tmp_path / "b.csv", "x,dog,cat\nbarks,0.8,\npurrs,0,0.9\n")
    np.testing.assert_array_equal(cc.Relation.from_csv(PET, TRAIT, turned, transpose=True).table, expected)
    more = written(tmp_path / "c.csv", "x,barks,meows,purrs\ndog,0.8,1,0\ncow,1,1,1\ncat,,1,0.9\n")
    with raises(UnknownNameError, "cow"):
        cc.Relation.from_csv(PET, TRAIT, more)
    np.testing.assert_array_equal(cc.Relation.from_csv(PET, TRAIT, more, extra="ignore").table, expected)


def test_membership_is_normalised(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "x,small,large\ncat,1,1\ndog,0,1\n")
    found = cc.Relation.from_csv(PET, SIZE, path, normalize=True)
    np.testing.assert_array_equal(found.table, [[0.5, 0.5], [0.0, 1.0], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x,purrs,barks\ncat,0.1,high\n", TableFormatError),
        ("x,purrs,barks\ncat,0.1\n", TableFormatError),
        ("", TableFormatError),
        ("x,purrs,barks\ncat,0.1,inf\n", TableFormatError),
        ("x,purrs,barks\ncat,0.1,1.5\n", RangeError),
        ("x,purrs,purrs\ncat,0.1,0.5\n", DuplicateNameError),
        ("x,purrs\ncat,0.1\ncat,0.2\n", DuplicateNameError),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, error: Any) -> None:
    with raises(error):
        cc.Relation.from_csv(PET, TRAIT, written(tmp_path / "bad.csv", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"x,purrs\ncat\xe9,1\n")
    with raises(TableFormatError, "UTF-8"):
        cc.Relation.from_csv(PET, TRAIT, tmp_path / "latin.csv")
    with raises(MissingDataError, "none.csv"):
        cc.Relation.from_csv(PET, TRAIT, tmp_path / "none.csv")


# -- lists ----------------------------------------------------------------------------------------------


def test_prototypes_make_ones_weights_and_unknown_rows() -> None:
    found = cc.Relation.from_prototypes(PET, TRAIT, {"cat": ["purrs"], "dog": []}, {"cat": {"swims": 0.2}})
    np.testing.assert_array_equal(found.table, [[1, 0, 0.2], [0, 0, 0], [np.nan] * 3])
    np.testing.assert_array_equal(found.neutral, [False, True, False])
    np.testing.assert_array_equal(found.known_rows, [True, True, False])
    with raises(UnknownNameError, "class", "cow"):
        cc.Relation.from_prototypes(PET, TRAIT, {"cow": []})
    with raises(UnknownNameError, "label", "did you mean 'purrs'"):
        cc.Relation.from_prototypes(PET, TRAIT, {"cat": ["purr"]})
    with raises(DuplicateNameError, "'purrs' twice"):
        cc.Relation.from_prototypes(PET, TRAIT, {"cat": ["purrs", "purrs"]})
    with raises(DuplicateNameError, "'purrs' twice"):
        cc.Relation.from_prototypes(PET, TRAIT, {"cat": ["purrs"]}, {"cat": {"purrs": 0.5}})


@pytest.mark.parametrize("name", cc.tables.BUILTIN)
def test_the_tables_of_the_literature(name: str) -> None:
    relation = cc.tables.BUILTIN[name]()
    assert relation.table.shape == (len(relation.source.classes), 17)
    assert relation.known.all()
    assert set(np.unique(relation.binary.table)) == {0.0, 1.0}
    if name == "expressions":
        by = {
            c: dict(zip(relation.target.outputs, relation.row(i), strict=True))
            for i, c in enumerate(relation.source.classes)
        }
        assert relation.neutral.tolist() == [True] + [False] * 6
        assert by["happiness"]["AU6"] == 0.51
        assert by["surprise"]["AU10"] == 0.0
        assert by["sadness"]["AU4"] == 1.0
    else:
        assert (cc.tables.compound_expressions(0.3).table == 0.3).sum() == (relation.table == 0.5).sum()


# -- annotations ----------------------------------------------------------------------------------------


def test_co_annotated_rows_are_counted() -> None:
    y = ["cat"] * 4 + ["dog"] * 2 + [None, "fish"]
    a = np.array([[1, 0], [1, 0], [1, np.nan], [0, np.nan], [0, 1], [0, 1], [1, 1], [np.nan, np.nan]])
    target = cc.MultilabelTask("trait", ["purrs", "barks"])
    found = cc.Relation.from_annotations(PET, target, y, a)
    np.testing.assert_array_equal(found.strength, [[4, 2], [2, 2], [0, 0]])
    base = (3 + 0.5) / (6 + 1)
    np.testing.assert_allclose(found.table[:, 0], [(3 + base) / 5, base / 3, base])
    np.testing.assert_allclose(found.prior, np.array([5, 3, 2]) / 10)
    low, high = found.interval
    assert ((low < found.table) & (found.table < high)).all()
    wide, narrow = (cc.Relation.from_annotations(PET, target, y, a, level=level) for level in (0.9, 0.5))
    assert (wide.interval[1] > narrow.interval[1]).all()


def test_weights_are_repeated_rows_and_a_label_nobody_saw_is_unknown() -> None:
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 3, 30), rng.integers(0, 2, (30, 3)).astype(float)
    a[:, 2] = np.nan
    times = rng.integers(0, 3, 30)
    weighted = cc.Relation.from_annotations(PET, TRAIT, y, a, weights=times)
    repeated = cc.Relation.from_annotations(PET, TRAIT, np.repeat(y, times), np.repeat(a, times, axis=0))
    np.testing.assert_allclose(weighted.table, repeated.table)
    np.testing.assert_allclose(weighted.interval, repeated.interval)
    assert np.isnan(weighted.table[:, 2]).all()


def test_two_class_tasks_give_distributions() -> None:
    found = cc.Relation.from_annotations(PET, SIZE, [0, 0, 0, 1], [0, 0, 1, 1])
    np.testing.assert_allclose(found.table.sum(axis=1), 1.0)
    assert found.table[0, 0] > 0.5 > found.table[1, 0]


def test_annotations_that_cannot_be_counted_are_named() -> None:
    with raises(ShapeError, "2 rows of 'pet', but 1 of 'trait'"):
        cc.Relation.from_annotations(PET, TRAIT, [0, 1], [[0, 1, 1]])
    with raises(NoAnnotationError, "'pet'", "'trait'"):
        cc.Relation.from_annotations(PET, TRAIT, [-1, 1], [[0, 1, 1], [np.nan] * 3])
    with raises(RangeError, "weights"):
        cc.Relation.from_annotations(PET, TRAIT, [1], [[0, 1, 1]], weights=[-1.0])
    with raises(RangeError, "prior"):
        cc.Relation.from_annotations(PET, TRAIT, [1], [[0, 1, 1]], pseudo_count=0)
    with raises(RangeError, "level"):
        cc.Relation.from_annotations(PET, TRAIT, [1], [[0, 1, 1]], level=1.0)


# -- what it says ---------------------------------------------------------------------------------------


def test_rates_follow_from_prior_and_table_unless_given() -> None:
    relation = cc.Relation(PET, TRAIT, TABLE)
    np.testing.assert_allclose(relation.rates(), [0.3, 0.85 / 3, 0.7])
    prior = np.array([0.5, 0.5, 0.0])
    np.testing.assert_allclose(relation.replace(prior=prior).rates(), [0.45, 0.425, 0.4])
    given_rates = relation.replace(base_rate=[0.1, 0.2, 0.3])
    np.testing.assert_array_equal(given_rates.rates(), [0.1, 0.2, 0.3])
    blank = cc.Relation(PET, TRAIT, np.full((3, 3), np.nan))
    np.testing.assert_array_equal(blank.rates(), 0.5)
    np.testing.assert_array_equal(cc.Relation(PET, SIZE, np.full((3, 2), np.nan)).rates(), 0.5)


def test_what_a_table_cannot_tell_apart() -> None:
    table = [[1, 0, 0.5], [1, 0.05, 0.5], [0, np.nan, 0.5]]
    relation = cc.Relation(PET, TRAIT, table)
    assert relation.indistinguishable() == ()
    assert relation.indistinguishable(tolerance=0.1) == (("cat", "dog"),)
    assert relation.uninformative() == ("swims",)
    assert relation.uninformative(tolerance=0.1) == ("barks", "swims")
    same = cc.Relation(PET, TRAIT, [[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    assert same.indistinguishable() == (("cat", "fish"),)


@given(relations(), st.integers(0, 99))
def test_a_shuffled_table_has_no_row_in_its_place(relation: cc.Relation, seed: int) -> None:
    order = np.arange(relation.source.width)
    marked = cc.Relation(
        relation.source,
        cc.MultilabelTask("t", ["l"]),
        (order / len(order))[:, None],
    )
    moved = np.rint(marked.shuffled(seed).table[:, 0] * len(order)).astype(int)
    assert (moved != order).all()
    np.testing.assert_array_equal(np.sort(moved), order)
    np.testing.assert_array_equal(relation.shuffled(seed).table, relation.table[moved])
    assert relation.dense() is relation


def test_orders_and_forms_that_there_are_not() -> None:
    relation = cc.Relation(PET, TRAIT, TABLE)
    with raises(ShapeError, "order of 3 rows"):
        relation.permuted([0, 0, 1])
    with raises(ShapeError, "binary"):
        _ = cc.Relation(PET, SIZE, np.full((3, 2), 0.5)).binary
    np.testing.assert_array_equal(relation.binary.table, [[1, 1, np.nan], [0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(relation.row(1), TABLE[1])
    assert relation.name == "pet->trait"


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"source": TRAIT}, ShapeError, "MultilabelTask"),
        ({"table": [[1.0]]}, ShapeError, "(3, 3)"),
        ({"table": "many"}, ShapeError, "array of numbers"),
        ({"table": np.full((3, 3), 2.0)}, RangeError, "[0, 1]"),
        ({"target": SIZE, "table": [[0.5, 0.4]] * 3}, RangeError, "sum to 1"),
        ({"target": SIZE, "table": [[0.5, np.nan]] * 3}, RangeError, "known in part"),
        ({"strength": -np.ones((3, 3))}, RangeError, "strengths"),
        ({"interval": np.ones((3, 3))}, ShapeError, "interval"),
        ({"prior": [0.5, 0.1, 0.1]}, RangeError, "prior"),
        ({"base_rate": [0.5, 1.1, 0.1]}, RangeError, "base_rate"),
    ],
)
def test_bad_relations_are_named(changes: dict[str, Any], error: Any, said: str) -> None:
    with raises(error, said):
        cc.Relation(**{"source": PET, "target": TRAIT, "table": TABLE, **changes})
