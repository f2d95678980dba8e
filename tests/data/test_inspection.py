"""What is annotated where: counts against plain loops, and every kind of problem found."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from rich.console import Console

import concord.data
import strategies
from concord import MulticlassTask, MultilabelTask
from concord.data.contents import missing_files
from concord.data.inspection import NO_SPLIT, Inspection, as_table, inspect
from concord.data.manifest import Manifest
from concord.errors import ConfigError, EmptyDataError, MissingDataError, UnsafePathError

PET = MulticlassTask("pet", ["cat", "dog", "newt"])
TRAITS = MultilabelTask("traits", ["furry", "barks"])


def pets(**changes: Any) -> Manifest:
    columns = {
        "path": ["1", "2", "3", "4"],
        "split": ["train", "test", None, "train"],
        "group": ["x", "x", "y", None],
        "pet": ["dog", None, "cat", "dog"],
        "traits.furry": [1, None, 0, None],
        "traits.barks": [None, None, 1, None],
        **changes,
    }
    return Manifest(pl.DataFrame(columns), (PET, TRAITS), name="pets")


def shown(found: Inspection, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(found.render())
    return console.export_text()


@given(strategies.manifests())
@settings(max_examples=20)
def test_counts_equal_a_count_by_hand(drawn: Manifest) -> None:
    found = inspect(drawn)
    rows = drawn.frame.rows(named=True)
    labels = [f"traits.{label}" for label in drawn.task("traits").outputs]
    some = [any(row[column] is not None for column in labels) for row in rows]
    tasks = {row["task"]: row for row in found.tasks.iter_rows(named=True)}
    assert tasks["kind"]["rows"] == sum(row["kind"] is not None for row in rows)
    assert tasks["traits"]["rows"] == sum(some)
    assert tasks["traits"]["partial"] == sum(
        has and any(row[column] is None for column in labels) for row, has in zip(rows, some, strict=True)
    )
    assert tasks["kind"]["train"] == sum(r["kind"] is not None and r["split"] == "train" for r in rows)
    both = sum(has and row["kind"] is not None for row, has in zip(rows, some, strict=True))
    assert found.overlap.rows() == [("kind", "traits", both)]
    for value in found.values.iter_rows(named=True):
        if value["task"] == "kind":
            hits = [row for row in rows if row["kind"] == value["value"]]
            annotated = tasks["kind"]["rows"]
        else:
            column = f"traits.{value['value']}"
            hits = [row for row in rows if row[column] == 1]
            annotated = sum(row[column] is not None for row in rows)
        assert (value["present"], value["annotated"]) == (len(hits), annotated)
        assert value[NO_SPLIT] == sum(row["split"] is None for row in hits)
        assert value["rate"] == (len(hits) / annotated if annotated else None)
    groups: dict[str, set[str]] = {}
    for row in rows:
        if row["group"] and row["split"]:
            groups.setdefault(row["group"], set()).add(row["split"])
    assert set(found.leaks["group"]) == {group for group, splits in groups.items() if len(splits) > 1}


def test_imbalance() -> None:
    found = inspect(pets(pet=["dog", "dog", "cat", "newt"]))
    assert found.tasks["imbalance"].to_list() == [2.0, 1.0]
    assert inspect(pets()).tasks["imbalance"].to_list() == [None, 1.0]
    assert inspect(pets(**{"traits.furry": [0] * 4, "traits.barks": [0] * 4})).tasks["imbalance"][1] is None


def test_leaks_name_group_and_splits() -> None:
    found = inspect(pets())
    assert found.leaks.rows() == [("x", ["pets"], ["test", "train"], 2)] or found.leaks.rows() == [
        ("x", ["pets"], ["train", "test"], 2)
    ]
    assert "1 groups have rows in several splits: x" in found.problems()[0]
    assert not inspect(pets(split=["train", "train", "test", "test"])).leaks.height


def test_a_name_is_one_group_in_all_sources() -> None:
    a = Manifest(pl.DataFrame({"path": ["1"], "group": ["s"], "split": ["train"]}), (), name="a")
    b = Manifest(pl.DataFrame({"path": ["2"], "group": ["s"], "split": ["test"]}), (), name="b")
    leaks = inspect(a, b).leaks
    assert leaks["group"].to_list() == ["s"]
    assert leaks["sources"].to_list() == [["a", "b"]]
    assert "1 of them in several sources, where a name is one group" in inspect(a, b).problems()[0]
    assert not inspect(a, replace(b, frame=b.frame.with_columns(split=pl.lit("train")))).leaks.height
    assert inspect(a, b).splits["source"].to_list() == ["a", "b"]


def test_duplicates() -> None:
    found = inspect(pets(path=["1", "1", "2", "2"]))
    assert found.duplicates.select("sample", "rows").rows() == [("1", 2), ("2", 2)]
    assert found.duplicates["splits"].list.len().to_list() == [2, 2]
    assert any("2 samples occur in several rows, 2 of them in several splits" in p for p in found.problems())
    assert not inspect(pets(path=["v"] * 4, frame=[0, 1, 2, 3])).duplicates.height
    assert inspect(pets(path=["v"] * 4, frame=[0, 1, 2, 2])).duplicates["rows"].to_list() == [2]


def test_texts_and_rows_are_duplicates_within_their_source() -> None:
    texts = pl.DataFrame({"text": ["hello", "hello", "bye"]})
    assert inspect(Manifest(texts, ())).duplicates["sample"].to_list() == ["hello"]
    a, b = (Manifest(pl.DataFrame({"row": [0, 1]}), (), name=name) for name in "ab")
    assert not inspect(a, b).duplicates.height


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"one")
    (tmp_path / "a" / "2.png").write_bytes(b"two")
    (tmp_path / "3.png").write_bytes(b"one")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("deep/4.png", b"one")
        archive.writestr("./5.png", b"five")
    return tmp_path


def test_missing_files(tree: Path) -> None:
    (tree / "a" / "folder").mkdir()
    there = ["a/1.png", "3.png", "more.zip/deep/4.png", "more.zip/5.png"]
    gone = ["a/9.png", "a/folder", "b/1.png", "A/1.png", "more.zip/4.png", "no.zip/4.png"]
    assert missing_files(tree, pl.Series([*there, *gone, None])) == gone
    with pytest.raises(MissingDataError, match="found nothing"):
        missing_files(tree / "nowhere", pl.Series(there))
    with pytest.raises(MissingDataError, match="found a file"):
        missing_files(tree / "3.png", pl.Series(there))


def test_files_and_contents_are_looked_at_when_asked(tree: Path) -> None:
    whole = pets(path=["a/1.png", "a/2.png", "3.png", "more.zip/deep/4.png"])
    assert inspect(whole).missing is inspect(whole).same_content is None
    found = inspect(whole, root=tree, content=True)
    assert found.missing == []
    assert found.same_content is not None
    assert found.same_content["paths"].to_list() == [["a/1.png", "3.png", "more.zip/deep/4.png"]]
    assert any("a/1.png = 3.png = more.zip/deep/4.png" in problem for problem in found.problems())
    rooted = Manifest(whole.frame.with_columns(path=pl.lit("gone/") + pl.col("path")), (PET,), tree)
    gone = inspect(rooted, files=True, content=True)
    assert gone.missing is not None
    assert len(gone.missing) == 4
    dotted = pl.Series(["./a/1.png", "more.zip/./5.png", "3.png"])
    kept = inspect(Manifest(pl.DataFrame({"path": dotted}), ()), root=tree, content=True)
    assert (kept.missing, kept.same_content["paths"].to_list()) == ([], [["a/1.png", "3.png"]])  # type: ignore
    assert any("4 files are missing: gone/a/1.png" in problem for problem in gone.problems())
    assert gone.same_content is not None
    assert not gone.same_content.height


def test_contents_outside_the_root_are_not_read(tree: Path) -> None:
    root = tree / "a"
    (root / "link.png").symlink_to(tree / "3.png")
    with pytest.raises(UnsafePathError):
        inspect(Manifest(pl.DataFrame({"path": ["link.png"]}), ()), root=root, content=True)


def test_files_of_rows_without_paths(tree: Path) -> None:
    found = inspect(Manifest(pl.DataFrame({"row": [0, 1]}), ()), root=tree, content=True)
    assert found.missing == []
    assert found.same_content is not None
    assert not found.same_content.height


def test_where_the_files_are_must_be_known() -> None:
    with pytest.raises(MissingDataError, match="give a root"):
        inspect(pets(), files=True)
    with pytest.raises(EmptyDataError):
        inspect()


def test_problems_of_annotation() -> None:
    problems = inspect(pets(**{"traits.furry": [None] * 4, "traits.barks": [None] * 4})).problems()
    assert "task 'traits' is annotated nowhere" in problems
    assert "no row is annotated for both 'pet' and 'traits'" in problems
    assert "3 classes or labels are never seen: pet: newt, traits: furry, traits: barks" in problems


def test_a_label_that_is_never_absent_is_noticed() -> None:
    ticked = pets(**{"traits.barks": [1, None, 1, None], "traits.furry": [1, 0, None, 1]})
    assert any(
        problem.startswith("never absent where annotated") and problem.endswith("(1): traits: barks")
        for problem in inspect(ticked).problems()
    )


def test_nothing_to_complain_of() -> None:
    fine = pets(
        group=[None] * 4,
        pet=["dog", "newt", "cat", "dog"],
        **{"traits.barks": [1, 0, 1, 0], "traits.furry": [1, 1, 1, 0]},
    )
    found = inspect(fine)
    assert found.problems() == []
    assert "- nothing" in shown(found)


def test_rendered_text_holds_the_counts_and_no_markup() -> None:
    task = MulticlassTask("pet", ["[red]cat", "dog"])
    found = inspect(Manifest(pl.DataFrame({"row": [0, 1, 2], "pet": ["[red]cat", "dog", "dog"]}), (task,)))
    text = shown(found)
    assert "[red]cat" in text
    assert "manifest: 3 rows" in text
    line = next(line for line in text.splitlines() if line.startswith("│ dog"))
    assert line.split() == ["│", "dog", "│", "3", "│", "2", "│", "0.667", "│", "2", "│"]


def test_a_narrow_terminal_cuts_no_number() -> None:
    pet = MulticlassTask("pet", ["a_class_with_a_name_of_forty_letters_or_so", "b"])
    frame = pl.DataFrame({"row": range(2000), "pet": [pet.classes[0], *[pet.classes[1]] * 1999]})
    words = shown(inspect(Manifest(frame, (pet,), name="pets")), 60).split()
    assert {"1,999", "2,000", "0.0005"} <= set(words)


def test_several_sources_are_shown(tmp_path: Path) -> None:
    a, b = (Manifest(pets().frame, (PET, TRAITS), name=name) for name in "ab")
    text = shown(inspect(a, b))
    assert "annotated rows a source" in text
    assert "a+b: 8 rows" in text


def test_long_tables_are_cut_and_say_so() -> None:
    table = as_table("numbers", pl.DataFrame({"n": range(100)}))
    assert table.row_count == 61
    assert list(table.columns[0].cells)[-1] == "... 40 more"


def test_plain_data_is_json(tree: Path) -> None:
    plain = inspect(pets(), root=tree, content=True).to_dict()
    again = json.loads(json.dumps(plain))
    assert again == plain
    assert again["rows"] == 4
    assert again["missing"] == ["1", "2", "3", "4"]
    assert {"tasks", "values", "overlap", "leaks", "duplicates", "problems", "same_content"} <= again.keys()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_drawing(tmp_path: Path, ending: str) -> None:
    many = MultilabelTask("many", [f"label {i}" for i in range(50)])
    frame = pets().frame.with_columns(pl.lit(i % 2).alias(f"many.label {i}") for i in range(50))
    file = tmp_path / "new" / f"figure.{ending}"
    inspect(Manifest(frame, (PET, TRAITS, many), name="$pets$")).draw(file)
    assert file.read_bytes()[:5] in {b"\x89PNG\r", b"<?xml", b"%PDF-"}


def test_drawing_nothing(tmp_path: Path) -> None:
    inspect(Manifest(pl.DataFrame({"row": [0]}), ())).draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0
    with pytest.raises(ConfigError, match=r"a figure ends in .*found 'figure\.jpg'"):
        inspect(pets()).draw(tmp_path / "figure.jpg")


def test_the_module_does_not_hide_the_function() -> None:
    assert callable(concord.data.inspect)


def test_empty_files_are_named_and_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for name, content in (("a.png", b""), ("b.png", b""), ("c.png", b"x")):
        (tmp_path / name).write_bytes(content)
    whole = Manifest(pl.DataFrame({"path": ["a.png", "b.png", "c.png"]}), (), tmp_path)
    found = inspect(whole, files=True, content=True)
    assert found.empty == ["a.png", "b.png"]
    assert found.same_content is not None
    assert found.same_content.height == 0
    assert any(said.startswith("2 files are empty: a.png, b.png; ") for said in found.problems())
    assert inspect(whole, files=True).empty is None
