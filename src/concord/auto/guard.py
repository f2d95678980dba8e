"""The guard: what each task gets, and what would have to be shown for anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from concord import metrics
from concord.auto.combine import Choice, decoded_held_out
from concord.auto.families import Family
from concord.auto.zero_shot import fill_unseen
from concord.decoding import STRENGTHS, best_strength, row_loss
from concord.estimation import (
    RelationCheck,
)
from concord.fitting import Rows
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


Base = Literal["shared", "single-task"]
Start = Literal[Base, "coupled"]


MIN_GAIN_Z = 1.64
"""A candidate must lower the out-of-fold log-loss by this many standard errors: one side, 5 %."""


PROVEN_Z = 5.0
"""So many standard errors put a table beyond doubt: the rows of a scarce task need not prove it again."""


MIN_ROWS = 20
"""Below so many annotated rows nothing can be proved, and a task stays where it starts."""


MIN_GROUPS = 10
"""The same for groups of rows, where rows come in groups: one says more than a row."""


ROUNDS = 4


def _score(task: Task, targets: npt.NDArray[Any], probabilities: Array) -> float:
    """The metric that the guard protects: balanced accuracy, or the mean of label F1 and precision."""
    if isinstance(task, MulticlassTask):
        hit = probabilities.argmax(axis=1) == targets
        return float(np.mean([hit[targets == c].mean() for c in np.unique(targets)]))
    found = metrics.label_metrics(targets, probabilities, task.outputs)
    values = [found[name] for name in ("mean_f1", "map") if not np.isnan(found[name])]
    return float(np.mean(values)) if values else 0.0


def unrelated(task: Task, rows: Rows, checks: Sequence[RelationCheck]) -> bool:
    """Whether everything that could relate a task to others was weighed, and says nothing.

    With fewer than `MIN_ROWS` rows, or `MIN_GROUPS` groups, on a side that is no finding.
    """
    mine = [c for c in checks if task.name in (c.relation.source.name, c.relation.target.name)]
    sides = {side.name: side for c in mine for side in (c.relation.source, c.relation.target)}
    enough = all(too_few(rows, side) is None for side in sides.values())
    return bool(mine) and enough and all(c.verdict == "unrelated" for c in mine)


def too_few(rows: Rows, task: Task) -> str | None:
    """What of a task's annotated rows is too little to prove anything; None where it is enough."""
    known = rows.annotated(task)
    if len(known) < MIN_ROWS:
        return f"{len(known)} annotated rows"
    if rows.group is None or (count := len(np.unique(rows.group[known]))) >= MIN_GROUPS:
        return None
    return f"annotated rows of {count} groups"


def proven(task: Task, rows: Rows, active: Sequence[RelationCheck]) -> bool:
    """Whether a supplied table beyond doubt gives this task targets on more rows than it has annotated.

    An estimated one cannot be: that the tasks are related may be sure, but its cells come from the few rows.
    """
    known = task.annotated(rows.targets[task.name].numpy())
    through = [
        check
        for check in active
        if check.relation.source.name == task.name and check.verdict in ("kept", "calibrated")
    ]
    if not any(check.reverse.z > PROVEN_Z for check in through):
        return False
    gained = np.zeros(len(known), dtype=bool)
    for check in through:
        gained |= check.relation.target.annotated(rows.targets[check.relation.target.name].numpy()) & ~known
    return int(gained.sum()) > int(known.sum())


