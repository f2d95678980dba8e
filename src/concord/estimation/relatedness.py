"""Whether two tasks are related at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from concord.errors import ShapeError
from concord.estimation.agreement import EXPONENTS, FEWEST, MIN_Z, Builder, Evidence
from concord.estimation.observations import Observations, Sample
from concord.relations import EvidenceTable
from concord.tasks import MISSING_CLASS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldPredictions:
    """What single-task networks of a cross-validation predict for the rows of `Observations`.

    They make the test of relatedness clean. A network that shares layers lets one task's annotation shape
    what it says of the other task; and a class head that was trained on the rows it is judged by carries
    chance correlations of these rows with the labels into the relation, and would be confirmed by them.

    Args:
        fold: (n,) the fold of each row; a negative one is none: the row's annotations judge nothing.
        class_proba: (folds, n, C) class probabilities of all rows by the network that left the fold out.
        target_proba: (n, K) target probabilities by a network that was not trained on the row's annotation.

    Raises:
        ShapeError: Arrays of different numbers of rows.
    """

    fold: npt.NDArray[np.int64]
    class_proba: Array
    target_proba: Array

    def __post_init__(self) -> None:
        if self.class_proba.ndim != 3 or not len(self.fold) == self.class_proba.shape[1] == len(
            self.target_proba
        ):
            raise ShapeError(
                f"predictions by fold have shapes (n,), (folds, n, C), (n, K), found {self.fold.shape}, "
                f"{self.class_proba.shape}, {self.target_proba.shape}"
            )

    def take(self, rows: npt.NDArray[np.bool_]) -> FoldPredictions:
        """Those of some of the rows."""
        return FoldPredictions(self.fold[rows], self.class_proba[:, rows], self.target_proba[rows])

    def everywhere(self) -> FoldPredictions:
        """The same with classes of rows in no fold that judge too.

        Where a relation is no estimate, nothing of it comes from class heads that were trained on these rows.
        """
        return replace(self, fold=np.maximum(self.fold, 0))


def class_direction(
    observations: Observations, build: Builder, rates: Array, fold_predictions: FoldPredictions | None = None
) -> Evidence:
    """Whether predicted labels say something of annotated classes: the other way through the relation.

    The relation is fitted on label rows whose classes are hidden, and judged on annotated classes: chance
    agreement between two heads does not pass here. The gain is over the class prior, in nats a row.

    Args:
        observations: The rows, all of weight above 0.
        build: Makes the relation.
        rates: (K,) base rates.
        fold_predictions: With them, the classes of a fold are judged by a relation that was fitted through
            class heads which have not seen that fold. None: through `observations.class_proba`, which is too
            kind where those heads were trained on the very rows that judge.
    """
    return _best(*_direct_gains(observations, build, rates, fold_predictions))


def together(observations: Observations, build: Builder, rates: Array) -> Evidence:
    """Whether annotated labels say something of annotated classes, on rows that are annotated for both.

    No head has a part in what is said: each half of these rows is judged by a relation of the other half.
    The gain is over the class prior, in nats a row. Halves hold as many rows of each class.

    Args:
        observations: The rows, all of weight above 0.
        build: Makes the relation.
        rates: (K,) base rates.
    """
    rows = observations.take(observations.both)
    if rows.sample(slice(None)).size < FEWEST:
        return Evidence(0.0, 0.0, 0.0)
    first, gains = _half(rows), []
    both = (first, ~first)
    for judge_on in both:
        judged, others = rows.take(judge_on), rows.take(~judge_on)
        evidence = EvidenceTable.of(build(others), rates, rows.class_to_class)
        gains.append(_class_gains(judged, evidence.of_annotations(judged.active, judged.seen), others))
    order = np.concatenate([np.flatnonzero(half) for half in both])
    return _best(np.concatenate(gains, axis=1), rows.sample(order))


def _half(rows: Observations) -> npt.NDArray[np.bool_]:
    """Every second row of each class, or group by the class of its first row, in an order drawn at random.

    The order that they come in would not do: a file may hold its classes by turns.
    """
    given = np.arange(len(rows.classes)) if rows.group is None else rows.group
    _, first_row, unit = np.unique(given, return_index=True, return_inverse=True)
    drawn = np.random.default_rng(0).permutation(len(first_row))
    rank = np.empty(len(first_row), dtype=int)
    rank[np.lexsort((drawn, rows.classes[first_row]))] = np.arange(len(first_row))
    return np.asarray(rank[unit] % 2 == 0)


def _best(gains: Array, sample: Sample) -> Evidence:
    """The gain at the exponent that suits it best; nothing where it is none at any."""
    if not gains.shape[1]:
        return Evidence(0.0, 0.0, 0.0)
    means = sample.mean(gains)
    best = int(means.argmax())
    if means[best] <= 0:
        return Evidence(0.0, 0.0, 0.0)
    return Evidence(EXPONENTS[best + 1], float(means[best]), sample.z(gains[best]))


def not_surpassed(
    observations: Observations,
    build: Builder,
    others: Sequence[Builder],
    rates: Array,
    fold_predictions: FoldPredictions | None = None,
) -> bool:
    """Whether predicted labels tell annotated classes through a relation at least as well as through others.

    Each is read at the exponent that suits it best, on the same rows. The first of the others may not be
    ahead at all, any further one not beyond noise (one standard error).
    """
    mine, sample = _direct_gains(observations, build, rates, fold_predictions)
    if not mine.shape[1]:
        return False
    for i, other in enumerate(others):
        theirs = _direct_gains(observations, other, rates, fold_predictions)[0]
        ahead = _at_best(mine, sample) - _at_best(theirs, sample)
        if sample.mean(ahead) < 0 and (i == 0 or sample.z(ahead) < -1):
            return False
    return True


def _at_best(gains: Array, sample: Sample) -> Array:
    means = sample.mean(gains)
    return gains[means.argmax()] if means.max() > 0 else np.zeros(gains.shape[1])


def _direct_gains(
    observations: Observations, build: Builder, rates: Array, fold_predictions: FoldPredictions | None
) -> tuple[Array, Sample]:
    """Gains of annotated classes by exponent (exponents, n), and their rows; no gains where these are few."""
    annotated = has_class = observations.classes != MISSING_CLASS
    if fold_predictions is not None:
        has_class = has_class & (fold_predictions.fold >= 0)
    labelled = np.asarray(observations.seen.any(axis=1))
    sample = observations.sample(has_class)
    if sample.size < FEWEST or not labelled.any():
        return np.zeros((len(EXPONENTS) - 1, 0)), sample
    hidden = replace(observations, classes=np.where(labelled, MISSING_CLASS, observations.classes))
    if fold_predictions is None:
        table = build(hidden.take(labelled))
        judged = observations.take(has_class)
        return _class_gains(judged, _predicted(judged, table, rates), judged), sample
    parts, order = [], []
    for k, p in enumerate(fold_predictions.class_proba):
        in_fold = has_class & (fold_predictions.fold == k)
        if in_fold.any():
            order.append(np.flatnonzero(in_fold))
            q = fold_predictions.target_proba
            table = build(replace(hidden, class_proba=p, target_proba=q).take(labelled))
            rest = annotated & ~in_fold
            others = observations.take(rest if rest.any() else in_fold)
            judged = replace(observations, target_proba=q).take(in_fold)
            parts.append(_class_gains(judged, _predicted(judged, table, rates), others))
    return np.concatenate(parts, axis=1), observations.sample(np.concatenate(order))


@dataclass(frozen=True)
class Skill:
    """What a head knows of annotations of its own task that it has not seen.

    Attributes:
        lift: Mean probability of what is annotated, above the head's average probability of it: 0 for a
            head that says the same of every row. Rows count by their weights.
        z: The same in standard errors; 0 where there are too few rows, or groups of rows, to know.
        flat: Whether it says the same of every row.
    """

    lift: float
    z: float
    flat: bool = False

    @property
    def some(self) -> bool:
        """Whether it is above noise."""
        return self.z > MIN_Z


def class_skill(observations: Observations, fold_predictions: FoldPredictions | None = None) -> Skill:
    """What the class head knows of annotated classes.

    Where that is nothing, labels that fit no class are no finding: no head could have shown that they do.
    A probability, and no log-loss, which few rows and some overconfidence can turn into a loss.

    Args:
        observations: The rows, all of weight above 0.
        fold_predictions: Predictions of single-task networks by fold, to be judged in place of
            `observations.class_proba`.
    """
    has_class = observations.classes != MISSING_CLASS
    if fold_predictions is not None:
        has_class = has_class & (fold_predictions.fold >= 0)
    y, sample = observations.classes[has_class], observations.sample(has_class)
    p = (
        observations.class_proba
        if fold_predictions is None
        else fold_predictions.class_proba[fold_predictions.fold, np.arange(len(fold_predictions.fold))]
    )
    if sample.size < FEWEST:
        return Skill(0.0, 0.0)
    average = np.average(p[has_class], axis=0, weights=sample.weight)
    return _skill((p[has_class] - average)[np.arange(len(y)), y], sample)


def target_skill(observations: Observations, fold_predictions: FoldPredictions | None = None) -> Skill:
    """What the other head knows of its own task's annotations; of a row's labels, the mean.

    Args:
        observations: The rows, all of weight above 0.
        fold_predictions: Predictions of single-task networks, to be judged in place of
            `observations.target_proba`.
    """
    rows = observations.seen.any(axis=1)
    if fold_predictions is not None:
        rows = rows & (fold_predictions.fold >= 0)
    sample = observations.sample(rows)
    if sample.size < FEWEST:
        return Skill(0.0, 0.0)
    q, seen, active = (
        values[rows]
        for values in (
            observations.target_proba if fold_predictions is None else fold_predictions.target_proba,
            observations.seen,
            observations.active,
        )
    )
    if (q == q[:1]).all():
        return Skill(0.0, 0.0, flat=True)
    mass = seen if sample.weight is None else seen * sample.weight[:, None]
    total = mass.sum(axis=0)
    above = q - np.divide((mass * q).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    if observations.class_to_class:
        return _skill((active * above).sum(axis=1), sample)
    lifts = ((2 * active - seen) * above).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return _skill(lifts, sample)


def _skill(lifts: Array, sample: Sample) -> Skill:
    return Skill(float(sample.mean(lifts)), sample.z(lifts))


def _predicted(rows: Observations, table: Array, rates: Array) -> Array:
    """What predicted labels say of the class of each row, through a relation: (n, C)."""
    return EvidenceTable.of(table, rates, rows.class_to_class).of_predictions(rows.target_proba)


def _class_gains(rows: Observations, score: Array, others: Observations) -> Array:
    """Gain in nats over the classes' shares among `others` of each row's class, by exponent: (exponents, n).

    `score` is what labels say of the class of each row, (n, C). The half row that is added to each class is
    one of mean weight, so that weights enter as shares.
    """
    sample = others.sample(slice(None))
    w = None if sample.weight is None else sample.weight / sample.weight.mean()
    count = np.bincount(others.classes, weights=w, minlength=rows.source.width)
    prior = (count + 0.5) / (len(others.classes) + 0.5 * rows.source.width)
    index = np.arange(len(rows.classes))
    return np.stack(
        [
            log_softmax(np.log(prior) + s * score, axis=1)[index, rows.classes] - np.log(prior)[rows.classes]
            for s in EXPONENTS[1:]
        ]
    )
