"""DeepFashion, category and attribute prediction: clothes of 50 categories, annotated for 1,000 attributes.

Layout: `Anno_coarse/` (older: `Anno/`) with `list_category_cloth.txt`, `list_category_img.txt`,
`list_attr_cloth.txt`, `list_attr_img.txt` and `list_bbox.txt`, and `Eval/list_eval_partition.txt`; images as
`img/Sheer_Pleated-Front_Blouse/img_00000001.jpg` in the root or in `Img/`. In every list line 1 is the count
and line 2 a header. 289,222 images.

Codes: categories count from 1 in the order of their list; a category is 1 upper body, 2 lower body or 3 full
body; an attribute is 1 texture, 2 fabric, 3 shape, 4 part or 5 style; attributes of an image are 1 present,
-1 absent and 0 unknown.

Traps: names of attributes and categories hold blanks, so that only the last word of a line is the type; some
code merges unknown and absent: here 0 is a gap unless `unknown="absent"` says otherwise. Boxes are padded
with zeros (`072`). Cape, Nightdress, Shirtdress and Sundress were merged into Dress, so that 46 of the 50
categories have images. The list of
attributes has 900 MB, so that it is read in parts. `Anno_fine/` is another, smaller data set and is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice, find_file, find_folder, keep_present
from concord.data.readers._lists import announced, below, check_count, check_header, positions, read_counted
from concord.data.readers._text import Lines, read_blocks
from concord.errors import ConfigError, DataFormatError
from concord.tasks import MulticlassTask, MultilabelTask

NAME = "deepfashion"
TITLE = "DeepFashion"
HOME = "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html (category and attribute prediction benchmark)"

ATTRIBUTE_TYPES = ("texture", "fabric", "shape", "part", "style")
"""Kinds of attributes, in the order of their numbers from 1."""

GAP = -1

_IMAGE = r"img/[^\s/]+(?:/[^\s/]+)*\.jpg"


def read(
    root: Path,
    *,
    attribute_types: Sequence[str] | str | None = None,
    unknown: Literal["gap", "absent"] = "gap",
    categories: Literal["listed", "all"] = "listed",
    boxes: bool = False,
    missing: Missing = "drop",
) -> Manifest:
    """Read DeepFashion's category and attribute prediction benchmark.

    Args:
        root: Folder that holds `Anno_coarse` (or `Anno`) and `Eval`.
        attribute_types: Kinds of attributes to read, of "texture", "fabric", "shape", "part" and "style";
            None reads all 1,000.
        unknown: An attribute with code 0 is a "gap", or "absent".
        categories: Classes of the task: those "listed" for an image, of which there are 46, or "all" 50.
        boxes: Whether to add `box_x`, `box_y`, `box_width` and `box_height` of the piece, in pixels.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the tasks `category` and `attributes`, and `split` (train, val, test).

    Raises:
        MissingDataError: A folder or file is not there; the message says what was found.
        DataFormatError: A line that is not in the format; names file and line.
        ConfigError: No attribute of the types asked for.
    """
    check_choice("value of unknown", unknown, ("gap", "absent"))
    check_choice("value of categories", categories, ("listed", "all"))
    kinds = [attribute_types] if isinstance(attribute_types, str) else attribute_types
    for kind in kinds or ():
        check_choice("attribute type", kind, ATTRIBUTE_TYPES)
    notes = find_folder(root, ["Anno_coarse", "Anno"], TITLE, HOME)
    parts = find_file(root, ["Eval/list_eval_partition.txt", "list_eval_partition.txt"], TITLE, HOME)
    for name in ("list_category_cloth", "list_category_img", "list_attr_cloth", "list_attr_img"):
        find_file(root, [f"{notes.name}/{name}.txt"], TITLE, HOME)
    classes, _ = _names(notes / "list_category_cloth.txt", "category", 3)
    attributes, types = _names(notes / "list_attr_cloth.txt", "attribute", len(ATTRIBUTE_TYPES))
    kept = [k for k, t in enumerate(types) if kinds is None or ATTRIBUTE_TYPES[t - 1] in kinds]
    if not kept:
        raise ConfigError(f"{TITLE}: expected attributes of the types {', '.join(kinds or ())}, found none")
    images, category = _categories(notes / "list_category_img.txt", classes)
    if categories == "listed":
        classes = [name for name in classes if name in set(category)]
    columns = [below(_folder(root), images), _split(parts, images), category]
    if boxes:
        columns.extend(_boxes(notes / "list_bbox.txt", images))
    labels = _labels(notes / "list_attr_img.txt", images, len(attributes), kept)
    frame = pl.DataFrame(columns)
    there = keep_present(frame.select("path").with_row_index("at"), root, missing)["at"]
    frame = frame[there]
    names = [attributes[k] for k in kept]
    frame = frame.with_columns(
        _label(f"attributes.{name}", row, there, unknown) for name, row in zip(names, labels, strict=True)
    )
    tasks = (MulticlassTask("category", classes), MultilabelTask("attributes", names))
    return Manifest(frame, tasks, root, TITLE)


# -- lists -----------------------------------------------------------------------------------------


def _names(path: Path, what: str, types: int) -> tuple[list[str], list[int]]:
    """Names, which may hold blanks, and their types."""
    table = read_counted(path, (f"{what}_name", f"{what}_type"))
    lines = table.entries
    fields = lines.match(r"(?<name>\S.*?)\s+(?<type>[0-9])", f"the name of a {what} and its type")
    numbers = lines.integers(fields["type"], f"the type of a {what}", 1, types)
    lines.distinct(fields["name"], what)
    table.require_all()
    return fields["name"].to_list(), numbers.to_list()


def _categories(path: Path, categories: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    table = read_counted(path, ("image_name", "category_label"))
    lines = table.entries
    lines.require_end()
    fields = lines.match(rf"(?<image>{_IMAGE})\s+(?<category>[0-9]+)", "an image and a category")
    numbers = lines.integers(fields["category"], "a category", 1, len(categories))
    lines.distinct(fields["image"], "image")
    table.require_all()
    return fields["image"], pl.Series("category", categories, dtype=pl.String).gather(numbers - 1)


def _split(path: Path, images: pl.Series) -> pl.Series:
    table = read_counted(path, ("image_name", "evaluation_status"))
    lines = table.entries
    fields = lines.match(rf"(?<image>{_IMAGE})\s+(?<part>\S+)", "an image and train, val or test")
    codes = lines.codes(
        fields["part"], {part: part for part in ("train", "val", "test")}, "a part", pl.String
    )
    at = positions(lines, fields["image"], images)
    table.require_all()
    return codes.gather(at).alias("split")


def _boxes(path: Path, images: pl.Series) -> list[pl.Series]:
    corners = ("x_1", "y_1", "x_2", "y_2")
    table = read_counted(path, ("image_name", *corners))
    lines = table.entries
    lines.require_end()
    fields = lines.fields(["image", *corners])
    plain = {corner: fields[corner].str.replace(r"^0+([0-9])", "$1") for corner in corners}  # written as 072
    x, y, right, bottom = (lines.integers(plain[corner], corner, low=0) for corner in corners)
    lines.require((right >= x) & (bottom >= y), "a box whose second corner is right of and below the first")
    table.require_all()
    at = positions(lines, fields["image"], images)
    sides = {"box_x": x, "box_y": y, "box_width": right - x, "box_height": bottom - y}
    return [side.gather(at).alias(name) for name, side in sides.items()]


def _folder(root: Path) -> str:
    return "Img/" if (root / "Img" / "img").is_dir() else ""


# -- attributes ------------------------------------------------------------------------------------


def _labels(path: Path, images: pl.Series, width: int, kept: Sequence[int]) -> npt.NDArray[np.int8]:
    """Codes of the attributes that are kept: a row an attribute, a column an image; GAP for unknown."""
    table = np.empty((len(kept), len(images)), dtype=np.int8)
    places = pl.DataFrame({"image": images}).with_row_index("at")
    seen = np.zeros(len(images), dtype=np.bool_)
    count, last, taken = 0, 0, list(kept)
    for number, block in enumerate(read_blocks(path)):
        lines = block
        if number == 0:
            count, header = announced(block)
            check_header(path, header, ("image_name", "attribute_labels"))
            lines = block.slice(2)
        names, codes = _codes(lines, width)
        lines.require(names.is_in(images.implode()), "an image that the other lists have", names)
        at = pl.DataFrame({"image": names}).join(places, on="image", how="left", maintain_order="left")["at"]
        index = at.to_numpy()
        lines.require(names.is_first_distinct() & pl.Series(~seen[index]), "each image once", names)
        seen[index] = True
        table[:, index] = codes[:, taken].T
        last = int(block.number[-1])
    if not last:
        raise DataFormatError(f"{path}, line 1: expected a count, a header and entries, found an empty file")
    check_count(path, count, int(seen.sum()), last)
    if not seen.all():
        lost = images[int(np.argmin(seen))]
        raise DataFormatError(
            f"{path}, line {last}: expected an entry for each image, found none for {lost!r}"
        )
    return table


def _codes(lines: Lines, width: int) -> tuple[pl.Series, npt.NDArray[np.int8]]:
    """Images of some lines, and their codes: 1, 0 or GAP, shape (lines, width)."""
    whole = rf"^{_IMAGE}(?:[ \t]+(?:-1|0|1))+$"  # no other blanks: what follows counts bytes
    lines.require(lines.text.str.contains(whole), "an image and attributes 1, 0 or -1")
    images = lines.text.str.extract(rf"^({_IMAGE})[ \t]")
    codes = lines.text.str.slice(images.str.len_chars())
    text = np.frombuffer("".join(codes).encode("ascii"), dtype=np.uint8)
    digits = np.flatnonzero((text == ord("0")) | (text == ord("1")))
    ends = codes.str.len_bytes().cum_sum().to_numpy()
    found = np.diff(np.searchsorted(digits, ends), prepend=0)
    lines.require(pl.Series(found == width), f"an image and {width:,} attributes")
    negative = text[digits - 1] == ord("-")
    values = np.where(text[digits] == ord("0"), GAP, np.where(negative, 0, 1)).astype(np.int8)
    return images, values.reshape(len(lines), width)


def _label(name: str, codes: npt.NDArray[np.int8], there: pl.Series, unknown: str) -> pl.Series:
    column = pl.Series(name, codes[there.to_numpy()])
    return column.replace(GAP, 0) if unknown == "absent" else column.replace(GAP, None)
