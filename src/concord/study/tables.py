"""The relation of a regime: as given, with shuffled rows, or estimated from the training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from concord.errors import NoAnnotationError, StudyError
from concord.relation import Relation
from concord.study.conditions.base import Setting
from concord.study.plan import Regime

__all__ = ["relations_of"]

SHUFFLE_SEED = 20
"""Which wrong table the control is: the same in every run."""


def relations_of(setting: Setting, given: Sequence[Relation], regime: Regime) -> Setting:
    """The setting with the relations that its regime speaks of.

    Raises:
        StudyError: A table cannot be estimated from the regime's rows.
    """
    if regime.table == "given":
        return replace(setting, relations=tuple(given))
    if regime.table == "shuffled":
        return replace(setting, relations=tuple(r.shuffled(SHUFFLE_SEED) for r in given))
    return replace(setting, relations=tuple(_estimated(setting, r, regime) for r in given))


def _estimated(setting: Setting, given: Relation, regime: Regime) -> Relation:
    source, target = given.source, given.target
    y, a = (setting.rows.targets[task.name].numpy() for task in (source, target))
    try:
        return Relation.from_annotations(source, target, y, a)
    except NoAnnotationError as error:
        raise StudyError(
            f"regime {regime.name!r}: {given.name} cannot be estimated without rows annotated for both; "
            "give the regime an overlap"
        ) from error
