"""Aff-Wild2: videos in the wild, annotated frame by frame for expression and action units.

Layout, by release:

- 2020: `annotations/{EXPR_Set,AU_Set}/{Training_Set,Validation_Set}/<video>.txt`, 7 expressions, 8 units;
- 2021: `annotations/{EXPR_Set,AU_Set}/{Train_Set,Validation_Set}/<video>.txt`, 7 expressions, 12 units;
- 2022 and later: `annotations/{EXPR_Classification_Challenge or EXPR_Recognition_Challenge,
  AU_Detection_Challenge}/{Train_Set,Validation_Set}/<video>.txt`, 8 expressions, 12 units;
- multi-task: `training_set_annotations.txt`, `validation_set_annotations.txt`, or
  `MTL_Challenge/{train_set,validation_set}.txt`, one line an image.

The folder of the annotations has other names by year (`6th ABAW Annotations`, `Third ABAW Annotations`), and
is known by what it holds. Crops come in several folders, which are all looked through: `cropped_aligned`,
`batch1`, `batch2`, `cropped_aligned_new_50_vids`, each with one folder per video, or with one such folder in
between.

A video's file holds a header, then one line per frame: line k below the header belongs to
`cropped_aligned/<video>/{k:05d}.jpg`, counted from 1. Expression codes: 0 neutral, 1 anger, 2 disgust,
3 fear, 4 happiness, 5 sadness, 6 surprise, 7 other; -1 is a gap, in expressions and in units. In the
multi-task lists valence and arousal are -5 where missing.

Traps: there are more lines than crops (frames without a face found), so that rows without a crop are left
out by default; a blank or missing line would shift all labels after it, so that a blank line is an error; a
video of two people has two crop folders, `<video>_left` and `<video>_right`, one `group` here; a video may
be in the training set of one task and in the validation set of another.

The videos' own valence and arousal sets (`VA_Set`, `VA_Estimation_Challenge`) hold no classes and are not
read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, expression_task, face_manifest, unit_column, unit_task
from concord.data.readers._files import Missing, check_choice, entries, find_file, listing, not_found
from concord.data.readers._text import Lines, read_lines
from concord.errors import ConfigError, DataFormatError, EmptyDataError, MissingDataError
from concord.tasks import Task

NAME = "affwild2"
TITLE = "Aff-Wild2"
VIDEO = pl.col("video").str.replace(r"_(left|right)$", "").alias("group")
"""The video that a folder of crops is of."""
HOME = "https://ibug.doc.ic.ac.uk/resources/aff-wild2/ (on request to its authors)"

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
"""Expressions in the order of their codes; releases before 2022 have no `other`."""

UNITS = {"2020": (1, 2, 4, 6, 12, 15, 20, 25)}
"""Action units of a release, where they are not `LATER_UNITS`."""

LATER_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)

RELEASES = ("2020", "2021", "2022", "multi-task")

_SETS = {
    "expression": ("EXPR_Classification_Challenge", "EXPR_Recognition_Challenge"),
    "action_units": ("AU_Detection_Challenge",),
}
_OLD_SETS = {"expression": ("EXPR_Set",), "action_units": ("AU_Set",)}
_MULTI_TASK = {
    "train": ("training_set_annotations.txt", "MTL_Challenge/train_set.txt", "train_set.txt"),
    "val": ("validation_set_annotations.txt", "MTL_Challenge/validation_set.txt", "validation_set.txt"),
}
_CROPS = "cropped_aligned"


def read(
    root: Path,
    *,
    release: Literal["2020", "2021", "2022", "multi-task"] | None = None,
    tasks: Sequence[str] | str | None = None,
    drop_other: bool = False,
    whole_units: bool = False,
    conflicts: Literal["error", "keep", "val"] = "error",
    annotations: str | None = None,
    images: str | None = None,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read one release of Aff-Wild2.

    Args:
        root: Folder that holds the annotations and the crops.
        release: "2020", "2021", "2022" (and all later years), or "multi-task"; None takes the one that is
            there, and of several the first of 2022, 2020, 2021, multi-task.
        tasks: "expression", "action_units" or both; None reads those that are there.
        drop_other: Take `other` for a gap, and the class out of the task.
        whole_units: Mask all units of a frame of which one is missing, as the challenges do.
        conflicts: A video in the training set of one task and in the validation set of another: "error"
            names it, "keep" gives it a row in each split with that split's annotation, "val" moves it to
            the validation set with both.
        annotations: Folder of the annotations; None looks for it.
        images: Folder of the crops; None looks for all of them.
        missing: An annotation without a crop: "drop" the row, "keep" it, or "error".
        gaps: A frame without any annotation: "drop" the row or "keep" it.

    Returns:
        A manifest with the tasks `expression` and `action_units`, `split`, `group` (the video without `_left`
        and `_right`), `video` (folder of the crop) and `frame` (from 1); multi-task also `valence` and
        `arousal` in [-1, 1].

    Raises:
        MissingDataError: The folders are not those of the release; the message says what was found.
        DataFormatError: A line that is none of the release's; names file and line.
        EmptyDataError: An empty list of tasks.
        ConfigError: A video in two splits, and `conflicts` is "error".
    """
    base = _base(root, annotations)
    given = str(release or _looks_like(base) or "2022")
    check_choice("release of Aff-Wild2", given, RELEASES)
    check_choice("value of conflicts", conflicts, ("error", "keep", "val"))
    known = _tasks(given, drop_other)
    wanted = list(known) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    if not wanted:
        raise EmptyDataError(f"{TITLE}: expected tasks of {', '.join(known)}, found an empty list")
    for name in wanted:
        check_choice("task of Aff-Wild2", name, tuple(known))
    if given == "multi-task":
        frame, found = _multi_task(root, base, wanted), wanted
    else:
        places = _places(root, base, given, wanted, optional=tasks is None)
        parts = [_task_frame(name, place, given) for name, place in places.items()]
        frame, found = _together(parts, conflicts), list(places)
    if drop_other and "expression" in found:
        frame = frame.with_columns(pl.col("expression").replace("other", None))
    if whole_units and "action_units" in found:
        frame = _mask_partial(frame)
    number = pl.col("frame").cast(pl.String).str.zfill(5)
    frame = frame.with_columns(
        VIDEO,
        path=pl.concat_str(
            _crop_folders(root, images, frame["video"]), pl.col("video"), pl.lit("/"), number, pl.lit(".jpg")
        ),
    )
    front = ["path", "split", "group", "video", "frame"]
    frame = frame.select(*front, pl.exclude(front))
    return face_manifest(frame, [known[name] for name in found], root, TITLE, missing=missing, gaps=gaps)


