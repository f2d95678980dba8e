"""Relations and couplings as they were given to an estimator, checked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from concord.couplings import Coupling, coupling_names, make_couplings
from concord.estimator.settings import one_of, sequence_of
from concord.relations import Relation, check_between
from concord.tasks import Task

CHOOSING = ("auto", "two-stage")
"""Names of ways to train that choose or stage couplings themselves."""


def checked_relations(relations: Sequence[Relation] | None, tasks: Sequence[Task]) -> list[Relation]:
    """Relations between the tasks.

    Raises:
        DuplicateNameError: Two relations between the same tasks.
        UnknownNameError: A relation of a task that is not there.
        ShapeError: A relation of a task of the same name, with other classes or labels.
    """
    relations = list(relations or [])
    check_between(relations, tasks, "the model")
    return relations


def checked_couplings(coupling: Any) -> list[Coupling]:
    """Couplings by name or as objects; none where the name is one of a way that chooses them.

    Raises:
        UnknownNameError: A name of none.
        ShapeError: Something that is no coupling.
    """
    if coupling is None:
        return []
    if isinstance(coupling, str):
        name = one_of("coupling", coupling, (*CHOOSING, *coupling_names()))
        return [] if name in CHOOSING else make_couplings(name)
    given = [coupling] if isinstance(coupling, Coupling) else coupling
    # A copy: a coupling may hold running sums, which are one training's and not the next one's.
    return copy.deepcopy(sequence_of("coupling", given, Coupling, "couplings, or a name, or None"))
