"""Confusion matrices of the class tasks."""

from __future__ import annotations

from itertools import product
from typing import Any

from concord.study.pages.heat import heat_map
from concord.study.pages.outcome import Outcome

ROOM = 255.0
"""Pixels of a matrix of few classes: four stand side by side on a desk."""


def confusions(outcome: Outcome) -> list[dict[str, Any]]:
    """A group for each task and regime: one matrix a condition."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in outcome.ordered(outcome.confusion):
        matrix, classes = record["matrix"], record["classes"]
        total = sum(map(sum, matrix))
        right = sum(matrix[i][i] for i in range(len(classes)))
        label = f"Confusion of {record['task']}, {record['condition']}, {record['regime']}"
        picture = heat_map(matrix, classes, classes, label, kind="confusion", width=ROOM)
        groups.setdefault((record["task"], record["regime"]), []).append(
            {"title": record["condition"], "svg": picture, "right": right, "total": total}
        )
    order = list(product(outcome.tasks, outcome.regimes))
    return [
        {"task": task, "regime": regime, "panels": groups[task, regime]}
        for task, regime in order
        if (task, regime) in groups
    ]
