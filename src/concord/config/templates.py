"""A config to start from, written from the schema itself, so that it never has unknown keys."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel

from concord.config.schema import FIELDS_OF_KIND, Config

Start = Literal["images", "arrays", "features", "columns", "texts"]
"""What the inputs of a starting config are."""

START: tuple[Start, ...] = get_args(Start)

_INPUTS: dict[str, dict[str, Any]] = {
    "images": {"kind": "images", "size": 64},
    "arrays": {"kind": "arrays", "file": "pixels.npy", "size": 64},
    "features": {"kind": "features", "file": "features.npy"},
    "columns": {"kind": "columns", "columns": ["weight", "colour"]},
    "texts": {"kind": "texts"},
}
_TRUNKS = {"images": "builtin:resnet", "arrays": "builtin:resnet", "texts": "builtin:bag-of-words"}

WIDTH = 100


def example(start: Start = "images") -> dict[str, Any]:
    """What a starting config says beyond the defaults: two sources, a relation, a coupling."""
    inputs = _INPUTS[start]
    return {
        "sources": {
            "first": {"manifest": "classes.parquet", "inputs": inputs, "tasks": ["kind"]},
            "second": {"manifest": "labels.parquet", "inputs": inputs, "tasks": ["traits"]},
        },
        "tasks": {"kind": {}, "traits": {}},
        "relations": [{"source": "kind", "target": "traits", "table": "table.csv"}],
        "couplings": [{"name": "posterior", "weight": 1.0}],
        "trunk": {"name": _TRUNKS.get(start, "builtin:mlp")},
    }


def template(start: Start = "images") -> str:
    """A commented config in YAML: every key with its meaning and default."""
    config = Config.model_validate(example(start))
    head = [
        "# A config of `concord train`. Every key is here with its default; delete what you do not change.",
        "# `concord schema` prints all of this for editors; keys may be overridden by",
        "# `--set training.steps=100` and by the environment: CONCORD_TRAINING__STEPS=100.",
        "",
    ]
    return "\n".join([*head, *_lines(config, "")]) + "\n"


def _lines(model: BaseModel, indent: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    hidden = _hidden(model)
    for name, field in type(model).model_fields.items():
        if name in hidden:
            continue
        value = getattr(model, name)
        wrapped = () if name in seen else textwrap.wrap(field.description or "", WIDTH - len(indent))
        yield from (f"{indent}# {line}" for line in wrapped)
        yield from _entry(name, value, indent)
        if not indent:
            yield ""


def _entry(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        yield from _lines(value, indent + "  ")
    elif isinstance(value, dict) and any(isinstance(each, BaseModel) for each in value.values()):
        yield f"{indent}{name}:"
        explained: frozenset[str] = frozenset()
        for key, each in value.items():
            yield f"{indent}  {key}:"
            yield from _lines(each, indent + "    ", explained)
            explained = frozenset(type(each).model_fields)  # once is enough
    elif isinstance(value, list) and any(isinstance(each, BaseModel) for each in value):
        yield f"{indent}{name}:"
        for each in value:
            lines = list(_lines(each, indent + "    "))
            first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
            yield from lines[:first]
            yield f"{indent}  - {lines[first].strip()}"
            yield from lines[first + 1 :]
    else:
        yield f"{indent}{name}: {json.dumps(value)}"


def _hidden(model: BaseModel) -> set[str]:
    """Fields that do not apply to the kind of inputs at hand."""
    kind = getattr(model, "kind", None)
    if kind not in FIELDS_OF_KIND:
        return set()
    return set(type(model).model_fields) - {"kind"} - FIELDS_OF_KIND[kind]
