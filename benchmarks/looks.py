"""Drawn faces of two looks with tasks that have nothing to do with each other: what sharing may cost there.

    concord study benchmarks/looks.yaml

Expressions are annotated on pictures taken anywhere; pose, light and glasses on pictures from a laboratory. The
relation is a random table, which `auto` is not shown: it has to find that nothing relates the tasks.
"""

from __future__ import annotations

import numpy as np

from concord import MultilabelTask, Relation
from concord.study import Problem, case, databases

ROWS = case("faces").ROWS
"""Pictures of each look, by split: those of `concord study faces`."""
SEED = 107
"""Other faces than those of that study."""
VIEW = MultilabelTask("view", ["yaw", "pitch", "roll", "light", "glasses"])


def unrelated() -> Problem:
    """4,200 pictures of 48 x 48 pixels, half of each look, always the same."""
    n = sum(ROWS.values())
    data = databases(n, n, SEED)
    faces, (expression, _) = data.faces, data.tasks
    view = np.column_stack([faces.pose > 0, faces.light[:, 0] > 0, faces.people.glasses == 1]).astype(float)
    second = np.asarray(data.database) == 1
    table = np.random.default_rng(5).uniform(0.05, 0.95, (expression.width, VIEW.width))
    place = np.tile(np.digitize(np.arange(n), np.cumsum(list(ROWS.values()))), 2)
    return Problem(
        name="looks",
        tasks=(expression, VIEW),
        inputs=data.inputs(),
        targets={
            "expression": data.targets["expression"],
            "view": np.where(second[:, None], view, np.nan),
        },
        splits={split: np.flatnonzero(place == k) for k, split in enumerate(ROWS)},
        relations=(Relation(expression, VIEW, table),),
        picture=data.png,
    )
