"""The protocol of learners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from concord.fitting import Rows
from concord.networks import Capacity, predict_logits
from concord.tasks import Task

Array = npt.NDArray[np.float64]


class Learner(Protocol):
    """What can train a network and apply it."""

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        capacity: Capacity,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
    ) -> nn.Module:
        """Train a new network on `rows` for a share of the usual steps."""

    def logits(self, network: nn.Module, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        """Logits of all tasks of the network, float64: by task, (n, width)."""
        return {name: z.numpy().astype(np.float64) for name, z in predict_logits(network, inputs).items()}
