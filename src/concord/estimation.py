"""A relation from data without co-annotated rows: evidence, EM, calibration, trust, contradicted cells.

The input is always the same: what two heads, trained *without* coupling, say of rows they were not
trained on, beside the annotations of these rows. Coupled heads would only confirm the relation that they
were trained with. Everything here is NumPy, deterministic, and knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logit, logsumexp, softmax

from concord.errors import NoAnnotationError, RangeError, ShapeError
from concord.relation import Relation, check_ends, row_weights
from concord.tasks import MISSING_CLASS, MulticlassTask, Task, as_predictions

__all__ = [
    "Contradiction",
    "Crossed",
    "Evidence",
    "Observations",
    "RelationCheck",
    "Way",
    "agreement",
    "calibrate",
    "check_relation",
    "class_direction",
    "cross_fitted",
    "estimate_relation",
    "evidence",
    "fit_exponent",
    "free_estimate",
    "observed",
]

Array = npt.NDArray[np.float64]

CLIP = 0.03
EXPONENTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
MIN_AGREEMENT = 0.01
FEWEST = 4
MIN_Z = 3.0
SMALLEST = 1e-12


@dataclass(frozen=True)
class Observations:
    """Rows with what is annotated and what uncoupled heads predict, out of sample.

    Args:
        source: The class task.
        target: The label task, or another class task.
        y: (n,) class indices with -1.
        a: (n, K) labels with NaN, or (n,) classes of the target with -1.
        p: (n, C) class probabilities by a head that was not trained on the row.
        q: (n, K) label (or target class) probabilities, likewise.
        weight: (n,) >= 0, None for ones.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
    """

    source: MulticlassTask
    target: Task
    y: npt.NDArray[np.int64]
    a: Array
    p: Array
    q: Array
    weight: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.y)
        for name, values, shape in (
            ("p", self.p, (n, self.source.width)),
            ("q", self.q, (n, self.target.width)),
            ("a", self.a, (n,) if self.class_to_class else (n, self.target.width)),
        ):
            if np.shape(values) != shape:
                raise ShapeError(f"observations: {name} has shape {shape}, found {np.shape(values)}")

    @property
    def class_to_class(self) -> bool:
        """Whether the target is a multiclass task."""
        return isinstance(self.target, MulticlassTask)

    @property
    def active(self) -> Array:
        """(n, K) 1 where a label is annotated as present (class to class: one-hot)."""
        if self.class_to_class:
            known = self.a != MISSING_CLASS
            return np.eye(self.target.width)[np.where(known, self.a, 0).astype(int)] * known[:, None]
        return np.nan_to_num(self.a.astype(np.float64))

    @property
    def seen(self) -> Array:
        """(n, K) 1 where a label is annotated (class to class: a whole row)."""
        if self.class_to_class:
            return np.repeat((self.a != MISSING_CLASS)[:, None], self.target.width, axis=1).astype(float)
        return (~np.isnan(self.a)).astype(np.float64)

    @property
    def weights(self) -> Array:
        """(n,) row weights."""
        return np.ones(len(self.y)) if self.weight is None else np.asarray(self.weight, dtype=float)

    def take(self, rows: Any) -> Observations:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Observations(
            self.source, self.target, self.y[rows], self.a[rows], self.p[rows], self.q[rows], weight
        )

    def base_rates(self) -> Array:
        """Share of each label among its annotated rows, never 0 or 1: (K,)."""
        w = self.weights[:, None]
        hits, total = (w * self.active).sum(axis=0), (w * self.seen).sum(axis=0)
        if self.class_to_class:
            return (hits + 1 / self.target.width) / (hits.sum() + 1)
        return (hits + 0.5) / (total + 1)


def observed(
    source: MulticlassTask,
    target: Task,
    classes: Any,
    targets: Any,
    p: Any,
    q: Any = None,
    weights: Any = None,
) -> Observations:
    """Observations from annotations as people write them, checked.

    Args:
        source: The class task.
        target: The label task, or another class task.
        classes: (n,) classes as names or indices, with gaps.
        targets: (n, K) labels, or (n,) classes of the target, with gaps.
        p: (n, C) out-of-sample class probabilities.
        q: (n, K) out-of-sample probabilities of the target; None takes the base rates, which tell nothing.
        weights: (n,) >= 0; None for ones.

    Raises:
        ShapeError: Arrays of different lengths or of another width than their task.
        RangeError: A probability outside [0, 1], class probabilities that do not sum to 1, a bad weight.
        UnknownNameError: A named column of p or q that is no class or label.
        NoAnnotationError: A task without any annotation.
    """
    check_ends(source, target)
    y, a = source.encode(classes), target.encode(targets)
    if len(y) != len(a):
        raise ShapeError(f"{len(y)} rows of {source.name!r}, but {len(a)} of {target.name!r}")
    for task, values in ((source, y), (target, a)):
        if not task.annotated(values).any():
            raise NoAnnotationError(f"no row is annotated for {task.name!r}; both tasks need annotations")
    w = None if weights is None else row_weights(weights, len(y))
    said = as_predictions(source, p, len(y))
    blank = np.zeros((len(y), target.width))
    guess = blank if q is None else as_predictions(target, q, len(y))
    rows = Observations(source, target, y, a.astype(y.dtype if a.ndim == 1 else np.float64), said, guess, w)
    return rows if q is not None else replace(rows, q=np.broadcast_to(rows.base_rates(), blank.shape))


def evidence(table: Array, rates: Array, active: Array, seen: Array, class_to_class: bool) -> Array:
    """Log-likelihood of every class by the annotated labels, relative to base rates: (n, C).

    Unknown cells and gaps contribute 0.

    Args:
        table: (C, K), NaN where unknown; or a sparse one, as `Relation` holds it.
        rates: (K,) base rates.
        active: (n, K) 1 where present.
        seen: (n, K) 1 where annotated.
        class_to_class: Whether a row of the table is a distribution.
    """
    if hasattr(table, "tocsr"):
        return _sparse_evidence(table, rates, active, seen, class_to_class)
    known = ~np.isnan(table)
    cell = np.where(known, table, 0.5)
    if class_to_class:
        rates = np.maximum(rates, SMALLEST)  # a class of no mass has cells of 0
        ratio = np.log(np.maximum(cell, CLIP * rates) / rates)
        return active @ np.where(known, ratio, 0.0).T
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rates, CLIP, 1 - CLIP)
    present = np.where(known, np.log(cell / rate), 0.0)
    absent = np.where(known, np.log((1 - cell) / (1 - rate)), 0.0)
    return active @ present.T + (seen - active) @ absent.T


def _sparse_evidence(table: Any, rates: Array, active: Array, seen: Array, class_to_class: bool) -> Array:
    def times(cells: Array, labels: Array) -> Array:
        return (type(table)((cells, table.indices, table.indptr), shape=table.shape) @ labels.T).T

    cell, rate = table.data, rates[table.indices]
    if class_to_class:  # cells of 0 that a known row does not store are worth log CLIP each
        rate = np.maximum(rate, SMALLEST)
        ratio = np.log(np.maximum(cell, CLIP * rate) / rate) - np.log(CLIP)
        whole = np.log(CLIP) * (np.diff(table.indptr) > 0)
        return times(ratio, active) + active.sum(axis=1)[:, None] * whole
    cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rate, CLIP, 1 - CLIP)
    return times(np.log(cell / rate), active) + times(np.log((1 - cell) / (1 - rate)), seen - active)


@dataclass(frozen=True)
class Evidence:
    """How much the labels say of the class, through a table.

    Attributes:
        exponent: s in [0, 1], 0 where the labels say nothing that can be told from noise.
        agreement: Mean gain in nats a row, at that exponent, of the network's own view of a row over the
            average view.
        z: The gain in standard errors.
    """

    exponent: float
    agreement: float
    z: float

    @property
    def shown(self) -> bool:
        """Whether it is above noise."""
        return self.agreement > MIN_AGREEMENT and self.z > MIN_Z


def agreement(observations: Observations, table: Array, exponent: float, rates: Array) -> Array:
    """Gain in nats of each label-annotated row: log sum p e^(s ll) - log sum mean(p) e^(s ll). (m,)."""
    rows = observations.seen.any(axis=1)
    if not rows.any():
        return np.zeros(0)
    some = observations.take(rows)
    ll = exponent * evidence(table, rates, some.active, some.seen, some.class_to_class)
    log_p = np.log(np.clip(some.p, 1e-12, None))
    mean = np.log(np.average(some.p, axis=0, weights=np.maximum(some.weights, 1e-12)) + 1e-12)
    return logsumexp(log_p + ll, axis=1) - logsumexp(mean + ll, axis=1)


def fit_exponent(observations: Observations, table: Array, rates: Array | None = None) -> Evidence:
    """The evidence exponent under which labels and the class head agree most.

    The exponent is 0 unless the agreement is above .01 nats a row and above 3 standard errors: a wrong
    table ends there.
    """
    rates = observations.base_rates() if rates is None else rates
    best = Evidence(0.0, 0.0, 0.0)
    for exponent in EXPONENTS[1:]:
        gains = agreement(observations, table, exponent, rates)
        if len(gains) < 2:
            return best
        mean, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
        if mean > best.agreement:
            best = Evidence(exponent, mean, mean / max(error, 1e-12))
    return best if best.shown else Evidence(0.0, best.agreement, best.z)


def _em(
    obs: Observations,
    prior_table: Array,
    prior_strength: float | Array,
    *,
    iterations: int = 20,
    start: Array | None = None,
) -> tuple[Array, Array]:
    """EM over missing classes and labels; returns the table and the effective count of each cell."""
    rates, w = obs.base_rates(), obs.weights[:, None]
    active, seen = obs.active, obs.seen
    has_class = obs.y != MISSING_CLASS
    known_class = np.eye(obs.source.width)[np.where(has_class, obs.y, 0)]
    log_p = np.log(np.clip(obs.p, 1e-12, None))
    labelled = np.asarray(seen.any(axis=1))
    q = np.clip(obs.q, 1e-4, 1 - 1e-4)
    clipped_rates = np.clip(rates, 1e-3, 1 - 1e-3)
    info = _information(obs, q, clipped_rates, labelled)
    open_rows = has_class[:, None] & (seen == 0)
    prior_table = np.where(np.isnan(prior_table), rates, prior_table)
    table = prior_table.copy() if start is None else start.copy()
    for _ in range(iterations):
        ll = evidence(table, rates, active, seen, obs.class_to_class)
        r = np.where(has_class[:, None], known_class, softmax(log_p + ll, axis=1)) * w
        hits, total = r[labelled].T @ (active * seen)[labelled], r[labelled].T @ seen[labelled]
        if open_rows.any():
            rows = np.flatnonzero(open_rows.any(axis=1))
            cells = np.clip(table[obs.y[rows]], 1e-3, 1 - 1e-3)
            if obs.class_to_class:
                t = softmax(np.log(q[rows]) + np.log(cells) - np.log(clipped_rates), axis=1)
            else:
                t = expit(logit(q[rows]) + logit(cells) - logit(clipped_rates))
            gate = info * open_rows[rows] * w[rows]
            member = known_class[rows]
            hits, total = hits + member.T @ (gate * t), total + member.T @ gate
        table = (hits + prior_strength * prior_table) / (total + prior_strength)
        if obs.class_to_class:
            table = table / table.sum(axis=1, keepdims=True)
    return table, total


def _information(obs: Observations, q: Array, rates: Array, labelled: npt.NDArray[np.bool_]) -> Array:
    """How much a label head says beyond the base rate, in [0, 1]: (K,)."""
    rows = (obs.y != MISSING_CLASS) & ~labelled
    if not rows.any():
        return np.zeros(obs.target.width)
    w = None if obs.weight is None else np.maximum(obs.weights[rows], 1e-12)
    spread = np.average(q[rows] * (1 - q[rows]), axis=0, weights=w) / (rates * (1 - rates))
    return np.clip(1 - spread, 0.0, 1.0)


def calibrate(table: Array, estimate: Array, mass: Array) -> Array:
    """A table on the scale of the data: for each label, the regression of the estimate on the table.

    The slope is kept in [0, 1.2]: a label that the table has upside down becomes uninformative, never
    inverted. It turns 'may occur' tables of 0 and 1 into probabilities. Unknown cells stay unknown.

    Args:
        table: (C, K), NaN where unknown.
        estimate: (C, K).
        mass: (C,) or (C, K), how much each row (cell) counts.
    """
    known = ~np.isnan(table)
    weight = known * (mass if mass.ndim == 2 else mass[:, None])
    total = np.maximum(weight.sum(axis=0), 1e-12)
    x = np.nan_to_num(table)
    mean_x, mean_y = (weight * x).sum(axis=0) / total, (weight * estimate).sum(axis=0) / total
    cov = (weight * (x - mean_x) * (estimate - mean_y)).sum(axis=0)
    var = (weight * (x - mean_x) ** 2).sum(axis=0)
    # A ridge of next to nothing, so that a label whose column is constant keeps slope 0.
    slope = np.clip(cov / (var + 1e-6 * total), 0.0, 1.2)
    return np.where(known, np.clip(mean_y + slope * (x - mean_x), 0.0, 1.0), np.nan)


def halves(observations: Observations) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Two halves of the label-annotated rows, alike in how sure the class head is.

    Rows are ranked by the head's confidence, then by their number of labels, and dealt out in turn: neither
    the order of classes nor that of rows matters, but for rows equal in both, which keep the order they come
    in. Rows without labels belong to neither, and so to every fit.
    """
    labelled = np.asarray(observations.seen.any(axis=1))
    confidence = np.round((observations.p**2).sum(axis=1), 9)
    rows = np.flatnonzero(labelled)
    rank = np.empty(len(rows), dtype=int)
    rank[np.lexsort((observations.active[rows].sum(axis=1), confidence[rows]))] = np.arange(len(rows))
    first = np.zeros(len(labelled), dtype=bool)
    first[rows] = rank % 2 == 0
    return first, labelled & ~first


