"""Stacking and merging: nothing invented, nothing lost, conflicts named."""

from __future__ import annotations

import warnings
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from concord import MulticlassTask, MultilabelTask
from concord.data.features import FeatureRows
from concord.data.joining import merge, stack
from concord.data.manifest import Manifest, task_columns
from concord.errors import (
    AnnotationError,
    ConcordWarning,
    ConfigError,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    UnknownNameError,
)
from concord.tasks import unite_tasks

PET = MulticlassTask("pet", ["cat", "dog"])


def photos(root: str | None = None, name: str = "", task: Any = PET, **columns: Any) -> Manifest:
    return Manifest(pl.DataFrame(columns), (task,), None if root is None else Path(root), name)


def test_stack_unites_vocabularies() -> None:
    a = photos(name="a", path=["1", "2"], pet=["dog", None])
    b = photos(name="b", path=["3"], pet=["newt"], task=MulticlassTask("pet", ["newt", "cat"]))
    units = MultilabelTask("units", ["AU1"])
    c = photos(name="c", task=units, path=["4"], **{"units.AU1": [1]})
    both = stack([a, b, c])
    assert both.task("pet").outputs == ("cat", "dog", "newt")
    np.testing.assert_array_equal(both.targets()["pet"], [1, -1, 2, -1])
    np.testing.assert_array_equal(both.targets()["units"][:, 0], [np.nan, np.nan, np.nan, 1])
    assert both.frame["source"].to_list() == ["a", "a", "b", "c"]
    assert both.name == "a+b+c"


@settings(max_examples=15)
@given(strategies.manifests(), strategies.manifests())
def test_a_stack_comes_apart_again(first: Manifest, second: Manifest) -> None:
    a = Manifest(first.frame, first.tasks, name="a")
    b = Manifest(second.frame, second.tasks, name="b")
    parts = stack([a, b]).partition()
    for whole, part in ((a, parts["a"]), (b, parts["b"])):
        for task in whole.tasks:
            assert part.frame.select(pl.col(task_columns(task)).cast(pl.String)).equals(
                whole.frame.select(pl.col(task_columns(task)).cast(pl.String))
            )
        assert part.frame["path"].equals(whole.frame["path"])


def test_stacking_stacks_keeps_the_sources() -> None:
    a, b, c = (photos(name=n, path=[n], pet=["cat"]) for n in "abc")
    assert stack([stack([a, b]), c]).frame["source"].to_list() == ["a", "b", "c"]


def test_nameless_manifests_get_a_number() -> None:
    assert stack([photos(path=["1"], pet=["cat"])] * 2).frame["source"].to_list() == ["source1", "source2"]


def test_sources_of_one_name_stay_apart() -> None:
    same = [Manifest(pl.DataFrame({"row": [0, 1]}), (), name="labels") for _ in range(3)]
    taken = photos(name="old", row=[0], pet=["cat"], source=["labels-2"])
    both = stack([*same, taken])
    assert both.frame["source"].to_list() == [
        *["labels"] * 2, *["labels-3"] * 2, *["labels-4"] * 2, "labels-2"
    ]  # fmt: skip
    assert both.name == "labels+labels-3+labels-4+old"
    parts = stack([taken, taken])  # what has sources keeps them, one in two parts too
    assert parts.frame["source"].to_list() == ["labels-2", "labels-2"]


def test_roots_are_brought_together() -> None:
    a = photos("/data/one", "a", path=["x.png"], pet=["cat"])
    b = photos("/data/two/images", "b", path=["x.png"], pet=["dog"])
    both = stack([a, b])
    assert both.root == Path("/data")
    assert both.frame["path"].to_list() == ["one/x.png", "two/images/x.png"]
    inside = stack([a, photos("/data", "c", path=["one/x.png"], pet=["dog"])])
    assert inside.frame["path"].to_list() == ["one/x.png", "one/x.png"]
    rows = Manifest(pl.DataFrame({"row": [0]}), (), Path("/data/rows"), "rows")
    assert stack([a, rows]).frame["path"].to_list() == ["one/x.png", None]


def test_roots_that_cannot_be_brought_together() -> None:
    a = photos("/data/one", "a", path=["x.png"], pet=["cat"])
    with pytest.raises(ConfigError, match="no folder in common"):
        stack([a, photos("/elsewhere", path=["x"], pet=["cat"])])
    with pytest.raises(ConfigError, match="'b' has paths but no root"):
        stack([a, photos(None, "b", path=["x"], pet=["cat"])])


