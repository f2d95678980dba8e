"""Estimators of scikit-learn: trees, linear models, boosting, anything with `predict_proba`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from concord.errors import EstimatorError, ShapeError
from concord.fitting import HeldFeatures, Rows
from concord.learners.protocol import Kind, Learner, Model, Trained, Training
from concord.learners.side_by_side import train_side_by_side
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

REFUSALS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)
"""What an estimator that cannot do with its rows may raise; there is no rule for it."""


class _RefusedTypeError(EstimatorError, TypeError):
    """A TypeError of an estimator, which scikit-learn's contract wants to stay one."""


SMALLEST = 1e-7
"""No probability is below it: what an estimator has never seen is unlikely, not impossible."""


@dataclass(frozen=True)
class FittedOutput:
    """A fitted estimator of a class task or of one label, and which classes it has seen.

    Attributes:
        width: Number of classes; 2 of a label.
        present: Indices of the classes that its rows showed, rising; it calls them 0, 1, ...
        estimator: None where there were fewer than two.
    """

    width: int
    present: tuple[int, ...]
    estimator: Any

    def probabilities(self, X: Any) -> Array:
        """Probabilities (n, width); with one class seen, or none, the same for every row."""
        out = np.zeros((X.shape[0], self.width))
        out[:, list(self.present)] = 1.0 if self.estimator is None else self._predicted(X)
        out = np.clip(out, SMALLEST, None)
        return np.asarray(out / out.sum(axis=1, keepdims=True))

    def _predicted(self, X: Any) -> Any:
        """What the estimator says.

        Raises:
            EstimatorError: It refuses the rows, or gives numbers that are no probabilities.
        """
        name = type(self.estimator).__name__
        try:
            found = self.estimator.predict_proba(X)
        except REFUSALS as error:
            raise _refused(f"{name} does not predict {X.shape[0]} rows", error) from error
        if not np.isfinite(found).all():
            raise EstimatorError(f"{name} predicts probabilities that are not finite")
        return found


@dataclass(frozen=True)
class FittedTask:
    """The fitted estimators of one task.

    Attributes:
        outputs: One of a class task, one per label of a label task.
        multiclass: Whether it is a class task.
    """

    outputs: tuple[FittedOutput, ...]
    multiclass: bool

    def logits(self, X: Any) -> Array:
        """Logits (n, C) of classes, log-odds (n, K) of labels."""
        found = [output.probabilities(X) for output in self.outputs]
        if self.multiclass:
            return np.log(found[0])
        return np.stack([np.log(p[:, 1]) - np.log(p[:, 0]) for p in found], axis=1)


