"""Single files: whole or not there at all, flushed to the disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import uuid4


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and flush it to the disk."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        write_flushed(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
