"""Strict reading of lines."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers._text import Lines, read_lines, read_table, require_columns
from concord.errors import DataFormatError, EmptyDataError, MissingDataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def lines_of(file: Path, text: str) -> Lines:
    file.write_bytes(text.encode())
    return read_lines(file)


WORDS = st.lists(st.text("abc,;.0129-+", min_size=1, max_size=8), min_size=1, max_size=6)


@given(words=WORDS, end=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), blanks=st.integers(0, 3))
def test_text_comes_back_whatever_the_ends(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], end: str, bom: bool, blanks: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "whatever.txt"
    text = "".join(f"{' ' * blanks}{word}{' ' * blanks}{end}" for word in words) + end * blanks
    file.write_bytes(b"\xef\xbb\xbf" * bom + text.encode())
    lines = read_lines(file)
    assert lines.text.to_list() == words
    assert lines.number.to_list() == list(range(1, len(words) + 1))
    assert lines.complete


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (b"a\nb\0\n", 2, "a NUL byte"),
        (b"a\nb\n\x07c\n", 3, "the control byte 0x07"),
        (b"a\n\xff\n", 2, "the byte 0xff"),
        (b"a\n\nb\n", 2, "''"),
        (b"\na\n", 1, "''"),
        (b"a\rb\n", 1, "a lone CR"),
        (b"a\n\xef\xbb\xbfb\n", 2, "a byte order mark inside the file"),
        (b"\xff\xfea\0", 1, "UTF-16"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(file: Path, data: bytes, line: int, found: str) -> None:
    file.write_bytes(data)
    with pytest.raises(DataFormatError) as info:
        read_lines(file)
    assert f"{file}, line {line}: expected " in str(info.value)
    assert found in str(info.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.txt: expected a text file"):
        read_lines(tmp_path / "none.txt")
    with pytest.raises(MissingDataError):
        read_lines(tmp_path)


def test_fields_are_counted_and_stripped(file: Path) -> None:
    lines = lines_of(file, "a , 1\nb,2\n")
    assert lines.fields(["name", "code"], ",").rows() == [("a", "1"), ("b", "2")]
    with pytest.raises(DataFormatError, match="line 1: expected 3 fields separated by commas"):
        lines.fields(["a", "b", "c"], ",")
    many = lines_of(file, "a  1\t2\nb 2 3 4\n")
    assert many.fields(["name", "code"], more=True).rows() == [("a", "1"), ("b", "2")]
    with pytest.raises(
        DataFormatError, match="line 2: expected 3 fields separated by blanks, found 'b 2 3 4'"
    ):
        many.fields(["a", "b", "c"])
    with pytest.raises(DataFormatError, match="line 1: expected at least 4 fields"):
        many.fields(["a", "b", "c", "d"], more=True)


def test_a_pattern_matches_whole_lines(file: Path) -> None:
    lines = lines_of(file, "a blazer  3\nb 12\n")
    fields = lines.match(r"(?<name>.*\S)\s+(?<kind>[0-9]+)", "a name and a kind")
    assert fields.rows() == [("a blazer", "3"), ("b", "12")]
    with pytest.raises(DataFormatError, match="line 2: expected a name and one digit, found 'b 12'"):
        lines.match(r"(?<name>.*\S)\s+(?<kind>[0-9])", "a name and one digit")


def test_codes_are_spelled_exactly(file: Path) -> None:
    lines = lines_of(file, "1\n-1\n")
    assert lines.codes(lines.text, {"1": "one", "-1": None}, "a code").to_list() == ["one", None]
    for wrong in ("01", "1.0", "+1", "1 1", "-"):
        spoiled = lines_of(file, f"1\n{wrong}\n")
        with pytest.raises(DataFormatError, match=r"line 2: expected a code \(1, -1\), found"):
            spoiled.codes(spoiled.text, {"1": "one", "-1": None}, "a code")


def test_numbers_have_bounds(file: Path) -> None:
    lines = lines_of(file, "7\n0\n12\n")
    assert lines.integers(lines.text, "a count").to_list() == [7, 0, 12]
    with pytest.raises(
        DataFormatError, match=r"line 2: expected a count, a whole number of at least 1, found '0'"
    ):
        lines.integers(lines.text, "a count", 1)
    with pytest.raises(
        DataFormatError, match=r"line 3: expected a count, a whole number in 0 \.\. 7, found '12'"
    ):
        lines.integers(lines.text, "a count", 0, 7)
    real = lines_of(file, "-0.5\n1e-3\n.25\n2.\n")
    assert real.floats(real.text, "x", -1, 2).to_list() == [-0.5, 1e-3, 0.25, 2.0]
    with pytest.raises(DataFormatError, match=r"line 4: expected x, a number in -1 \.\. 1, found '2\.'"):
        real.floats(real.text, "x", -1, 1)
    for wrong in ("nan", "inf", "0x1", "1,5", "--1", "e5"):
        with pytest.raises(DataFormatError, match="line 1: expected x"):
            (spoiled := lines_of(file, f"{wrong}\n")).floats(spoiled.text, "x", -9, 9)


def test_repeated_values_and_open_ends(file: Path) -> None:
    lines = lines_of(file, "a\nb\na")
    with pytest.raises(DataFormatError, match="line 3: expected each image once, found 'a'"):
        lines.distinct(lines.text, "image")
    with pytest.raises(DataFormatError, match="line 3: expected a line end after the last entry"):
        lines.require_end()
    lines.require_end(open_ended=False)
    lines_of(file, "a\nb ").require_end()


def test_tables_have_distinct_columns_and_rows(file: Path) -> None:
    file.write_text("a, b\n1,2\n")
    names, lines = read_table(file)
    assert names == ["a", "b"]
    assert lines.number.to_list() == [2]
    require_columns(file, names, ["b"])
    with pytest.raises(DataFormatError, match="line 1: expected a column 'c', found 'a,b'"):
        require_columns(file, names, ["c"])
    file.write_text("a,a\n1,2\n")
    with pytest.raises(DataFormatError, match="line 1: expected distinct column names, found 'a' twice"):
        read_table(file)
    file.write_text("a,b\n")
    with pytest.raises(EmptyDataError, match="expected annotations below the header"):
        read_table(file)
    file.write_text("")
    with pytest.raises(DataFormatError, match="line 1: expected annotations, found an empty file"):
        read_table(file)


def test_line_numbers_survive_slices(file: Path) -> None:
    lines = lines_of(file, "h\na\nb\nc\n").slice(1).slice(1, 2)
    assert lines.number.to_list() == [3, 4]
    with pytest.raises(DataFormatError, match="line 4: expected b, found 'c'"):
        lines.require(lines.text == "b", "b")
    assert "..." in str(lines_of(file, "x" * 200 + "\n").error(0, "less"))
    assert pl.Series(lines.text).to_list() == ["b", "c"]
