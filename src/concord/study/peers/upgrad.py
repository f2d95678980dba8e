"""UPGrad, by TorchJD: every task's gradient is projected onto the cone that opposes no task; their mean.

Source: Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", 2024. TorchJD's own projection
needs a solver under the GPL; the one that is handed to it here needs SciPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concord.errors import MissingExtraError
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.peers._losses import CombinedGradients, OfGradients, dual_cone_weights
from concord.tasks import Task

Aggregator = Callable[[Tensor], Tensor]


def project(u: Tensor, gramian: Tensor) -> Tensor:
    """Projection weights of every row of `u`, (m, m), on the dual cone; what TorchJD asks of a projector."""
    g = gramian.detach().double().cpu().numpy()
    rows = [dual_cone_weights(row, g) for row in u.detach().double().cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).to(gramian)


class UPGradObjective(CombinedGradients):
    """TorchJD's aggregation of the gradients."""

    def __init__(self, tasks: Sequence[Task], network: nn.Module, aggregator: Aggregator) -> None:
        super().__init__(tasks, network)
        self._aggregator = (aggregator,)

    def direction(self, gradients: Tensor) -> Tensor:
        """The aggregated gradient."""
        return self._aggregator[0](gradients)


class UPGrad(OfGradients):
    """A shared network, uncoupled.

    Args:
        aggregator: From the tasks' gradients, (T, P), to one, (P,).
    """

    def __init__(self, aggregator: Aggregator) -> None:
        self.aggregator = aggregator

    def train(self, setting: Setting) -> Predictor:
        """Train one network for all tasks."""
        network = setting.build(setting.tasks)
        objective = UPGradObjective(setting.tasks, network, self.aggregator)
        return joined([setting.train(network, objective)])


def condition() -> Condition:
    """The condition `upgrad`; it has no options.

    Raises:
        MissingExtraError: TorchJD is not installed.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise MissingExtraError(
            "condition 'upgrad' needs torchjd: pip install concord-mtl[torchjd]; or leave it out of the plan"
        ) from error
    projector: Any = project  # TorchJD asks for a class of its own and uses no more than its call
    return UPGrad(aggregation.UPGrad(projector=projector))
