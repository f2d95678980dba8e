"""Test samples with what every condition's heads say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from concord.study.pages.outcome import Outcome, Row, distinct

NO_PICTURE = "data:,"


def gallery(outcome: Outcome) -> dict[str, Any]:
    """Cards, those that agree and those that do not in turn, and by what one chooses among them."""
    apart, alike = ([r for r in outcome.gallery if bool(r["agree"]) is agree] for agree in (False, True))
    mixed = [record for pair in zip_longest(apart, alike) for record in pair if record is not None]
    cards = [_card(record, outcome) for record in mixed]
    lines = [line for card in cards for line in card["lines"]]
    return {
        "cards": cards,
        "eyes": distinct(line["condition"] for line in lines),
        "whos": distinct(line["who"] for line in lines),
        "judge": outcome.conditions[-1],
    }


def embedded(outcome: Outcome) -> str:
    """What of the data the file holds, in a sentence."""
    number = sum(_picture_of(record["image"]) != NO_PICTURE for record in outcome.gallery)
    if not outcome.gallery:
        return "This file holds no sample of the data: no image and no annotation of one row."
    return (
        f"This file holds {len(outcome.gallery)} samples of the test rows with their annotations, and "
        f"{number} images; `samples: none` in the plan, or --no-images, leaves them out."
    )


def _card(record: Row, outcome: Outcome) -> dict[str, Any]:
    """A sample with what every condition's heads say of it, and which of them are right."""
    truth, unknown, lines = record["truth"], record.get("unknown", {}), []
    for condition in (name for name in outcome.conditions if name in record["predictions"]):
        heads = []
        for task, output in record["predictions"][condition].items():
            value = output["prediction"] if isinstance(output, dict) else output
            gaps = unknown.get(task, ())
            right = None if truth.get(task) is None else _same(value, truth[task], gaps)
            heads.append({"task": task, "parts": _parts(value, truth.get(task), gaps), "right": right})
        lines.append({"condition": condition, "heads": heads, "who": _who(heads)})
    return {
        "image": _picture_of(record["image"]),
        "truth": {task: _joined(value, unknown.get(task, ())) for task, value in truth.items()},
        "agree": bool(record["agree"]),
        "lines": lines,
    }


def _picture_of(address: str) -> str:
    """The image, which is inside the file: an address outside would be a request leaving the page."""
    return address if address.startswith("data:image/") else NO_PICTURE


def _same(value: Any, truth: Any, unknown: Sequence[str]) -> bool:
    if isinstance(truth, list):  # of a label that nobody annotated no prediction is wrong
        return set(value) - set(unknown) == set(truth)
    return bool(value == truth)


def _joined(value: Any, unknown: Sequence[str]) -> str:
    if value is None:
        return "not annotated"
    if not isinstance(value, list):
        return str(value)
    gaps = f" (not annotated: {' '.join(unknown)})" if unknown else ""
    return (" ".join(map(str, value)) or ("" if gaps else "none")) + gaps


def _parts(value: Any, truth: Any, unknown: Sequence[str]) -> list[dict[str, str]]:
    """What a head says, in parts: said rightly, said wrongly, and left out."""
    if not isinstance(value, list):
        state = "" if truth is None or value == truth else "extra"
        return [{"text": str(value), "state": state}]
    known = [*truth, *(v for v in value if v in unknown)] if isinstance(truth, list) else value
    every = list(dict.fromkeys([*value, *known]))
    parts = [
        {"text": str(v), "state": "" if v in value and v in known else "extra" if v in value else "missing"}
        for v in sorted(every, key=str)
    ]
    return parts or [{"text": "none", "state": ""}]


def _who(heads: Sequence[Mapping[str, Any]]) -> str:
    known = [head for head in heads if head["right"] is not None]
    right = [head["task"] for head in known if head["right"]]
    if not known:
        return "not annotated"
    if len(right) == len(known):
        return "all heads right"
    return f"only {' and '.join(right)} right" if right else "no head right"
