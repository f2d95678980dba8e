"""Whether two tasks are related at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from concord.errors import ShapeError
from concord.estimation.agreement import EXPONENTS, FEWEST, MIN_Z, Builder, Evidence
from concord.estimation.observations import Observations
from concord.relations import EvidenceTable
from concord.tasks import MISSING_CLASS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Crossed:
    """What single-task networks of a cross-validation say of the rows of `Observations`.

    They make the test of relatedness clean. A network that shares layers lets one task's annotation shape
    what it says of the other task; and a class head that was trained on the rows it is judged by carries
    chance correlations of these rows with the labels into the relation, and would be confirmed by them.

    Args:
        fold: (n,) the fold of each row.
        p: (folds, n, C) class probabilities of all rows by the network that left the fold out.
        q: (n, K) target probabilities by a network that was not trained on the row's annotation.

    Raises:
        ShapeError: Arrays of different numbers of rows.
    """

    fold: npt.NDArray[np.int64]
    p: Array
    q: Array

    def __post_init__(self) -> None:
        if self.p.ndim != 3 or not len(self.fold) == self.p.shape[1] == len(self.q):
            raise ShapeError(
                f"crossed predictions have shapes (n,), (folds, n, C), (n, K), found {self.fold.shape}, "
                f"{self.p.shape}, {self.q.shape}"
            )


def class_direction(
    observations: Observations, build: Builder, rates: Array, crossed: Crossed | None = None
) -> Evidence:
    """Whether predicted labels say something of annotated classes: the other way through the relation.

    The relation is fitted on label rows whose classes are hidden, and judged on annotated classes: chance
    agreement between two heads does not pass here. The gain is over the class prior, in nats a row.

    Args:
        observations: The rows.
        build: Makes the relation.
        rates: (K,) base rates.
        crossed: With them, the classes of a fold are judged by a relation that was fitted through class
            heads which have not seen that fold. None: through `observations.p`, which is too kind where
            those heads were trained on the very rows that judge.
    """
    has_class = observations.y != MISSING_CLASS
    labelled = np.asarray(observations.seen.any(axis=1))
    if has_class.sum() < FEWEST or not labelled.any():
        return Evidence(0.0, 0.0, 0.0)
    hidden = replace(observations, y=np.where(labelled, MISSING_CLASS, observations.y))
    if crossed is None:
        table = build(hidden.take(labelled))
        gains = _class_gains(observations.take(has_class), table, observations.y[has_class], rates)
    else:
        parts = []
        for k, p in enumerate(crossed.p):
            judged = has_class & (crossed.fold == k)
            if judged.any():
                table = build(replace(hidden, p=p, q=crossed.q).take(labelled))
                others = observations.y[has_class & ~judged]
                parts.append(
                    _class_gains(replace(observations, q=crossed.q).take(judged), table, others, rates)
                )
        gains = np.concatenate(parts, axis=1)
    means = gains.mean(axis=1)
    best = int(means.argmax())
    if means[best] <= 0:
        return Evidence(0.0, 0.0, 0.0)
    error = gains[best].std(ddof=1) / np.sqrt(gains.shape[1])
    return Evidence(EXPONENTS[best + 1], float(means[best]), float(means[best] / max(error, 1e-12)))


@dataclass(frozen=True)
class Skill:
    """What a head knows of annotations of its own task that it has not seen.

    Attributes:
        lift: Mean probability of what is annotated, above the head's average probability of it: 0 for a
            head that says the same of every row.
        z: The same in standard errors.
    """

    lift: float
    z: float

    @property
    def some(self) -> bool:
        """Whether it is above noise."""
        return self.z > MIN_Z


def class_skill(observations: Observations, crossed: Crossed | None = None) -> Skill:
    """What the class head knows of annotated classes.

    Where that is nothing, labels that fit no class are no finding: no head could have shown that they do.
    A probability, and no log-loss, which few rows and some overconfidence can turn into a loss.

    Args:
        observations: The rows.
        crossed: Predictions of single-task networks by fold, to be judged in place of `observations.p`.
    """
    has_class = observations.y != MISSING_CLASS
    y = observations.y[has_class]
    p = observations.p if crossed is None else crossed.p[crossed.fold, np.arange(len(crossed.fold))]
    return _skill((p[has_class] - p[has_class].mean(axis=0))[np.arange(len(y)), y] if len(y) else np.zeros(0))


def target_skill(observations: Observations, crossed: Crossed | None = None) -> Skill:
    """What the other head knows of its own task's annotations; of a row's labels, the mean.

    Args:
        observations: The rows.
        crossed: Predictions of single-task networks, to be judged in place of `observations.q`.
    """
    rows = observations.seen.any(axis=1)
    q, seen, active = (
        values[rows]
        for values in (
            observations.q if crossed is None else crossed.q,
            observations.seen,
            observations.active,
        )
    )
    count = np.maximum(seen.sum(axis=0), 1)
    above = q - (seen * q).sum(axis=0) / count
    if observations.class_to_class:
        return _skill((active * above).sum(axis=1))
    return _skill(((2 * active - seen) * above).sum(axis=1) / np.maximum(seen.sum(axis=1), 1))


def _skill(lifts: Array) -> Skill:
    if len(lifts) < FEWEST:
        return Skill(0.0, 0.0)
    error = lifts.std(ddof=1) / np.sqrt(len(lifts))
    return Skill(float(lifts.mean()), float(lifts.mean() / max(error, 1e-12)))


def _class_gains(rows: Observations, table: Array, classes: npt.NDArray[np.int64], rates: Array) -> Array:
    """Gain in nats over the prior of `classes` of each row's class, by exponent: (exponents, n)."""
    count = np.bincount(classes, minlength=rows.source.width)
    prior = (count + 0.5) / (len(classes) + 0.5 * rows.source.width)
    score = EvidenceTable.of(table, rates, rows.class_to_class).of_predictions(rows.q)
    index = np.arange(len(rows.y))
    return np.stack(
        [
            log_softmax(np.log(prior) + s * score, axis=1)[index, rows.y] - np.log(prior)[rows.y]
            for s in EXPONENTS[1:]
        ]
    )
