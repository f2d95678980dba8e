"""Where predictions are cut: one threshold per label and per class, chosen on rows no network was trained on.

A probability of .5 is the cut of the fewest errors. Rare labels seldom reach it, so that F1 and balanced
accuracy ask for others (Lipton, Elkan and Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1
Measure", ECML PKDD 2014). Thresholds leave probabilities as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from concord import metrics
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]

ThresholdMetric = Literal["f1", "balanced_accuracy"] | Mapping[Literal["precision"], float]
"""What thresholds are chosen for: F1, balanced accuracy, or the most recall at a precision in (0, 1)."""

HALF = 0.5

MIN_SAMPLES = 10
"""A label with fewer rows (groups, where rows come in groups) that show it, or that do not, keeps .5."""

PRIOR_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Thresholds of classes go with their frequency to the power of one of these: from equal to balanced."""

CLASS_METRIC = {"f1": "macro_f1", "balanced_accuracy": "balanced_accuracy"}


def checked_metric(metric: Any) -> ThresholdMetric | None:
    """A metric that thresholds can be chosen for, or None for none.

    Raises:
        UnknownNameError: A metric of another name.
        RangeError: A precision outside (0, 1).
    """
    if metric is None or metric in ("f1", "balanced_accuracy"):
        return cast("ThresholdMetric | None", metric)
    if not isinstance(metric, Mapping) or set(metric) != {"precision"}:
        raise UnknownNameError(
            f"thresholds are chosen by 'f1', 'balanced_accuracy' or {{'precision': P}}, found {metric!r}"
        )
    value = metric["precision"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise RangeError(f"a precision for thresholds lies in (0, 1), found {value!r}")
    return {"precision": float(value)}


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Where the predictions of tasks are cut.

    Attributes:
        metric: What they were chosen for.
        values: By task, (K,) of labels in [0, 1] and (C,) of classes in (0, .5], the most frequent class at
            .5; see `concord.metrics.decisions`.
        notes: What stayed at .5, and why.
    """

    metric: ThresholdMetric
    values: Mapping[str, Array]
    notes: tuple[str, ...] = ()

    def of(self, task: Task) -> Array | float:
        """The thresholds of a task; .5 where none were chosen."""
        return self.values.get(task.name, HALF)

    def decide(self, task: Task, probabilities: Array) -> npt.NDArray[np.int64]:
        """Predictions of a task: (n,) class indices, or (n, K) labels as 0 and 1."""
        return metrics.decisions(task, probabilities, self.of(task))

    def record(self) -> dict[str, Any]:
        """Plain data that `thresholds_of` reads."""
        metric = self.metric if isinstance(self.metric, str) else dict(self.metric)
        values = {name: np.asarray(each).tolist() for name, each in self.values.items()}
        return {"metric": metric, "values": values, "notes": list(self.notes)}


def thresholds_of(record: Mapping[str, Any] | None, tasks: Sequence[Task]) -> Thresholds | None:
    """Thresholds from what `Thresholds.record` gave.

    Raises:
        ShapeError: Of other tasks, or of another number of classes or labels.
        RangeError: Not in [0, 1], or 0 of a class.
        UnknownNameError: Chosen by a metric of another name.
    """
    if record is None:
        return None
    values = checked_thresholds(record["values"], tasks)
    metric = checked_metric(record["metric"])
    if metric is None:
        raise UnknownNameError("thresholds without the metric that they were chosen for")
    return Thresholds(metric, values, tuple(map(str, record["notes"])))


def checked_thresholds(values: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Array]:
    """Thresholds by task, in the order of the tasks; a task without any is left out.

    Raises:
        ShapeError: Of other tasks, or of another number of classes or labels.
        RangeError: Not in [0, 1], or 0 of a class.
    """
    names = [task.name for task in tasks]
    if unknown := [name for name in values if name not in names]:
        raise ShapeError(f"thresholds of {', '.join(unknown)}, which is none of the tasks {', '.join(names)}")
    out = {}
    for task in (task for task in tasks if task.name in values):
        each = np.asarray(values[task.name], dtype=np.float64)
        if each.shape != (task.width,):
            raise ShapeError(f"thresholds of {task.name!r} have shape ({task.width},), found {each.shape}")
        least = each > 0 if isinstance(task, MulticlassTask) else each >= 0
        if not (least & (each <= 1)).all():
            raise RangeError(f"thresholds of {task.name!r} lie in [0, 1], of classes above 0")
        out[task.name] = each
    return out


def choose_thresholds(
    metric: ThresholdMetric,
    tasks: Sequence[Task],
    targets: Mapping[str, npt.NDArray[Any]],
    probabilities: Mapping[str, Array],
    group: Any = None,
) -> Thresholds:
    """Thresholds of all tasks, chosen on rows that no network was trained on, and never on test rows.

    Labels are cut each on its own (`best_cut`). Classes get thresholds in proportion to a power of their
    frequency in these rows, one power for all: a free threshold for each class would follow the chance of the
    few rows of a rare one. A precision says nothing of classes, of which each row has exactly one.

    Args:
        metric: What for.
        tasks: The tasks.
        targets: By task, (n,) with -1 or (n, K) with NaN; gaps take no part. A task without targets keeps .5.
        probabilities: By task, (n, C) or (n, K).
        group: (n,) which rows belong together: as many groups as `MIN_SAMPLES` must show a label.

    Raises:
        UnknownNameError: A metric of another name.
        RangeError: A precision outside (0, 1).
    """
    checked = checked_metric(metric)
    assert checked is not None
    values: dict[str, Array] = {}
    notes: list[str] = []
    for task in tasks:
        choose = _of_classes if isinstance(task, MulticlassTask) else _of_labels
        if task.name in targets:
            values[task.name], told = choose(
                checked, task, targets[task.name], probabilities[task.name], group
            )
            notes += told
    return Thresholds(checked, values, tuple(notes))


# -- labels --------------------------------------------------------------------------------------------


def best_cut(metric: ThresholdMetric, targets: npt.NDArray[Any], p: Array) -> float | None:
    """The threshold of one label that is best on these rows; None where no cut reaches the precision.

    Every cut between two different probabilities is tried, each threshold halfway between. Of equally good
    ones the middle one is taken, so that what is predicted depends on the order of probabilities alone.

    Args:
        metric: What is to be best; at a precision, the recall.
        targets: (n,) 0 and 1, without gaps; both occur.
        p: (n,) probabilities.
    """
    cuts, inverse = np.unique(p, return_inverse=True)
    present = np.bincount(inverse, weights=targets, minlength=len(cuts))
    taken = np.bincount(inverse, minlength=len(cuts))[::-1].cumsum()[::-1]  # rows at or above each cut
    hits = present[::-1].cumsum()[::-1]
    positives, n = targets.sum(), len(targets)
    if isinstance(metric, Mapping):
        reached = hits >= metric["precision"] * taken - 1e-9
        score = np.where(reached, hits, -1.0)
        if not reached.any():
            return None
    elif metric == "f1":
        score = 2 * hits / (taken + positives)
    else:
        score = hits / positives - (taken - hits) / (n - positives)
    best = np.flatnonzero(score >= score.max() - 1e-12)
    at = int(best[(len(best) - 1) // 2])
    below = cuts[at - 1] if at else 0.0
    middle = float((below + cuts[at]) / 2)
    return middle if below < middle or not at else float(cuts[at])  # neighbouring floats have no middle


def _of_labels(
    metric: ThresholdMetric, task: Task, a: npt.NDArray[Any], p: Array, group: Any
) -> tuple[Array, list[str]]:
    out = np.full(task.width, HALF)
    few, missed = [], []
    for k, name in enumerate(task.outputs):
        known = ~np.isnan(a[:, k])
        if min(_samples(known & (a[:, k] == value), group) for value in (0, 1)) < MIN_SAMPLES:
            few.append(name)
            continue
        cut = best_cut(metric, np.asarray(a[known, k], dtype=np.float64), p[known, k])
        if cut is None:
            missed.append(name)
        else:
            out[k] = cut
    why = {
        f"fewer than {MIN_SAMPLES} held-out {_unit(group)} show the label, or do not": few,
        f"no cut of held-out rows reaches a precision of {_precision(metric)}": missed,
    }
    return out, [f"{task.name}: {_listed(names)} at .5: {text}" for text, names in why.items() if names]


def _samples(rows: npt.NDArray[np.bool_], group: Any) -> int:
    return int(rows.sum()) if group is None else len(np.unique(np.asarray(group)[rows]))


def _unit(group: Any) -> str:
    return "rows" if group is None else "groups"


def _precision(metric: ThresholdMetric) -> str:
    return f"{metric['precision']:g}" if isinstance(metric, Mapping) else ""


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more labels" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# -- classes -------------------------------------------------------------------------------------------


def class_thresholds(y: npt.NDArray[Any], width: int, strength: float) -> Array:
    """Thresholds that go with the frequency of classes to a power: (C,) in (0, .5], the largest .5.

    At strength 1 a calibrated network is cut for the best balanced accuracy, at 0 for the best accuracy.

    Args:
        y: (n,) class indices without gaps.
        width: Number of classes; one without a row counts as an average one, of which nothing is known.
        strength: The power.
    """
    counts = np.bincount(y, minlength=width).astype(np.float64)
    share = np.where(counts > 0, counts / counts.sum(), 1 / width) ** strength
    return np.asarray(HALF * share / share.max())


def _of_classes(
    metric: ThresholdMetric, task: Task, y: npt.NDArray[Any], p: Array, group: Any
) -> tuple[Array, list[str]]:
    plain, taken = np.full(task.width, HALF), f"{task.name}: the most probable class is taken"
    if isinstance(metric, Mapping):
        return plain, [f"{taken}: a precision is asked of labels, not of classes"]
    known = task.annotated(y)
    if _samples(known, group) < 2 * MIN_SAMPLES:
        return plain, [f"{taken}: fewer than {2 * MIN_SAMPLES} held-out {_unit(group)} have one"]
    name = CLASS_METRIC[metric]
    tried = [class_thresholds(y[known], task.width, strength) for strength in PRIOR_STRENGTHS]
    scores = [
        float(metrics.finish(name, metrics.contributions(name, task, y, p, threshold=t).sum(axis=0)))
        for t in tried
    ]
    best = max(range(len(tried)), key=lambda i: scores[i] - 1e-12 * i)  # of equals, the plainest
    return tried[best], []
