"""Folders and files of a data set: where they should be, and which are there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import UNSAFE_PATH
from concord.data.paths import is_clutter
from concord.errors import (
    ConcordWarning,
    DataFormatError,
    MissingDataError,
    RangeError,
    UnknownNameError,
    UnsafePathError,
)

Missing = Literal["drop", "keep", "error"]
"""What to do with an annotation whose image is not there: leave the row out, keep it, or raise."""

_SHOWN = 12


def find_folder(root: Path, choices: Sequence[str], title: str, home: str) -> Path:
    """The first of some folders below the root that exists.

    Args:
        root: Where the user says that the data set lies.
        choices: Paths relative to root, of which the data set has one.
        title: The data set, for the message.
        home: Where one gets the data, for the message.

    Raises:
        MissingDataError: None is there; the message lists what is, and says where one gets the data.
    """
    for choice in choices:
        if (root / choice).is_dir():
            return root / choice
    raise not_found(root, f"the folder {_either(choices)}", choices, title, home)


def find_file(root: Path, choices: Sequence[str], title: str, home: str) -> Path:
    """The first of some files below the root that exists; as `find_folder`.

    Raises:
        MissingDataError: None is there.
    """
    for choice in choices:
        if (root / choice).is_file():
            return root / choice
    raise not_found(root, f"the file {_either(choices)}", choices, title, home)


def _either(choices: Sequence[str]) -> str:
    return " or ".join(f"{choice!r}" for choice in choices)


class ElsewhereError(MissingDataError):
    """What was looked for lies in another folder than the one named.

    Args:
        message: For the user.
        folder: The folder that should have been named.
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


def tell(message: str) -> None:
    """Say how a data set was read, where that is not the layout it was published in."""
    warnings.warn(message, ConcordWarning, stacklevel=4)


def not_found(root: Path, expected: str, choices: Sequence[str], title: str, home: str) -> MissingDataError:
    """The error for a data set of which none of some files or folders is there.

    Args:
        root: The folder named by the user.
        expected: What was looked for, in words.
        choices: Paths relative to root, or patterns, of which the data set has one.
        title: The data set.
        home: Where one gets the data.

    Returns:
        An `ElsewhereError` where one of the choices lies one folder up or down, which the message then names.
    """
    nearest = (root / choices[0]).parent
    while nearest != root and not nearest.is_dir():
        nearest = nearest.parent
    message = f"{title}: expected {expected} in {root}, found {listing(nearest)}"
    places = _one_folder_off(root, choices)
    if places:
        lies = " and ".join(f"'{place}'" for place in places)
        message += f"; it lies in {lies}: give that folder"
        return ElsewhereError(message, places[0]) if len(places) == 1 else MissingDataError(message)
    return MissingDataError(f"{message}{packed_inside(root)}; get the data from {home}")


def _one_folder_off(root: Path, choices: Sequence[str]) -> list[Path]:
    """Folders just below the root in which the first choice is that is anywhere; or the one above."""
    if not root.is_dir():
        return []
    folders = [root / name for name in entries(root) if (root / name).is_dir()]
    inside = [folder for folder in folders[:_MOST_FOLDERS] if _holds(folder, choices)]
    above = root.absolute().parent
    return inside or [above] * _holds(above, choices)


def _holds(folder: Path, choices: Sequence[str]) -> bool:
    return any(next(folder.glob(choice), None) is not None for choice in choices)


def packed_inside(folder: Path) -> str:
    """Archives in a folder, in words that follow a message; empty where there is none."""
    if not folder.is_dir():
        return ""
    found = [name for name in entries(folder) if name.lower().endswith(_ARCHIVES)]
    return f"; unpack {', '.join(found[:3])} there first" if found else ""


_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".rar", ".7z", ".gz")
_MOST_FOLDERS = 50


def listing(folder: Path) -> str:
    """What a folder holds, in words for an error message."""
    if not folder.exists():
        return f"that {folder} does not exist"
    if not folder.is_dir():
        return f"that {folder} is no folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return f"that {folder} is empty"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} in {folder}"


