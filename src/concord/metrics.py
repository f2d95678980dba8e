"""Metrics of one task's predictions, gaps left out.

All but average precision follow from sums over rows (`contributions`, then `finish`), so that a metric on
a bootstrap sample is one matrix product away. A class or label that the targets never show takes part in
no mean over classes or labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import as_numbers
from concord.errors import NoAnnotationError, NotFiniteError, ShapeError, UnknownNameError
from concord.tasks import MISSING_CLASS, Encoded, MulticlassTask, MultilabelTask, Task

__all__ = [
    "CLASS_METRICS",
    "LABEL_METRICS",
    "class_metrics",
    "contributions",
    "count_samples",
    "decisions",
    "evaluate",
    "finish",
    "label_metrics",
    "lower_is_better",
    "main_metric",
    "metric_names",
    "probabilities",
    "standard_error",
    "task_metrics",
    "z_score",
]

Array = npt.NDArray[np.float64]

Threshold = float | Array
"""Where predictions are cut: one number, or one for each output; see `decisions`."""

CLASS_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
"""Metrics of a multiclass task; the first is the one that a study judges by, unless told otherwise."""

LABEL_METRICS = ("mean_f1", "map", "accuracy", "ece")
"""Metrics of a multilabel task; the first is the one that a study judges by, unless told otherwise."""

BINS = 15
"""Equal-width bins of confidence in the expected calibration error."""


NEED_A_LABEL = frozenset({"mean_f1", "map"})
"""Metrics that rows without any label present cannot give."""


def metric_names(task: Task) -> tuple[str, ...]:
    """Names of the metrics of a task."""
    return CLASS_METRICS if isinstance(task, MulticlassTask) else LABEL_METRICS


def main_metric(task: Task) -> str:
    """The metric that a task is judged by unless told otherwise: `accuracy` or `mean_f1`."""
    return metric_names(task)[0]


def decisions(task: Task, p: Array, threshold: Threshold = 0.5) -> npt.NDArray[np.int64]:
    """What probabilities are taken for: (n,) indices of classes, or (n, K) labels as 0 and 1.

    A label is taken as present from its threshold on. A class is the one whose probability is most in
    proportion to its threshold: equal thresholds leave it the most probable one.

    Args:
        task: The task.
        p: (n, C) or (n, K) probabilities.
        threshold: One number, or (C,) or (K,); above 0 for classes.
    """
    if isinstance(task, MulticlassTask):
        return np.asarray((p / threshold).argmax(axis=1), dtype=np.int64)
    return np.asarray(p >= threshold, dtype=np.int64)


def lower_is_better(metric: str) -> bool:
    """Whether small values of a metric are good: only of `ece`."""
    return metric == "ece"


def probabilities(task: Task, logits: Any) -> Array:
    """Probabilities of logits in float64: a softmax of classes, a sigmoid of each label.

    Args:
        task: The task.
        logits: (n, C) or (n, K).

    Raises:
        ShapeError: Logits of another width than the task.
        NotFiniteError: NaN or infinite logits.
    """
    from scipy.special import expit, softmax

    z = _numbers(task, "logits", logits)
    if z.ndim != 2 or z.shape[1] != task.width:
        raise ShapeError(f"task {task.name!r}: logits have shape (n, {task.width}), found {z.shape}")
    if not np.isfinite(z).all():
        raise NotFiniteError(f"task {task.name!r}: logits hold NaN or infinity")
    return softmax(z, axis=1) if isinstance(task, MulticlassTask) else expit(z)


def class_metrics(y: Any, probabilities: Any, classes: Any, *, name: str = "classes") -> dict[str, float]:
    """Metrics of a multiclass task over its annotated rows.

    Args:
        y: (n,) class indices, -1 for a gap; or class names.
        probabilities: (n, C), rows sum to 1.
        classes: The C class names.
        name: What messages call the task.

    Returns:
        `accuracy`; `balanced_accuracy`, the mean recall, and `macro_f1`, both over classes that occur;
        `ece`, the expected calibration error of the predicted class in 15 bins. All in [0, 1].

    Raises:
        ShapeError: Another number of rows or classes.
        NoAnnotationError: No row has a class.
    """
    task = MulticlassTask(name, classes)
    return task_metrics(task, task.encode(y), probabilities)


def label_metrics(
    a: Any, probabilities: Any, labels: Any, threshold: Threshold = 0.5, *, name: str = "labels"
) -> dict[str, float]:
    """Metrics of a multilabel task over its annotated cells.

    Args:
        a: (n, K) with 0, 1 or NaN for a gap.
        probabilities: (n, K) in [0, 1].
        labels: The K label names.
        threshold: A label counts as predicted from here on, one number or (K,) in [0, 1].
        name: What messages call the task.

    Returns:
        `mean_f1` and `map` (average precision), means over labels that are annotated as present at least
        once; `accuracy`, the mean over annotated labels of the share of right cells; `ece` over all
        annotated cells in 15 bins of the label's probability. All in [0, 1].

    Raises:
        ShapeError: Another number of rows or labels.
        NoAnnotationError: No cell is annotated, or none as present.
    """
    return task_metrics(MultilabelTask(name, labels), a, probabilities, threshold)


def task_metrics(
    task: Task, targets: Any, probabilities: Any, threshold: Threshold = 0.5
) -> dict[str, float]:
    """Metrics of a task's probabilities against targets with gaps, by name.

    Args:
        task: The task.
        targets: (n,) or (n, K), as the task encodes them.
        probabilities: (n, C), rows sum to 1, or (n, K) in [0, 1].
        threshold: Where predictions are cut, one number or one for each output; see `decisions`.

    Raises:
        ShapeError: Another number of rows or outputs.
        NotFiniteError: A gap, NaN or infinity among the probabilities.
        NoAnnotationError: No row is annotated, or no label as present.
    """
    found = measured(task, targets, probabilities, threshold)
    if len(found) < len(metric_names(task)):
        raise NoAnnotationError(f"task {task.name!r} has no label annotated as present")
    return found


def measured(task: Task, targets: Any, probabilities: Any, threshold: Threshold = 0.5) -> dict[str, float]:
    """The same where no label need be present: F1 and average precision are then left out.

    Args:
        task: The task.
        targets: (n,) or (n, K), as the task encodes them.
        probabilities: (n, C), rows sum to 1, or (n, K) in [0, 1].
        threshold: Where predictions are cut, one number or one for each output; see `decisions`.

    Raises:
        ShapeError: Another number of rows or outputs.
        NotFiniteError: A gap, NaN or infinity among the probabilities.
        NoAnnotationError: No row is annotated.
    """
    p = _numbers(task, "probabilities", probabilities)
    if not np.isfinite(p).all():  # else a gap among them would count as a label that is absent
        raise NotFiniteError(f"task {task.name!r}: probabilities must be finite, found NaN or infinity")
    encoded = task.encode(Encoded(targets))
    present = isinstance(task, MulticlassTask) or bool((encoded == 1).any())
    names = [name for name in metric_names(task) if present or name not in NEED_A_LABEL]
    return _all(task, encoded, p, names, threshold)


def evaluate(
    task: Task, targets: Any, logits: Any, *, thresholds: Mapping[str, Threshold] | None = None
) -> dict[str, float]:
    """Metrics of logits against targets with gaps, by name.

    Args:
        task: The task.
        targets: (n,) or (n, K), as the task encodes them.
        logits: (n, C) or (n, K), finite.
        thresholds: By task, where predictions are cut elsewhere than at .5; see `decisions`.

    Raises:
        ShapeError: Another number of rows or outputs.
        NotFiniteError: NaN or infinite logits.
        NoAnnotationError: No row is annotated.
    """
    threshold = (thresholds or {}).get(task.name, 0.5)
    return task_metrics(task, targets, probabilities(task, logits), threshold)


def contributions(metric: str, task: Task, targets: Any, p: Array, *, threshold: Threshold = 0.5) -> Array:
    """What each row adds to the sums that a metric follows from.

    Args:
        metric: A metric of the task, other than `map`.
        task: The task.
        targets: (n,) or (n, K), encoded; a gap adds nothing.
        p: (n, C) or (n, K) probabilities.
        threshold: Where predictions are cut; see `decisions`.

    Returns:
        Shape (n, parts, m). Sum it over rows, weighted as you like, and give the result to `finish`.

    Raises:
        UnknownNameError: A metric that the task does not have, or `map`.
    """
    if isinstance(task, MulticlassTask):
        known, actual, predicted, confidence = _of_classes(task, np.asarray(targets), p, threshold)
    else:
        known, actual, predicted, confidence = _of_labels(task, np.asarray(targets), p, threshold)
    right = known * (actual == predicted)
    if metric == "ece":
        return _calibration(task, known, actual, predicted, confidence)
    if metric == "accuracy":
        if isinstance(task, MulticlassTask):
            row = known[:, :1]
            return np.stack([row * (actual * predicted).sum(axis=1, keepdims=True), row], axis=1)
        return np.stack([right, known], axis=1)
    if metric == "balanced_accuracy" and isinstance(task, MulticlassTask):
        return np.stack([known * actual * predicted, known * actual], axis=1)
    if metric == ("macro_f1" if isinstance(task, MulticlassTask) else "mean_f1"):
        return np.stack([known * actual * predicted, known * actual, known * predicted], axis=1)
    raise UnknownNameError.of(
        f"metric of task {task.name!r} that follows from sums",
        metric,
        [name for name in metric_names(task) if name != "map"],
    )


def finish(metric: str, sums: Array) -> Array:
    """A metric from its sums over rows.

    Args:
        metric: Its name.
        sums: (..., parts, m), sums of `contributions`.

    Returns:
        (...) in [0, 1]; NaN where nothing was annotated.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "ece":
            gap = np.abs(sums[..., 0, :] - sums[..., 1, :]).sum(axis=-1)
            return gap / sums[..., 2, :].sum(axis=-1)
        if metric in ("accuracy", "balanced_accuracy"):
            return _mean(sums[..., 0, :] / sums[..., 1, :], sums[..., 1, :] > 0)
        hits, actual, predicted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
        return _mean(2 * hits / (actual + predicted), actual > 0)


