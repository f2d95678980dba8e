"""Cross-fitted networks without coupling, from which relations are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from concord.auto.alignment import Alignment, found_shifts
from concord.auto.effort import Effort
from concord.auto.families import Family, base_kind, best_alone, fit_scales, out_of_sample, train_family
from concord.auto.splits import TRAINED_ON, split
from concord.auto.zero_shot import covered, fill_unseen
from concord.errors import RangeError
from concord.estimation import (
    FoldPredictions,
    InputShift,
    Observations,
    RelationCheck,
    calibrated,
    check_observations,
)
from concord.fitting import Rows
from concord.learners import Learner
from concord.relations import Relation
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

Array = npt.NDArray[np.float64]

PARTS = 10
"""Labels are hidden from the relation that judges them a tenth at a time.

A fold at a time, as classes are, half of them or a quarter would be missing from a cell."""


@dataclass(frozen=True)
class FirstStage:
    """Networks without any coupling, and what they say of rows that they have not seen.

    With folds every row is in one. With a hold-out the rows that are held out are in fold 0, and the others,
    which the networks are trained on, in none; of these, what is said of one task is out of sample where
    another task is annotated and this one is not.

    Attributes:
        rows: The training rows.
        tasks: The tasks.
        fold: (n,) fold of each row, `TRAINED_ON` for rows in none.
        families: ``"single-task"`` and ``"shared"`` networks, one of each fold and family, as far as the
            learner offers them.
        alone: Further families of single-task models, by kind.
        shifts: Pairs of tasks whose rows differ in their inputs.
        alignment: How rows of each source were brought to one scale where they differ; `rows` are so already.
    """

    rows: Rows
    tasks: tuple[Task, ...]
    fold: npt.NDArray[np.int64]
    families: dict[str, Family]
    alone: dict[str, Family] = field(default_factory=dict)
    shifts: tuple[InputShift, ...] = ()
    alignment: Alignment | None = None

    def candidates(self) -> dict[str, Family]:
        """The families, the single-task one of the best single-task models of each task."""
        if not self.alone:
            return dict(self.families)
        alone = {"single-task": self.families["single-task"], **self.alone}
        return {**self.families, "single-task": best_alone(alone, self.rows, self.tasks, self.fold)}

    def not_taken(self, task: Task, best: Family) -> dict[str, Family]:
        """Kinds of single-task models that were tried for a task beside the one in `best`; of all rows."""
        if not self.alone:
            return {}
        tried = {"single-task": self.families["single-task"], **self.alone}
        taken = best.kinds.get(task.name, "single-task")
        return {kind: family for kind, family in tried.items() if kind != taken}

    @property
    def base(self) -> Family:
        """What everything is compared with: the balanced shared networks, or the single-task ones without."""
        return self.families["shared" if "shared" in self.families else "single-task"]

    def predictions(self) -> dict[str, Array]:
        """Temperature-scaled probabilities by the base networks, by task: (n, C) and (n, K).

        A row that is annotated for a task is predicted by the network of the other folds; any other row by
        all of them, averaged: these have learnt the task of other rows of its group.

        Raises:
            RangeError: A hold-out in place of folds: rows were trained on that no other network predicts.
        """
        if (self.fold == TRAINED_ON).any():
            raise RangeError("out-of-sample predictions of all rows take folds, found a hold-out")
        shared = self.base
        return {task.name: out_of_sample(shared, task, self.rows, self.fold) for task in self.tasks}

    def observations(self, source: MulticlassTask, target: Task) -> Observations:
        """Annotations and predictions of two tasks, as a relation is read off them: `untaught` rows alone.

        Calibrated on the rows in folds: networks were trained on the annotations of others.
        """
        found = observations_of(self.base, self.rows, self.fold, source, target)
        return self._as_read(found, self.untaught(source, target))

    def _as_read(self, found: Observations, rows: npt.NDArray[np.bool_]) -> Observations:
        return _some(calibrated(found, _some(found, self.fold != TRAINED_ON)), rows)

    def _teaching(self, check: RelationCheck) -> npt.NDArray[np.bool_]:
        """Rows that a checked relation is estimated from: (n,); all, where no head has a part in it."""
        if check.rule.of_both:
            return np.ones(len(self.fold), dtype=bool)
        return self.untaught(check.relation.source, check.relation.target)

    def untaught(self, source: Task, target: Task) -> npt.NDArray[np.bool_]:
        """Rows that may teach one of two tasks from the other: (n,).

        All rows in a fold. Of the others those that are annotated for one of the two: what the networks say
        of the other is out of sample by itself. They were trained on both annotations of a row that has both.
        """
        both = [task.annotated(self.rows.targets[task.name].numpy()) for task in (source, target)]
        return np.asarray((self.fold != TRAINED_ON) | ~(both[0] & both[1]))

    def judging(self) -> FirstStage:
        """The same of the rows in folds alone: their annotations may judge any network."""
        if not (self.fold == TRAINED_ON).any():
            return self
        where = np.flatnonzero(self.fold != TRAINED_ON)
        families = {name: family.of_rows(where) for name, family in self.families.items()}
        rows = self.rows.take(torch.from_numpy(where))
        return replace(self, rows=rows, fold=self.fold[where], families=families, alone={})

    def check(self, relation: Relation | tuple[MulticlassTask, Task]) -> RelationCheck:
        """Weigh a supplied relation, or, for a pair of tasks, whether the data show one.

        Single-task networks judge whether the tasks are related at all: layers that tasks share let the
        annotation of one speak through the predictions of the other.
        """
        given = relation if isinstance(relation, Relation) else None
        source, target = (relation.source, relation.target) if isinstance(relation, Relation) else relation
        observations, some = self.observations(source, target), self.untaught(source, target)
        alone = self.families["single-task"]
        by_fold = FoldPredictions(
            self.fold[some],
            alone.probabilities(source, alone.logits[source.name])[:, some],
            out_of_sample(alone, target, self.rows, self.fold)[some],
        )
        unseen = covered(self.rows, source, given)
        if not unseen.any():
            return check_observations(observations, given, by_fold)
        found = check_observations(
            replace(observations, class_proba=fill_unseen(observations.class_proba, unseen)),
            given,
            replace(by_fold, class_proba=np.stack([fill_unseen(p, unseen) for p in by_fold.class_proba])),
        )
        if found.verdict != "dropped":
            return found
        # Nothing is left of the table, so nothing is known of a class that only the table spoke of.
        own = check_observations(observations, None, by_fold)
        verdict = found.verdict if own.exponent > 0 else own.verdict
        return replace(own, verdict=verdict, trust=found.trust, contradictions=found.contradictions)

    def without(self, k: int, check: RelationCheck) -> Relation:
        """A checked relation as it would be, had fold `k` no class: what judges classes there.

        Where classes have few rows, most of what an estimate says of them comes from the very rows that would
        judge it. Of classes speaks the network that has not seen the fold. Labels of the fold are left in,
        classes of a target are not.
        """
        source, target = check.relation.source, check.relation.target
        seen, held_out = observations_of(self.base, self.rows, self.fold, source, target), self.fold == k
        shared = self.base
        y = np.where(held_out, MISSING_CLASS, seen.classes)
        seen = replace(seen, classes=y)
        if seen.class_to_class:
            seen = replace(seen, targets=np.where(held_out, MISSING_CLASS, seen.targets))
        judges = seen.take(self.fold != TRAINED_ON)
        by_fold = replace(seen, class_proba=shared.probabilities(source, shared.logits[source.name][k]))
        if seen.class_to_class:
            by_fold = replace(
                by_fold, target_proba=shared.probabilities(target, shared.logits[target.name][k])
            )
        seen = _some(calibrated(by_fold, judges), self._teaching(check))
        # A class whose only rows are in the fold is one that its network has never heard of.
        rest = replace(self.rows, targets={**self.rows.targets, source.name: torch.from_numpy(y)})
        return _ruled(seen, check, _unheard(rest, check))

    def parts(self, task: Task) -> npt.NDArray[np.int64]:
        """Part of each row whose labels are hidden together, 0 .. `PARTS` - 1: (n,); groups stay whole."""
        unit = np.arange(len(self.rows)) if self.rows.group is None else self.rows.group.numpy()
        known = np.unique(unit[task.annotated(self.rows.targets[task.name].numpy())])
        part = np.zeros(int(unit.max()) + 1, dtype=np.int64)
        part[known] = np.random.default_rng(len(known)).permutation(len(known)) % PARTS
        return part[unit]

    def without_labels(self, part: npt.NDArray[np.int64], check: RelationCheck) -> list[Relation]:
        """By part (n,), a checked relation as it would be, had its rows no labels: what judges labels there.

        Decoded by a relation that was estimated from them, too, labels would be told what they are. So many
        parts are hidden in turn that each estimate is nearly that of all rows, which is used in the end.
        """
        if check.rule.as_supplied:
            return [check.relation] * PARTS
        source, target = check.relation.source, check.relation.target
        found = observations_of(self.base, self.rows, self.fold, source, target)
        unheard, teaching = _unheard(self.rows, check), self._teaching(check)

        def without(k: int) -> Observations:
            return replace(found, targets=np.where((part == k)[:, None], np.nan, found.targets))

        return [_ruled(self._as_read(without(k), teaching), check, unheard) for k in range(PARTS)]


def first_stage(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    *,
    effort: Effort,
    seed: int,
    kinds: Sequence[str] = ("single-task", "shared"),
    align: bool = True,
) -> FirstStage:
    """Train single-task and balanced shared networks on all folds but one, in turn; or without a hold-out.

    Where inputs of two sources differ (`input_shifts`), vectors in memory are standardised source by source.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once; no fold divides their groups.
        tasks: Two or more tasks.
        effort: Folds, and their share of the steps, or a hold-out.
        seed: Seeds folds and networks.
        kinds: What is trained, as far as the learner offers it.
        align: Whether sources that differ are standardised by themselves.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds or a hold-out take.
    """
    shifts = found_shifts(learner, rows, tasks, seed)
    aligned = align and learner.aligns and "shared" in learner.kinds
    alignment = Alignment.of(rows, tasks) if aligned and shifts else None
    if alignment is not None:
        rows = alignment.by_source(rows)
    fold = split(rows, tasks, effort, seed)
    families = {
        name: train_family(learner, rows, tasks, fold, effort, seed, name, None)
        for name in kinds
        if name in learner.kinds
    }
    others = {
        name: train_family(learner, rows, tasks, fold, effort, seed, name, None)
        for name in (learner.alone if "single-task" in families else ())
    }
    fit_scales({**families, **others}, rows, tasks, fold)
    return FirstStage(rows, tuple(tasks), fold, families, others, shifts, alignment)


def cross_fitted_predictions(
    learner: Learner, rows: Rows, tasks: Sequence[Task], *, effort: Effort, seed: int
) -> dict[str, Array]:
    """`FirstStage.predictions` by shared networks alone, or by models of a learner that shares nothing.

    See `first_stage` for the arguments.
    """
    kinds = (base_kind(learner),)
    return first_stage(learner, rows, tasks, effort=effort, seed=seed, kinds=kinds).predictions()


def _unheard(rows: Rows, check: RelationCheck) -> npt.NDArray[np.bool_]:
    """Classes without an annotated row that the table behind a checked relation speaks of: (C,)."""
    source, target, table = check.relation.source, check.relation.target, check.rule.table
    return covered(rows, source, None if table is None else Relation(source, target, table))


def _ruled(seen: Observations, check: RelationCheck, unheard: npt.NDArray[np.bool_]) -> Relation:
    """A checked relation as its rule makes it of other rows, whose heads know nothing of some classes."""
    seen = replace(seen, class_proba=fill_unseen(seen.class_proba, unheard))
    return check.relation.replace(table=check.rule(seen))


def _some(observations: Observations, rows: npt.NDArray[np.bool_]) -> Observations:
    """Some of the rows; the very same where that is all of them."""
    return observations if rows.all() else observations.take(rows)


def observations_of(
    family: Family, rows: Rows, fold: npt.NDArray[np.int64], source: MulticlassTask, target: Task
) -> Observations:
    """Annotations and out-of-sample predictions of two tasks."""
    return Observations(
        source,
        target,
        rows.targets[source.name].numpy(),
        rows.targets[target.name].numpy().astype(np.float64),
        out_of_sample(family, source, rows, fold),
        out_of_sample(family, target, rows, fold),
        group=None if rows.group is None else rows.group.numpy(),
    )
