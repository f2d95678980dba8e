"""Tables that polars reads: its errors and panics in one line with the file's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from concord.errors import DataFormatError


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