@dataclass(frozen=True)
class EstimatorLearner(Learner):
    """One estimator per multiclass task and one per label, each on the rows with that annotation.

    Nothing is shared between tasks, so there is no shared kind. A coupled model learns soft class targets by
    weighted copies of their rows, one per class, for which the estimator must take weights; otherwise there
    are single-task models alone. An estimator has no steps: whatever the share, each is fitted in full.

    Args:
        estimator: An unfitted estimator with `predict_proba`, or a pipeline that ends in one; it is cloned,
            and its `random_state` set, for every fit.
        n_jobs: Processes for models that do not depend on each other; -1 is one per core.

    Raises:
        EstimatorError: An estimator without `predict_proba`, or a class in its place.
    """

    estimator: Any
    n_jobs: int = 1

    def __post_init__(self) -> None:
        base = self.estimator
        if isinstance(base, type):
            raise EstimatorError(f"{base.__name__} is a class; give an estimator: {base.__name__}()")
        if not (hasattr(base, "get_params") and hasattr(base, "fit")):
            raise EstimatorError(f"an estimator in the manner of scikit-learn is wanted, found {base!r}")
        if not hasattr(base, "predict_proba"):
            raise EstimatorError(f"{self.name} has no predict_proba; wrap it in CalibratedClassifierCV")

    @property
    def name(self) -> str:
        """The estimator's, of a pipeline that of its last step."""
        return type(self._last()[0]).__name__

    @property
    def weighted(self) -> bool:
        """Whether the estimator takes weights of rows."""
        return bool(self._weight_key())

    @property
    def kinds(self) -> Sequence[Kind]:  # type: ignore[override]
        """Single-task models, and coupled ones where the estimator takes weights of rows."""
        return ("single-task", "coupled") if self.weighted else ("single-task",)

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
        initial: Model | None = None,
    ) -> dict[str, FittedTask]:
        """Estimators of all tasks; only the ratio of a task's two weights matters.

        Raises:
            EstimatorError: Weights of rows that the estimator does not take, or rows that it refuses.
        """
        del kind, share, initial
        self.check_rows(rows)
        X = features(rows.inputs)
        out = {}
        for task in tasks:
            y = rows.targets[task.name].numpy()
            weight = rows.weights[task.name].numpy().astype(np.float64) if task.name in rows.weights else None
            every = np.arange(len(y))
            shares = rows.learnt(task, every) if task.name in rows.shares else None
            if isinstance(task, MulticlassTask):
                soft = rows.soft.get(task.name)
                ratio = soft_weights.get(task.name, 1.0) / task_weights.get(task.name, 1.0)
                out[task.name] = self._classes(task, X, y, weight, soft, ratio, seed, shares)
            else:
                out[task.name] = self._labels(task, X, y, weight, seed, shares)
        return out

    def check_rows(self, rows: Rows) -> None:
        """Refuse rows with weights that the estimator does not take.

        Raises:
            EstimatorError: It takes none.
        """
        if (rows.weights or rows.shares) and not self.weighted:
            raise EstimatorError(
                f"{self.name} takes no weights of rows; leave out sample_weight, class_weight and soft, or "
                "take another estimator"
            )

    def train_all(self, trainings: Iterable[Training]) -> list[Trained]:
        """Train models that do not depend on each other, each on one thread, in `n_jobs` processes."""
        return train_side_by_side(self, trainings, self.n_jobs)

    def predict(self, model: Mapping[str, FittedTask], rows: Rows) -> dict[str, Array]:
        """Logits (n, C) and log-odds (n, K) of all tasks of a model."""
        return predict_fitted(model, rows)

    # -- one task ------------------------------------------------------------------------------------

    def _classes(
        self,
        task: MulticlassTask,
        X: HeldFeatures,
        y: Index,
        weight: Array | None,
        soft: Tensor | None,
        ratio: float,
        seed: int,
        shares: Array | None,
    ) -> FittedTask:
        known = np.flatnonzero(task.annotated(y))
        index, classes = [known], [y[known]]
        weights = None if weight is None else [weight[known]]
        if shares is not None:
            each = shares[known]
            each = each if weight is None else each * weight[known][:, None]
            index, classes = [known] * task.width, [np.full(len(known), c) for c in range(task.width)]
            weights = list(each.T)
        if soft is not None and len(taught := np.flatnonzero(~np.isnan(soft.numpy()).any(axis=1))):
            # As a network's two losses, each a mean over its rows, weigh one row against another.
            mass = len(known) if weight is None else float(weight[known].sum())
            each = ratio * mass / len(taught) * soft.numpy()[taught].astype(np.float64)
            weights = [np.ones(len(known))] if weights is None else weights
            for c in range(task.width):
                index, classes = [*index, taught], [*classes, np.full(len(taught), c)]
                weights.append(each[:, c])
        joined = None if weights is None else np.concatenate(weights)
        found = self._fitted(
            f"task {task.name!r}", X, np.concatenate(index), np.concatenate(classes), joined, task.width, seed
        )
        return FittedTask((found,), multiclass=True)

    def _labels(
        self,
        task: Task,
        X: HeldFeatures,
        a: Array,
        weight: Array | None,
        seed: int,
        shares: Array | None,
    ) -> FittedTask:
        each = []
        for k, label in enumerate(task.outputs):
            known = np.flatnonzero(~np.isnan(a[:, k]))
            own, present = None if weight is None else weight[known], a[known, k]
            if shares is not None:
                share = shares[known, k]
                each_way = np.concatenate([1 - share, share])
                own = each_way if own is None else each_way * np.tile(own, 2)
                known, present = np.tile(known, 2), np.repeat([0.0, 1.0], len(known))
            what = f"label {label!r} of task {task.name!r}"
            each.append(self._fitted(what, X, known, present.astype(np.int64), own, 2, seed))
        return FittedTask(tuple(each), multiclass=False)

    def _fitted(
        self, what: str, X: HeldFeatures, index: Index, y: Index, weight: Array | None, width: int, seed: int
    ) -> FittedOutput:
        """An estimator of the rows of `index`, where any weigh more than 0."""
        if weight is not None:
            some = weight > 0
            index, y, weight = index[some], y[some], weight[some]
        present, code = np.unique(y, return_inverse=True)
        seen = tuple(int(c) for c in present)
        if len(seen) < 2:
            return FittedOutput(width, seen, None)
        estimator = self._seeded(seed)
        weights = {} if weight is None else {self._weight_key(): weight}
        try:
            # Classes by their place among those present: not every estimator takes numbers with holes.
            estimator.fit(X[index].values, code, **weights)
        except REFUSALS as error:
            raise _refused(f"{self.name} refuses the {len(y)} rows of {what}", error) from error
        return FittedOutput(width, seen, estimator)

    def _seeded(self, seed: int) -> Any:
        from sklearn.base import clone

        made = clone(self.estimator)
        names = [name for name in made.get_params() if name.split("__")[-1] == "random_state"]
        # What scikit-learn takes; seeds of networks may be greater.
        return made.set_params(**dict.fromkeys(names, seed % 2**32))

    def _last(self) -> tuple[Any, str]:
        """The last step of a pipeline, and the prefix of its parameters in `fit`."""
        from sklearn.pipeline import Pipeline

        last, prefix = self.estimator, ""
        while isinstance(last, Pipeline):
            name, last = last.steps[-1]
            prefix += f"{name}__"
        return last, prefix

    def _weight_key(self) -> str:
        """Name of the weights of rows in `fit`; empty where the estimator takes none."""
        from sklearn.utils.validation import has_fit_parameter

        last, prefix = self._last()
        return f"{prefix}sample_weight" if has_fit_parameter(last, "sample_weight") else ""