def _base(root: Path, annotations: str | None) -> Path:
    """The folder of the annotations, by its name or by what it holds."""
    if annotations is not None:
        return root / annotations if (root / annotations).is_dir() else root
    inside = [root / name for name in entries(root) if (root / name).is_dir()]
    usual = [folder for folder in inside if folder.name.lower() == "annotations"]
    named = [folder for folder in inside if "annotation" in folder.name.lower() and folder not in usual]
    deeper = [folder / name for folder in usual for name in entries(folder) if (folder / name).is_dir()]
    places = [root, *usual, *named, *deeper]
    return next((place for place in places if _looks_like(place)), usual[0] if usual else root)


def _crop_folders(root: Path, images: str | None, videos: pl.Series) -> pl.Series:
    """Folder of the crops of each row's video, with a slash at the end."""
    if images is not None:
        return pl.Series([f"{images}/"]).new_from_index(0, len(videos))
    places = [root / name for name in entries(root) if _IN_CROPS.search(name) and (root / name).is_dir()]
    places.sort(key=lambda place: place.name != _CROPS)
    deeper = [place / name for place in places for name in entries(place) if _IN_CROPS.search(name)]
    wanted, found = set(videos), dict[str, str]()
    for place in (*places, *(place for place in deeper if place.is_dir())):
        for video in wanted.intersection(os.listdir(place)):
            found.setdefault(video, f"{place.relative_to(root).as_posix()}/")
    table = {video: found.get(video, f"{_CROPS}/") for video in wanted}
    return videos.replace_strict(table, return_dtype=pl.String)


_IN_CROPS = re.compile(r"^(cropped|batch[_ -]?[0-9])", re.IGNORECASE)


def _tasks(release: str, drop_other: bool) -> dict[str, Task]:
    other = () if drop_other or release in ("2020", "2021") else ("other",)
    return {"expression": expression_task(*other), "action_units": unit_task(_units(release))}


def _units(release: str) -> tuple[int, ...]:
    return UNITS.get(release, LATER_UNITS)


def _codes(release: str) -> dict[str, str | None]:
    classes = CLASSES[:7] if release in ("2020", "2021") else CLASSES
    return {"-1": None, **{str(code): name for code, name in enumerate(classes)}}


