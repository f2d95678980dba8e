"""`auto`: which coupling, if any, each task gets; and the guard that keeps it from doing harm.

In short: cross-validated single-task and balanced shared networks are trained first. Their out-of-sample
predictions say whether the tasks are related, and how (`estimation`). If so, a third family is trained whose
class head also learns from the posterior of the class given the annotated labels, and label predictions are
offered a second form, moved by what the class head implies (`decoding`). Classes are judged by a relation
that knows none of the fold's. For each task the guard takes what lowers the out-of-fold log-loss beyond
noise without lowering the metric. It starts from the balanced shared network; where the tasks turn out not
to be related, from the single-task one; where a scarce class task is related by a supplied table beyond
doubt, from the coupled one. What it settles on is trained once more on all rows, or stays a bag.

Networks, optimisers and devices are the business of a `Learner`; this room only decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax
from torch import nn

from concord import metrics
from concord.decoding import STRENGTHS, best_strength, decode_targets, row_loss, temperature
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.estimation import (
    EXPONENTS,
    Crossed,
    Observations,
    RelationCheck,
    check_relation,
    evidence,
    fit_exponent,
)
from concord.fit import predict_logits
from concord.network import Capacity
from concord.priors import PriorShift, prior_shift
from concord.relation import Relation
from concord.rows import Rows
from concord.staging import posterior_targets
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

__all__ = [
    "EFFORTS",
    "Automatic",
    "Choice",
    "Effort",
    "FirstStage",
    "Learner",
    "balance_weights",
    "covered",
    "first_stage",
    "select",
    "train_shared",
    "train_single",
    "two_stage",
]

Array = npt.NDArray[np.float64]
Artefact = Literal["distilled", "bagged"]
Start = Literal["shared", "single-task", "coupled"]

FLOOR = 0.1
MIN_GAIN_Z = 1.64
"""A candidate must lower the out-of-fold log-loss by this many standard errors: one side, 5 %."""
PROVEN_Z = 5.0
"""So many standard errors put a table beyond doubt: the rows of a scarce task need not prove it again."""
MIN_ROWS = 20
"""Below so many annotated rows nothing can be proved, and a task stays where it starts."""
ROUNDS = 4
ROUNDS_OF_SHARES = 10


@dataclass(frozen=True)
class Effort:
    """How much training `auto` may spend.

    Attributes:
        folds: Number of folds of the cross-validation.
        share: Steps of a fold's network, as a share of the final one's.
    """

    folds: int
    share: float

    def for_steps(self, steps: int) -> Effort:
        """The same with `FOLD_STEPS` for the networks of folds where a share of `steps` were fewer, or all.

        What a network has hardly begun to learn says nothing of what it would be worth in the end. Fewer than
        600 (fast) or 334 (standard) steps in all therefore cost more than the usual.
        """
        return replace(self, share=min(1.0, max(self.share, FOLD_STEPS / steps)))

    def cost(self, families: int = 3) -> float:
        """Training cost at most, with the pair of single-task models as 1.

        The folds of each family, then the final networks: two shared ones and one of a single task.
        """
        return self.folds * self.share * families + 2.5


FOLD_STEPS = 150
"""Steps below which a fold's network is not taken for a sample of the final one."""
EFFORTS = {"fast": Effort(2, 0.25), "standard": Effort(4, 0.45), "thorough": Effort(8, 1.0)}
"""Efforts by name: at most 4.0, 7.9 and 26.5 pairs of single-task models; see `Effort.for_steps`."""


