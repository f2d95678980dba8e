"""Label Studio: the JSON export of a project, with the choices of one or several people for each image.

Layout: any `*.json` in the root, a list of tasks, `{"data": {"image": PLACE}, "annotations": [{"result": [
{"from_name": TASK, "type": "choices", "value": {"choices": [...]}}]}]}`. A place is
`/data/local-files/?d=PATH`, or ends in the file's name (`/data/upload/3/1a2b-a.jpg`, `https://host/a.jpg`),
below `images` or the root; a host before either does not matter, and what a URL escapes is read as it was.

Each control of choices is a task. A control of which somebody chose several at once, or one named by
`labels`, is a multilabel task. Where several people annotated an image, a class task gets their votes as soft
targets (`TASK.p.CLASS`), and the class of most votes; a label on which they differ is a gap.

Traps: the short export (JSON-MIN) does not say who chose what and is refused; cancelled annotations do not
count; a person who chose nothing of a multilabel control says that all are absent, unless the task's `open`
names labels: of these, what nobody chose stays a gap. A control of one choice of which a single one was ever
made is no class task; it is left out, and that is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl

from concord.data.manifest import Manifest, soft_columns
from concord.data.readers._files import Missing, keep_present, tell
from concord.data.readers._records import annotation_files, image_path, read_json
from concord.errors import DataFormatError, EmptyDataError
from concord.tasks import MulticlassTask, MultilabelTask, Task

NAME = "label-studio"
TITLE = "Label Studio export"
HOME = "the user: a project of https://labelstud.io exported as JSON"

Choices = dict[str, list[str]]
"""What one person chose, by control."""


def read(
    root: Path,
    *,
    annotations: str | None = None,
    images: str | None = None,
    labels: Sequence[str] = (),
    missing: Missing = "drop",
) -> Manifest:
    """Read choices from a JSON export.

    Args:
        root: Folder that holds the export.
        annotations: One JSON file, relative to root; None reads all that are there.
        images: Folder of the images, relative to root; None looks next to the file and in `images`.
        labels: Controls that allow several choices, where nobody used that.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with a task for each control; with soft targets where several people annotated an image.

    Raises:
        MissingDataError: No JSON file, or no images.
        DataFormatError: A file of another form.
        EmptyDataError: No choice in the files.
    """
    paths: list[str] = []
    people: list[list[Choices]] = []
    left_open: list[set[str]] = []
    for path in annotation_files(root, annotations, ".json", TITLE, HOME):
        for entry in _entries(path):
            place, chosen, opened = _entry(path, entry)
            paths.append(image_path(root, path.parent, images, place))
            people.append(chosen)
            left_open.append(opened)
    columns: dict[str, list[Any]] = {"path": paths}
    tasks: list[Task] = []
    for control, outputs in _controls(people).items():
        several = control in labels or any(len(c.get(control, ())) > 1 for every in people for c in every)
        if several:
            labelled = MultilabelTask(control, outputs)
            columns |= _label_columns(labelled, people, left_open)
            tasks.append(labelled)
        elif len(outputs) < 2:
            tell(f"{TITLE}: control {control!r} is left out: the only choice that was made is {outputs[0]!r}")
        else:
            classed = MulticlassTask(control, outputs)
            columns |= _class_columns(classed, people)
            tasks.append(classed)
    if not tasks:
        raise EmptyDataError(f"{TITLE}: expected choices in {root}, found none")
    frame = pl.DataFrame(columns, strict=False)
    return Manifest(keep_present(frame, root, missing), tuple(tasks), root, TITLE)


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(e, dict) and "data" in e for e in content):
        raise DataFormatError(
            f"{path}: expected a list of tasks with 'data' and 'annotations' (export as JSON, not "
            "JSON-MIN), found another form"
        )
    return content


def _entry(path: Path, entry: Any) -> tuple[str, list[Choices], set[str]]:
    """Name of the image, what each person chose, and labels that are left open."""
    try:
        place = next(str(entry["data"][key]) for key in ("image", "img", "path") if key in entry["data"])
        people = []
        for annotation in entry.get("annotations") or ():
            if annotation.get("was_cancelled"):
                continue
            chosen: Choices = {}
            for result in annotation["result"]:
                if result["type"] == "choices":
                    chosen.setdefault(str(result["from_name"]), []).extend(
                        map(str, result["value"]["choices"])
                    )
            people.append(chosen)
        return _name(place), people, set(entry["data"].get("open", ()))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise DataFormatError(
            f"{path}: expected tasks with data.image and results, found task {entry.get('id')!r} "
            f"without ({error})"
        ) from error


def _name(place: str) -> str:
    local = re.fullmatch(r"(?:[a-z]+://[^/]+)?/data/local-files/\?d=(.+)", place)
    if local:
        return unquote(local[1])
    if re.match(r"[a-z0-9]+://", place):
        return unquote(urlsplit(place).path.rpartition("/")[2])
    return place.rpartition("/")[2] if place.startswith("/") else place


def _controls(people: list[list[Choices]]) -> dict[str, list[str]]:
    """Choices of each control that somebody made, in the order of the alphabet."""
    seen: dict[str, set[str]] = {}
    for chosen in (chosen for every in people for chosen in every):
        for control, choices in chosen.items():
            seen.setdefault(control, set()).update(choices)
    return {control: sorted(choices) for control, choices in seen.items() if choices}


def _class_columns(task: MulticlassTask, people: list[list[Choices]]) -> dict[str, list[Any]]:
    votes = [Counter(name for chosen in every for name in chosen.get(task.name, ())) for every in people]
    columns: dict[str, list[Any]] = {task.name: [_most(count) for count in votes]}
    if any(count.total() > 1 for count in votes):
        for column, name in zip(soft_columns(task), task.classes, strict=True):
            columns[column] = [count[name] / count.total() if count else None for count in votes]
    return columns


def _most(votes: Counter[str]) -> str | None:
    best = max(votes.values(), default=0)
    winners = [name for name, count in votes.items() if count == best]
    return winners[0] if len(winners) == 1 else None


def _label_columns(
    task: MultilabelTask, people: list[list[Choices]], left_open: list[set[str]]
) -> dict[str, list[Any]]:
    return {
        f"{task.name}.{label}": [
            _agreed(task.name, label, every, f"{task.name}.{label}" in opened)
            for every, opened in zip(people, left_open, strict=True)
        ]
        for label in task.labels
    }


def _agreed(control: str, label: str, people: list[Choices], is_open: bool) -> int | None:
    """What all people say; of an open label only that it was chosen is said by anybody."""
    answers = {int(label in chosen.get(control, ())) for chosen in people}
    if is_open:
        return 1 if 1 in answers else None
    return answers.pop() if len(answers) == 1 else None
