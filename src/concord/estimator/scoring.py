"""Scorers of one task, for scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from concord import metrics
from concord.errors import ShapeError, UnknownNameError
from concord.estimator.tables import by_task
from concord.tasks import Task


@dataclass(frozen=True)
class TaskScorer:
    """A scorer for ``scoring=`` of scikit-learn; `make_scorer` makes it.

    Attributes:
        task: Name of the task.
        metric: Name of the metric; None is the task's main one.
    """

    task: str
    metric: str | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """The metric of the task on rows: greater is better, so that calibration errors are negative.

        Args:
            estimator: A fitted `CoupledClassifier` of several tasks, or a pipeline or search that ends in
                one.
            X: (n, d) features.
            y: Targets with gaps: by task name, or a table as of `target_frame`.

        Raises:
            UnknownNameError: A task that the model does not have, or a metric that is not the task's.
            ShapeError: Targets of other tasks only, or of another number of rows; an estimator of no tasks.
            NoAnnotationError: No row of y is annotated for the task.
        """
        model = _model_of(estimator)
        task = self._task_of(model)
        metric = self.metric or metrics.main_metric(task)
        if metric not in metrics.metric_names(task):
            raise UnknownNameError.of(f"metric of task {task.name!r}", metric, metrics.metric_names(task))
        targets = by_task(y, model.tasks_)
        if task.name not in targets:
            raise ShapeError(f"y holds no targets of task {task.name!r}")
        truth = task.encode(targets[task.name])
        probabilities = estimator.predict_proba(X)[task.name]
        value = metrics.task_metrics(task, truth, probabilities, model._cut(task))[metric]
        return -value if metrics.lower_is_better(metric) else value

    def _task_of(self, model: Any) -> Task:
        for task in model.tasks_:
            if task.name == self.task:
                found: Task = task
                return found
        raise UnknownNameError.of("task of a scorer", self.task, [task.name for task in model.tasks_])


def _model_of(estimator: Any) -> Any:
    """The model of tasks in a fitted estimator: itself, the last step of a pipeline, the best of a search."""
    if isinstance(estimator, BaseEstimator) and not hasattr(estimator, "tasks_"):
        check_is_fitted(estimator)
    model = estimator
    while not hasattr(model, "tasks_"):
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "steps"):
            model = model.steps[-1][1]
        else:
            raise ShapeError(
                "a scorer of a task scores a fitted CoupledClassifier, or a pipeline or search that ends in "
                f"one, found {type(model).__name__}"
            )
    return model


def make_scorer(task: str, metric: str | None = None) -> TaskScorer:
    """A scorer of one task, for ``scoring=`` of `cross_val_score`, `GridSearchCV` and the like.

    Args:
        task: Name of the task.
        metric: ``"accuracy"``, ``"balanced_accuracy"``, ``"macro_f1"`` or ``"ece"`` of classes,
            ``"mean_f1"``, ``"map"``, ``"accuracy"`` or ``"ece"`` of labels; None is the first of them.
            ``"ece"``, the calibration error, is given as a negative number: greater is better.

    Example:
        >>> import concord as cc
        >>> scoring = {"pets": cc.make_scorer("pet", "macro_f1"), "traits": cc.make_scorer("trait")}
        >>> scoring["pets"]
        TaskScorer(task='pet', metric='macro_f1')
    """
    return TaskScorer(task, metric)
