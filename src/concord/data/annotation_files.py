"""Manifests as files of annotation tools: COCO json, Label Studio, CVAT; what `data.readers` read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from concord.data.manifest import Manifest, task_columns
from concord.data.paths import DataRoot
from concord.errors import ConfigError, MissingDataError, UnknownNameError
from concord.tasks import MulticlassTask, MultilabelTask

Tool = Literal["coco", "label-studio", "cvat"]

UNLABELED = "unlabeled"
"""The class of an image that has labels and no class, for formats in which labels hang on a class."""


def write_annotations(manifest: Manifest, path: str | Path, to: Tool) -> list[Path]:
    """Write a manifest for an annotation tool.

    The first class task becomes the tool's class; further class tasks and all labels become attributes
    (`TASK`, `TASK.LABEL`). A gap is left out. For Label Studio each task is a control of choices of its own,
    and the labelling interface is written next to the file.

    Args:
        manifest: With images, by `path`.
        path: The .json file, or .xml for CVAT.
        to: "coco", "label-studio" or "cvat".

    Returns:
        The files written.

    Raises:
        ConfigError: No column `path`, another ending, or a class called like the filler of COCO and CVAT.
        UnknownNameError: Another tool.
        MissingDataError: COCO and CVAT state sizes, and an image is not there.
    """
    tools: dict[str, Callable[[Manifest, Path], list[Path]]] = {
        "coco": _coco,
        "label-studio": _label_studio,
        "cvat": _cvat,
    }
    if to not in tools:
        raise UnknownNameError.of("annotation tool", to, tools)
    file, ending = Path(path), ".xml" if to == "cvat" else ".json"
    if file.suffix.lower() != ending:
        raise ConfigError(f"{to} takes a {ending} file, found {file.name!r}")
    if "path" not in manifest.frame.columns or manifest.frame["path"].null_count():
        raise ConfigError("annotation tools show images: expected a path in every row, found none in some")
    file.parent.mkdir(parents=True, exist_ok=True)
    return tools[to](manifest, file)


def _main_task(manifest: Manifest) -> MulticlassTask | None:
    found = next((task for task in manifest.tasks if isinstance(task, MulticlassTask)), None)
    if found is not None and UNLABELED in found.classes:
        raise ConfigError(f"a class called {UNLABELED!r} stands for no class in these formats; rename it")
    return found


def _marked(manifest: Manifest) -> Iterator[tuple[str, str | None, str | None, dict[str, Any]]]:
    """Path, split, class and attributes of every row."""
    main = _main_task(manifest)
    others = [(task, column) for task in manifest.tasks if task is not main for column in task_columns(task)]
    for row in manifest.frame.iter_rows(named=True):
        attributes = {
            column: bool(row[column]) if isinstance(task, MultilabelTask) else row[column]
            for task, column in others
            if row[column] is not None
        }
        yield row["path"], row["split"], row[main.name] if main else None, attributes


def _sizes(manifest: Manifest) -> list[tuple[int, int]]:
    """Width and height of every image."""
    from PIL import Image, UnidentifiedImageError

    if manifest.root is None:
        raise MissingDataError("the manifest has no root, and the sizes of its images are needed")
    root, sizes = DataRoot(manifest.root), []
    for path in manifest.frame["path"]:
        try:
            with Image.open(root.open(path)) as image:
                sizes.append(image.size)
        except UnidentifiedImageError as error:
            raise MissingDataError(
                f"expected an image at {path!r} in {manifest.root}, found no picture"
            ) from error
    return sizes


def _coco(manifest: Manifest, file: Path) -> list[Path]:
    main = _main_task(manifest)
    names = [*(main.classes if main else ()), UNLABELED]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (marked, (width, height)) in enumerate(
        zip(_marked(manifest), _sizes(manifest), strict=True), 1
    ):
        path, split, name, attributes = marked
        known = {"split": split} if split else {}
        images.append({"id": number, "file_name": path, "width": width, "height": height, **known})
        if name is not None or attributes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(name or UNLABELED) + 1,
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "attributes": attributes,
                }
            )
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    return [_written(file, json.dumps(content, indent=1) + "\n")]


def _cvat(manifest: Manifest, file: Path) -> list[Path]:
    main = _main_task(manifest)
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    lines.append("  <meta><job><labels>")
    lines.extend(
        f"    <label><name>{_escaped(name)}</name><type>tag</type></label>"
        for name in (*(main.classes if main else ()), UNLABELED)
    )
    lines.append("  </labels></job></meta>")
    for number, (marked, (width, height)) in enumerate(zip(_marked(manifest), _sizes(manifest), strict=True)):
        path, split, name, attributes = marked
        subset = f" subset={quoteattr(split)}" if split else ""
        lines.append(
            f'  <image id="{number}" name={quoteattr(path)}{subset} width="{width}" height="{height}">'
        )
        if name is not None or attributes:
            lines.append(f'    <tag label={quoteattr(name or UNLABELED)} source="manual">')
            for key, value in attributes.items():
                text = str(value).lower() if isinstance(value, bool) else str(value)
                lines.append(f"      <attribute name={quoteattr(key)}>{_escaped(text)}</attribute>")
            lines.append("    </tag>")
        lines.append("  </image>")
    lines.append("</annotations>")
    return [_written(file, "\n".join(lines) + "\n")]


def _escaped(text: str) -> str:
    from xml.sax.saxutils import escape

    return escape(text)


def _label_studio(manifest: Manifest, file: Path) -> list[Path]:
    tasks = [
        {
            "id": number,
            "data": {"image": f"/data/local-files/?d={quote(row['path'])}", "open": _open(manifest, row)},
            "annotations": [{"result": results}] if (results := _results(manifest, row)) else [],
        }
        for number, row in enumerate(manifest.frame.iter_rows(named=True), 1)
    ]
    view = ["<View>", '  <Image name="image" value="$image"/>']
    for task in manifest.tasks:
        kind = "multiple" if isinstance(task, MultilabelTask) else "single"
        view.append(f'  <Choices name={quoteattr(task.name)} toName="image" choice="{kind}">')
        view.extend(f"    <Choice value={quoteattr(name)}/>" for name in task.outputs)
        view.append("  </Choices>")
    view.append("</View>")
    interface = file.with_suffix(".interface.xml")
    return [
        _written(file, json.dumps(tasks, indent=1) + "\n"),
        _written(interface, "\n".join(view) + "\n"),
    ]


def _open(manifest: Manifest, row: dict[str, Any]) -> list[str]:
    """Labels of a row that nobody annotated; choices alone cannot tell them from absent ones."""
    tasks = [task for task in manifest.tasks if isinstance(task, MultilabelTask)]
    return [column for task in tasks for column in task_columns(task) if row[column] is None]


def _results(manifest: Manifest, row: dict[str, Any]) -> list[dict[str, Any]]:
    out = []
    for task in manifest.tasks:
        if isinstance(task, MulticlassTask):
            chosen = [row[task.name]] if row[task.name] is not None else None
        else:
            known = [label for label in task.outputs if row[f"{task.name}.{label}"] is not None]
            chosen = [label for label in known if row[f"{task.name}.{label}"]] if known else None
        if chosen is not None:
            value = {"choices": chosen}
            out.append({"from_name": task.name, "to_name": "image", "type": "choices", "value": value})
    return out


def _written(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
