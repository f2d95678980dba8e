"""Strict reading of annotation files: a correct read or an error with file and line, nothing between.

Readers of data sets take their text through `read_lines`: byte order mark and CRLF are understood, NUL and
other control bytes, broken encodings and blank lines between annotations are refused. `Lines` then parses
all lines at once and names the first line that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from concord.errors import DataFormatError, EmptyDataError, MissingDataError

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of one text file, without line ends and without blanks around them.

    Args:
        path: The file, for messages.
        number: Line numbers in the file, from 1.
        text: One string a line.
        complete: Whether the last line ended with a line end or a blank. Where it did not, the file may have
            been cut in its last word.
    """

    path: Path
    number: pl.Series
    text: pl.Series
    complete: bool = True

    def __len__(self) -> int:
        return len(self.text)

    def error(self, index: int, expected: str, found: str | None = None) -> DataFormatError:
        """The error for the line at an index from 0: what was `expected`, what was `found` (the line)."""
        shown = _short(self.text[index] if found is None else found)
        return DataFormatError(f"{self.path}, line {self.number[index]}: expected {expected}, found {shown}")

    def require(self, fits: pl.Series, expected: str, found: pl.Series | None = None) -> None:
        """Raise for the first line where `fits` is false or null.

        Args:
            fits: Boolean, one value a line.
            expected: What the line should hold, for the message.
            found: Strings to show in place of the whole line.

        Raises:
            DataFormatError: A line does not fit.
        """
        bad = ~fits.fill_null(False)
        if bad.any():
            index = bad.arg_max() or 0
            raise self.error(index, expected, None if found is None else str(found[index]))

    def split_header(self) -> tuple[str, Lines]:
        """The first line, and the lines after it; of a file from `read_lines`, which has one."""
        return str(self.text[0]), self.slice(1)

    def slice(self, start: int, length: int | None = None) -> Lines:
        """Lines from an index from 0 on, with their numbers in the file."""
        return Lines(
            self.path, self.number.slice(start, length), self.text.slice(start, length), self.complete
        )

    def match(self, pattern: str, expected: str) -> pl.DataFrame:
        """Named groups of a regular expression that each line must match as a whole, as string columns.

        Args:
            pattern: In the syntax of Rust's regex crate (no look-around), with groups `(?<name>...)`.
            expected: The form of a line in words, for the message.

        Returns:
            One row per line, one column per group; a group without a match is null.

        Raises:
            DataFormatError: A line does not match.
        """
        whole = f"^(?:{pattern})$"
        self.require(self.text.str.contains(whole), expected)
        return self.text.str.extract_groups(whole).struct.unnest()

    def fields(self, names: Sequence[str], separator: str | None = None, more: bool = False) -> pl.DataFrame:
        """Fields of each line as string columns, without blanks around them.

        Args:
            names: Column names, one a field.
            separator: One character; None stands for any run of blanks.
            more: Whether lines may have more fields, which are left out.

        Raises:
            DataFormatError: A line with another number of fields.
        """
        text, mark = self.text, separator or " "
        if separator is None:
            text = text.str.replace_all(r"\s+", " ")
        count = text.str.count_matches(mark, literal=True) + 1
        wanted = f"{len(names)} fields separated by {_NAMES.get(mark, repr(mark))}"
        if more:
            self.require(count >= len(names), f"at least {wanted}")
        else:
            self.require(count == len(names), wanted)
        columns = text.str.split_exact(mark, len(names)).struct.unnest().to_dict(as_series=True).values()
        kept = [column.str.strip_chars() for column in list(columns)[: len(names)]]
        return pl.DataFrame([column.alias(name) for column, name in zip(kept, names, strict=True)])

    def codes(self, values: pl.Series, table: Mapping[str, Any], what: str, dtype: Any = None) -> pl.Series:
        """What each string of `values` stands for, by exact spelling.

        Exact spelling refuses `05` and `1.0` for a code `5` or `1`: they come from lines that ran together
        or from columns of another meaning.

        Args:
            values: Strings, one a line.
            table: Meaning of each spelling; None is a gap.
            what: What the code is, for the message.
            dtype: Polars type of the result, if it cannot be told from the table.

        Raises:
            DataFormatError: A spelling that the table does not have.
        """
        known = list(table)
        expected = f"{what} ({', '.join(known[:16])}{', ...' if len(known) > 16 else ''})"
        self.require(values.is_in(known), expected, values)
        return values.replace_strict(known, list(table.values()), return_dtype=dtype)

    def integers(
        self, values: pl.Series, what: str, low: int | None = None, high: int | None = None
    ) -> pl.Series:
        """Whole numbers in decimal, without sign or zeros in front: Int64.

        Raises:
            DataFormatError: No such number, or one outside low .. high.
        """
        bounds = (
            f" in {low} .. {high}" if high is not None else f" of at least {low}" if low is not None else ""
        )
        expected = f"{what}, a whole number{bounds}"
        self.require(values.str.contains(r"^(0|-?[1-9][0-9]{0,17})$"), expected, values)
        numbers = values.cast(pl.Int64)
        if low is not None:
            self.require(numbers >= low, expected, values)
        if high is not None:
            self.require(numbers <= high, expected, values)
        return numbers

    def floats(self, values: pl.Series, what: str, low: float, high: float) -> pl.Series:
        """Finite decimal numbers: Float64.

        Raises:
            DataFormatError: No number, or one outside low .. high.
        """
        expected = f"{what}, a number in {low:g} .. {high:g}"
        self.require(
            values.str.contains(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"), expected, values
        )
        numbers = values.cast(pl.Float64)
        self.require((numbers >= low) & (numbers <= high), expected, values)
        return numbers

    def distinct(self, values: pl.Series, what: str) -> None:
        """Raise for the first line that repeats a value of an earlier one.

        Raises:
            DataFormatError: A value occurs twice.
        """
        self.require(values.is_first_distinct(), f"each {what} once", values)

    def require_end(self, open_ended: bool = True) -> None:
        """Raise if the file stops inside its last line, where a cut would leave another valid value.

        Args:
            open_ended: Whether the last value could be the beginning of a longer one.

        Raises:
            DataFormatError: The last line has no line end.
        """
        if open_ended and len(self) and not self.complete:
            raise DataFormatError(
                f"{self.path}, line {self.number[-1]}: expected a line end after the last entry, found the "
                f"end of the file, so that the entry may be cut; if it is complete, add a line end"
            )


def read_lines(path: Path, encoding: str = "utf-8") -> Lines:
    """Read a text file whose every line is an annotation (or a header).

    A byte order mark, CRLF line ends, blanks around lines and blank lines at the end are understood.

    Args:
        path: The file.
        encoding: Of the text; the byte order mark of UTF-8 is always understood.

    Raises:
        MissingDataError: No such file.
        DataFormatError: NUL or another control byte, bytes that are no text, a blank line between others, or
            no line at all: an empty file is what a download that failed leaves.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _no_file(path) from error
    result, filled = _parse(path, data, encoding)
    if not len(result):
        raise DataFormatError(f"{path}, line 1: expected annotations, found an empty file")
    result.require(filled, "an annotation", result.text)
    return result


def read_blocks(path: Path, encoding: str = "utf-8", size: int = 1 << 24) -> Iterator[Lines]:
    """Read a text file in consecutive parts of whole lines, for files too large to hold; as `read_lines`.

    Args:
        path: The file.
        encoding: Of the text, one in which a line end is one byte.
        size: About how many bytes a part has.

    Yields:
        Parts that together are what `read_lines` gives, none of them empty; no part of an empty file.

    Raises:
        MissingDataError: No such file.
        DataFormatError: As `read_lines`, when the part with the fault is reached.
    """
    before, blank = 0, None
    for data in _whole_lines(path, size):
        block, filled = _parse(path, data, encoding, before)
        if len(block) and blank is not None:
            raise blank.error(0, "an annotation")
        block.require(filled, "an annotation", block.text)
        before += data.count(b"\n")
        if blank is None and len(block) < data.count(b"\n"):
            number = before - data.count(b"\n") + len(block) + 1
            blank = Lines(path, pl.Series([number]), pl.Series([""]))
        if len(block):
            yield block


def _whole_lines(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(size):
                yield data + file.readline() if not data.endswith(b"\n") else data
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise _no_file(path) from error


def _no_file(path: Path) -> MissingDataError:
    return MissingDataError(f"{path}: expected a text file, found none; is the data set complete?")


def _parse(path: Path, data: bytes, encoding: str, before: int = 0) -> tuple[Lines, pl.Series]:
    """Lines up to the last that is not blank, and which of them are not blank."""
    text = _decode(path, data, encoding, before)
    lines = pl.Series("text", [text], dtype=pl.String).str.split("\n").explode().str.strip_chars()
    lines = lines.fill_null("")
    filled = lines != ""
    last = len(lines) - (filled.reverse().arg_max() or 0) if filled.any() else 0
    number = pl.int_range(before + 1, before + last + 1, eager=True, dtype=pl.UInt32).alias("number")
    complete = text == "" or text[-1].isspace()
    return Lines(path, number, lines.slice(0, last), complete), filled.slice(0, last)


def read_table(path: Path, separator: str = ",") -> tuple[list[str], Lines]:
    """Header names and the lines below of a delimited file without quoting.

    Raises:
        MissingDataError: No such file.
        EmptyDataError: A header and nothing below.
        DataFormatError: As `read_lines`, or a name that occurs twice in the header.
    """
    header, lines = read_lines(path).split_header()
    names = [name.strip() for name in header.split(separator)]
    for name in names:
        if names.count(name) > 1:
            raise DataFormatError(f"{path}, line 1: expected distinct column names, found {name!r} twice")
    if not len(lines):
        raise EmptyDataError(f"{path}: expected annotations below the header, found none")
    return names, lines


def require_columns(path: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    """Raise unless all `expected` names are among the `found` column names of line 1.

    Raises:
        DataFormatError: A column is missing.
    """
    names = list(found)
    for name in expected:
        if name not in names:
            raise DataFormatError(
                f"{path}, line 1: expected a column {name!r}, found {_short(','.join(names))}"
            )


def _decode(path: Path, data: bytes, encoding: str, before: int = 0) -> str:
    """The text of some lines, of which `before` others lie in front in the file."""
    if not before and data.startswith(_UTF16_BOMS):
        raise DataFormatError(
            f"{path}, line 1: expected {encoding} text, found UTF-16; save the file as UTF-8"
        )
    if not before:
        data = data.removeprefix(_UTF8_BOM)
    if control := _CONTROL.search(data):
        byte = control.group()[0]
        kind = "a NUL byte" if byte == 0 else f"the control byte 0x{byte:02x}"
        raise DataFormatError(
            f"{path}, line {before + _line_at(data, control.start())}: expected text, found {kind}"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = before + _line_at(data, error.start)
        found = f"the byte 0x{data[error.start]:02x}"
        raise DataFormatError(f"{path}, line {line}: expected {encoding} text, found {found}") from error
    if (position := text.find("\ufeff")) >= 0:
        line = before + text.count("\n", 0, position) + 1
        raise DataFormatError(f"{path}, line {line}: expected text, found a byte order mark inside the file")
    text = text.replace("\r\n", "\n")
    if (position := text.find("\r")) >= 0:
        line = before + text.count("\n", 0, position) + 1
        raise DataFormatError(f"{path}, line {line}: expected LF or CRLF line ends, found a lone CR")
    return text


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


_NAMES = {" ": "blanks", "\t": "tabs", ",": "commas"}
