"""Estimators of scikit-learn: trees, linear models, boosting, anything with `predict_proba`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from concord.errors import ShapeError
from concord.fitting import Rows
from concord.learners.protocol import Kind, Learner
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]
Fitted = Callable[[Array], Array]
"""Features (n, d) -> logits or log-odds (n, width)."""

SMALLEST = 1e-7
"""No probability is below it: what an estimator has never seen is unlikely, not impossible."""


@dataclass(frozen=True)
class EstimatorLearner(Learner):
    """One estimator per multiclass task and one per label, each on the rows with that annotation.

    Nothing is shared between tasks, so there is no shared kind. A coupled model learns soft class targets by
    weighted copies of their rows, one per class, for which the estimator must take weights; otherwise there
    are single-task models alone. An estimator has no steps: whatever the share, each is fitted in full.

    Args:
        estimator: An unfitted estimator with `predict_proba`, or a pipeline that ends in one; it is cloned,
            and its `random_state` set, for every fit.

    Raises:
        ShapeError: An estimator without `predict_proba`.
    """

    estimator: Any

    def __post_init__(self) -> None:
        if not hasattr(self.estimator, "predict_proba"):
            raise ShapeError(
                f"{type(self.estimator).__name__} has no predict_proba; wrap it in CalibratedClassifierCV"
            )

    @property
    def kinds(self) -> Sequence[Kind]:  # type: ignore[override]
        """Single-task models, and coupled ones where the estimator takes weights of rows."""
        return ("single-task", "coupled") if self._weight_key() else ("single-task",)

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        kind: Kind,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
    ) -> dict[str, Fitted]:
        """Estimators of all tasks; only the ratio of a task's two weights matters."""
        del kind, share
        X = features(rows.inputs)
        out = {}
        for task in tasks:
            y = rows.targets[task.name].numpy()
            weight = rows.weights[task.name].numpy() if task.name in rows.weights else None
            if isinstance(task, MulticlassTask):
                soft = rows.soft.get(task.name)
                ratio = soft_weights.get(task.name, 1.0) / task_weights.get(task.name, 1.0)
                out[task.name] = self._classes(task, X, y, weight, soft, ratio, seed)
            else:
                out[task.name] = self._labels(X, y, weight, seed)
        return out

    def predict(self, model: Mapping[str, Fitted], rows: Rows) -> dict[str, Array]:
        """Logits (n, C) and log-odds (n, K) of all tasks of a model."""
        X = features(rows.inputs)
        return {name: fitted(X) for name, fitted in model.items()}

    # -- one task ------------------------------------------------------------------------------------

    def _classes(
        self,
        task: MulticlassTask,
        X: Array,
        y: npt.NDArray[np.int64],
        weight: Array | None,
        soft: Tensor | None,
        ratio: float,
        seed: int,
    ) -> Fitted:
        known = task.annotated(y)
        parts, classes = [X[known]], [y[known]]
        weights = None if weight is None else [weight[known].astype(np.float64)]
        if soft is not None and len(soft_rows := np.flatnonzero(~np.isnan(soft.numpy()).any(axis=1))):
            # As a network's two losses, each a mean over its rows, weigh one row against another.
            each = ratio * known.sum() / len(soft_rows) * soft.numpy()[soft_rows].astype(np.float64)
            weights = [np.ones(int(known.sum()))] if weights is None else weights
            for c in range(task.width):
                parts, classes = [*parts, X[soft_rows]], [*classes, np.full(len(soft_rows), c)]
                weights.append(each[:, c])
        joined = None if weights is None else np.concatenate(weights)
        found = self._fitted(np.concatenate(parts), np.concatenate(classes), joined, task.width, seed)
        return lambda X: np.log(found(X))

    def _labels(self, X: Array, a: Array, weight: Array | None, seed: int) -> Fitted:
        each = []
        for k in range(a.shape[1]):
            known = ~np.isnan(a[:, k])
            own = None if weight is None else weight[known].astype(np.float64)
            each.append(self._fitted(X[known], a[known, k].astype(np.int64), own, 2, seed))
        return lambda X: np.stack(
            [np.log(p[:, 1]) - np.log(p[:, 0]) for p in (one(X) for one in each)], axis=1
        )

    def _fitted(
        self, X: Array, y: npt.NDArray[Any], weight: Array | None, width: int, seed: int
    ) -> Callable[[Array], Array]:
        """Probabilities (n, width); with one annotated class, or none, the same for every row."""
        if weight is not None:
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        present = np.unique(y)
        estimator = None
        if len(present) > 1:
            estimator = self._seeded(seed)
            estimator.fit(X, y, **({} if weight is None else {self._weight_key(): weight}))

        def probabilities(X: Array) -> Array:
            out = np.zeros((len(X), width))
            out[:, present] = 1.0 if estimator is None else estimator.predict_proba(X)
            out = np.clip(out, SMALLEST, None)
            return np.asarray(out / out.sum(axis=1, keepdims=True))

        return probabilities

    def _seeded(self, seed: int) -> Any:
        from sklearn.base import clone

        made = clone(self.estimator)
        names = [name for name in made.get_params() if name.split("__")[-1] == "random_state"]
        return made.set_params(**dict.fromkeys(names, seed))

    def _weight_key(self) -> str:
        """Name of the weights of rows in `fit`; empty where the estimator takes none."""
        from sklearn.pipeline import Pipeline
        from sklearn.utils.validation import has_fit_parameter

        last, prefix = self.estimator, ""
        while isinstance(last, Pipeline):
            name, last = last.steps[-1]
            prefix += f"{name}__"
        return f"{prefix}sample_weight" if has_fit_parameter(last, "sample_weight") else ""


def features(inputs: Tensor) -> Array:
    """Inputs in memory (n, ...) as features (n, d).

    Raises:
        ShapeError: Inputs that are not held in memory.
    """
    if not isinstance(inputs, Tensor):
        raise ShapeError("an estimator takes features in memory; read them into an array first")
    return inputs.reshape(len(inputs), -1).numpy().astype(np.float64)
