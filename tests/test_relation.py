from __future__ import annotations

from pathlib import Path
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
    DuplicateNameError,
    MissingDataError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    TableFormatError,
    UnknownNameError,
)
from concord.relations.table_file import read_table
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


def test_a_file_that_lacks_a_class_or_label_is_refused_where_it_must_be_complete(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.csv", "x,barks,purrs\ndog,0.8,0\ncat,,0.9\n")
    with raises(
        UnknownNameError, str(rows), "lacks fish of task 'pet' and swims of task 'trait'", "blank cells"
    ):
        cc.Relation.from_csv(PET, TRAIT, rows, complete=True)
    turned = written(tmp_path / "b.csv", "x,cat\nbarks,0\npurrs,.9\nswims,\n")
    with raises(UnknownNameError, "lacks dog, fish of task 'pet'"):
        cc.Relation.from_csv(PET, TRAIT, turned, transpose=True, complete=True)
    whole = written(tmp_path / "c.csv", "x,barks,purrs,swims\nfish,,,\ndog,0.8,0,\ncat,,0.9,1\n")
    found = cc.Relation.from_csv(PET, TRAIT, whole, complete=True)
    assert found.known.sum() == 4


def test_membership_is_normalised(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "x,small,large\ncat,1,1\ndog,0,1\n")
    found = cc.Relation.from_csv(PET, SIZE, path, normalize=True)
    np.testing.assert_array_equal(found.table, [[0.5, 0.5], [0.0, 1.0], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("x,purrs,barks\ncat,0.1,high\n", TableFormatError, "line 2: 'high' in column 'barks'"),
        ("x,purrs,barks\n\ncat,0.1,high\n", TableFormatError, "line 3: 'high'"),
        ("x,purrs,barks\ncat,0.1\n", TableFormatError, "line 2: 3 columns expected"),
        ("", TableFormatError, "header"),
        ("x,purrs,barks\ncat,0.1,inf\n", TableFormatError, "line 2: 'inf' in column 'barks'"),
        ("x;purrs;barks\ncat;0.1;0.2\n", TableFormatError, "line 1: only one column; is the separator ';'?"),
        ("x\tpurrs\ncat\t0.1\n", TableFormatError, "is the separator '\\t'?"),
        ("x,purrs,barks\ncat,0.1,1.5\n", RangeError, "line 2: 1.5 in column 'barks'"),
        ("x,purrs,barks\ncat,,0\ndog,-.1,0\n", RangeError, "line 3: -0.1 in column 'purrs'"),
        ("x,purrs\ncat,90\n", RangeError, "line 2: 90 in column 'purrs' is no probability"),
        ("x,purrs\ncat,90\n", RangeError, "percentages divide by 100"),
        ("x,purrs,purrs\ncat,0.1,0.5\n", DuplicateNameError, "line 1: column 'purrs' occurs twice"),
        ("x,purrs\ncat,0.1\ncat,0.2\n", DuplicateNameError, "line 3: row 'cat' occurs twice"),
        ("x,purr\ncat,0.1\n", UnknownNameError, "line 1: unknown label 'purr'; did you mean 'purrs'?"),
        ("x,purrs\ncat,0.1\ncow,0.2\n", UnknownNameError, "line 3: unknown class 'cow'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, error: Any, said: str) -> None:
    path = written(tmp_path / "bad.csv", text)
    with raises(error, str(path), said):
        cc.Relation.from_csv(PET, TRAIT, path)


def test_a_turned_file_is_named_either_way(tmp_path: Path) -> None:
    turned = written(tmp_path / "t.csv", "x,cat,dog\npurrs,0.1,0\n")
    said = "its rows are label names of 'trait' and its columns class names of 'pet'"
    with raises(UnknownNameError, str(turned), said, "transpose=True"):
        cc.Relation.from_csv(PET, TRAIT, turned)
    with raises(UnknownNameError, "transpose=True"):
        cc.Relation.from_csv(PET, TRAIT, turned, extra="ignore")
    upright = written(tmp_path / "u.csv", "x,purrs\ncat,0.1\n")
    with raises(UnknownNameError, "its rows are class names of 'pet'", "transpose=False"):
        cc.Relation.from_csv(PET, TRAIT, upright, transpose=True)
    with raises(UnknownNameError, "'ignroe'", "did you mean 'ignore'?"):
        cc.Relation.from_csv(PET, TRAIT, upright, extra="ignroe")  # type: ignore[arg-type]


def test_what_is_ignored_need_be_no_probability_and_counts_are_normalised(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "x,purrs,n\ncat,0.1,120\ncow,7,9\n")
    found = cc.Relation.from_csv(PET, TRAIT, path, extra="ignore")
    assert found.table[0, 0] == 0.1
    path = written(tmp_path / "b.csv", "x,small,large\ncat,30,10\n")
    found = cc.Relation.from_csv(PET, SIZE, path, normalize=True)
    np.testing.assert_array_equal(found.table[0], [0.75, 0.25])
    path = written(tmp_path / "c.csv", "x,small,large\ncat,-1,2\n")
    with raises(RangeError, "line 2: -1 in column 'small'"):
        cc.Relation.from_csv(PET, SIZE, path, normalize=True)


def test_names_in_quotes_may_hold_commas(tmp_path: Path) -> None:
    source = cc.MulticlassTask("pet", ["cat, tabby", "dog"])
    path = written(tmp_path / "a.csv", '"pet, of all",purrs,"barks, loud"\n"cat, tabby",1,0\ndog,0,1\n')
    assert read_table(path).name == "pet, of all"
    found = cc.Relation.from_csv(source, cc.MultilabelTask("t", ["purrs", "barks, loud"]), path)
    np.testing.assert_array_equal(found.table, np.eye(2))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"x,purrs\ncat\xe9,1\n")
    with raises(TableFormatError, "UTF-8"):
        cc.Relation.from_csv(PET, TRAIT, tmp_path / "latin.csv")
    with raises(MissingDataError, "none.csv"):
        cc.Relation.from_csv(PET, TRAIT, tmp_path / "none.csv")
    with raises(MissingDataError, "no folder"):
        cc.Relation(PET, TRAIT, TABLE).to_csv(tmp_path / "none" / "table.csv")


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
    with raises(ShapeError, "'cat'", "list of names, found 'purrs'"):
        cc.Relation.from_prototypes(PET, TRAIT, {"cat": "purrs"})


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


def annotated(kind: str, n: int = 60) -> tuple[cc.Task, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, n)
    if kind == "classes":
        return SIZE, y, (y + rng.integers(0, 2, n)) % SIZE.width
    a = (rng.random((n, 3)) < np.array([0.2, 0.5, 0.9])[y][:, None]).astype(float)
    a[:, 1] = y == 0  # a cell of which all rows are the same
    return TRAIT, y, a


@pytest.mark.parametrize("kind", ["labels", "classes"])
def test_copies_in_a_group_are_one_row(kind: str) -> None:
    target, y, a = annotated(kind)
    alone = cc.Relation.from_annotations(PET, target, y, a)
    single = cc.Relation.from_annotations(PET, target, y, a, groups=[f"v{i}" for i in range(len(y))])
    copies = np.repeat(np.arange(len(y)), 20)
    grouped = cc.Relation.from_annotations(PET, target, y[copies], a[copies], groups=copies)
    through = cc.estimate_relation(PET, target, y[copies], a[copies], groups=copies)
    counted = cc.Relation.from_annotations(PET, target, y[copies], a[copies])
    for same in (single, grouped, through):
        np.testing.assert_allclose(same.strength, alone.strength)
        np.testing.assert_allclose(same.table, alone.table, atol=2e-3)  # base rates are of all rows
        np.testing.assert_allclose(same.interval, alone.interval, atol=5e-3)
    (low, high), (less, more) = alone.interval, counted.interval
    assert (high - low > 2 * (more - less)).all()


@pytest.mark.parametrize("kind", ["labels", "classes"])
def test_rows_of_one_group_that_differ_count_each(kind: str) -> None:
    target, y, a = annotated(kind, 600)
    some = np.random.default_rng(0).integers(0, 40, len(y))  # who is in which group says nothing of labels
    alone = cc.Relation.from_annotations(PET, target, y, a)
    grouped = cc.Relation.from_annotations(PET, target, y, a, groups=some)
    assert (grouped.strength <= alone.strength + 1e-9).all()
    varied = (alone.table > 0.02) & (alone.table < 0.98)
    assert np.median((grouped.strength / alone.strength)[varied]) > 0.6


def test_one_group_is_worth_one_row() -> None:
    target, y, a = annotated("labels")
    found = cc.Relation.from_annotations(PET, target, y, a, groups=np.zeros(len(y)))
    assert (found.strength <= 1 + 1e-9).all()
    assert (found.interval[1] - found.interval[0] > 0.5).any()
    with raises(ShapeError, "groups has shape (60,), found (2,)"):
        cc.Relation.from_annotations(PET, target, y, a, groups=[0, 1])


@pytest.mark.parametrize(("count", "rows", "alike"), [(5, 40, 0.3), (5, 40, 0.05), (8, 20, 0.5)])
def test_intervals_of_few_groups_hold(count: int, rows: int, alike: float) -> None:
    """Persons that differ in a rate of .3 on average, by a Beta distribution of this correlation of rows."""
    rng = np.random.default_rng(0)
    groups, one = np.repeat(np.arange(count), rows), cc.MultilabelTask("one", ["label"])
    inside = []
    for _ in range(200):
        share = (1 - alike) / alike
        rate = rng.beta(0.3 * share, 0.7 * share, count)[groups]
        a = (rng.random(len(groups)) < rate).astype(float)[:, None]
        found = cc.Relation.from_annotations(PET, one, np.zeros(len(a), dtype=int), a, groups=groups)
        low, high = found.interval[:, 0, 0]
        inside.append(low <= 0.3 <= high)
    assert np.mean(inside) > 0.89  # of 95 %, which the design effect alone misses


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
    with raises(RangeError, "weights have shape (2,), are finite"):
        cc.Relation.from_annotations(PET, TRAIT, [0, 1], [[0, 1, 1]] * 2, weights=[1, np.inf])
    with raises(ShapeError, "found MultilabelTask 'trait'; source and target are swapped"):
        cc.Relation.from_annotations(TRAIT, PET, [[0, 1, 1]], [1])  # type: ignore[arg-type]
    with raises(RangeError, "prior"):
        cc.Relation.from_annotations(PET, TRAIT, [1], [[0, 1, 1]], pseudo_count=0)
    with raises(RangeError, "level"):
        cc.Relation.from_annotations(PET, TRAIT, [1], [[0, 1, 1]], level=1.0)


# -- what it says ---------------------------------------------------------------------------------------


def test_named_rows_and_columns_are_taken_by_name() -> None:
    cells = pd.DataFrame(TABLE, index=PET.classes, columns=TRAIT.labels)
    turned = cells.loc[["fish", "cat", "dog"], ["swims", "purrs", "barks"]]
    prior = pd.Series({"dog": 0.5, "fish": 0.3, "cat": 0.2})
    rate = pd.Series({"barks": 0.1, "purrs": 0.2, "swims": 0.3})
    found = cc.Relation(PET, TRAIT, turned, strength=turned.fillna(0) * 10, prior=prior, base_rate=rate)
    np.testing.assert_array_equal(found.table, TABLE)
    np.testing.assert_array_equal(found.strength, np.nan_to_num(TABLE) * 10)
    np.testing.assert_array_equal(found.prior, [0.2, 0.5, 0.3])
    np.testing.assert_array_equal(found.base_rate, [0.2, 0.1, 0.3])
    for columns_alone in (
        turned.loc[list(PET.classes)].reset_index(drop=True),
        pl.DataFrame(cells.to_dict("list")),
    ):
        np.testing.assert_array_equal(cc.Relation(PET, TRAIT, columns_alone).table, TABLE)
    for unnamed in (pd.DataFrame(TABLE), pl.DataFrame(TABLE, orient="row")):
        np.testing.assert_array_equal(cc.Relation(PET, TRAIT, unnamed).table, TABLE)
    with raises(UnknownNameError, "relation pet->trait: table", "unknown row 'cow'"):
        cc.Relation(PET, TRAIT, cells.rename(index={"dog": "cow"}))
    with raises(ShapeError, "no column 'swims'"):
        cc.Relation(PET, TRAIT, cells[["purrs", "barks"]])
    labels = pd.DataFrame([[0, 1, 1]], columns=["swims", "barks", "purrs"])
    counted = cc.Relation.from_annotations(PET, TRAIT, ["cat"], labels)
    plain = cc.Relation.from_annotations(PET, TRAIT, ["cat"], [[1, 1, 0]])
    np.testing.assert_array_equal(counted.table, plain.table)


def test_masked_and_nullable_cells_are_unknown() -> None:
    masked = np.ma.array(np.nan_to_num(TABLE), mask=np.isnan(TABLE))
    nullable = pd.DataFrame(TABLE).convert_dtypes()
    assert nullable.isna().sum().sum() == 1
    for table in (masked, nullable, [[v if v == v else None for v in row] for row in TABLE]):  # noqa: PLR0124
        np.testing.assert_array_equal(cc.Relation(PET, TRAIT, table).table, TABLE)


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
        ({"source": TRAIT, "target": PET}, ShapeError, "swapped"),
        ({"target": "trait"}, ShapeError, "found str 'trait'"),
        ({"target": PET, "table": np.eye(3)}, DuplicateNameError, "'pet' as source and target"),
        ({"table": [[1.0]]}, ShapeError, "(3, 3)"),
        ({"table": "many"}, ShapeError, "array of numbers"),
        ({"table": np.full((3, 3), 2.0)}, RangeError, "[0, 1]"),
        ({"target": SIZE, "table": [[0.5, 0.4]] * 3}, RangeError, "sum to 1"),
        ({"target": SIZE, "table": [[0.5, np.nan]] * 3}, RangeError, "known in part"),
        ({"strength": -np.ones((3, 3))}, RangeError, "strengths"),
        ({"interval": np.ones((3, 3))}, ShapeError, "interval"),
        ({"prior": [0.5, 0.1, 0.1]}, RangeError, "prior"),
        ({"base_rate": [0.5, 1.1, 0.1]}, RangeError, "base_rate"),
        ({"base_rate": [0.5, np.nan, 0.1]}, RangeError, "base_rate of 'barks' is NaN"),
        ({"target": SIZE, "table": [[0.5, 0.5]] * 3, "base_rate": [0.5, 0.4]}, RangeError, "sums to 0.9"),
    ],
)
def test_bad_relations_are_named(changes: dict[str, Any], error: Any, said: str) -> None:
    with raises(error, said):
        cc.Relation(**{"source": PET, "target": TRAIT, "table": TABLE, **changes})
