"""The guard: what each task gets, and at what error level anything else has to be shown to be better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concord.auto.combine import Choice, decoded_held_out, mixed, pooled
from concord.auto.families import Family
from concord.auto.judge import Judge, Shown
from concord.auto.starts import AVERAGE, Base, Start, too_few
from concord.auto.zero_shot import fill_unseen
from concord.decoding import STRENGTHS, best_strength
from concord.fitting import Rows
from concord.relations import Relation
from concord.tasks import Task

Array = npt.NDArray[np.float64]


ROUNDS = 4


HALVES = {"single-task": 0.5, "shared": 0.5}
"""What the average is made of."""


@dataclass(frozen=True)
class _Candidates:
    """Out-of-fold probabilities of a task's annotated rows by each candidate, judged.

    Attributes:
        judge: The rows.
        probabilities: By candidate, (n, C) or (n, K).
        losses: By candidate, (n,) log-losses.
        scores: By candidate, the metric.
        refused: (n,) log-losses of what was tried to make a candidate, and counts in the test.
    """

    judge: Judge
    probabilities: Mapping[str, Array]
    losses: Mapping[str, Array]
    scores: Mapping[str, float]
    refused: Mapping[str, Array]

    @classmethod
    def of(
        cls,
        judge: Judge,
        everywhere: Mapping[str, Array],
        unseen: npt.NDArray[np.bool_],
        refused: Mapping[str, Array],
    ) -> _Candidates:
        """Candidates by their probabilities of all rows; without a share for classes that are unseen."""
        held = {name: q[judge.known] for name, q in everywhere.items()}
        if unseen.any():
            held = {name: fill_unseen(q, unseen, np.zeros(len(unseen))) for name, q in held.items()}
        losses = {name: judge.loss(q) for name, q in held.items()}
        scores = {name: judge.score(q) for name, q in held.items()}
        return cls(judge, held, losses, scores, refused)

    def mixed(self, weights: Mapping[str, float]) -> Array:
        """Probabilities of a weighted mean of candidates."""
        return _mix(weights, self.probabilities)

    def shown(self, start: str, alpha: float, mixed: Array | None = None) -> Shown:
        """The test of all that was tried against the start; of an average's probabilities, too."""
        more = {} if mixed is None else {AVERAGE: self.judge.loss(mixed)}
        return self.judge.shown({**self.losses, **self.refused, **more}, start, alpha)

    def ahead(self, name: str, other: str) -> bool:
        """Whether a candidate has the lower mean log-loss of two and no lower metric, be it by chance."""
        losses, scores = self.losses, self.scores
        return losses[name].mean() < losses[other].mean() and scores[name] >= scores[other]

    def gain(self, base: str, after: Array) -> tuple[float, float]:
        """Gain of probabilities over a candidate in log-loss, and in standard errors."""
        return self.judge.gain(self.losses[base], self.judge.loss(after))


