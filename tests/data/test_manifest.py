"""The manifest: what it accepts, what it refuses, what its targets are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from concord import MulticlassTask, MultilabelTask
from concord.data.manifest import Manifest, RowError, task_columns
from concord.errors import (
    AnnotationError,
    ConfigError,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    UnknownNameError,
    UnsafePathError,
)

PET = MulticlassTask("pet", ["cat", "dog", "newt"])
TRAITS = MultilabelTask("traits", ["furry", "barks"])


def frame(**changes: Any) -> pl.DataFrame:
    columns = {
        "path": ["a/1.png", "a/2.png", "b/1.png"],
        "split": ["train", "test", None],
        "group": ["x", "y", None],
        "pet": ["dog", None, "cat"],
        "traits.furry": [1, None, 0],
        "traits.barks": [None, 0, 1],
        **changes,
    }
    return pl.DataFrame({name: values for name, values in columns.items() if values is not ...})


def manifest(**changes: Any) -> Manifest:
    return Manifest(frame(**changes), (PET, TRAITS), name="pets")


def test_targets_follow_the_convention_for_gaps() -> None:
    targets = manifest().targets()
    assert targets["pet"].dtype == np.int64
    assert targets["traits"].dtype == np.float32
    np.testing.assert_array_equal(targets["pet"], [1, -1, 0])
    np.testing.assert_array_equal(targets["traits"], [[1, np.nan], [np.nan, 0], [0, 1]])


@given(strategies.manifests())
def test_targets_equal_what_the_tasks_encode(drawn: Manifest) -> None:
    targets = drawn.targets()
    kind, traits = drawn.tasks
    np.testing.assert_array_equal(targets["kind"], kind.encode(drawn.frame["kind"].to_list()))
    cells = drawn.frame.select(task_columns(traits)).rows()
    np.testing.assert_array_equal(targets["traits"], traits.encode(np.array(cells, dtype=object)))
    np.testing.assert_array_equal(drawn.annotated("kind"), kind.annotated(targets["kind"]))
    np.testing.assert_array_equal(drawn.annotated("traits"), traits.annotated(targets["traits"]))


def test_targets_can_be_written_to() -> None:
    for target in manifest().targets().values():
        target[0] = 0
        assert target.flags.c_contiguous


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([True, None, False]),
        pl.Series([1.0, float("nan"), 0.0]),
        pl.Series([1, None, 0], dtype=pl.UInt64),
    ],
    ids=["bool", "float", "unsigned"],
)
def test_labels_of_other_types_become_int8(column: pl.Series) -> None:
    made = manifest(**{"traits.furry": column}).frame["traits.furry"]
    assert made.dtype == pl.Int8
    assert made.to_list() == [1, None, 0]


def test_a_column_without_any_value_is_all_gaps() -> None:
    made = manifest(pet=[None] * 3, split=[None] * 3, **{"traits.barks": [None] * 3})
    assert (made.targets()["pet"] == -1).all()
    assert np.isnan(made.targets()["traits"][:, 1]).all()


def test_categories_and_other_enumerations_are_recoded() -> None:
    other = pl.Series(["dog", None, "cat"], dtype=pl.Enum(["dog", "cat"]))
    np.testing.assert_array_equal(manifest(pet=other).targets()["pet"], [1, -1, 0])
    np.testing.assert_array_equal(manifest(pet=other.cast(pl.Categorical)).targets()["pet"], [1, -1, 0])


def test_split_and_group_are_added_where_missing() -> None:
    made = manifest(split=..., group=...)
    assert made.frame["split"].null_count() == made.frame["group"].null_count() == 3
    assert made.frame["group"].dtype == pl.String


def test_groups_that_are_numbers_become_text() -> None:
    assert manifest(group=[1, 2, None]).frame["group"].to_list() == ["1", "2", None]


def test_further_columns_stay() -> None:
    landmarks = pl.Series([[1.0, 2.0], None, []], dtype=pl.List(pl.Float32))
    assert manifest(landmarks=landmarks).frame["landmarks"].to_list() == [[1.0, 2.0], None, []]


@given(st.lists(strategies.paths, min_size=1), st.data())
def test_a_file_has_one_spelling(paths: list[str], data: st.DataObject) -> None:
    idle = st.lists(st.sampled_from(["/", "./"]), max_size=3).map("".join)
    written = []
    for path in paths:
        parts = [part + "/" + data.draw(idle) for part in path.split("/")]
        written.append(data.draw(idle).lstrip("/") + "".join(parts).rstrip("/"))
    assert Manifest(pl.DataFrame({"path": written}), ()).frame["path"].to_list() == paths


def test_samples_may_have_no_task() -> None:
    assert Manifest(frame(), ()).targets() == {}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pet": ["dog", "cta", None]}, RowError, r"unknown class 'cta'; did you mean 'cat'\? in row 1"),
        ({"pet": ["dog", "", None]}, RowError, "unknown class ''.* in row 1"),
        ({"pet": [1, 0, None]}, AnnotationError, "class names as text, found Int64"),
        ({"split": ["train", "training", None]}, RowError, "unknown split 'training'.*row 1"),
        ({"group": [1.5, 2.0, None]}, AnnotationError, "'group' holds text, found Float64"),
        ({"traits.furry": [1, 2, 0]}, RowError, "labels are 0, 1 or null, found 2 in row 1"),
        ({"traits.furry": [1, -1, 0]}, RowError, "found -1 in row 1"),
        ({"traits.furry": [1.0, 0.5, 0.0]}, RowError, "found 0.5 in row 1"),
        ({"traits.furry": [1.0, float("inf"), 0.0]}, RowError, "found inf in row 1"),
        ({"traits.furry": ["1", "0", "1"]}, AnnotationError, "labels are 0, 1 or null, found String"),
        ({"traits.furry": [1, 257, 0]}, RowError, "found 257 in row 1"),
        ({"traits.furry": ...}, UnknownNameError, "of task 'traits'.*'traits.furry'; did you mean"),
        ({"path": ...}, UnknownNameError, "'path', 'row' or 'text', found split"),
        ({"path": ["a", None, "b"]}, RowError, "every sample has a path, found none in row 1"),
        ({"path": [1, 2, 3]}, AnnotationError, "'path' holds text, found Int64"),
        ({"row": [0, -1, 2]}, RowError, "counts from 0, found a negative one in row 1"),
        ({"row": ["0", "1", "2"]}, AnnotationError, "'row' holds whole numbers, found String"),
    ],
)
def test_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        manifest(**changes)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up.png", "a/../../b", "a/..", "C:/x.png", r"a\b.png", "nul\0.png", ""]
)
def test_paths_outside_the_root_are_refused(path: str) -> None:
    with pytest.raises(UnsafePathError, match="in row 1"):
        manifest(path=["ok.png", path, "ok.png"])


@pytest.mark.parametrize("path", ["..a/b", "a..b", "...", "a b/ü.png", "images.zip/1.jpg"])
def test_odd_paths_inside_the_root_are_fine(path: str) -> None:
    assert manifest(path=["x", path, "y"]).frame["path"][1] == path


def test_no_rows() -> None:
    with pytest.raises(EmptyDataError):
        Manifest(frame().clear(), (PET,))


def test_two_tasks_cannot_share_a_column() -> None:
    with pytest.raises(DuplicateNameError, match=r"'traits\.furry'.*belongs to task 'traits'"):
        Manifest(frame(), (TRAITS, MulticlassTask("traits.furry", ["a", "b"])))
    with pytest.raises(DuplicateNameError, match="belongs to every manifest"):
        Manifest(frame(), (MulticlassTask("split", ["train", "test"]),))
    with pytest.raises(DuplicateNameError, match="'pet' twice"):
        Manifest(frame(), (PET, PET))


def test_task_by_name() -> None:
    assert manifest().task("pet") is PET
    with pytest.raises(UnknownNameError, match="did you mean 'pet'"):
        manifest().task("pets")


@pytest.mark.parametrize("condition", ["split == 'train'", "split = 'train'", pl.col("split") == "train"])
def test_filter(condition: Any) -> None:
    assert manifest().filter(condition).frame["path"].to_list() == ["a/1.png"]


def test_filter_by_label_in_sql() -> None:
    kept = manifest().filter("\"traits.barks\" = 0 OR pet IN ('dog')")
    assert kept.frame["path"].to_list() == ["a/1.png", "a/2.png"]
    assert kept.name == "pets"


@pytest.mark.parametrize("condition", ["split =", "colour = 'red'", pl.col("path") + 1, "DROP TABLE x"])
def test_a_condition_that_cannot_be_applied(condition: Any) -> None:
    with pytest.raises(ConfigError, match="cannot apply the condition"):
        manifest().filter(condition)


def test_a_condition_that_nothing_meets() -> None:
    with pytest.raises(EmptyDataError, match="none of 3 rows of pets"):
        manifest().filter("split = 'val'")


def test_select_keeps_tasks_and_drops_the_columns_of_others() -> None:
    kept = manifest().select("traits")
    assert kept.tasks == (TRAITS,)
    assert "pet" not in kept.frame.columns
    with pytest.raises(UnknownNameError):
        manifest().select("pest")


@given(strategies.manifests())
def test_parts_hold_every_row_once(drawn: Manifest) -> None:
    rows = drawn.frame.with_columns(half=pl.Series(np.arange(len(drawn)) % 2).cast(pl.String))
    parts = Manifest(rows, drawn.tasks).partition("half")
    assert list(parts) == ["0", "1"][: len(drawn)]
    whole = pl.concat([part.frame for part in parts.values()]).sort("path")
    assert whole.equals(Manifest(rows, drawn.tasks).frame.sort("path"))


def test_partition_needs_a_full_column() -> None:
    with pytest.raises(NoAnnotationError, match="empty in 1 rows"):
        manifest().partition("group")
    with pytest.raises(UnknownNameError):
        manifest().partition("sauce")


def test_repr_says_what_is_in_it() -> None:
    assert repr(manifest()) == "Manifest('pets', 3 rows, tasks: pet (3), traits (2), root: None)"
    assert "tasks: none" in repr(Manifest(frame(), ()))
