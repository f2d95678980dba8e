"""Relations and couplings as they were given to an estimator, checked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from concord.couplings import Coupling, coupling_names, make_couplings
from concord.errors import DuplicateNameError, ShapeError, UnknownNameError
from concord.estimator.settings import one_of, sequence_of
from concord.relations import Relation
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
    pairs = [relation.name for relation in relations]
    for name in pairs:
        if pairs.count(name) > 1:
            raise DuplicateNameError(f"relations must be of distinct pairs of tasks, found {name!r} twice")
    known = {task.name: task for task in tasks}
    for relation in relations:
        for task in (relation.source, relation.target):
            if task.name not in known:
                raise UnknownNameError.of(f"task in relation {relation.name}", task.name, known)
            if known[task.name] != task:
                raise ShapeError(
                    f"relation {relation.name} is of another task {task.name!r} than the model: "
                    "names and order of classes and labels must be the same"
                )
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
