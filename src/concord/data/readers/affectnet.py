"""AffectNet: faces from the web, annotated by hand for expression, valence and arousal.

Layout, by release:

- 2017: `Manually_Annotated_file_lists/{training,validation}.csv`, one line an image: `subDirectory_filePath,
  face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal`, landmarks as 68 pairs
  with `;` between all numbers; images below `Manually_Annotated_Images`, which may lie in
  `Manually_Annotated_compressed`;
- 2021: `{train_set,val_set}/images/<id>.jpg`, `{train_set,val_set}/annotations/<id>_{exp,val,aro,lnd}.npy`;
  about 287,651 images for training and 4,000 for validation (3,500 without contempt);
- table, a copy that many people have: `labels.csv` with `,pth,label,relFCs` (a running number,
  `anger/image0.jpg`, the class, and a number that is kept as `relFCs`); no split. Its labels differ from the
  folders' names for thousands of images: the table counts;
- yolo, a copy for detectors: `{train,valid,test}/{images,labels}`, with a class number in front of each line
  of `labels/NAME.txt`, and the names in `data.yaml`.

Codes: 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; 8 none, 9 uncertain and
10 no face are gaps. Valence and arousal are -2 where they are unusable.

Traps: `validation.csv` exists with and without a header; the release of 2021 has more than a million tiny
files, which are read once and kept as an index in the user's cache folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._affectnet_index import index
from concord.data.readers._copies import tell_other_folders
from concord.data.readers._faces import Gaps, expression_task, face_manifest
from concord.data.readers._files import Missing, check_choice, find_file, find_folder, not_found, tell
from concord.data.readers._lists import below
from concord.data.readers._text import Lines, read_blocks, read_table, require_columns
from concord.data.readers._yolo import is_yolo, read_yolo
from concord.errors import ConfigError, DataFormatError

NAME = "affectnet"
TITLE = "AffectNet"
HOME = "http://mohammadmahoor.com/affectnet/ (on request to its authors)"

CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""Expressions in the order of the codes 0 to 7."""

LAYOUTS = ("2017", "2021", "table", "yolo")

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
"""Columns of the lists of 2017, in their order where a list has no header."""

POINTS = 68

_CODES = {**{str(code): name for code, name in enumerate(CLASSES)}, "8": None, "9": None, "10": None}
_LISTS = {"train": "training.csv", "val": "validation.csv"}
_SETS = {"train": "train_set", "val": "val_set"}
_IMAGES = (
    "Manually_Annotated_Images/Manually_Annotated_Images",
    "Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
    "Manually_Annotated_compressed",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated",
)
_TABLE = "labels.csv"
_SPELLINGS = {
    **{name: name for name in CLASSES},
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "none": None,
    "uncertain": None,
    "non-face": None,
}
"""Classes as copies spell them, in lower case."""