def test_one_name_for_two_kinds_of_task() -> None:
    with pytest.raises(AnnotationError, match="classes in one source and labels in another"):
        unite_tasks([[PET], [MultilabelTask("pet", ["cat"])]])


def test_columns_with_nothing_in_common() -> None:
    a = photos(path=["1"], pet=["cat"], extra=[[1]])
    with pytest.raises(AnnotationError, match="different types"):
        stack([a, photos(path=["1"], pet=["cat"], extra=[1])])


@pytest.mark.parametrize("join", [stack, merge])
def test_nothing_to_join(join: Any) -> None:
    with pytest.raises(EmptyDataError):
        join([])


def test_merge_brings_annotations_of_the_same_samples_together() -> None:
    units = MultilabelTask("units", ["AU1", "AU2"])
    a = photos(name="a", path=["1", "2", "3"], pet=["dog", None, "cat"], split=["train", None, "test"])
    b = photos(
        name="b",
        task=units,
        path=["3", "4", "1"],
        split=["test", "val", None],
        **{"units.AU1": [1, 0, None], "units.AU2": [None, 1, None]},
    )
    both = merge([a, b])
    assert both.frame["path"].to_list() == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(both.targets()["pet"], [1, -1, 0, -1])
    np.testing.assert_array_equal(both.frame["units.AU1"].to_list(), [None, None, 1, 0])
    assert both.frame["split"].to_list() == ["train", None, "test", "val"]


@settings(max_examples=30)
@given(strategies.manifests())
def test_merging_with_itself_changes_nothing(drawn: Manifest) -> None:
    again = merge([drawn, drawn])
    assert again.frame.select(drawn.frame.columns).equals(drawn.frame)


@settings(max_examples=30)
@given(strategies.manifests(with_extras=False))
def test_merging_the_tasks_gives_the_whole(drawn: Manifest) -> None:
    parts = [drawn.select("kind"), drawn.select("traits")]
    assert merge(parts).frame.select(drawn.frame.columns).equals(drawn.frame)


def test_merge_on_several_columns_and_other_vocabularies() -> None:
    a = photos(path=["v", "v"], frame=[0, 1], pet=["dog", "cat"])
    b = photos(path=["v"], frame=[1], pet=["cat"], task=MulticlassTask("pet", ["newt", "cat"]))
    both = merge([a, b], on=["path", "frame"])
    assert both.task("pet").outputs == ("cat", "dog", "newt")
    assert both.frame["pet"].to_list() == ["dog", "cat"]


@pytest.mark.parametrize(("conflict", "kept"), [("first", "dog"), ("gap", None)])
def test_conflicts_are_resolved_as_asked(conflict: Any, kept: str | None) -> None:
    a = photos(path=["1", "2"], pet=["dog", "cat"])
    b = photos(path=["1", "2"], pet=["cat", "cat"])
    assert merge([a, b], conflict=conflict).frame["pet"].to_list() == [kept, "cat"]


def test_conflicts_are_named() -> None:
    a = photos(path=["1"], pet=["dog"], colour=pl.Series(["red"], dtype=pl.Categorical))
    b = photos(path=["1"], pet=["cat"], colour=["red"])
    with pytest.raises(AnnotationError, match=r"1 samples .* such as '1': pet is 'dog' and 'cat'"):
        merge([a, b])


def test_keys_are_unique_and_there() -> None:
    once = photos(path=["1"], pet=["dog"])
    with pytest.raises(DuplicateNameError, match="'1' occurs more than once"):
        merge([once, photos(path=["1", "1"], pet=["dog", "cat"])])
    with pytest.raises(UnknownNameError, match="'frame'"):
        merge([once, once], on=["path", "frame"])
    with pytest.raises(NoAnnotationError, match="'group' is empty"):
        merge([once, once], on="group")


ANNOTATED = st.lists(st.sampled_from(["cat", "dog", None]), min_size=2, max_size=2)


@given(st.lists(ANNOTATED, min_size=2, max_size=4))
def test_a_gap_wherever_any_two_differ_in_any_order(said: list[list[str | None]]) -> None:
    merged = []
    for order in permutations(said):
        parts = [photos(path=["1", "2"], pet=pl.Series(pets, dtype=pl.String)) for pets in order]
        merged.append(merge(parts, conflict="gap").frame["pet"].to_list())
    expected = [{pets[i] for pets in said} - {None} for i in range(2)]
    assert merged == [[min(names) if len(names) == 1 else None for names in expected]] * len(merged)


