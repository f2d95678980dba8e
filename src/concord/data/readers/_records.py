"""Image-level annotations as annotation tools write them: a class, attributes, and a path for each image."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.annotation_files import UNLABELED
from concord.data.frames import SPLIT_SPELLINGS
from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, entries, keep_present, not_found, tell
from concord.errors import ConfigError, DataFormatError, EmptyDataError, MissingDataError
from concord.tasks import MulticlassTask, MultilabelTask, Task

PLAIN_TASK = "attributes"
"""Task of attributes whose name holds no dot."""

TRUTH = {"true": 1, "false": 0, "1": 1, "0": 0, "yes": 1, "no": 0}


@dataclass
class Record:
    """What is annotated on one image.

    Args:
        path: Of the image, relative to the root.
        split: train, val, test or None.
        classes: Classes of the image, each once; none where nothing is annotated.
        attributes: Values by name; None where several annotations of the image disagree.
    """

    path: str
    split: str | None = None
    classes: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, attributes: dict[str, Any]) -> None:
        """Add an annotation of the image; attributes on which two annotations differ become gaps."""
        if name != UNLABELED and name not in self.classes:
            self.classes.append(name)
        for key, value in attributes.items():
            self.attributes[key] = value if self.attributes.get(key, value) == value else None


def records_manifest(
    records: Sequence[Record],
    root: Path,
    title: str,
    *,
    task: str,
    names: Sequence[str],
    several: str,
    missing: Missing,
) -> Manifest:
    """A manifest of annotated images.

    Attributes that are true or false everywhere are labels: `TASK.LABEL` of its task, one without a dot of
    the task `attributes`. Attributes of other texts are class tasks of their own; one with a single value
    everywhere is left out, and that is told.

    Args:
        records: One per image.
        root: Root of the images.
        title: The data set, for messages.
        task: Name of the class task.
        names: Its classes, in order.
        several: What an image of several classes is: "error", a "gap", or "labels", which makes all classes
            labels of the task.
        missing: What to do where an image is not there.

    Raises:
        EmptyDataError: No image.
        DataFormatError: An image of several classes, and `several` is "error".
    """
    if not records:
        raise EmptyDataError(f"{title}: expected annotated images in {root}, found none")
    classes = [name for name in names if name != UNLABELED]
    columns: dict[str, Any] = {"path": [r.path for r in records], "split": [r.split for r in records]}
    tasks: list[Task] = []
    if several == "labels" and classes:
        for name in classes:
            columns[f"{task}.{name}"] = [int(name in r.classes) if r.classes else None for r in records]
        tasks.append(MultilabelTask(task, classes))
    elif classes:
        columns[task] = [_one_class(r, title, several) for r in records]
        tasks.append(MulticlassTask(task, classes))
    attribute_tasks, attribute_columns = _attributes(records, title)
    tasks.extend(attribute_tasks)
    columns |= attribute_columns
    strings = dict.fromkeys(("path", "split", *(t.name for t in tasks)), pl.String)
    overrides = {name: dtype for name, dtype in strings.items() if name in columns}
    labels = {name: pl.Int8 for name in columns if name not in overrides}
    frame = pl.DataFrame(columns, schema_overrides={**overrides, **labels})
    return Manifest(keep_present(frame, root, missing), tuple(tasks), root, title)


def _one_class(record: Record, title: str, several: str) -> str | None:
    if len(record.classes) > 1 and several == "error":
        raise DataFormatError(
            f"{title}: expected one class per image (several='gap' or 'labels' takes more), found "
            f"{' and '.join(map(repr, record.classes[:3]))} for {record.path!r}"
        )
    return record.classes[0] if len(record.classes) == 1 else None


def _attributes(records: Sequence[Record], title: str) -> tuple[list[Task], dict[str, list[Any]]]:
    tasks: list[Task] = []
    columns: dict[str, list[Any]] = {}
    labels: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for record in records for key in record.attributes):
        texts = [_text(record.attributes.get(key)) for record in records]
        seen = sorted({text for text in texts if text is not None})
        if seen and all(text in TRUTH for text in seen):
            name, _, label = key.partition(".") if "." in key else (PLAIN_TASK, ".", key)
            labels.setdefault(name, []).append(label)
            columns[f"{name}.{label}"] = [None if text is None else TRUTH[text] for text in texts]
        elif len(seen) > 1:
            columns[key] = texts
            tasks.append(MulticlassTask(key, seen))
        elif seen:
            tell(f"{title}: attribute {key!r} is left out: its only value is {seen[0]!r}")
    tasks.extend(MultilabelTask(name, found) for name, found in labels.items())
    return tasks, columns


def _text(value: Any) -> str | None:
    """The value of an attribute as text, truth in lower case; a gap where it is empty."""
    if value is None or value == "":
        return None
    text = str(value)
    return text.lower() if text.lower() in TRUTH else text


def split_of(name: str) -> str | None:
    """The split that a file or folder is named after, as `instances_train2017` or `valid`."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_SPELLINGS[word] for word in words if word in SPLIT_SPELLINGS), None)


def annotation_files(root: Path, given: str | None, suffix: str, title: str, home: str) -> list[Path]:
    """The named annotation file, or all in the root, in `annotations`, and just below.

    Raises:
        MissingDataError: No such file.
    """
    if given is not None:
        if not (root / given).is_file():
            raise not_found(root, f"the file {given!r}", [given], title, home)
        return [root / given]
    folders = [root, *(root / name for name in entries(root) if (root / name).is_dir())]
    found = [
        folder / name for folder in folders for name in entries(folder, suffix) if (folder / name).is_file()
    ]
    if not found:
        raise not_found(root, f"annotations as *{suffix}", [f"*{suffix}", f"*/*{suffix}"], title, home)
    return found


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataFormatError: No JSON, or no UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataFormatError(f"{path}: expected JSON in UTF-8, found another text ({error})") from error


def image_path(root: Path, folder: Path, images: str | None, name: str) -> str:
    """Path of an image relative to the root: below `images` where given, else next to its annotations.

    Raises:
        ConfigError: `images` leads out of the root.
        MissingDataError: A name that is no path.
    """
    if not name:
        raise MissingDataError(f"{folder}: expected the name of an image, found an empty one")
    if images is not None:
        return name if images in ("", ".") else f"{images.strip('/')}/{name}"
    for place in (folder, folder / "images", root, root / "images"):
        if (place / name).is_file():
            try:
                return (place / name).relative_to(root).as_posix()
            except ValueError as error:
                raise ConfigError(f"expected images below {root}, found {name!r}") from error
    return name
