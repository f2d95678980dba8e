"""What lies on disk below a data root, compared with what a manifest names."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import polars as pl

from concord.data.paths import DataRoot
from concord.errors import MissingDataError

MEMBER = r"(?i)^(.*?\.zip)/(.+)$"
BLOCK = 1 << 20

EMPTY = blake2b(digest_size=16).hexdigest()
"""The digest of a file without content."""


def missing_files(root: Path, paths: pl.Series) -> list[str]:
    """Which of some paths are not there, in order; `photos.zip/1.jpg` is a member of `photos.zip`.

    Every folder is listed once, so that hundreds of thousands of files take seconds.

    Args:
        root: The data root.
        paths: Relative paths with forward slashes; nulls are passed over.

    Raises:
        MissingDataError: No such root.
    """
    if not root.is_dir():
        raise MissingDataError(
            f"expected the data root at {root}, found {'a file' if root.exists() else 'nothing'}"
        )
    distinct = pl.DataFrame({"path": paths}).drop_nulls().unique(maintain_order=True)
    parts = distinct.with_columns(
        archive=pl.col("path").str.extract(MEMBER, 1),
        folder=pl.col("path").str.extract(r"^(.*)/[^/]*$", 1).fill_null(""),
    )
    parts = parts.with_columns(home=pl.coalesce("archive", "folder"))
    there: list[str] = []
    for home in parts["home"].unique(maintain_order=True):
        prefix = f"{home}/" if home else ""
        there.extend(prefix + name for name in _listed(root / home))
    return distinct.filter(~pl.col("path").is_in(there))["path"].to_list()


def _listed(place: Path) -> Iterable[str]:
    """Names of files in a folder, or of members in an archive; none where there is neither."""
    if place.is_file() and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            return [name.removeprefix("./") for name in archive.namelist()]
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return [entry.name for entry in entries if entry.is_file()]


def content_digests(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """A digest of every file that is there, by path.

    Raises:
        UnsafePathError: A path that leaves the root.
    """
    folder, out = DataRoot(root), {}
    for path in paths:
        try:
            with folder.open(path) as file:
                digest = blake2b(digest_size=16)
                while block := file.read(BLOCK):
                    digest.update(block)
        except MissingDataError:
            continue
        out[path] = digest.hexdigest()
    return out
