"""Occurrence files of BP4D and BP4D+: `AUCoding/AU_OCC/F001_T1.csv`, one row per frame, one column per unit.

Frames count from 1. Images count from 0 in the release, so that frame N + 1 is image N (the user guide of
BP4D says so), and from 1 in the copies of the FERA 2015 challenge. Which it is shows in the folder of a
sequence: the release has an image 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from concord.data.readers._faces import unit_column
from concord.data.readers._files import entries, find_folder, listing, numbered, tell
from concord.data.readers._text import Lines, read_table, require_columns
from concord.errors import ConfigError, DataFormatError, MissingDataError

_NAME = re.compile(r"(?P<subject>[FM][0-9]{3})_(?P<task>T[0-9]{1,2})\.csv")
_CODES = {"0": 0, "1": 1, "9": None}


def read_sequences(
    root: Path,
    title: str,
    home: str,
    *,
    units: Sequence[int],
    tasks: Sequence[str],
    images: str,
    offset: int | None,
) -> pl.DataFrame:
    """All occurrence files below `AUCoding/AU_OCC`.

    Args:
        root: Folder of the data set.
        title: The data set, for messages.
        home: Where one gets the data, for messages.
        units: Action units to read.
        tasks: The elicitation tasks that the set codes, as T1.
        images: Folder of the images, which lie in `SUBJECT/TASK` below it.
        offset: What to add to a frame number to get its image's; None decides by the images.

    Returns:
        Columns `path`, `group` (subject), `elicitation` (task), `frame` and one a unit.

    Raises:
        MissingDataError: No such folder, or no files in it.
        DataFormatError: A file name or line of another form.
        ConfigError: No offset, and images that do not show from which number they count.
    """
    folder = find_folder(root, ["AUCoding/AU_OCC", "AU_OCC"], title, home)
    names = entries(folder, ".csv")
    if not names:
        raise MissingDataError(
            f"{title}: expected files as F001_T1.csv, found {listing(folder)}; get the data from {home}"
        )
    sequences = {name: _sequence(folder / name, tasks) for name in names}
    there = {
        inner: numbered(root / inner) for inner in (_place(images, *pair) for pair in sequences.values())
    }
    if offset is None:
        offset = _offset(there, title)
    parts = []
    for name, (subject, task) in sequences.items():
        frame = read_occurrences(folder / name, units, first=max(0, -offset))
        inner = _place(images, subject, task)
        labelled = [pl.lit(subject).alias("group"), pl.lit(task).alias("elicitation"), pl.all()]
        parts.append(frame.select(_image_paths(inner, there[inner], frame["frame"], offset), *labelled))
    return pl.concat(parts)


def _sequence(path: Path, tasks: Sequence[str]) -> tuple[str, str]:
    """Subject and task of a file."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["task"] not in tasks:
        raise DataFormatError(f"{path}: expected a name as F001_T1.csv with a task of {', '.join(tasks)}")
    return match["subject"], match["task"]


def _place(images: str, subject: str, task: str) -> str:
    return "/".join(part for part in (images.strip("/"), subject, task) if part != ".")


def _offset(there: Mapping[str, Mapping[int, str]], title: str) -> int:
    """What to add to a frame number, by the first image of every folder that holds any."""
    firsts = {inner: min(found) for inner, found in there.items() if found}
    unclear = [inner for inner, first in firsts.items() if first > 1]
    if unclear:
        raise ConfigError(
            f"{title}: expected an image 0 or 1 in each sequence, which says how images count, found "
            f"{firsts[unclear[0]]} as the first in {unclear[0]!r}; say offset=-1 (images from 0, as "
            "released) or offset=0 (images from 1)"
        )
    kinds = {first: inner for inner, first in firsts.items()}
    if len(kinds) > 1:
        raise ConfigError(
            f"{title}: expected images that count alike, found them from 0 in {kinds[0]!r} and from 1 in "
            f"{kinds[1]!r}; say offset=-1 or offset=0, with images= of one kind"
        )
    if not firsts:
        return 0
    first = min(kinds)
    shown = "frame N is image N - 1 (offset=-1)" if first == 0 else "frame N is image N (offset=0)"
    tell(f"{title}: images count from {first}, so that {shown}")
    return first - 1


def read_occurrences(path: Path, units: Sequence[int], first: int = 0) -> pl.DataFrame:
    """Frames and units of one file, whose header is `0,1,2,4,...`: column 0 is the frame; 9 is unknown.

    Args:
        path: The file.
        units: Action units to read.
        first: Lowest number that a frame can have.

    Raises:
        DataFormatError: A header without a unit, or a row of another form.
    """
    names, lines = read_table(path)
    require_columns(path, names, ["0", *map(str, units)])
    fields = lines.fields(names, ",")
    columns = [frame_numbers(lines, fields["0"], first).alias("frame")]
    for unit in units:
        codes = lines.codes(fields[str(unit)], _CODES, f"a code of AU{unit}", pl.Int8)
        columns.append(codes.alias(unit_column(unit)))
    return pl.DataFrame(columns)


def frame_numbers(lines: Lines, values: pl.Series, first: int = 0) -> pl.Series:
    """Frame numbers, which ascend from `first` or a later one.

    Raises:
        DataFormatError: No number, or one that is not above that of the line before.
    """
    frame = lines.integers(values, "a frame number", first)
    lines.require((frame.diff() > 0).fill_null(True), "frames in ascending order", values)
    return frame


def _image_paths(folder: str, there: Mapping[int, str], frames: pl.Series, offset: int) -> pl.Series:
    """Paths of frames, however their images' numbers are padded; unpadded where there is no image."""
    names = (there.get(frame + offset, f"{frame + offset}.jpg") for frame in frames)
    return pl.Series("path", [f"{folder}/{name}" for name in names], dtype=pl.String)
