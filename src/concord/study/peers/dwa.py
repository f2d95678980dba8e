"""Dynamic weight averaging: tasks whose loss falls slowly get more weight.

Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, section 3.3: with the
mean losses of the last two epochs, w_t = L_t(e-1) / L_t(e-2), weights T softmax(w / temperature); equal in
the first two epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import Tensor

from concord.errors import RangeError
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.peers._losses import CombinedLosses
from concord.tasks import Task

SMALLEST = 1e-12


def weights_after(
    last: npt.ArrayLike, before: npt.ArrayLike, temperature: float = 2.0
) -> npt.NDArray[np.float64]:
    """Weights of the tasks, which sum to their number: (T,).

    Args:
        last: (T,) mean losses of the last epoch.
        before: (T,) mean losses of the epoch before it.
        temperature: The greater, the more equal; > 0.
    """
    ratio = np.asarray(last, dtype=np.float64) / np.maximum(before, SMALLEST)
    return len(ratio) * softmax(ratio / temperature)


class DynamicLoss(CombinedLosses):
    """The weighted losses; weights change at the end of an epoch.

    Args:
        tasks: The tasks.
        epoch: Steps of an epoch, >= 1.
        temperature: See `weights_after`.
    """

    def __init__(self, tasks: Sequence[Task], epoch: int, temperature: float) -> None:
        super().__init__(tasks)
        self.epoch, self.temperature = epoch, temperature
        self.weights = np.ones(len(tasks))
        self._running: list[npt.NDArray[np.float64]] = []
        self._means: list[npt.NDArray[np.float64]] = []

    def combined(self, losses: Sequence[Tensor]) -> Tensor:
        """The losses at the weights of this epoch."""
        each = torch.stack(list(losses))
        loss = (torch.as_tensor(self.weights, dtype=each.dtype, device=each.device) * each).sum()
        self._running.append(each.detach().double().cpu().numpy())
        if len(self._running) == self.epoch:
            self._means = [*self._means[-1:], np.mean(self._running, axis=0)]
            self._running = []
            if len(self._means) == 2:
                self.weights = weights_after(self._means[1], self._means[0], self.temperature)
        return loss

    def get_extra_state(self) -> dict[str, Any]:
        """Weights, and the losses that the next ones depend on."""
        return {
            "weights": self.weights.tolist(),
            "running": [each.tolist() for each in self._running],
            "means": [each.tolist() for each in self._means],
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `get_extra_state` gave."""
        self.weights = np.array(state["weights"])
        self._running = [np.array(each) for each in state["running"]]
        self._means = [np.array(each) for each in state["means"]]


class DynamicWeights(Condition):
    """A shared network, uncoupled.

    Args:
        temperature: See `weights_after`.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def train(self, setting: Setting) -> Predictor:
        """Train; an epoch is as many steps as the richest task's rows are walked once in."""
        most = max(len(setting.rows.annotated(task)) for task in setting.tasks)
        epoch = -(-most // setting.budget.rows_per_task)
        objective = DynamicLoss(setting.tasks, epoch, self.temperature)
        network = setting.train(setting.build(setting.tasks), objective)
        names = [task.name for task in setting.tasks]
        setting.account.update(weights=dict(zip(names, objective.weights.tolist(), strict=True)))
        return joined([network])


def condition(temperature: float = 2.0) -> Condition:
    """The condition `dwa`.

    Raises:
        RangeError: A temperature that is not positive.
    """
    if not 0 < temperature < float("inf"):
        raise RangeError(f"condition 'dwa': the temperature is > 0, found {temperature}")
    return DynamicWeights(temperature)
