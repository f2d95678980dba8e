"""The protocol of learners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from concord.fitting import Rows
from concord.tasks import Task

Array = npt.NDArray[np.float64]

Kind = Literal["single-task", "shared", "coupled"]
"""What a model is trained for: one task alone; several tasks; several, with soft targets in the rows."""

Model = Any
"""What a learner trained: only the learner itself looks into it."""


class Learner(Protocol):
    """What can train a model on rows and predict rows, wherever they lie and whatever the model is.

    `auto` and studies know nothing else of models.
    """

    kinds: Sequence[Kind]
    """Kinds that it offers; of what it does not offer, `auto` makes no candidate."""

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        kind: Kind,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
    ) -> Model:
        """Train a new model.

        Args:
            rows: Training rows; those of a coupled model carry soft targets.
            tasks: What it predicts: a single one of kind `single-task`.
            kind: One of `kinds`.
            share: Of the usual training length, in (0, 1].
            seed: Fixes initial weights, order of rows and dropout.
            task_weights: By task, the factor of its loss; 1 where not named.
            soft_weights: By task, the factor of its loss on soft targets; 1 where not named.
        """

    def predict(self, model: Model, rows: Rows) -> dict[str, Array]:
        """Logits, or log-odds, of all tasks of a model, in the order of the rows: by task, (n, width)."""
