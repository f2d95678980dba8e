"""Shoes: pictures of women's shoes of ten types, with ten relative attributes.

The images are those of Attribute Discovery (Berg, Berg, Shih, "Automatic attribute discovery and
characterization from noisy web data", ECCV 2010), the attributes those of WhittleSearch (Kovashka, Parikh,
Grauman, "WhittleSearch: Image search with relative attribute feedback", CVPR 2012). 14,658 images.

Layout: `womens_<type>/[0|1/]img_womens_<type>_851.jpg` in the root, in `shoes/`, in `images/` or in
`attributedata/shoes/`, next to descriptions `descr_womens_<type>_851.txt`, which are not read;
`shoes_attributes.mat` with the variables `im_names`, `class_labels`, `attribute_names`, `orders` (attributes
x classes: which class shows more of an attribute; equal numbers, equally much) and
`relative_att_predictions` (images x attributes: how much of the attribute the image shows).

The format is unconfirmed: it was put together from public code that reads the data, not from the data. What
is found to be otherwise is an error that says so.

Traps: the attributes are relative, "more" or "less", and must be cut in two to be labels: at a quantile, with
a band around it left as a gap if wanted; `orders` orders classes, so that labels from it follow from the
class. The type of an image is in its name; images are joined by name, never by order. There is no split.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import check_choice, entries, find_file, listing
from concord.data.readers._lists import images_below
from concord.data.readers._mat import cell_strings, column, mat_variables, matrix
from concord.errors import DataFormatError, MissingDataError, RangeError
from concord.tasks import MulticlassTask, MultilabelTask, Task

NAME = "shoes"
TITLE = "Shoes (Attribute Discovery, WhittleSearch)"
HOME = "http://tamaraberg.com/attributesDataset/ and https://vision.cs.utexas.edu/whittlesearch/"

_PLACES = ("shoes", ".", "images", "attributedata/shoes")
_IMAGE = re.compile(r"img_(womens_[a-z_]+)_[0-9]+\.jpg")

Array = npt.NDArray[Any]


def read(
    root: Path,
    *,
    attributes: Literal["image", "class", "none"] = "image",
    quantile: float = 0.5,
    band: float = 0.0,
    missing: Literal["drop", "error"] = "drop",
) -> Manifest:
    """Read Shoes.

    Args:
        root: Folder of the data set.
        attributes: From the predicted strength of each "image", from the order of the "class"es, or "none".
        quantile: An attribute is present above this quantile of all images (or classes), in (0, 1).
        band: Share of all images (or classes) around the quantile that is left as a gap, in [0, 1).
        missing: A row of shoes_attributes.mat without an image: "drop" it, or "error".

    Returns:
        A manifest with the task `type` (athletic_shoes, boots, ...) and, unless "none", `attributes`. An
        image that shoes_attributes.mat does not name has gaps.

    Raises:
        MissingDataError: A folder or file is not there; the message says what was found.
        DataFormatError: A file in another format.
        RangeError: A quantile or band out of range.
    """
    check_choice("value of attributes", attributes, ("image", "class", "none"))
    check_choice("value of missing", missing, ("drop", "error"))
    low, high = _cuts(quantile, band)
    paths, types = _images(root)
    frame = pl.DataFrame({"path": list(paths.values()), "type": [types[name] for name in paths]})
    tasks: list[Task] = [MulticlassTask("type", sorted(set(types.values())))]
    if attributes != "none":
        path = find_file(root, ["shoes_attributes.mat", "shoes/shoes_attributes.mat"], TITLE, HOME)
        names, labels, rows = _labels(path, attributes, types, low, high)
        if missing == "error" and len(set(rows) & set(types)) < len(rows):
            lost = next(name for name in rows if name not in types)
            raise MissingDataError(
                f"{path}: expected an image for each row, found none for {lost!r}; "
                "missing='drop' leaves them out"
            )
        if not set(rows) & set(types):
            raise MissingDataError(
                f"{path}: expected rows of the images in {root}, found none, the first {rows[0]!r}"
            )
        columns = [pl.Series(f"attributes.{name}", labels[:, k]) for k, name in enumerate(names)]
        table = pl.DataFrame([pl.Series("name", rows), *columns]).with_columns(
            pl.all().exclude("name").cast(pl.Int8).replace(-1, None)
        )
        frame = frame.with_columns(name=pl.Series(list(paths)))
        frame = frame.join(table, on="name", how="left", maintain_order="left").drop("name")
        tasks.append(MultilabelTask("attributes", names))
    return Manifest(frame, tuple(tasks), root, TITLE)


def _cuts(quantile: float, band: float) -> tuple[float, float]:
    low, high = quantile - band / 2, quantile + band / 2
    if not (0 < quantile < 1 and 0 <= band < 1 and low >= 0 and high <= 1):
        raise RangeError(
            f"{TITLE}: expected a quantile in (0, 1) and a band within [0, 1] around it, found quantile "
            f"{quantile} and band {band}"
        )
    return low, high


def binarise(scores: Array, low: float, high: float) -> npt.NDArray[np.int8]:
    """1 above the quantile `high` of each column, 0 up to the quantile `low`, -1 between. Shape as given."""
    below, above = np.quantile(scores, low, axis=0), np.quantile(scores, high, axis=0)
    return np.select([scores > above, scores <= below], [1, 0], -1).astype(np.int8)


# -- images ----------------------------------------------------------------------------------------


def _images(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Path and type of each image, by its name."""
    base = _base(root)
    paths: dict[str, str] = {}
    types: dict[str, str] = {}
    for folder in _type_folders(base):
        for path in images_below(root, base / folder):
            name = path.rpartition("/")[2]
            match = _IMAGE.fullmatch(name)
            if match is None or match[1] != folder:
                raise DataFormatError(
                    f"{root / path}: expected images as img_{folder}_1.jpg in this folder, found {name!r}"
                )
            if name in paths:
                raise DataFormatError(f"{base}: expected each image once, found {paths[name]!r}, {path!r}")
            paths[name], types[name] = path, folder.removeprefix("womens_")
    if not paths:
        raise MissingDataError(
            f"{TITLE}: expected images img_womens_TYPE_1.jpg below {base}, found none; "
            f"get the data from {HOME}"
        )
    return paths, types


