"""Anyone's table as a manifest: columns mapped, gaps recognised, mistakes named with file and line."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask
from concord.data import from_csv, from_frame
from concord.data.feature_table import read_features
from concord.data.frames import read_table
from concord.data.gap_words import GAPS
from concord.data.manifest import Manifest, RowError
from concord.errors import (
    ConcordError,
    ConcordWarning,
    DataFormatError,
    DuplicateNameError,
    EmptyDataError,
    MissingDataError,
    ShapeError,
    UnknownNameError,
    UnsafePathError,
)

CSV = """image,who,Subset,expression,AU1,AU2,AU12,box_x
a.jpg,1,training,happiness,1,0,NA,10.5
b.jpg,1,Validation,,0,,1,
./c.jpg,2,dev,sadness,nan,1.0,0,3
d\\e.jpg,,test,NaN,0,0,0,4
"""

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def faces(tmp_path: Path, text: str = CSV, **options: Any) -> Manifest:
    (tmp_path / "faces.csv").write_text(text, newline="")
    arguments: dict[str, Any] = {
        "classes": {"expression": None},
        "labels": {"action_units": "AU*"},
        "path_column": "image",
        "split": "Subset",
        "group": "who",
        "gaps": GAPS,  # all of them declared: nothing is told
        **options,
    }
    return from_csv(tmp_path / "faces.csv", **arguments)


def test_a_users_csv(tmp_path: Path) -> None:
    made = faces(tmp_path)
    assert made.name == "faces"
    assert made.tasks == (
        MulticlassTask("expression", ["happiness", "sadness"]),
        MultilabelTask("action_units", ["AU1", "AU2", "AU12"]),
    )
    assert made.frame["path"].to_list() == ["a.jpg", "b.jpg", "c.jpg", "d/e.jpg"]
    assert made.frame["split"].to_list() == ["train", "val", "val", "test"]
    assert made.frame["group"].to_list() == ["1", "1", "2", None]
    assert made.frame["box_x"].to_list() == [10.5, None, 3.0, 4.0]
    np.testing.assert_array_equal(made.targets()["expression"], [0, -1, 1, -1])
    nan = np.nan
    expected = [[1, 0, nan], [0, nan, 1], [nan, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(made.targets()["action_units"], expected)


def test_given_classes_keep_their_order_and_refuse_others(tmp_path: Path) -> None:
    made = faces(tmp_path, classes={"expression": ["sadness", "fear", "happiness"]})
    np.testing.assert_array_equal(made.targets()["expression"], [2, -1, 0, -1])
    with pytest.raises(DataFormatError, match=r"faces\.csv, line 4: .*unknown class 'sadness'"):
        faces(tmp_path, classes={"expression": ["happiness", "fear"]})


def test_a_task_may_have_another_name_than_its_column(tmp_path: Path) -> None:
    made = faces(tmp_path, classes={"mood": None}, columns={"mood": "expression"})
    assert made.tasks[0].name == "mood"
    assert "expression" not in made.frame.columns


def test_labels_by_name_and_prefix() -> None:
    frame = pl.DataFrame({"traits.furry": [1, 0], "traits.barks": [None, 1], "tail": [0, 1]})
    made = from_frame(frame, labels={"traits": ["traits.*", "tail"]})
    assert made.task("traits").outputs == ("furry", "barks", "tail")
    assert made.frame["row"].to_list() == [0, 1]


@given(
    names=st.lists(st.text("A1[]!-", min_size=1), min_size=1, unique=True),
    data=st.data(),
)
def test_a_column_is_taken_by_its_own_name_whatever_is_in_it(names: list[str], data: Any) -> None:
    """Of the characters of a pattern only `*` and `?` stand for others; a name that is there comes first."""
    pattern = data.draw(st.sampled_from([*names, *(f"{name}*" for name in names)]))
    made = from_frame(pl.DataFrame({name: [0, 1] for name in names}), labels={"units": pattern})
    begin = [name for name in names if name.startswith(pattern.removesuffix("*"))]
    assert list(made.task("units").outputs) == ([pattern] if pattern in names else begin)


def test_a_name_comes_before_what_it_is_a_pattern_of() -> None:
    frame = pl.DataFrame({"sure?": [0], "surely": [1], "sure!": [1]})
    assert from_frame(frame, labels={"units": "sure?"}).task("units").outputs == ("sure?",)
    assert from_frame(frame, labels={"units": "s?re*"}).task("units").width == 3


def test_a_subject_may_be_group_and_class(tmp_path: Path) -> None:
    made = faces(tmp_path, classes={"identity": None}, columns={"identity": "who"})
    assert made.frame["identity"].to_list() == made.frame["group"].to_list() == ["1", "1", "2", None]


def test_a_gap_spelled_as_a_number() -> None:
    frame = pl.DataFrame({"id": [0, -1, 2], "score": [1.0, -1.0, 0.0], "flag": [True, False, None]})
    made = from_frame(
        frame, classes={"id": None}, labels={"labels": ["score", "flag"]}, gaps=["-1"], row=None
    )
    assert made.task("id").outputs == ("0", "2")
    np.testing.assert_array_equal(made.targets()["labels"], [[1, 1], [np.nan, 0], [0, np.nan]])
    with pytest.raises(RowError, match="labels are 0, 1 or a gap, found '-1' in row 1"):
        from_frame(frame, labels={"labels": ["score"]})


NUMBERS = [pl.Int8, pl.UInt8, pl.Int64, pl.Float32, pl.String]


@given(
    cells=st.lists(st.sampled_from([0, 1, 9, None]), min_size=1),
    dtype=st.sampled_from(NUMBERS),
    gaps=st.sampled_from([["9"], ["9.0"], ["9", "0"], ["9", "1.0"]]),
)
def test_a_declared_gap_is_one_whatever_the_type_of_the_column(
    cells: list[int | None], dtype: Any, gaps: list[str]
) -> None:
    frame = pl.DataFrame({"x": pl.Series(cells, dtype=pl.Int8).cast(dtype)})
    made = from_frame(frame, labels={"labels": "x"}, gaps=gaps)
    gone = {float(gap) for gap in gaps}
    assert made.frame["labels.x"].to_list() == [None if cell in gone else cell for cell in cells]


@pytest.mark.parametrize("gap", ["false", "true"])
def test_a_declared_gap_among_truth_values(gap: str) -> None:
    made = from_frame(pl.DataFrame({"x": [True, False, None]}), labels={"labels": "x"}, gaps=[gap])
    expected = [None, 0, None] if gap == "true" else [1, None, None]
    assert made.frame["labels.x"].to_list() == expected


@pytest.mark.parametrize("gap", ["9", "9.0", "9.00"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_a_declared_gap_among_classes_that_are_numbers(gap: str, dtype: Any) -> None:
    frame = pl.DataFrame({"grade": pl.Series([1, 9, 2], dtype=pl.Int8).cast(dtype)})
    assert from_frame(frame, classes={"grade": None}, gaps=[gap]).task("grade").outputs == ("1", "2")


def test_numbers_are_sorted_as_numbers_and_lose_their_decimals() -> None:
    frame = pl.DataFrame({"grade": [10.0, None, 2.0, 2.0], "name": ["1.0", "x", None, "1.0"]})
    made = from_frame(frame, classes={"grade": None, "name": None})
    assert made.task("grade").outputs == ("2", "10")
    assert made.task("name").outputs == ("1.0", "x")


def test_a_class_that_is_spelled_like_a_gap() -> None:
    frame = pl.DataFrame({"country": ["NA", "DE", "", None]})
    explicit = from_frame(frame, classes={"country": ["DE", "NA"]})
    np.testing.assert_array_equal(explicit.targets()["country"], [1, 0, -1, -1])
    with pytest.raises(ShapeError, match="at least 2 classes, found 1"):
        from_frame(frame, classes={"country": None})


def test_words_read_as_gaps_are_told_once_with_their_counts(tmp_path: Path) -> None:
    with pytest.warns(ConcordWarning, match="read as gaps") as told:
        faces(tmp_path, gaps=["nan", "None"])
    (message,) = [str(one.message) for one in told]
    assert "1 cell 'NaN' of class column 'expression'" in message
    assert "1 cell 'NA' of labels column 'AU1' and 2 more" in message
    assert "'nan'" not in message  # declared


def test_nan_in_a_column_of_numbers_is_a_gap_without_a_word() -> None:
    frame = pl.DataFrame({"grade": [1.0, float("nan"), 2.0]})
    np.testing.assert_array_equal(from_frame(frame, classes={"grade": None}).targets()["grade"], [0, -1, 1])


@pytest.mark.parametrize("word", ["-1", "-1.0"])
def test_minus_one_among_class_names_is_declared(word: str) -> None:
    frame = pl.DataFrame({"mood": ["sad", "glad", word]})
    with pytest.raises(RowError, match=rf"--gap {word} .* --no-gap {word} .* in row 2"):
        from_frame(frame, classes={"mood": None})
    assert from_frame(frame, classes={"mood": None}, gaps=[word]).task("mood").outputs == ("glad", "sad")
    named = from_frame(frame, classes={"mood": None}, not_gaps=[word])
    assert named.task("mood").outputs == (word, "glad", "sad")
    assert from_frame(frame, classes={"mood": ["sad", "glad", word]}).task("mood").width == 3


@pytest.mark.parametrize("cells", [[0, -1, 2], ["0", "-1.0", "2"], [0.0, -1.0, 2.0]])
def test_minus_one_among_classes_that_are_numbers_is_declared(cells: list[Any]) -> None:
    frame = pl.DataFrame({"grade": cells})
    with pytest.raises(RowError, match=r"--gap -1 .* in row 1"):
        from_frame(frame, classes={"grade": None})
    gap = from_frame(frame, classes={"grade": None}, gaps=["-1"])
    np.testing.assert_array_equal(gap.targets()["grade"], [0, -1, 1])
    named = from_frame(frame, classes={"grade": None}, not_gaps=["-1"])
    assert named.task("grade").outputs == ("-1", "0", "2")


@given(
    cells=st.lists(st.sampled_from([*GAPS, "0", "1", "true", "False", "1.0", " yes ", "NO"]), min_size=1),
)
def test_every_spelling_of_a_label_and_a_gap(cells: list[str]) -> None:
    made = from_frame(pl.DataFrame({"x": cells}), labels={"labels": "x"}, gaps=GAPS)
    meaning = {"0": 0, "false": 0, "no": 0, "1": 1, "true": 1, "1.0": 1, "yes": 1}
    expected = [np.nan if c in GAPS else meaning.get(c.strip().lower()) for c in cells]
    np.testing.assert_array_equal(made.targets()["labels"][:, 0], np.asarray(expected, dtype=np.float32))


def test_mixed_decimals_and_words_are_refused_rather_than_guessed() -> None:
    with pytest.raises(RowError, match="found 'maybe' in row 1"):
        from_frame(pl.DataFrame({"x": ["1", "maybe"]}), labels={"labels": "x"})


def test_paths_below_the_root_become_relative(tmp_path: Path) -> None:
    frame = pl.DataFrame({"path": [f"{tmp_path}/a/1.jpg", "a/2.jpg", f"{tmp_path}/3.jpg"]})
    made = from_frame(frame, root=tmp_path)
    assert made.frame["path"].to_list() == ["a/1.jpg", "a/2.jpg", "3.jpg"]
    assert made.root == tmp_path
    with pytest.raises(UnsafePathError):
        from_frame(frame)


def test_rows_of_a_feature_file() -> None:
    made = from_frame(pl.DataFrame({"index": ["4", "2"]}), row="index")
    assert made.frame["row"].to_list() == [4, 2]
    with pytest.raises(RowError, match=r"a row of a feature file is a whole number, found '2\.5' in row 1"):
        from_frame(pl.DataFrame({"index": ["4", "2.5"]}), row="index")


@pytest.mark.parametrize("row", [None, "index"])
def test_a_number_that_is_a_gap_among_labels_is_a_row_all_the_same(row: str | None) -> None:
    frame = pl.DataFrame({"index": range(3), "AU1": [0, 1, 2]})
    made = from_frame(frame, row=row, labels={"units": "AU*"}, gaps=["2", "1.0"])
    assert made.frame["row"].to_list() == [0, 1, 2]
    assert made.frame["units.AU1"].to_list() == [0, None, None]


def test_texts() -> None:
    frame = pl.DataFrame({"query": [" keep  blanks ", "NA"], "intent": ["a", "b"]})
    made = from_frame(frame, text="query", classes={"intent": None})
    assert made.frame["text"].to_list() == [" keep  blanks ", "NA"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"group": "whom"}, UnknownNameError, "'whom'; did you mean 'who'"),
        ({"classes": {"expresion": None}}, UnknownNameError, "did you mean 'expression'"),
        ({"labels": {"units": ["FAU*"]}}, UnknownNameError, "unknown label column 'FAU\\*'"),
        ({"split": "who", "group": None}, DataFormatError, "line 2: a split is train, val, test.*found '1'"),
        ({"labels": {"x": ["box_x"]}}, DataFormatError, "line 2: column 'box_x': labels are 0, 1 or a gap"),
    ],
)
def test_mistakes(tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        faces(tmp_path, **options)


def test_a_column_cannot_serve_beside_one_of_that_name() -> None:
    frame = pl.DataFrame({"path": ["a"], "image": ["b"]})
    with pytest.raises(DuplicateNameError, match="'image' is to be the path, but there is a column 'path'"):
        from_frame(frame, path="image")


@pytest.mark.parametrize(
    "options",
    [
        {"classes": {"mood": None}, "columns": {"mood": "emotion"}},
        {"labels": {"units": "AU1"}},
    ],
    ids=["class task", "label"],
)
def test_a_task_never_replaces_a_column_that_it_is_not_made_of(options: dict[str, Any]) -> None:
    frame = pl.DataFrame({"mood": ["x", "y"], "emotion": ["sad", "glad"], "AU1": [0, 1], "units.AU1": [1, 0]})
    with pytest.raises(DuplicateNameError, match=r"would replace column '(mood|units\.AU1)'"):
        from_frame(frame, **options)


def test_columns_of_tasks_may_change_places() -> None:
    frame = pl.DataFrame({"mood": ["x", "y"], "emotion": ["sad", "glad"]})
    made = from_frame(
        frame, classes={"mood": None, "emotion": None}, columns={"mood": "emotion", "emotion": "mood"}
    )
    assert made.task("mood").outputs == ("glad", "sad")
    assert made.frame["emotion"].to_list() == ["x", "y"]


def test_a_column_for_a_task_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="unknown class task 'moood'; did you mean 'mood'"):
        from_frame(pl.DataFrame({"mood": ["x", "y"]}), classes={"mood": None}, columns={"moood": "mood"})


def test_no_rows() -> None:
    with pytest.raises(EmptyDataError):
        from_frame(pl.DataFrame({"path": []}))


def test_line_numbers_count_quoted_line_ends(tmp_path: Path) -> None:
    text = 'text,mood\n"two\nlines",good\n\nplain,bad\nplain,ugly\n'
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataFormatError, match=r"t\.csv, line 6: .*'ugly'"):
        from_csv(tmp_path / "t.csv", classes={"mood": ["good", "bad"]})


LINES = st.lists(st.sampled_from(["1,0", "0,1", "1,", ",0", ",", '"",""', ""]), min_size=1, max_size=12)


@given(lines=LINES, before=st.sampled_from(["", "\n", "\r\n\n"]), end=st.sampled_from(["\n", "\r\n"]))
@SHARED_FOLDER
def test_counted_rows_are_those_of_a_table_of_features(
    tmp_path: Path, lines: list[str], before: str, end: str
) -> None:
    """Labels lie on the row of a feature file that their line is, whatever lines are empty."""
    file = tmp_path / "t.csv"
    file.write_text(before + end.join(["AU1,AU2", *lines, ""]), newline="")
    features = read_features(file).cast(pl.Int8, strict=False)
    if not any(lines):
        with pytest.raises(EmptyDataError):
            from_csv(file, labels={"units": "AU*"})
        return
    made = from_csv(file, labels={"units": "AU*"}).frame
    assert len(made) == max(row for row, line in enumerate(lines, 1) if line)
    assert made["row"].to_list() == list(range(len(made)))
    for column in ("AU1", "AU2"):
        assert made[f"units.{column}"].to_list() == features[column].to_list()[: len(made)]


@given(lines=LINES, counted=st.booleans())
@SHARED_FOLDER
def test_a_message_names_the_line_whatever_lines_before_it_are_empty(
    tmp_path: Path, lines: list[str], counted: bool
) -> None:
    file = tmp_path / "t.csv"
    file.write_text("\n".join([("AU1,AU2" if counted else "path,AU2"), *lines, "1,maybe", ""]))
    with pytest.raises(DataFormatError, match=rf"line {len(lines) + 2}: .*found 'maybe'"):
        from_csv(file, labels={"units": ["AU2"]})


def test_a_quoted_cell_without_text_is_no_empty_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text\n""\n\nhello\n')
    assert read_table(tmp_path / "t.csv")["text"].to_list() == ["", "hello"]
    (tmp_path / "t.csv").write_text('text,mood\n"",""\n,\nhello,ugly\n')
    with pytest.raises(DataFormatError, match=r"line 4: .*'ugly'"):
        from_csv(tmp_path / "t.csv", classes={"mood": ["good", "bad"]})


def test_gzip_and_tabs(tmp_path: Path) -> None:
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(b"text\tmood\nwell, well\tgood\nno\tbad\n"))
    made = from_csv(tmp_path / "t.tsv.gz", separator="\t", classes={"mood": None})
    assert made.frame["text"].to_list() == ["well, well", "no"]
    assert made.name == "t"


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9]], ids=["other", "cut"]
)
def test_damaged_gzip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(DataFormatError, match="not a gzipped file"):
        read_table(tmp_path / "t.csv.gz")


def test_one_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path\na\n\nb\n")
    assert read_table(tmp_path / "t.csv")["path"].to_list() == ["a", "b"]


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="found nothing"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(MissingDataError, match="found a folder"):
        read_table(tmp_path)


def test_old_line_ends_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\rc,d\r")
    with pytest.raises(ConcordError, match=r"t\.csv"):
        read_table(tmp_path / "t.csv")


WORDS = [word for word in GAPS if word]


@given(st.data())
def test_a_spelling_of_a_gap_may_be_a_name(data: Any) -> None:
    words = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, unique_by=str.lower))
    cells = [*words, "happy", "sad", ""]
    frame = pl.DataFrame({"kind": cells, "group": cells})
    kept = data.draw(st.lists(st.sampled_from(words), unique=True))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        manifest = from_frame(frame, "m", classes={"kind": None}, not_gaps=kept)
    text = " ".join(str(one.message) for one in told if "read as gaps" in str(one.message))
    for word in words:
        for purpose in ("class column 'kind'", "group column 'group'"):
            assert (f"1 cell {word!r} of {purpose}" in text) == (word not in kept)
    expected = [cell if cell in (*kept, "happy", "sad") else None for cell in cells]
    assert manifest.frame["kind"].cast(pl.String).to_list() == expected
    assert manifest.frame["group"].cast(pl.String).to_list() == expected
