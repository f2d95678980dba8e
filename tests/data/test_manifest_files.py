"""Manifests on disk: what is written is read again; what is damaged is named."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strategies
from concord import MulticlassTask, MultilabelTask
from concord.data import read_manifest, write_manifest
from concord.data.gap_words import GAPS
from concord.data.manifest import Manifest
from concord.errors import (
    ConcordError,
    ConcordWarning,
    DataFormatError,
    DuplicateNameError,
    EmptyDataError,
    MissingDataError,
    NoAnnotationError,
    UnknownNameError,
)

PET = MulticlassTask("pet", ["cat", "dog"])
TRAITS = MultilabelTask("traits", ["furry", "barks"])

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def pets(root: Path | None = None) -> Manifest:
    frame = pl.DataFrame(
        {
            "path": ["1.png", "2.png", "3.png"],
            "pet": ["dog", None, "cat"],
            "traits.furry": [1, None, 0],
            "traits.barks": [None, 0, 1],
        }
    )
    return Manifest(frame, (PET, TRAITS), root, "pets")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@given(drawn=strategies.manifests())
@SHARED_FOLDER
def test_round_trip(tmp_path: Path, ending: str, drawn: Manifest) -> None:
    file = tmp_path / f"manifest.{ending}"
    write_manifest(drawn, file)
    again = read_manifest(file)
    assert again.tasks == drawn.tasks
    assert again.name == drawn.name
    assert again.frame.equals(drawn.frame)
    empty = [name for name, dtype in drawn.frame.schema.items() if dtype == pl.Null]
    assert again.frame.drop(empty).schema == drawn.frame.drop(empty).schema


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_root_below_the_file_moves_with_it(tmp_path: Path, ending: str) -> None:
    (tmp_path / "here").mkdir()
    write_manifest(pets(tmp_path / "here" / "images"), tmp_path / "here" / f"m.{ending}")
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_manifest(tmp_path / "there" / f"m.{ending}").root == tmp_path / "there" / "images"


def test_a_root_elsewhere_is_absolute_and_can_be_replaced(tmp_path: Path) -> None:
    write_manifest(pets(tmp_path / "data"), tmp_path / "manifests" / "m.parquet")
    assert read_manifest(tmp_path / "manifests" / "m.parquet").root == tmp_path / "data"
    assert read_manifest(tmp_path / "manifests" / "m.parquet", root="elsewhere").root == Path("elsewhere")


def test_tasks_can_be_given(tmp_path: Path) -> None:
    write_manifest(pets(), tmp_path / "m.parquet")
    reordered = MulticlassTask("pet", ["newt", "dog", "cat"])
    again = read_manifest(tmp_path / "m.parquet", tasks=[reordered])
    np.testing.assert_array_equal(again.targets()["pet"], [1, -1, 2])


def test_plain_parquet_with_given_tasks_is_enumerated_while_reading(tmp_path: Path) -> None:
    frame = pl.DataFrame({"path": ["a", "b"], "pet": ["dog", None], "split": ["train", None]})
    frame.write_parquet(tmp_path / "m.parquet")
    again = read_manifest(tmp_path / "m.parquet", tasks=[PET])
    assert again.frame.schema["pet"] == pl.Enum(PET.classes)
    assert again.name == "m"
    with pytest.raises(DataFormatError, match=r"m\.parquet: .*unknown class 'dog'.*in row 0"):
        read_manifest(tmp_path / "m.parquet", tasks=[MulticlassTask("pet", ["cat", "newt"])])


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_tasks_are_inferred_where_nothing_is_said(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame(
        {
            "path": ["a", "b", "c"],
            "source": ["x", "x", "y"],
            "pet": ["dog", "cat", "dog"],
            "identifier": ["i", "j", "k"],
            "age": [3, 3, 4],
            "traits.furry": [1, None, 0],
            "traits.size": [3, 4, 5],
        }
    )
    file = tmp_path / f"m.{ending}"
    frame.write_parquet(file) if ending == "parquet" else frame.write_csv(file)
    again = read_manifest(file)
    assert again.tasks == (MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("traits", ["furry"]))
    assert again.frame["age"].to_list() == [3, 3, 4]
    assert again.frame["identifier"].to_list() == ["i", "j", "k"]


@given(data=st.data(), ending=st.sampled_from(["parquet", "csv"]), given_tasks=st.booleans())
@SHARED_FOLDER
def test_the_usual_words_for_a_gap_are_gaps_where_nothing_is_said(
    tmp_path: Path, data: st.DataObject, ending: str, given_tasks: bool
) -> None:
    """A plain file gives the classes, groups and splits that `from_csv` gives, and tells the words, too."""
    words = st.sampled_from([*GAPS, "cat", "dog"])
    cells = ["cat", "cat", "dog", *data.draw(st.lists(words, max_size=8))]
    other = ["train"] * 3 + [{"cat": "val", "dog": "test"}.get(cell, cell) for cell in cells[3:]]
    frame = pl.DataFrame({"path": [f"{i}" for i in range(len(cells))], "pet": cells, "group": cells})
    frame = frame.with_columns(split=pl.Series(other), note=pl.Series(["NA"] * len(cells)))
    file = tmp_path / f"m.{ending}"
    frame.write_parquet(file) if ending == "parquet" else frame.write_csv(file)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        again = read_manifest(file, [PET] if given_tasks else None)
    gone = [None if cell in GAPS else cell for cell in cells]
    assert again.frame["pet"].cast(pl.String).to_list() == again.frame["group"].to_list() == gone
    assert again.frame["split"].is_null().to_list() == [cell is None for cell in gone]
    assert again.frame["note"].to_list() == ["NA"] * len(cells)
    assert again.tasks == ((PET,) if given_tasks else (MulticlassTask("pet", ["cat", "dog"]),))
    message = " ".join(str(one.message) for one in told if "read as gaps" in str(one.message))
    for word in set(cells) & set(GAPS) - {""}:
        for column in ("class column 'pet'", "group column 'group'", "split column 'split'"):
            assert f"{word!r} of {column}" in message
    assert bool(message) == bool(set(cells) & set(GAPS) - {""})


def test_words_for_a_gap_that_a_task_has_as_classes_stay_classes(tmp_path: Path) -> None:
    task = MulticlassTask("origin", ["None", "NA"])
    frame = pl.DataFrame({"path": ["a", "b", "c"], "origin": ["NA", "None", "nan"]})
    for file in (tmp_path / "m.csv", tmp_path / "m.parquet"):
        frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)
        with pytest.warns(ConcordWarning, match=r"read as gaps: 1 cell 'nan' of class column 'origin'\."):
            again = read_manifest(file, [task])
        np.testing.assert_array_equal(again.targets()["origin"], [1, 0, -1])
    declared = frame.with_columns(pl.col("origin").cast(pl.Enum(["None", "NA", "nan"])))
    pl.concat([declared, declared]).write_parquet(tmp_path / "n.parquet")
    assert read_manifest(tmp_path / "n.parquet").task("origin").outputs == ("None", "NA", "nan")


def test_words_for_a_gap_among_labels_of_a_plain_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,traits.furry\na,1\nb,NA\nc,0\n")
    with pytest.warns(ConcordWarning, match="1 cell 'NA' of labels column 'traits.furry'"):
        again = read_manifest(tmp_path / "m.csv")
    np.testing.assert_array_equal(again.targets()["traits"], [[1], [np.nan], [0]])


def test_a_task_that_takes_a_column_of_every_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,group\na,NA\nb,x\n")
    with (
        pytest.warns(ConcordWarning, match="read as gaps"),
        pytest.raises(DuplicateNameError, match="task 'group' needs column 'group'"),
    ):
        read_manifest(tmp_path / "m.csv", [MulticlassTask("group", ["x", "y"])])


@pytest.mark.parametrize(("ending", "place"), [("csv", "line 3: .*"), ("parquet", ".*in row 1")])
def test_minus_one_among_classes_that_are_inferred_is_refused(
    tmp_path: Path, ending: str, place: str
) -> None:
    frame = pl.DataFrame({"path": ["a", "b", "c", "d"], "pet": ["dog", "-1", "cat", "dog"]})
    file = tmp_path / f"m.{ending}"
    frame.write_parquet(file) if ending == "parquet" else frame.write_csv(file)
    with pytest.raises(DataFormatError, match=place) as caught:
        read_manifest(file)
    assert "--gap -1 of concord data table" in str(caught.value)
    with pytest.raises(DataFormatError, match="unknown class '-1'"):
        read_manifest(file, [PET])


def test_enumerations_keep_their_order_when_inferred(tmp_path: Path) -> None:
    pets().frame.write_parquet(tmp_path / "m.parquet")
    frame = pl.read_parquet(tmp_path / "m.parquet").with_columns(
        pet=pl.lit("dog").cast(pl.Enum(["dog", "cat"]))
    )
    pl.concat([frame, frame.with_columns(pet=pl.lit("cat").cast(pl.Enum(["dog", "cat"])))]).write_parquet(
        tmp_path / "n.parquet"
    )
    assert read_manifest(tmp_path / "n.parquet").task("pet").outputs == ("dog", "cat")


def test_nothing_that_looks_like_a_task(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,age\na,1\nb,2\n")
    with pytest.raises(NoAnnotationError, match=r"concord data table.*pass the tasks, .*\.from_csv"):
        read_manifest(tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", tasks=[]).frame["age"].to_list() == [1, 2]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_missing_file(tmp_path: Path, ending: str) -> None:
    with pytest.raises(MissingDataError, match=r"expected a manifest at .* found nothing"):
        read_manifest(tmp_path / f"m.{ending}")
    (tmp_path / f"n.{ending}").mkdir()
    with pytest.raises(MissingDataError, match="found a folder"):
        read_manifest(tmp_path / f"n.{ending}")


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"\.parquet or \.csv file, found the ending '\.xlsx'"):
        write_manifest(pets(), tmp_path / "m.xlsx")


def test_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1 or so")
    with pytest.raises(DataFormatError, match=r"m\.parquet: not a Parquet file"):
        read_manifest(tmp_path / "m.parquet")


def test_truncated_parquet_with_its_end(tmp_path: Path) -> None:
    write_manifest(pets(), tmp_path / "m.parquet")
    whole = (tmp_path / "m.parquet").read_bytes()
    (tmp_path / "m.parquet").write_bytes(whole[:4] + b"\xff" * 40 + whole[44:])
    with pytest.raises(DataFormatError, match="not a Parquet file"):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object with tasks"),
        ('{"root": 3}', "an object with tasks"),
        ('{"name": 3}', "an object with tasks"),
        ('{"version": 9}', "version 1 is expected, found 9"),
        ('{"tasks": 3}', "not a list of tasks"),
        ('{"tasks": [{"classes": ["a", "b"]}]}', "not a list of tasks"),
        ('{"tasks": [{"name": "x", "classes": ["a"]}]}', "not a list of tasks.*at least 2"),
        ('{"tasks": [{"name": "x", "labels": "abc"}]}', "not a list of tasks"),
        ('{"tasks": [], "columns": {"age": "Decimal"}}', "type 'Decimal'"),
        ('{"tasks": [], "columns": 3}', "columns"),
    ],
)
def test_damaged_description(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text("path,age\na,1\n")
    (tmp_path / "m.csv.tasks.json").write_text(text)
    with pytest.raises(DataFormatError, match=rf"tasks\.json: .*{message}"):
        read_manifest(tmp_path / "m.csv")


def test_description_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path\na\n")
    (tmp_path / "m.csv.tasks.json").write_bytes('{"name": "é"}'.encode("latin-1"))
    with pytest.raises(DataFormatError, match="not text in UTF-8"):
        read_manifest(tmp_path / "m.csv")


def test_damaged_metadata(tmp_path: Path) -> None:
    pets().frame.write_parquet(tmp_path / "m.parquet", metadata={"concord": json.dumps({"tasks": 1})})
    with pytest.raises(DataFormatError, match="not a list of tasks"):
        read_manifest(tmp_path / "m.parquet")


def test_csv_with_a_column_it_cannot_hold(tmp_path: Path) -> None:
    frame = pets().frame.with_columns(when=pl.lit(0).cast(pl.Datetime))
    with pytest.raises(DataFormatError, match=r"column 'when' of type Datetime.*cannot be in CSV"):
        write_manifest(Manifest(frame, (PET,)), tmp_path / "m.csv")


def test_csv_keeps_flags_and_categories(tmp_path: Path) -> None:
    frame = pets().frame.with_columns(
        blurred=pl.Series([True, False, None]), colour=pl.Series(["red", None, "red"], dtype=pl.Categorical)
    )
    write_manifest(Manifest(frame, (PET,)), tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv").frame
    assert again["blurred"].to_list() == [True, False, None]
    assert again["colour"].to_list() == ["red", None, "red"]


WHOLE = "path,split,pet,traits.furry,traits.barks,row,points\r\na,train,dog,1,0,3,1 2\nb,,cat,,1,4,\n\n"


def csv_with(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "m.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    description = {
        "tasks": [{"name": "pet", "classes": PET.classes}, {"name": "traits", "labels": TRAITS.labels}],
        "columns": {"points": "List(Float32)"},
    }
    (tmp_path / "m.csv.tasks.json").write_text(json.dumps(description))
    return file


@pytest.mark.parametrize("before", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_line_ends_blank_lines_and_marks_do_not_matter(tmp_path: Path, before: str) -> None:
    again = read_manifest(csv_with(tmp_path, before + WHOLE))
    assert again.frame["path"].to_list() == ["a", "b"]
    np.testing.assert_array_equal(again.targets()["traits"], [[1, 0], [np.nan, 1]])
    assert again.frame["points"].to_list() == [[1.0, 2.0], None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE.replace("cat", "bird"), "line 3: .*unknown class 'bird'"),
        (WHOLE.replace("\n\n", "\n\n\nc,,bird,,1,4,\n"), "line 6: .*unknown class 'bird'"),
        (WHOLE.replace("train", "tarin"), "line 2: .*unknown split 'tarin'"),
        (
            WHOLE.replace("dog,1", "dog,2"),
            "line 2: column 'traits.furry': labels are 0, 1 or a gap, found '2'",
        ),
        (WHOLE.replace("0,3", "0,x"), "line 2: column 'row' holds Int64, found 'x'"),
        (WHOLE.replace("1 2", "1 b"), "line 2: column 'points' holds numbers.*'1 b'"),
        (WHOLE + "c,train", "line 5: 7 cells are expected as in the header, found 2"),
        (WHOLE + "c,train,dog,1,0,3,,9\n", "line 5: 7 cells are expected.*found 8"),
        (WHOLE + "c,tr\0ain,dog,1,0,3,\n", "line 5: text is expected, found a NUL byte"),
        (b"PAR1\x15\x04\0", "a CSV file is expected, found a Parquet file"),
        (WHOLE + '"c,train,dog,1,0,3,\n', "not a CSV file"),
        (WHOLE.encode() + b"c\xff,train,dog,1,0,3,\n", "not a CSV file in UTF-8"),
        (WHOLE.replace("split", "path"), "column 'path' occurs twice"),
    ],
)
def test_damaged_csv(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConcordError, match=rf"m\.csv.*{message}"):
        read_manifest(csv_with(tmp_path, text))


@pytest.mark.parametrize("text", ["", "path,pet\n"])
def test_empty_csv(tmp_path: Path, text: str) -> None:
    with pytest.raises(EmptyDataError, match="at least one line"):
        read_manifest(csv_with(tmp_path, text))


def test_csv_without_a_column_of_its_tasks(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'traits\.barks'"):
        read_manifest(csv_with(tmp_path, WHOLE.replace("traits.barks", "traits.bark")))


@given(data=st.data())
@SHARED_FOLDER
def test_a_mutated_file_is_read_as_it_stands_or_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    """No mutation gives a label that its line does not hold."""
    whole = WHOLE.encode()
    at = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, 6))
    inserted = data.draw(
        st.sampled_from([b"", b"\0", b",", b"\n", b"\r", b'"', b" ", b"\xff", b"1", b"\xef\xbb\xbf"])
    )
    mutated = whole[:at] + inserted + whole[at + length :]
    file = csv_with(tmp_path, mutated)
    try:
        again = read_manifest(file)
    except ConcordError:
        return
    reader = csv.reader(io.StringIO(mutated.decode("utf-8-sig"), newline=""))
    header, *lines = [[cell.strip() for cell in line] for line in reader if any(line)]
    assert len(again) == len(lines)
    for row, line in zip(again.frame.iter_rows(named=True), lines, strict=True):
        assert row["pet"] == (line[header.index("pet")] or None)
        for label in ("traits.furry", "traits.barks"):
            assert str(row[label]) == (line[header.index(label)] or "None")


def test_a_class_that_is_no_date_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("d\nx\n")
    tasks = [{"name": "d", "classes": [{"date": "x"}, {"date": "2020-01-01"}]}]
    (tmp_path / "q.csv.tasks.json").write_text(json.dumps({"tasks": tasks, "version": 1}))
    with pytest.raises(DataFormatError, match=r"q\.csv\.tasks\.json: not a list of tasks"):
        read_manifest(tmp_path / "q.csv")
