"""The model card of a network or estimator, in the form of the hub: what it predicts, from what, how well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.decoding import JointDecoder
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task
from concord.terminal import printable

SHOWN_CELLS = 400
"""Tables of up to so many cells are drawn in the model card."""

PLACE = '"FOLDER"'
"""What a card that was not sent yet calls the place to load from."""


DATA_SET = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""A data set of the hub, `OWNER/NAME`: others are named in the text, and claimed nowhere."""

_MARKUP = re.compile(r"[\\`*_\[\]<>&|~#$]")


@dataclass(frozen=True)
class Card:
    """What a reader of the model card should know, beyond tasks and relation.

    The description is Markdown, as its author writes it; all else is text, in which nothing is markup.

    Attributes:
        name: Of the model.
        description: A sentence or more, in Markdown.
        license: Of the weights, as the hub names licences (`apache-2.0`); None is stated as such.
        data: Data sets that it was trained on, with the licence of each (empty text where unknown). Those
            named `OWNER/NAME` are data sets of the hub, and linked by the card's header.
        metrics: By task, then by metric.
        evaluated_on: Rows that the metrics were taken on.
    """

    name: str = "model"
    description: str = ""
    license: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    evaluated_on: str = ""


def model_card(
    card: Card,
    tasks: Sequence[Task],
    *,
    usage: str,
    trunk: str,
    relations: Sequence[Relation] = (),
    decoders: Sequence[JointDecoder] | None = None,
    cuts: Mapping[str, npt.NDArray[np.float64]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The text of a model card, with the hub's header.

    Args:
        card: What its reader should know beyond tasks and relations.
        tasks: The tasks.
        usage: Python that loads the model and predicts, with `PLACE` for where it lies.
        trunk: What lies between inputs and heads, in Markdown; see `fenced`.
        relations: Relations between the tasks.
        decoders: Joint decoders with their strengths; None leaves the section out.
        cuts: By task, thresholds.
        notes: Sentences on how the model came to be.
    """
    import yaml

    header: dict[str, Any] = {"library_name": "concord"}
    if card.license is not None:
        header["license"] = card.license
    header["tags"] = ["multi-task", *sorted({_kind(task) for task in tasks})]
    linked = [name for name in card.data if DATA_SET.fullmatch(name)]
    if linked:
        header["datasets"] = linked
    if card.metrics:
        header["metrics"] = sorted({name for found in card.metrics.values() for name in found})
    sections = [
        f"# {_text(card.name)}\n\n{_shown(card.description)}".rstrip(),
        f"## Use\n\n```python\n{usage}\n```",
        "## Tasks\n\n"
        + _table(
            ["task", "kind", "outputs"],
            [[t.name, _kind(t), ", ".join(t.outputs)] for t in tasks],
        ),
        f"## Trunk\n\n{trunk}",
        "## Relation\n\n" + ("\n\n".join(map(_relation_section, relations)) or "None."),
        *([] if decoders is None else ["## Joint decoding\n\n" + _decoding_section(decoders)]),
        *(["## Thresholds\n\n" + _thresholds_section(tasks, cuts)] if cuts else []),
        *(["## Training\n\n" + "\n".join(f"- {_text(note)}" for note in notes)] if notes else []),
        "## Data\n\n"
        + (
            _table(["data set", "licence"], [[d, lic or "not stated"] for d, lic in card.data.items()])
            if card.data
            else "Not stated."
        ),
        "## Metrics\n\n" + _metrics_section(card),
        f"## Licence\n\n{_text(card.license or 'Not stated: ask before you use it.')}",
    ]
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def fenced(text: str) -> str:
    """Code of a card, whatever is in it: the fence is longer than any run of backticks there."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}\n{_shown(text)}\n{fence}"


def _text(text: str) -> str:
    """Text in one line of Markdown, in which nothing is markup: a name is whatever a file says."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(_shown(text).split()))


def _shown(text: str) -> str:
    """Without control characters, marks that turn its direction, and what UTF-8 cannot hold."""
    return "\n".join(map(printable, text.splitlines()))


def _kind(task: Task) -> str:
    return "multiclass" if isinstance(task, MulticlassTask) else "multilabel"


def _relation_section(relation: Relation) -> str:
    source, target = _text(relation.source.name), _text(relation.target.name)
    head = f"**{_text(relation.name)}**: P({target} given {source})"
    if relation.source.width * relation.target.width > SHOWN_CELLS:
        return f"{head}, {relation.source.width} x {relation.target.width} cells; not shown here."
    table = relation.dense().table
    rows = [
        [name, *("" if np.isnan(cell) else f"{cell:.3g}" for cell in table[i])]
        for i, name in enumerate(relation.source.outputs)
    ]
    return f"{head}; a blank cell is unknown.\n\n" + _table(["", *relation.target.outputs], rows)


def _decoding_section(decoders: Sequence[JointDecoder]) -> str:
    rows = [[d.relation.name, f"{d.target_strength:g}", f"{d.class_strength:g}"] for d in decoders]
    return _table(["relation", "strength on targets", "strength on classes"], rows) if rows else "None."


def _thresholds_section(tasks: Sequence[Task], cuts: Mapping[str, npt.NDArray[np.float64]]) -> str:
    rows = [
        [
            task.name,
            ", ".join(
                f"{name} {value:.3g}" for name, value in zip(task.outputs, cuts[task.name], strict=True)
            ),
        ]
        for task in tasks
        if task.name in cuts
    ]
    return (
        "A label is present from its threshold on; of classes the one whose probability is largest in "
        "proportion to its threshold is taken.\n\n" + _table(["task", "thresholds"], rows)
    )


def _metrics_section(card: Card) -> str:
    rows = [
        [task, metric, f"{value:.4f}"]
        for task, found in card.metrics.items()
        for metric, value in found.items()
    ]
    if not rows:
        return "Not stated."
    return (f"On {_text(card.evaluated_on)}.\n\n" if card.evaluated_on else "") + _table(
        ["task", "metric", "value"], rows
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(_text, head)), ["---"] * len(head), *(map(_text, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
