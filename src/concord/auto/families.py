"""Families of networks trained alike, one per fold, and their out-of-sample predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax

from concord.auto.effort import Effort
from concord.auto.judge import Judge
from concord.decoding import temperature
from concord.fitting import Rows
from concord.learners import Kind, Learner, Model, Training, train_and_predict
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


FLOOR = 0.1


def base_kind(learner: Learner) -> Kind:
    """The kind that everything is compared with: the shared model, or the single-task ones without one."""
    return "shared" if "shared" in learner.kinds else "single-task"


def balance_weights(rows: Rows, tasks: Sequence[Task], floor: float = FLOOR) -> dict[str, float]:
    """Weight of each task's loss: its annotated rows by those of the richest task, at least `floor`.

    With as many rows of each task in every step, a scarce task repeats its few rows over and over; at full
    weight it would drag the shared layers to fit their noise.
    """
    counts = {task.name: len(rows.annotated(task)) for task in tasks}
    most = max(counts.values())
    return {name: max(count / max(most, 1), floor) for name, count in counts.items()}


def balance_soft(rows: Rows, tasks: Sequence[Task], task: str, floor: float = FLOOR) -> float:
    """Weight of a task's soft-target loss by the same rule: rows that have one, by annotated rows without."""
    soft = ~torch.isnan(rows.soft[task]).any(dim=1)
    annotated = torch.zeros(len(rows), dtype=torch.bool)
    for each in tasks:
        annotated[rows.annotated(each)] = True
    with_soft, others = int(soft.sum()), int((annotated & ~soft).sum())
    return max(with_soft / max(others, with_soft, 1), floor)


@dataclass
class Family:
    """The models of all folds, trained alike.

    Attributes:
        name: What it is called as a candidate.
        networks: Of each fold, by task.
        logits: By task, of all rows by the network of each fold: (folds, n, width).
        scale: By task, the inverse temperature.
        kinds: By task, what its networks were trained for, where that is not `name`.
    """

    name: str
    networks: list[dict[str, Model]]
    logits: dict[str, Array]
    scale: dict[str, float] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)

    def probabilities(self, task: Task, logits: Array) -> Array:
        """Temperature-scaled probabilities of any logits of this family."""
        z = logits * self.scale.get(task.name, 1.0)
        return softmax(z, axis=-1) if isinstance(task, MulticlassTask) else expit(z)

    def held_out(self, task: Task, fold: npt.NDArray[np.int64]) -> Array:
        """Each row by the network that has seen nothing of it: (n, width)."""
        return self.probabilities(task, self.logits[task.name][fold, np.arange(len(fold))])

    def of_rows(self, index: npt.NDArray[np.int64]) -> Family:
        """The same with the logits of some rows."""
        return replace(self, logits={task: z[:, index] for task, z in self.logits.items()})

    def averaged(self, task: Task) -> Array:
        """Each row by all networks: (n, width)."""
        return self.probabilities(task, self.logits[task.name]).mean(axis=0)


def train_family(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    fold: npt.NDArray[np.int64],
    effort: Effort,
    seed: int,
    name: str,
    soft: list[dict[str, Array]] | None,
) -> Family:
    """The networks of all folds of one candidate, and their logits of all rows."""
    alone = name == "single-task" or name in learner.alone

    def trainings() -> Iterator[Training]:
        for k in range(effort.folds):
            index = torch.from_numpy(np.flatnonzero(fold != k))
            part = rows.take(index)
            if soft is not None:
                given = {task: values[index.numpy()].astype(np.float32) for task, values in soft[k].items()}
                part = replace(part, soft={task: torch.from_numpy(values) for task, values in given.items()})
            number = seed * 1000 + k + 1
            if alone:
                for task in tasks:
                    yield replace(single_training(part, task, effort.share, number, name), predicted=rows)
            else:
                yield replace(shared_training(part, tasks, effort.share, number), predicted=rows)

    trained = iter(learner.train_all(trainings()))
    networks: list[dict[str, Model]] = []
    logits: dict[str, list[Array]] = {task.name: [] for task in tasks}
    for _ in range(effort.folds):
        one = None if alone else next(trained)
        of_task = {task.name: one or next(trained) for task in tasks}
        networks.append({task: each.model for task, each in of_task.items()})
        for task, each in of_task.items():
            logits[task].append(each.logits[task])
    return Family(name, networks, {task: np.stack(each) for task, each in logits.items()})


