"""A plan to start from, explained by the plan's own fields, so that it can never speak of other keys."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from concord.study.plan import Data, Plan, RelationPlan
from concord.study.spec import Budget, Network, Regime, meanings

WIDTH = 100

HEAD = (
    "# A plan of `concord study`. Every key is here with its default; delete what you do not change.",
    "# `concord schema --study` prints all of this for editors; docs/study.md explains it.",
    "# `concord study PLAN --quick` shows within minutes that it runs.",
)

EXAMPLE: dict[str, Any] = {
    "title": "Kinds and their traits",
    "problem": {
        "manifest": "manifest.parquet",
        "features": "features.npz",
        "array": "x",
        "relations": [{"source": "kind", "target": "traits", "table": "table.csv", "normalize": False}],
    },
    "regimes": [
        {"name": "few-class", "rows": {"kind": 50, "traits": 600}, "overlap": 0.0, "table": "given"},
        {"name": "wrong-table", "rows": {"kind": 50, "traits": 600}, "overlap": 0.0, "table": "shuffled"},
    ],
    "conditions": ["single-task", "logistic", "uncoupled", "posterior", "auto"],
    "budget": {**Budget().model_dump(), "steps": None},
}
"""What a starting plan says beyond the defaults."""


def plan_template() -> str:
    """A commented plan in YAML: every key with its meaning and default."""
    defaults = Plan.model_validate(EXAMPLE).model_dump(mode="json")
    lines = list(HEAD)
    for name, meaning in meanings(Plan).items():
        if name != "folder":
            lines += ["", *_entry(name, meaning, EXAMPLE.get(name, defaults[name]))]
    return "\n".join(lines) + "\n"


PARTS: dict[str, type[BaseModel]] = {"problem": Data, "network": Network, "budget": Budget}
"""Fields that are explained key by key."""

LISTED: dict[str, type[BaseModel]] = {"regimes": Regime, "relations": RelationPlan}
"""Fields whose entries have keys, which are explained above the first."""


def _entry(name: str, meaning: str, value: Any) -> Iterator[str]:
    yield from _comment(meaning)
    if name in PARTS:
        yield f"{name}:"
        for key, text in meanings(PARTS[name]).items():
            yield from (f"  {line}" for line in _entry(key, text, value[key]))
        return
    for key, text in meanings(LISTED[name]).items() if name in LISTED else ():
        yield from _comment(f"- {key}: {text}", "    ")
    flow = None if isinstance(value, (list, dict)) else False  # None: only what holds no more of its kind
    plain = yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=flow, width=WIDTH)
    yield from plain.rstrip("\n").splitlines()


def _comment(text: str, hanging: str = "") -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, WIDTH - 4, subsequent_indent=hanging))
