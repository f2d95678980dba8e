"""RAF-DB: faces from the web, seven basic or eleven compound expressions, labelled by many people.

Layout: `basic/EmoLabel/list_patition_label.txt` (the misspelling is the data set's), one line an image,
`train_00001.jpg 5`; images in `basic/Image/aligned/train_00001_aligned.jpg` or
`basic/Image/original/train_00001.jpg`. The compound expressions lie likewise under `compound/`. The name
says the split: 12,271 train and 3,068 test images of basic expressions.

Codes, which are nobody else's: basic 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger,
7 neutral; compound 1 happily surprised, 2 happily disgusted, 3 sadly fearful, 4 sadly angry, 5 sadly
surprised, 6 sadly disgusted, 7 fearfully angry, 8 fearfully surprised, 9 angrily surprised, 10 angrily
disgusted, 11 disgustedly surprised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, expression_task, face_manifest
from concord.data.readers._files import Missing, check_choice, find_file
from concord.data.readers._text import read_lines
from concord.tasks import MulticlassTask

NAME = "rafdb"
TITLE = "RAF-DB"
HOME = "http://www.whdeng.cn/RAF/model1.html (on request to its authors)"

BASIC = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Basic expressions in the order of the codes 1 to 7."""

COMPOUND = (
    "happily surprised",
    "happily disgusted",
    "sadly fearful",
    "sadly angry",
    "sadly surprised",
    "sadly disgusted",
    "fearfully angry",
    "fearfully surprised",
    "angrily surprised",
    "angrily disgusted",
    "disgustedly surprised",
)
"""Compound expressions in the order of the codes 1 to 11."""


def read(
    root: Path,
    *,
    subset: Literal["basic", "compound"] = "basic",
    images: Literal["aligned", "original"] = "aligned",
    missing: Missing = "drop",
) -> Manifest:
    """Read RAF-DB.

    Args:
        root: Folder that holds `basic` and `compound`, or one of these folders itself.
        subset: "basic" (7 expressions) or "compound" (11).
        images: "aligned" faces or the "original" images.
        missing: A label without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the task `expression` and `split` (train, test).

    Raises:
        MissingDataError: No label file, or no images.
        DataFormatError: A line that is no image with a code; names file and line.
    """
    check_choice("subset of RAF-DB", subset, ("basic", "compound"))
    check_choice("images of RAF-DB", images, ("aligned", "original"))
    inner = Path("EmoLabel") / "list_patition_label.txt"
    file = find_file(root, [(subset / inner).as_posix(), inner.as_posix()], TITLE, HOME)
    lines = read_lines(file)
    fields = lines.match(
        r"(?<stem>(?<split>train|test)_[0-9]{4,5})\.jpg[ \t]+(?<code>[0-9]+)",
        "an image and its code, as 'train_00001.jpg 5'",
    )
    lines.distinct(fields["stem"], "image")
    classes = BASIC if subset == "basic" else COMPOUND
    table = {str(code): name for code, name in enumerate(classes, 1)}
    expression = lines.codes(fields["code"], table, f"a code of a {subset} expression")
    if len(lines):
        lines.require_end(any(c != fields["code"][-1] and c.startswith(fields["code"][-1]) for c in table))
    folder = file.parent.parent.relative_to(root) / "Image" / images
    suffix = "_aligned.jpg" if images == "aligned" else ".jpg"
    frame = fields.select(
        path=pl.concat_str(pl.lit(f"{folder.as_posix()}/"), pl.col("stem"), pl.lit(suffix)),
        split=pl.col("split"),
        expression=expression,
    )
    task = expression_task() if subset == "basic" else MulticlassTask("expression", COMPOUND)
    gaps: Gaps = "drop"
    return face_manifest(frame, [task], root, f"{TITLE} {subset}", missing=missing, gaps=gaps)
