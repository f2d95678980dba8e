"""The best single-task model of each task: what a careful user would have without the other tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from concord.errors import StudyError
from concord.study.conditions import Condition, Predictor, Setting
from concord.study.conditions import condition as named

ALL = ("single-task", "logistic", "extra-trees", "boosting")


class BestSingleTask(Condition):
    """Single-task models of several kinds; each task keeps the kind of the best metric on validation rows.

    Args:
        kinds: Conditions by name; the first of equals is taken.
    """

    def __init__(self, kinds: dict[str, Condition]) -> None:
        self.kinds = kinds

    def train(self, setting: Setting) -> Predictor:
        """Train all kinds, and choose."""
        predictors: dict[str, Predictor] = {}
        scores: dict[str, dict[str, float]] = {task.name: {} for task in setting.tasks}
        for kind, each in self.kinds.items():
            predictors[kind] = each.train(replace(setting, curves=[], account={}))
            logits = predictors[kind](setting.validation.inputs)
            for task in setting.tasks:
                scores[task.name][kind] = setting.score(task, logits[task.name].numpy())
        best = {task: max(found, key=lambda kind: found[kind]) for task, found in scores.items()}
        setting.account.update(
            choices=[{"task": task, "weights": {kind: 1.0}} for task, kind in best.items()],
            sentences=[f"{task}: {kind} is best on validation rows" for task, kind in best.items()],
        )

        def predict(inputs: Any) -> dict[str, Tensor]:
            found = {kind: predictors[kind](inputs) for kind in set(best.values())}
            return {task: found[kind][task] for task, kind in best.items()}

        return predict


def condition(kinds: Sequence[str] = ALL) -> Condition:
    """The condition `best-single-task`.

    Args:
        kinds: `single-task`, and conditions that fit estimators, by name.

    Raises:
        StudyError: No kind, a name alone in place of a list, or a condition that trains tasks together.
        UnknownNameError: No such condition.
    """
    if isinstance(kinds, str) or not kinds:
        raise StudyError(f"kinds of condition 'best-single-task' is a list of conditions, found {kinds!r}")
    made = {kind: named(kind) for kind in kinds}
    for kind, each in made.items():
        if kind != "single-task" and not each.rivals():
            raise StudyError(
                f"kind {kind!r} of condition 'best-single-task' does not train each task by itself"
            )
    return BestSingleTask(made)
