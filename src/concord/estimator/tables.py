"""y as a table: a column for each class task, one for each label, as scikit-learn can index and split it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.arrays import as_array
from concord.data import task_columns
from concord.errors import ConcordError, DuplicateNameError, ShapeError, UnknownNameError
from concord.names import EXACT
from concord.tasks import MulticlassTask, Task, task_names


def target_frame(tasks: Sequence[Task], y: Mapping[str, Any]) -> pl.DataFrame:
    """Targets by task name as one table, which scikit-learn can index, split and hand to `fit`.

    Args:
        tasks: The tasks.
        y: By task name, targets with gaps, as `CoupledClassifier.fit` takes them.

    Returns:
        A polars table (`.to_pandas()` makes one of pandas): of a class task the column ``TASK`` with its
        classes as they were given (numbers, truth values and dates as such; names where they are of several
        kinds, or beside gaps numbers that a float does not hold), of a label task the columns ``TASK.LABEL``
        with 0 and 1; null for gaps. A task that y lacks has no column.

    Raises:
        ShapeError: No task, no targets, or targets of different numbers of rows.
        UnknownNameError: A task in y of another name.
        DuplicateNameError: Two tasks of one name, or that need the same column.
        AnnotationError: A value that is no class or label.

    Example:
        >>> import concord as cc
        >>> pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
        >>> y = {"pet": ["dog", None], "trait": [[None], [1]]}
        >>> cc.target_frame([pet, trait], y).columns
        ['pet', 'trait.purrs']
    """
    known = dict(zip(task_names(tasks), tasks, strict=True))
    for name in y:
        if name not in known:
            raise UnknownNameError.of("task in y", name, known)
    given = [task for task in tasks if task.name in y]
    _columns(given)
    series = [column for task in given for column in _series(task, y[task.name])]
    lengths = {column.name: len(column) for column in series}
    if len(set(lengths.values())) != 1:
        raise ShapeError(f"y has targets of one number of rows for each task, found {lengths or 'none'}")
    return pl.DataFrame(series)


def _series(task: Task, values: Any) -> list[pl.Series]:
    encoded = task.encode(values)
    if isinstance(task, MulticlassTask):
        return [_of_classes(task, task.as_given(encoded))]
    columns = zip(task_columns(task), encoded.T, strict=True)
    return [pl.Series(name, each).fill_nan(None).cast(pl.Int8) for name, each in columns]


def _of_classes(task: MulticlassTask, given: npt.NDArray[Any]) -> pl.Series:
    """Classes (n,) as the task was given them, with None for gaps, as a column."""
    values = given.tolist()
    dtype = _type_of_classes(task, None in values)
    if dtype == pl.String:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(task.name, values, dtype=dtype)


def _type_of_classes(task: MulticlassTask, gaps: bool) -> pl.DataType:
    """What a column of its classes holds: text, unless all are numbers, truth values, dates or times."""
    kinds = {type(value) for value in task.values}
    largest = EXACT if gaps else 2**63  # whole numbers beside gaps become floats in an array
    numbers = kinds <= {int, float} and all(abs(value) < largest for value in task.values)
    times = kinds == {datetime} and all(value.tzinfo is None for value in task.values)
    if numbers or times or kinds in ({bool}, {date}):
        return pl.Series(task.as_given(np.arange(task.width)).tolist()).dtype
    return pl.String()


def is_table(y: Any) -> bool:
    """Whether y is a table with named columns, of pandas or polars."""
    return hasattr(y, "columns") and len(getattr(y, "shape", ())) == 2


def by_task(y: Any, tasks: Sequence[Task]) -> dict[str, Any]:
    """Targets by task name of a dictionary, or of a table as `target_frame` makes it.

    Raises:
        UnknownNameError: A task, or a column of a table, that belongs to no task.
        ShapeError: Neither a dictionary nor a table, or a table with some labels of a task but not all.
        DuplicateNameError: Two tasks of one name, or a column that occurs twice.
    """
    names = task_names(tasks)
    if isinstance(y, Mapping):
        for name in y:
            if name not in names:
                raise UnknownNameError.of("task in y", name, names)
        return dict(y)
    if not is_table(y):
        raise ShapeError(
            "y is a dictionary by task name, or a table with named columns, where tasks=[...] are given, "
            f"found {type(y).__name__}"
        )
    owners = _columns(tasks)
    present = [str(name) for name in y.columns]
    for name in present:
        if name not in owners:
            raise UnknownNameError.of("column in y", name, owners)
        if present.count(name) > 1:
            raise DuplicateNameError(f"column {name!r} occurs twice in y")
    return {task.name: _of_table(y, task, present) for task in tasks if _has(task, present)}


def _columns(tasks: Sequence[Task]) -> list[str]:
    """Columns of all tasks, each of one."""
    names = [name for task in tasks for name in task_columns(task)]
    for name in names:
        if names.count(name) > 1:
            raise DuplicateNameError(f"two tasks need the column {name!r}; rename one of them")
    return names


def _has(task: Task, present: Sequence[str]) -> bool:
    wanted = task_columns(task)
    found = [name for name in wanted if name in present]
    if found and len(found) < len(wanted):
        missing = next(name for name in wanted if name not in present)
        raise ShapeError(
            f"y has {len(found)} of {len(wanted)} columns of task {task.name!r}; {missing!r} is missing; "
            "a label that nobody annotated is a column of gaps"
        )
    return bool(found)


def _of_table(y: Any, task: Task, present: Sequence[str]) -> npt.NDArray[Any]:
    own = dict(zip(present, y.columns, strict=True))  # a column that is called 0 is task "0"
    if isinstance(task, MulticlassTask):
        return as_array(f"task {task.name!r}", y[own[task.name]])
    columns = [as_array(name, y[own[name]]).astype(object) for name in task_columns(task)]
    return np.stack(columns, axis=1)


# -- predictions as a table ----------------------------------------------------------------------------


@dataclass(frozen=True)
class TableForm:
    """The table that an estimator was fitted on, for predictions of the same form.

    Attributes:
        library: ``"pandas"`` or ``"polars"``.
        columns: Its columns, in order.
    """

    library: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, y: Any) -> TableForm | None:
        """The form of a table; None of what is no table."""
        if not is_table(y):
            return None
        library = "polars" if isinstance(y, pl.DataFrame) else "pandas"
        return cls(library, tuple(str(name) for name in y.columns))

    def filled(self, tasks: Sequence[Task], predictions: Mapping[str, Any], index: Any = None) -> Any:
        """Predictions by task, classes (n,) or labels (n, K), as such a table.

        Tasks that the table lacked, which were learnt from `soft`, follow as further columns.

        Args:
            tasks: The tasks.
            predictions: By task name.
            index: The index of its rows, in pandas.

        Raises:
            ConcordError: pandas is not installed here (a model that was fitted elsewhere).
        """
        columns: dict[str, Any] = {}
        for task in tasks:
            values = predictions[task.name]
            of_task = [values] if isinstance(task, MulticlassTask) else list(values.T)
            columns |= dict(zip(task_columns(task), of_task, strict=True))
        order = [*self.columns, *(name for name in columns if name not in self.columns)]
        chosen = {name: columns[name] for name in order}
        if self.library == "polars":
            classes = {task.name: task for task in tasks if isinstance(task, MulticlassTask)}
            return pl.DataFrame(
                {
                    name: _of_classes(classes[name], values) if name in classes else values.tolist()
                    for name, values in chosen.items()
                }
            )
        try:
            import pandas as pd
        except ImportError as error:
            raise ConcordError(
                "the model was fitted on a table of pandas, which is not installed: pip install pandas"
            ) from error
        return pd.DataFrame(chosen, index=index)