def resampled_map(targets: Any, p: Array, weights: Array) -> Array:
    """Mean average precision of rows that are drawn again: (draws,).

    Of each label that of scikit-learn's `average_precision_score`; a row weighs as often as it is drawn, and
    the mean is over the labels that a draw shows.

    Args:
        targets: (n, K) labels, NaN for gaps.
        p: (n, K) probabilities, or anything in their order.
        weights: (draws, n) how often each row counts, >= 0.

    Returns:
        In [0, 1]; NaN for a draw without any present label.
    """
    a = np.asarray(targets, dtype=np.float64)
    found = np.full((a.shape[1], len(weights)), np.nan)
    for k in range(a.shape[1]):
        known = np.flatnonzero(~np.isnan(a[:, k]))
        if not (a[known, k] == 1).any():
            continue
        order = known[np.argsort(-p[known, k], kind="stable")]
        score = p[order, k]
        last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # rows of one score come together
        drawn = np.ascontiguousarray(weights[:, order].T)
        total = drawn.cumsum(axis=0)[last]
        hits = (drawn * a[order, k][:, None]).cumsum(axis=0)[last]
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        sums = (precision * np.diff(hits, axis=0, prepend=0.0)).sum(axis=0)
        np.divide(sums, hits[-1], out=found[k], where=hits[-1] > 0)
    with np.errstate(invalid="ignore"):
        return _mean(found.T, ~np.isnan(found.T))


