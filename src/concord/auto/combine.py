"""Predictions by the guard's choices: averages of candidates, decoded in the order of the relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

from concord.decoding import decode_targets
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]

LEAST = 1e-12
"""Least probability, before its logarithm."""


Pool = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Choice:
    """What the guard chose for one task, and why.

    Attributes:
        task: The task's name.
        weights: Candidate -> share in the average; `single-task`, `shared`, `coupled`, each also as
            `.../decoded`: moved by what the class head implies.
        pool: What is averaged: probabilities, or logits (`pooled`).
        strength: Strength of the decoding, by candidate.
        scores: Out-of-fold metric of every candidate; `average`, where it is one, has the mean logits of
            single-task and shared networks.
        losses: Out-of-fold log-loss of every candidate.
        gain: Out-of-fold gain in log-loss of the choice, in nats, over the balanced shared network; over the
            single-task model of a learner that shares nothing.
        z: The same in standard errors.
        reason: In plain words.
        start: The candidate in whose place another had to be shown to be better; or, where sources differ and
            nothing took its place, the average to be ahead.
        critical: Standard errors that the gain of any other over the start (where candidates are averaged,
            over the shared network) had to pass, so that all of them together pass by chance with probability
            `alpha`.
        alpha: The error level.
    """

    task: str
    weights: dict[str, float]
    strength: dict[str, float]
    scores: dict[str, float]
    losses: dict[str, float]
    gain: float
    z: float
    reason: str
    start: str = "shared"
    critical: float = 1.64
    alpha: float = 0.05
    pool: Pool = "probabilities"


Predicted = Callable[[str, Task], Array]


def in_order(tasks: Sequence[Task], relations: Sequence[Relation]) -> list[Task]:
    """Sources before their targets, as far as relations make no circle: what is decoded finds them decided.

    Tasks that no relation leads to come first, and among equals the given order stays.
    """
    sources: dict[str, set[str]] = {task.name: set() for task in tasks}
    for relation in relations:
        if {relation.source.name, relation.target.name} <= sources.keys():
            sources[relation.target.name].add(relation.source.name)
    left = sorted(tasks, key=lambda task: bool(sources[task.name]))
    found: list[Task] = []
    while left:
        names = {task.name for task in left}
        # In a circle one has to begin.
        task = next((task for task in left if not sources[task.name] & names - {task.name}), left[0])
        left.remove(task)
        found.append(task)
    return found


def predict_in_order(
    tasks: Sequence[Task],
    choices: Mapping[str, Choice],
    relations: Sequence[Relation],
    predicted: Predicted,
    base: str = "shared",
) -> dict[str, Array]:
    """Probabilities by the guard's choices. A source that is not decided yet speaks by its base network."""
    done: dict[str, Array] = {}

    def classes(source: Task) -> Array:
        return done[source.name] if source.name in done else predicted(base, source)

    for task in in_order(tasks, relations):
        parts = []
        for name, weight in choices[task.name].weights.items():
            family, _, decoded = name.partition("/")
            q = predicted(family, task)
            if decoded:
                q = decoded_targets(q, task, relations, classes, choices[task.name].strength[name])
            parts.append((weight, q))
        done[task.name] = pooled(task, parts) if choices[task.name].pool == "logits" else mixed(parts)
    return done


def mixed(parts: Sequence[tuple[float, Array]]) -> Array:
    """Weighted mean of probabilities."""
    return np.asarray(sum(weight * q for weight, q in parts))


def pooled(task: Task, parts: Sequence[tuple[float, Array]]) -> Array:
    """Probabilities by the weighted mean of logits: (n, C) or (n, K).

    Two networks' mean logits are those of one network, and as sure as they are where they agree; a mean of
    probabilities is less sure, and orders rows by the surer of the two.
    """
    if isinstance(task, MulticlassTask):
        return np.asarray(softmax(sum(w * np.log(np.clip(q, LEAST, None)) for w, q in parts), axis=1))
    return np.asarray(expit(sum(w * logit(np.clip(q, LEAST, 1 - LEAST)) for w, q in parts)))


def decoded_targets(
    q: Array,
    task: Task,
    relations: Sequence[Relation],
    classes: Callable[[Task], Array],
    strength: float,
) -> Array:
    """Target probabilities, moved by what the source classes of every relation imply."""
    for relation in relations:
        if relation.target.name == task.name:
            q = decode_targets(classes(relation.source), q, relation, strength)
    return q


def decoded_held_out(
    q: Array,
    task: Task,
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    strength: float,
    fold: npt.NDArray[np.int64],
) -> Array:
    """Each row by the relations of the fold, or part, that it is in."""
    out = q.copy()
    for k, known in enumerate(relations):
        rows = np.flatnonzero(fold == k)
        out[rows] = decoded_targets(q[rows], task, known, partial(_rows_of, classes, rows), strength)
    return out


def _rows_of(classes: Callable[[Task], Array], rows: npt.NDArray[np.int64], source: Task) -> Array:
    return classes(source)[rows]
