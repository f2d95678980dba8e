"""Sources whose inputs differ, each brought to mean 0 and deviation 1 by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.arrays import moments
from concord.errors import NotFiniteError
from concord.estimation import InputShift, input_shifts
from concord.fitting import HeldFeatures, Rows
from concord.learners import Learner
from concord.tasks import Task

LIMIT = 6.0
"""Features are clipped at so many deviations of their source."""


CONSTANT = 1e-6
"""A feature of less deviation in a source is constant there, and is only centred."""


def found_shifts(learner: Learner, rows: Rows, tasks: Sequence[Task], seed: int) -> tuple[InputShift, ...]:
    """Pairs of tasks whose rows differ in their inputs, as the learner looks at them.

    Args:
        learner: Whose models are to be trained.
        rows: Training rows, in memory or where they lie; inputs of a bounded number of them are read.
        tasks: The tasks.
        seed: Of the draw of rows, and of a trunk that is not pretrained.

    Raises:
        NotFiniteError: A trunk that makes NaN or infinity of them.
    """
    annotated = {task.name: _annotated(rows, task) for task in tasks}
    groups = None if rows.group is None else rows.group.numpy()

    def look(index: npt.NDArray[np.int64]) -> Any:
        if isinstance(rows.inputs, HeldFeatures):
            return rows.inputs[torch.from_numpy(index)].numbers()
        found = learner.looked_at(rows.take(torch.from_numpy(index)), tasks, seed)
        if not np.isfinite(found).all():
            raise NotFiniteError("the trunk makes NaN or infinity of training rows, before any training")
        mean, deviation = moments(found)
        return (found - mean) / np.where(deviation > 0, deviation, 1.0)

    return input_shifts(look, annotated, groups, seed)


@dataclass(frozen=True)
class Alignment:
    """Mean and deviation of the features of each task's own source.

    Tasks that are annotated on the same rows are of one source. What is predicted for a task is taken to be
    of that task's source: it is there that the task was annotated.

    Attributes:
        of_task: By task, the mean (d,) and the deviation (d,) of its source.
    """

    of_task: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, rows: Rows, tasks: Sequence[Task]) -> Alignment | None:
        """By all rows of each source, annotated for any of its tasks.

        None where all are one source, or rows are no vectors in memory: networks on pictures and texts know
        the scale of their inputs.
        """
        if not (isinstance(rows.inputs, Tensor) and rows.inputs.dim() == 2):
            return None
        found: dict[str, tuple[Tensor, Tensor]] = {}
        sources = _sources(rows, tasks)
        if len(sources) == 1:
            return None
        for names, where in sources:
            x = rows.inputs[where]
            deviation = x.std(dim=0, correction=0)
            found |= dict.fromkeys(names, (x.mean(dim=0), deviation.where(deviation > CONSTANT, 1.0)))
        return cls({task.name: found[task.name] for task in tasks})

    def sources(self) -> list[list[str]]:
        """Tasks of each source."""
        by_source: dict[int, list[str]] = {}
        for task, (mean, _) in self.of_task.items():
            by_source.setdefault(id(mean), []).append(task)
        return list(by_source.values())

    def of_source(self, rows: Rows, task: str) -> Rows:
        """Rows as those of a task's source."""
        return replace(rows, inputs=self._scaled(rows.inputs, task))

    def by_source(self, rows: Rows) -> Rows:
        """Each row as of the source that it is annotated on; a row without annotation stays as it is."""
        inputs = rows.inputs.clone()
        for names in self.sources():
            for name in names:
                values = rows.targets[name]
                where = (values != -1) if values.dim() == 1 else (~values.isnan()).any(dim=1)
                inputs[where] = self._scaled(rows.inputs[where], name)
        return replace(rows, inputs=inputs)

    def _scaled(self, x: Tensor, task: str) -> Tensor:
        mean, deviation = self.of_task[task]
        return ((x - mean) / deviation).clamp(-LIMIT, LIMIT)


def _annotated(rows: Rows, task: Task) -> npt.NDArray[np.bool_]:
    out = np.zeros(len(rows), dtype=bool)
    out[rows.annotated(task).numpy()] = True
    return out


def _sources(rows: Rows, tasks: Sequence[Task]) -> list[tuple[list[str], npt.NDArray[np.bool_]]]:
    """Tasks that share annotated rows, directly or through others, and the rows of each such set."""
    found: list[tuple[list[str], npt.NDArray[np.bool_]]] = []
    for task in tasks:
        names, where = [task.name], _annotated(rows, task)
        apart = []
        for other, rows_of_other in found:
            if (rows_of_other & where).any():
                names, where = [*other, *names], rows_of_other | where
            else:
                apart.append((other, rows_of_other))
        found = [*apart, (names, where)]
    return found
