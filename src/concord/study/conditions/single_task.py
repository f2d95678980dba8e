"""A network of its own for every task: the first baseline."""

from __future__ import annotations

from concord.objective import CoupledObjective
from concord.study.conditions.base import Condition, Predictor, Setting, joined


class SingleTask(Condition):
    """One network a task, each with the full number of steps and the same number of its own rows a step."""

    def train(self, setting: Setting) -> Predictor:
        """Train one network after the other, from the same initial trunk."""
        return joined(
            [setting.train(setting.build([task]), CoupledObjective([task])) for task in setting.tasks]
        )


def condition(name: str = "single-task") -> Condition:
    """The condition `single-task`; it has no options."""
    del name
    return SingleTask()
