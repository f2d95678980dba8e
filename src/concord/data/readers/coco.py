"""COCO: a JSON file of images, categories and annotations, as many annotation tools write it.

Layout: any `*.json` in the root, in `annotations/`, or in folders of splits (`train/_annotations.coco.json`),
with `images` (`id`, `file_name`), `categories` (`id`, `name`) and `annotations` (`image_id`, `category_id`,
and `attributes` by name). Images lie next to the file, in `images/`, or below the root. A file or folder
named after a split (`instances_train2017.json`, `valid/`) gives it, and so does `split` of an image.

Traps: boxes and masks are not read, only which classes an image has; ids of categories are neither dense nor
in order; an image without annotations is a gap; an attribute on which two annotations of an image differ is a
gap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from concord.data.frames import SPLIT_SPELLINGS
from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice
from concord.data.readers._records import (
    Record,
    annotation_files,
    image_path,
    read_json,
    records_manifest,
    split_of,
)
from concord.errors import DataFormatError

NAME = "coco"
TITLE = "COCO json"
HOME = (
    "the user: the export of an annotation tool; the format is that of https://cocodataset.org/#format-data"
)


def read(
    root: Path,
    *,
    task: str = "category",
    annotations: str | None = None,
    images: str | None = None,
    several: Literal["error", "gap", "labels"] = "error",
    missing: Missing = "drop",
) -> Manifest:
    """Read classes and attributes of images from COCO json.

    Args:
        root: Folder that holds the JSON files.
        task: Name of the class task.
        annotations: One JSON file, relative to root; None reads all that are there.
        images: Folder of the images, relative to root; None looks next to each file and in `images`.
        several: An image with annotations of several classes: "error", a "gap", or "labels", which makes all
            classes labels of the task.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the class task, the attributes' tasks (`TASK.LABEL` where an attribute is called so,
        else `attributes`), and `split`.

    Raises:
        MissingDataError: No JSON file, or no images.
        DataFormatError: A file of another form, or an image of several classes.
        EmptyDataError: No image in the files.
    """
    check_choice("value of several", several, ("error", "gap", "labels"))
    records: list[Record] = []
    names: dict[str, None] = {}
    for path in annotation_files(root, annotations, ".json", TITLE, HOME):
        found, classes = _file(root, path, images)
        records.extend(found)
        names |= dict.fromkeys(classes)
    return records_manifest(
        records, root, TITLE, task=task, names=list(names), several=several, missing=missing
    )


def _file(root: Path, path: Path, images: str | None) -> tuple[list[Record], list[str]]:
    content = read_json(path)
    try:
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        split = split_of(path.stem) or (split_of(path.parent.name) if path.parent != root else None)
        records = {
            entry["id"]: Record(
                image_path(root, path.parent, images, str(entry["file_name"])),
                SPLIT_SPELLINGS.get(str(entry.get("split")).lower(), split),
            )
            for entry in content["images"]
        }
        for entry in content["annotations"]:
            records[entry["image_id"]].add(names[entry["category_id"]], _known(entry.get("attributes")))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataFormatError(
            f"{path}: expected 'images', 'categories' and 'annotations' with ids that meet, found no {error}"
        ) from error
    return list(records.values()), list(names.values())


def _known(attributes: Any) -> dict[str, Any]:
    return dict(attributes or {})
