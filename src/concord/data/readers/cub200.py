"""CUB-200-2011: photographs of 200 species of birds, annotated image by image for 312 attributes.

Layout, in the root, in `CUB_200_2011/` or in `CUB_200_2011/CUB_200_2011/`: `images.txt` (id, path below
`images/`), `classes.txt` (id, name), `image_class_labels.txt` (image, class 1-200), `train_test_split.txt`
(image, 1 train or 0 test), `bounding_boxes.txt` (image, x, y, width, height in pixels),
`attributes/image_attribute_labels.txt` (image, attribute, 0 or 1, certainty, seconds),
`attributes/certainties.txt` (1 not visible, 2 guessing, 3 probably, 4 definitely),
`attributes/class_attribute_labels_continuous.txt` (200 lines of 312 percentages). 5,994 images for training
and 5,794 for testing; there is no validation part.

Traps: `attributes.txt`, the names, lies next to the folder, in it, or in its `attributes/`; some lines of
image_attribute_labels.txt have more than five fields, of which the first four count; an attribute that is
"not visible" is written 0 although nobody saw it, so that by default it is a gap; images of one class
disagree. Much code replaces the labels of an image by the majority of its class, which makes the relation
between species and attributes exact by construction: `level="class"` does so, `level="instance"` (the
default) does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice, find_file, keep_present
from concord.data.readers._lists import below
from concord.data.readers._text import Lines, read_lines
from concord.errors import DataFormatError
from concord.relations import Relation
from concord.tasks import MulticlassTask, MultilabelTask

NAME = "cub200"
TITLE = "CUB-200-2011"
HOME = "https://www.vision.caltech.edu/datasets/cub_200_2011/"

CERTAINTIES = ("not visible", "guessing", "probably", "definitely")
"""What the certainties 1 to 4 mean."""

GAP = -1

Labels = npt.NDArray[np.int8]


def read(
    root: Path,
    *,
    level: Literal["instance", "class"] = "instance",
    certainty: int = 2,
    boxes: bool = False,
    missing: Missing = "drop",
) -> Manifest:
    """Read CUB-200-2011.

    Args:
        root: The folder that holds `images.txt`, or the one that holds `CUB_200_2011`.
        level: "instance" gives the labels of the image; "class" those that the majority of annotated training
            images of its class has, where a tie is a gap.
        certainty: From which certainty on a label counts, 1 to 4; others are gaps. 2 leaves out what is not
            visible.
        boxes: Whether to add `box_x`, `box_y`, `box_width` and `box_height` of the bird, in pixels.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the tasks `species` (200 classes) and `attributes` (312 labels), and `split` (train,
        test).

    Raises:
        MissingDataError: A file is not there; the message says what was found.
        DataFormatError: A line that is not in the format; names file and line.
        RangeError: A certainty other than 1 to 4.
    """
    check_choice("level", level, ("instance", "class"))
    check_choice("certainty", certainty, (1, 2, 3, 4))
    base = _base(root)
    lines, paths = _images(base)
    classes = _classes(base)
    names, attributes = _attributes(root, base)
    species = _species(base, lines, paths, classes)
    split = _split(base, lines)
    _check_certainties(base)
    labels = _labels(base, len(paths), names, certainty)
    if level == "class":
        labels = _majority(labels, species, split == "train", len(classes))
    folder = f"{base.relative_to(root).as_posix()}/images/".removeprefix("./")
    columns = [
        below(folder, paths),
        pl.Series("split", split, dtype=pl.String),
        pl.Series("species", [classes[k] for k in species], dtype=pl.String),
        *(_boxes(base, lines) if boxes else []),
    ]
    frame = pl.DataFrame(columns).with_columns(
        pl.Series(f"attributes.{name}", column).replace(GAP, None)
        for name, column in zip(attributes, labels, strict=True)
    )
    tasks = (MulticlassTask("species", classes), MultilabelTask("attributes", attributes))
    return Manifest(keep_present(frame, root, missing), tasks, root, TITLE)


def relation(root: str | Path) -> Relation:
    """The table of the data set: how often each attribute was annotated for images of each species.

    Args:
        root: As for `read`.

    Returns:
        P(attribute | species), species x attributes, of the tasks of `read`.

    Raises:
        MissingDataError: A file is not there; the message says what was found.
        DataFormatError: A line that is not in the format, or a table that holds no percentages.
    """
    base = _base(Path(root))
    classes, (_, attributes) = _classes(base), _attributes(Path(root), base)
    lines = read_lines(base / "attributes" / "class_attribute_labels_continuous.txt")
    lines.require_end()
    fields = lines.fields(attributes)
    if len(lines) != len(classes):
        raise _ended(lines, f"a line for each of {len(classes)} classes")
    percent = np.stack([lines.floats(fields[name], name, 0, 100).to_numpy() for name in attributes], axis=1)
    if percent.max() <= 1:
        raise DataFormatError(
            f"{lines.path}, line 1: expected percentages, found no number above {percent.max():g}: are these "
            "shares?"
        )
    return Relation(
        MulticlassTask("species", classes), MultilabelTask("attributes", attributes), percent / 100
    )


# -- files -----------------------------------------------------------------------------------------


def _base(root: Path) -> Path:
    return find_file(
        root, ["images.txt", "CUB_200_2011/images.txt", "CUB_200_2011/CUB_200_2011/images.txt"], TITLE, HOME
    ).parent


def _numbered(path: Path, rest: str, expected: str) -> tuple[Lines, pl.DataFrame]:
    """Fields of lines that begin with their number, from 1 on without a hole."""
    lines = read_lines(path)
    fields = lines.match(rf"(?<id>[0-9]+)\s+{rest}", expected)
    numbers = lines.integers(fields["id"], "an id", low=1)
    lines.require(numbers == pl.int_range(1, len(lines) + 1, eager=True), "ids from 1 on, in order", numbers)
    return lines, fields.drop("id")


def _ended(lines: Lines, expected: str) -> DataFormatError:
    where = lines.number[-1] if len(lines) else 1
    return DataFormatError(f"{lines.path}, line {where}: expected {expected}, found {len(lines):,} lines")


def _greatest(numbers: pl.Series) -> int:
    return int(numbers.to_numpy().max(initial=0))


def _same_length(first: Lines, second: Lines) -> None:
    """Raise unless two lists have one line an image each; the shorter one may be cut."""
    short, long = sorted((first, second), key=len)
    if len(short) < len(long):
        raise _ended(short, f"{len(long):,} images as in {long.path.name}")


def _images(base: Path) -> tuple[Lines, pl.Series]:
    lines, fields = _numbered(
        base / "images.txt",
        r"(?<path>[0-9]{3}\.[^/\s]+/[^/\s]+\.jpg)",
        "an id and a path as 001.Black_footed_Albatross/NAME.jpg",
    )
    lines.distinct(fields["path"], "image")
    return lines, fields["path"]


def _classes(base: Path) -> list[str]:
    lines, fields = _numbered(
        base / "classes.txt",
        r"(?<number>[0-9]{3})\.(?<name>\S+)",
        "an id and a class as 001.Black_footed_Albatross",
    )
    numbers = fields["number"].cast(pl.Int64)
    lines.require(numbers == pl.int_range(1, len(lines) + 1, eager=True), "the class of this id")
    lines.distinct(fields["name"], "class")
    return [str(name) for name in fields["name"]]


def _attributes(root: Path, base: Path) -> tuple[Lines, list[str]]:
    inside = base.relative_to(root)
    # The archive puts it next to its folder, which is the folder above where that one is named.
    next_to_it = Path("attributes.txt") if inside.parts else Path("..", "attributes.txt")
    choices = [inside / "attributes" / "attributes.txt", inside / "attributes.txt", next_to_it]
    choices.extend(folder / "attributes.txt" for folder in inside.parents if folder.parts)
    path = find_file(root, [choice.as_posix() for choice in choices], TITLE, HOME)
    lines, fields = _numbered(path, r"(?<name>\S+::\S+)", "an id and an attribute as has_tail_shape::fan")
    lines.distinct(fields["name"], "attribute")
    return lines, [str(name) for name in fields["name"]]


def _species(base: Path, images: Lines, paths: pl.Series, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Class index of each image, which the folder of the image must confirm."""
    lines, fields = _numbered(base / "image_class_labels.txt", r"(?<class>[0-9]+)", "an image and a class")
    _same_length(images, lines)
    numbers = lines.integers(fields["class"], "a class", low=1)
    folder = paths.str.extract(r"^([0-9]{3})\.").cast(pl.Int64)
    lines.require(numbers == folder, "the class of the image's folder in images.txt", fields["class"])
    names = paths.str.extract(r"^[0-9]{3}\.([^/]+)/")
    known = pl.Series(classes, dtype=pl.String)
    if _greatest(numbers) > len(known):
        raise DataFormatError(
            f"{base / 'classes.txt'}, line {len(known) or 1}: expected {_greatest(numbers)} classes as in "
            f"image_class_labels.txt, found {len(known)}"
        )
    wrong = known.gather(numbers - 1) != names
    if wrong.any():
        at = int(numbers[wrong.arg_max() or 0])
        raise DataFormatError(
            f"{base / 'classes.txt'}, line {at}: expected the class {names[wrong.arg_max() or 0]!r} of the "
            f"folder in images.txt, found {known[at - 1]!r}"
        )
    return (numbers - 1).to_numpy()


