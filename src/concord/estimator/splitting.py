"""Folds for cross-validation over rows with gaps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold

from concord.arrays import group_of_rows, whole_number
from concord.errors import RangeError, ShapeError
from concord.estimator.tables import by_task
from concord.tasks import MulticlassTask, Task, task_names

Index = npt.NDArray[np.int64]


class TaskKFold(BaseCrossValidator):
    """Folds in each of which every task keeps its share of annotated rows, for ``cv=`` of scikit-learn.

    Rows of several sources often come one source after the other; folds of neighbouring rows would leave a
    task without annotations to train on, or to be judged by. Here rows are dealt by which tasks are annotated
    and by class, at random; rows of one group stay together.

    Args:
        tasks: The tasks of y.
        n_splits: Number of folds, >= 2.
        random_state: Seed of the draw, a whole number >= 0: the same one gives the same folds.

    Raises:
        RangeError: Fewer than 2 folds, or another `random_state`.
        ShapeError: No task.
        DuplicateNameError: Two tasks of one name.

    Example:
        >>> import concord as cc
        >>> pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
        >>> y = {"pet": ["cat", "dog"] * 2 + [None] * 4, "trait": [[None]] * 4 + [[0], [1]] * 2}
        >>> [test.tolist() for _, test in cc.TaskKFold([pet, trait], 2).split(range(8), y)]
        [[2, 3, 4, 6], [0, 1, 5, 7]]
    """

    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(self, tasks: Sequence[Task], n_splits: int = 5, *, random_state: int = 0) -> None:
        task_names(tasks)
        whole_number("n_splits", n_splits, 2)
        whole_number("random_state", random_state, 0)
        self.tasks = tasks
        self.n_splits = n_splits
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds, whatever X, y and groups are: scikit-learn gives them to every splitter."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Index, Index]]:
        """Rows to train on and rows to judge by, for each fold.

        Args:
            X: (n, ...) inputs; only their number counts.
            y: Targets with gaps: by task name, or a table as of `target_frame`.
            groups: (n,) subjects, videos: rows of one are never divided between folds.

        Raises:
            ShapeError: No y, or targets or groups of another number of rows.
            AnnotationError: A row without a group, or a value in y that is no class or label.
            RangeError: A task with annotations in too few rows, or in too few groups, for the folds.
        """
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        if y is None:
            raise ShapeError("TaskKFold deals rows by what is annotated; give y")
        targets = {task.name: self._encoded(task, y, n) for task in self.tasks}
        fold = self._folds(self._kinds(targets, n), group_of_rows(groups, n))
        for task in self.tasks:
            of_task = np.bincount(fold[task.annotated(targets[task.name])], minlength=self.n_splits)
            if (of_task == 0).any():
                raise RangeError(
                    f"task {task.name!r} has {of_task.sum()} annotated rows, which do not reach into all "
                    f"{self.n_splits} folds; choose a smaller n_splits, or give finer groups"
                )
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def _encoded(self, task: Task, y: Any, n: int) -> npt.NDArray[Any]:
        given = by_task(y, self.tasks)
        values = task.encode(given[task.name]) if task.name in given else task.gaps(n)
        if len(values) != n:
            raise ShapeError(f"X has {n} rows, but y has {len(values)} of task {task.name!r}")
        return values

    def _kinds(self, targets: dict[str, npt.NDArray[Any]], n: int) -> Index:
        """Which tasks are annotated and which class, as one number for each row: (n,)."""
        columns = [
            targets[task.name] if isinstance(task, MulticlassTask) else task.annotated(targets[task.name])
            for task in self.tasks
        ]
        table = np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)
        return np.asarray(np.unique(table, axis=0, return_inverse=True)[1]).reshape(n)

    def _folds(self, kind: Index, groups: Any) -> Index:
        n = len(kind)
        fold = np.empty(n, dtype=np.int64)
        if groups is None:
            order = np.lexsort((np.random.default_rng(self.random_state).random(n), kind))
            fold[order] = np.arange(n) % self.n_splits
            return fold
        if np.bincount(kind).max() < self.n_splits:  # of which StratifiedGroupKFold makes no folds
            kind = np.zeros(n, dtype=np.int64)
        dealt = StratifiedGroupKFold(self.n_splits, shuffle=True, random_state=int(self.random_state))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rare kinds: what matters is checked by task
            try:
                parts = list(dealt.split(np.zeros(n), kind, groups))
            except ValueError as error:
                raise RangeError(f"{self.n_splits} folds cannot be made of these groups: {error}") from error
        for k, (_, test) in enumerate(parts):
            fold[test] = k
        return fold
