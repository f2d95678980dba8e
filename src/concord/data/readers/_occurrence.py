"""Occurrence files of BP4D and BP4D+: `AUCoding/AU_OCC/F001_T1.csv`, one row a frame, one column a unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from concord.data.readers._faces import unit_column
from concord.data.readers._files import entries, find_folder, listing, numbered
from concord.data.readers._text import Lines, read_table, require_columns
from concord.errors import DataFormatError, MissingDataError

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
    offset: int,
) -> pl.DataFrame:
    """All occurrence files below `AUCoding/AU_OCC`.

    Args:
        root: Folder of the data set.
        title: The data set, for messages.
        home: Where one gets the data, for messages.
        units: Action units to read.
        tasks: The elicitation tasks that the set codes, as T1.
        images: Folder of the images, which lie in `SUBJECT/TASK` below it.
        offset: What to add to a frame number to get its image's.

    Returns:
        Columns `path`, `group` (subject), `elicitation` (task), `frame` and one a unit.

    Raises:
        MissingDataError: No such folder, or no files in it.
        DataFormatError: A file name or line of another form.
    """
    folder = find_folder(root, ["AUCoding/AU_OCC", "AU_OCC"], title, home)
    names = entries(folder, ".csv")
    if not names:
        raise MissingDataError(
            f"{title}: expected files as F001_T1.csv, found {listing(folder)}; get the data from {home}"
        )
    parts = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match["task"] not in tasks:
            raise DataFormatError(
                f"{folder / name}: expected a name as F001_T1.csv with a task of {', '.join(tasks)}"
            )
        frame = read_occurrences(folder / name, units)
        inner = "/".join(part for part in (images.strip("/"), match["subject"], match["task"]) if part != ".")
        paths = _image_paths(root, inner, frame["frame"], offset)
        parts.append(
            frame.select(
                paths,
                pl.lit(match["subject"]).alias("group"),
                pl.lit(match["task"]).alias("elicitation"),
                pl.all(),
            )
        )
    return pl.concat(parts)


def read_occurrences(path: Path, units: Sequence[int]) -> pl.DataFrame:
    """Frames and units of one file, whose header is `0,1,2,4,...`: column 0 is the frame; 9 is unknown.

    Raises:
        DataFormatError: A header without a unit, or a row of another form.
    """
    names, lines = read_table(path)
    require_columns(path, names, ["0", *map(str, units)])
    fields = lines.fields(names, ",")
    columns = [frame_numbers(lines, fields["0"]).alias("frame")]
    for unit in units:
        codes = lines.codes(fields[str(unit)], _CODES, f"a code of AU{unit}", pl.Int8)
        columns.append(codes.alias(unit_column(unit)))
    return pl.DataFrame(columns)


def frame_numbers(lines: Lines, values: pl.Series) -> pl.Series:
    """Frame numbers, which ascend.

    Raises:
        DataFormatError: No number, or one that is not above that of the line before.
    """
    frame = lines.integers(values, "a frame number", 0)
    lines.require((frame.diff() > 0).fill_null(True), "frames in ascending order", values)
    return frame


def _image_paths(root: Path, folder: str, frames: pl.Series, offset: int) -> pl.Series:
    """Paths of frames, however their images' numbers are padded; unpadded where there is no image."""
    there = numbered(root / folder)
    names = (there.get(frame + offset, f"{frame + offset}.jpg") for frame in frames)
    return pl.Series("path", [f"{folder}/{name}" for name in names], dtype=pl.String)
