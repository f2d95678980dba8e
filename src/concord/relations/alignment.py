"""A ready table brought to the tasks at hand: rows and columns matched by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from concord.errors import DuplicateNameError, ShapeError, UnknownNameError
from concord.relations.reading import SHOWN, Extra, some_lacking
from concord.relations.relation import Relation
from concord.tasks import MulticlassTask, Task


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
            lacks is unknown (NaN) then, and of a table of classes to classes the rest of a row is what holds
            given that it is one of these (a row with nothing left is unknown).

    Returns:
        The relation, with prior, base rates, strengths and intervals where all names are the same.

    Raises:
        DenseOnlyError: A sparse table of other names.
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
    if source.outputs == relation.source.outputs and target.outputs == relation.target.outputs:
        return relation.replace(source=source, target=target)
    whole = (len(rows), len(columns)) == (source.width, target.width) == relation.table.shape
    if whole:  # the same names in another order, which a sparse table has as well
        r, c = np.ix_(own_rows, own_columns)
        strength, interval, prior, rates = (
            relation.strength,
            relation.interval,
            relation.prior,
            relation.base_rate,
        )
        return Relation(
            source,
            target,
            relation.table[r, c],
            strength=None if strength is None else strength[r, c],
            interval=None if interval is None else interval[:, r, c],
            prior=None if prior is None else prior[own_rows],
            base_rate=None if rates is None else rates[own_columns],
        )
    table = relation.cells("taking some of its rows and columns")[np.ix_(own_rows, own_columns)]
    if relation.class_to_class and len(own_columns) < relation.target.width:
        total = table.sum(axis=1, keepdims=True)
        table = np.divide(table, total, out=np.full_like(table, np.nan), where=total > 0)
    cells = np.full((source.width, target.width), np.nan)
    cells[np.ix_(rows, columns)] = table
    return Relation(source, target, cells)


def check_between(relations: Sequence[Relation], tasks: Iterable[Task], owner: str) -> None:
    """Refuse relations that are not each between two of the tasks, of a pair of its own.

    Args:
        relations: The relations.
        tasks: The tasks.
        owner: What has them, for messages.

    Raises:
        DuplicateNameError: Two relations between the same tasks.
        UnknownNameError: A relation of a task that is not there.
        ShapeError: A relation of a task of the same name, with other classes or labels, or in another order.
    """
    known = {task.name: task for task in tasks}
    for relation in relations:
        for task in (relation.source, relation.target):
            if task.name not in known:
                raise UnknownNameError.of(f"task in relation {relation.name}", task.name, known)
            if known[task.name] != task:
                raise ShapeError(
                    f"relation {relation.name} is of another task {task.name!r} than {owner}: "
                    "names and order of classes and labels must be the same"
                )
    pairs = [relation.name for relation in relations]
    for name in pairs:
        if pairs.count(name) > 1:
            raise DuplicateNameError(f"relations must be of distinct pairs of tasks, found {name!r} twice")


def _common(task: Task, own: Task) -> list[str]:
    return [name for name in task.outputs if name in own.outputs]


def _places(task: Task, own: Task) -> tuple[list[int], list[int]]:
    """Where the common names stand in a task, and in the table."""
    names = _common(task, own)
    return [task.outputs.index(name) for name in names], [own.outputs.index(name) for name in names]


def _check_same(task: Task, own: Task, owner: str) -> None:
    lacking, further = some_lacking(task, own.outputs), some_lacking(own, task.outputs)
    for names, what in ((lacking, "lacks"), (further, "also has")):
        if names:
            raise UnknownNameError(
                f"{owner} {what} {names} of task {task.name!r}; extra: ignore takes what both have, or write "
                "the table to CSV with `concord relation show` and adapt it"
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
