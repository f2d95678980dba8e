"""Drawn faces: seven expressions on pictures taken anywhere, 17 action units on pictures from a laboratory.

No picture carries both annotations, and the two databases look different; each is tested on its own kind
of pictures. The relation is the table by which the faces are drawn. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concord.study.problems.problem import Problem


PLAN: dict[str, Any] = {
    "title": "Expressions and action units on drawn faces",
    "problem": "faces",
    "regimes": [
        {"name": "few-class", "rows": {"expression": 75, "action_units": 1500}},
        {"name": "few-label", "rows": {"expression": 1500, "action_units": 75}},
        {"name": "few-class-shuffled", "rows": {"expression": 75, "action_units": 1500}, "table": "shuffled"},
    ],
    "conditions": [
        "single-task",
        "uncoupled",
        "paper",
        {"name": "auto", "options": {"effort": "fast"}},
        {"name": "auto-no-table", "use": "auto", "options": {"effort": "fast", "table": "none"}},
    ],
    "seeds": 5,
    "network": {"kind": "resnet", "width": 8, "stages": 4, "stem_stride": 2},
    "budget": {"steps": 300, "rows_per_task": 32, "log_every": 100},
}

QUICK: dict[str, Any] = {
    **PLAN,
    "regimes": [PLAN["regimes"][0], PLAN["regimes"][2]],
    "seeds": 1,
    "budget": {"steps": 20, "rows_per_task": 16, "log_every": 10},
    "resamples": 50,
}

ROWS = {"train": 1500, "val": 200, "test": 400}
"""Pictures of each database."""

SEED = 7


def problem() -> Problem:
    """4,200 pictures of 48 x 48 pixels, half of each database, always the same."""
    import numpy as np

    from concord.study.drawn_faces import databases
    from concord.study.problems.problem import Problem

    n = sum(ROWS.values())
    data = databases(n, n, SEED)
    ends = np.cumsum(list(ROWS.values()))
    place = np.tile(np.digitize(np.arange(n), ends), 2)
    return Problem(
        name="faces",
        tasks=data.tasks,
        inputs=data.inputs(),
        targets=data.targets,
        splits={split: np.flatnonzero(place == k) for k, split in enumerate(ROWS)},
        relations=(data.relation,),
        picture=data.png,
    )
