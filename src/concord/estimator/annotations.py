"""What y says: which tasks there are, their targets, and what of them is never annotated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from concord.errors import AnnotationError, ConcordWarning, NoAnnotationError, ShapeError
from concord.estimator.inputs import names_where
from concord.estimator.tables import by_task
from concord.estimator.warned import warn_caller
from concord.fitting import Rows
from concord.names import plain
from concord.tasks import MulticlassTask, Task

SINGLE = "y"
"""Name of the task that is made from a one-dimensional y."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Annotations:
    """Targets with gaps, and the tasks that they are of.

    Attributes:
        tasks: The tasks.
        targets: By task name, encoded.
        classes: Values of a one-dimensional y, of which the only task was made; None otherwise.
    """

    tasks: list[Task]
    targets: dict[str, Any]
    classes: npt.NDArray[Any] | None = None


def annotations_of(tasks: Sequence[Task] | None, y: Any) -> Annotations:
    """Annotations of what `fit` was given.

    Raises:
        ShapeError: A dictionary without tasks, or a one-dimensional y with tasks.
        AnnotationError: A one-dimensional y of one class.
        UnknownNameError: A task or column in y of another name.
        DuplicateNameError: Two tasks of one name, or a column that occurs twice.
    """
    if tasks is not None:
        given = by_task(y, tasks)
        encoded = {task.name: task.encode(given[task.name]) for task in tasks if task.name in given}
        return Annotations(list(tasks), encoded)
    if isinstance(y, Mapping):
        raise ShapeError("targets by task name need tasks=[...] that say which classes and labels there are")
    return _of_one_dimension(y)


def _of_one_dimension(y: Any) -> Annotations:
    values = column_or_1d(y, warn=True)
    check_classification_targets(values)
    classes, index = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise AnnotationError(f"a classifier needs at least 2 classes, found one class: {classes[0]!r}")
    return Annotations([_task_of(classes)], {SINGLE: index}, classes)


def _task_of(classes: npt.NDArray[Any]) -> MulticlassTask:
    """A task whose classes are called as in y."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcordWarning)  # `check_whole` warns of names spelt alike
        return MulticlassTask(SINGLE, [str(plain(value)) for value in classes])


# -- what is never annotated ---------------------------------------------------------------------------


def check_annotated(rows: Rows, tasks: Sequence[Task], say: Say) -> dict[str, list[str]]:
    """Check what is annotated, and say what is not; returns classes without a row by task.

    Raises:
        NoAnnotationError: A task without any annotation.
        AnnotationError: A class task of which a single class is annotated.
    """
    missing: dict[str, list[str]] = {}
    blank = torch.ones(len(rows), dtype=torch.bool)
    for task in tasks:
        index = rows.annotated(task)
        blank[index] = False
        known = rows.targets[task.name][index]
        if not len(known):
            raise NoAnnotationError(
                f"task {task.name!r} has no annotation in {len(rows)} rows; leave it out of tasks, or "
                "annotate some rows"
            )
        if not isinstance(task, MulticlassTask):
            _check_labels(task, known, say)
        elif names := _classes_without_rows(task, known):
            missing[task.name] = names
    if bool(blank.any()):
        say(f"{int(blank.sum())} of {len(rows)} rows carry no annotation; nothing is learnt from them")
    return missing


def _classes_without_rows(task: MulticlassTask, known: torch.Tensor) -> list[str]:
    found = torch.unique(known).tolist()
    if len(found) == 1:
        raise AnnotationError(
            f"task {task.name!r}: all annotated rows are of class {task.classes[found[0]]!r}; at "
            "least two classes must be annotated"
        )
    missing = [name for c, name in enumerate(task.classes) if c not in found]
    if missing:
        warn_caller(
            f"task {task.name!r}: no annotated row of {', '.join(missing[:8])}; such a class can "
            "only be predicted through a relation",
            ConcordWarning,
        )
    return missing


def _check_labels(task: Task, known: torch.Tensor, say: Say) -> None:
    never = names_where(task, torch.isnan(known).all(dim=0))
    if never:
        message = f"task {task.name!r}: label {', '.join(never[:8])} is never annotated"
        warn_caller(message, ConcordWarning)
        say(message)
    absent = [name for name in names_where(task, ~(known == 1).any(dim=0)) if name not in never]
    if absent:
        say(f"task {task.name!r}: no row shows label {', '.join(absent[:8])}")


def say_missing(
    missing: Mapping[str, Sequence[str]], zero_shot: Mapping[str, Sequence[str]], say: Say
) -> None:
    """Say of classes without an annotated row which are predicted through a relation."""
    for task, names in missing.items():
        through = [name for name in names if name in zero_shot.get(task, ())]
        others = [name for name in names if name not in through]
        if through:
            say(
                f"{task}: {', '.join(through[:8])} without an annotated row, predicted through a "
                "relation alone; no annotated row can tell how well"
            )
        if others:
            say(f"{task}: {', '.join(others[:8])} without an annotated row, never predicted on purpose")
