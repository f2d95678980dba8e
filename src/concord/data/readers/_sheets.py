"""Spreadsheets read like text files: one line per row, with its number."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.readers._text import Lines
from concord.errors import DataFormatError, EmptyDataError, MissingExtraError

BETWEEN = "\t"
"""What stands between the cells of a row in the text of its line."""


def read_sheet(path: Path) -> Lines:
    """The first sheet of a .xlsx file: cells as text, whole numbers without a decimal point.

    Raises:
        MissingExtraError: openpyxl is not installed.
        DataFormatError: Not such a file, a formula without a value, or an empty row between others.
        EmptyDataError: No cell at all.
    """
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise MissingExtraError(f"{path} needs openpyxl: pip install concord-mtl[xlsx] ({error})") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = [[_cell(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError, IndexError) as error:
        raise DataFormatError(
            f"{path}: expected a .xlsx file, found one that cannot be read ({error})"
        ) from error
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise EmptyDataError(f"{path}: expected rows, found an empty sheet")
    width = max(number for row in rows for number, cell in enumerate(row, 1) if cell)
    text = pl.Series("text", [BETWEEN.join(row[:width]) for row in rows], dtype=pl.String)
    lines = Lines(path, pl.int_range(1, len(rows) + 1, eager=True, dtype=pl.UInt32).alias("number"), text)
    lines.require(text.str.contains(r"[^\t]"), "a row with cells")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(str(value).split())
