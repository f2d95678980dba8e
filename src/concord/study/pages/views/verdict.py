"""The verdict at a glance: what helps, what harms, and the board of all comparisons."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from concord.study.pages.listing import VERDICT_WORDS, span
from concord.study.pages.outcome import Outcome

SENTENCE_END = re.compile(r"(?<=[.]) (?=[A-Z])")
MINUS = re.compile(r"(?<![\w.-])-(?=[\d.])")


def sentences(outcome: Outcome) -> list[str]:
    """The verdict in words, sentence by sentence, with true minus signs."""
    return SENTENCE_END.split(MINUS.sub("\N{MINUS SIGN}", outcome.summary["sentence"]))


def facts(outcome: Outcome) -> list[str]:
    """How large the study is, how long it took, and when."""
    runs = {(row["regime"], row["condition"], row["seed"]) for row in outcome.results}
    facts = [
        _counted(len(outcome.tasks), "task"),
        _counted(len(outcome.regimes), "regime"),
        _counted(len(outcome.conditions), "condition"),
        _counted(len(outcome.seeds), "paired seed"),
        _counted(len(runs), "run"),
    ]
    if isinstance(outcome.environment.get("duration"), (int, float)):
        facts.append(span(outcome.environment["duration"]))
    if outcome.environment.get("started"):
        facts.append(str(outcome.environment["started"])[:10])
    return facts


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def tiles(outcome: Outcome) -> list[dict[str, Any]]:
    """Conditions by what is shown of them: gains and no harm, harm, nothing of either."""
    shown: dict[str, list[dict[str, Any]]] = {"superior": [], "inferior": [], "undecided": []}
    for condition in outcome.conditions:
        mine = [row for row in outcome.verdicts if row["condition"] == condition]
        counts = {verdict: sum(row["verdict"] == verdict for row in mine) for verdict in VERDICT_WORDS}
        kind = next((v for v in ("inferior", "superior") if counts[v]), "undecided")
        if mine:
            shown[kind].append({"name": condition, "counts": {v: n for v, n in counts.items() if n}})
    titles = {
        "superior": "Shown to help, no harm shown",
        "undecided": "Neither gain nor harm shown",
        "inferior": "Shown to do harm",
    }
    if not outcome.verdicts:
        return []
    return [{"verdict": v, "title": title, "conditions": shown[v]} for v, title in titles.items()]


def board(outcome: Outcome, baseline: str) -> dict[str, Any]:
    """Conditions in rows, regimes and tasks in columns, a verdict in each cell."""
    found = {
        (row["condition"], row["regime"], row["task"]): row
        for row in outcome.verdicts
        if row["baseline"] == baseline
    }
    columns = list(product(outcome.regimes, outcome.tasks))
    rows = []
    for condition in outcome.conditions:
        cells = [found.get((condition, *column)) for column in columns]
        known = [cell for cell in cells if cell]
        if known:
            worst = min(known, key=lambda cell: float(cell["difference"]))
            harm = worst["verdict"] == "inferior"
            rows.append({"condition": condition, "cells": cells, "worst": worst["difference"], "harm": harm})
    if baseline == "single-task":
        for row in rows:
            row["negative"] = _negative_transfer(outcome, row["condition"])
    return {"baseline": baseline, "regimes": outcome.regimes, "tasks": outcome.tasks, "rows": rows}


def _negative_transfer(outcome: Outcome, condition: str) -> dict[str, int] | None:
    held = [r for r in outcome.summary.get("negative_transfer", []) if r["condition"] == condition]
    of = sum(record["of"] for record in held)
    return {"count": sum(record["count"] for record in held), "of": of} if of else None