def read(
    root: Path,
    *,
    layout: Literal["2017", "2021", "table", "yolo"] | None = None,
    contempt: bool = True,
    landmarks: bool = False,
    images: str | None = None,
    cache: str | Path | None = None,
    refresh: bool = False,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read one layout of AffectNet.

    Args:
        root: Folder that holds `Manually_Annotated_file_lists`, `train_set` and `val_set`, `labels.csv` or
            `train`.
        layout: "2017", "2021", or the copies "table" and "yolo"; None takes the one that is there.
        contempt: Whether the task has the class `contempt`; without, its images are gaps (7 classes).
        landmarks: Whether to add a column `landmarks`: 136 numbers an image, in pixels.
        images: Folder of the images of 2017, or of the folders of the table, if it is none of the usual ones.
        cache: File of the index of 2021; None keeps one in the user's cache folder.
        refresh: Whether to index again, which is otherwise done when files come or go, but not when they
            are changed in place.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".
        gaps: An image without an expression: "drop" the row or "keep" it.

    Returns:
        A manifest with the task `expression`, `split` (train, val), `valence` and `arousal` in [-1, 1] or
        null; 2017 also `box_x`, `box_y`, `box_width` and `box_height` in pixels. Copies have no valence.

    Raises:
        MissingDataError: The folders are not those of the release; the message says what was found.
        DataFormatError: A line or file that is not in the format; names file and line.
        ConfigError: Landmarks of a copy that has none.
    """
    check_choice("layout of AffectNet", layout, (None, *LAYOUTS))
    if layout is None:
        layout = _detect(root)
    if layout == "2017":
        folder = _images_folder(root, images)
        frame = pl.concat([_list_frame(root, split, folder, landmarks) for split in _LISTS])
    elif layout == "2021":
        frame, missing = _tiny_files(root, landmarks, cache, refresh, missing)
    elif landmarks:
        raise ConfigError(
            f"{TITLE}: the copies have no landmarks, found landmarks=True with layout={layout!r}"
        )
    else:
        frame = _table_frame(root, images) if layout == "table" else _yolo_frame(root)
    if not contempt:
        frame = frame.with_columns(pl.col("expression").replace("contempt", None))
    task = expression_task("contempt") if contempt else expression_task()
    return face_manifest(frame, [task], root, TITLE, missing=missing, gaps=gaps)


def _detect(root: Path) -> Literal["2017", "2021", "table", "yolo"]:
    if (root / "Manually_Annotated_file_lists").is_dir() or (root / _LISTS["train"]).is_file():
        return "2017"
    if (root / _SETS["train"]).is_dir() or (root / _SETS["val"]).is_dir():
        return "2021"
    if (root / _TABLE).is_file():
        tell(
            f"{TITLE}: read as the copy with {_TABLE}, which counts, not the folders' names (layout='table')"
        )
        return "table"
    if is_yolo(root):
        tell(f"{TITLE}: read as the copy for detectors, classes from labels/*.txt (layout='yolo')")
        return "yolo"
    expected = "'Manually_Annotated_file_lists' (2017) or 'train_set' (2021), or of copies 'labels.csv'"
    choices = ["Manually_Annotated_file_lists", "train_set", "val_set", _TABLE, "train/labels"]
    raise not_found(root, expected, choices, TITLE, HOME)


# -- copies ----------------------------------------------------------------------------------------


def _table_frame(root: Path, images: str | None) -> pl.DataFrame:
    names, lines = read_table(find_file(root, [_TABLE], TITLE, HOME))
    require_columns(lines.path, names, ["pth", "label"])
    fields = lines.fields([name or "number" for name in names], ",")
    path = fields["pth"]
    lines.require(
        path.str.contains(r"^[\w-]+/[\w-][\w.-]*\.[A-Za-z]+$"), "an image as anger/image0.jpg", path
    )
    lines.distinct(path, "image")
    expression = lines.codes(fields["label"].str.to_lowercase(), _SPELLINGS, "a class", pl.String)
    lines.require_end(names[-1] == "relFCs")
    tell_other_folders(TITLE, lines, path, fields["label"])
    above = "" if images is None else f"{images}/"
    columns = [below(above, path), expression.alias("expression")]
    if "relFCs" in names:
        columns.append(lines.floats(fields["relFCs"], "relFCs", -(10**9), 10**9).alias("relFCs"))
    return pl.DataFrame(columns)


def _yolo_frame(root: Path) -> pl.DataFrame:
    frame, names = read_yolo(root, TITLE)
    unknown = [name for name in names if name.lower() not in _SPELLINGS]
    if unknown:
        raise DataFormatError(
            f"{root}: expected classes {', '.join(CLASSES)} in data.yaml, found {unknown[0]!r}"
        )
    meaning = {name: _SPELLINGS[name.lower()] for name in names}
    return frame.select(
        "path", "split", expression=pl.col("class").replace_strict(meaning, return_dtype=pl.String)
    )


# -- 2017 ------------------------------------------------------------------------------------------


def _images_folder(root: Path, images: str | None) -> str:
    if images is not None:
        return images
    return next((name for name in _IMAGES if (root / name).is_dir()), _IMAGES[0])


def _list_frame(root: Path, split: str, images: str, landmarks: bool) -> pl.DataFrame:
    name = _LISTS[split]
    choices = [f"Manually_Annotated_file_lists/{name}", name]
    path = find_file(root, choices, f"{TITLE}, layout 2017", HOME)
    names: list[str] = []
    parts = []
    for block in read_blocks(path):  # landmarks make the list of training images half a gigabyte
        names, lines = (names, block) if names else _columns(block)
        parts.append(_rows(lines, names, split, images, landmarks))
    if not parts:
        raise DataFormatError(f"{path}, line 1: expected a header or an image, found an empty file")
    if not any(map(len, parts)):
        raise DataFormatError(f"{path}, line 2: expected an image, found the header alone")
    return pl.concat(parts)


def _rows(lines: Lines, names: list[str], split: str, images: str, landmarks: bool) -> pl.DataFrame:
    fields = lines.fields(names, ",")
    file = fields["subDirectory_filePath"]
    lines.require(file.str.contains(r"^[\w-]+/[\w-][\w.-]*$"), "an image as 103/29a31e.jpg", file)
    columns = [
        pl.concat_str(pl.lit(f"{images}/"), file).alias("path"),
        pl.lit(split).alias("split"),
        lines.codes(fields["expression"], _CODES, "an expression code").alias("expression"),
        *(_affect(lines, fields[name]) for name in ("valence", "arousal")),
        *(_box(lines, fields[f"face_{side}"]).alias(f"box_{side}") for side in ("x", "y", "width", "height")),
    ]
    if landmarks:
        columns.append(_landmarks(lines, fields["facial_landmarks"]))
    return pl.select(columns)


def _columns(lines: Lines) -> tuple[list[str], Lines]:
    """Column names, from the header where there is one."""
    words = [word.strip() for word in str(lines.text[0]).split(",")]
    if words[0] != COLUMNS[0] and COLUMNS[0] not in words:
        return list(COLUMNS), lines
    if sorted(words) != sorted(COLUMNS):
        raise lines.error(0, f"the columns {','.join(COLUMNS)}")
    return words, lines.slice(1)


def _affect(lines: Lines, values: pl.Series) -> pl.Series:
    what = f"{values.name}, -1 to 1, or -2 where unusable"
    numbers = lines.floats(values, what, -2, 1)
    lines.require((numbers == -2) | (numbers >= -1), what, values)
    return numbers.to_frame().select(pl.when(numbers != -2).then(numbers.cast(pl.Float32))).to_series()


def _box(lines: Lines, values: pl.Series) -> pl.Series:
    """A side of the box in pixels; NULL stands where no face was found."""
    return lines.integers(values.replace("NULL", "0"), f"{values.name} in pixels", -(10**6), 10**6).zip_with(
        values != "NULL", pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    )


def _landmarks(lines: Lines, values: pl.Series) -> pl.Series:
    numbers = values.str.split(";").list.eval(pl.element().cast(pl.Float32, strict=False))
    whole = (numbers.list.len() == 2 * POINTS) & ~numbers.list.eval(pl.element().is_null()).list.any()
    lines.require(
        whole | (values == "NULL"), f"{2 * POINTS} numbers with ; between as facial_landmarks", values
    )
    return pl.select(pl.when(values != "NULL").then(numbers).alias("landmarks")).to_series()


# -- 2021 ------------------------------------------------------------------------------------------


def _tiny_files(
    root: Path, landmarks: bool, cache: str | Path | None, refresh: bool, missing: Missing
) -> tuple[pl.DataFrame, Missing]:
    """All rows, and what is left to do about missing images: the index knows which are there."""
    for name in _SETS.values():
        find_folder(root, [f"{name}/annotations"], f"{TITLE}, layout 2021", HOME)
    frame = index(root, _SETS, landmarks, None if cache is None else Path(cache), refresh)
    expression = frame["expression"].replace_strict([int(code) for code in _CODES], list(_CODES.values()))
    frame = frame.with_columns(expression=expression)
    there = frame["present"]
    frame = frame.drop("present")
    check_choice("value of missing", missing, ("drop", "keep", "error"))
    if missing == "drop" and there.any():
        return frame.filter(there), "keep"
    return frame, "keep" if there.all() else missing