def _split(base: Path, images: Lines) -> npt.NDArray[Any]:
    lines, fields = _numbered(base / "train_test_split.txt", r"(?<train>\S+)", "an image and 1 or 0")
    _same_length(images, lines)
    return lines.codes(fields["train"], {"1": "train", "0": "test"}, "1 (train) or 0 (test)").to_numpy()


def _boxes(base: Path, images: Lines) -> list[pl.Series]:
    names = ("box_x", "box_y", "box_width", "box_height")
    sides = r"\s+".join(rf"(?<{name}>[0-9]+\.[0-9])" for name in names)
    lines, fields = _numbered(base / "bounding_boxes.txt", sides, "an image and four numbers as 60.0")
    _same_length(images, lines)
    return [fields[name].cast(pl.Float32) for name in names]


def _check_certainties(base: Path) -> None:
    lines, fields = _numbered(
        base / "attributes" / "certainties.txt", r"(?<name>.+)", "an id and a certainty"
    )
    expected = pl.Series(CERTAINTIES)
    if len(lines) != len(expected):
        raise _ended(lines, f"{len(expected)} certainties")
    lines.require(fields["name"] == expected, f"the certainties {', '.join(CERTAINTIES)}")


def _labels(base: Path, images: int, names: Lines, certainty: int) -> Labels:
    """1, 0 or GAP, with a row an attribute and a column an image."""
    lines = read_lines(base / "attributes" / "image_attribute_labels.txt")
    fields = lines.match(
        r"(?<image>[0-9]+)\s+(?<attribute>[0-9]+)\s+(?<present>[01])\s+(?<certainty>[1-4])(?:\s.*)?",
        "an image, an attribute, 0 or 1, a certainty 1 to 4, and seconds",
    )
    image = lines.integers(fields["image"], "an image", 1, images).to_numpy() - 1
    numbers = lines.integers(fields["attribute"], "an attribute", 1)
    if images * _greatest(numbers) == len(lines) > images * len(names):
        raise _ended(names, f"{_greatest(numbers)} attributes as in {lines.path.name}")
    lines.require(numbers <= len(names), f"an attribute in 1 .. {len(names)}", fields["attribute"])
    place = image * len(names) + numbers.to_numpy() - 1
    expected = f"each attribute of each image once, {images * len(names):,} lines"
    strayed = place != np.arange(len(place))  # the file is in order: here a number or a line went wrong
    again = np.bincount(place, minlength=images * len(names))[place] > 1
    if again.any():
        raise lines.error(int(np.argmax(again & strayed)), expected)
    if len(place) < images * len(names):
        if strayed.any():
            raise lines.error(int(np.argmax(strayed)), expected, f"{len(place):,} lines")
        raise _ended(lines, expected)
    sure = fields["certainty"].cast(pl.Int8).to_numpy() >= certainty
    table = np.empty(images * len(names), dtype=np.int8)
    table[place] = np.where(sure, fields["present"].cast(pl.Int8).to_numpy(), GAP)
    return np.ascontiguousarray(table.reshape(images, len(names)).T)


def _majority(
    labels: Labels, species: npt.NDArray[np.int64], train: npt.NDArray[np.bool_], classes: int
) -> Labels:
    """What most annotated training images of a class show, for all its images; GAP for a tie."""
    member = np.zeros((labels.shape[1], classes), dtype=np.float32)
    member[np.flatnonzero(train), species[train]] = 1
    lead = (labels == 1).astype(np.float32) @ member - (labels == 0).astype(np.float32) @ member
    voted = np.select([lead > 0, lead < 0], [1, 0], GAP).astype(np.int8)
    return voted[:, species]