def keep_present(frame: pl.DataFrame, root: Path, missing: Missing, column: str = "path") -> pl.DataFrame:
    """Treat the rows whose image is not there as the user asks.

    Each folder is listed once, so that a million images cost no million look-ups.

    Args:
        frame: With a String column of paths relative to root, with POSIX slashes.
        root: Root of the data set.
        missing: "drop" leaves such rows out with a `ConcordWarning`, "keep" asks nothing of the disk, "error"
            raises.
        column: Name of the path column.

    Raises:
        UnsafePathError: A path that is absolute or climbs out of the root.
        MissingDataError: An image is missing and `missing` is "error"; or every one is and it is "drop".
        UnknownNameError: Another value of `missing`.
    """
    check_choice("value of missing", missing, ("drop", "keep", "error"))
    paths = frame[column]
    unsafe = paths.filter(paths.str.contains(UNSAFE_PATH))
    if len(unsafe):
        raise UnsafePathError(f"expected paths below {root}, found {unsafe[0]!r} in the annotations")
    if missing == "keep" or frame.is_empty():
        return frame
    there = paths.is_in(_files_below(root, paths).implode())
    if missing == "error" and not there.all():
        lost = paths.filter(~there)
        raise MissingDataError(
            f"expected an image for each annotation in {root}, found {len(lost)} of {len(paths)} without, "
            f"the first {lost[0]!r}; missing='drop' leaves them out"
        )
    if not there.any():
        raise MissingDataError(
            f"expected images in {root}, found none of {len(paths)}, the first {paths[0]!r}"
            f"{_where_instead(root, str(paths[0]))}; missing='keep' lists annotations without images"
        )
    if not there.all():
        lost = paths.filter(~there)
        warnings.warn(
            f"{len(lost):,} of {len(paths):,} annotated images are not in {root} and are left out, the first "
            f"{lost[0]!r}{_splits_lost(frame, there)}; missing='error' refuses, missing='keep' lists them",
            ConcordWarning,
            stacklevel=2,
        )
    return frame.filter(there)


def _splits_lost(frame: pl.DataFrame, there: pl.Series) -> str:
    """Which splits have no image at all, for a message."""
    if "split" not in frame.columns:
        return ""
    lost = sorted(set(frame["split"].drop_nulls()) - set(frame["split"].filter(there).drop_nulls()))
    return f", and with them all of split {' and '.join(lost)}" if lost else ""


def _where_instead(root: Path, path: str) -> str:
    """Where an image of the same name lies, or an archive that may hold it; in words for a message."""
    name = path.rpartition("/")[2]
    for place, inner, files in islice(os.walk(root), _MOST_WALKED):
        inner[:] = sorted(folder for folder in inner if not is_clutter(folder))
        if name in files:
            found = (Path(place) / name).relative_to(root).as_posix()
            return f"; one of this name is {found!r}: give its folder, by the reader's images= if it has one"
    folders = [root, *(root / parent for parent in Path(path).parents if parent != Path(path))]
    return next((hint for folder in folders if (hint := packed_inside(folder))), "")


_MOST_WALKED = 5000


def entries(folder: Path, suffix: str = "") -> list[str]:
    """Names of the entries of a folder that end in `suffix`, sorted, without clutter."""
    return sorted(name for name in os.listdir(folder) if name.endswith(suffix) and not is_clutter(name))


def numbered(folder: Path) -> dict[int, str]:
    """File names of a folder by the number that is their stem, whether padded with zeros or not.

    Raises:
        DataFormatError: Two files of one number.
    """
    found: dict[int, str] = {}
    if not folder.is_dir():
        return found
    for name in entries(folder):
        stem = name.partition(".")[0]
        if stem.isascii() and stem.isdigit():
            if int(stem) in found:
                raise DataFormatError(
                    f"{folder}: expected one image a frame, found both {found[int(stem)]} and {name}"
                )
            found[int(stem)] = name
    return found


def _files_below(root: Path, paths: pl.Series) -> pl.Series:
    folders = paths.str.replace(r"/?[^/]*$", "").unique()
    found: list[pl.Series] = [pl.Series([], dtype=pl.String)]
    for folder in folders:
        place = root / folder
        if place.is_dir():
            names = pl.Series(os.listdir(place), dtype=pl.String)
            found.append(pl.select((pl.lit(f"{folder}/" if folder else "") + names).alias("path"))["path"])
    return pl.concat(found)


def check_choice(kind: str, value: object, known: Sequence[object]) -> None:
    """Raise unless an option has one of its known values.

    Raises:
        UnknownNameError: A text that is none of them; the message offers the nearest.
        RangeError: A number that is none of them.
    """
    if value in known:
        return
    if isinstance(value, str):
        raise UnknownNameError.of(kind, value, known)
    raise RangeError(f"{kind}: expected one of {', '.join(map(repr, known))}, found {value!r}")
