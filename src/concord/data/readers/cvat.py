"""CVAT: the export `CVAT for images 1.1`, an XML file of images with tags and attributes.

Layout: `annotations.xml` (or any `*.xml`) with `<image name="a.jpg" subset="train">` and in it
`<tag label="CLASS"><attribute name="NAME">true</attribute></tag>`; images next to it, in `images/`, or below
the root.

Traps: boxes and polygons count with their label where an image has no tag; the first is what makes an
image-level class. The attribute `subset`, where there is one, is the split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from concord.data.frames import SPLIT_SPELLINGS
from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice
from concord.data.readers._records import Record, annotation_files, image_path, records_manifest, split_of
from concord.errors import DataFormatError

NAME = "cvat"
TITLE = "CVAT export"
HOME = "the user: a project exported as 'CVAT for images 1.1'"


def read(
    root: Path,
    *,
    task: str = "category",
    annotations: str | None = None,
    images: str | None = None,
    several: Literal["error", "gap", "labels"] = "error",
    missing: Missing = "drop",
) -> Manifest:
    """Read classes and attributes of images from CVAT's XML.

    Args:
        root: Folder that holds the XML file.
        task: Name of the class task.
        annotations: One XML file, relative to root; None reads all that are there.
        images: Folder of the images, relative to root; None looks next to each file and in `images`.
        several: An image of several labels: "error", a "gap", or "labels", which makes all of them labels of
            the task.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the class task, the attributes' tasks (`TASK.LABEL` where an attribute is called so,
        else `attributes`), and `split`.

    Raises:
        MissingDataError: No XML file, or no images.
        DataFormatError: A file of another form, or an image of several classes.
        EmptyDataError: No image in the files.
    """
    check_choice("value of several", several, ("error", "gap", "labels"))
    records: list[Record] = []
    names: dict[str, None] = {}
    for path in annotation_files(root, annotations, ".xml", TITLE, HOME):
        tree = _parsed(path)
        names |= dict.fromkeys(str(label.text) for label in tree.findall("./meta//labels/label/name"))
        for image in tree.findall("./image"):
            records.append(_record(root, path, images, image))
            names |= dict.fromkeys(records[-1].classes)
    return records_manifest(
        records, root, TITLE, task=task, names=list(names), several=several, missing=missing
    )


def _parsed(path: Path) -> Any:
    from xml.etree import ElementTree as ET

    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # no export has one, and entities can fill the memory
        raise DataFormatError(f"{path}: expected XML without a document type, found one")
    try:
        tree = ET.fromstring(data)  # noqa: S314 - entities are refused above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataFormatError(f"{path}: expected XML, found another text ({error})") from error
    if tree.tag != "annotations":
        raise DataFormatError(
            f"{path}: expected <annotations> as CVAT for images writes it, found <{tree.tag}>"
        )
    return tree


def _record(root: Path, path: Path, images: str | None, image: Any) -> Record:
    name = image.get("name")
    if not name:
        raise DataFormatError(f"{path}: expected an image with a name, found <image> without")
    subset = str(image.get("subset", ""))
    record = Record(
        image_path(root, path.parent, images, name), SPLIT_SPELLINGS.get(subset.lower()) or split_of(subset)
    )
    shapes = image.findall("./tag") or [shape for shape in image if shape.get("label")]
    for shape in shapes:
        label = shape.get("label")
        if not label:
            raise DataFormatError(f"{path}: expected tags with a label, found one without in {name!r}")
        record.add(label, {str(a.get("name")): (a.text or "").strip() for a in shape.findall("./attribute")})
    return record
