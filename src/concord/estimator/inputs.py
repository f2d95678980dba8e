"""What an estimator is given, checked and described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.auto import covered
from concord.fitting import Rows
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[Any]


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


def possible_pairs(tasks: Sequence[Task]) -> list[tuple[MulticlassTask, Task]]:
    """Every pair that could be related: from classes to labels, and from few classes to many."""
    pairs: list[tuple[MulticlassTask, Task]] = []
    for i, source in enumerate(tasks):
        for j, target in enumerate(tasks):
            if i == j or not isinstance(source, MulticlassTask):
                continue
            if isinstance(target, MulticlassTask) and (source.width, i) > (target.width, j):
                continue
            pairs.append((source, target))
    return pairs


SHIFT = 0.75
"""Area under the curve of telling two sources apart by their inputs from which a warning is due."""


def input_shifts(rows: Rows, tasks: Sequence[Task]) -> list[str]:
    """How well the rows of two tasks can be told apart by their inputs, where they can."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    if rows.inputs.dim() != 2:
        return []
    messages = []
    for i, first in enumerate(tasks):
        for second in tasks[i + 1 :]:
            a, b = set(rows.annotated(first).tolist()), set(rows.annotated(second).tolist())
            only_a, only_b = sorted(a - b)[:1000], sorted(b - a)[:1000]
            if min(len(only_a), len(only_b)) < 20:
                continue
            x = rows.inputs[only_a + only_b].numpy()
            where = np.array([0] * len(only_a) + [1] * len(only_b))
            model = LogisticRegression(C=0.01, max_iter=200, class_weight="balanced")
            guess = cross_val_predict(model, x, where, cv=3, method="decision_function")
            area = float(roc_auc_score(where, guess))
            if area > SHIFT:
                messages.append(
                    f"rows annotated for {first.name!r} and for {second.name!r} differ in their inputs: a "
                    f"linear model tells them apart with an area under the curve of {area:.2f}; what is "
                    "carried from one to the other may not hold there"
                )
    return messages