Builder = Callable[[Observations], Array]
"""Observations -> table (C, K): a way to arrive at a relation."""


def cross_fitted(observations: Observations, build: Builder, rates: Array) -> Evidence:
    """Agreement of tables that were fitted on the other half of the label rows.

    Args:
        observations: The rows.
        build: Called on each half of the label rows, with all rows that have no labels.
        rates: (K,) base rates.
    """
    gains: list[Array] = []
    if observations.seen.any(axis=1).sum() < 4:
        return Evidence(0.0, 0.0, 0.0)
    for judge_on in halves(observations):
        table = build(observations.take(~judge_on))
        judged = observations.take(judge_on)
        gains.append(np.stack([agreement(judged, table, s, rates) for s in EXPONENTS[1:]]))
    each = np.concatenate(gains, axis=1)
    means = each.mean(axis=1)
    best = int(means.argmax())
    error = each[best].std(ddof=1) / np.sqrt(each.shape[1])
    return Evidence(EXPONENTS[best + 1], float(means[best]), float(means[best] / max(error, 1e-12)))


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
    known, cell = ~np.isnan(table), np.nan_to_num(table)
    if rows.class_to_class:
        ratio = np.where(known, np.maximum(cell, CLIP * rates) / rates, 1.0)
        score = np.log(np.maximum(rows.q @ ratio.T, 1e-12))
    else:
        cell, rate = np.clip(cell, CLIP, 1 - CLIP), np.clip(rates, CLIP, 1 - CLIP)
        on, off = np.where(known, cell / rate, 1.0), np.where(known, (1 - cell) / (1 - rate), 1.0)
        score = np.zeros((len(rows.q), len(table)))
        for k in range(rows.q.shape[1]):
            score += np.log(rows.q[:, k, None] * on[:, k] + (1 - rows.q[:, k, None]) * off[:, k])
    index = np.arange(len(rows.y))
    return np.stack(
        [
            log_softmax(np.log(prior) + s * score, axis=1)[index, rows.y] - np.log(prior)[rows.y]
            for s in EXPONENTS[1:]
        ]
    )


