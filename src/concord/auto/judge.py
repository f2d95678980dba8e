"""What judges the candidates of a task: log-losses of its annotated rows, and a metric beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from concord import metrics
from concord.auto.level import critical_value, studentised
from concord.decoding import row_loss
from concord.fitting import Rows
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """What a test of all candidates against one of them found.

    Attributes:
        start: The one.
        z: Gain of every other in standard errors.
        critical: What a gain has to pass.
    """

    start: str
    z: Mapping[str, float]
    critical: float

    def better(self, name: str) -> bool:
        """Whether a candidate is shown to be better than the start."""
        return name != self.start and self.z[name] > self.critical


@dataclass(frozen=True)
class Judge:
    """A task's annotated rows, which judge every candidate.

    Attributes:
        task: The task.
        known: (n,) indices of its annotated rows.
        targets: Their targets.
        group: (n,) their groups; None where rows come in none.
        learnt: What models learn of them: the targets, or shares in their place.
    """

    task: Task
    known: npt.NDArray[np.int64]
    targets: npt.NDArray[Any]
    group: npt.NDArray[Any] | None
    learnt: npt.NDArray[Any]

    @classmethod
    def of(cls, task: Task, rows: Rows) -> Judge:
        """By the rows that are annotated for the task."""
        known = rows.annotated(task).numpy()
        group = None if rows.group is None else rows.group.numpy()[known]
        return cls(task, known, rows.targets[task.name].numpy()[known], group, rows.learnt(task, known))

    def loss(self, probabilities: Array) -> Array:
        """Log-loss of each annotated row, or its cross-entropy to the shares."""
        return row_loss(probabilities, self.learnt, isinstance(self.task, MulticlassTask))

    def score(self, probabilities: Array) -> float:
        """The metric that the guard protects: balanced accuracy, or the mean of label F1 and precision."""
        if isinstance(self.task, MulticlassTask):
            hit = probabilities.argmax(axis=1) == self.targets
            return float(np.mean([hit[self.targets == c].mean() for c in np.unique(self.targets)]))
        found = metrics.measured(self.task, self.targets, probabilities)
        values = [found[name] for name in ("mean_f1", "map") if name in found]
        return float(np.mean(values)) if values else 0.0

    def gain(self, before: Array, after: Array) -> tuple[float, float]:
        """Mean gain in log-loss of paired rows, and in standard errors."""
        difference = before - after
        return float(difference.mean()), metrics.z_score(difference, self.group)

    def shown(self, losses: Mapping[str, Array], start: str, alpha: float) -> Shown:
        """Which losses are below that of the start, at one error level over all of them."""
        names = [name for name in losses if name != start]
        if not names:
            return Shown(start, {}, float("inf"))
        gains = np.stack([losses[start] - losses[name] for name in names], axis=1)
        z = dict(zip(names, studentised(gains, self.group).tolist(), strict=True))
        return Shown(start, z, critical_value(gains, self.group, alpha))
