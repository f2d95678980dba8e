"""Image folders: the class of an image is the folder that it is in, or stands in a CSV file next to it.

Layout, one of:

- `root/<class>/**/NAME.jpg`;
- `root/<split>/<class>/**/NAME.jpg`, where all folders of the root have names of splits: train or training;
  val, valid, validation or dev; test or testing;
- images in any places and a CSV file, one line per image: a column of paths, one column per class task, one
  per label (see `concord.data.frames.from_csv` for what it may look like);
- yolo: `{train,valid,test}/images/NAME.jpg` with `{train,valid,test}/labels/NAME.txt`, or
  `images/{train,val}` with `labels/{train,val}`, whose lines begin with a class number, and `data.yaml` with
  the `names`.

Classes are in the order of the alphabet, whatever the order on disk. Endings, in upper or lower case: .jpg,
.jpeg, .jpe, .jfif, .png, .bmp, .webp, .tif, .tiff, .gif, .ppm; how many files have others is told.

Traps: files and folders whose names begin with a dot (`.DS_Store`, `._NAME.jpg`) are no images; an image
next to the class folders has no class, which is an error and not a class of its own; an empty class folder is
no class; a symbolic link to a file outside the root is refused, and one to a folder is not followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.frames import SPLIT_SPELLINGS, from_csv
from concord.data.manifest import Manifest
from concord.data.paths import IMAGE_ENDINGS, counted_endings
from concord.data.readers._files import Missing, check_choice, entries, keep_present, listing, tell
from concord.data.readers._lists import files_below
from concord.data.readers._yolo import is_yolo, read_yolo
from concord.errors import ConfigError, DataFormatError, MissingDataError, UnsafePathError
from concord.tasks import MulticlassTask, MultilabelTask

NAME = "imagefolder"
TITLE = "image folder"
HOME = "the user: any folder with one folder a class, or with a CSV file"

File = tuple[str, str | None, str]
"""Path, split and the folder that stands for a class."""


def read(
    root: Path,
    *,
    task: str = "class",
    splits: bool | Literal["auto"] = "auto",
    table: str | Path | None = None,
    path: str = "path",
    classes: Mapping[str, Iterable[str] | None] | None = None,
    labels: Mapping[str, str | Iterable[str]] | None = None,
    split: str | None = None,
    group: str | None = None,
    gaps: Iterable[str] = (),
    not_gaps: Iterable[str] = (),
    layout: Literal["folders", "table", "yolo"] | None = None,
    several: Literal["error", "gap", "labels"] = "error",
    missing: Missing = "error",
) -> Manifest:
    """Read folders of images.

    Args:
        root: The folder.
        task: Name of the class task that the folders stand for.
        splits: Whether the first level of folders is the split: True, False, or "auto", which says yes where
            all of them have names of splits.
        table: CSV file, relative to root; with it the folders' names mean nothing.
        path: Column of the table with the paths, relative to root.
        classes: For each class task of the table its classes, or None for those found; where neither
            `classes` nor `labels` is given, the column named by `task` is the class.
        labels: For each label task of the table its columns, as names or patterns with `*` and `?`.
        split: Column of the table with the split; a column called `split` is found by itself.
        group: Column of the table with the subject or video; a column called `group` is found by itself.
        gaps: Further spellings of a gap in the table.
        not_gaps: Usual words for a gap, such as "None", that are names in the table.
        layout: "folders" by class, a "table", or "yolo" as detectors write labels; None takes the table if
            one is given, and otherwise what is there.
        several: An image with boxes of several classes (yolo): "error", a "gap", or "labels", which makes all
            classes labels of one task that are 1 where a box is.
        missing: A row of the table without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the task that the folders stand for, or with those of the table.

    Raises:
        MissingDataError: No folder of images, or no such table.
        DataFormatError: An image next to the class folders, or a line of the table that cannot be read.
        UnsafePathError: A path or link that leaves the root.
        ConfigError: Options of a table without a table.
    """
    check_choice("value of splits", splits, (True, False, "auto"))
    check_choice("layout of an image folder", layout, (None, "folders", "table", "yolo"))
    check_choice("value of several", several, ("error", "gap", "labels"))
    if layout == "table" and table is None:
        raise ConfigError(f"{TITLE}: expected a table with layout='table', found none; give table=FILE")
    if table is not None:
        if layout in ("folders", "yolo"):
            raise ConfigError(f"{TITLE}: expected layout='table' with table={str(table)!r}, found {layout!r}")
        classes = {task: None} if classes is None and labels is None else classes
        file = root / table
        if not file.is_file():
            raise MissingDataError(f"{TITLE}: expected the table {file}, found {listing(file.parent)}")
        manifest = from_csv(
            file,
            name=TITLE,
            classes=classes,
            labels=labels,
            path_column=path,
            split=split,
            group=group,
            gaps=gaps,
            not_gaps=not_gaps,
            root=root,
        )
        frame = keep_present(manifest.frame, root, missing)
        _refuse_links(root, frame["path"])
        return Manifest(frame, manifest.tasks, root, TITLE)
    if classes or labels or split or group or tuple(gaps) or tuple(not_gaps) or path != "path":
        raise ConfigError(
            f"{TITLE}: expected a table with the options of a table, found none; give table=FILE"
        )
    if layout == "yolo" or (layout is None and is_yolo(root)):
        if layout is None:
            tell(f"{TITLE}: classes from labels/*.txt, as detectors write them (layout='yolo')")
        return _from_boxes(root, task, several)
    return _from_folders(root, task, splits)


def _from_boxes(root: Path, task: str, several: str) -> Manifest:
    frame, names = read_yolo(root, TITLE, "list" if several == "labels" else several)
    _refuse_links(root, frame["path"])
    if several != "labels":
        return Manifest(frame.rename({"class": task}), (MulticlassTask(task, names),), root, TITLE)
    labels = [pl.col("class").list.contains(name).cast(pl.Int8).alias(f"{task}.{name}") for name in names]
    return Manifest(frame.select("path", "split", *labels), (MultilabelTask(task, names),), root, TITLE)


def _from_folders(root: Path, task: str, splits: bool | Literal["auto"]) -> Manifest:
    top = _folders(root)
    if not top:
        raise MissingDataError(
            f"{TITLE}: expected one folder a class in {root}, or a table, found {listing(root)}"
        )
    spelled = all(name.lower() in SPLIT_SPELLINGS for name in top)
    if splits is True and not spelled:
        raise DataFormatError(f"{root}: expected folders with names of splits, found {', '.join(top[:12])}")
    files: list[File] = []
    if splits is not False and spelled:
        _refuse_images(root)
        for name in top:
            files.extend(_files(root, root / name, SPLIT_SPELLINGS[name.lower()]))
    else:
        files.extend(_files(root, root, None))
    rows = [file for file in files if file[0].lower().endswith(IMAGE_ENDINGS)]
    if not rows:
        raise MissingDataError(
            f"{TITLE}: expected images in the folders {', '.join(top[:12])} of {root}, found none with an "
            f"ending of {', '.join(IMAGE_ENDINGS)}{_instead(files)}"
        )
    frame = pl.DataFrame(rows, schema={"path": pl.String, "split": pl.String, task: pl.String}, orient="row")
    _tell_left_out(files, set(frame[task]))
    _refuse_links(root, frame["path"])
    return Manifest(frame, (MulticlassTask(task, frame[task].unique().sort()),), root, TITLE)


def _folders(folder: Path) -> list[str]:
    return [name for name in entries(folder) if (folder / name).is_dir()]


def _files(root: Path, base: Path, split: str | None) -> Iterator[File]:
    _refuse_images(base)
    for name in _folders(base):
        for path in files_below(root, base / name):
            yield path, split, name


def _tell_left_out(files: Iterable[File], classes: set[str]) -> None:
    """Say which files are not read, by their endings, and which folders of files are no class for that."""
    left = [(path, name) for path, _, name in files if not path.lower().endswith(IMAGE_ENDINGS)]
    if left:
        folders = list(dict.fromkeys(name for _, name in left if name not in classes))
        lost = f"; without any image, so no class: {', '.join(folders[:8])}" if folders else ""
        counts = counted_endings(path for path, _ in left)
        tell(f"{TITLE}: left out are files with other endings than an image's: {counts}{lost}")


def _instead(files: Iterable[File]) -> str:
    counts = counted_endings(path for path, _, _ in files)
    return f", but {counts}" if counts else ""


def _refuse_images(folder: Path) -> None:
    for name in entries(folder):
        if name.lower().endswith(IMAGE_ENDINGS) and not (folder / name).is_dir():
            raise DataFormatError(
                f"{folder / name}: expected images in the folders of their classes only; images "
                "without such folders need a table"
            )


def _refuse_links(root: Path, paths: pl.Series) -> None:
    """Raise for a path that leads out of the root by a symbolic link; each folder is looked up once."""
    home = root.resolve()
    folders: dict[str, bool] = {}
    for path in paths.drop_nulls():
        folder = str(path).rpartition("/")[0]
        if folder not in folders:
            folders[folder] = (root / folder).resolve().is_relative_to(home)
        place = root / path
        if not folders[folder] or (place.is_symlink() and not place.resolve().is_relative_to(home)):
            raise UnsafePathError(
                f"expected images below {root}, found {path!r}, a link that leads out of it"
            )