def leave_one_label_out(
    observations: Observations, table: Array, exponent: float, rates: Array
) -> tuple[Array, Array]:
    """What the labels say of each cell when the class is inferred without the cell's own label.

    A table that claims a cell cannot confirm it here: the class of a row comes from its own annotation, or
    from the head and all *other* labels.

    Returns:
        Estimate (C, K) and effective count (C, K); a row counts by how sure its class is.
    """
    obs = observations.take(observations.seen.any(axis=1))
    w = obs.weights
    has_class = obs.y != MISSING_CLASS
    certain = np.eye(obs.source.width)[np.where(has_class, obs.y, 0)]
    log_p = np.log(np.clip(obs.p, 1e-12, None))
    active, seen = obs.active, obs.seen
    total = evidence(table, rates, active, seen, obs.class_to_class)
    estimate = np.zeros((obs.source.width, obs.target.width))
    count = np.zeros_like(estimate)
    for k in range(obs.target.width):
        if obs.class_to_class:
            others = 0.0 * total  # one annotation is all there is: the head alone names the class
        else:
            one = np.zeros(obs.target.width)
            one[k] = 1.0
            others = total - evidence(table, rates, active * one, seen * one, False)
        r = np.where(has_class[:, None], certain, softmax(log_p + exponent * others, axis=1))
        r = r * (w * seen[:, k])[:, None]
        mass = r.sum(axis=0)
        estimate[:, k] = (r.T @ active[:, k] + rates[k]) / (mass + 1.0)
        count[:, k] = (r * r).sum(axis=0) / (np.maximum(w.mean(), 1e-12) if len(w) else 1.0)
    return estimate, count


