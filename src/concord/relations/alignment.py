"""A ready table brought to the tasks at hand: rows and columns matched by name."""

from __future__ import annotations

import numpy as np

from concord.errors import UnknownNameError
from concord.relations.reading import Extra
from concord.relations.relation import Relation
from concord.tasks import MulticlassTask, Task

SHOWN = 3


def aligned(
    relation: Relation, source: MulticlassTask, target: Task, owner: str, *, extra: Extra = "error"
) -> Relation:
    """A relation between two tasks, from a table whose rows and columns may stand in another order.

    Args:
        relation: The table.
        source: The task of the rows.
        target: The task of the columns, of the same kind as the table's.
        owner: What to call the table in messages.
        extra: Whether the names must be the same, or those of one side alone are ignored: what the table
            lacks is unknown (NaN) then.

    Raises:
        UnknownNameError: A table of another kind, a turned one, one without a common class and label, or
            (unless `extra="ignore"`) other names than the tasks have.
    """
    if type(target) is not type(relation.target):
        kinds = ["classes" if isinstance(t, MulticlassTask) else "labels" for t in (relation.target, target)]
        raise UnknownNameError(
            f"{owner} has {kinds[0]} as columns, and task {target.name!r} has {kinds[1]}; give another table"
        )
    pairs = ((source, relation.source), (target, relation.target))
    if not all(_common(task, own) for task, own in pairs):
        raise _nothing_in_common(owner, relation, source, target)
    if extra == "error":
        for task, own in pairs:
            _check_same(task, own, owner)
    rows, own_rows = _places(source, relation.source)
    columns, own_columns = _places(target, relation.target)
    cells = np.full((source.width, target.width), np.nan)
    cells[np.ix_(rows, columns)] = relation.table[np.ix_(own_rows, own_columns)]
    return Relation(source, target, cells)


def _common(task: Task, own: Task) -> list[str]:
    return [name for name in task.outputs if name in own.outputs]


def _places(task: Task, own: Task) -> tuple[list[int], list[int]]:
    """Where the common names stand in a task, and in the table."""
    names = _common(task, own)
    return [task.outputs.index(name) for name in names], [own.outputs.index(name) for name in names]


def _check_same(task: Task, own: Task, owner: str) -> None:
    lacking = [name for name in task.outputs if name not in own.outputs]
    further = [name for name in own.outputs if name not in task.outputs]
    for names, what in ((lacking, "lacks"), (further, "also has")):
        if names:
            raise UnknownNameError(
                f"{owner} {what} {', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)} of task "
                f"{task.name!r}; extra: ignore takes what both have, or write the table to CSV with "
                "`concord relation show` and adapt it"
            )


def _nothing_in_common(owner: str, relation: Relation, source: Task, target: Task) -> UnknownNameError:
    if _common(source, relation.target) and _common(target, relation.source):
        return UnknownNameError(
            f"{owner} is transposed: its rows are {_some(relation.source)}, and rows are classes of "
            f"{source.name!r}; exchange rows and columns"
        )
    task, own = next(
        pair for pair in ((source, relation.source), (target, relation.target)) if not _common(*pair)
    )
    return UnknownNameError(
        f"{owner} has no class or label in common with task {task.name!r}: it lists {_some(own)}, the task "
        f"{_some(task)}"
    )


def _some(task: Task) -> str:
    return ", ".join(task.outputs[:SHOWN]) + (", ..." if task.width > SHOWN else "")
