"""How long to train where nobody says: as the rows ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PASSES = 10
"""Passes over the rows of the task that has most of them."""

MOST_STEPS = 20_000
"""Optimiser steps that are never exceeded unless somebody asks for more."""


@dataclass(frozen=True)
class TrainingLength:
    """How long a network is trained.

    Attributes:
        steps: Optimiser steps.
        rows_per_task: Rows of each task in a step.
        reason: Why, in plain words; empty where somebody said so.
    """

    steps: int
    rows_per_task: int
    reason: str = ""


def training_length(annotated: Mapping[str, int], rows_per_task: int, fewest: int) -> TrainingLength:
    """As many steps as `PASSES` passes over the rows of the task with most of them, within limits.

    A task with fewer rows is walked more often in as many steps, as everywhere here.

    Args:
        annotated: By task, its annotated training rows; at least one task has any.
        rows_per_task: Rows of each task in a step, >= 1.
        fewest: Steps of small data, >= 1; what more rows are measured from.
    """
    task = max(annotated, key=lambda name: annotated[name])
    n = annotated[task]
    asked = -(-PASSES * n // rows_per_task)
    steps = min(max(asked, fewest), max(MOST_STEPS, fewest))
    passes = steps * rows_per_task / max(n, 1)
    if steps > asked:
        why = f"the least there are: {passes:,.0f} passes over the {n:,} rows of {task!r}"
    elif steps < asked:
        why = f"the most there are: {passes:.1f} passes over the {n:,} rows of {task!r}; give steps for more"
    else:
        why = f"{PASSES} passes over the {n:,} rows of {task!r}, which has most"
    return TrainingLength(
        steps, rows_per_task, f"{steps:,} steps of {rows_per_task} rows of each task, {why}"
    )
