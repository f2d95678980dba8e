"""Whether two sources differ: in their inputs, or in how frequent the classes are, by class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.tasks import MulticlassTask

Array = npt.NDArray[np.float64]

DRAWS = 40
MOST_CELLS = 200_000
MIN_ROWS = 20
MIN_GROUPS = 10
"""Groups of each source, where rows come in groups: fewer say little of any other ones."""

MIN_DISTANCE = 0.1
MIN_Z = 4.0


@dataclass(frozen=True)
class PriorShift:
    """Class priors of the rows of another source, compared with those of the class task's own rows.

    Attributes:
        task: The class task.
        source: The task whose rows, without a class, are compared.
        prior: (C,) class prior of these rows, by EM.
        reference: (C,) class prior of the class task's own rows.
        distance: Total variation distance of the two, in [0, 1].
        noise: What the same estimate shows between samples of the class task's own rows: its mean distance
            plus 4 standard deviations.
    """

    task: str
    source: str
    prior: Array
    reference: Array
    distance: float
    noise: float

    @property
    def real(self) -> bool:
        """Whether the distance is beyond noise, and above .1."""
        return self.distance > max(self.noise, MIN_DISTANCE)

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"rows annotated for {self.source!r} hold the classes of {self.task!r} in other shares than the "
            f"rows annotated for it: total variation {self.distance:.2f}, noise up to {self.noise:.2f}; "
            "predictions assume the shares of the latter"
        )


def source_prior(p: npt.ArrayLike, reference: npt.ArrayLike, iterations: int = 50) -> Array:
    """Class prior of rows of which only class probabilities are known.

    EM of Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14 (2002): the probabilities are re-weighted by the ratio of the
    priors, and the new prior is their mean, in turn.

    Args:
        p: (n, C) class probabilities, calibrated under the prior `reference`.
        reference: (C,) prior that they were learnt under.
        iterations: Steps of EM, >= 1.

    Returns:
        (C,) the prior.
    """
    p, old = np.asarray(p, dtype=np.float64), np.maximum(np.asarray(reference, dtype=np.float64), 1e-9)
    prior = old / old.sum()
    for _ in range(iterations):
        joint = p * (prior / old)
        prior = (joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    return prior


def prior_shift(
    task: MulticlassTask,
    source: str,
    own: Array,
    other: Array,
    rng: np.random.Generator,
    groups: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
) -> PriorShift | None:
    """Compare the class prior of two sets of rows; None where either has fewer than 20, or 10 groups.

    The reference is the mean prediction on the class task's own rows, so that a head trained with class
    weights is compared with itself.

    Args:
        task: The class task.
        source: Name of the task that the other rows are annotated for.
        own: (n, C) out-of-sample class probabilities of the rows annotated for the class task.
        other: (m, C) of rows that are annotated for `source` alone.
        rng: Draws the samples by which noise is measured.
        groups: (n,) and (m,), which rows belong together; noise is then that of samples of as many whole
            groups as both sets have. None: each row stands alone.
    """
    if min(len(own), len(other)) < MIN_ROWS:
        return None
    fewest = 0 if groups is None else min(len(np.unique(group)) for group in groups)
    if groups is not None and fewest < MIN_GROUPS:
        return None
    reference = own.mean(axis=0)
    size = max(MIN_ROWS, min(len(own), len(other), MOST_CELLS // task.width))
    prior = source_prior(other, reference)
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(own), size) if groups is None else _of_groups(groups[0], fewest, size, rng)
        drawn.append(_distance(source_prior(own[rows], reference), reference))
    noise = float(np.mean(drawn) + MIN_Z * np.std(drawn))
    return PriorShift(task.name, source, prior, reference, _distance(prior, reference), noise)


def _of_groups(
    group: npt.NDArray[Any], count: int, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Rows of so many groups, drawn with replacement; at most `size` of them."""
    names, index = np.unique(group, return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    rows = np.concatenate([members[g] for g in rng.integers(0, len(names), count)])
    return rows if len(rows) <= size else rng.permutation(rows)[:size]


def _distance(first: Array, second: Array) -> float:
    return float(np.abs(first - second).sum() / 2)


# -- inputs --------------------------------------------------------------------------------------------


DIFFERENT = 0.75
"""Area under the curve of telling two sources apart by their inputs from which they differ."""


MOST_ROWS = 500
"""Rows of each of two sources that are looked at."""


@dataclass(frozen=True)
class InputShift:
    """Rows of two tasks that a linear model tells apart by their inputs.

    Attributes:
        first: A task.
        second: Another one.
        area: Area under the curve of telling rows of the one alone from rows of the other alone, in [0, 1].
    """

    first: str
    second: str
    area: float

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"rows annotated for {self.first!r} and for {self.second!r} differ in their inputs: a linear "
            f"model tells them apart with an area under the curve of {self.area:.2f}; what is carried from "
            "one to the other may not hold there"
        )