def guard(
    task: Task,
    families: Mapping[str, Family],
    rows: Rows,
    fold: npt.NDArray[np.int64],
    relations: Sequence[Sequence[Relation]],
    part: npt.NDArray[np.int64],
    classes: Callable[[Task], Array],
    unseen: npt.NDArray[np.bool_],
    *,
    average: bool,
    start: Start,
    alpha: float,
    base: Base = "shared",
    others: Mapping[str, Array] | None = None,
) -> tuple[Choice, Array]:
    """The choice for a task, and its held-out probabilities of all rows.

    What is to take the place of the start must be shown to be better, at one error level `alpha` over all
    candidates and all strengths of decoding that were tried (`level`): the probability that a candidate
    which does not lower the log-loss of the networks of the folds is taken is at most about `alpha`. Only
    `start.otherwise` bears no proof: where nothing takes the place of the start, being ahead is enough.

    The single-task form is the best of several kinds where there are `others`, (n, C) or (n, K) each: these
    were tried as well, on the rows that judge, and count in the test where it is not the start itself.

    Where some classes can only be predicted through a relation (`unseen`), no annotated row is evidence for
    them: candidates are judged on the other classes alone, from the coupled network too.
    """
    judge = Judge.of(task, rows)
    everywhere = {name: family.held_out(task, fold) for name, family in families.items()}
    decoded, strength, refused = _decoded(everywhere, judge, relations, classes, part)
    everywhere |= decoded
    if AVERAGE in (start.name, start.otherwise):
        everywhere[AVERAGE] = pooled(task, [(share, everywhere[name]) for name, share in HALVES.items()])
    if start.name != "single-task":
        refused |= {f"single-task, {kind}": judge.loss(q[judge.known]) for kind, q in (others or {}).items()}
    candidates = _Candidates.of(judge, everywhere, unseen, refused)
    few = too_few(rows, task)
    shares = base == "shared" and start.name in ("shared", "coupled")  # what an average begins with
    averaging = average and shares and not unseen.any()
    weights, shown = _decided(candidates, start, few is None, averaging, alpha)
    gain, z = candidates.gain(base, candidates.mixed(weights))
    reason = _reason(candidates, weights, shown, start, base, few, alpha)
    if unseen.any():
        reason += _not_judged(task, unseen, everywhere[next(iter(weights))][judge.known].argmax(axis=1))
    means = {name: float(loss.mean()) for name, loss in candidates.losses.items()}
    choice = Choice(
        task.name,
        dict(HALVES) if AVERAGE in weights else weights,
        strength,
        dict(candidates.scores),
        means,
        gain,
        z,
        f"{task.name}: {reason}",
        start=start.name,
        critical=shown.critical,
        alpha=alpha,
        pool="logits" if AVERAGE in weights else "probabilities",
    )
    return choice, _mix(weights, everywhere)


def _decoded(
    everywhere: Mapping[str, Array],
    judge: Judge,
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    part: npt.NDArray[np.int64],
) -> tuple[dict[str, Array], dict[str, float], dict[str, Array]]:
    """Further candidates, decoded through relations wherever that helps, with the strength of each.

    Each row by the relations of its part, which know nothing of what it is judged on. Beside them, the
    log-losses of the strengths that were tried and not taken.
    """
    found: dict[str, Array] = {}
    strength: dict[str, float] = {}
    refused: dict[str, Array] = {}
    if all(relation.target.name != judge.task.name for relation in relations[0]):
        return found, strength, refused
    for name, held in everywhere.items():
        tried = {
            s: decoded_held_out(held, judge.task, relations, classes, s, part) if s else held
            for s in STRENGTHS
        }
        losses = {s: judge.loss(q[judge.known]) for s, q in tried.items()}
        best = best_strength(losses, judge.group)
        if best > 0:
            found[f"{name}/decoded"], strength[f"{name}/decoded"] = tried[best], best
        refused |= {f"{name}/decoded {s:g}": loss for s, loss in losses.items() if s not in (0, best)}
    return found, strength, refused


def _decided(
    candidates: _Candidates, start: Start, enough: bool, averaging: bool, alpha: float
) -> tuple[dict[str, float], Shown]:
    """Weights of the candidates in use, and the test that decided; the start where rows are not enough."""
    weights, shown = {start.name: 1.0}, candidates.shown(start.name, alpha)
    if enough:
        weights, shown = _chosen(candidates, shown, averaging, alpha)
    nothing = enough and bool(start.otherwise) and weights == {start.name: 1.0}
    if nothing and candidates.ahead(start.otherwise, start.name):
        weights = {start.otherwise: 1.0}
    return weights, shown


def _chosen(
    candidates: _Candidates, shown: Shown, averaging: bool, alpha: float
) -> tuple[dict[str, float], Shown]:
    """Weights of the candidates that take the place of the one at the start, and the test that decided."""
    if averaging:
        weights, against_shared = _averaged(candidates, alpha)
        if shown.start == "shared":
            return weights, against_shared
        mixed = candidates.mixed(weights)
        against_start = candidates.shown(shown.start, alpha, mixed=mixed)
        no_lower = candidates.judge.score(mixed) >= candidates.scores[shown.start]
        if weights != {"shared": 1.0} and against_start.better(AVERAGE) and no_lower:
            return weights, against_start
    return {_stepwise(candidates, shown, alpha): 1.0}, shown


