"""Soft targets of a second training, from the out-of-sample predictions of a first one.

Heads have their temperature alone here. A check reads them with biases, too, and fits its exponent so;
which of the two teaches better was not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from concord.auto.cross_fitting import observations_of
from concord.auto.effort import Effort
from concord.auto.families import Family, base_kind, fit_scales, train_family, train_shared
from concord.auto.posterior import informed, posterior_targets
from concord.auto.splits import checked_folds
from concord.auto.zero_shot import covered, fill_unseen
from concord.errors import ShapeError
from concord.estimation import (
    EXPONENTS,
    Observations,
    RelationCheck,
    fit_exponent,
)
from concord.fitting import Rows
from concord.learners import Learner, Model
from concord.relations import Relation
from concord.tasks import Task

Array = npt.NDArray[np.float64]


ROUNDS_OF_SHARES = 10


def two_stage(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    relations: Sequence[Relation],
    *,
    effort: Effort,
    seed: int,
    share: float = 1.0,
    say: Callable[[str], None] = lambda message: None,
) -> Model:
    """Two stages and no guard: posterior class targets through the given relations, as they are.

    The first stage is the balanced shared network, cross-fitted, its temperature fitted on rows that it
    has not seen. The second is a balanced shared network that also learns, on rows without a class, the
    posterior of the class given their annotated targets. The evidence exponent is the one under which
    targets and first stage agree most, or the least above 0 where they do not agree beyond noise: a wrong
    table is used all the same.

    Args:
        learner: Trains and applies networks.
        rows: Training rows, each task annotated at least once; no fold divides their groups.
        tasks: Two or more tasks.
        relations: Relations between them, at least one.
        effort: Folds of the first stage, and their share of the steps.
        seed: Seeds folds and networks.
        share: Of the steps of the second stage.
        say: Told what was done.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
        ShapeError: No relation.
    """
    soft = posterior_stage(learner, rows, tasks, relations, effort=effort, seed=seed, say=say)
    return train_shared(learner, replace(rows, soft=soft), tasks, share, seed)


def posterior_stage(
    learner: Learner,
    rows: Rows,
    tasks: Sequence[Task],
    relations: Sequence[Relation],
    *,
    effort: Effort,
    seed: int,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, torch.Tensor]:
    """The first of the two stages of `two_stage`, and the soft targets of the second: by class task, (n, C).

    A row without evidence, or with a class, is NaN.

    Raises:
        RangeError: As `two_stage`.
        ShapeError: As `two_stage`.
    """
    if not relations:
        raise ShapeError("a two-stage coupling works through relations; give relations=[...]")
    fold = checked_folds(rows, tasks, effort.folds, seed)
    base = base_kind(learner)
    first = train_family(learner, rows, tasks, fold, effort, seed, base, None)
    fit_scales({base: first}, rows, tasks, fold)
    soft: dict[str, torch.Tensor] = {}
    for task in tasks:
        through = [relation for relation in relations if relation.source.name == task.name]
        if not through:
            continue
        unseen = np.any([covered(rows, task, relation) for relation in through], axis=0)
        p = fill_unseen(first.held_out(task, fold), unseen)
        some = np.zeros(len(p), dtype=bool)
        for relation in through:
            observations = observations_of(first, rows, fold, relation.source, relation.target)
            rates = observations.base_rates() if relation.base_rate is None else relation.base_rate
            used = replace(relation, base_rate=rates)
            exponent = fit_exponent(observations, relation.table, rates).exponent or EXPONENTS[1]
            told = posterior_targets(p, rows.targets[relation.target.name].numpy(), used, exponent)
            evident = np.asarray(~np.isnan(told).any(axis=1))
            p = np.where(evident[:, None], told, p)
            some |= evident
            say(f"{relation.name}: two stages, no guard, evidence exponent {exponent:g}")
        missing = ~task.annotated(rows.targets[task.name].numpy())
        targets = np.where((some & missing)[:, None], p, np.nan)
        soft[task.name] = torch.from_numpy(targets.astype(np.float32))
    return soft


def _log_evidence(rows: Rows, check: RelationCheck) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Tempered evidence of each row's annotated targets for each class, and which rows have any."""
    relation = check.relation
    values = rows.targets[relation.target.name].numpy()
    n = len(values)
    blank = np.zeros((n, relation.source.width)), np.zeros((n, relation.target.width))
    seen = Observations(
        relation.source, relation.target, np.full(n, -1), values.astype(np.float64), blank[0], blank[1]
    )
    ll = relation.evidence().of_annotations(seen.active, seen.seen)
    return check.exponent * ll, informed(relation, seen.active, seen.seen)


def _posterior(
    p: Array, rows: Rows, active: Sequence[RelationCheck], task: Task, unseen: npt.NDArray[np.bool_]
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
        return softmax(sum(terms, start=np.log(np.clip(fill_unseen(p, unseen, share), 1e-12, None))), axis=1)

    share: Array | None = None
    for _ in range(ROUNDS_OF_SHARES if unseen.any() and some.any() else 0):
        share = np.where(unseen, joined(share)[some].mean(axis=0), 0.0)
    return joined(share), some


def class_targets(
    p: Array, rows: Rows, active: Sequence[RelationCheck], task: Task, unseen: npt.NDArray[np.bool_]
) -> Array:
    """Soft class targets of rows without a class but with evidence for one: NaN elsewhere."""
    posterior, some = _posterior(p, rows, active, task, unseen)
    missing = ~task.annotated(rows.targets[task.name].numpy())
    return np.where((some & missing)[:, None], posterior, np.nan)


def taught_targets(
    family: Family,
    rows: Rows,
    active: Sequence[RelationCheck],
    tasks: Sequence[Task],
    unseen: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, torch.Tensor]:
    """Soft class targets of all rows that have evidence but no class, by task."""
    out: dict[str, torch.Tensor] = {}
    for task in tasks:
        if any(check.relation.source.name == task.name for check in active):
            targets = class_targets(family.averaged(task), rows, active, task, unseen[task.name])
            out[task.name] = torch.from_numpy(targets.astype(np.float32))
    return out