_UNIT_CODES = {"0": 0, "1": 1, "-1": None}


# -- one file per video ----------------------------------------------------------------------------


def _places(
    root: Path, base: Path, release: str, wanted: Sequence[str], optional: bool
) -> dict[str, dict[str, Path]]:
    """Folders of the annotation files by task and split."""
    splits = {"train": "Training_Set" if release == "2020" else "Train_Set", "val": "Validation_Set"}
    sets = _SETS if release == "2022" else _OLD_SETS
    places: dict[str, dict[str, Path]] = {}
    for name in wanted:
        folder = next((base / choice for choice in sets[name] if (base / choice).is_dir()), None)
        if folder is None:
            continue
        places[name] = {split: folder / inner for split, inner in splits.items()}
        for split_folder in places[name].values():
            if not split_folder.is_dir():
                raise _wrong_release(root, split_folder.parent, release, [split_folder.name], base)
    if not places or (not optional and len(places) < len(wanted)):
        lost = next(name for name in wanted if name not in places)
        raise _wrong_release(root, base, release, sets[lost], base)
    return places


def _wrong_release(
    root: Path, folder: Path, release: str, expected: Sequence[str], base: Path
) -> MissingDataError:
    looks = _looks_like(base)
    if looks is None:
        every = [*_OLD_SETS.values(), *_SETS.values(), *_MULTI_TASK.values()]
        choices = [
            *expected,
            *(f"{folder}/{name}" for folder in ("annotations", "*nnotations") for name in expected),
        ]
        wider = [*choices, *(name for names in every for name in names)]
        return not_found(
            root, f"release {release}: the folder {' or '.join(map(repr, expected))}", wider, TITLE, HOME
        )
    hint = f"; this looks like release={looks!r}" if looks != release else ""
    either = " or ".join(map(repr, expected))
    return MissingDataError(
        f"{TITLE}, release {release}: expected the folder {either} in {folder}, found "
        f"{listing(folder)}{hint}; get the data from {HOME}"
    )


def _looks_like(base: Path) -> str | None:
    if any((base / name).is_dir() for names in _SETS.values() for name in names):
        return "2022"
    for (name,) in _OLD_SETS.values():
        if (base / name / "Training_Set").is_dir():
            return "2020"
        if (base / name / "Train_Set").is_dir():
            return "2021"
    if any((base / name).is_file() for names in _MULTI_TASK.values() for name in names):
        return "multi-task"
    return None


def _task_frame(name: str, folders: dict[str, Path], release: str) -> pl.DataFrame:
    parts = []
    for split, folder in folders.items():
        files = entries(folder, ".txt")
        if not files:
            raise MissingDataError(f"{TITLE}: expected one .txt file a video, found {listing(folder)}")
        for file in files:
            lines = _below_header(folder / file, name, release)
            labels = _expressions(lines, release) if name == "expression" else _unit_vectors(lines, release)
            frame = pl.int_range(1, len(lines) + 1, eager=True, dtype=pl.Int32).alias("frame")
            parts.append(
                labels.select(
                    pl.lit(split).alias("split"),
                    pl.lit(file.removesuffix(".txt")).alias("video"),
                    frame,
                    pl.all(),
                )
            )
    return pl.concat(parts)


def _below_header(path: Path, name: str, release: str) -> Lines:
    header, lines = read_lines(path).split_header()
    found = [word.strip().casefold() for word in header.rstrip(" ,").split(",")]
    names = (
        [c for c in _codes(release).values() if c]
        if name == "expression"
        else [f"AU{unit}" for unit in _units(release)]
    )
    if found != [word.casefold() for word in names]:
        raise DataFormatError(
            f"{path}, line 1: expected the header {','.join(names)!r} of release {release}, found {header!r}"
        )
    return lines


def _expressions(lines: Lines, release: str) -> pl.DataFrame:
    return pl.DataFrame(
        lines.codes(lines.text, _codes(release), "an expression code", pl.String).alias("expression")
    )