def standard_error(values: Any, group: Any = None, weights: Any = None) -> Any:
    """Standard error of a weighted mean, with rows of one group counted as one sample.

    se^2 = G/(G-1) x sum over groups of (sum of w (x - mean))^2 / (sum of w)^2, G groups of positive weight:
    the cluster-robust variance of a mean (Liang and Zeger, Biometrika 73, 1986). Rows that stand alone are
    groups of one; with equal weights this is the standard deviation (ddof=1) by the square root of n.

    Args:
        values: (..., n), one value per row on the last axis.
        group: (n,) any labels; equal ones are one group. None: each row stands alone.
        weights: (n,) >= 0; None for ones.

    Returns:
        (...) >= 0. NaN where fewer than two groups have weight, since nothing is known of the noise then, and
        a comparison with NaN is false. A float for one-dimensional values.

    Raises:
        ShapeError: Groups or weights of another number than the values.

    Example:
        >>> bool(standard_error([0.0, 1.0, 2.0, 3.0]) == np.std([0, 1, 2, 3], ddof=1) / 2)
        True
        >>> standard_error([0.0, 0.0, 1.0, 1.0], group=["a", "a", "b", "b"])
        0.5
    """
    x = np.asarray(values, dtype=np.float64)
    n = x.shape[-1]
    if group is None and weights is None and n > 1:  # the same by the shortest way
        usual = x.std(axis=-1, ddof=1) / np.sqrt(n)
        return usual if x.ndim > 1 else float(usual)
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    labels = np.arange(n) if group is None else np.asarray(group)
    for name, given in (("weights", w), ("groups", labels)):
        if given.shape != (n,):
            raise ShapeError(f"{name} of {n} values have shape ({n},), found {given.shape}")
    labels, index = np.unique(labels[w > 0], return_inverse=True)
    count, total = len(labels), w.sum()
    if count < 2:
        nothing = np.full(x.shape[:-1], np.nan)
        return nothing if x.ndim > 1 else float("nan")
    x, w = x[..., w > 0], w[w > 0]
    residual = w * (x - (w * x).sum(axis=-1, keepdims=True) / total)
    sums = residual
    if group is not None:
        sums = np.zeros((*x.shape[:-1], count))
        np.add.at(np.moveaxis(sums, -1, 0), index, np.moveaxis(residual, -1, 0))
    error = np.sqrt(count / (count - 1) * (sums**2).sum(axis=-1)) / total
    return error if x.ndim > 1 else float(error)


