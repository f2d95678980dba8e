"""The guard: what each task gets, and what would have to be shown for anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from concord import metrics
from concord.auto.combine import Choice, decoded_held_out
from concord.auto.families import Family
from concord.auto.zero_shot import fill_unseen
from concord.decoding import STRENGTHS, best_strength, row_loss
from concord.estimation import RelationCheck
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
"""The same for groups of rows, where rows come in groups: one shows more than a row."""


ROUNDS = 4


def unrelated(task: Task, rows: Rows, checks: Sequence[RelationCheck]) -> bool:
    """Whether everything that could relate a task to others was weighed and gives no evidence of it.

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


@dataclass(frozen=True)
class _Judge:
    """A task's annotated rows, which judge every candidate.

    Attributes:
        task: The task.
        known: (n,) indices of its annotated rows.
        targets: Their targets.
        group: (n,) their groups; None where rows come in none.
    """

    task: Task
    known: npt.NDArray[np.int64]
    targets: npt.NDArray[Any]
    group: npt.NDArray[Any] | None

    @classmethod
    def of(cls, task: Task, rows: Rows) -> _Judge:
        known = rows.annotated(task).numpy()
        group = None if rows.group is None else rows.group.numpy()[known]
        return cls(task, known, rows.targets[task.name].numpy()[known], group)

    def loss(self, probabilities: Array) -> Array:
        """Log-loss of each annotated row."""
        return row_loss(probabilities, self.targets, isinstance(self.task, MulticlassTask))

    def score(self, probabilities: Array) -> float:
        """The metric that the guard protects: balanced accuracy, or the mean of label F1 and precision."""
        if isinstance(self.task, MulticlassTask):
            hit = probabilities.argmax(axis=1) == self.targets
            return float(np.mean([hit[self.targets == c].mean() for c in np.unique(self.targets)]))
        found = metrics.label_metrics(self.targets, probabilities, self.task.outputs)
        values = [found[name] for name in ("mean_f1", "map") if not np.isnan(found[name])]
        return float(np.mean(values)) if values else 0.0

    def gain(self, before: Array, after: Array) -> tuple[float, float]:
        """Mean gain in log-loss of paired rows, and in standard errors."""
        difference = before - after
        return float(difference.mean()), metrics.z_score(difference, self.group)


