"""Distillation of the missing tasks: a shared teacher gives every row soft targets for every task.

Source: Deng, Chen, Shi, "Multitask Emotion Recognition with Incomplete Labels", FG 2020: a teacher is trained
on what is annotated, a student on annotations mixed with the teacher's outputs, and on these alone where
nothing is annotated. One student, at temperature 1; the share of the annotation is our choice.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from concord.errors import RangeError
from concord.fitting import row_logits
from concord.objective import CoupledObjective
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.tasks import MulticlassTask, Task


def mixed_targets(task: Task, targets: Tensor, logits: Tensor, share: float) -> Tensor:
    """What the student learns: (n, C) distributions or (n, K) probabilities.

    A cross-entropy is linear in its target: at `share` x annotation + (1 - share) x teacher it is the sum of
    both losses with these factors.

    Args:
        task: The task.
        targets: With gaps.
        logits: The teacher's.
        share: Of the annotation, where there is one.
    """
    if isinstance(task, MulticlassTask):
        teacher = logits.softmax(dim=1)
        truth = one_hot(targets.clamp(min=0), task.width).to(teacher.dtype)
        return torch.where((targets >= 0)[:, None], share * truth + (1 - share) * teacher, teacher)
    teacher = logits.sigmoid()
    return torch.where(targets.isnan(), teacher, share * targets.nan_to_num() + (1 - share) * teacher)


class Distillation(Condition):
    """A shared teacher, then a shared student; each for the full number of steps.

    Args:
        share: Of the annotation, against the teacher's output.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def train(self, setting: Setting) -> Predictor:
        """Train both; the student predicts. It starts from other weights than its teacher."""
        first = replace(setting, curves=[], seed=setting.seed + 1_000_003)
        teacher = first.train(first.build(setting.tasks), CoupledObjective(setting.tasks))
        logits = row_logits(teacher, setting.rows.inputs)
        soft = {
            task.name: mixed_targets(
                task, setting.rows.targets[task.name], logits[task.name], self.share
            ).float()
            for task in setting.tasks
        }
        # The annotations are in the soft targets.
        objective = CoupledObjective(setting.tasks, task_weights=dict.fromkeys(soft, 0.0))
        rows = replace(setting.rows, soft=soft)
        return joined([setting.train(setting.build(setting.tasks), objective, rows)])


def condition(share: float = 0.6) -> Condition:
    """The condition `distillation`.

    Raises:
        RangeError: A share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise RangeError(f"condition 'distillation': the share lies in [0, 1], found {share}")
    return Distillation(share)
