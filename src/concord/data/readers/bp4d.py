"""BP4D-Spontaneous: 41 people in eight tasks that elicit emotions, action units coded frame by frame.

Layout: `AUCoding/AU_OCC/F001_T1.csv` with a header `0,1,2,4,...`: column `0` is the frame number, the
others are units, 0 absent, 1 present, 9 unknown; images `F001/T1/2440.jpg`, whose numbers may be padded
with zeros. Tasks: T1 happy, T2 sad, T3 surprise, T4 embarrassment, T5 fear, T6 physical pain, T7 anger, T8
disgust.

Traps: the task is what was to be elicited, not an expression label, so that it is a plain column
`elicitation` here, not a task; only the most expressive segment of each sequence is coded. Images
count from 0 in the release (frame N + 1 is image N, as its user guide says) and from 1 in the copies of the
FERA 2015 challenge: the images decide, and a note says how. A partial copy whose sequences have neither an
image 0 nor an image 1 needs `offset`.

The usual three parts are those of the public lists of region-learning and attention papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_task
from concord.data.readers._files import Missing, check_choice
from concord.data.readers._occurrence import read_sequences
from concord.errors import ConfigError

NAME = "bp4d"
TITLE = "BP4D"
HOME = "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html (on request to its authors)"

UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""The units of the usual comparison."""

TASKS = tuple(f"T{number}" for number in range(1, 9))

PARTS = tuple(
    tuple(part.split())
    for part in (
        "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008",
        "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005",
        "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014",
    )
)
"""The usual three parts, by subject."""


def read(
    root: Path,
    *,
    units: Sequence[int] = UNITS,
    fold: Literal[0, 1, 2] | None = None,
    images: str = ".",
    offset: int | None = None,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read BP4D.

    Args:
        root: Folder that holds `AUCoding`.
        units: Action units to read, of those in the files.
        fold: Which of the three usual parts is the test split, the others being train; None leaves the split
            open. Lists that number folds 1, 2, 3 test on parts 2, 1, 0.
        images: Folder of the images, which lie in `SUBJECT/TASK` below it.
        offset: What to add to a frame number to get its image's: -1 where images count from 0, 0 where they
            count from 1; None decides by the images, and says so.
        missing: A frame without an image: "drop" the row, "keep" it, or "error".
        gaps: A frame without annotation of these units: "drop" the row or "keep" it.

    Returns:
        A manifest with the task `action_units`, `split`, `group` (the subject), `elicitation` and `frame`.

    Raises:
        MissingDataError: No label files, or no images.
        DataFormatError: A file name, header or line of another form; names file and line.
        ConfigError: A fold, and a subject that is in none of the parts; or no `offset`, and a sequence with
            neither an image 0 nor an image 1.
    """
    check_choice("fold of BP4D", fold, (None, 0, 1, 2))
    frame = read_sequences(root, TITLE, HOME, units=units, tasks=TASKS, images=images, offset=offset)
    if fold is not None:
        splits = {s: "test" if part == PARTS[fold] else "train" for part in PARTS for s in part}
        unknown = set(frame["group"]) - set(splits)
        if unknown:
            raise ConfigError(
                f"{TITLE}: expected subjects of the three usual parts, found {min(unknown)}; use fold=None"
            )
        frame = frame.with_columns(split=pl.col("group").replace_strict(splits))
    return face_manifest(frame, [unit_task(units)], root, TITLE, missing=missing, gaps=gaps)
