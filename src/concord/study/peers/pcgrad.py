"""PCGrad: of every task's gradient, the part that opposes another task's is taken away.

Source: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
algorithm 1: each gradient is projected in turn, in random order, onto the normal plane of every original
gradient that it conflicts with; their sum is followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.peers._losses import CombinedGradients, OfGradients
from concord.tasks import Task

SMALLEST = 1e-20


def projected(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """Every gradient after surgery: (T, P) from (T, P). The order is the generator's."""
    out = gradients.clone()
    squares = gradients.square().sum(dim=1).clamp(min=SMALLEST)
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = torch.dot(out[i], gradients[j])
            if j != i and inner < 0:
                out[i] -= inner / squares[j] * gradients[j]
    return out


class PCGradObjective(CombinedGradients):
    """The sum of the gradients after surgery."""

    def __init__(self, tasks: Sequence[Task], network: nn.Module, seed: int) -> None:
        super().__init__(tasks, network)
        self.generator = torch.Generator().manual_seed(seed)

    def direction(self, gradients: Tensor) -> Tensor:
        """See `projected`."""
        return projected(gradients, self.generator).sum(dim=0)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Where the random order stands."""
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `get_extra_state` gave."""
        self.generator.set_state(state["generator"].cpu())


class PCGrad(OfGradients):
    """A shared network, uncoupled."""

    def train(self, setting: Setting) -> Predictor:
        """Train one network for all tasks."""
        network = setting.build(setting.tasks)
        return joined([setting.train(network, PCGradObjective(setting.tasks, network, setting.seed))])


def condition() -> Condition:
    """The condition `pcgrad`; it has no options."""
    return PCGrad()
