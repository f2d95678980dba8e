"""`auto`: which coupling, if any, each task gets; and the guard that keeps it from doing harm.

In short: cross-validated single-task and balanced shared networks are trained first. Their out-of-sample
predictions say whether the tasks are related, and how (`estimation`). If so, a third family is trained whose
class head also learns from the posterior of the class given the annotated labels, and label predictions are
offered a second form, moved by what the class head implies (`decoding`). Each task is judged by a relation
that knows nothing of what it is judged on. For each task the guard takes what lowers the out-of-fold log-loss
beyond noise, at one error level for all candidates, without lowering the metric. What it starts from bears
no burden of proof (`starts`): the balanced shared network, unless there is a reason for another. What it
settles on is trained once more on all rows, or stays a bag.

With a hold-out in place of folds every network is trained once, for a share of the steps, on the rows that
are not held out. The held-out rows judge; any other row takes part in a relation, or is taught, by what
networks say of a task that it is not annotated for. Networks that are chosen go on for the rest of the steps,
on all rows.

With heads on frozen features everything up to the choice happens on features of the trunk as it is before any
training; then the networks that were chosen are trained, and no others.

Networks, optimisers and devices are the business of a `Learner`; this room only decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from concord.auto.alignment import Alignment
from concord.auto.combine import Choice, in_order, predict_in_order
from concord.auto.cross_fitting import PARTS, FirstStage, first_stage
from concord.auto.effort import Effort
from concord.auto.families import Family, fit_scales, shared_training, single_training, train_family
from concord.auto.guard import guard
from concord.auto.level import ALPHA
from concord.auto.splits import TRAINED_ON
from concord.auto.starts import Base, start_of
from concord.auto.teach import class_targets, taught_targets
from concord.auto.zero_shot import unseen_classes
from concord.errors import RangeError, UnknownNameError
from concord.estimation import (
    InputShift,
    PriorShift,
    RelationCheck,
    prior_shift,
)
from concord.fitting import Rows
from concord.learners import Frozen, Learner, Model, Training
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


Artefact = Literal["distilled", "bagged"]


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
        base: The family that speaks of classes that are not decided yet.
        held_out: By task, probabilities of the training rows that judged, by networks that had not seen them,
            combined as was chosen: (n, C) or (n, K). Empty in what was loaded.
        judges: (n,) which rows these are: all of them, but for a hold-out.
        input_shifts: Pairs of tasks whose rows differ in their inputs.
        alignment: What brings rows of each source to one scale where they differ.
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
    base: str = "shared"
    held_out: dict[str, Array] = field(default_factory=dict)
    judges: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    input_shifts: tuple[InputShift, ...] = ()
    alignment: Alignment | None = None

    def probabilities(self, learner: Learner, rows: Rows) -> dict[str, Array]:
        """Predicted probabilities by task: (n, C) and (n, K).

        Where sources are aligned, a row is taken to be of the source on which the task was annotated.
        """
        if self.alignment is None:
            return self._probabilities(learner, rows)
        out: dict[str, Array] = {}
        for tasks in self.alignment.sources():
            found = self._probabilities(learner, self.alignment.of_source(rows, tasks[0]))
            out |= {name: found[name] for name in tasks}
        return {task.name: out[task.name] for task in self.tasks}

    def _probabilities(self, learner: Learner, rows: Rows) -> dict[str, Array]:
        known: dict[tuple[str, str], Array] = {}

        def predicted(family: str, task: Task) -> Array:
            members = self.families[family]
            if (family, task.name) not in known:
                done: dict[int, dict[str, Array]] = {}
                for nets in members.networks:
                    network = nets[task.name]
                    if id(network) not in done:
                        done[id(network)] = learner.predict(network, rows)
                for name in done[id(members.networks[0][task.name])]:
                    other = next(t for t in self.tasks if t.name == name)
                    each = np.stack([done[id(nets[task.name])][name] for nets in members.networks])
                    known[family, name] = members.probabilities(other, each).mean(axis=0)
            return known[family, task.name]

        return predict_in_order(self.tasks, self.choices, self.relations, predicted, self.base)

    def source_shifts(self) -> list[str]:
        """In which ways sources differ beyond noise: inputs, then shares of the classes."""
        return [*map(str, self.input_shifts), *(str(shift) for shift in self.shifts if shift.real)]

    def sentences(self) -> list[str]:
        """The account in plain words: notes, relations, then each task."""
        said = [s for check in self.checks for s in check.sentences()]
        return [*self.notes, *said, *(choice.reason for choice in self.choices.values())]


def possible_pairs(tasks: Sequence[Task]) -> list[tuple[MulticlassTask, Task]]:
    """Every pair that could be related: from classes to labels, and from few classes to many."""
    pairs: list[tuple[MulticlassTask, Task]] = []
    for i, source in enumerate(tasks):
        for j, target in enumerate(tasks):
            if i == j or not isinstance(source, MulticlassTask):
                continue
            if isinstance(target, MulticlassTask) and (source.width, i) > (target.width, j):
                continue
            pairs.append((source, target))
    return pairs


def select(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    relations: Sequence[Relation | tuple[MulticlassTask, Task]],
    *,
    effort: Effort,
    seed: int,
    artefact: Artefact = "distilled",
    alpha: float = ALPHA,
    first: FirstStage | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Automatic:
    """Choose and train; see the module.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once; no fold divides their groups.
        tasks: Two or more tasks.
        relations: Supplied relations, or pairs of tasks whose relation is to be estimated.
        effort: How much training may be spent.
        seed: Seeds folds and networks.
        artefact: ``"distilled"`` trains what is chosen once more on all rows, ``"bagged"`` ends with the
            networks of all folds; with a hold-out both end with what goes on with all rows, and a bag may
            average candidates.
        alpha: Error level of the guard, one-sided, over all candidates of a task, in (0, 1).
        first: The first stage, where it has been trained before, of the same learner, rows, effort and seed:
            relations have no part in it. Its cost is counted all the same.
        say: Told what is about to happen and what it costs.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds or a hold-out take; a
            first stage of another number of folds; an error level outside (0, 1).
        UnknownNameError: An artefact of another name.
    """
    if artefact not in ("distilled", "bagged"):
        raise UnknownNameError.of("artefact", artefact, ("distilled", "bagged"))
    if not 0 < alpha < 1:
        raise RangeError(f"alpha lies strictly between 0 and 1, found {alpha}")
    if effort.on_features and artefact == "bagged":
        raise UnknownNameError.of("artefact of effort probe", artefact, ("distilled",))
    say(_announced(learner, effort))
    frozen = learner.frozen(rows, tasks, seed) if effort.on_features else None
    final, every = learner, rows
    if frozen is not None:
        learner, rows = frozen.learner, frozen.rows
    # The trunk's own training sees inputs as they are, so that features of it are not aligned either.
    first = first or first_stage(learner, rows, tasks, effort=effort, seed=seed, align=frozen is None)
    if (folds := len(first.base.networks)) != effort.folds:
        raise RangeError(f"the first stage has {folds} folds, the effort {effort.folds}")
    rows, fold, families = first.rows, first.fold, first.candidates()
    every = rows if frozen is None else every
    checks = tuple(first.check(relation) for relation in relations)
    unseen = {task.name: unseen_classes(rows, task, relations, checks) for task in tasks}
    active = tuple(check for check in checks if check.exponent > 0)
    # What a fold's classes are judged by, and what is taught without it.
    judging = [
        [replace(check, relation=first.without(k, check)) for check in active] for k in range(effort.folds)
    ]
    if active and "coupled" in learner.kinds:
        families["coupled"] = _coupled_family(learner, first, active, judging, unseen, effort, seed)
    average = artefact == "bagged"
    choices, held_out = _choose(first, families, checks, judging, unseen, average=average, alpha=alpha)
    notes = () if relations else ("no relation was given and none can be estimated; no coupling",)
    if effort.caution:
        notes = (effort.caution, *notes)
    notes = (*notes, *_other_kinds(families["single-task"], choices))
    in_use = tuple(check.relation for check in active)
    spent = effort.folds * effort.share * (len(first.families) + ("coupled" in families))
    if frozen is not None:
        notes, spent = (*notes, _probed(frozen, every)), frozen.cost
    used = _families_in_use(choices, in_use, tasks, first.base.name)
    shifts = _prior_shifts(first.base, rows, tasks, fold, seed)
    if effort.holds_out:
        notes = (*notes, _held_out(fold, effort))
    if effort.final_share and (effort.holds_out or artefact == "distilled"):

        def taught() -> dict[str, torch.Tensor]:
            soft = taught_targets(first.base, rows, active, tasks, unseen)
            return soft if frozen is None else _spread(soft, frozen, len(every))

        families = _final(final, every, tasks, families, taught, used, choices, effort, seed)
        spent += effort.final_share * sum(
            1.0 if name != "single-task" else len(families[name].networks[0]) / len(tasks) for name in used
        )
    outcome = Automatic(
        tuple(tasks),
        checks,
        choices,
        {name: families[name] for name in used},
        spent,
        notes,
        in_use,
        _through_a_relation_alone(tasks, choices, unseen),
        shifts,
        first.base.name,
        held_out if frozen is None else {},
        np.flatnonzero(fold != TRAINED_ON) if frozen is None else np.zeros(0, dtype=np.int64),
        first.shifts,
        first.alignment,
    )
    for sentence in outcome.sentences():
        say(sentence)
    return outcome


def _announced(learner: Learner, effort: Effort) -> str:
    """What is about to be trained, and its cost."""
    kinds = " and ".join(", ".join(learner.kinds).rsplit(", ", 1))
    cost = f"about {effort.cost(len(learner.kinds)):.1f} times the pair of single-task models"
    if effort.on_features:
        return f"auto: heads on frozen features of the trunk choose what is trained: at most {cost[6:]}"
    if effort.holds_out:
        what = "networks" if "shared" in learner.kinds else "models"
        then = ", then what is chosen goes on with all rows" if effort.final_share else ""
        return f"auto: {kinds} {what}, each trained once without the rows that judge{then}: {cost}"
    trained = f"networks at {effort.share:.0%} of the steps, then what is chosen"
    if "shared" not in learner.kinds:
        trained = "models, then one of each task on all rows"
    return f"auto: {effort.folds} folds x {kinds} {trained}: {cost}"


def _other_kinds(alone: Family, choices: Mapping[str, Choice]) -> list[str]:
    """Of which tasks the single-task model that is chosen is no network."""
    return [
        f"{task}: the single-task model is {kind.replace(':', ', C = ')}; on unseen rows its log-loss is the "
        "lowest of those tried for this task alone whose metric is no lower than the network's"
        for task, kind in alone.kinds.items()
        if any(name.startswith("single-task") for name in choices[task].weights)
    ]


def _probed(frozen: Frozen, rows: Rows) -> str:
    return (
        f"heads on frozen features of the trunk, of {len(frozen.index)} of {len(rows)} rows, decided; what "
        "was chosen was then trained on all rows, with the temperatures and strengths of those heads"
    )


def _spread(soft: Mapping[str, torch.Tensor], frozen: Frozen, n: int) -> dict[str, torch.Tensor]:
    """Soft targets of all rows; NaN for those that have no features."""
    out = {}
    for name, values in soft.items():
        out[name] = torch.full((n, values.shape[1]), torch.nan)
        out[name][torch.from_numpy(frozen.index)] = values
    return out


def _held_out(fold: npt.NDArray[np.int64], effort: Effort) -> str:
    held = f"{(fold != TRAINED_ON).sum()} of {len(fold)} rows were held out"
    if not effort.final_share:
        return (
            f"{held} of all training and judged; every model was trained once on the others, and what was "
            "chosen is kept as it is"
        )
    return (
        f"{held} at first and judged; every network was trained on the others for {effort.share:.0%} of the "
        "steps; what was chosen then went on with all rows, with the temperatures and strengths that it had"
    )


def _coupled_family(
    learner: Learner,
    first: FirstStage,
    active: Sequence[RelationCheck],
    judging: Sequence[Sequence[RelationCheck]],
    unseen: Mapping[str, npt.NDArray[np.bool_]],
    effort: Effort,
    seed: int,
) -> Family:
    """A coupled network for each fold, taught by what the shared one of the fold says of the classes.

    Taught are rows without a class of their own: a row that is annotated for both tasks is left out.
    """
    rows, tasks, fold, shared = first.rows, first.tasks, first.fold, first.base
    sources = [task for task in tasks if any(c.relation.source.name == task.name for c in active)]
    soft = [
        {
            t.name: class_targets(
                shared.probabilities(t, shared.logits[t.name][k]), rows, judging[k], t, unseen[t.name]
            )
            for t in sources
        }
        for k in range(effort.folds)
    ]
    coupled = train_family(learner, rows, tasks, fold, effort, seed, "coupled", soft)
    fit_scales({"coupled": coupled}, rows, tasks, fold)
    return coupled


def _choose(
    first: FirstStage,
    families: Mapping[str, Family],
    checks: Sequence[RelationCheck],
    judging: Sequence[Sequence[RelationCheck]],
    unseen: Mapping[str, npt.NDArray[np.bool_]],
    *,
    average: bool,
    alpha: float,
) -> tuple[dict[str, Choice], dict[str, Array]]:
    """The guard's choice for every task, and its held-out probabilities of the rows that judge.

    Sources come before what is decoded through them.
    """
    judges, where = first.judging(), np.flatnonzero(first.fold != TRAINED_ON)
    if judges is not first:
        families = {name: family.of_rows(where) for name, family in families.items()}
    rows, fold = judges.rows, judges.fold
    active = [check for check in checks if check.exponent > 0]
    base: Base = "shared" if "shared" in first.families else "single-task"
    choices: dict[str, Choice] = {}
    done: dict[str, Array] = {}

    def classes(source: Task) -> Array:
        return done[source.name] if source.name in done else judges.base.held_out(source, fold)

    for task in in_order(first.tasks, [check.relation for check in active]):
        of_parts, part = [[check.relation for check in each] for each in judging], fold
        if not isinstance(task, MulticlassTask):
            parts, own = first.parts(task), [c for c in active if c.relation.target.name == task.name]
            by_check = [first.without_labels(parts, check) for check in own]
            of_parts, part = [[found[k] for found in by_check] for k in range(PARTS)], parts[where]
        start = start_of(
            task,
            first.rows,
            checks,
            judging=rows,
            base=base,
            coupled="coupled" in families,
            unseen=bool(unseen[task.name].any()),
            differs=any(task.name in (shift.first, shift.second) for shift in first.shifts),
        )
        choices[task.name], done[task.name] = guard(
            task,
            families,
            rows,
            fold,
            of_parts,
            part,
            classes,
            unseen[task.name],
            average=average,
            start=start,
            alpha=alpha,
            base=base,
            others={
                kind: family.of_rows(where).held_out(task, fold)
                for kind, family in first.not_taken(task, families["single-task"]).items()
            },
        )
    return choices, done


def _through_a_relation_alone(
    tasks: Sequence[Task], choices: Mapping[str, Choice], unseen: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, tuple[str, ...]]:
    """By task, classes without an annotated row that the chosen network predicts all the same."""
    return {
        task.name: tuple(task.outputs[c] for c in np.flatnonzero(unseen[task.name]))
        for task in tasks
        if unseen[task.name].any() and "coupled" in {n.partition("/")[0] for n in choices[task.name].weights}
    }


def _prior_shifts(
    family: Family, rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64], seed: int
) -> tuple[PriorShift, ...]:
    """Class priors of the rows of each other task, beside those of a class task's own rows."""
    found = []
    for task in tasks:
        if not isinstance(task, MulticlassTask):
            continue
        p = family.held_out(task, fold)  # of all rows alike: an average of networks is another head
        annotated = task.annotated(rows.targets[task.name].numpy())
        own = annotated & (fold != TRAINED_ON)
        for other in tasks:
            where = other.annotated(rows.targets[other.name].numpy()) & ~annotated
            group = None if rows.group is None else rows.group.numpy()
            groups = None if group is None else (group[own], group[where])
            rng = np.random.default_rng([seed, 11])
            shift = prior_shift(task, other.name, p[own], p[where], rng, groups)
            found.append(shift)
    return tuple(shift for shift in found if shift is not None)