Verdict = Literal["kept", "calibrated", "partly wrong", "dropped", "estimated", "unrelated", "undecided"]


@dataclass(frozen=True)
class Contradiction:
    """A cell of a supplied table that the data contradict.

    Attributes:
        source: Name of the class.
        target: Name of the label.
        given: What the table says.
        estimate: What the data say, inferred without the label itself.
        error: Standard error of the estimate.
        count: Effective number of rows behind it.
    """

    source: str
    target: str
    given: float
    estimate: float
    error: float
    count: float

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"the table says {self.source} shows {self.target} with probability {self.given:.2f}; "
            f"the data say {self.estimate:.2f} +- {self.error:.2f}"
        )


@dataclass(frozen=True)
class RelationCheck:
    """What the data say of a relation.

    Attributes:
        verdict: ``"kept"`` the table as supplied, which the annotations fit or, where the class head knows
            too little to tell, what the other head says of annotated classes; ``"calibrated"`` on the scale
            of the data; ``"partly wrong"`` re-estimated from where it is right; ``"dropped"`` replaced by
            the data's own estimate; ``"estimated"`` no table was supplied; ``"unrelated"`` labels and
            classes have nothing to say of each other, and no coupling should be made; ``"undecided"`` no
            relation was shown, but a head knows too little of rows that it has not seen for that to mean
            anything.
        relation: The relation to use.
        estimate: The data's own estimate, without the table, with intervals and counts.
        exponent: Evidence exponent to use with `relation`, 0 if unrelated or undecided.
        trust: Agreement with the class head of the supplied table, by that of the data's own estimate on
            the same cells, cross-fitted: about 1 for a right table, about 0 for a wrong one; NaN without one.
        evidence: Cross-fitted agreement of the relation to use.
        reverse: Gain on annotated classes from predicted labels.
        skill: What the class head knows of annotated classes.
        target_skill: What the other task's head knows of its own annotations.
        contradictions: Cells that the data contradict, the strongest first.
        way: How the table of `relation` was arrived at; on some of the rows it gives theirs.
    """

    verdict: Verdict
    relation: Relation
    estimate: Relation
    exponent: float
    trust: float
    evidence: Evidence
    reverse: Evidence
    skill: Skill
    target_skill: Skill
    contradictions: tuple[Contradiction, ...]
    way: Way

    def sentences(self) -> list[str]:
        """The verdict in plain words."""
        name = self.relation.name
        gain, back = (
            f"{found.agreement:.2f} nats a row, z = {found.z:.1f}" for found in (self.evidence, self.reverse)
        )
        skill, other = (f"{s.lift:+.2f}, z = {s.z:.1f}" for s in (self.skill, self.target_skill))
        fits = (
            f"the table fits the data (trust {self.trust:.2f})"
            if self.evidence.shown
            else f"the head of {self.relation.source.name} knows too little to weigh the table, but what "
            f"that of {self.relation.target.name} says of rows with a class fits it ({back})"
        )
        said = {
            "kept": f"{name}: {fits}; it is used as supplied.",
            "calibrated": f"{name}: the table orders classes rightly (trust {self.trust:.2f}), but its "
            "numbers are no probabilities of these data; it is used calibrated.",
            "partly wrong": f"{name}: the table is right in part (trust {self.trust:.2f}); it is used as a "
            "starting point and re-estimated.",
            "dropped": f"{name}: the data contradict the table (trust {self.trust:.2f}); it is replaced by "
            "the data's own estimate.",
            "estimated": f"{name}: no table was supplied; it is estimated from the data ({gain}).",
            "unrelated": f"{name}: in these data the two tasks say nothing of each other that can be told "
            f"from noise (annotations and the class head: {gain}; predictions and annotated classes: "
            f"{back}); no coupling.",
            "undecided": f"{name}: whether the two tasks are related cannot be told, as a head knows too "
            "little of rows that it has not seen (probability of the truth above its average: "
            f"{self.relation.source.name} {skill}; {self.relation.target.name} {other}); no coupling. More "
            "annotated rows, more steps or a better network could tell.",
        }[self.verdict]
        return [said, *(f"{c}." for c in self.contradictions[:5])]


