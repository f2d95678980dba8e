"""The cells of a relation out of a table file, whose rows and columns stand in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from concord.errors import RangeError, UnknownNameError
from concord.relations.table_file import TableFile, read_table
from concord.tasks import MulticlassTask, Task

Extra = Literal["error", "ignore"]
"""What names that the tasks do not have are: a mistake, or of no interest."""

SHOWN = 3
"""Names that a message lists."""


def read_cells(
    source: MulticlassTask,
    target: Task,
    path: str | Path,
    *,
    transpose: bool,
    normalize: bool,
    extra: Extra,
    complete: bool,
) -> npt.NDArray[np.float64]:
    """The cells (C, K), NaN where unknown: see `Relation.from_csv`, whose arguments and errors these are."""
    if extra not in get_args(Extra):
        raise UnknownNameError.of("value of extra", extra, get_args(Extra))
    file = read_table(path)
    of_rows, of_columns = (target, source) if transpose else (source, target)
    if _turned(file, of_rows, of_columns):
        raise UnknownNameError(
            f"{path}: its rows are {_kind(of_columns)} names of {of_columns.name!r} and its columns "
            f"{_kind(of_rows)} names of {of_rows.name!r}; read it with transpose={not transpose}"
        )
    rows = _positions([file.place(i) for i in range(len(file.rows))], file.rows, of_rows, extra)
    columns = _positions([file.place(None)] * len(file.columns), file.columns, of_columns, extra)
    read = np.ix_(list(rows), list(columns))
    if complete:
        _check_complete(path, [(of_rows, rows.values()), (of_columns, columns.values())])
    cells = file.cells[read]
    wrong = np.argwhere((cells < 0) | ((cells > 1) & (not normalize)))
    if len(wrong):
        i, j = list(rows)[wrong[0][0]], list(columns)[wrong[0][1]]
        percent = "; percentages divide by 100" if 1 < file.cells[i, j] <= 100 else ""
        raise RangeError(
            f"{file.place(i)}: {file.cells[i, j]:g} in column {file.columns[j]!r} is no probability; "
            f"these lie in [0, 1]{percent}"
        )
    table = np.full((of_rows.width, of_columns.width), np.nan)
    table[np.ix_(list(rows.values()), list(columns.values()))] = cells
    table = np.ascontiguousarray(table.T) if transpose else table
    if normalize:
        total = np.nansum(table, axis=1, keepdims=True)
        table = np.divide(np.nan_to_num(table), total, out=np.full_like(table, np.nan), where=total > 0)
    return table


def _kind(task: Task) -> str:
    return "class" if isinstance(task, MulticlassTask) else "label"


def _turned(file: TableFile, of_rows: Task, of_columns: Task) -> bool:
    """Whether rows and columns are the other way round: a file that could be read in no other way."""
    rows, columns = set(file.rows), set(file.columns)
    other_way = rows & set(_places(of_columns)) and columns & set(_places(of_rows))
    return bool(other_way) and not rows & set(_places(of_rows))


def _places(task: Task) -> dict[str, int]:
    """Where each class or label stands, by its name, and by that without blanks around, as in files."""
    names = task.outputs
    return {name.strip(): i for i, name in enumerate(names)} | {name: i for i, name in enumerate(names)}


def _positions(places: Sequence[str], names: Sequence[str], task: Task, extra: Extra) -> dict[int, int]:
    index, out = _places(task), {}
    for i, name in enumerate(names):
        if name in index:
            out[i] = index[name]
        elif extra == "error":
            raise UnknownNameError(f"{places[i]}: {UnknownNameError.of(_kind(task), name, task.outputs)}")
    return out


def _check_complete(path: str | Path, there: Sequence[tuple[Task, Iterable[int]]]) -> None:
    lacking = [(task.name, some_lacking(task, [task.outputs[i] for i in own])) for task, own in there]
    told = " and ".join(f"{names} of task {task!r}" for task, names in lacking if names)
    if told:
        raise UnknownNameError(
            f"{path} lacks {told}; add what is lacking, with blank cells where nobody knows, or take all of "
            "it for unknown with extra: ignore"
        )


def some_lacking(task: Task, there: Iterable[str]) -> str:
    """The first classes or labels of a task that are not there, in words; nothing where all are."""
    known = set(there)
    lacking = [name for name in task.outputs if name not in known]
    return ", ".join(lacking[:SHOWN]) + ", ..." * (len(lacking) > SHOWN)
