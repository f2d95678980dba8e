"""How much a file may unpack to, and how deep it may be nested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from concord.errors import DataFormatError

UNPACKED = 2**30
"""Bytes that any file may unpack to."""

RATIO = 200
"""More than that only if they are no more than so many times the bytes on the disk."""

TEXT = 2**28
"""Bytes of the largest file of JSON that is read."""


def most_unpacked(packed: int) -> int:
    """Bytes that a file of so many bytes may unpack to."""
    return max(UNPACKED, RATIO * packed)


def check_unpacked(path: object, packed: int, unpacked: int) -> None:
    """Refuse what is small on the disk and huge in memory.

    Args:
        path: Whose content, for the message.
        packed: Bytes on the disk.
        unpacked: Bytes in memory, as far as is known.

    Raises:
        DataFormatError: More than a GiB, and more than 200 times of what is on the disk.
    """
    if unpacked > most_unpacked(packed):
        raise DataFormatError(
            f"{path} takes {packed:,} bytes and unpacks to {unpacked:,}, more than {RATIO} times as "
            "many; store it uncompressed if it is what it seems"
        )


def parse_json(text: str, *, once: bool = False) -> Any:
    """Plain data from JSON.

    Args:
        text: The JSON.
        once: Whether a key that a mapping has twice is refused, as in what people write.

    Raises:
        ValueError: Not JSON, a number of thousands of digits, lists in lists beyond what can be read, or a
            key that is given twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once if once else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"key {key!r} is given twice")
        out[key] = value
    return out


def read_json(path: Path) -> Any:
    """Plain data from a file of JSON in UTF-8.

    Raises:
        FileNotFoundError: No such file.
        DataFormatError: A file that is none, too large, or cannot be read; names it.
    """
    try:
        size = path.stat().st_size
        if size > TEXT:
            raise DataFormatError(f"{path}: at most {TEXT:,} bytes of JSON are read, found {size:,}")
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path}: not text in UTF-8, byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataFormatError(f"{path}, line {error.lineno}: expected JSON ({error.msg})") from error
    except DataFormatError:
        raise
    except (ValueError, OSError) as error:
        raise DataFormatError(f"{path}: cannot be read ({error})") from error
