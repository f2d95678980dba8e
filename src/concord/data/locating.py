"""Which column of a table probably says where its samples are."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

FILE_NAME = r"\.[A-Za-z][A-Za-z0-9]{1,4}$"
"""How a path ends that names a file."""

PATH_NAMES = frozenset(
    ("file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
)
ROW_NAMES = frozenset(("row", "rows", "index", "idx", "row_id", "sample", "id", "unnamed: 0", ""))
MOST = 0.9
"""Share of the cells that must look alike."""

WORDS = 3
"""Blanks in the usual cell from which on a column holds texts."""

LOOKED_AT = 10_000


def likely_locator(frame: pl.DataFrame, taken: Collection[str] = ()) -> tuple[str, str] | None:
    """The purpose ("path", "text" or "row") and name of the column that probably says where a sample is.

    Paths end like files, or are called so; rows are distinct whole numbers under a usual name; texts have
    several words. Paths come first, then texts, for a number of a row is often there as well.

    Args:
        frame: The table, cells as text or of any type.
        taken: Columns that are something else.

    Returns:
        None where no column looks like one.
    """
    columns = [
        column.head(LOOKED_AT).cast(pl.String).drop_nulls() for column in frame if column.name not in taken
    ]
    for purpose, fits in (("path", _are_paths), ("text", _are_texts), ("row", _are_rows)):
        for column in columns:
            if len(column) and fits(column):
                return purpose, column.name
    return None


def _are_paths(column: pl.Series) -> bool:
    named = column.name.strip().lower() in PATH_NAMES and not _are_numbers(column)
    return named or float(column.str.contains(FILE_NAME).mean() or 0) >= MOST  # type: ignore[arg-type]


def _are_texts(column: pl.Series) -> bool:
    blanks = column.str.strip_chars().str.count_matches(r"\s+")
    return float(blanks.median() or 0) >= WORDS and column.n_unique() > len(column) / 2  # type: ignore[arg-type]


def _are_rows(column: pl.Series) -> bool:
    named = column.name.strip().lower() in ROW_NAMES
    return named and column.str.contains(r"^\d+$").all() and column.n_unique() == len(column)


def _are_numbers(column: pl.Series) -> bool:
    return column.cast(pl.Float64, strict=False).null_count() == 0
