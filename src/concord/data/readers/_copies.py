"""Copies of data sets that other people made: images in class folders, labels in a CSV file next to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from concord.data.paths import IMAGE_ENDINGS
from concord.data.readers._files import tell
from concord.data.readers._lists import images_below
from concord.data.readers._text import Lines
from concord.errors import DataFormatError


def by_name(root: Path, folder: Path) -> dict[str, str]:
    """Paths relative to root of all images below a folder, by the name of the file.

    Raises:
        DataFormatError: Two images of one name.
    """
    found: dict[str, str] = {}
    for path in images_below(root, folder, IMAGE_ENDINGS):
        name = path.rpartition("/")[2]
        if name in found:
            raise DataFormatError(
                f"{folder}: expected each image once, found {found[name]!r} and {path!r}, of which the table "
                "means one"
            )
        found[name] = path
    return found


def tell_other_folders(title: str, lines: Lines, paths: pl.Series, folders: pl.Series) -> None:
    """Say how many images lie in the folder of another class than the table gives; the table counts.

    Args:
        title: The data set.
        lines: Lines of the table.
        paths: Path of each line's image.
        folders: Name of the folder that each line's class would have.
    """
    lying = paths.str.extract(r"([^/]+)/[^/]+$")
    other = (lying.str.to_lowercase() != folders.str.to_lowercase()).fill_null(False)
    if other.any():
        tell(
            f"{title}: {int(other.sum()):,} of {len(paths):,} images lie in the folder of another class than "
            f"{lines.path.name} gives, the first {paths.filter(other)[0]!r}; the table counts"
        )


def tell_without_row(title: str, table: Path, there: Iterable[str], named: Iterable[str]) -> None:
    """Say how many images the table does not name; they are left out."""
    bare = sorted(set(there) - set(named))
    if bare:
        tell(f"{title}: {len(bare):,} images have no row in {table} and are left out, the first {bare[0]!r}")