class Learner(Protocol):
    """What can train a network and apply it."""

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        capacity: Capacity,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
    ) -> nn.Module:
        """Train a new network on `rows` for a share of the usual steps."""

    def logits(self, network: nn.Module, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        """Logits of all tasks of the network, float64: by task, (n, width)."""
        return {name: z.numpy().astype(np.float64) for name, z in predict_logits(network, inputs).items()}


def balance_weights(rows: Rows, tasks: Sequence[Task], floor: float = FLOOR) -> dict[str, float]:
    """Weight of each task's loss: its annotated rows by those of the richest task, at least `floor`.

    With as many rows of each task in every step, a scarce task repeats its few rows over and over; at full
    weight it would drag the shared layers to fit their noise.
    """
    counts = {task.name: len(rows.annotated(task)) for task in tasks}
    most = max(counts.values())
    return {name: max(count / max(most, 1), floor) for name, count in counts.items()}


def balance_soft(rows: Rows, task: str, floor: float = FLOOR) -> float:
    """Weight of a task's soft-target loss by the same rule: rows that have one, by all rows with targets."""
    with_soft = int((~torch.isnan(rows.soft[task]).any(dim=1)).sum())
    return max(with_soft / max(len(rows) - with_soft, with_soft, 1), floor)


@dataclass
class Family:
    """The networks of all folds, trained alike."""

    name: str
    networks: list[dict[str, nn.Module]]
    logits: dict[str, Array]
    scale: dict[str, float] = field(default_factory=dict)

    def probabilities(self, task: Task, logits: Array) -> Array:
        """Temperature-scaled probabilities of any logits of this family."""
        z = logits * self.scale.get(task.name, 1.0)
        return softmax(z, axis=-1) if isinstance(task, MulticlassTask) else expit(z)

    def held_out(self, task: Task, fold: npt.NDArray[np.int64]) -> Array:
        """Each row by the network that has seen nothing of it: (n, width)."""
        return self.probabilities(task, self.logits[task.name][fold, np.arange(len(fold))])

    def averaged(self, task: Task) -> Array:
        """Each row by all networks: (n, width)."""
        return self.probabilities(task, self.logits[task.name]).mean(axis=0)


@dataclass(frozen=True)
class Choice:
    """What the guard chose for one task, and why.

    Attributes:
        task: The task's name.
        weights: Candidate -> share in the average; `single-task`, `shared`, `coupled`, each also as
            `.../decoded`: moved by what the class head implies.
        strength: Strength of the decoding, by candidate.
        scores: Out-of-fold metric of every candidate.
        losses: Out-of-fold log-loss of every candidate.
        gain: Out-of-fold gain in log-loss of the choice over the balanced shared network, in nats.
        z: The same in standard errors.
        reason: In plain words.
    """

    task: str
    weights: dict[str, float]
    strength: dict[str, float]
    scores: dict[str, float]
    losses: dict[str, float]
    gain: float
    z: float
    reason: str


@dataclass
class Automatic:
    """The outcome of `auto`: a predictor and the account of how it came to be.

    Attributes:
        tasks: The tasks.
        checks: What the data said of each relation.
        choices: By task, what the guard chose.
        families: The networks in use, by candidate: one each where distilled, those of all folds where
            bagged.
        cost: Training spent, with the pair of single-task models as 1.
        notes: What else the user should know.
        relations: The relations in use.
        zero_shot: By class task, the classes without an annotated row that a relation predicts.
        shifts: Class priors of each source beside those of the class task's own rows.
    """

    tasks: tuple[Task, ...]
    checks: tuple[RelationCheck, ...]
    choices: dict[str, Choice]
    families: dict[str, Family]
    cost: float
    notes: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()
    zero_shot: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shifts: tuple[PriorShift, ...] = ()

    def probabilities(self, learner: Learner, inputs: Any) -> dict[str, Array]:
        """Predicted probabilities by task: (n, C) and (n, K)."""
        known: dict[tuple[str, str], Array] = {}

        def predicted(family: str, task: Task) -> Array:
            members = self.families[family]
            if (family, task.name) not in known:
                done: dict[int, dict[str, npt.NDArray[Any]]] = {}
                for nets in members.networks:
                    network = nets[task.name]
                    if id(network) not in done:
                        done[id(network)] = learner.logits(network, inputs)
                for name in done[id(members.networks[0][task.name])]:
                    other = next(t for t in self.tasks if t.name == name)
                    each = np.stack([done[id(nets[task.name])][name] for nets in members.networks])
                    known[family, name] = members.probabilities(other, each.astype(np.float64)).mean(axis=0)
            return known[family, task.name]

        return _in_order(self.tasks, self.choices, self.relations, predicted)

    def sentences(self) -> list[str]:
        """The account in plain words: notes, relations, then each task."""
        said = [s for check in self.checks for s in check.sentences()]
        return [*self.notes, *said, *(choice.reason for choice in self.choices.values())]


Predicted = Callable[[str, Task], Array]


def _ordered(tasks: Sequence[Task], relations: Sequence[Relation]) -> list[Task]:
    """Tasks that no relation leads to come first: what is decoded finds its sources decided."""
    targets = {relation.target.name for relation in relations}
    return sorted(tasks, key=lambda task: task.name in targets)


def _in_order(
    tasks: Sequence[Task],
    choices: Mapping[str, Choice],
    relations: Sequence[Relation],
    predicted: Predicted,
) -> dict[str, Array]:
    """Probabilities by the guard's choices. A source that is not decided yet speaks by its shared network."""
    done: dict[str, Array] = {}

    def classes(source: Task) -> Array:
        return done[source.name] if source.name in done else predicted("shared", source)

    for task in _ordered(tasks, relations):
        parts = []
        for name, weight in choices[task.name].weights.items():
            family, _, decoded = name.partition("/")
            q = predicted(family, task)
            if decoded:
                q = _decoded(q, task, relations, classes, choices[task.name].strength[name])
            parts.append(weight * q)
        done[task.name] = np.asarray(sum(parts))
    return done


def _decoded(
    q: Array,
    task: Task,
    relations: Sequence[Relation],
    classes: Callable[[Task], Array],
    strength: float,
) -> Array:
    for relation in relations:
        if relation.target.name == task.name:
            q = decode_targets(classes(relation.source), q, relation, strength)
    return q


def _decoded_held_out(
    q: Array,
    task: Task,
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    strength: float,
    fold: npt.NDArray[np.int64],
) -> Array:
    """Each row by the relations of the fold that it is in."""
    out = q.copy()
    for k, known in enumerate(relations):
        rows = np.flatnonzero(fold == k)
        out[rows] = _decoded(q[rows], task, known, partial(_rows_of, classes, rows), strength)
    return out


def _rows_of(classes: Callable[[Task], Array], rows: npt.NDArray[np.int64], source: Task) -> Array:
    return classes(source)[rows]


@dataclass(frozen=True)
class FirstStage:
    """Cross-fitted networks without any coupling, and what they say of rows that they have not seen.

    Attributes:
        rows: The training rows.
        tasks: The tasks.
        fold: (n,) fold of each row.
        families: ``"single-task"`` and ``"shared"`` networks, one of each fold and family.
    """

    rows: Rows
    tasks: tuple[Task, ...]
    fold: npt.NDArray[np.int64]
    families: dict[str, Family]

    def predictions(self) -> dict[str, Array]:
        """Temperature-scaled probabilities by the balanced shared networks, by task: (n, C) and (n, K).

        A row that is annotated for a task is predicted by the network of the other folds; any other row by
        all of them, averaged.
        """
        shared = self.families["shared"]
        return {task.name: _out_of_sample(shared, task, self.rows, self.fold) for task in self.tasks}

    def observations(self, source: MulticlassTask, target: Task) -> Observations:
        """Annotations and predictions of two tasks, as a relation is read off them."""
        return _observations(self.families["shared"], self.rows, self.fold, source, target)

    def check(self, relation: Relation | tuple[MulticlassTask, Task]) -> RelationCheck:
        """Weigh a supplied relation, or, for a pair of tasks, whether the data show one.

        Single-task networks judge whether the tasks are related at all: layers that tasks share let the
        annotation of one speak through the predictions of the other.
        """
        given = relation if isinstance(relation, Relation) else None
        source, target = (relation.source, relation.target) if isinstance(relation, Relation) else relation
        observations = self.observations(source, target)
        alone = self.families["single-task"]
        crossed = Crossed(
            self.fold,
            alone.probabilities(source, alone.logits[source.name]),
            _out_of_sample(alone, target, self.rows, self.fold),
        )
        blind = covered(self.rows, source, given)
        if not blind.any():
            return check_relation(observations, given, crossed)
        found = check_relation(
            replace(observations, p=_opened(observations.p, blind)),
            given,
            replace(crossed, p=np.stack([_opened(p, blind) for p in crossed.p])),
        )
        if found.verdict != "dropped":
            return found
        # Nothing is left of the table, so nothing is known of a class that only the table spoke of.
        own = check_relation(observations, None, crossed)
        verdict = found.verdict if own.exponent > 0 else own.verdict
        return replace(own, verdict=verdict, trust=found.trust, contradictions=found.contradictions)

    def without(self, k: int, check: RelationCheck) -> Relation:
        """A checked relation as it would be, had fold `k` no class: what judges classes there.

        Where classes have few rows, most of what an estimate says of them comes from the very rows that would
        judge it. Of classes speaks the network that has not seen the fold. Labels of the fold are left in,
        classes of a target are not.
        """
        seen, held_out = self.observations(check.relation.source, check.relation.target), self.fold == k
        shared = self.families["shared"]
        source, target = seen.source, seen.target
        p = shared.probabilities(source, shared.logits[source.name][k])
        y = np.where(held_out, MISSING_CLASS, seen.y)
        if check.way.table is not None:
            # A class whose only rows are in the fold is one that its network has never heard of.
            rest = Rows(self.rows.inputs, {**self.rows.targets, source.name: torch.from_numpy(y)})
            p = _opened(p, covered(rest, source, Relation(source, target, check.way.table)))
        seen = replace(seen, y=y, p=p)
        if seen.class_to_class:
            q = shared.probabilities(target, shared.logits[target.name][k])
            seen = replace(seen, a=np.where(held_out, MISSING_CLASS, seen.a), q=q)
        return check.relation.replace(table=check.way(seen))


def first_stage(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    *,
    effort: Effort,
    seed: int,
    groups: npt.NDArray[Any] | None = None,
) -> FirstStage:
    """Train single-task and balanced shared networks on all folds but one, in turn.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once.
        tasks: Two or more tasks.
        effort: Folds, and their share of the steps.
        seed: Seeds folds and networks.
        groups: (n,) rows of one group are never divided between folds; None for none.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
        ShapeError: Groups of another number of rows.
    """
    fold = _checked_folds(rows, tasks, effort.folds, seed, groups)
    families = {
        name: _train_family(learner, rows, tasks, fold, effort, seed, name, None)
        for name in ("single-task", "shared")
    }
    _fit_scales(families, rows, tasks, fold)
    return FirstStage(rows, tuple(tasks), fold, families)


def select(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    relations: Sequence[Relation | tuple[MulticlassTask, Task]],
    *,
    effort: Effort,
    seed: int,
    artefact: Artefact = "distilled",
    groups: npt.NDArray[Any] | None = None,
    first: FirstStage | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Automatic:
    """Choose and train; see the module.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once.
        tasks: Two or more tasks.
        relations: Supplied relations, or pairs of tasks whose relation is to be estimated.
        effort: How much training may be spent.
        seed: Seeds folds and networks.
        artefact: ``"distilled"`` ends with one network, ``"bagged"`` with the networks of all folds.
        groups: (n,) rows of one group are never divided between folds; None for none.
        first: The first stage, where it has been trained before, of the same learner, rows, effort, seed and
            groups: relations have no part in it. Its cost is counted all the same.
        say: Told what is about to happen and what it costs.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds; a first stage of another
            number of folds.
        ShapeError: Groups of another number of rows.
        UnknownNameError: An artefact of another name.
    """
    if artefact not in ("distilled", "bagged"):
        raise UnknownNameError.of("artefact", artefact, ("distilled", "bagged"))
    say(
        f"auto: {effort.folds} folds x single-task, shared and coupled networks at {effort.share:.0%} of the "
        f"steps, then one network: about {effort.cost():.1f} times the pair of single-task models"
    )
    first = first or first_stage(learner, rows, tasks, effort=effort, seed=seed, groups=groups)
    if (folds := len(first.families["shared"].networks)) != effort.folds:
        raise RangeError(f"the first stage has {folds} folds, the effort {effort.folds}")
    fold, families = first.fold, dict(first.families)
    checks = tuple(first.check(relation) for relation in relations)
    blind = {task.name: _blind(rows, task, relations, checks) for task in tasks}
    active = tuple(check for check in checks if check.exponent > 0)
    # What a fold's classes are judged by. Its labels are judged by the relations themselves: a fold of them
    # is many rows to a cell, so that leaving it out takes away little chance, and much of what they know.
    judging = [
        [replace(check, relation=first.without(k, check)) for check in active] for k in range(effort.folds)
    ]
    if active:
        families["coupled"] = _coupled_family(learner, first, active, judging, blind, effort, seed)
    choices = _choose(first, families, checks, judging, blind, average=artefact == "bagged")
    in_use = tuple(check.relation for check in active)
    spent = effort.folds * effort.share * (2 + bool(active))
    used = _families_in_use(choices, in_use, tasks)
    shifts = _prior_shifts(families["shared"], rows, tasks, fold, seed)
    if artefact == "distilled":
        families = _final(learner, rows, tasks, families, active, blind, choices, used, seed)
        spent += sum(
            1.0 if name != "single-task" else len(families[name].networks[0]) / len(tasks) for name in used
        )
    outcome = Automatic(
        tuple(tasks),
        checks,
        choices,
        {name: families[name] for name in used},
        spent,
        () if relations else ("no relation was given and none can be estimated; no coupling",),
        in_use,
        _through_a_relation_alone(tasks, choices, blind),
        shifts,
    )
    for sentence in outcome.sentences():
        say(sentence)
    return outcome


def _coupled_family(
    learner: Learner,
    first: FirstStage,
    active: Sequence[RelationCheck],
    judging: Sequence[Sequence[RelationCheck]],
    blind: Mapping[str, npt.NDArray[np.bool_]],
    effort: Effort,
    seed: int,
) -> Family:
    """A coupled network for each fold, taught by what the shared one of the fold says of the classes."""
    rows, tasks, fold, shared = first.rows, first.tasks, first.fold, first.families["shared"]
    sources = [task for task in tasks if any(c.relation.source.name == task.name for c in active)]
    soft = [
        {
            t.name: _class_targets(
                shared.probabilities(t, shared.logits[t.name][k]), rows, judging[k], t, blind[t.name]
            )
            for t in sources
        }
        for k in range(effort.folds)
    ]
    coupled = _train_family(learner, rows, tasks, fold, effort, seed, "coupled", soft)
    _fit_scales({"coupled": coupled}, rows, tasks, fold)
    return coupled


def _choose(
    first: FirstStage,
    families: Mapping[str, Family],
    checks: Sequence[RelationCheck],
    judging: Sequence[Sequence[RelationCheck]],
    blind: Mapping[str, npt.NDArray[np.bool_]],
    *,
    average: bool,
) -> dict[str, Choice]:
    """The guard's choice for every task; sources before what is decoded through them."""
    rows, fold = first.rows, first.fold
    active = [check for check in checks if check.exponent > 0]
    choices: dict[str, Choice] = {}
    done: dict[str, Array] = {}

    def classes(source: Task) -> Array:
        return done[source.name] if source.name in done else families["shared"].held_out(source, fold)

    for task in _ordered(first.tasks, [check.relation for check in active]):
        of_folds = judging if isinstance(task, MulticlassTask) else [active] * len(judging)
        start: Start = "shared"
        if _unrelated(task, rows, checks):
            start = "single-task"
        elif blind[task.name].any() or _proven(task, rows, active):
            start = "coupled"
        choices[task.name], done[task.name] = _guard(
            task,
            families,
            rows,
            fold,
            [[check.relation for check in each] for each in of_folds],
            classes,
            blind[task.name],
            average=average,
            start=start,
        )
    return choices


def _through_a_relation_alone(
    tasks: Sequence[Task], choices: Mapping[str, Choice], blind: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, tuple[str, ...]]:
    """By task, classes without an annotated row that the chosen network predicts all the same."""
    return {
        task.name: tuple(task.outputs[c] for c in np.flatnonzero(blind[task.name]))
        for task in tasks
        if blind[task.name].any() and "coupled" in {n.partition("/")[0] for n in choices[task.name].weights}
    }


def two_stage(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    relations: Sequence[Relation],
    *,
    effort: Effort,
    seed: int,
    groups: npt.NDArray[Any] | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> nn.Module:
    """Two stages and no guard: posterior class targets through the given relations, as they are.

    The first stage is the balanced shared network, cross-fitted, its temperature fitted on rows that it
    has not seen. The second is a balanced shared network that also learns, on rows without a class, the
    posterior of the class given their annotated targets. The evidence exponent is the one under which
    targets and first stage agree most, or the least above 0 where they do not agree beyond noise: a wrong
    table is used all the same.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once.
        tasks: Two or more tasks.
        relations: Relations between them, at least one.
        effort: Folds of the first stage, and their share of the steps.
        seed: Seeds folds and networks.
        groups: (n,) rows of one group are never divided between folds; None for none.
        say: Told what was done.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
        ShapeError: No relation, or groups of another number of rows.
    """
    if not relations:
        raise ShapeError("a two-stage coupling works through relations; give relations=[...]")
    fold = _checked_folds(rows, tasks, effort.folds, seed, groups)
    first = _train_family(learner, rows, tasks, fold, effort, seed, "shared", None)
    _fit_scales({"shared": first}, rows, tasks, fold)
    soft: dict[str, torch.Tensor] = {}
    for task in tasks:
        through = [relation for relation in relations if relation.source.name == task.name]
        if not through:
            continue
        blind = np.any([covered(rows, task, relation) for relation in through], axis=0)
        p = _opened(first.held_out(task, fold), blind)
        some = np.zeros(len(p), dtype=bool)
        for relation in through:
            observations = _observations(first, rows, fold, relation.source, relation.target)
            rates = observations.base_rates() if relation.base_rate is None else relation.base_rate
            used = replace(relation, base_rate=rates)
            exponent = fit_exponent(observations, relation.table, rates).exponent or EXPONENTS[1]
            values = rows.targets[relation.target.name].numpy()
            annotated = relation.target.annotated(values)
            p = np.where(annotated[:, None], posterior_targets(p, values, used, exponent), p)
            some |= annotated
            say(f"{relation.name}: two stages, no guard, evidence exponent {exponent:g}")
        missing = ~task.annotated(rows.targets[task.name].numpy())
        targets = np.where((some & missing)[:, None], p, np.nan)
        soft[task.name] = torch.from_numpy(targets.astype(np.float32))
    return train_shared(learner, Rows(rows.inputs, rows.targets, soft, rows.weights), tasks, 1.0, seed)


# -- the families of networks --------------------------------------------------------------------------


def _folds(
    rows: Rows, tasks: Sequence[Task], folds: int, seed: int, groups: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """Fold of each row, alike in which tasks are annotated and in classes; groups stay whole."""
    rng = np.random.default_rng([seed, 5])
    n = len(rows)
    kind = np.zeros(n, dtype=np.int64)
    for task in tasks:
        values = rows.targets[task.name].numpy()
        part = values + 1 if isinstance(task, MulticlassTask) else task.annotated(values).astype(np.int64)
        kind = kind * (task.width + 2) + part
    fold = np.empty(n, dtype=np.int64)
    if groups is None:
        order = np.lexsort((rng.random(n), kind))
        fold[order] = np.arange(n) % folds
        return fold
    names, index = np.unique(groups, return_inverse=True)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[rng.permutation(len(names))] = np.arange(len(names)) % folds
    return fold_of[index]


def _checked_folds(
    rows: Rows, tasks: Sequence[Task], folds: int, seed: int, groups: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """Folds, each of which leaves annotated rows of every task to train on."""
    for task in tasks:
        if (n := len(rows.annotated(task))) < folds:
            raise RangeError(
                f"task {task.name!r} has {n} annotated rows, fewer than the {folds} folds of cross-fitting; "
                "annotate more, choose a smaller effort, or name a coupling"
            )
    if groups is not None and np.shape(groups) != (len(rows),):
        raise ShapeError(f"groups have shape ({len(rows)},), found {np.shape(groups)}")
    fold = _folds(rows, tasks, folds, seed, groups)
    for task in tasks:
        if groups is not None and len(np.unique(fold[rows.annotated(task).numpy()])) < 2:
            raise RangeError(
                f"all annotated rows of task {task.name!r} fall into one fold: its rows come from too few "
                f"groups for {folds} folds; give finer groups, or name a coupling"
            )
    return fold


def _train_family(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    fold: npt.NDArray[np.int64],
    effort: Effort,
    seed: int,
    name: str,
    soft: list[dict[str, Array]] | None,
) -> Family:
    networks: list[dict[str, nn.Module]] = []
    logits: dict[str, list[Array]] = {task.name: [] for task in tasks}
    for k in range(effort.folds):
        index = torch.from_numpy(np.flatnonzero(fold != k))
        part = rows.take(index)
        if soft is not None:
            part = Rows(
                part.inputs,
                part.targets,
                soft={
                    task: torch.from_numpy(values[index.numpy()].astype(np.float32))
                    for task, values in soft[k].items()
                },
                weights=part.weights,
            )
        number = seed * 1000 + k + 1
        if name == "single-task":
            nets = {task.name: train_single(learner, part, task, effort.share, number) for task in tasks}
        else:
            network = train_shared(learner, part, tasks, effort.share, number)
            nets = dict.fromkeys((task.name for task in tasks), network)
        networks.append(nets)
        done: dict[int, dict[str, Array]] = {}
        for task in tasks:
            network = nets[task.name]
            if id(network) not in done:
                done[id(network)] = learner.logits(network, rows.inputs)
            logits[task.name].append(done[id(network)][task.name].astype(np.float64))
    return Family(name, networks, {task: np.stack(each) for task, each in logits.items()})


def _fit_scales(
    families: Mapping[str, Family], rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64]
) -> None:
    for family in families.values():
        for task in tasks:
            known = rows.annotated(task).numpy()
            family.scale[task.name] = temperature(
                family.logits[task.name][fold[known], known],
                rows.targets[task.name].numpy()[known],
                isinstance(task, MulticlassTask),
            )


# -- relations and targets -----------------------------------------------------------------------------


def _out_of_sample(family: Family, task: Task, rows: Rows, fold: npt.NDArray[np.int64]) -> Array:
    """By the network that has not seen the row where it is annotated, by all of them elsewhere."""
    known = task.annotated(rows.targets[task.name].numpy())[:, None]
    return np.where(known, family.held_out(task, fold), family.averaged(task))


def _observations(
    family: Family, rows: Rows, fold: npt.NDArray[np.int64], source: MulticlassTask, target: Task
) -> Observations:
    return Observations(
        source,
        target,
        rows.targets[source.name].numpy(),
        rows.targets[target.name].numpy().astype(np.float64),
        _out_of_sample(family, source, rows, fold),
        _out_of_sample(family, target, rows, fold),
    )


# -- classes without an annotated row ------------------------------------------------------------------


def covered(rows: Rows, task: Task, relation: Relation | None) -> npt.NDArray[np.bool_]:
    """Classes of no annotated row of which a supplied table knows something: (C,)."""
    if relation is None or relation.source.name != task.name or relation.sparse:
        return np.zeros(task.width, dtype=bool)
    y = rows.targets[task.name].numpy()
    counts = np.bincount(y[y >= 0], minlength=task.width)
    return np.asarray((counts == 0) & relation.known.any(axis=1))


def _blind(
    rows: Rows,
    task: Task,
    relations: Sequence[Relation | tuple[MulticlassTask, Task]],
    checks: Sequence[RelationCheck],
) -> npt.NDArray[np.bool_]:
    """Classes of no annotated row of which a relation in use knows something by its supplied table: (C,)."""
    out = np.zeros(task.width, dtype=bool)
    for relation, check in zip(relations, checks, strict=True):
        if isinstance(relation, Relation) and check.verdict in ("kept", "calibrated", "partly wrong"):
            out |= covered(rows, task, relation)
    return out


def _opened(p: Array, blind: npt.NDArray[np.bool_], share: Array | None = None) -> Array:
    """Class probabilities of a head that has never seen some classes: it says nothing of them.

    A class that no row was annotated with gets its `share`, 1/C unless given, whatever the input; the
    others share the rest as the head says. Without such a class this is `p` itself.
    """
    if not blind.any():
        return p
    share = np.where(blind, 1.0 / len(blind), 0.0) if share is None else share
    seen = np.where(blind, 0.0, p)
    return seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-12) * (1 - share.sum()) + share


def _prior_shifts(
    family: Family, rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64], seed: int
) -> tuple[PriorShift, ...]:
    """Class priors of the rows of each other task, beside those of a class task's own rows."""
    found = []
    for task in tasks:
        if not isinstance(task, MulticlassTask):
            continue
        p = family.held_out(task, fold)  # of all rows alike: an average of networks is another head
        own = task.annotated(rows.targets[task.name].numpy())
        for other in tasks:
            where = other.annotated(rows.targets[other.name].numpy()) & ~own
            shift = prior_shift(task, other.name, p[own], p[where], np.random.default_rng([seed, 11]))
            found.append(shift)
    return tuple(shift for shift in found if shift is not None)


def _log_evidence(rows: Rows, check: RelationCheck) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Tempered evidence of each row's annotated targets for each class, and which rows have any."""
    relation = check.relation
    values = rows.targets[relation.target.name].numpy()
    n = len(values)
    blank = np.zeros((n, relation.source.width)), np.zeros((n, relation.target.width))
    seen = Observations(
        relation.source, relation.target, np.full(n, -1), values.astype(np.float64), blank[0], blank[1]
    )
    ll = evidence(relation.table, relation.rates(), seen.active, seen.seen, relation.class_to_class)
    return check.exponent * ll, np.asarray(seen.seen.any(axis=1))


def _posterior(
    p: Array, rows: Rows, active: Sequence[RelationCheck], task: Task, blind: npt.NDArray[np.bool_]
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Class posterior by a row's annotated targets of all relations from `task`, and where it has any.

    The share of classes that the head has never seen is found by EM over the rows with evidence.
    """
    terms: list[Array] = []
    some = np.zeros(len(p), dtype=bool)
    for check in active:
        if check.relation.source.name == task.name:
            ll, seen = _log_evidence(rows, check)
            terms, some = [*terms, np.where(seen[:, None], ll, 0.0)], some | seen

    def joined(share: Array | None) -> Array:
        return softmax(sum(terms, start=np.log(np.clip(_opened(p, blind, share), 1e-12, None))), axis=1)

    share: Array | None = None
    for _ in range(ROUNDS_OF_SHARES if blind.any() and some.any() else 0):
        share = np.where(blind, joined(share)[some].mean(axis=0), 0.0)
    return joined(share), some


def _class_targets(
    p: Array, rows: Rows, active: Sequence[RelationCheck], task: Task, blind: npt.NDArray[np.bool_]
) -> Array:
    """Soft class targets of rows without a class but with evidence for one: NaN elsewhere."""
    posterior, some = _posterior(p, rows, active, task, blind)
    missing = ~task.annotated(rows.targets[task.name].numpy())
    return np.where((some & missing)[:, None], posterior, np.nan)


# -- the guard ----------------------------------------------------------------------------------------


def _score(task: Task, targets: npt.NDArray[Any], probabilities: Array) -> float:
    """The metric that the guard protects: balanced accuracy, or the mean of label F1 and precision."""
    if isinstance(task, MulticlassTask):
        hit = probabilities.argmax(axis=1) == targets
        return float(np.mean([hit[targets == c].mean() for c in np.unique(targets)]))
    found = metrics.label_metrics(targets, probabilities, task.outputs)
    values = [found[name] for name in ("mean_f1", "map") if not np.isnan(found[name])]
    return float(np.mean(values)) if values else 0.0


def _unrelated(task: Task, rows: Rows, checks: Sequence[RelationCheck]) -> bool:
    """Whether everything that could relate a task to others was weighed, and says nothing.

    With fewer than `MIN_ROWS` rows on a side that is no finding.
    """
    mine = [c for c in checks if task.name in (c.relation.source.name, c.relation.target.name)]
    sides = {side.name: side for c in mine for side in (c.relation.source, c.relation.target)}
    enough = all(len(rows.annotated(side)) >= MIN_ROWS for side in sides.values())
    return bool(mine) and enough and all(c.verdict == "unrelated" for c in mine)


def _proven(task: Task, rows: Rows, active: Sequence[RelationCheck]) -> bool:
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


def _guard(
    task: Task,
    families: Mapping[str, Family],
    rows: Rows,
    fold: npt.NDArray[np.int64],
    relations: Sequence[Sequence[Relation]],
    classes: Callable[[Task], Array],
    blind: npt.NDArray[np.bool_],
    *,
    average: bool,
    start: Start,
) -> tuple[Choice, Array]:
    """The choice for a task, and its held-out probabilities of all rows.

    It starts from the balanced shared network, and what is to take its place must show by evidence that it
    is better. A task that is related to no other starts from the single-task one: there sharing has nothing
    to give. A scarce task whose table is beyond doubt starts from the coupled one: its few rows would
    hardly prove again what the many rows of the other task have proved.

    Where some classes can only be predicted through a relation (`blind`), no annotated row can speak for
    them: candidates are judged on the other classes alone, from the coupled network too.
    """
    known = rows.annotated(task).numpy()
    targets = rows.targets[task.name].numpy()[known]
    is_class = isinstance(task, MulticlassTask)
    everywhere = {name: family.held_out(task, fold) for name, family in families.items()}
    strength: dict[str, float] = {}
    if any(relation.target.name == task.name for relation in relations[0]):
        for name in list(everywhere):
            tried = {
                s: _decoded_held_out(everywhere[name], task, relations, classes, s, fold)
                if s
                else everywhere[name]
                for s in STRENGTHS
            }
            best = best_strength({s: row_loss(q[known], targets, is_class) for s, q in tried.items()})
            if best > 0:
                everywhere[f"{name}/decoded"] = tried[best]
                strength[f"{name}/decoded"] = best
    candidates = {
        name: _opened(q[known], blind, np.zeros(task.width)) if blind.any() else q[known]
        for name, q in everywhere.items()
    }
    losses = {name: row_loss(q, targets, is_class) for name, q in candidates.items()}
    scores = {name: _score(task, targets, q) for name, q in candidates.items()}
    means = {name: float(loss.mean()) for name, loss in losses.items()}
    zero_shot = bool(blind.any())
    weights: dict[str, float] = {start: 1.0}
    if len(known) < MIN_ROWS:
        why = f"{len(known)} annotated rows prove nothing"
    else:
        averages = average and start != "single-task" and not zero_shot
        if averages:
            weights = _averaged(candidates, losses, scores, task, targets)
        if not averages or (start == "coupled" and weights == {"shared": 1.0}):
            weights = {_stepwise(losses, scores, start): 1.0}
        why = (
            f"out-of-fold metric {_score(task, targets, _mix(weights, candidates)):.3f}, balanced shared "
            f"{scores['shared']:.3f}, single-task {scores['single-task']:.3f}"
        )
    gain, z = _gain(losses["shared"], row_loss(_mix(weights, candidates), targets, is_class))
    parts = ", ".join(f"{share:.0%} {name}" if share < 1 else name for name, share in weights.items())
    if weights == {"shared": 1.0}:
        parts = "the balanced shared network, no coupling"
    elif start == "single-task":
        parts += ", no coupling: nothing shows that it gains from tasks that it is not related to"
    else:
        why += f"; log-loss gain {gain:.3f} nats, z = {z:.1f}"
        if start == "coupled" and not zero_shot and z < MIN_GAIN_Z:
            why += "; its own rows are too few to show a gain, and the table is beyond doubt"
    if zero_shot:
        names = ", ".join(task.outputs[c] for c in np.flatnonzero(blind)[:8])
        taken = everywhere[next(iter(weights))][known].argmax(axis=1)
        why += (
            f"; no row is annotated with {names}, so none of this judges it; {blind[taken].mean():.1%} of "
            "annotated rows, all of other classes, would be taken for it"
        )
    choice = Choice(task.name, weights, strength, scores, means, gain, z, f"{task.name}: {parts} ({why})")
    return choice, _mix(weights, everywhere)


def _mix(weights: Mapping[str, float], candidates: Mapping[str, Array]) -> Array:
    return np.asarray(sum(share * candidates[name] for name, share in weights.items()))


def _gain(before: Array, after: Array) -> tuple[float, float]:
    """Mean gain in log-loss of paired rows, and in standard errors."""
    difference = before - after
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return float(difference.mean()), float(difference.mean()) / max(error, 1e-12)


def _stepwise(losses: Mapping[str, Array], scores: Mapping[str, float], start: str = "shared") -> str:
    """From the balanced shared network (`start`) to the best coupled form, from there to a single-task one.

    Each step needs a log-loss that is lower beyond noise and a metric that is no lower. Sharing comes first
    because it seldom harms and a few rows say little: giving it up asks for evidence against whatever
    sharing and coupling have reached, not against sharing alone.
    """
    chosen = start
    alone = [name for name in losses if name.startswith("single-task")]
    for group in ([name for name in losses if name not in alone], alone):
        better = [
            name
            for name in group
            if scores[name] >= scores[chosen] and _gain(losses[chosen], losses[name])[1] > MIN_GAIN_Z
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
) -> dict[str, float]:
    """The greedy average, if it lowers the log-loss beyond noise and reaches both references' metric."""
    is_class = isinstance(task, MulticlassTask)
    counts = _greedy(candidates, targets, is_class)
    weights = {name: count / sum(counts.values()) for name, count in counts.items()}
    mixed = _mix(weights, candidates)
    good = _gain(losses["shared"], row_loss(mixed, targets, is_class))[1] > MIN_GAIN_Z
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


# -- one artefact -------------------------------------------------------------------------------------


def _families_in_use(
    choices: Mapping[str, Choice], relations: Sequence[Relation], tasks: Sequence[Task]
) -> list[str]:
    names = {name.partition("/")[0] for choice in choices.values() for name in choice.weights}
    order = [task.name for task in _ordered(tasks, relations)]
    for relation in relations:
        target, source = relation.target.name, relation.source.name
        if order.index(source) > order.index(target) and any("/" in n for n in choices[target].weights):
            names.add("shared")
    return sorted(names)


def _final(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    families: Mapping[str, Family],
    active: Sequence[RelationCheck],
    blind: Mapping[str, npt.NDArray[np.bool_]],
    choices: Mapping[str, Choice],
    used: Sequence[str],
    seed: int,
) -> dict[str, Family]:
    """The families in use, each trained once more: on all rows, for all steps.

    Where the guard refused everything this is the balanced shared network itself, to the bit. The coupled
    one is taught the classes of rows without one by the whole first stage. Temperatures stay those of the
    folds, which were fitted on rows that no network had seen.
    """
    out: dict[str, Family] = {}
    for name in used:
        scale = families[name].scale
        if name == "single-task":
            chosen = [t for t in tasks if any(n.startswith(name) for n in choices[t.name].weights)]
            nets = {task.name: train_single(learner, rows, task, 1.0, seed) for task in chosen}
        else:
            part = rows
            if name == "coupled":
                soft = _taught(families["shared"], rows, active, tasks, blind)
                part = Rows(rows.inputs, rows.targets, soft, rows.weights)
            nets = dict.fromkeys((task.name for task in tasks), train_shared(learner, part, tasks, 1.0, seed))
        out[name] = Family(name, [nets], {}, scale)
    return out


def _taught(
    family: Family,
    rows: Rows,
    active: Sequence[RelationCheck],
    tasks: Sequence[Task],
    blind: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}
    for task in tasks:
        if any(check.relation.source.name == task.name for check in active):
            targets = _class_targets(family.averaged(task), rows, active, task, blind[task.name])
            out[task.name] = torch.from_numpy(targets.astype(np.float32))
    return out


def train_single(learner: Learner, rows: Rows, task: Task, share: float, seed: int) -> nn.Module:
    """The single-task model of one task."""
    return learner.train(
        rows, [task], capacity="shared", share=share, seed=seed, task_weights={}, soft_weights={}
    )


def train_shared(learner: Learner, rows: Rows, tasks: Sequence[Task], share: float, seed: int) -> nn.Module:
    """The balanced shared network, with whatever soft targets the rows carry."""
    return learner.train(
        rows,
        tasks,
        capacity="half-shared",
        share=share,
        seed=seed,
        task_weights=balance_weights(rows, tasks),
        soft_weights={task: balance_soft(rows, task) for task in rows.soft},
    )
