"""Files to predict: which suffix is what, and images in folders as rows of a manifest."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from concord.data import IMAGE_ENDINGS, Manifest, counted_endings, is_clutter
from concord.errors import ConcordWarning, DataFormatError, EmptyDataError

ARRAYS = frozenset({".npy", ".npz"})
MANIFESTS = frozenset({".csv", ".parquet", ".pq"})


def is_image(path: Path) -> bool:
    """Whether a file is an image by its ending."""
    return path.suffix.lower() in IMAGE_ENDINGS


def is_utf8(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which no table holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def images_in(places: Sequence[Path]) -> tuple[Manifest, list[str]]:
    """The images of files and folders, below the folder that all lie in; and the paths to show.

    Raises:
        EmptyDataError: A folder without an image.
        DataFormatError: A file whose name is no text.
    """
    if len(places) == 1 and places[0].is_dir():
        alone = images_below(places[0])
        return alone, alone.frame["path"].to_list()
    shown: list[Path] = []
    real: list[Path] = []
    for place in places:
        names = images_below(place).frame["path"] if place.is_dir() else [""]
        shown += [place / name for name in names]
        # A link that was named is meant; one within a folder must not lead out of it.
        real += [place.resolve() / name for name in names]
    root = Path(os.path.commonpath([path.parent for path in real]))
    paths = _as_text(path.relative_to(root).as_posix() for path in real)
    return Manifest(pl.DataFrame({"path": paths}), (), root, places[0].stem), [p.as_posix() for p in shown]


def images_below(folder: Path) -> Manifest:
    """The images of a folder, at any depth, by name; a warning counts the files that are no images.

    Raises:
        EmptyDataError: None.
        DataFormatError: A file whose name is no text.
    """
    files = [path for path in _visible(folder) if path.is_file()]
    paths = sorted(_as_text(path.relative_to(folder).as_posix() for path in files if is_image(path)))
    passed_over = counted_endings(path for path in files if not is_image(path))
    if not paths:
        found = f", found {passed_over}" if passed_over else ""
        raise EmptyDataError(f"no image in {folder}{found}; known are {', '.join(IMAGE_ENDINGS)}")
    if passed_over:
        warnings.warn(
            f"{folder}: passed over are files with other endings than an image's: {passed_over}",
            ConcordWarning,
            stacklevel=2,
        )
    return Manifest(pl.DataFrame({"path": paths}), (), folder, folder.name)


def _as_text(paths: Iterable[str]) -> list[str]:
    """Paths that a table can hold: a name of bytes in another encoding is none."""
    listed = list(paths)
    for path in listed:
        if not is_utf8(path):
            raise DataFormatError(f"the file {path!a} has a name that UTF-8 cannot write; rename it")
    return listed


def _visible(folder: Path) -> Iterator[Path]:
    """Files below a folder, without what systems leave there."""
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not is_clutter(name)]
        yield from (Path(place, name) for name in files if not is_clutter(name))