# -- the reason in words -----------------------------------------------------------------------------


def _figures(candidates: _Candidates, weights: Mapping[str, float], base: Base) -> str:
    scores = candidates.scores
    shared = f"balanced shared {scores['shared']:.3f}, " if base == "shared" else ""
    metric = candidates.judge.score(candidates.mixed(weights))
    return f"out-of-fold metric {metric:.3f}, {shared}single-task {scores['single-task']:.3f}"


def _reason(
    candidates: _Candidates,
    weights: Mapping[str, float],
    shown: Shown,
    start: Start,
    base: Base,
    few: str | None,
    alpha: float,
) -> str:
    """What is chosen, what was shown, and who bore the burden of proof."""
    named = {"shared": "the balanced shared network", AVERAGE: "the average of single-task and shared"}
    chosen = named.get(next(iter(weights)), "") if len(weights) == 1 else ""
    chosen = chosen or _listed(weights)
    if all(name in ("shared", "single-task", AVERAGE) for name in weights):
        chosen += ", no coupling"
    burden = f"the start is {start.name}: {start.reason}"
    if few:
        return f"{chosen} ({few} prove nothing; {burden})"
    if not shown.z:
        return f"{chosen} ({_figures(candidates, weights, base)}; {burden}; there is no other candidate)"
    tried = f"of {len(shown.z)} candidates" if len(shown.z) > 1 else "of one candidate"
    lower = sum(shown.better(name) for name in candidates.losses)
    found, more = f"{tried} none is shown to be better", ""
    if lower:
        found = f"{tried} {lower} lower the log-loss beyond noise, and the metric with it"
    if weights == {start.otherwise: 1.0} and not shown.better(start.otherwise):
        more = f"; the {start.otherwise} is ahead of {start.name} on the rows that judge"
    elif weights != {shown.start: 1.0}:
        gain, z = candidates.gain(shown.start, candidates.mixed(weights))
        than = "" if shown.start == start.name else f" than the {shown.start} network"
        found = f"{tried} it is shown to be better{than} by {gain:.3f} nats of log-loss, z = {z:.1f}"
    test = f"{found} at level {alpha:g} (z > {shown.critical:.1f}){more}"
    return f"{chosen} ({_figures(candidates, weights, base)}; {burden}; {test})"


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
    return mixed([(share, candidates[name]) for name, share in weights.items()])


def _stepwise(candidates: _Candidates, shown: Shown, alpha: float) -> str:
    """From the start to the best shared or coupled form, from there to a single-task one or half of one.

    Whatever is taken is shown to be better than the start, at one level for all candidates, and its metric is
    no lower. Sharing comes first because it seldom harms and a few rows show little: giving it up asks for
    evidence against whatever sharing and coupling have reached too, not against the start alone.
    """
    losses, scores, chosen = candidates.losses, candidates.scores, shown.start
    alone = [name for name in losses if name == AVERAGE or name.startswith("single-task")]
    for step in ([name for name in losses if name not in alone], alone):
        able = [name for name in step if shown.better(name) and scores[name] >= scores[chosen]]
        if chosen != shown.start and able:
            rivals = {name: losses[name] for name in (chosen, *able)}
            against = candidates.judge.shown(rivals, chosen, alpha)
            able = [name for name in able if against.better(name)]
        if able:
            chosen = min(able, key=lambda name: float(losses[name].mean()))
    return chosen


def _averaged(candidates: _Candidates, alpha: float) -> tuple[dict[str, float], Shown]:
    """The greedy average, if it lowers the log-loss beyond noise and reaches both references' metric.

    With the test of it, against the shared network.

    It is put together by the rows that judge it: the test is that of its members, and no level is exact.
    """
    counts = _greedy(candidates)
    weights = {name: count / sum(counts.values()) for name, count in counts.items()}
    mixed = candidates.mixed(weights)
    shown = candidates.shown("shared", alpha, mixed=mixed)
    bar = max(candidates.scores["shared"], candidates.scores["single-task"])
    good = shown.better(AVERAGE) and candidates.judge.score(mixed) >= bar
    return (weights if good else {"shared": 1.0}), shown


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