def _base(root: Path) -> Path:
    for place in _PLACES:
        if _type_folders(root / place):
            return root / place
    raise MissingDataError(
        f"{TITLE}: expected folders womens_TYPE in {root}, in 'shoes', 'images' or 'attributedata/shoes', "
        f"found {listing(root)}; get the data from {HOME}"
    )


def _type_folders(base: Path) -> list[str]:
    names = entries(base) if base.is_dir() else []
    return [name for name in names if name.startswith("womens_") and (base / name).is_dir()]


# -- attributes ------------------------------------------------------------------------------------


def _labels(
    path: Path, attributes: str, types: dict[str, str], low: float, high: float
) -> tuple[list[str], npt.NDArray[np.int8], list[str]]:
    """Names of the attributes, labels (images x attributes), and names of the images."""
    scores = "relative_att_predictions" if attributes == "image" else "orders"
    found = mat_variables(path, ("im_names", "attribute_names", "class_labels", scores))
    names = cell_strings(path, "attribute_names", found["attribute_names"])
    rows = [name.rpartition("/")[2] for name in cell_strings(path, "im_names", found["im_names"])]
    for what, values in (("attribute_names", names), ("im_names", rows)):
        if len(set(values)) < len(values):
            raise DataFormatError(f"{path}: expected distinct {what}, found one twice")
    if attributes == "image":
        table = matrix(path, scores, found[scores], len(names))
        if len(table) != len(rows):
            raise DataFormatError(f"{path}: expected {len(rows)} rows in {scores!r}, found {len(table)}")
        return names, binarise(table, low, high), rows
    order = matrix(path, scores, np.atleast_2d(found[scores]).T, len(names))
    classes = column(path, "class_labels", found["class_labels"])
    _check_classes(path, classes, len(order), rows, types)
    return names, binarise(order, low, high)[classes.astype(np.int64) - 1], rows


def _check_classes(
    path: Path, classes: npt.NDArray[np.float64], count: int, rows: list[str], types: dict[str, str]
) -> None:
    """Raise unless class numbers and types of the images say the same, in other words."""
    if len(classes) != len(rows) or not np.isin(classes, np.arange(1, count + 1)).all():
        raise DataFormatError(
            f"{path}: expected {len(rows)} 'class_labels' in 1 .. {count}, found {len(classes)} with others"
        )
    meaning: dict[float, str] = {}
    for number, name in zip(classes, rows, strict=True):
        if name in types and meaning.setdefault(number, types[name]) != types[name]:
            raise DataFormatError(
                f"{path}: expected one type a class, found class {number:g} for {meaning[number]!r} and "
                f"{types[name]!r} ({name})"
            )
    if len(set(meaning.values())) < len(meaning):
        raise DataFormatError(f"{path}: expected one class per type, found two classes of one type")
