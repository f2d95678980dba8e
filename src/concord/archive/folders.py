"""Folders of tensors and plain data under one digest, each described by a record in JSON.

The record holds the plain data, the size and SHA-256 of every other file by its name, and its own digest:
the SHA-256 of the record with zeros in place of that digest. An archive is written into a folder of its own
inside, which is renamed when it is whole; where the process ends before all files are in their places, it is
read from there. Nothing that the digests do not cover is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from concord.archive.owners import OWNER, Claim, owned
from concord.archive.state import read_tensors
from concord.errors import CheckpointError
from concord.files import flush, write_flushed

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["checkpoint", "estimator", "hub", "run"]
"""What a folder holds."""


@dataclass(frozen=True)
class Format:
    """How a kind of folder is written.

    Attributes:
        version: The only one that is read and written; `concord upgrade` brings earlier ones to it.
        record: Name of its record.
        holds: What the folder holds, in words.
    """

    version: int
    record: str
    holds: str


FORMATS: Mapping[Kind, Format] = {
    "checkpoint": Format(2, "checkpoint.json", "checkpoint"),
    "estimator": Format(4, "model.json", "saved estimator"),
    "hub": Format(2, "config.json", "model"),
    "run": Format(2, "run.json", "finished training"),
}
"""Every format of a folder, numbered in this place alone."""

STAGED = ".saving.tmp"
"""Where a folder's files are written before they take their places."""

SAVED = ".saved.tmp"
"""What the former is called once it is whole: the archive, until its files have taken their places."""

_NO_DIGEST = "0" * 64
_OWN = ("kind", "format", "files", "digest")


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


# -- writing -----------------------------------------------------------------------------------------


