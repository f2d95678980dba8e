"""Pictures that a data set holds in a table, written once to an archive whose members a manifest names."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from concord.errors import MissingDataError


def cache_folder(given: str | Path | None) -> Path:
    """The folder of archives: the given one, or the user's cache folder."""
    return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concord")


def digest_of(files: Iterable[Path]) -> str:
    """A short digest of the contents of some files, in order."""
    whole = hashlib.blake2b(digest_size=8)
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "blake2b").digest())
    return whole.hexdigest()


class PictureArchive:
    """An archive of pictures that appears when it is complete; a context for writing it.

    Args:
        path: The .zip file; where it is there, nothing is written.
        title: The data set, for messages.

    Raises:
        MissingDataError: Its folder cannot be written to.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.wanted = path, not path.is_file()
        self.part = path.with_name(f"{path.name}.{os.getpid()}.part")
        self.file: zipfile.ZipFile | None = None
        if not self.wanted:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = zipfile.ZipFile(self.part, "w", zipfile.ZIP_STORED)
        except OSError as error:
            raise MissingDataError(
                f"{title}: expected a folder to write the pictures to, found {path.parent} ({error}); "
                "give cache=FOLDER"
            ) from error

    def add(self, name: str, data: bytes) -> None:
        """Add a picture, where the archive is being written."""
        if self.file is not None:
            self.file.writestr(name, data)

    def __enter__(self) -> PictureArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is None:
            return
        self.file.close()
        if kind is None:
            self.part.replace(self.path)
        else:
            self.part.unlink(missing_ok=True)