FREE_STRENGTH = 2.0


def free_estimate(
    observations: Observations, table: Array | None = None, strength: float = FREE_STRENGTH
) -> Array:
    """EM over missing classes and labels, shrunk to the known cells of `table` with `strength` rows.

    Where no cell is known the base rate is the prior, worth 2 rows: unknown cells are filled by the data.
    """
    if table is None:
        table = np.full((observations.source.width, observations.target.width), np.nan)
    return _em(observations, table, np.where(np.isnan(table), FREE_STRENGTH, strength))[0]


@dataclass(frozen=True, eq=False)
class Way:
    """A way to arrive at a relation: called on `Observations`, it gives a table (C, K).

    Attributes:
        table: (C, K) the supplied table; None where nothing of it is used.
        scaled: Whether the table is calibrated to the data first.
        strength: How many rows the table is worth in EM; infinite: it is taken as it is.
    """

    table: Array | None = None
    scaled: bool = False
    strength: float = FREE_STRENGTH

    def __call__(self, observations: Observations) -> Array:
        """The table that these rows lead to."""
        start = self.table
        if start is not None and self.scaled:
            start = calibrate(start, free_estimate(observations), np.ones(len(start)))
            if observations.class_to_class:  # each column had a line of its own
                start = start / np.maximum(start.sum(axis=1, keepdims=True), SMALLEST)
        if start is not None and np.isinf(self.strength):
            return start
        return free_estimate(observations, start, self.strength)


