"""Clothing Attributes: people in the street, annotated for what they wear.

H. Chen, A. Gallagher, B. Girod, "Describing clothing by semantic attributes", ECCV 2012. 1,856 images.

Layout: `ClothingAttributeDataset/images/000001.jpg`, `ClothingAttributeDataset/labels/black_GT.mat`, one file
a label or class task, each with the variable `GT`, one number an image in the order of the images' numbers:
1 absent and 2 present, or the number of the class; NaN not annotated (the annotators disagreed).

Labels: all colours, patterns and pieces under the names of their files; `gender` is 1 for a woman, and
`skin_exposure` is 1 for much of it. The names of the classes of `category`, `neckline` and `sleeve_length`
are those of the paper, in its order; that the numbers follow this order is unconfirmed.

Traps: much code takes labels by their order in a folder listing, which no system promises: here the file's
name says which label it is; much code fills NaN at random: here it is a gap. There is no split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, entries, find_folder, keep_present, listing
from concord.data.readers._mat import column, mat_variables
from concord.errors import DataFormatError, MissingDataError
from concord.tasks import MulticlassTask, MultilabelTask

NAME = "clothing-attributes"
TITLE = "Clothing Attributes"
HOME = "https://purl.stanford.edu/tb980qz1002"

LABELS = (
    *("black", "blue", "brown", "collar", "cyan", "gender", "gray", "green", "many_colors", "necktie"),
    *("pattern_floral", "pattern_graphics", "pattern_plaid", "pattern_solid", "pattern_spot"),
    *("pattern_stripe", "placket", "purple", "red", "scarf", "skin_exposure", "white", "yellow"),
)
"""The 23 labels of the task `attributes`, named as their files."""

CLASSES = {
    "category": ("shirt", "sweater", "t-shirt", "outerwear", "suit", "tank top", "dress"),
    "neckline": ("v-shape", "round", "other"),
    "sleeve_length": ("no sleeves", "short sleeves", "long sleeves"),
}
"""Classes of the class tasks, in the order of the numbers from 1."""

_FILES = {"category": "category", "neckline": "neckline", "sleeve_length": "sleevelength"}


def read(root: Path, *, missing: Missing = "drop") -> Manifest:
    """Read Clothing Attributes.

    Args:
        root: The folder `ClothingAttributeDataset`, or the one that holds it.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the tasks `category` (7 classes), `neckline` (3), `sleeve_length` (3) and `attributes`
        (23 labels).

    Raises:
        MissingDataError: A folder or file is not there; the message says what was found.
        DataFormatError: A file that is not in the format; names the file and the image.
    """
    labels = find_folder(root, ["labels", "ClothingAttributeDataset/labels"], TITLE, HOME)
    columns: dict[str, npt.NDArray[np.int64]] = {}
    for task, classes in CLASSES.items():
        columns[task] = _numbers(labels, _FILES[task], len(classes))
    for label in LABELS:
        columns[f"attributes.{label}"] = _numbers(labels, label, 2)
    count = _common_length(labels, columns)
    base = labels.parent / "images"
    _check_images(base, count)
    folder = base.relative_to(root).as_posix()
    series = [pl.Series("path", [f"{folder}/{number:06d}.jpg" for number in range(1, count + 1)])]
    for task, classes in CLASSES.items():
        names = [None if k < 0 else classes[k] for k in columns.pop(task)]
        series.append(pl.Series(task, names, dtype=pl.String))
    series.extend(pl.Series(name, values).cast(pl.Int8).replace(-1, None) for name, values in columns.items())
    tasks = (*(MulticlassTask(name, classes) for name, classes in CLASSES.items()),)
    frame = keep_present(pl.DataFrame(series), root, missing)
    return Manifest(frame, (*tasks, MultilabelTask("attributes", LABELS)), root, TITLE)


def _numbers(labels: Path, name: str, classes: int) -> npt.NDArray[np.int64]:
    """Class indices of a file, -1 for a gap: shape (images,)."""
    path = next((p for p in (labels / f"{name}_GT.mat", labels / f"{name}.mat") if p.is_file()), None)
    if path is None:
        raise MissingDataError(
            f"{TITLE}: expected the file '{name}_GT.mat' in {labels}, found {listing(labels)}; "
            f"get the data from {HOME}"
        )
    values = column(path, "GT", mat_variables(path, ("GT",))["GT"])
    gap = np.isnan(values)
    bad = ~gap & ~np.isin(values, np.arange(1, classes + 1))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataFormatError(
            f"{path}: expected a number in 1 .. {classes} or NaN for image {row + 1}, found {values[row]:g}"
        )
    return np.where(gap, 0, values).astype(np.int64) - 1


def _common_length(labels: Path, columns: dict[str, npt.NDArray[np.int64]]) -> int:
    lengths = [len(values) for values in columns.values()]
    usual = max(set(lengths), key=lengths.count)
    for name, length in zip(columns, lengths, strict=True):
        if length != usual:
            file = _FILES.get(name, name.removeprefix("attributes."))
            raise DataFormatError(
                f"{labels / file}_GT.mat: expected {usual} numbers as in other files, found {length}"
            )
    return usual


def _check_images(base: Path, count: int) -> None:
    """Raise for an image that no row belongs to: the rows would be those of other images."""
    names = entries(base, ".jpg") if base.is_dir() else []
    known = {f"{number:06d}.jpg" for number in range(1, count + 1)}
    for name in names:
        if name not in known:
            raise DataFormatError(
                f"{base / name}: expected images 000001.jpg to {count:06d}.jpg, as the labels have rows, "
                "found another"
            )
