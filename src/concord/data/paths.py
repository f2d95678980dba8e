"""Opening files under a data root, and nothing else.

Paths come from annotation files that somebody else wrote. One that leaves the root, by `..`, as an absolute
path or through a symbolic link, is refused; so is anything that is no regular file.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from concord.errors import MissingDataError, UnsafePathError

CLUTTER = ("__macosx", "@eadir", "thumbs.db", "desktop.ini")
"""What systems leave next to data, in lower case; so is every name that begins with a dot."""

IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"
)  # fmt: skip
"""Endings, in lower case, of files in folders that are taken for images."""

MOST_ENDINGS = 8
"""Endings that a message counts."""


def counted_endings(paths: Iterable[str | Path]) -> str:
    """How many files have which ending, the most frequent first: `3 .heic, 1 without an ending`."""
    counts = Counter(Path(path).suffix.lower() or "without an ending" for path in paths)
    order = sorted(counts, key=lambda ending: (-counts[ending], ending))  # whatever the order on disk
    told = ", ".join(f"{counts[ending]} {ending}" for ending in order[:MOST_ENDINGS])
    return told + ", ..." * (len(counts) > MOST_ENDINGS)


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is left there by a system and holds no data.

    `.DS_Store`, `._NAME.jpg`, `.ipynb_checkpoints`, `__MACOSX`, `@eaDir`, `Thumbs.db` and the like. Readers
    and prediction skip such names alike.
    """
    return name.startswith(".") or name.lower() in CLUTTER


def check_relative(path: str) -> tuple[str, ...]:
    """Parts of a path that stays below where it starts.

    Raises:
        UnsafePathError: A path that is absolute, contains `..`, backslashes or NUL, or is empty.
    """
    parts = tuple(path.split("/"))
    if not path or path[0] == "/" or ".." in parts or "\\" in path or "\0" in path or path[1:2] == ":":
        raise UnsafePathError(
            f"a path is relative to the data root, inside it, with forward slashes; found {path!r}"
        )
    return parts


class DataRoot:
    """A folder whose files are read by relative path; `photos.zip/a/1.jpg` is a member of `photos.zip`.

    Open archives and checked folders are kept, for each process its own: a worker must not share a
    file position with its parent.

    Args:
        root: The folder.
        max_bytes: Largest file that is read; for a member of an archive, by its size as the archive states
            it.

    Raises:
        MissingDataError: No such folder.
    """

    def __init__(self, root: str | Path, max_bytes: int = 2**30) -> None:
        self.root, self.max_bytes = os.path.realpath(root), max_bytes
        if not os.path.isdir(self.root):
            raise MissingDataError(f"no data folder at {root}")
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._folders: dict[str, str] = {}
        self._archives: dict[str, zipfile.ZipFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root, self.max_bytes = state["root"], state["max_bytes"]
        self._forget()

    def open(self, path: str) -> BytesIO:
        """The content of a file, or of a member of an archive, to read from.

        Raises:
            UnsafePathError: A path that leaves the root, is no regular file, or is too large.
            MissingDataError: No such file or member.
        """
        if self._process != os.getpid():
            self._forget()
        parts = check_relative(path)
        for depth, part in enumerate(parts[:-1], 1):
            if part[-4:].lower() == ".zip" and os.path.isfile(os.path.join(self.root, *parts[:depth])):
                return self._member("/".join(parts[:depth]), "/".join(parts[depth:]))
        # As a whole and unbuffered: decoders ask for a few bytes at a time.
        full, size = self._file(path)
        self._check_size(path, size)
        with open(full, "rb", buffering=0) as file:
            return BytesIO(file.read())

    def _file(self, path: str) -> tuple[str, int]:
        head, _, tail = path.rpartition("/")
        folder = self._folders.get(head)
        if folder is None:
            folder = self._folders[head] = self._inside(os.path.join(self.root, head), path)
        full = os.path.join(folder, tail)
        try:
            state = os.lstat(full)
            if stat.S_ISLNK(state.st_mode):
                full = self._inside(full, path)
                state = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingDataError(f"no file {path!r} in {self.root}") from None
        if not stat.S_ISREG(state.st_mode):
            raise UnsafePathError(f"{path!r} in {self.root} is no regular file")
        return full, state.st_size

    def _inside(self, full: str, path: str) -> str:
        real = os.path.realpath(full)
        if os.path.commonpath([self.root, real]) != self.root:
            raise UnsafePathError(f"{path!r} leads out of the data root {self.root} through a symbolic link")
        return real

    def _member(self, archive: str, member: str) -> BytesIO:
        if archive not in self._archives:
            self._archives[archive] = zipfile.ZipFile(self._file(archive)[0])
        file = self._archives[archive]
        # Some tools store members as `./NAME`; a manifest knows one spelling of a path.
        info = file.NameToInfo.get(member) or file.NameToInfo.get(f"./{member}")
        if info is None:
            raise MissingDataError(f"no member {member!r} in {archive!r} in {self.root}")
        self._check_size(f"{archive}/{member}", info.file_size)
        return BytesIO(file.read(info))

    def _check_size(self, path: str, size: int) -> None:
        if size > self.max_bytes:
            raise UnsafePathError(f"{path!r} holds {size:,} bytes, more than {self.max_bytes:,} are not read")
