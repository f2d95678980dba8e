"""Tables that polars reads: errors, panics and what unpacks to too much, in one line with the file's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from concord.errors import DataFormatError
from concord.files import check_unpacked

CELL = 4
"""Bytes that a cell takes at least, on average, once it is read."""


@contextmanager
def polars_errors(path: Path, expected: str) -> Iterator[None]:
    """What polars raises on a file inside as one line with the file's name.

    Args:
        path: The file.
        expected: What it should be, for the message.

    Raises:
        DataFormatError: Any error or panic of polars, or of the system.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataFormatError(f"{path}: not {expected} ({reason:.300})") from error


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file to read from, whose cells would fit into memory; to be called inside `polars_errors`.

    Raises:
        DataFormatError: Far more cells than the file can hold.
    """
    scan = pl.scan_parquet(path, glob=False)
    cells = int(scan.select(pl.len()).collect().item()) * len(scan.collect_schema())
    check_unpacked(path, path.stat().st_size, CELL * cells)
    return scan
