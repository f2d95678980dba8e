"""Files that are written whole or not at all: a full disk, a kill or a vanished folder costs no older file.

The content is written next to its place, flushed, and renamed. Until the rename that file is locked, so
that whoever writes to the same place next can tell what a killed process left from what a running one writes.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from concord.errors import OutputError
from concord.files.cells import guarded

_SHOWN = 40


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes its place at the end; after an error nothing has changed.

    Folders above it are made. A symbolic link is followed. Leftovers of killed writers to the same place are
    removed.

    Args:
        path: The place.

    Raises:
        OutputError: The place is a folder, a device or a file without the right to write, or the content
            could not be written; names the place.
    """
    check_place(path)
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part, lock = _begin(target)
    except OSError as error:
        raise OutputError.of(path, error) from error
    try:
        yield part
        flush(part)
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
        flush(target.parent)
    except OSError as error:
        raise OutputError.of(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink()
        os.close(lock)


def check_place(path: str | Path) -> None:
    """Refuse a place that no file can be written to.

    Raises:
        OutputError: A folder, a device, or a file without the right to write.
    """
    place = Path(path)
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise OutputError.of(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder; name a file to write to")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path} is a device, no regular file; name a file to write to")
    if not os.access(place, os.W_OK):
        raise OutputError(f"{path} may not be written to; choose another path, or change the rights on it")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: It cannot be written; names the file.
    """
    with whole(path) as part:
        part.write_bytes(content)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file at its place and flush it: for folders that nobody reads yet, which appear whole."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all.

    Raises:
        OutputError: It cannot be written, or is no Unicode (half of a surrogate pair); names the file.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise OutputError(f"cannot write {path}: {error.object[error.start]!r} is no character") from error
    write_bytes(path, content)


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells as CSV, whole or not at all; text in them is guarded, see `guarded`.

    Raises:
        OutputError: It cannot be written; names the file.
    """
    text = StringIO()
    for row in rows:
        csv.writer(text).writerow([guarded(cell) if isinstance(cell, str) else cell for cell in row])
    write_text(path, text.getvalue())


def _begin(target: Path) -> tuple[Path, int]:
    """An empty file next to a place, and the descriptor that holds its lock."""
    stem = f".{target.name[:_SHOWN]}."
    with _locked_folder(target.parent):
        for left in target.parent.iterdir():
            if left.name.startswith(stem) and left.name.endswith(".tmp"):
                _remove_abandoned(left)
        part = target.with_name(f"{stem}{uuid4().hex}.tmp")
        lock = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        _lock(lock)
    return part, lock


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Whoever makes a file here, or looks for abandoned ones, does so alone: a new file has no lock yet."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    if os.name != "posix":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(left: Path) -> None:
    """Remove what a killed writer left: the lock of a living one cannot be had."""
    with suppress(OSError):
        descriptor = os.open(left, os.O_RDWR)
        try:
            if _lock(descriptor):
                left.unlink()
        finally:
            os.close(descriptor)


def flush(place: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    if os.name != "posix" and place.is_dir():
        return
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