def guard(
    task: Task,
    families: Mapping[str, Family],
    rows: Rows,
    fold: npt.NDArray[np.int64],
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    unseen: npt.NDArray[np.bool_],
    *,
    average: bool,
    start: Start,
    base: Base = "shared",
) -> tuple[Choice, Array]:
    """The choice for a task, and its held-out probabilities of all rows.

    It starts from the balanced shared network (the single-task one where the learner shares nothing), and
    what is to take its place must show by evidence that it is better. A task that is related to no other
    starts from the single-task one: there sharing has nothing to give. A scarce task whose table is beyond
    doubt starts from the coupled one: its few rows would hardly prove again what the many rows of the other
    task have proved.

    Where some classes can only be predicted through a relation (`unseen`), no annotated row can speak for
    them: candidates are judged on the other classes alone, from the coupled network too.
    """
    known = rows.annotated(task).numpy()
    group = None if rows.group is None else rows.group.numpy()[known]
    targets = rows.targets[task.name].numpy()[known]
    is_class = isinstance(task, MulticlassTask)
    everywhere = {name: family.held_out(task, fold) for name, family in families.items()}
    strength: dict[str, float] = {}
    if any(relation.target.name == task.name for relation in relations[0]):
        for name in list(everywhere):
            tried = {
                s: decoded_held_out(everywhere[name], task, relations, classes, s, fold)
                if s
                else everywhere[name]
                for s in STRENGTHS
            }
            best = best_strength({s: row_loss(q[known], targets, is_class) for s, q in tried.items()}, group)
            if best > 0:
                everywhere[f"{name}/decoded"] = tried[best]
                strength[f"{name}/decoded"] = best
    candidates = {
        name: fill_unseen(q[known], unseen, np.zeros(task.width)) if unseen.any() else q[known]
        for name, q in everywhere.items()
    }
    losses = {name: row_loss(q, targets, is_class) for name, q in candidates.items()}
    scores = {name: _score(task, targets, q) for name, q in candidates.items()}
    means = {name: float(loss.mean()) for name, loss in losses.items()}
    zero_shot = bool(unseen.any())
    weights: dict[str, float] = {start: 1.0}
    if few := too_few(rows, task):
        why = f"{few} prove nothing"
    else:
        averages = average and base == "shared" and start != "single-task" and not zero_shot
        if averages:
            weights = _averaged(candidates, losses, scores, task, targets, group)
        if not averages or (start == "coupled" and weights == {"shared": 1.0}):
            weights = {_stepwise(losses, scores, start, group): 1.0}
        shared = f"balanced shared {scores['shared']:.3f}, " if base == "shared" else ""
        why = (
            f"out-of-fold metric {_score(task, targets, _mix(weights, candidates)):.3f}, {shared}"
            f"single-task {scores['single-task']:.3f}"
        )
    gain, z = _gain(losses[base], row_loss(_mix(weights, candidates), targets, is_class), group)
    parts = ", ".join(f"{share:.0%} {name}" if share < 1 else name for name, share in weights.items())
    if weights == {"shared": 1.0}:
        parts = "the balanced shared network, no coupling"
    elif base == "single-task" and weights == {base: 1.0}:
        parts += ", no coupling"
    elif base == "shared" and start == "single-task":
        parts += ", no coupling: nothing shows that it gains from tasks that it is not related to"
    else:
        why += f"; log-loss gain {gain:.3f} nats, z = {z:.1f}"
        if start == "coupled" and not zero_shot and z < MIN_GAIN_Z:
            why += "; its own rows are too few to show a gain, and the table is beyond doubt"
    if zero_shot:
        names = ", ".join(task.outputs[c] for c in np.flatnonzero(unseen)[:8])
        taken = everywhere[next(iter(weights))][known].argmax(axis=1)
        why += (
            f"; no row is annotated with {names}, so none of this judges it; {unseen[taken].mean():.1%} of "
            "annotated rows, all of other classes, would be taken for it"
        )
    choice = Choice(task.name, weights, strength, scores, means, gain, z, f"{task.name}: {parts} ({why})")
    return choice, _mix(weights, everywhere)


def _mix(weights: Mapping[str, float], candidates: Mapping[str, Array]) -> Array:
    return np.asarray(sum(share * candidates[name] for name, share in weights.items()))


def _gain(before: Array, after: Array, group: npt.NDArray[Any] | None) -> tuple[float, float]:
    """Mean gain in log-loss of paired rows, and in standard errors."""
    difference = before - after
    return float(difference.mean()), metrics.z_score(difference, group)


def _stepwise(
    losses: Mapping[str, Array],
    scores: Mapping[str, float],
    start: str,
    group: npt.NDArray[Any] | None,
) -> str:
    """From the balanced shared network (`start`) to the best coupled form, from there to a single-task one.

    Each step needs a log-loss that is lower beyond noise and a metric that is no lower. Sharing comes first
    because it seldom harms and a few rows say little: giving it up asks for evidence against whatever
    sharing and coupling have reached, not against sharing alone.
    """
    chosen = start
    alone = [name for name in losses if name.startswith("single-task")]
    for step in ([name for name in losses if name not in alone], alone):
        better = [
            name
            for name in step
            if scores[name] >= scores[chosen] and _gain(losses[chosen], losses[name], group)[1] > MIN_GAIN_Z
        ]
        if better:
            chosen = min(better, key=lambda name: float(losses[name].mean()))
    return chosen


def _averaged(
    candidates: Mapping[str, Array],
    losses: Mapping[str, Array],
    scores: Mapping[str, float],
    task: Task,
    targets: npt.NDArray[Any],
    group: npt.NDArray[Any] | None,
) -> dict[str, float]:
    """The greedy average, if it lowers the log-loss beyond noise and reaches both references' metric."""
    is_class = isinstance(task, MulticlassTask)
    counts = _greedy(candidates, targets, is_class)
    weights = {name: count / sum(counts.values()) for name, count in counts.items()}
    mixed = _mix(weights, candidates)
    good = _gain(losses["shared"], row_loss(mixed, targets, is_class), group)[1] > MIN_GAIN_Z
    bar = max(scores["shared"], scores["single-task"])
    return weights if good and _score(task, targets, mixed) >= bar else {"shared": 1.0}


def _greedy(candidates: Mapping[str, Array], targets: npt.NDArray[Any], is_class: bool) -> dict[str, int]:
    """Greedy forward averaging by log-loss (Caruana et al., Ensemble Selection from Libraries of Models)."""
    counts = {"shared": 1}
    total = candidates["shared"].copy()
    loss = float(row_loss(total, targets, is_class).mean())
    for size in range(2, ROUNDS + 2):
        tried = {
            name: float(row_loss((total + q) / size, targets, is_class).mean())
            for name, q in candidates.items()
        }
        best = min(tried, key=lambda name: tried[name])
        if tried[best] >= loss:
            break
        loss, total = tried[best], total + candidates[best]
        counts[best] = counts.get(best, 0) + 1
    alone = {name: float(row_loss(q, targets, is_class).mean()) for name, q in candidates.items()}
    best = min(alone, key=lambda name: alone[name])
    return {best: 1} if alone[best] < loss else counts