def write_archive(folder: Path, kind: Kind, content: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write files and the record that covers them into a folder that nobody reads yet.

    Args:
        folder: Exists.
        kind: What it holds.
        content: Plain data, as `pack` gives it.
        files: Content by name; a name may have folders before it, with `/` between.

    Raises:
        OSError: A file cannot be written.
        CheckpointError: Content that JSON cannot hold.
    """
    assert not set(content) & set(_OWN)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flushed(path, data)
    manifest = {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in files.items()}
    write_flushed(folder / FORMATS[kind].record, _record(kind, content, manifest))
    for below in {folder, *((folder / name).parent for name in files)}:
        flush(below)


def _record(kind: Kind, content: Mapping[str, Any], manifest: Mapping[str, Any]) -> bytes:
    record = {
        "kind": kind, "format": FORMATS[kind].version, **content, "files": manifest, "digest": _NO_DIGEST,
    }  # fmt: skip
    try:
        text = json.dumps(record, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the {FORMATS[kind].holds} cannot be saved: {error}") from error
    if text.count(_NO_DIGEST) != 1:
        raise CheckpointError(f"the {FORMATS[kind].holds} cannot be saved: a text in it is {_NO_DIGEST}")
    return text.replace(_NO_DIGEST, sha256(text.encode())).encode()


def save_archive(
    folder: Path,
    kind: Kind,
    content: Mapping[str, Any],
    files: Mapping[str, bytes],
    *,
    uncovered: Mapping[str, bytes] | None = None,
    owner: Claim | None = None,
    fresh: bool = False,
) -> None:
    """Write an archive into a folder that may hold other files, or an earlier archive, which is replaced.

    All files are written and flushed in a folder of their own, and its renaming is the moment of the saving:
    before it the folder holds what it held, after it the new archive, whenever the process ends.

    Args:
        folder: Made where it does not exist.
        kind: What it holds.
        content: Plain data, as `pack` gives it.
        files: Content by name; see `write_archive`.
        uncovered: Further files, for people: nothing reads them, so no digest covers them.
        owner: The claim on the folder, where this process holds it already.
        fresh: Whether the folder must be empty, but for what a process left that was ended while it saved.

    Raises:
        CheckpointError: It cannot be written, is not empty, or another process writes to it; names the
            folder and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(folder, kind, error) from error
    with owned(folder, owner):
        if fresh and not _is_left_over(folder, kind, set(files) | set(uncovered or {})):
            raise CheckpointError(f"{folder} is not empty; give a new folder")
        _save(folder, kind, content, files, uncovered or {})


def _is_left_over(folder: Path, kind: Kind, files: set[str]) -> bool:
    """Whether a folder holds nothing, or parts of an archive whose record was never written."""
    tops = {name.split("/")[0] for name in files} | {STAGED, OWNER}
    return all(
        path.name in tops or (path.name.startswith(f".{OWNER}.") and path.name.endswith(".tmp"))
        for path in folder.iterdir()
    )


def _save(
    folder: Path,
    kind: Kind,
    content: Mapping[str, Any],
    files: Mapping[str, bytes],
    uncovered: Mapping[str, bytes],
) -> None:
    staged = folder / STAGED
    try:
        if staged.exists():  # of a process that was ended while it saved
            shutil.rmtree(staged)
        if (folder / SAVED).exists():
            _take_places(folder, kind)
        staged.mkdir()
        write_archive(staged, kind, content, files)
        for name, data in uncovered.items():
            write_flushed(staged / name, data)
        os.rename(staged, folder / SAVED)
        flush(folder)
        _take_places(folder, kind)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise _unwritten(folder, kind, error) from error


def _take_places(folder: Path, kind: Kind) -> None:
    """Put the files of a saved archive into their places, the record last; till then it stays whole."""
    saved, staged = folder / SAVED, folder / STAGED
    staged.mkdir()
    for path in sorted(saved.iterdir(), key=lambda path: path.name == FORMATS[kind].record):
        copy = staged / path.name
        if path.is_dir():
            shutil.copytree(path, copy, copy_function=_link)
        else:
            _link(path, copy)
        _put(copy, folder / path.name)
    flush(folder)
    shutil.rmtree(staged)  # what is left in it was replaced
    os.rename(saved, staged)  # from now on the files in their places count
    shutil.rmtree(staged, ignore_errors=True)


def _link(path: str | Path, copy: str | Path) -> None:
    try:
        os.link(path, copy)
    except OSError:  # a file system without links
        shutil.copyfile(path, copy)
        flush(Path(copy))


def _unwritten(folder: Path, kind: Kind, error: OSError) -> CheckpointError:
    reason = (error.strerror or str(error)).lower()
    return CheckpointError(f"cannot write the {FORMATS[kind].holds} to {folder}: {reason}")


def _put(path: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():  # a folder takes the place of an empty one only
        os.rename(place, path.with_name(f"{path.name}.old"))
    os.replace(path, place)


# -- reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """A folder whose record is what was written.

    Attributes:
        folder: Where it lies.
        content: The plain data.
        files: Size and SHA-256 of every covered file, by name.
    """

    folder: Path
    content: dict[str, Any]
    files: Mapping[str, Mapping[str, Any]]

    def verify(self) -> None:
        """Check every covered file, and that no covered folder holds further ones.

        Raises:
            CheckpointError: A file is missing, truncated, changed or was added; names it.
        """
        for name in self.files:
            self._check(name)
        for top in {PurePosixPath(name).parts[0] for name in self.files if "/" in name}:
            for path in sorted((self.folder / top).rglob("*")):
                if not path.is_dir() and path.relative_to(self.folder).as_posix() not in self.files:
                    raise CheckpointError(f"{path} was added after the folder was written; remove it")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a covered file.

        Raises:
            CheckpointError: It is not covered, or not what was written.
        """
        if name not in self.files:
            raise CheckpointError(f"{self.folder} was written without {name}")
        self._check(name)
        return read_tensors(self.folder / name)

    def content_of(self, name: str) -> bytes | None:
        """The bytes of a covered file, or None where the archive was written without it.

        Raises:
            CheckpointError: They are not what was written.
        """
        if name not in self.files:
            return None
        self._check(name)
        return (self.folder / name).read_bytes()

    def part(self, name: str) -> Path | None:
        """A folder of covered files, or None where the archive was written without it."""
        return self.folder / name if any(file.startswith(f"{name}/") for file in self.files) else None

    def _check(self, name: str) -> None:
        path, expected = self.folder / name, self.files[name]
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                word = "truncated" if size < expected["bytes"] else "longer than it was written"
                raise CheckpointError(f"{path} is {word}: {expected['bytes']} bytes expected, found {size}")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing") from None
        except CheckpointError:
            raise
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
        if digest != expected["sha256"]:
            raise CheckpointError(f"{path} was changed after it was written: its SHA-256 is another")


def holds(folder: Path, kind: Kind) -> bool:
    """Whether a folder has the record of a kind, be it a damaged one.

    Records share names with other files: a training's `config.json` is its config, and no record of a model.
    """
    name = FORMATS[kind].record
    path = folder / SAVED / name if (folder / SAVED / name).is_file() else folder / name
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(record, dict) or "format" in record


def read_archive(folder: Path, kind: Kind) -> Archive:
    """Read the record of a folder and check it by its digest; `Archive.verify` checks the other files.

    Raises:
        CheckpointError: No record, a damaged or changed one, or one of another format.
    """
    known = FORMATS[kind]
    if (folder / SAVED / known.record).is_file():  # a process was ended while the files took their places
        folder = folder / SAVED
    path = folder / known.record
    try:
        raw = path.read_bytes()
        record = json.loads(raw)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} holds no {known.holds}: it has no {known.record}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    _check_format(path, kind, record)
    digest = record.get("digest")
    if not _is_digest(digest) or sha256(raw.replace(digest.encode(), _NO_DIGEST.encode())) != digest:
        raise CheckpointError(f"{path} was changed after it was written: its digest does not fit")
    files = record["files"]
    if not isinstance(files, dict) or not all(_is_inside(name, entry) for name, entry in files.items()):
        raise CheckpointError(f"{path} lists files that lie outside its folder, or without size and SHA-256")
    return Archive(folder, {key: value for key, value in record.items() if key not in _OWN}, files)


def _check_format(path: Path, kind: Kind, record: Any) -> None:
    version = FORMATS[kind].version
    found = record.get("format") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(found, int) or isinstance(found, bool):
        raise CheckpointError(f"{path} is no record of a {FORMATS[kind].holds}")
    if 0 < found < version:
        raise CheckpointError(
            f"{path} has format {found}, this version reads {version}: `concord upgrade {path.parent}` "
            "turns it into that"
        )
    if found != version:
        raise CheckpointError(f"{path} has format {found}, this version reads {version}")
    if record.get("kind") != kind:
        raise CheckpointError(f"{path} is of another kind of folder: {record.get('kind')!r}, not {kind!r}")


def _is_inside(name: Any, entry: Any) -> bool:
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not set(name) & {"\\", "\0"}
        and not name.startswith("/")
        and ".." not in parts
        and isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and _is_digest(entry.get("sha256"))
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
