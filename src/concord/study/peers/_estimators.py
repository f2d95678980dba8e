"""What people fit without a network: one scikit-learn estimator per task, one per label of a label task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.fitting import in_memory
from concord.study.conditions import Condition, Predictor, Setting
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[Any]
Make = Callable[[float | None, int], Any]
"""(candidate setting, seed) -> an unfitted estimator with `predict_proba`."""

SMALLEST = 1e-7
"""No probability is below it: what an estimator has never seen is unlikely, not impossible."""


class Estimators(Condition):
    """Single-task estimators on the inputs as they are, images row by row of pixels.

    Args:
        make: Makes an estimator.
        candidates: Settings that `make` takes, of which each task gets the one of the best metric on
            validation rows; the first of equals.
    """

    def __init__(self, make: Make, candidates: Sequence[float | None] = (None,)) -> None:
        self.make, self.candidates = make, candidates

    def train(self, setting: Setting) -> Predictor:
        """Fit the estimators of every task on its annotated rows."""
        fitted = {task.name: self._best(setting, task) for task in setting.tasks}

        def predict(inputs: Any) -> dict[str, Tensor]:
            X = flat(inputs)
            return {name: torch.from_numpy(logits(X)).float() for name, logits in fitted.items()}

        return predict

    def _best(self, setting: Setting, task: Task) -> Callable[[Array], Array]:
        from threadpoolctl import threadpool_limits

        rows = setting.rows.annotated(task)
        X, y = flat(setting.rows.take(rows).inputs), setting.rows.targets[task.name][rows].numpy()
        best: tuple[float, Callable[[Array], Array]] | None = None
        with threadpool_limits(limits=1):  # a run depends on the plan alone, not on the number of cores
            for candidate in self.candidates:
                logits = fit_task(task, X, y, lambda c=candidate: self.make(c, setting.seed))  # type: ignore[misc]
                if len(self.candidates) == 1:
                    return logits
                score = setting.score(task, logits(flat(setting.validation.inputs)))
                if best is None or score > best[0]:
                    best = score, logits
        assert best is not None
        return best[1]


def flat(inputs: Any) -> Array:
    """Inputs as (n, d) features; those of sources are read into memory: an estimator needs all its rows."""
    return in_memory(inputs).reshape(len(inputs), -1).numpy().astype(np.float64)


def fit_task(task: Task, X: Array, y: Array, make: Callable[[], Any]) -> Callable[[Array], Array]:
    """Fit a task's estimators; what maps features (n, d) to logits (n, width)."""
    if isinstance(task, MulticlassTask):
        probabilities = _fitted(X, y, task.width, make)
        return lambda X: np.log(probabilities(X))
    each = []
    for k in range(task.width):
        known = ~np.isnan(y[:, k])
        each.append(_fitted(X[known], y[known, k].astype(np.int64), 2, make))
    return lambda X: np.stack([np.log(p[:, 1]) - np.log(p[:, 0]) for p in (one(X) for one in each)], axis=1)


def _fitted(X: Array, y: Array, width: int, make: Callable[[], Any]) -> Callable[[Array], Array]:
    """Probabilities (n, width) by an estimator; with one annotated class, that class for every row."""
    present = np.unique(y)
    estimator = make().fit(X, y) if len(present) > 1 else None

    def probabilities(X: Array) -> Array:
        out = np.zeros((len(X), width))
        out[:, present] = 1.0 if estimator is None else estimator.predict_proba(X)
        out = np.clip(out, SMALLEST, None)
        return out / out.sum(axis=1, keepdims=True)

    return probabilities