Look = Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]
"""Features (m, d) of the rows of an index (m,)."""


def input_shifts(
    inputs: npt.NDArray[Any] | Look,
    annotated: Mapping[str, npt.NDArray[np.bool_]],
    groups: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> tuple[InputShift, ...]:
    """Pairs of tasks whose rows differ in their inputs: an area above .75, on rows left out in turn.

    Args:
        inputs: (n, d) features, or what gives those of some rows; it is asked once, for the rows that are
            looked at: at most 500 of either task alone, and the same ones in all pairs as far as can be.
        annotated: By task, (n,) which rows are annotated; a pair with fewer than 20 rows of either task alone
            is left out.
        groups: (n,) any labels, equal for rows that belong together: no group is divided between what is
            fitted and what is told, or subjects would be told in place of sources. A pair with fewer than 10
            groups of either task is left out.
        seed: Of the draw of rows.
    """
    pairs = _pairs(annotated, groups, seed)
    if not pairs:
        return ()
    rows = np.unique(np.concatenate([side for sides in pairs.values() for side in sides]))
    features = inputs(rows) if callable(inputs) else inputs[rows]
    if not features.shape[1]:
        return ()
    found = []
    for (first, second), sides in pairs.items():
        index = np.concatenate(sides)
        where = np.repeat([0, 1], [len(side) for side in sides])
        area = _told_apart(
            features[np.searchsorted(rows, index)], where, None if groups is None else groups[index]
        )
        if area > DIFFERENT:
            found.append(InputShift(first, second, area))
    return tuple(found)


def _pairs(
    annotated: Mapping[str, npt.NDArray[np.bool_]], groups: npt.NDArray[Any] | None, seed: int
) -> dict[tuple[str, str], list[npt.NDArray[np.int64]]]:
    """Rows of the one task alone and of the other alone, of the pairs that have enough of both."""
    # One order of all rows: where sides of several pairs overlap, they draw the same rows.
    order = np.random.default_rng([seed, 19]).permutation(len(next(iter(annotated.values()))))
    pairs = {}
    for first, second in combinations(annotated, 2):
        a, b = annotated[first], annotated[second]
        sides = [np.sort(order[side[order]][:MOST_ROWS]) for side in (a & ~b, b & ~a)]
        if min(map(len, sides)) < MIN_ROWS:
            continue
        if groups is not None and min(len(np.unique(groups[side])) for side in sides) < MIN_GROUPS:
            continue
        pairs[first, second] = sides
    return pairs


def _told_apart(
    features: npt.NDArray[Any], where: npt.NDArray[np.int64], groups: npt.NDArray[Any] | None
) -> float:
    """Area under the curve by which a linear model tells 0 from 1 on rows, or groups, left out in turn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    model = LogisticRegression(C=0.01, max_iter=200, class_weight="balanced")
    folds: dict[str, Any] = {"cv": 3}
    if groups is not None:
        folds = {"cv": StratifiedGroupKFold(3), "groups": groups}
    return float(
        roc_auc_score(where, cross_val_predict(model, features, where, method="decision_function", **folds))
    )
