"""UT-Zappos50K: catalogue pictures of shoes, with their category and the shop's descriptions.

Layout: `ut-zap50k-images-square/{Boots,Sandals,Shoes,Slippers}/<subcategory>/<brand>/100627.72.jpg` (or
`ut-zap50k-images`), `ut-zap50k-data/meta-data-bin.csv` (`CID`, then 151 columns of 0 and 1 whose names begin
with `Category.`, `SubCategory.`, `HeelHeight.`, `Insole.`, `Closure.`, `Gender.`, `Material.` or `ToeStyle.`)
and `ut-zap50k-data/image-path.mat` (variable `imagepath`, the paths in the order of the rows). 50,025 images.

Traps: the row of CID `100627-72` is file `100627.72.jpg`, and the part before the hyphen is the product, of
which there are several colours (`group` here, or a split would share products); folder names may end in a
dot, which lies on disk as `%2E` or, on systems that cut it off, as nothing: both are found; a row without any
1 in a group of columns was not described there by the shop, so that the group is a gap. There is no official
split into train, val and test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice, find_file, find_folder, keep_present
from concord.data.readers._lists import below, images_below
from concord.data.readers._mat import cell_strings, mat_variables
from concord.data.readers._text import Lines, read_table
from concord.errors import DataFormatError
from concord.tasks import MulticlassTask, MultilabelTask

NAME = "ut-zappos50k"
TITLE = "UT-Zappos50K"
HOME = "https://vision.cs.utexas.edu/projects/finegrained/utzap50k/"

CATEGORIES = ("Boots", "Sandals", "Shoes", "Slippers")

GROUPS = ("HeelHeight", "Insole", "Closure", "Gender", "Material", "ToeStyle")
"""What the shop describes: groups of labels of the task `attributes`."""

_DOT = re.compile(r"\.(/|$)")
"""A dot at the end of a folder's name."""

_FOLDERS = {"square": "ut-zap50k-images-square", "original": "ut-zap50k-images"}


def read(
    root: Path,
    *,
    images: Literal["square", "original"] = "square",
    paths: Literal["mat", "folders"] = "mat",
    undescribed: Literal["gap", "absent"] = "gap",
    missing: Missing = "drop",
) -> Manifest:
    """Read UT-Zappos50K.

    Args:
        root: Folder that holds `ut-zap50k-data` and the folder of the images.
        images: Which pictures: "square" (136 x 136) or "original".
        paths: "mat" takes the paths of image-path.mat, checked against the CIDs; "folders" looks for the file
            of each CID on disk, whatever its folder is called.
        undescribed: A group of labels without any 1 is a "gap", or all its labels are "absent".
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the tasks `category` (4 classes), `subcategory` and `attributes`, whose labels keep
        the name of their group (`Closure.Buckle`); `group` is the product.

    Raises:
        MissingDataError: A file is not there; the message says what was found.
        DataFormatError: A line that is not in the format; names file and line.
    """
    check_choice("value of images", images, tuple(_FOLDERS))
    check_choice("value of paths", paths, ("mat", "folders"))
    check_choice("value of undescribed", undescribed, ("gap", "absent"))
    file = find_file(root, ["ut-zap50k-data/meta-data-bin.csv", "meta-data-bin.csv"], TITLE, HOME)
    names, lines = read_table(file)
    _check_names(file, names)
    fields = lines.fields(names, ",")
    cid = fields["CID"]
    lines.require(cid.str.contains(r"^[0-9]+-[0-9]+$"), "a CID as 100627-72", cid)
    lines.distinct(cid, "CID")
    bits = {
        name: lines.codes(fields[name], {"0": 0, "1": 1}, f"0 or 1 as {name}", pl.Int8) for name in names[1:]
    }
    if paths == "mat":
        located = _mat_paths(root, lines, cid, _FOLDERS[images])
    else:
        located = _found_paths(root, lines, cid, _FOLDERS[images])
    category, categories = _one_class(lines, bits, "Category")
    subcategory, subcategories = _one_class(lines, bits, "SubCategory")
    labels = [column for group in GROUPS for column in _labels(bits, group, undescribed)]
    group = cid.str.extract(r"^([0-9]+)-").alias("group")
    frame = pl.DataFrame(
        [located, group, category.alias("category"), subcategory.alias("subcategory"), *labels]
    )
    tasks = (
        MulticlassTask("category", categories),
        MulticlassTask("subcategory", subcategories),
        MultilabelTask("attributes", [column.name.removeprefix("attributes.") for column in labels]),
    )
    return Manifest(keep_present(frame, root, missing), tasks, root, TITLE)


# -- columns ---------------------------------------------------------------------------------------


