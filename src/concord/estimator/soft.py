"""Soft targets of `fit`: shares of votes, probabilities that somebody else gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.arrays import as_numbers
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.fitting import Rows
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

TOLERANCE = 0.01
"""How far a row of classes may be from a sum of 1: it may have been written with few digits."""


def with_soft(rows: Rows, tasks: Sequence[Task], soft: Any) -> Rows:
    """Rows that carry soft targets; a row without an annotation of its own has the likeliest class or labels.

    Args:
        rows: The rows.
        tasks: Their tasks.
        soft: By task name, (n, C) distributions with rows of NaN for none, or (n, K) probabilities with NaN.

    Raises:
        ShapeError: No dictionary, or values of another shape.
        UnknownNameError: A task of another name.
        RangeError: What is outside [0, 1], or a row of classes that does not sum to 1.
    """
    if soft is None:
        return rows
    if not isinstance(soft, Mapping):
        raise ShapeError(
            f"soft is a dictionary by task name, with tasks=[...] given, found {type(soft).__name__}"
        )
    by_name = {task.name: task for task in tasks}
    shares, targets = dict(rows.shares), dict(rows.targets)
    for name, values in soft.items():
        if name not in by_name:
            raise UnknownNameError.of("task in soft", name, by_name)
        task = by_name[name]
        found = _checked(task, values, len(rows))
        shares[name] = torch.from_numpy(found.astype(np.float32))
        targets[name] = torch.from_numpy(_filled(task, rows.targets[name].numpy(), found))
    return replace(rows, targets=targets, shares=shares)


def _checked(task: Task, values: Any, n: int) -> npt.NDArray[np.float64]:
    what = f"soft targets of task {task.name!r}"
    found = as_numbers(what, values, None, task.outputs)
    if found.shape != (n, task.width):
        raise ShapeError(f"{what} have shape {(n, task.width)}, found {found.shape}")
    gaps = np.isnan(found)
    wrong = ~gaps & ~((found >= 0) & (found <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise RangeError(f"{what}: row {row} holds {found[row, column]:g}; probabilities lie in [0, 1]")
    if not isinstance(task, MulticlassTask):
        return found
    known = ~gaps.any(axis=1)
    halves = np.flatnonzero(gaps.any(axis=1) & ~gaps.all(axis=1))
    if len(halves):
        raise RangeError(f"{what}: row {halves[0]} has some classes and not others; leave out all or none")
    total = np.where(known, found.sum(axis=1), 1.0)
    off = np.flatnonzero(np.abs(total - 1) > TOLERANCE)
    if len(off):
        raise RangeError(f"{what}: row {off[0]} sums to {total[off[0]]:g}; a distribution sums to 1")
    return found / total[:, None]


def _filled(task: Task, targets: npt.NDArray[Any], soft: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Annotations, and where there are none what is likeliest by the soft targets."""
    if isinstance(task, MulticlassTask):
        fill = (targets == MISSING_CLASS) & ~np.isnan(soft).any(axis=1)
        return np.where(fill, np.nan_to_num(soft).argmax(axis=1), targets)
    likely = np.where(np.isnan(soft), np.nan, soft >= 0.5)
    return np.where(np.isnan(targets), likely, targets).astype(targets.dtype)
