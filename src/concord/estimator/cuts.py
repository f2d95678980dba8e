"""Thresholds of a fit: chosen on out-of-fold predictions, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from concord import metrics
from concord.decoding import ThresholdMetric, Thresholds, choose_thresholds
from concord.fitting import Rows
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


def chosen_thresholds(
    metric: ThresholdMetric,
    tasks: Sequence[Task],
    rows: Rows,
    held_out: Mapping[str, Array],
    say: Callable[[str], None],
) -> Thresholds:
    """Thresholds by out-of-fold probabilities of the training rows; says what they are worth there."""
    targets = {task.name: rows.targets[task.name].numpy() for task in tasks}
    group = None if rows.group is None else rows.group.numpy()
    found = choose_thresholds(metric, tasks, targets, held_out, group)
    for task in tasks:
        name = "macro_f1" if isinstance(task, MulticlassTask) and metric == "f1" else _main(task)
        plain, cut = (
            metrics.measured(task, targets[task.name], held_out[task.name], threshold).get(name)
            for threshold in (0.5, found.of(task))
        )
        if plain is not None and cut is not None and plain != cut:
            without = "without thresholds" if isinstance(task, MulticlassTask) else "at .5"
            say(
                f"{task.name}: out-of-fold {name} {plain:.3f} {without}, {cut:.3f} at the thresholds, which "
                "were chosen on these rows"
            )
    for note in found.notes:
        say(note)
    return found


def _main(task: Task) -> str:
    return "balanced_accuracy" if isinstance(task, MulticlassTask) else metrics.main_metric(task)
