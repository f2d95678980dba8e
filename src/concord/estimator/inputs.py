"""What an estimator is given, checked and described."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.arrays import as_array, is_gap
from concord.auto import covered
from concord.errors import AnnotationError, ConcordWarning
from concord.fitting import Rows
from concord.names import is_number, spelt_alike
from concord.relations import Relation
from concord.tasks import MISSING_CLASS, Task

Array = npt.NDArray[Any]


def check_whole(y: Any) -> None:
    """Refuse a one-dimensional y with gaps: it says by itself which classes there are.

    -1 counts as a gap but where it is one of the two classes -1 and 1, or -1 and another number > 0.

    Raises:
        AnnotationError: A gap; names the row, and how a task with gaps is given.
    """
    array = np.empty(0) if y is None or not hasattr(y, "__len__") else as_array("y", y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        return
    values = array.tolist()
    numbers = {value for value in values if is_number(value) and not isinstance(value, str)}
    marked = MISSING_CLASS in numbers and not (len(numbers) == 2 and max(numbers) > 0)
    gaps = [i for i, value in enumerate(values) if is_gap(value) or (marked and value == MISSING_CLASS)]
    if gaps:
        raise AnnotationError(
            f"y has a gap in {len(gaps)} of {len(values)} rows, first {values[gaps[0]]!r} in row {gaps[0]}; "
            "where not all are annotated, give tasks=[MulticlassTask('y', [...])] and y={'y': ...}: None, "
            "NaN and -1 are gaps there (-1 is a class if the task has it)"
        )
    for first, other in spelt_alike(dict.fromkeys(value for value in values if isinstance(value, str))):
        warnings.warn(
            f"y: {first!r} and {other!r} are two classes that differ in spelling alone",
            ConcordWarning,
            stacklevel=6,
        )


def names_where(task: Task, which: torch.Tensor) -> list[str]:
    """Names of the outputs that a mask marks."""
    return [name for name, yes in zip(task.outputs, which.tolist(), strict=True) if yes]


def zero_shot_classes(
    rows: Rows, tasks: Sequence[Task], relations: Sequence[Relation]
) -> dict[str, list[str]]:
    """By task, classes without an annotated row of which a relation knows something."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        which = [covered(rows, task, relation) for relation in relations]
        if np.any(which):
            found[task.name] = names_where(task, torch.from_numpy(np.any(which, axis=0)))
    return found


def are_related(first: Task, second: Task, relations: Sequence[Relation]) -> bool:
    """Whether a relation leads from one of two tasks to the other."""
    names = {first.name, second.name}
    return any({relation.source.name, relation.target.name} == names for relation in relations)
