"""FER2013: faces from the web, 48 x 48 grey pixels in a CSV file; and FER+, the votes of ten people for each.

Layout: `fer2013.csv` (or the copy `icml_face_data.csv`) with a header `emotion,pixels,Usage`: a code, 2,304
numbers 0 to 255 with blanks between, and Training, PublicTest or PrivateTest; 35,887 rows. Beside it, for
FER+, `fer2013new.csv` with a header `Usage,Image
name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt, unknown,NF`: votes, in the order of the
rows of fer2013.csv.

Codes: 0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral.

Traps: the two files share no key, so that their rows must be as many, and of the same usage one by one; an
image that most people took for no face or for unknown has no class; where two expressions have most votes the
class is open, and the votes are still soft targets. Pictures are written once, as PNG into one archive in the
user's cache folder, by a digest of the file: the manifest's paths are its members.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest, soft_columns
from concord.data.readers._faces import expression_task
from concord.data.readers._files import check_choice, find_file, tell
from concord.data.readers._pictures import PictureArchive, cache_folder, digest_of
from concord.data.readers._text import Lines, read_blocks, read_table, require_columns
from concord.errors import DataFormatError

NAME = "fer2013"
TITLE = "FER2013"
HOME = (
    "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"
)

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Expressions in the order of the codes 0 to 6."""

VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Expressions of FER+, in the order of its columns."""

SIDE = 48

_TABLES = ["fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv"]
_VOTES = ["fer2013new.csv", "FERPlus/fer2013new.csv", "fer2013/fer2013new.csv"]
_USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def read(
    root: Path,
    *,
    labels: Literal["fer2013", "ferplus"] | None = None,
    cache: str | Path | None = None,
) -> Manifest:
    """Read FER2013, with the votes of FER+ where they are.

    Args:
        root: Folder that holds `fer2013.csv`.
        labels: "fer2013", one class of seven for each image; or "ferplus", the votes for eight; None takes
            "ferplus" where its file is there, and says so.
        cache: Folder of the archive with the pictures; None takes the user's cache folder.

    Returns:
        A manifest with the task `expression` and `split` (train, val, test), whose root is the folder of the
        archive; of FER+ with the shares of votes as soft targets, and `votes`, how many they are.

    Raises:
        MissingDataError: No such file, or no folder to write the pictures to.
        DataFormatError: A row that is not in the format; names file and line.
    """
    check_choice("labels of FER2013", labels, (None, "fer2013", "ferplus"))
    table = find_file(root, _TABLES, TITLE, HOME)
    there = any((root / name).is_file() for name in _VOTES)
    if labels is None and there:
        tell(f"{TITLE}: classes from the votes of FER+ (labels='ferplus')")
    archive = cache_folder(cache) / f"fer2013-{digest_of([table])}.zip"
    frame, lines = _rows(table, archive)
    if labels == "ferplus" or (labels is None and there):
        frame = pl.concat([frame.drop("expression"), _votes(root, frame["split"], lines)], how="horizontal")
        task = expression_task("contempt")
    else:
        task = expression_task()
    return Manifest(frame, (task,), archive.parent, TITLE)


# -- fer2013.csv -----------------------------------------------------------------------------------


def _rows(table: Path, archive: Path) -> tuple[pl.DataFrame, int]:
    """Path, split and expression of every row, and the number of the last line; writes the pictures."""
    parts, names, count, last = [], list[str](), 0, 1
    codes = {str(code): name for code, name in enumerate(CLASSES)}
    with PictureArchive(archive, TITLE) as pictures:
        for block in read_blocks(table):
            names, lines = (names, block) if names else _header(block)
            fields = lines.fields(names, ",")
            paths = [f"{count + k:05d}.png" for k in range(len(lines))]
            if pictures.wanted:
                for path, pixels in zip(
                    paths, _pixels(lines, fields["pixels"].str.strip_chars('"')), strict=True
                ):
                    pictures.add(path, _png(pixels))
            parts.append(
                pl.select(
                    pl.Series("path", [f"{archive.name}/{path}" for path in paths], dtype=pl.String),
                    lines.codes(fields["Usage"], _USAGES, "a usage", pl.String).alias("split"),
                    lines.codes(fields["emotion"], codes, "an emotion", pl.String).alias("expression"),
                )
            )
            count, last = count + len(lines), int(block.number[-1])
        if not count:
            raise DataFormatError(f"{table}, line 1: expected a header and rows, found none")
    return pl.concat(parts), last


def _header(block: Lines) -> tuple[list[str], Lines]:
    header, lines = block.split_header()
    names = [name.strip(' "') for name in header.split(",")]
    require_columns(block.path, names, ["emotion", "pixels", "Usage"])
    return names, lines


def _pixels(lines: Lines, pixels: pl.Series) -> npt.NDArray[np.uint8]:
    """Pixels of some rows: uint8 (n, 48, 48)."""
    expected = f"{SIDE * SIDE:,} pixels 0 to 255 with blanks between"
    whole = pixels.str.contains(r"^[0-9]+( [0-9]+)*$") & (pixels.str.count_matches(" ") == SIDE * SIDE - 1)
    lines.require(whole, expected, pixels)
    values = [np.fromstring(row, dtype=np.int64, sep=" ") for row in pixels]
    stacked = np.stack(values) if values else np.empty((0, SIDE * SIDE), dtype=np.int64)
    lines.require(pl.Series(stacked.max(axis=1, initial=0) <= 255), expected, pixels)
    return stacked.astype(np.uint8).reshape(-1, SIDE, SIDE)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


# -- FER+ ------------------------------------------------------------------------------------------


def _votes(root: Path, split: pl.Series, last: int) -> pl.DataFrame:
    """Class, soft targets and number of votes of every row."""
    names, lines = read_table(find_file(root, _VOTES, TITLE, HOME))
    require_columns(lines.path, names, ["Usage", *VOTED, "unknown", "NF"])
    fields = lines.fields(names, ",")
    if len(lines) != len(split):
        raise DataFormatError(
            f"{lines.path}, line {lines.number[-1]}: expected {len(split):,} rows as fer2013.csv has up "
            f"to its line {last:,}, found {len(lines):,}"
        )
    usage = lines.codes(fields["Usage"], _USAGES, "a usage", pl.String)
    lines.require(usage == split, "the usage of the same row of fer2013.csv", fields["Usage"])
    lines.require_end(names[-1] == "NF")
    counts = {
        name: lines.integers(fields[name], f"votes for {name}", 0, 10) for name in (*VOTED, "unknown", "NF")
    }
    table = np.stack([counts[name].to_numpy() for name in VOTED], axis=1)
    neither = np.maximum(counts["unknown"].to_numpy(), counts["NF"].to_numpy())
    most, total = table.max(axis=1), table.sum(axis=1)
    seen = (most > neither) & (total > 0)
    alone = seen & ((table == most[:, None]).sum(axis=1) == 1)
    winner = np.array(VOTED)[table.argmax(axis=1)]
    task = expression_task("contempt")
    by_class = {name: table[:, k] / np.maximum(total, 1) for k, name in enumerate(VOTED)}
    shares = [
        pl.Series(column, by_class[name]).set(pl.Series(~seen), None)
        for column, name in zip(soft_columns(task), task.classes, strict=True)
    ]
    expression = pl.Series("expression", winner, dtype=pl.String).set(pl.Series(~alone), None)
    return pl.DataFrame([expression, *shares, pl.Series("votes", total)])
