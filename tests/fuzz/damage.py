"""Damage to files and folders, and what may come of it."""

from __future__ import annotations

import os
import shutil

from hypothesis import strategies as st

from concord.errors import ConcordError

ODD = st.sampled_from(
    [
        "",
        "[",
        "{",
        "}",
        ":",
        "!!int ''",
        "&a",
        "*a",
        ".inf",
        ".nan",
        "-1",
        "9" * 400,
        "null",
        "\x00",
        "'",
        "\t",
        "é",
        "\ud7ff",
    ]
)


def attempt(read):
    """Read; whether it was refused. Anything but a refusal in a line fails the test."""
    try:
        read()
    except ConcordError as error:
        refusal = str(error)
    else:
        return False
    assert 0 < len(refusal) < 2000
    return True


@st.composite
def damaged(draw, content):
    """Bytes with some exchanged, cut out, doubled, or gone at the end."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        kind = draw(st.sampled_from(["exchange", "cut", "double", "end", "insert"]))
        length = draw(st.integers(1, 24))
        if kind == "exchange" and out:
            out[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del out[at : at + length]
        elif kind == "double":
            out[at:at] = out[at : at + length]
        elif kind == "end":
            del out[at:]
        else:
            out[at:at] = draw(ODD).encode()
    return bytes(out)


def damage_folder(data, folder):
    """Change, rename, add, remove, exchange or replace some files of a folder."""
    for _ in range(data.draw(st.integers(1, 2))):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            return
        path, other = data.draw(st.sampled_from(paths)), data.draw(st.sampled_from(paths))
        kind = data.draw(st.sampled_from(["bytes", "rename", "add", "remove", "exchange", "folder", "link"]))
        if kind == "bytes":
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        elif kind == "rename":
            path.rename(path.with_name(data.draw(st.sampled_from(["a", ".x.tmp", "config.json", "..x"]))))
        elif kind == "add":
            shutil.copy(path, path.with_name(f"{path.name}.more"))
        elif kind == "remove":
            path.unlink()
        elif kind == "exchange":
            content = path.read_bytes()
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        else:
            path.unlink()
            path.mkdir() if kind == "folder" else os.symlink(path.name, path)