def _check_names(path: Path, names: Sequence[str]) -> None:
    if names[0] != "CID":
        raise DataFormatError(f"{path}, line 1: expected the column 'CID' first, found {names[0]!r}")
    known = ("Category", "SubCategory", *GROUPS)
    for name in names[1:]:
        group, _, value = name.partition(".")
        if group not in known or not value:
            raise DataFormatError(
                f"{path}, line 1: expected columns named after {', '.join(known)} and a dot, found {name!r}"
            )
    found = sorted(_columns(names, "Category"))
    if found != sorted(f"Category.{name}" for name in CATEGORIES):
        raise DataFormatError(
            f"{path}, line 1: expected the columns Category.{', Category.'.join(CATEGORIES)}, found "
            f"{', '.join(found) or 'none'}"
        )
    for group in known[1:]:
        at_least = 2 if group == "SubCategory" else 1
        if len(_columns(names, group)) < at_least:
            raise DataFormatError(f"{path}, line 1: expected columns named {group}.NAME, found too few")


def _columns(names: Sequence[str], group: str) -> list[str]:
    return [name for name in names if name.startswith(f"{group}.")]


def _one_class(lines: Lines, bits: dict[str, pl.Series], group: str) -> tuple[pl.Series, list[str]]:
    """The one class of a row, or a gap, and all classes."""
    columns = _columns(list(bits), group)
    table = pl.DataFrame([bits[name] for name in columns])
    lines.require(table.sum_horizontal() <= 1, f"one {group} at most")
    classes = [name.partition(".")[2] for name in columns]
    table.columns = classes
    value = pl.coalesce(
        *(pl.when(pl.col(name) == 1).then(pl.lit(name)) for name in classes), pl.lit(None, pl.String)
    )
    return table.select(value.alias(group)).to_series(), classes


def _labels(bits: dict[str, pl.Series], group: str, undescribed: str) -> list[pl.Series]:
    columns = _columns(list(bits), group)
    table = pl.DataFrame([bits[name].alias(f"attributes.{name}") for name in columns])
    if undescribed == "gap":
        described = pl.max_horizontal(pl.all()) == 1
        table = table.select(pl.when(described).then(pl.col(name)).alias(name) for name in table.columns)
    return table.get_columns()


# -- paths -----------------------------------------------------------------------------------------


def _mat_paths(root: Path, lines: Lines, cid: pl.Series, folder: str) -> pl.Series:
    path = find_file(root, ["ut-zap50k-data/image-path.mat", "image-path.mat"], TITLE, HOME)
    paths = pl.Series(cell_strings(path, "imagepath", mat_variables(path, ("imagepath",))["imagepath"]))
    if len(paths) != len(cid):
        raise DataFormatError(
            f"{lines.path}, line {lines.number[-1]}: expected {len(paths):,} rows as {path.name} has paths, "
            f"found {len(cid):,}"
        )
    stem = paths.str.extract(r"([^/]+)\.[A-Za-z]+$").str.replace(".", "-", literal=True)
    lines.require(stem == cid, f"the CIDs in the order of {path.name}", cid)
    return _on_disk(root, below(f"{folder}/", paths))


def _on_disk(root: Path, paths: pl.Series) -> pl.Series:
    """The paths with folders whose names end in a dot as they are written on this disk."""
    folders = paths.str.extract(r"^(.*)/[^/]+$")
    written: dict[str, str] = {}
    for folder in folders.unique().drop_nulls():
        spellings = (folder, *(_DOT.sub(end, folder) for end in (r"%2E\1", r".%2E\1", r"\1")))
        written[folder] = next((name for name in spellings if (root / name).is_dir()), folder)
    names = paths.str.extract(r"([^/]+)$")
    return pl.select((folders.replace(written) + "/" + names).alias("path")).to_series()


def _found_paths(root: Path, lines: Lines, cid: pl.Series, folder: str) -> pl.Series:
    base = find_folder(root, [folder], TITLE, HOME)
    found: dict[str, str] = {}
    for path in images_below(root, base):
        key = path.rpartition("/")[2][:-4].replace(".", "-")
        if key in found:
            raise DataFormatError(f"{base}: expected one image a CID, found {found[key]!r} and {path!r}")
        found[key] = path
    known = set(cid)
    for key, where in found.items():
        if key not in known:
            raise DataFormatError(
                f"{lines.path}, line {lines.number[-1]}: expected a row for each image, found none "
                f"for {where!r}"
            )
    # A CID without a file keeps a path that is not there, for `missing` to deal with.
    return pl.Series("path", [found.get(key, f"{folder}/{key.replace('-', '.')}.jpg") for key in cid])
