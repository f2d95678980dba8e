"""Out-of-fold predictions of a training that decides nothing by folds itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from concord.auto.effort import Effort
from concord.auto.splits import checked_folds
from concord.fitting import Rows
from concord.learners import Learner, Model
from concord.metrics import probabilities
from concord.tasks import Task

Array = npt.NDArray[np.float64]

Train = Callable[[Rows, float, int], Model]
"""(training rows, share of the steps, seed) -> a model."""


def held_out_probabilities(
    train: Train, learner: Learner, rows: Rows, tasks: Sequence[Task], *, effort: Effort, seed: int
) -> dict[str, Array]:
    """Probabilities of each row by a model that has seen nothing of its fold: by task, (n, C) or (n, K).

    Args:
        train: Trains a model of all tasks.
        learner: Applies it.
        rows: Training rows, each task annotated at least once; no fold divides their groups.
        tasks: The tasks.
        effort: Folds, and their share of the steps.
        seed: Seeds folds and models.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
    """
    fold = checked_folds(rows, tasks, effort.folds, seed)
    out = {task.name: np.zeros((len(rows), task.width)) for task in tasks}
    for k in range(effort.folds):
        held, rest = (torch.from_numpy(np.flatnonzero(part)) for part in (fold == k, fold != k))
        logits = learner.predict(train(rows.take(rest), effort.share, seed * 1000 + k + 1), rows.take(held))
        for task in tasks:
            out[task.name][held.numpy()] = probabilities(task, logits[task.name])
    return out
