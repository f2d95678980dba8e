"""Frozen features of a trunk: how many rows are worth them, and heads on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from concord.arrays import moments
from concord.data import StreamedInputs
from concord.fitting import Rows
from concord.learners.protocol import Frozen, Learner
from concord.tasks import MulticlassTask, Task

MOST = 0.25
"""Cost of features at most, with the pair of single-task models as 1."""

PASSES = 3.0
"""A step passes a row through the trunk forward and backward, which costs about three times the first."""

HEAD_STEPS = 300
"""Optimiser steps of heads."""

HEADS = {
    "trunk": None, "hidden": (128, 128), "dropout": 0.2, "steps": HEAD_STEPS, "rows_per_task": 64,
    "learning_rate": 2e-3, "weight_decay": 0.01, "device": "cpu",
}  # fmt: skip
"""Options of the learner of heads: the estimator's own for features."""


FEATURES = "features"


class TrunkAlone(nn.Module):
    """A trunk whose features are given like the logits of a task.

    Args:
        trunk: Inputs to features.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        device = next((each.device for each in trunk.parameters()), torch.device("cpu"))
        self.trunk, self.place = trunk, nn.Parameter(torch.zeros(0, device=device))

    def forward(self, x: Any) -> dict[str, Tensor]:
        """Features (n, width)."""
        return {FEATURES: self.trunk(x)}


def is_vectors(inputs: Any) -> bool:
    """Whether inputs, in memory or in sources, are vectors of numbers; of sources one row is read.

    Whole numbers in sources are words of texts, as many as the text has.
    """
    one = inputs.one if isinstance(inputs, StreamedInputs) else inputs
    return isinstance(one, Tensor) and one.dim() == 2 and one.is_floating_point()


def rows_worth_features(
    rows: Rows, tasks: Sequence[Task], row_steps: int, seed: int
) -> npt.NDArray[np.int64]:
    """Which rows to make features of: all, or a draw with as many of each task as their cost allows: (m,).

    A task with few rows has them all, and of every class and label value there is one.

    Args:
        rows: The rows.
        tasks: The tasks.
        row_steps: Rows that the pair of single-task models is trained on, over all steps.
        seed: Of the draw.
    """
    n, most = len(rows), int(MOST * PASSES * row_steps)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng([seed, 17])
    taken = np.zeros(n, dtype=bool)
    left = most
    by_size = sorted(tasks, key=lambda task: len(rows.annotated(task)))
    for i, task in enumerate(by_size):
        known = rng.permutation(rows.annotated(task).numpy())
        values = rows.targets[task.name].numpy()[known]
        columns = [values] if isinstance(task, MulticlassTask) else list(values.T)
        first = [np.unique(column, return_index=True)[1] for column in columns]
        front = np.unique(np.concatenate(first))
        order = np.concatenate([front, np.setdiff1d(np.arange(len(known)), front)])
        chosen = known[order[: max(left // (len(by_size) - i), len(front))]]
        left -= int((~taken[chosen]).sum())
        taken[chosen] = True
    return np.flatnonzero(taken)


def on_features(
    heads: Learner, rows: Rows, index: npt.NDArray[np.int64], features: Tensor, row_steps: int
) -> Frozen:
    """Rows with standardised features in place of their inputs, and their cost.

    Args:
        heads: What trains on them.
        rows: All rows.
        index: (m,) which of them.
        features: (m, width).
        row_steps: As of `rows_worth_features`.
    """
    some = replace(rows, inputs=torch.zeros(len(rows), 0)).take(torch.from_numpy(index))
    mean, deviation = moments(features.double().numpy())
    scaled = (features.double().numpy() - mean) / np.where(deviation > 0, deviation, 1.0)
    given = torch.from_numpy(scaled.astype(np.float32))
    return Frozen(heads, replace(some, inputs=given), index, len(index) / (PASSES * row_steps))
