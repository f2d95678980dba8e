"""BP4D+: 140 people in ten tasks that elicit emotions, four tasks coded for action units.

Layout: `AUCoding/AU_OCC/F001_T1.csv` as in BP4D, for the tasks T1, T6, T7 and T8 and 34 units;
`AUCoding/AU_INT/AU06/F001_T1_AU06.csv`, `frame,intensity` without a header, intensity 0 to 5, 9 unknown;
images `F001/T1/0001.jpg`, whose numbers may be padded with zeros.

Traps: the sequences of F082, and F041 in T7, are missing; the task is what was to be elicited, not an
expression label; images may count from 0 where frames count from 1: as in BP4D, the images decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_task
from concord.data.readers._files import Missing, entries, find_folder
from concord.data.readers._occurrence import frame_numbers, read_sequences
from concord.data.readers._text import read_lines
from concord.errors import DataFormatError

NAME = "bp4d-plus"
TITLE = "BP4D+"
HOME = "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html (on request to its authors)"

UNITS = (1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40))
"""The 34 units that are coded."""

TASKS = ("T1", "T6", "T7", "T8")


def read(
    root: Path,
    *,
    units: Sequence[int] = UNITS,
    intensities: bool = False,
    images: str = ".",
    offset: int | None = None,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read BP4D+.

    Args:
        root: Folder that holds `AUCoding`.
        units: Action units to read, of those in the files.
        intensities: Whether to add a column `intensity.AU6` (0 to 5, or null) for each unit in `AU_INT`.
        images: Folder of the images, which lie in `SUBJECT/TASK` below it.
        offset: What to add to a frame number to get its image's: -1 where images count from 0, 0 where they
            count from 1; None decides by the images, and says so.
        missing: A frame without an image: "drop" the row, "keep" it, or "error".
        gaps: A frame without annotation of these units: "drop" the row or "keep" it.

    Returns:
        A manifest with the task `action_units`, `group` (the subject), `elicitation` and `frame`; no split.

    Raises:
        MissingDataError: No label files, or no images.
        DataFormatError: A file name, header or line of another form; names file and line.
        ConfigError: No `offset`, and a sequence with neither an image 0 nor an image 1.
    """
    frame = read_sequences(root, TITLE, HOME, units=units, tasks=TASKS, images=images, offset=offset)
    if intensities:
        folder = find_folder(root, ["AUCoding/AU_INT", "AU_INT"], TITLE, HOME)
        keys = ["group", "elicitation", "frame"]
        for name in (name for name in entries(folder) if (folder / name).is_dir()):
            frame = frame.join(_intensities(folder / name), on=keys, how="left", maintain_order="left")
    return face_manifest(frame, [unit_task(units)], root, TITLE, missing=missing, gaps=gaps)


def _intensities(folder: Path) -> pl.DataFrame:
    """One unit's intensities of all sequences, by subject, task and frame."""
    unit = re.fullmatch(r"AU(\d+)", folder.name)
    if unit is None:
        raise DataFormatError(f"{folder}: expected the folder of an action unit, such as AU06")
    column = f"intensity.AU{int(unit[1])}"
    parts = []
    for name in entries(folder, ".csv"):
        sequence = re.fullmatch(rf"([^_]+)_([^_]+)_{folder.name}\.csv", name)
        if sequence is None:
            raise DataFormatError(f"{folder / name}: expected a name such as F001_T1_{folder.name}.csv")
        subject, task = sequence.groups()
        lines = read_lines(folder / name)
        fields = lines.fields(["frame", "intensity"], ",")
        levels = {**{str(level): level for level in range(6)}, "9": None}
        parts.append(
            pl.select(
                pl.lit(subject).alias("group"),
                pl.lit(task).alias("elicitation"),
                frame_numbers(lines, fields["frame"]),
                lines.codes(fields["intensity"], levels, "an intensity", pl.Int8).alias(column),
            )
        )
    schema = {"group": pl.String, "elicitation": pl.String, "frame": pl.Int64, column: pl.Int8}
    return pl.concat([pl.DataFrame(schema=schema), *parts])
