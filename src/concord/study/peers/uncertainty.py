"""Uncertainty weighting: each task's loss is divided by a variance that is learnt with the network.

Source: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics", CVPR 2018, the form for classification: sum over tasks of L / s^2 + log s.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.peers._losses import CombinedLosses
from concord.tasks import Task


class UncertaintyLoss(CombinedLosses):
    """sum_t L_t exp(-v_t) + v_t / 2 with v = log s^2; for a given L it is least at exp(v) = 2 L.

    Args:
        tasks: The tasks.
        log_variances: (T,), trained elsewhere.
    """

    def __init__(self, tasks: Sequence[Task], log_variances: Tensor) -> None:
        super().__init__(tasks)
        self._log_variances = (log_variances,)

    def combined(self, losses: Sequence[Tensor]) -> Tensor:
        """The losses over their variances."""
        (v,) = self._log_variances
        return (torch.stack(list(losses)) * torch.exp(-v) + v / 2).sum()


class Uncertainty(Condition):
    """A shared network, uncoupled."""

    def train(self, setting: Setting) -> Predictor:
        """Train network and variances together; the record keeps the weights that were reached."""
        network = setting.build(setting.tasks)
        # Next to the network's own weights, so that the same optimiser trains both.
        log_variances = nn.Parameter(torch.zeros(len(setting.tasks), device=setting.device))
        network.register_parameter("log_variances", log_variances)
        setting.train(network, UncertaintyLoss(setting.tasks, log_variances))
        weights = torch.exp(-log_variances.detach()).tolist()
        names = [task.name for task in setting.tasks]
        setting.account.update(weights=dict(zip(names, weights, strict=True)))
        return joined([network])


def condition() -> Condition:
    """The condition `uncertainty`; it has no options."""
    return Uncertainty()
