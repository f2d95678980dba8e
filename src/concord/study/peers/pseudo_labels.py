"""Pseudo-labels: single-task networks annotate the rows of the other tasks where they are sure.

Source: Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
Networks", ICML workshop 2013, with a threshold of confidence.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from concord.errors import RangeError
from concord.fitting import row_logits
from concord.objective import CoupledObjective
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.tasks import MulticlassTask, Task


def sure(task: Task, logits: Tensor, threshold: float) -> Tensor:
    """Hard targets where a prediction is sure, NaN elsewhere: one-hot (n, C), or 0 and 1 (n, K)."""
    if isinstance(task, MulticlassTask):
        p = logits.softmax(dim=1)
        hard = torch.nn.functional.one_hot(p.argmax(dim=1), task.width).float()
        return torch.where(p.amax(dim=1, keepdim=True) >= threshold, hard, torch.nan)
    p = logits.sigmoid()
    return torch.where((p >= threshold) | (p <= 1 - threshold), (p > 0.5).float(), torch.nan)


class PseudoLabels(Condition):
    """Single-task networks first, then a shared network; each for the full number of steps.

    Args:
        threshold: Probability from which a prediction counts.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def train(self, setting: Setting) -> Predictor:
        """Train both stages; the second network predicts."""
        first, soft = replace(setting, curves=[]), {}
        for task in setting.tasks:
            teacher = first.train(first.build([task]), CoupledObjective([task]))
            found = sure(task, row_logits(teacher, setting.rows.inputs)[task.name], self.threshold)
            found[setting.rows.annotated(task)] = torch.nan
            soft[task.name] = found
        shares = {name: round(float((~values.isnan()).float().mean()), 4) for name, values in soft.items()}
        setting.account.update(pseudo_labelled=shares)
        network = setting.build(setting.tasks)
        return joined(
            [setting.train(network, CoupledObjective(setting.tasks), replace(setting.rows, soft=soft))]
        )


def condition(threshold: float = 0.95) -> Condition:
    """The condition `pseudo-labels`.

    Raises:
        RangeError: A threshold outside (.5, 1].
    """
    if not 0.5 < threshold <= 1:
        raise RangeError(f"condition 'pseudo-labels': the threshold lies in (0.5, 1], found {threshold}")
    return PseudoLabels(threshold)
