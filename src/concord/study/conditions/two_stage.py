"""`two-stage`: class posteriors by a cross-fitted first network and the given table, no guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from concord.auto import EFFORTS, IN_FOLDS, two_stage
from concord.errors import StudyError, UnknownNameError
from concord.relations import Relation
from concord.study.conditions.base import Condition, Predictor, Setting, joined
from concord.study.conditions.learner import StudyLearner
from concord.study.conditions.tables import Shown, shown
from concord.study.spec import AnyNetwork
from concord.tasks import Task


class TwoStage(Condition):
    """`concord.auto.two_stage` over the study's trunk and budget.

    Args:
        effort: A name of `concord.auto.IN_FOLDS`: folds of the first stage.
        table: The regime's tables, or wrong ones in their place.
    """

    def __init__(self, effort: str, table: Shown) -> None:
        self.effort, self.table = effort, table

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            StudyError: No relation.
        """
        del tasks, network
        if not relations:
            raise StudyError("condition 'two-stage' works through a relation, and there is none")

    def train(self, setting: Setting) -> Predictor:
        """Train both stages; the second network predicts."""
        learner, report = StudyLearner(setting), list[str]()
        network = two_stage(
            learner,
            setting.rows,
            setting.tasks,
            shown(setting, self.table).relations,
            effort=EFFORTS[self.effort].for_steps(setting.budget.steps),
            seed=setting.seed,
            say=report.append,
        )
        setting.account.update(sentences=report)
        setting.curves.extend(learner.curves[id(network)])
        return joined([network])


def condition(name: str = "two-stage", effort: str = "standard", table: Shown = "given") -> Condition:
    """The condition `two-stage`.

    Raises:
        UnknownNameError: An effort or table of another name.
    """
    if effort not in IN_FOLDS:
        raise UnknownNameError.of(f"effort of condition {name!r}", effort, IN_FOLDS)
    if table not in get_args(Shown):
        raise UnknownNameError.of(f"table of condition {name!r}", table, get_args(Shown))
    return TwoStage(effort, table)
