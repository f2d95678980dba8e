"""Parquet files, which polars reads only after they were read once without harm.

On some damaged files polars ends the process, which no code in it can catch. So a file that this process has
neither written nor read before is first read by a process of its own, which may end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from concord.errors import DataFormatError
from concord.files import check_unpacked, most_unpacked

CELL = 4
"""Bytes that a cell takes at least, on average, once it is read."""

MARK = b"PAR1"
"""How a Parquet file begins and ends."""

PROBE = Path(__file__).with_name("parquet_probe.py")

_harmless: set[tuple[int, ...]] = set()


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file to read from, whose cells would fit into memory; to be called inside `polars_errors`.

    Raises:
        DataFormatError: Damaged, or far more cells than the file can hold.
    """
    check_parquet(path)
    scan = pl.scan_parquet(path, glob=False)
    cells = int(scan.select(pl.len()).collect().item()) * len(scan.collect_schema())
    check_unpacked(path, path.stat().st_size, CELL * cells)
    return scan


def parquet_metadata(path: Path) -> dict[str, str]:
    """The metadata of a Parquet file; to be called inside `polars_errors`.

    Raises:
        DataFormatError: Damaged.
    """
    check_parquet(path)
    return pl.read_parquet_metadata(path)


def check_parquet(path: Path) -> None:
    """Refuse a file that polars cannot read, or that would end this process.

    Raises:
        OSError: No such file, or one that cannot be read.
        DataFormatError: Not a Parquet file, or a damaged one; names it.
    """
    mark = _mark(path)
    if mark in _harmless:
        return
    _check_frame(path)
    _probe(path)
    if _mark(path) == mark:
        _harmless.add(mark)


def note_written(path: Path) -> None:
    """Remember a file as one that this process wrote, and need not probe.

    The clock that file systems take times from moves on every few milliseconds: a change right after the
    writing would leave size and time as they are. So the file gets the time of a finer clock.
    """
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    if path.stat().st_mtime_ns == now:
        _harmless.add(_mark(path))


def _mark(path: Path) -> tuple[int, ...]:
    """What changes when a file is written again, and stays when it is renamed."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _check_frame(path: Path) -> None:
    """Check the marks at both ends, and the length of the metadata, which needs no other process."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 12:
            raise DataFormatError(f"{path}: not a Parquet file ({size} bytes)")
        file.seek(0)
        head = file.read(4)
        file.seek(-8, os.SEEK_END)
        footer, tail = int.from_bytes(file.read(4), "little"), file.read(4)
    if head != MARK or tail != MARK:
        raise DataFormatError(f"{path}: not a Parquet file, or a truncated one (no PAR1 at both ends)")
    if footer > size - 12:
        raise DataFormatError(f"{path}: a damaged Parquet file (metadata of {footer:,} bytes in {size:,})")


def _probe(path: Path) -> None:
    most = most_unpacked(path.stat().st_size) // CELL
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and a file of this package
            [sys.executable, "-P", str(PROBE), str(path.absolute()), str(most)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{path} cannot be checked: no process was to be had ({error})") from error
    try:
        refused = json.loads(done.stdout)
    except ValueError:
        raise DataFormatError(
            f"{path}: a damaged Parquet file: reading it ended a process (exit status {done.returncode})"
        ) from None
    if refused is not None:
        reason = (refused.splitlines() or ["damaged"])[0]
        raise DataFormatError(f"{path}: not a Parquet file ({reason:.300})")
