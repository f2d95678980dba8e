"""What a column of features means is kept from training: names, order, kinds and values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asserts import raises
from concord.data import FeatureRows, columns_record, joined_columns, write_frame
from concord.data.feature_table import columns_of, table_features
from concord.data.frames import typed
from concord.errors import ConcordWarning, DataFormatError, NotFiniteError, UnknownNameError

names = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=4, unique=True)
words = st.sampled_from(["red", "green", "blue"])
numbers = st.floats(-9, 9).map(lambda value: round(value, 3))


@st.composite
def tables(draw: Any) -> pl.DataFrame:
    rows = draw(st.integers(1, 8))
    cells = {name: draw(st.sampled_from([words, numbers])) for name in draw(names)}
    return pl.DataFrame(
        {name: draw(st.lists(kind, min_size=rows, max_size=rows)) for name, kind in cells.items()}
    )


@given(
    frame=tables(), order=st.randoms(use_true_random=False), kind=st.sampled_from(["csv", "parquet", "frame"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_order_of_columns_and_any_part_of_rows_mean_the_same(
    frame: pl.DataFrame, order: Any, kind: str, tmp_path: Path
) -> None:
    def rows(table: pl.DataFrame, columns: Any = None) -> FeatureRows:
        if kind == "frame":
            return FeatureRows(table, columns=columns)
        path = tmp_path / f"t.{kind}"
        write_frame(table, path) if kind == "parquet" else table.write_csv(path)  # of ours: not probed
        return FeatureRows(path, columns=columns)

    first = rows(frame)
    known = columns_record(first.known_columns or {})
    turned = list(frame.columns)
    order.shuffle(turned)
    part = order.randrange(frame.height)
    again = rows(frame[part:].select(turned), known)
    np.testing.assert_array_equal(again.take(np.arange(len(again))), first.take(np.arange(part, len(first))))
    for name in frame.columns:
        if frame.width > 1:
            with raises(UnknownNameError, f"no feature column {name!r}"):
                rows(frame.drop(name), known)
    with raises(UnknownNameError, "feature column 'new' is none of training"):
        rows(frame.with_columns(new=pl.lit(1.0)), known)


@given(seen=st.lists(words, min_size=1, max_size=8), later=st.lists(words, min_size=1, max_size=8))
def test_values_that_training_did_not_have_are_told_and_counted(seen: list[str], later: list[str]) -> None:
    known = columns_of(pl.DataFrame({"c": seen}), "t")
    strange = [word for word in later if word not in seen]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = table_features(pl.DataFrame({"c": later}), known, "t")
    assert [w.category for w in caught] == ([ConcordWarning] if strange else [])
    if strange:
        assert f"{len(strange)} of {len(later)} rows" in str(caught[0].message)
    for row, word in zip(found, later, strict=True):
        assert [v for v, on in zip(sorted(set(seen)), row, strict=True) if on] == (
            [word] if word in seen else []
        )


def test_a_column_of_another_kind_is_refused() -> None:
    known = columns_of(pl.DataFrame({"c": ["x", "y"], "w": [1.0, 2.0], "l": [[1.0], [2.0]]}), "t")
    good = pl.DataFrame({"c": ["x"], "w": [1.0], "l": [[3.0]]})
    np.testing.assert_array_equal(table_features(good, known, "t"), [[1, 0, 1, 3]])
    for name, values in (("c", [2.0]), ("c", ["2.0"]), ("w", ["x"]), ("l", [[1.0, 2.0]]), ("l", [1.0])):
        with raises(DataFormatError, f"feature column '{name}' held", "in training"):
            table_features(good.with_columns(pl.Series(name, values)), known, "t")


@pytest.mark.parametrize("cell", ["", "NA", "?", "1;5", "nan"])
def test_a_cell_that_is_no_number_is_refused_with_its_line(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("w,v\n1.5,1\n2,1\n" + f"{cell},1\n" + "4,1\n")
    rows = FeatureRows(path)
    assert rows.shape == (4, 2)  # a mistake makes no feature of each value
    assert rows.take(np.array([0, 1, 3])).tolist() == [[1.5, 1], [2, 1], [4, 1]]
    with raises(NotFiniteError, "column 'w'", "row 2 (line 4)", *([repr(cell)] if cell else [])):
        rows.load(np.array([0, 2]))


def test_text_that_rarely_repeats_is_told() -> None:
    with pytest.warns(ConcordWarning, match="'path' holds 60 different texts in 60 rows"):
        columns_of(pl.DataFrame({"path": [f"{i}.png" for i in range(60)]}), "t")


def test_two_tables_of_one_trunk_agree() -> None:
    first, other = ({"c": ["red"], "w": None}, {"w": None, "c": ["blue"]})
    assert joined_columns(first, other, "t") == {"c": ["blue", "red"], "w": None}
    with raises(DataFormatError, "'w' held numbers in training, found text"):
        joined_columns(first, {"c": ["red"], "w": ["x"]}, "t")
    with raises(UnknownNameError, "no feature column 'w'"):
        joined_columns(first, {"c": ["red"]}, "t")


def test_identifiers_are_no_numbers() -> None:
    for values in (["007", "12"], ["12345678901234567890", "1"]):
        assert typed(pl.Series("id", values)).to_list() == values
    assert typed(pl.Series("w", ["7", "0.5"])).to_list() == [7.0, 0.5]