def predict_fitted(model: Mapping[str, FittedTask], rows: Rows) -> dict[str, Array]:
    """Logits (n, C) and log-odds (n, K) of all tasks of a model of estimators.

    Raises:
        EstimatorError: An estimator that refuses the rows, or whose probabilities are not finite.
    """
    X, out = features(rows.inputs).values, {}
    for name, fitted in model.items():
        try:
            out[name] = fitted.logits(X)
        except EstimatorError as error:
            raise type(error)(f"task {name!r}: {error}") from error
    return out


def _refused(what: str, error: Exception) -> EstimatorError:
    made = _RefusedTypeError if isinstance(error, TypeError) else EstimatorError
    return made(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


def train_alone(
    learner: EstimatorLearner, rows: Rows, tasks: Sequence[Task], seed: int
) -> dict[str, FittedTask]:
    """Single-task models of all tasks, as one model."""
    return learner.train(
        rows, tasks, kind="single-task", share=1.0, seed=seed, task_weights={}, soft_weights={}
    )


def features(inputs: Any) -> HeldFeatures:
    """Inputs in memory as features (n, d); of a tensor (n, ...) in float64.

    Raises:
        ShapeError: Inputs that are not held in memory.
    """
    if isinstance(inputs, HeldFeatures):
        return inputs
    if not isinstance(inputs, Tensor):
        raise ShapeError("an estimator takes features in memory; read them into an array first")
    return HeldFeatures(inputs.reshape(len(inputs), -1).numpy().astype(np.float64))