def fit_scales(
    families: Mapping[str, Family], rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64]
) -> None:
    """Fit the inverse temperatures of every family and task, on rows that the networks have not seen."""
    for family in families.values():
        for task in tasks:
            known = rows.annotated(task).numpy()
            known = known[fold[known] >= 0]
            family.scale[task.name] = temperature(
                family.logits[task.name][fold[known], known],
                rows.learnt(task, known),
                isinstance(task, MulticlassTask),
            )


def out_of_sample(family: Family, task: Task, rows: Rows, fold: npt.NDArray[np.int64]) -> Array:
    """By the network that has not seen the row where it is annotated, by all of them elsewhere."""
    known = task.annotated(rows.targets[task.name].numpy())[:, None]
    return np.where(known, family.held_out(task, fold), family.averaged(task))


def best_alone(
    families: Mapping[str, Family], rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64]
) -> Family:
    """For each task the best single-task models, by log-loss on rows that they have not seen.

    Networks, unless others have the lower log-loss and no lower metric, as everything that takes the place of
    something in the guard: of rare labels a model may have the lower log-loss and predict hardly any of them.

    Args:
        families: Of single-task models, `single-task` the first; their temperatures are fitted.
        rows: The training rows.
        tasks: The tasks.
        fold: (n,) fold of each row.
    """
    first = next(iter(families.values()))
    judged = np.flatnonzero(fold >= 0)
    rows, fold = rows.take(torch.from_numpy(judged)), fold[judged]
    chosen: dict[str, Family] = {}
    for task in tasks:
        judge = Judge.of(task, rows)
        held = {
            name: family.of_rows(judged).held_out(task, fold)[judge.known]
            for name, family in families.items()
        }
        losses = {name: float(judge.loss(q).mean()) for name, q in held.items()}
        scores = {name: judge.score(q) for name, q in held.items()}
        able = [name for name in families if scores[name] >= scores[first.name]]
        chosen[task.name] = families[min(able, key=lambda name: losses[name])]
    return Family(
        first.name,
        [
            {name: family.networks[k][name] for name, family in chosen.items()}
            for k in range(len(first.networks))
        ],
        {name: family.logits[name] for name, family in chosen.items()},
        {name: family.scale[name] for name, family in chosen.items()},
        {name: family.name for name, family in chosen.items() if family is not first},
    )


def single_training(rows: Rows, task: Task, share: float, seed: int, kind: Kind = "single-task") -> Training:
    """The training of a single-task model of one task."""
    return Training(rows.of_tasks([task]), [task], kind, share, seed)


def shared_training(rows: Rows, tasks: Sequence[Task], share: float, seed: int) -> Training:
    """The training of the balanced shared network, with whatever soft targets the rows carry."""
    return Training(
        rows,
        tasks,
        "coupled" if rows.soft else "shared",
        share,
        seed,
        balance_weights(rows, tasks),
        {task: balance_soft(rows, tasks, task) for task in rows.soft},
    )


def train_single(learner: Learner, rows: Rows, task: Task, share: float, seed: int) -> Model:
    """The single-task model of one task."""
    return train_and_predict(learner, single_training(rows, task, share, seed)).model


def train_shared(learner: Learner, rows: Rows, tasks: Sequence[Task], share: float, seed: int) -> Model:
    """The balanced shared network, with whatever soft targets the rows carry."""
    return train_and_predict(learner, shared_training(rows, tasks, share, seed)).model
