"""Images with label files as detectors write them: the class of an image from the classes of its boxes.

Layout: `train/images/NAME.jpg` with `train/labels/NAME.txt`, likewise `valid` or `val`, and `test`; or
`images/train/NAME.jpg` with `labels/train/NAME.txt`. A line of a label file begins with a class number, from
0, and goes on with a box or polygon, which is not read. The names stand in `data.yaml` under `names`, as a
list or by number. An image without a label file is a gap; one whose label file is empty has no box of any
class, which is a gap as well where one class is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.frames import SPLIT_SPELLINGS
from concord.data.paths import IMAGE_ENDINGS
from concord.data.readers._files import entries
from concord.data.readers._lists import images_below
from concord.data.readers._text import read_lines
from concord.errors import DataFormatError, MissingDataError

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_LINE = r"(?<class>0|[1-9][0-9]*)(?:\s+-?[0-9.]+(?:[eE]-?[0-9]+)?)*"


def is_yolo(root: Path) -> bool:
    """Whether a folder has splits with images and label files."""
    return any(True for _ in _parts(root))


def read_yolo(root: Path, title: str, several: str = "error") -> tuple[pl.DataFrame, list[str]]:
    """Images and the classes of their boxes.

    Args:
        root: The folder.
        title: The data set, for messages.
        several: An image with boxes of several classes: "error" refuses it, "gap" leaves its class open, and
            "list" gives all of them.

    Returns:
        Columns `path`, `split` and `class` (a name, or null; with "list" a list of names), and all names.

    Raises:
        MissingDataError: No such folders, or no names.
        DataFormatError: A line without a class, a number without a name, or an image of several classes.
    """
    names = _names(root)
    rows = [
        (path, split, _classes(labels, names, several))
        for split, images, folder in _parts(root)
        for path, labels in _pairs(root, images, folder)
    ]
    if not rows:
        raise MissingDataError(
            f"{title}: expected images in train/images with labels in train/labels, likewise valid and "
            f"test, in {root}, found none"
        )
    kind = pl.List(pl.String) if several == "list" else pl.String
    return pl.DataFrame(
        rows, schema={"path": pl.String, "split": pl.String, "class": kind}, orient="row"
    ), names


def _parts(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Split, folder of the images and folder of the labels."""
    for name in entries(root):
        split = SPLIT_SPELLINGS.get(name.lower())
        if split and (root / name / "labels").is_dir() and (root / name / "images").is_dir():
            yield split, root / name / "images", root / name / "labels"
    if (root / "images").is_dir() and (root / "labels").is_dir():
        for name in entries(root / "labels"):
            split = SPLIT_SPELLINGS.get(name.lower())
            if split and (root / "images" / name).is_dir():
                yield split, root / "images" / name, root / "labels" / name


def _pairs(root: Path, images: Path, labels: Path) -> Iterator[tuple[str, Path]]:
    for path in images_below(root, images, IMAGE_ENDINGS):
        yield path, labels / (root / path).relative_to(images).with_suffix(".txt")


def _classes(path: Path, names: list[str], several: str) -> Any:
    """The class of a label file, a gap, or all its classes."""
    if not path.is_file():
        return None
    if not path.read_bytes().strip():
        return [] if several == "list" else None
    lines = read_lines(path)
    numbers = lines.match(_LINE, "a class number and a box")["class"]
    lines.integers(numbers, "a class number", 0, len(names) - 1)
    found = list(dict.fromkeys(names[int(number)] for number in numbers))
    if several == "list":
        return found
    if len(found) > 1 and several == "error":
        raise lines.error(
            len(lines) - 1,
            f"boxes of one class in an image (several='gap' or 'labels' takes more), {found[0]}",
            found[1],
        )
    return found[0] if len(found) == 1 else None


def _names(root: Path) -> list[str]:
    """Class names by number."""
    import yaml

    path = next((root / name for name in _YAML if (root / name).is_file()), None)
    if path is None:
        raise MissingDataError(f"{root}: expected the class names in data.yaml, found no such file")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = found["names"]
        listed = [names[k] for k in range(len(names))]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataFormatError(f"{path}: expected 'names', a list or by number from 0 ({error})") from error
    if not listed or not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise DataFormatError(f"{path}: expected distinct texts as 'names', found {listed!r:.80}")
    return listed