def z_score(values: Any, group: Any = None, weights: Any = None) -> float:
    """A mean in standard errors, with rows of one group counted as one sample; see `standard_error`.

    Args:
        values: (n,).
        group: (n,) any labels; None: each row stands alone.
        weights: (n,) >= 0; None for ones.

    Returns:
        0 where fewer than two groups have weight, since what cannot be told from noise never passes a
        threshold.
    """
    error = standard_error(values, group, weights)
    if np.isnan(error):
        return 0.0
    return float(np.average(values, weights=weights)) / max(error, 1e-12)


def count_samples(rows: int, group: Any = None) -> int:
    """How many samples these rows are worth: their groups, or the rows where they have none.

    Args:
        rows: How many rows.
        group: (rows,) any labels; None: each row stands alone.
    """
    return rows if group is None else len(np.unique(group))


def _numbers(task: Task, what: str, values: Any) -> Array:
    return as_numbers(f"task {task.name!r}: {what}", values, None, task.outputs)


def _mean(values: Array, valid: npt.NDArray[np.bool_]) -> Array:
    return np.where(valid, values, 0.0).sum(axis=-1) / valid.sum(axis=-1)


def _all(
    task: Task, targets: npt.NDArray[Any], p: Array, names: Sequence[str], threshold: Threshold
) -> dict[str, float]:
    if p.shape != (len(targets), task.width):
        raise ShapeError(
            f"task {task.name!r}: probabilities have shape {(len(targets), task.width)}, found {p.shape}"
        )
    if not task.annotated(targets).any():
        raise NoAnnotationError(f"task {task.name!r} has no annotation in {len(targets)} rows")
    out = {}
    for name in names:
        if name == "map":
            out[name] = _average_precision(targets, p)
        else:
            out[name] = float(
                finish(name, contributions(name, task, targets, p, threshold=threshold).sum(axis=0))
            )
    return out


def _of_classes(
    task: MulticlassTask, y: npt.NDArray[Any], p: Array, threshold: Threshold
) -> tuple[Array, Array, Array, Array]:
    known = np.repeat((y != MISSING_CLASS)[:, None], task.width, axis=1).astype(np.float64)
    actual = np.eye(task.width)[np.where(y == MISSING_CLASS, 0, y)]
    chosen = decisions(task, p, threshold)
    return known, actual, np.eye(task.width)[chosen], p[np.arange(len(p)), chosen][:, None]


def _of_labels(
    task: Task, a: npt.NDArray[Any], p: Array, threshold: Threshold
) -> tuple[Array, Array, Array, Array]:
    known = (~np.isnan(a)).astype(np.float64)
    return known, np.nan_to_num(a).astype(np.float64), decisions(task, p, threshold).astype(np.float64), p


def _calibration(task: Task, known: Array, actual: Array, predicted: Array, confidence: Array) -> Array:
    """Confidence, hits and count of each row in each bin: (n, 3, BINS)."""
    if isinstance(task, MulticlassTask):
        hit, seen = (actual * predicted).sum(axis=1, keepdims=True), known[:, :1]
    else:
        hit, seen = actual, known
    bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    out = np.zeros((len(confidence), 3, BINS))
    rows = np.repeat(np.arange(len(confidence))[:, None], confidence.shape[1], axis=1)
    for part, values in enumerate((seen * confidence, seen * hit, seen)):
        np.add.at(out, (rows, np.full_like(rows, part), bins), values)
    return out


def _average_precision(a: npt.NDArray[Any], p: Array) -> float:
    from sklearn.metrics import average_precision_score

    scores = []
    for k in range(a.shape[1]):
        seen = ~np.isnan(a[:, k])
        if (a[seen, k] == 1).any():
            scores.append(average_precision_score(a[seen, k], p[seen, k]))
    return float(np.mean(scores))