def check_relation(
    observations: Observations, relation: Relation | None, crossed: Crossed | None = None
) -> RelationCheck:
    """Weigh a supplied table against the data, and say which relation to use, if any.

    Ways to arrive at a relation (the table as it is, calibrated, either of them as a prior of EM, EM alone)
    are compared by how well their evidence agrees with the class head on label rows they were not fitted
    on; among the good ones the closest to the supplied table is used.

    Args:
        observations: Rows with annotations and out-of-sample predictions of uncoupled heads.
        relation: The supplied table, or None.
        crossed: Predictions of single-task networks by fold, for the test of relatedness.

    Raises:
        DenseOnlyError: The table is sparse.
    """
    rates = observations.base_rates()
    given_cells = None if relation is None else relation.cells("weighing it against data")
    table = None if given_cells is None or np.isnan(given_cells).all() else given_cells
    ways: dict[Verdict, list[Way]] = {"estimated" if table is None else "dropped": [Way()]}
    trust = float("nan")
    contradictions: tuple[Contradiction, ...] = ()
    if table is not None:
        given = table

        def same_cells(obs: Observations) -> Array:
            return np.where(np.isnan(given), np.nan, free_estimate(obs))

        as_it_is, on_its_scale = Way(given, strength=np.inf), Way(given, scaled=True, strength=np.inf)
        anchored = Way(given, scaled=True, strength=ANCHOR)
        ways = {
            "kept": [as_it_is, Way(given, strength=200.0)],
            "calibrated": [on_its_scale, Way(given, scaled=True, strength=50.0), anchored],
        }
        own = cross_fitted(observations, same_cells, rates).agreement
        as_given = cross_fitted(observations, as_it_is, rates).agreement
        on_scale = cross_fitted(observations, on_its_scale, rates).agreement
        trust = max(as_given, on_scale) / own if own > MIN_AGREEMENT else 0.0
        contradictions = _contradictions(observations, given, rates)
        if trust < PARTLY_TRUSTED:
            ways = {"dropped": [Way()]}
        elif trust < TRUSTED:
            ways = {"partly wrong": [anchored], "dropped": [Way()]}
    verdict, way, found = _closest_good(observations, ways, rates)
    reverse = class_direction(observations, way, rates, crossed)
    agrees = found.shown
    open_gate = agrees and reverse.agreement > MIN_AGREEMENT and reverse.z > MIN_REVERSE_Z
    chosen = way(observations)
    exponent = fit_exponent(observations, chosen, rates).exponent if open_gate else 0.0
    skills = class_skill(observations, crossed), target_skill(observations, crossed)
    if exponent == 0.0:
        # Annotations that fit no class of a head that knows classes are a finding. Where they fit, but
        # predicted ones tell no class, it takes a head that can predict them.
        could_tell = skills[0].some and bool(observations.seen.any())
        verdict = "unrelated" if could_tell and (not agrees or skills[1].some) else "undecided"
    if verdict == "undecided" and table is not None:
        # A class head that knows nothing cannot weigh a table. A head that knows the labels can: what it says
        # of rows with a class fits the table or not, and nothing of the table was fitted to them.
        as_supplied = Way(table, strength=np.inf)
        told = class_direction(observations, as_supplied, rates, crossed)
        if told.agreement > MIN_AGREEMENT and told.z > MIN_REVERSE_Z:
            verdict, way, chosen = "kept", as_supplied, table
            exponent, reverse = told.exponent, told
    estimate = _with_intervals(observations, rates)
    return RelationCheck(
        verdict,
        Relation(
            observations.source,
            observations.target,
            chosen,
            base_rate=rates,
            prior=_class_prior(observations),
        ),
        estimate,
        exponent,
        trust,
        found,
        reverse,
        *skills,
        contradictions,
        way,
    )