def voted(pet: str | None, *shares: float) -> Manifest:
    votes = dict(zip(("pet.p.cat", "pet.p.dog", "pet.p.emu"), shares, strict=False))
    return photos(task=MulticlassTask("pet", ["cat", "dog", "emu"]), path=["1"], pet=[pet], **votes)


@pytest.mark.parametrize(
    "others",
    [
        [voted("dog", 0.25, 0.75, 0.0)],
        [voted("dog")],
        [voted(None, 0.5, 0.5, 0.0), voted("cat", 0.5, 0.25, 0.25)],
        [voted("cat"), voted("dog", 0.0, 1.0, 0.0), voted("cat", 0.75, 0.25, 0.0)],
    ],
)
def test_a_class_and_its_votes_are_one_annotation(others: list[Manifest]) -> None:
    first = voted("cat", 0.75, 0.25, 0.0)
    columns = ["pet", "pet.p.cat", "pet.p.dog", "pet.p.emu"]
    merged = [merge([first, *others], conflict=c).frame.select(columns).row(0) for c in ("first", "gap")]
    assert merged == [("cat", 0.75, 0.25, 0.0), (None,) * 4]
    assert merge([*others, first], conflict="gap").frame.select(columns).row(0) == (None,) * 4
    with pytest.raises(AnnotationError, match="annotated differently"):
        merge([first, *others])


def test_the_first_without_votes_takes_none_of_those_who_differ() -> None:
    for first, kept in ((voted("cat"), "cat"), (voted(None, 0.5, 0.5, 0.0), None)):
        frame = merge([first, voted("dog", 0.25, 0.75, 0.0)], conflict="first").frame
        assert frame.select("pet", "pet.p.dog").row(0) == (kept, 0.5 if kept is None else None)
    assert merge([voted("cat"), voted("cat", 0.75, 0.25, 0.0)]).frame["pet.p.cat"].to_list() == [0.75]


def test_a_group_never_becomes_a_gap() -> None:
    a = photos(path=["1", "2"], pet=["cat", "dog"], group=["ann", "bob"])
    b = photos(path=["1", "2"], pet=["cat", "dog"], group=["ann", "s2"])
    with pytest.raises(
        AnnotationError, match=r"such as '2': group is 'bob' and 's2'; a gap would let a split"
    ):
        merge([a, b], conflict="gap")
    assert merge([a, b], conflict="first").frame["group"].to_list() == ["ann", "bob"]


@pytest.mark.parametrize("conflict", ["error", "first", "gap"])
@pytest.mark.parametrize("on", ["path", "age"])
def test_types_that_do_not_compare_are_named(conflict: Any, on: str) -> None:
    parts = [photos(name="abc"[i], path=["1"], pet=["cat"], age=[age]) for i, age in enumerate((1, 1.0, "1"))]
    if on == "age":
        del parts[1]
    with pytest.raises(
        AnnotationError, match=r"column 'age' holds (Int|Float)64 in one manifest and String in c"
    ):
        merge(parts, on=on, conflict=conflict)


@pytest.mark.parametrize("join", [stack, merge])
def test_a_column_called_as_a_task_of_another(join: Any) -> None:
    other = Manifest(pl.DataFrame({"path": ["1"], "pet": ["newt"]}), ())
    with pytest.raises(AnnotationError, match="column 'pet': unknown class 'newt'"):
        join([photos(path=["1"], pet=["cat"]), other])


def test_two_spellings_of_a_path_meet() -> None:
    other = MultilabelTask("units", ["AU1"])
    a = photos(path=["a.png", "b/c.png"], pet=["cat", "dog"])
    b = photos(task=other, path=["./a.png", "b//./c.png"], **{"units.AU1": [1, 0]})
    assert merge([a, b]).frame["units.AU1"].to_list() == [1, 0]
    with pytest.raises(DuplicateNameError, match=r"'a\.png' occurs more than once"):
        merge([photos(path=["a.png", "./a.png"], pet=["cat", "dog"])])


def test_rows_that_two_feature_files_count_are_told_where_one_is_read() -> None:
    a = photos(name="a", row=[0, 1], pet=["dog", "cat"])
    b = photos(name="b", row=[0, 1], food=["fish", "meat"], task=MulticlassTask("food", ["fish", "meat"]))
    features = FeatureRows(np.zeros((2, 3)))
    both = stack([a, b])
    with pytest.warns(ConcordWarning, match=r"2 rows of features belong to more .* row 0 to a, b"):
        features.keys(both)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for alone in both.partition("source").values():  # each with a file of its own
            features.keys(alone)
        features.keys(merge([a, b], on="row"))
