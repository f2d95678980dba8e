"""Annotation files as they get damaged, and the property of all readers: a named error, or a true label."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import assume
from hypothesis import strategies as st

from concord.data.manifest import Manifest
from concord.errors import ConcordError, DataFormatError

Truth = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Damage:
    """A damaged copy of a file: what was done, to which line, and what the cut left of it."""

    kind: str
    line: int
    data: bytes
    left: str = ""


KINDS = (
    "bom",
    "crlf",
    "nul",
    "cut line",
    "cut file",
    "blank",
    "blank line",
    "blanks at ends",
    "dropped field",
    "extra field",
    "joined lines",
)


@st.composite
def damages(draw: st.DrawFn, data: bytes, separator: str) -> Damage:
    kind = draw(st.sampled_from(KINDS))
    lines = data.decode().splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    words = lines[at].split(separator)
    if kind == "bom":
        return Damage(kind, 1, b"\xef\xbb\xbf" + data)
    if kind == "crlf":
        return Damage(kind, 1, data.replace(b"\n", b"\r\n"))
    if kind == "nul":
        column = draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:column] + "\0" + lines[at][column:]
    elif kind == "cut line":
        column = draw(st.integers(0, max(0, len(lines[at]) - 1)))
        lines[at] = lines[at][:column]
    elif kind == "cut file":
        size = draw(st.integers(0, len(data) - 1) | st.integers(max(0, len(data) - 6), len(data) - 1))
        return Damage(kind, data[:size].count(b"\n") + 1, data[:size])
    elif kind == "blank":
        column = draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:column] + draw(st.sampled_from(" \t ")) + lines[at][column:]
    elif kind == "blank line":
        lines.insert(at, draw(st.sampled_from(["", " ", "\t"])))
    elif kind == "blanks at ends":
        lines = [f" {line} \t" if separator != "\t" else f" {line}  " for line in lines]
    elif kind == "dropped field":
        del words[draw(st.integers(0, len(words) - 1))]
        lines[at] = separator.join(words)
    elif kind == "extra field":
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(["0", "1", "", "x", "-1"])))
        lines[at] = separator.join(words)
    elif kind == "joined lines":
        assume(at + 1 < len(lines))
        lines[at : at + 2] = [lines[at] + lines[at + 1]]
    left = lines[at] if at < len(lines) else ""
    return Damage(kind, at + 1, ("\n".join(lines) + "\n").encode(), left)


def truth_of(manifest: Manifest, columns: Iterable[str]) -> Truth:
    """Values of some columns by path."""
    names = list(columns)
    rows = manifest.frame.select("path", *names).rows()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def check_damage(
    read: Callable[[], Manifest],
    path: Path,
    damage: Damage,
    truth: Truth,
    *,
    whole: Callable[[str], bool] = lambda line: False,
    may_open: bool = False,
) -> None:
    """Read with one file damaged: a named error with file and line, or nothing that is not in the truth.

    Args:
        read: Reads the tree.
        path: The file to damage; it is restored.
        damage: The damage.
        truth: Values of the undamaged tree by path.
        whole: Whether a shortened line is a complete line of the format, which looks like a true one.
        may_open: Whether a label may become a gap (where the format allows a file to end early).
    """
    if damage.kind in ("cut line", "dropped field"):
        assume(not whole(damage.left))
    original = path.read_bytes()
    path.write_bytes(damage.data)
    try:
        manifest = read()
    except ConcordError as error:
        _check_error(error, path, damage)
        return
    finally:
        path.write_bytes(original)
    for where, values in truth_of(manifest, next(iter(truth.values()))).items():
        assert where in truth, (damage, where)
        for name, value in values.items():
            assert value == truth[where][name] or (may_open and value is None), (damage, where, name)
    if damage.kind in ("bom", "crlf", "blanks at ends"):
        assert len(manifest) == len(truth)


def _check_error(error: ConcordError, path: Path, damage: Damage) -> None:
    message = str(error)
    assert "\n" not in message
    if not isinstance(error, DataFormatError):  # nothing is left
        assert damage.kind in ("cut file", "cut line", "dropped field", "joined lines"), (damage, message)
        return
    place = re.match(rf"{re.escape(str(path))}, line (\d+): expected ", message)
    assert place, message
    assert abs(int(place[1]) - damage.line) <= 1, (damage, message)


def permuted(data: bytes, order: list[int], separator: str = ",") -> bytes:
    """The same table with its columns in another order."""
    rows = [line.split(separator) for line in data.decode().splitlines()]
    return "".join(separator.join(row[i] for i in order) + "\n" for row in rows).encode()


def touch(root: Path, paths: Iterable[str]) -> None:
    """Write empty files in the place of images."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write(path: Path, lines: Iterable[str]) -> Path:
    """Write lines with LF ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path
