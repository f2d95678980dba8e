"""`two-stage`: class posteriors by a cross-fitted first network and the given table, no guard."""

from __future__ import annotations

from concord.errors import UnknownNameError
from concord.selection import EFFORTS, two_stage
from concord.study.conditions.base import Condition, Predictor, Setting, joined
from concord.study.conditions.learner import StudyLearner

__all__ = ["TwoStage", "condition"]


class TwoStage(Condition):
    """`concord.selection.two_stage` over the study's trunk and budget.

    Args:
        effort: A name of `concord.selection.EFFORTS`: folds of the first stage.
    """

    def __init__(self, effort: str) -> None:
        self.effort = effort

    def train(self, setting: Setting) -> Predictor:
        """Train both stages; the second network predicts."""
        learner, said = StudyLearner(setting), list[str]()
        network = two_stage(
            learner,
            setting.rows,
            setting.tasks,
            setting.relations,
            effort=EFFORTS[self.effort].for_steps(setting.budget.steps),
            seed=setting.seed,
            say=said.append,
        )
        setting.account.update(sentences=said)
        setting.curves.extend(learner.curves[id(network)])
        return joined([network])


def condition(name: str = "two-stage", effort: str = "standard") -> Condition:
    """The condition `two-stage`.

    Raises:
        UnknownNameError: An effort of another name.
    """
    if effort not in EFFORTS:
        raise UnknownNameError.of(f"effort of condition {name!r}", effort, EFFORTS)
    return TwoStage(effort)
