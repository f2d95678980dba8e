"""What people fit without a network: one scikit-learn estimator per task, one per label of a label task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, from_numpy

from concord.errors import UnknownNameError
from concord.fitting import Rows, in_memory
from concord.learners import EstimatorLearner, Training
from concord.study.conditions import Condition, Predictor, Setting
from concord.tasks import Task

Make = Callable[[float | None], Any]
"""Candidate setting -> an unfitted estimator with `predict_proba`."""


def check_class_weight(name: str, value: object) -> None:
    """Raise where `class_weight` is neither None nor `"balanced"`.

    Raises:
        UnknownNameError: Another value.
    """
    if value is not None and value != "balanced":
        raise UnknownNameError.of(f"class_weight of condition {name!r}", value, ("balanced",))


class Estimators(Condition):
    """Single-task estimators on the inputs as they are, images row by row of pixels.

    Args:
        name: Of the condition.
        make: Makes an estimator.
        candidates: Settings that `make` takes, of which each task gets the one of the best metric on
            validation rows; the first of equals.
        competing: Those among them that `auto` compares with networks, where not all: it fits each in every
            fold.
    """

    def __init__(
        self,
        name: str,
        make: Make,
        candidates: Sequence[float | None] = (None,),
        competing: Sequence[float] = (),
    ) -> None:
        self.name, self.make, self.candidates = name, make, candidates
        self.competing = competing or candidates

    def rivals(self) -> dict[str, EstimatorLearner]:
        """An estimator for each candidate that competes, by the names of condition and candidate."""
        return {
            self.name if each is None else f"{self.name} {each:g}": EstimatorLearner(self.make(each))
            for each in self.competing
        }

    def train(self, setting: Setting) -> Predictor:
        """Fit the estimators of every task on its annotated rows."""
        fitted = {task.name: self._best(setting, task) for task in setting.tasks}

        def predict(inputs: Any) -> dict[str, Tensor]:
            rows = Rows(in_memory(inputs), {})
            return {
                task: from_numpy(learner.predict(model, rows)[task]).float()
                for task, (learner, model) in fitted.items()
            }

        return predict

    def _best(self, setting: Setting, task: Task) -> tuple[EstimatorLearner, Any]:
        """The estimators of the candidate that is best on validation rows."""
        rows = setting.rows.take(setting.rows.annotated(task)).of_tasks([task])
        rows = replace(rows, inputs=in_memory(rows.inputs))
        held = Rows(in_memory(setting.validation.inputs), {})
        best: tuple[float, EstimatorLearner, Any] | None = None
        for candidate in self.candidates:
            learner = EstimatorLearner(self.make(candidate))
            one = Training(rows, [task], "single-task", 1.0, setting.seed, predicted=held)
            found = learner.train_all([one])[0]
            score = setting.score(task, found.logits[task.name]) if len(self.candidates) > 1 else 0.0
            if best is None or score > best[0]:
                best = score, learner, found.model
        assert best is not None
        return best[1:]