def _families_in_use(
    choices: Mapping[str, Choice], relations: Sequence[Relation], tasks: Sequence[Task], base: str
) -> list[str]:
    names = {name.partition("/")[0] for choice in choices.values() for name in choice.weights}
    order = [task.name for task in in_order(tasks, relations)]
    for relation in relations:
        target, source = relation.target.name, relation.source.name
        if order.index(source) > order.index(target) and any("/" in n for n in choices[target].weights):
            names.add(base)
    return sorted(names)


def _final(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    families: Mapping[str, Family],
    taught: Callable[[], dict[str, torch.Tensor]],
    used: Sequence[str],
    choices: Mapping[str, Choice],
    effort: Effort,
    seed: int,
) -> dict[str, Family]:
    """The families in use on all rows: each trained once more for all steps, or going on after a hold-out.

    Where the guard refused everything the first is the balanced shared network itself, to the bit. The
    coupled one is taught the classes of rows without one by the whole first stage. Temperatures stay those of
    the folds, which were fitted on rows that no network had seen.
    """
    share = effort.final_share
    alone = [t for t in tasks if any(n.startswith("single-task") for n in choices[t.name].weights)]

    def initial(family: str, task: Task) -> Model | None:
        return families[family].networks[0][task.name] if effort.holds_out else None

    def trainings() -> Iterator[Training]:
        for name in used:
            if name == "single-task":
                kinds = families[name].kinds
                for task in alone:
                    one = single_training(rows, task, share, seed, kinds.get(task.name, name))
                    yield replace(one, initial=initial(name, task))
            else:
                given = replace(rows, soft=taught()) if name == "coupled" else rows
                yield replace(shared_training(given, tasks, share, seed), initial=initial(name, tasks[0]))

    trained = (each.model for each in learner.train_all(trainings()))
    out: dict[str, Family] = {}
    for name in used:
        if name == "single-task":
            nets = {task.name: next(trained) for task in alone}
        else:
            nets = dict.fromkeys((task.name for task in tasks), next(trained))
        out[name] = replace(families[name], networks=[nets], logits={})
    return out
