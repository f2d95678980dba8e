"""GFT: groups of three strangers in conversation, 96 people, action units coded frame by frame.

Layout, of the release as csv files: `name,AU1,AU2,AU4,...,AU24,age,gender,race` in a header, one row per
frame, whose name is `001A/1.jpg`; images in `images/001A/1.jpg`. The files' names say the split where
they hold the word `train`, `val` or `test`. The layout of the first release (one file per person) is not
read.

Codes: 0 absent, 1 present; 9 and -1 are read as unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from concord.data.manifest import SPLITS, Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_column, unit_task
from concord.data.readers._files import Missing, entries, listing
from concord.data.readers._text import read_table, require_columns
from concord.errors import DataFormatError, MissingDataError

NAME = "gft"
TITLE = "GFT"
HOME = "https://osf.io/7wcyz/ (on request to its authors)"

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 23, 24)
"""The units that are coded."""

_CODES = {"0": 0, "1": 1, "9": None, "-1": None}
_PEOPLE = ("age", "gender", "race")


def read(
    root: Path,
    *,
    images: str = "images",
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read GFT.

    Args:
        root: Folder that holds the csv files.
        images: Folder of the images.
        missing: A row without an image: "drop" it, "keep" it, or "error".
        gaps: A row without annotation: "drop" it or "keep" it.

    Returns:
        A manifest with the task `action_units`, `split` (by the name of the csv file), `group` (the person),
        `frame`, and `age`, `gender` and `race` as they are written.

    Raises:
        MissingDataError: No csv files, or no images.
        DataFormatError: A header or row of another form; names file and line.
    """
    names = entries(root, ".csv")
    if not names:
        raise MissingDataError(
            f"{TITLE}: expected csv files, found {listing(root)}; get the data from {HOME}"
        )
    frame = pl.concat([_file_frame(root / name) for name in names])
    twice = frame["path"].filter(frame["path"].is_duplicated())
    if len(twice):
        raise DataFormatError(
            f"{root}: expected each image in one of {', '.join(names)}, found {twice[0]} twice"
        )
    frame = frame.with_columns(path=pl.lit(f"{images}/") + pl.col("path"))
    return face_manifest(frame, [unit_task(UNITS)], root, TITLE, missing=missing, gaps=gaps)


def _file_frame(path: Path) -> pl.DataFrame:
    names, lines = read_table(path)
    require_columns(path, names, ["name", *(f"AU{unit}" for unit in UNITS), *_PEOPLE])
    fields = lines.fields(names, ",")
    form = r"^(?:images/)?(?<path>(?<group>[0-9]{3}[A-Z])/(?<frame>[0-9]{1,9})\.jpg)$"
    lines.require(fields["name"].str.contains(form), "an image as 001A/1.jpg", fields["name"])
    lines.distinct(fields["name"], "image")
    words = re.split(r"[^a-z]+", path.stem.casefold())
    split = next((split for split in SPLITS if split in words), None)
    frame = fields["name"].str.extract_groups(form).struct.unnest()
    return frame.select(
        "path",
        pl.lit(split, dtype=pl.String).alias("split"),
        "group",
        pl.col("frame").cast(pl.Int64),
        *(
            lines.codes(fields[f"AU{unit}"], _CODES, f"a code of AU{unit}", pl.Int8).alias(unit_column(unit))
            for unit in UNITS
        ),
        *(fields[name] for name in _PEOPLE),
    )