ANCHOR, CONTRADICTION, FREE_CONTRADICTION, MIN_COUNT = 10.0, 0.5, 0.7, 0.1
SELDOM = 0.3
TRUSTED, PARTLY_TRUSTED = 0.9, 0.3
MIN_REVERSE_Z = 2.5
GOOD_SHARE = 0.985


def _closest_good(
    observations: Observations, ways: Mapping[Verdict, Sequence[Way]], rates: Array
) -> tuple[Verdict, Way, Evidence]:
    tried = [
        (verdict, way, cross_fitted(observations, way, rates))
        for verdict, each in ways.items()
        for way in each
    ]
    best = max(found.agreement for _, _, found in tried)
    return next(one for one in tried if one[2].agreement >= best - (1 - GOOD_SHARE) * abs(best))


def _class_prior(observations: Observations) -> Array:
    known = observations.y != MISSING_CLASS
    count = np.bincount(
        observations.y[known], weights=observations.weights[known], minlength=observations.source.width
    )
    return (count + 1.0) / (count + 1.0).sum()


def estimate_relation(
    observations: Observations, *, level: float = 0.95, strength: float = FREE_STRENGTH
) -> Relation:
    """The data's own estimate of a relation, whatever the overlap, with an interval for every cell.

    EM over missing classes and labels. An interval is the Beta distribution of the cell's mean whose
    variance is that of the maximum likelihood estimate, by the outer product of the scores of all cells of
    a label: so it grows where the class head cannot tell two classes apart. It holds no bias of the heads.

    Args:
        observations: Rows with annotations and out-of-sample predictions of uncoupled heads.
        level: Probability mass of the intervals, in (0, 1).
        strength: Weight of a label's base rate, in rows, > 0.

    Returns:
        The relation; `strength` counts the rows that a cell is worth. A label without an annotation is
        unknown.

    Raises:
        RangeError: A level outside (0, 1), or a strength that is not > 0.
    """
    if not 0 < level < 1:
        raise RangeError(f"the level of an interval lies in (0, 1), found {level}")
    if not 0 < strength < np.inf:
        raise RangeError(f"the weight of the prior is finite and > 0, found {strength}")
    found = _with_intervals(observations, observations.base_rates(), level, strength)
    never = ~observations.seen.any(axis=0)
    if not never.any():
        return found
    assert found.interval is not None
    return found.replace(
        table=np.where(never, np.nan, found.table), interval=np.where(never, np.nan, found.interval)
    )


