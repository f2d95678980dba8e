"""Tables of names and numbers in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from concord.errors import (
    DuplicateNameError,
    MissingDataError,
    TableFormatError,
)
from concord.files import unguarded

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TableFile:
    """A table as it stands in its file.

    Attributes:
        path: The file.
        name: The header of the first column.
        rows: Names of the rows.
        columns: Names of the columns, without the first one.
        cells: Shape (rows, columns), NaN where blank.
        lines: Line of the header, then of each row.
    """

    path: Path
    name: str
    rows: list[str]
    columns: list[str]
    cells: Array
    lines: list[int]

    def place(self, row: int | None) -> str:
        """File and line of a row, or of the header, for messages."""
        return f"{self.path}, line {self.lines[0 if row is None else row + 1]}"


def read_table(path: str | Path) -> TableFile:
    """Read a CSV file of names and numbers.

    Raises:
        MissingDataError: No such file.
        TableFormatError: Not such a file; the message names line and column.
        DuplicateNameError: A row or column that occurs twice.
    """
    path = Path(path)
    lines = _lines(path)
    header = [unguarded(name).strip() for name in lines[0][1]]
    columns = header[1:]
    if not columns:
        other = next((mark for mark in "\t|" if mark in header[0]), ";")
        raise TableFormatError(
            f"{path}, line {lines[0][0]}: only one column; is the separator {other!r}? It has to be a comma"
        )
    file = TableFile(
        path, header[0], [], columns, np.full((len(lines) - 1, len(columns)), np.nan), [n for n, _ in lines]
    )
    for i, (_, line) in enumerate(lines[1:]):
        if len(line) != len(header):
            raise TableFormatError(f"{file.place(i)}: {len(header)} columns expected, found {len(line)}")
        file.rows.append(unguarded(line[0]).strip())
        for j, cell in enumerate(line[1:]):
            if cell.strip():
                file.cells[i, j] = _number(cell, f"{file.place(i)}: {cell!r} in column {columns[j]!r}")
    _distinct("column", columns, [file.place(None)] * len(columns))
    _distinct("row", file.rows, [file.place(i) for i in range(len(file.rows))])
    return file


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not blank, by number: a header, and at least one row."""
    if not path.is_file():
        raise MissingDataError(f"no relation table at {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableFormatError(f"{path}: not a UTF-8 CSV file ({error})") from error
    if len(lines) < 2:
        raise TableFormatError(f"{path}: a header and at least one class row are needed")
    return lines


def _number(cell: str, place: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise TableFormatError(f"{place} is no number") from error
    if not np.isfinite(value):
        raise TableFormatError(f"{place}; leave a cell blank that nobody knows")
    return value


def _distinct(kind: str, names: Sequence[str], places: Sequence[str]) -> None:
    seen: set[str] = set()
    for name, place in zip(names, places, strict=True):
        if name in seen:
            raise DuplicateNameError(f"{place}: {kind} {name!r} occurs twice")
        seen.add(name)
