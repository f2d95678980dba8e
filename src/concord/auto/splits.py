"""Folds of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.errors import RangeError, ShapeError
from concord.fitting import Rows
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


def draw_folds(
    rows: Rows, tasks: Sequence[Task], folds: int, seed: int, groups: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """Fold of each row, alike in which tasks are annotated and in classes; groups stay whole."""
    rng = np.random.default_rng([seed, 5])
    n = len(rows)
    kind = np.zeros(n, dtype=np.int64)
    for task in tasks:
        values = rows.targets[task.name].numpy()
        part = values + 1 if isinstance(task, MulticlassTask) else task.annotated(values).astype(np.int64)
        kind = kind * (task.width + 2) + part
    fold = np.empty(n, dtype=np.int64)
    if groups is None:
        order = np.lexsort((rng.random(n), kind))
        fold[order] = np.arange(n) % folds
        return fold
    names, index = np.unique(groups, return_inverse=True)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[rng.permutation(len(names))] = np.arange(len(names)) % folds
    return fold_of[index]


def checked_folds(
    rows: Rows, tasks: Sequence[Task], folds: int, seed: int, groups: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """Folds, each of which leaves annotated rows of every task to train on."""
    for task in tasks:
        if (n := len(rows.annotated(task))) < folds:
            raise RangeError(
                f"task {task.name!r} has {n} annotated rows, fewer than the {folds} folds of cross-fitting; "
                "annotate more, choose a smaller effort, or name a coupling"
            )
    if groups is not None and np.shape(groups) != (len(rows),):
        raise ShapeError(f"groups have shape ({len(rows)},), found {np.shape(groups)}")
    fold = draw_folds(rows, tasks, folds, seed, groups)
    for task in tasks:
        if groups is not None and len(np.unique(fold[rows.annotated(task).numpy()])) < 2:
            raise RangeError(
                f"all annotated rows of task {task.name!r} fall into one fold: its rows come from too few "
                f"groups for {folds} folds; give finer groups, or name a coupling"
            )
    return fold
