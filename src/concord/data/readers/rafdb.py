"""RAF-DB: faces from the web, seven basic or eleven compound expressions, labelled by many people.

Layout: `basic/EmoLabel/list_patition_label.txt` (the misspelling is the data set's), one line an image,
`train_00001.jpg 5`; images in `basic/Image/aligned/train_00001_aligned.jpg` or
`basic/Image/original/train_00001.jpg`. The compound expressions lie likewise under `compound/`. The name
says the split: 12,271 train and 3,068 test images of basic expressions.
The number of digits in a name varies.

A copy that many people have (basic expressions, aligned): `train_labels.csv` and `test_labels.csv` with a
header `image,label`, next to or in `DATASET`, and `DATASET/{train,test}/{1..7}/train_00001_aligned.jpg`. The
table gives the label, whatever folder an image lies in.

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
from concord.data.readers._copies import by_name, tell_other_folders, tell_without_row
from concord.data.readers._faces import Gaps, expression_task, face_manifest
from concord.data.readers._files import Missing, check_choice, find_file, tell
from concord.data.readers._text import read_lines, read_table, require_columns
from concord.errors import ConfigError
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
    layout: Literal["original", "copy"] | None = None,
    missing: Missing = "drop",
) -> Manifest:
    """Read RAF-DB.

    Args:
        root: Folder that holds `basic` and `compound`, or one of these folders itself.
        subset: "basic" (7 expressions) or "compound" (11).
        images: "aligned" faces or the "original" images.
        layout: "original", or the "copy" with CSV files; None takes the one that is there.
        missing: A label without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the task `expression` and `split` (train, test).

    Raises:
        MissingDataError: No label file, or no images.
        DataFormatError: A line that is no image with a code; names file and line.
        ConfigError: A subset or images that the copy does not hold, or the folder of the other subset.
    """
    check_choice("subset of RAF-DB", subset, ("basic", "compound"))
    check_choice("images of RAF-DB", images, ("aligned", "original"))
    check_choice("layout of RAF-DB", layout, (None, "original", "copy"))
    inner = Path("EmoLabel") / "list_patition_label.txt"
    lists = [(subset / inner).as_posix(), inner.as_posix()]
    if layout == "copy" or (layout is None and not _any(root, lists) and _any(root, _tables("train"))):
        return _copy(root, subset, images, missing)
    either = lists if layout else [*lists, *_tables("train")]  # a table is not there, but may be asked for
    lines = read_lines(find_file(root, either, TITLE, HOME))
    place = lines.path.parent.parent
    # The codes of the other subset mean other expressions.
    if place.name in {"basic", "compound"} - {subset}:
        raise ConfigError(
            f"{TITLE}: expected the {subset} expressions, found a folder of the others, {place}; name the "
            "folder above, or the other subset"
        )
    fields = lines.match(
        r"(?<stem>(?<split>train|test)_[0-9]+)\.jpg[ \t]+(?<code>[0-9]+)",
        "an image and its code, as 'train_00001.jpg 5'",
    )
    lines.distinct(fields["stem"], "image")
    classes = BASIC if subset == "basic" else COMPOUND
    table = {str(code): name for code, name in enumerate(classes, 1)}
    expression = lines.codes(fields["code"], table, f"a code of a {subset} expression")
    if len(lines):
        lines.require_end(any(c != fields["code"][-1] and c.startswith(fields["code"][-1]) for c in table))
    folder = place.relative_to(root) / "Image" / images
    suffix = "_aligned.jpg" if images == "aligned" else ".jpg"
    frame = fields.select(
        path=pl.concat_str(pl.lit(f"{folder.as_posix()}/"), pl.col("stem"), pl.lit(suffix)),
        split=pl.col("split"),
        expression=expression,
    )
    task = expression_task() if subset == "basic" else MulticlassTask("expression", COMPOUND)
    gaps: Gaps = "drop"
    return face_manifest(frame, [task], root, f"{TITLE} {subset}", missing=missing, gaps=gaps)


# -- the copy with CSV files -----------------------------------------------------------------------


def _tables(split: str) -> list[str]:
    return [f"{split}_labels.csv", f"DATASET/{split}_labels.csv"]


def _any(root: Path, choices: list[str]) -> bool:
    return any((root / choice).is_file() for choice in choices)


def _copy(root: Path, subset: str, images: str, missing: Missing) -> Manifest:
    if subset != "basic" or images != "aligned":
        raise ConfigError(
            f"{TITLE}: the copy with train_labels.csv holds aligned images of basic expressions, found "
            f"subset={subset!r} and images={images!r}"
        )
    tell(f"{TITLE}: read as the copy with train_labels.csv and test_labels.csv (layout='copy')")
    frame = pl.concat([_copy_part(root, split) for split in ("train", "test")])
    return face_manifest(frame, [expression_task()], root, f"{TITLE} basic", missing=missing, gaps="drop")


def _copy_part(root: Path, split: str) -> pl.DataFrame:
    names, lines = read_table(find_file(root, _tables(split), TITLE, HOME))
    require_columns(lines.path, names, ["image", "label"])
    fields = lines.fields(names, ",")
    lines.require_end(names[-1] != "label")
    image = fields["image"]
    lines.require(
        image.str.contains(rf"^{split}_[0-9]+(_aligned)?\.jpg$"),
        f"an image as {split}_00001_aligned.jpg",
        image,
    )
    lines.distinct(image, "image")
    table = {str(code): name for code, name in enumerate(BASIC, 1)}
    expression = lines.codes(fields["label"], table, "a code of a basic expression")
    base = next((name for name in (f"DATASET/{split}", split) if (root / name).is_dir()), f"DATASET/{split}")
    there = by_name(root, root / base)
    paths = pl.Series("path", [there.get(name, f"{base}/{name}") for name in image])
    tell_other_folders(TITLE, lines, paths, fields["label"])
    tell_without_row(TITLE, lines.path, there, image)
    return pl.DataFrame([paths, expression.alias("expression")]).with_columns(split=pl.lit(split))
