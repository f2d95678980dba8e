"""DISFA: 27 people watching videos, 12 action units coded in intensity, frame by frame.

Layout: `ActionUnit_Labels/SN001/SN001_au1.txt`, one line per frame, `frame,intensity`, intensity 0 to 5;
units 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26. The set ships videos, so that images lie where the user's own
extraction put them: the option `images` says how they are named.

Traps: "present" usually means an intensity of at least 2, but some publications take 1; a file may have
fewer lines than its subject's others (the missing frames are gaps here); frames count from 1, but many
extractions count images from 0 (`offset=-1`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_column, unit_task
from concord.data.readers._files import Missing, check_choice, entries, find_folder, listing
from concord.data.readers._text import read_lines
from concord.errors import ConfigError, MissingDataError

NAME = "disfa"
TITLE = "DISFA"
HOME = "http://mohammadmahoor.com/disfa/ (on request to its authors)"

UNITS = {12: (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26), 8: (1, 2, 4, 6, 9, 12, 25, 26)}
"""All units, and those of the usual comparison, by their number."""

PARTS = (
    ("SN002", "SN010", "SN001", "SN026", "SN027", "SN032", "SN030", "SN009", "SN016"),
    ("SN013", "SN018", "SN011", "SN028", "SN012", "SN006", "SN031", "SN021", "SN024"),
    ("SN003", "SN029", "SN023", "SN025", "SN008", "SN005", "SN007", "SN017", "SN004"),
)
"""The usual three parts, by subject."""


def read(
    root: Path,
    *,
    threshold: int = 2,
    units: Literal[12, 8] = 12,
    fold: Literal[0, 1, 2] | None = None,
    images: str = "Images/{subject}/{frame}.jpg",
    offset: int = 0,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read DISFA.

    Args:
        root: Folder that holds `ActionUnit_Labels`.
        threshold: Intensity from which a unit counts as present, 1 to 5.
        units: All 12 units, or the 8 of the usual comparison.
        fold: Which of the three usual parts is the test split, the others being train; None leaves the split
            open. Lists that number folds 1, 2, 3 test on parts 2, 1, 0.
        images: How images are named; `{subject}` is as SN001 and `{frame}` a number, which may be padded as
            `{frame:05d}`.
        offset: What to add to the frame number to get the image's: -1 where images count from 0.
        missing: A frame without an image: "drop" the row, "keep" it, or "error".
        gaps: A frame without annotation: "drop" the row or "keep" it.

    Returns:
        A manifest with the task `action_units`, `split`, `group` (the subject) and `frame` (from 1).

    Raises:
        MissingDataError: No label files, or no images.
        DataFormatError: A line that is no frame with an intensity; names file and line.
        ConfigError: A fold, and a subject that is in none of the parts; or `images` that cannot be filled in.
    """
    check_choice("threshold of DISFA", threshold, (1, 2, 3, 4, 5))
    check_choice("number of DISFA units", units, tuple(UNITS))
    check_choice("fold of DISFA", fold, (None, 0, 1, 2))
    folder = find_folder(root, ["ActionUnit_Labels"], TITLE, HOME)
    subjects = [name for name in entries(folder) if name.startswith("SN") and (folder / name).is_dir()]
    if not subjects:
        raise MissingDataError(
            f"{TITLE}: expected folders as SN001, found {listing(folder)}; get the data from {HOME}"
        )
    frame = pl.concat([_subject(folder / name, UNITS[units], threshold) for name in subjects])
    frame = frame.with_columns(
        _paths(frame, images, offset),
        pl.Series("split", [_split(s, fold) for s in frame["group"]], dtype=pl.String),
    )
    return face_manifest(frame, [unit_task(UNITS[units])], root, TITLE, missing=missing, gaps=gaps)


def _subject(folder: Path, units: tuple[int, ...], threshold: int) -> pl.DataFrame:
    frame: pl.DataFrame | None = None
    for unit in units:
        path = folder / f"{folder.name}_au{unit}.txt"
        part = _intensities(path).select(
            "frame", (pl.col("intensity") >= threshold).cast(pl.Int8).alias(unit_column(unit))
        )
        frame = part if frame is None else frame.join(part, on="frame", how="full", coalesce=True)
    assert frame is not None
    return frame.sort("frame").with_columns(group=pl.lit(folder.name))


def _intensities(path: Path) -> pl.DataFrame:
    lines = read_lines(path)
    fields = lines.fields(["frame", "intensity"], ",")
    frame = lines.integers(fields["frame"], "a frame number", 1)
    lines.require((frame.diff() > 0).fill_null(True), "frames in ascending order", fields["frame"])
    intensity = lines.codes(
        fields["intensity"], {str(level): level for level in range(6)}, "an intensity", pl.Int8
    )
    return pl.DataFrame([frame, intensity])


def _split(subject: str, fold: int | None) -> str | None:
    if fold is None:
        return None
    if not any(subject in part for part in PARTS):
        raise ConfigError(
            f"{TITLE}: expected subjects of the three usual parts, found {subject}; use fold=None"
        )
    return "test" if subject in PARTS[fold] else "train"


def _paths(frame: pl.DataFrame, images: str, offset: int) -> pl.Series:
    pairs = zip(frame["group"], frame["frame"], strict=True)
    try:
        return pl.Series(
            "path", [images.format(subject=s, frame=f + offset) for s, f in pairs], dtype=pl.String
        )
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"{TITLE}: expected images as 'Images/{{subject}}/{{frame:05d}}.jpg', found {images!r}"
        ) from error