def _with_intervals(
    observations: Observations, rates: Array, level: float = 0.95, strength: float = FREE_STRENGTH
) -> Relation:
    from scipy import stats

    table, _ = _em(observations, np.tile(rates, (observations.source.width, 1)), strength)
    mean = np.clip(table, 1e-6, 1 - 1e-6)
    count = np.maximum(mean * (1 - mean) / _variance(observations, table, rates, strength) - strength, 0.0)
    worth = count + strength
    tail = (1 - level) / 2
    low, high = (stats.beta.ppf(t, mean * worth, (1 - mean) * worth) for t in (tail, 1 - tail))
    return Relation(
        observations.source,
        observations.target,
        table,
        strength=count,
        interval=np.stack([low, high]),
        base_rate=rates,
        prior=_class_prior(observations),
    )


def _variance(observations: Observations, table: Array, rates: Array, strength: float) -> Array:
    """Variance of every cell: the diagonal of the inverse information of each label's cells, (C, K)."""
    obs = observations.take(observations.seen.any(axis=1))
    active, seen, w = obs.active, obs.seen, obs.weights[:, None]
    has_class = obs.y != MISSING_CLASS
    ll = evidence(table, rates, active, seen, obs.class_to_class)
    r = softmax(np.log(np.clip(obs.p, 1e-12, None)) + ll, axis=1)
    r = np.where(has_class[:, None], np.eye(obs.source.width)[np.where(has_class, obs.y, 0)], r)
    cell = np.clip(table, 1e-3, 1 - 1e-3)
    spread = cell * (1 - cell)
    out = np.empty_like(cell)
    for k in range(cell.shape[1]):
        score = r * seen[:, [k]] * (active[:, [k]] - cell[:, k]) / spread[:, k]
        out[:, k] = np.diag(np.linalg.inv(score.T @ (w * score) + np.diag(strength / spread[:, k])))
    return out


def _contradictions(observations: Observations, table: Array, rates: Array) -> tuple[Contradiction, ...]:
    """Cells far from what the rows say.

    The class of a row is inferred without the cell's own label, through an estimate that is drawn to the
    calibrated table only weakly: a wrong cell can neither confirm itself nor mislead its neighbours much.
    Where a whole row of the table is wrong even that draws classes to the wrong place, so that the data's own
    estimate is asked as well; it mixes up classes that the head does not know, and has to be further away.
    A table of what may occur, whose likely cells are seldom in the data, is judged after calibration.
    """
    if observations.class_to_class:
        return ()
    own = free_estimate(observations)
    scale = calibrate(table, own, np.ones(len(table)))
    likely = table > 0.5
    other_scale = bool(likely.any()) and float(scale[likely].mean()) < SELDOM
    given = scale if other_scale else table
    anchored = free_estimate(observations, scale, ANCHOR)
    names, labels = observations.source.outputs, observations.target.outputs
    found: dict[tuple[int, int], Contradiction] = {}
    for relation, threshold in ((anchored, CONTRADICTION), (own, FREE_CONTRADICTION)):
        judged, count = leave_one_label_out(observations, relation, 1.0, rates)
        error = np.sqrt(np.maximum(judged * (1 - judged), 0.01) / np.maximum(count, 1.0))
        with np.errstate(invalid="ignore"):
            wrong = (np.abs(given - judged) > threshold) & (count >= MIN_COUNT)
        for c, k in np.argwhere(wrong):
            cell = Contradiction(names[c], labels[k], table[c, k], judged[c, k], error[c, k], count[c, k])
            found.setdefault((int(c), int(k)), cell)
    return tuple(sorted(found.values(), key=lambda cell: -abs(cell.given - cell.estimate) / cell.error))