@dataclass(frozen=True)
class _Candidates:
    """Out-of-fold probabilities of a task's annotated rows by each candidate, judged.

    Attributes:
        judge: The rows.
        probabilities: By candidate, (n, C) or (n, K).
        losses: By candidate, (n,) log-losses.
        scores: By candidate, the metric.
    """

    judge: _Judge
    probabilities: Mapping[str, Array]
    losses: Mapping[str, Array]
    scores: Mapping[str, float]

    @classmethod
    def of(cls, judge: _Judge, everywhere: Mapping[str, Array], unseen: npt.NDArray[np.bool_]) -> _Candidates:
        """Candidates by their probabilities of all rows; without a share for classes that are unseen."""
        held = {name: q[judge.known] for name, q in everywhere.items()}
        if unseen.any():
            held = {name: fill_unseen(q, unseen, np.zeros(len(unseen))) for name, q in held.items()}
        losses = {name: judge.loss(q) for name, q in held.items()}
        return cls(judge, held, losses, {name: judge.score(q) for name, q in held.items()})

    def mixed(self, weights: Mapping[str, float]) -> Array:
        """Probabilities of a weighted mean of candidates."""
        return _mix(weights, self.probabilities)

    def gain(self, base: str, after: Array) -> tuple[float, float]:
        """Gain of probabilities over a candidate in log-loss, and in standard errors."""
        return self.judge.gain(self.losses[base], self.judge.loss(after))


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

    Where some classes can only be predicted through a relation (`unseen`), no annotated row is evidence for
    them: candidates are judged on the other classes alone, from the coupled network too.
    """
    judge = _Judge.of(task, rows)
    everywhere = {name: family.held_out(task, fold) for name, family in families.items()}
    decoded, strength = _decoded(everywhere, judge, relations, classes, fold)
    everywhere |= decoded
    candidates = _Candidates.of(judge, everywhere, unseen)
    few = too_few(rows, task)
    weights: dict[str, float] = {start: 1.0}
    if few is None:
        averaging = average and base == "shared" and start != "single-task" and not unseen.any()
        weights = _chosen(candidates, start, averaging)
    gain, z = candidates.gain(base, candidates.mixed(weights))
    shown = f"{few} prove nothing" if few else _figures(candidates, weights, base)
    chosen, why = _uncoupled(weights, start, base), ""
    if chosen is None:
        chosen, why = _listed(weights), f"; log-loss gain {gain:.3f} nats, z = {z:.1f}"
        if start == "coupled" and not unseen.any() and z < MIN_GAIN_Z:
            why += "; its own rows are too few to show a gain, and the table is beyond doubt"
    if unseen.any():
        why += _not_judged(task, unseen, everywhere[next(iter(weights))][judge.known].argmax(axis=1))
    means = {name: float(loss.mean()) for name, loss in candidates.losses.items()}
    reason = f"{task.name}: {chosen} ({shown}{why})"
    choice = Choice(task.name, weights, strength, dict(candidates.scores), means, gain, z, reason)
    return choice, _mix(weights, everywhere)


def _decoded(
    everywhere: Mapping[str, Array],
    judge: _Judge,
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    fold: npt.NDArray[np.int64],
) -> tuple[dict[str, Array], dict[str, float]]:
    """Further candidates, decoded through relations wherever that helps, and the strength of each."""
    found: dict[str, Array] = {}
    strength: dict[str, float] = {}
    if all(relation.target.name != judge.task.name for relation in relations[0]):
        return found, strength
    for name, held in everywhere.items():
        tried = {
            s: decoded_held_out(held, judge.task, relations, classes, s, fold) if s else held
            for s in STRENGTHS
        }
        best = best_strength({s: judge.loss(q[judge.known]) for s, q in tried.items()}, judge.group)
        if best > 0:
            found[f"{name}/decoded"], strength[f"{name}/decoded"] = tried[best], best
    return found, strength


def _chosen(candidates: _Candidates, start: Start, averaging: bool) -> dict[str, float]:
    """Weights of the candidates that take the place of the one at the start."""
    if averaging:
        weights = _averaged(candidates)
        if start != "coupled" or weights != {"shared": 1.0}:
            return weights
    return {_stepwise(candidates, start): 1.0}


# -- the reason in words -----------------------------------------------------------------------------


def _figures(candidates: _Candidates, weights: Mapping[str, float], base: Base) -> str:
    scores = candidates.scores
    shared = f"balanced shared {scores['shared']:.3f}, " if base == "shared" else ""
    metric = candidates.judge.score(candidates.mixed(weights))
    return f"out-of-fold metric {metric:.3f}, {shared}single-task {scores['single-task']:.3f}"


def _uncoupled(weights: Mapping[str, float], start: Start, base: Base) -> str | None:
    """What is chosen, where it owes nothing to relations; else None."""
    if weights == {"shared": 1.0}:
        return "the balanced shared network, no coupling"
    if base == "single-task" and weights == {base: 1.0}:
        return f"{base}, no coupling"
    if base == "shared" and start == "single-task":
        unshown = "nothing shows that it gains from tasks that it is not related to"
        return f"{_listed(weights)}, no coupling: {unshown}"
    return None


def _listed(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0%} {name}" if share < 1 else name for name, share in weights.items())


def _not_judged(task: Task, unseen: npt.NDArray[np.bool_], predicted: npt.NDArray[np.int64]) -> str:
    """Which classes no annotated row judges, and how many annotated rows would be taken for them."""
    names = ", ".join(task.outputs[c] for c in np.flatnonzero(unseen)[:8])
    return (
        f"; no row is annotated with {names}, so none of this judges it; {unseen[predicted].mean():.1%} of "
        "annotated rows, all of other classes, would be taken for it"
    )


# -- how a choice is made ----------------------------------------------------------------------------


def _mix(weights: Mapping[str, float], candidates: Mapping[str, Array]) -> Array:
    return np.asarray(sum(share * candidates[name] for name, share in weights.items()))


def _stepwise(candidates: _Candidates, start: str) -> str:
    """From the balanced shared network (`start`) to the best coupled form, from there to a single-task one.

    Each step needs a log-loss that is lower beyond noise and a metric that is no lower. Sharing comes first
    because it seldom harms and a few rows show little: giving it up asks for evidence against whatever
    sharing and coupling have reached, not against sharing alone.
    """
    losses, scores, chosen = candidates.losses, candidates.scores, start
    alone = [name for name in losses if name.startswith("single-task")]
    for step in ([name for name in losses if name not in alone], alone):
        better = [
            name
            for name in step
            if scores[name] >= scores[chosen]
            and candidates.judge.gain(losses[chosen], losses[name])[1] > MIN_GAIN_Z
        ]
        if better:
            chosen = min(better, key=lambda name: float(losses[name].mean()))
    return chosen


def _averaged(candidates: _Candidates) -> dict[str, float]:
    """The greedy average, if it lowers the log-loss beyond noise and reaches both references' metric."""
    counts = _greedy(candidates)
    weights = {name: count / sum(counts.values()) for name, count in counts.items()}
    mixed = candidates.mixed(weights)
    good = candidates.gain("shared", mixed)[1] > MIN_GAIN_Z
    bar = max(candidates.scores["shared"], candidates.scores["single-task"])
    return weights if good and candidates.judge.score(mixed) >= bar else {"shared": 1.0}


def _greedy(candidates: _Candidates) -> dict[str, int]:
    """Greedy forward averaging by log-loss (Caruana et al., Ensemble Selection from Libraries of Models)."""
    held, judge = candidates.probabilities, candidates.judge
    counts = {"shared": 1}
    total = held["shared"].copy()
    loss = float(judge.loss(total).mean())
    for size in range(2, ROUNDS + 2):
        tried = {name: float(judge.loss((total + q) / size).mean()) for name, q in held.items()}
        best = min(tried, key=lambda name: tried[name])
        if tried[best] >= loss:
            break
        loss, total = tried[best], total + held[best]
        counts[best] = counts.get(best, 0) + 1
    alone = {name: float(each.mean()) for name, each in candidates.losses.items()}
    best = min(alone, key=lambda name: alone[name])
    return {best: 1} if alone[best] < loss else counts
