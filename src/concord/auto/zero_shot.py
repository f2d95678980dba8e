"""Classes without an annotated row, which only a relation can predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from concord.estimation import (
    RelationCheck,
)
from concord.fitting import Rows
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


def covered(rows: Rows, task: Task, relation: Relation | None) -> npt.NDArray[np.bool_]:
    """Classes of no annotated row of which a supplied table knows something: (C,)."""
    if relation is None or relation.source.name != task.name or relation.sparse:
        return np.zeros(task.width, dtype=bool)
    y = rows.targets[task.name].numpy()
    counts = np.bincount(y[y >= 0], minlength=task.width)
    return np.asarray((counts == 0) & relation.known.any(axis=1))


def unseen_classes(
    rows: Rows,
    task: Task,
    relations: Sequence[Relation | tuple[MulticlassTask, Task]],
    checks: Sequence[RelationCheck],
) -> npt.NDArray[np.bool_]:
    """Classes of no annotated row of which a relation in use knows something by its supplied table: (C,)."""
    out = np.zeros(task.width, dtype=bool)
    for relation, check in zip(relations, checks, strict=True):
        if isinstance(relation, Relation) and check.verdict in ("kept", "calibrated", "partly wrong"):
            out |= covered(rows, task, relation)
    return out


def fill_unseen(p: Array, unseen: npt.NDArray[np.bool_], share: Array | None = None) -> Array:
    """Class probabilities of a head that has never seen some classes: it says nothing of them.

    A class that no row was annotated with gets its `share`, 1/C unless given, whatever the input; the
    others share the rest as the head says. Without such a class this is `p` itself.
    """
    if not unseen.any():
        return p
    share = np.where(unseen, 1.0 / len(unseen), 0.0) if share is None else share
    seen = np.where(unseen, 0.0, p)
    return seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-12) * (1 - share.sum()) + share