def _unit_vectors(lines: Lines, release: str) -> pl.DataFrame:
    """Unit columns of all lines; each spelling of a line is parsed once, for a video has few."""
    units = _units(release)
    columns = [unit_column(unit) for unit in units]
    table: dict[str, list[int | None]] = {}
    for spelling in lines.text.unique():
        words = [word.strip() for word in spelling.split(",")]
        if len(words) == len(units) and all(word in _UNIT_CODES for word in words):
            table[spelling] = [_UNIT_CODES[word] for word in words]
    known = pl.Series(list(table), dtype=pl.String)
    lines.require(
        lines.text.is_in(known.implode()), f"{len(units)} values of 0, 1 or -1, with commas between"
    )
    meaning = pl.DataFrame(
        [*table.values()] or None, schema=dict.fromkeys(columns, pl.Int8), orient="row"
    ).with_columns(known.alias("text"))
    return (
        lines.text.to_frame("text").join(meaning, on="text", how="left", maintain_order="left").drop("text")
    )


def _together(parts: Sequence[pl.DataFrame], conflicts: str) -> pl.DataFrame:
    if len(parts) == 1:
        return parts[0]
    first, second = parts
    videos = pl.concat(part.select(VIDEO, "split") for part in parts).unique()
    clash = videos.filter(pl.col("group").is_duplicated())["group"].unique().sort()
    if len(clash) and conflicts == "error":
        raise ConfigError(
            f"{TITLE}: expected each video in one split, found {len(clash)} in two, the first "
            f"{clash[0]!r}; conflicts='keep' keeps the split of each task (the video is then in "
            f"both), conflicts='val' moves such videos to the validation set"
        )
    if len(clash) and conflicts == "val":
        moved = VIDEO.is_in(clash.implode())
        split = pl.when(moved).then(pl.lit("val")).otherwise(pl.col("split")).alias("split")
        first, second = first.with_columns(split), second.with_columns(split)
    keys = ["split", "video", "frame"]
    return first.join(second, on=keys, how="full", coalesce=True).sort(keys)


def _mask_partial(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [column for column in frame.columns if column.startswith("action_units.")]
    whole = pl.all_horizontal(pl.col(columns).is_not_null())
    return frame.with_columns(pl.when(whole).then(pl.col(column)).alias(column) for column in columns)


# -- multi-task lists ------------------------------------------------------------------------------


def _multi_task(root: Path, base: Path, wanted: Sequence[str]) -> pl.DataFrame:
    parts = []
    inside = base.relative_to(root)
    for split, names in _MULTI_TASK.items():
        choices = [(place / name).as_posix() for place in dict.fromkeys((inside, Path())) for name in names]
        path = find_file(root, choices, f"{TITLE}, multi-task", HOME)
        parts.append(_multi_task_frame(path, split, wanted))
    return pl.concat(parts)


def _multi_task_frame(path: Path, split: str, wanted: Sequence[str]) -> pl.DataFrame:
    header, lines = read_lines(path).split_header()
    units = [f"au{unit}" for unit in LATER_UNITS]
    words = [word.strip().casefold() for word in header.rstrip(" ,").split(",")]
    if words[:4] != ["image", "valence", "arousal", "expression"] or words[4:] not in (["aus"], units):
        raise DataFormatError(
            f"{path}, line 1: expected a header 'image,valence,arousal,expression,AU1,...', found {header!r}"
        )
    fields = lines.fields(["image", "valence", "arousal", "expression", *units], ",")
    where = r"^(?<video>\w[\w.()-]*)/(?<frame>[0-9]{5,})\.jpg$"
    lines.require(fields["image"].str.contains(where), "an image as video/00001.jpg", fields["image"])
    lines.distinct(fields["image"], "image")
    frame = fields["image"].str.extract_groups(where).struct.unnest()
    columns = [
        pl.lit(split).alias("split"),
        pl.col("video"),
        pl.col("frame").cast(pl.Int32),
        _affect(lines, fields["valence"]),
        _affect(lines, fields["arousal"]),
    ]
    if "expression" in wanted:
        codes = lines.codes(fields["expression"], _codes("multi-task"), "an expression code", pl.String)
        columns.append(codes.alias("expression"))
    if "action_units" in wanted:
        for unit, name in zip(LATER_UNITS, units, strict=True):
            codes = lines.codes(fields[name], _UNIT_CODES, f"a code of AU{unit}", pl.Int8)
            columns.append(codes.alias(unit_column(unit)))
    return frame.select(columns)


def _affect(lines: Lines, values: pl.Series) -> pl.Series:
    what = f"{values.name}, -1 to 1, or -5 where missing"
    numbers = lines.floats(values, what, -5, 1)
    lines.require((numbers == -5) | (numbers >= -1), what, values)
    return numbers.to_frame().select(pl.when(numbers != -5).then(numbers.cast(pl.Float32))).to_series()
