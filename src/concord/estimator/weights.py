"""Weights of rows in the loss of each task: of samples and of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.arrays import as_numbers
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.estimator.annotations import Annotations
from concord.estimator.settings import number, one_of
from concord.estimator.tables import is_table
from concord.fitting import Rows
from concord.names import Names, plain
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task


def weighted(rows: Rows, given: Annotations, sample_weight: Any, class_weight: Any) -> Rows:
    """Rows with weights (n,) by task, where there are any; what weighs 0, or its class, is not annotated.

    So that what weighs nothing is left out of all that a fit decides, and not of its losses alone.

    Raises:
        ShapeError: Weights of another shape or kind.
        RangeError: Weights that are negative, or all 0 in a task's annotated rows.
        UnknownNameError: A task in `sample_weight`, or a task or class in `class_weight`, of another name.
    """
    out = {} if sample_weight is None else _of_samples(sample_weight, len(rows), given.tasks)
    annotated = [task for task in given.tasks if len(rows.annotated(task))]
    for task in given.tasks:
        if task.name in out:
            rows = _without(rows, task, out[task.name] == 0)
    for task in given.tasks:
        wanted = _class_weight_of(task, given, class_weight)
        if wanted is not None and isinstance(task, MulticlassTask):
            base = out.get(task.name, torch.ones(len(rows)))
            out[task.name] = base * _of_classes(rows.targets[task.name], task, given, wanted)
            rows = _without(rows, task, out[task.name] == 0)
    for task in annotated:
        if task.name in out and not bool(out[task.name][rows.annotated(task)].any()):
            raise RangeError(
                f"all weights are zero in the annotated rows of task {task.name!r}: sample_weight and "
                "class_weight leave nothing to learn from"
            )
    return replace(rows, weights=out)


def _without(rows: Rows, task: Task, nothing: torch.Tensor) -> Rows:
    """The rows, of which some (n,) are not annotated for a task."""
    targets = rows.targets[task.name].clone()
    targets[nothing] = MISSING_CLASS if isinstance(task, MulticlassTask) else torch.nan
    shares = dict(rows.shares)
    if task.name in shares:
        shares[task.name] = shares[task.name].clone()
        shares[task.name][nothing] = torch.nan
    return replace(rows, targets={**rows.targets, task.name: targets}, shares=shares)


def _of_samples(sample_weight: Any, n: int, tasks: Sequence[Task]) -> dict[str, torch.Tensor]:
    by_task = isinstance(sample_weight, Mapping)
    if by_task or is_table(sample_weight):
        names = [task.name for task in tasks]
        given = list(sample_weight if by_task else sample_weight.columns)
        for name in given:
            if name not in names:
                raise UnknownNameError.of("task in sample_weight", name, names)
        return {name: _checked(f"sample_weight of {name!r}", sample_weight[name], n) for name in given}
    weight = _checked("sample_weight", sample_weight, n)
    return {task.name: weight for task in tasks}


def _checked(name: str, values: Any, n: int) -> torch.Tensor:
    weight = as_numbers(name, values).astype(np.float32)
    if weight.shape != (n,):
        raise ShapeError(f"{name} has shape ({n},), found {weight.shape}")
    if not ((weight >= 0) & np.isfinite(weight)).all():
        raise RangeError(f"{name} is finite and >= 0, found a negative number, NaN or infinity")
    return torch.from_numpy(weight)


# -- of classes ----------------------------------------------------------------------------------------


def _of_classes(y: torch.Tensor, task: MulticlassTask, given: Annotations, wanted: Any) -> torch.Tensor:
    """Weight of each row by its class: (n,), 1 where it is not annotated."""
    known = y >= 0
    if isinstance(wanted, str):  # balanced
        count = torch.bincount(y[known], minlength=task.width).float()
        present = (count > 0).sum()
        each = known.sum() / (present * count.clamp(min=1))
    else:
        each = torch.from_numpy(_by_class(task, given, wanted))
    return torch.where(known, each[y.clamp(min=0)], torch.ones(()))


def _class_weight_of(task: Task, given: Annotations, class_weight: Any) -> Any:
    """`"balanced"`, a mapping by class, or None."""
    wanted = class_weight
    if isinstance(wanted, Mapping) and given.classes is None:
        _check_by_task(wanted, given.tasks)
        wanted = wanted.get(task.name)
        if wanted is not None and isinstance(task, MultilabelTask):
            raise ShapeError(f"class_weight is for classes, but task {task.name!r} has labels")
    if isinstance(wanted, str):
        one_of("class_weight", wanted, ["balanced"])
    elif not (wanted is None or isinstance(wanted, Mapping)):
        raise ShapeError(
            f"class_weight is 'balanced', None or a dictionary of weights, found {type(wanted).__name__}"
        )
    return wanted


def _check_by_task(class_weight: Mapping[Any, Any], tasks: Sequence[Task]) -> None:
    names = [each.name for each in tasks]
    for name, value in class_weight.items():
        if name not in names:
            raise UnknownNameError.of("task in class_weight", name, names)
        if value is not None and not isinstance(value, (str, Mapping)):
            raise ShapeError(
                f"class_weight[{name!r}] is a dictionary of weights by class, or 'balanced', found "
                f"{type(value).__name__}"
            )


def _by_class(task: MulticlassTask, given: Annotations, wanted: Mapping[Any, Any]) -> npt.NDArray[np.float32]:
    """Weight of each class: (C,)."""
    names: list[Any] = list(given.classes) if given.classes is not None else list(task.classes)
    values = Names([str(plain(each)) for each in names])
    out = np.ones(task.width, dtype=np.float32)
    for name, weight in wanted.items():
        index = task.index(name) if given.classes is None else values.find(name)
        if index is None:
            raise UnknownNameError.of("class in class_weight", name, names)
        out[index] = number(f"class_weight of {name!r}", weight, 0)
    return out
