"""The relation of a regime: as given, wrong as a control, or estimated from the training rows alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np

from concord.auto import Effort, cross_fitted_predictions
from concord.errors import RangeError, StudyError, UnknownNameError
from concord.estimation import estimate_relation
from concord.relations import Relation
from concord.study.conditions.base import Setting
from concord.study.conditions.learner import StudyLearner
from concord.study.spec import Regime
from concord.tasks import Encoded

Control = Literal["shuffled", "partly-wrong"]
"""Wrong tables: every row another's, or some rows and, class to label, some cells."""

Shown = Literal["given", Control]
"""What a condition may be shown: the regime's tables, or wrong ones in their place."""

MOVED, FLIPPED = 0.25, 0.1
"""Share of the rows that a partly wrong table has at other classes, and of the cells that it turns over."""

SHUFFLE_SEED = 20
"""Which wrong table the control of a regime is: the same in every run."""


def control(relation: Relation, kind: Control, seed: int) -> Relation:
    """A wrong table in place of a right one.

    Args:
        relation: The right one.
        kind: `shuffled`: rows in an order without a fixed point (`Relation.shuffled`). `partly-wrong`: a
            quarter of the rows, at least two, trade places; after that, each known cell of a class-to-label
            table is turned over (1 - cell) with probability 0.1.
        seed: Seeds what is drawn.

    Raises:
        DenseOnlyError: A partly wrong table of a sparse one.
        UnknownNameError: A kind of another name.
    """
    if kind not in get_args(Control):
        raise UnknownNameError.of("control table", kind, get_args(Control))
    if kind == "shuffled":
        return relation.shuffled(seed)
    table = relation.cells("a partly wrong control").copy()
    rng, c = np.random.default_rng([seed, 77]), len(table)
    moved = rng.permutation(c)[: max(2, round(MOVED * c))]
    table[moved] = table[np.roll(moved, 1)]
    if not relation.class_to_class:
        table = np.where(rng.random(table.shape) < FLIPPED, 1 - table, table)  # 1 - NaN stays a gap
    return Relation(relation.source, relation.target, table, prior=relation.prior)


def shown(setting: Setting, table: Shown) -> Setting:
    """The setting with the tables that a condition is shown; wrong ones are others for each seed."""
    if table == "given":
        return setting
    return replace(setting, relations=tuple(control(r, table, setting.seed) for r in setting.relations))


def relations_of(setting: Setting, given: Sequence[Relation], regime: Regime) -> Setting:
    """The setting with the relations that its regime names.

    A table is estimated from the rows that are annotated for both tasks; where there are none, from what
    cross-fitted shared networks without coupling say of the others (`estimate_relation`).

    Raises:
        StudyError: A table cannot be estimated from the regime's rows.
    """
    if regime.table == "given":
        return replace(setting, relations=tuple(given))
    if regime.table == "estimated":
        return replace(setting, relations=tuple(_estimated(setting, r, regime) for r in given))
    return replace(setting, relations=tuple(control(r, regime.table, SHUFFLE_SEED) for r in given))


FOLDS, SHARE = 4, 0.45
"""Of the cross-fitting, and of the budget's steps that each of its networks gets."""

_made: WeakKeyDictionary[Relation, dict[str, tuple[Relation, float]]] = WeakKeyDictionary()
"""Estimated tables, with the seconds that each took."""


def _estimated(setting: Setting, given: Relation, regime: Regime) -> Relation:
    source, target = given.source, given.target
    y, a = (setting.rows.targets[task.name].numpy() for task in (source, target))
    if (source.annotated(y) & target.annotated(a)).any():
        group = setting.rows.group
        groups = None if group is None else group.numpy()
        return Relation.from_annotations(source, target, Encoded(y), Encoded(a), groups=groups)
    # Every condition of a seed is given the same table, so it is made once for all that train here.
    parts = (regime, setting.network, setting.budget, *([setting.recipe] if setting.recipe else []))
    key = "/".join((*(part.model_dump_json() for part in parts), str(setting.seed)))
    made = _made.setdefault(given, {})
    if key in made:
        relation, seconds = made[key]
        setting.spared.append(seconds)
        return relation
    start = time.perf_counter()
    try:
        p = cross_fitted_predictions(
            StudyLearner(replace(setting, relations=())),
            setting.rows,
            setting.tasks,
            effort=Effort(FOLDS, SHARE),
            seed=setting.seed,
        )
    except RangeError as error:
        raise StudyError(f"regime {regime.name!r}: a table cannot be estimated: {error}") from error
    relation = estimate_relation(
        source,
        target,
        Encoded(y),
        Encoded(a),
        class_proba=p[source.name],
        target_proba=p[target.name],
        groups=None if setting.rows.group is None else setting.rows.group.numpy(),
    )
    made[key] = relation, time.perf_counter() - start
    return relation
