r"""The one intermediate form of annotated data: a table, one row per sample, a gap is null.

Columns: `path` (relative to the root, POSIX slashes, without steps such as `./`), `row` (row of a feature
file) or `text`, at least one of them; `split` (train, val, test or null); `group` (subject, video; or null);
`source` where rows of several data sets are in one table; for a multiclass task one column `TASK` of class
names; for a multilabel task one column `TASK.LABEL` a label with 0, 1 or null. Where several people annotated
a sample, one column `TASK.p.CLASS` per class holds their votes as shares that sum to 1 (dots of a class are
escaped, `\.`); they are soft targets, and `TASK` holds the class of most votes. Further columns are kept as
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.errors import (
    AnnotationError,
    ConfigError,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    UnknownNameError,
    UnsafePathError,
)
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task, task_names

SPLITS = ("train", "val", "test")
"""The only values of the column `split`, besides null."""

LOCATORS = ("path", "row", "text")
"""Columns that say where a sample is; a manifest has at least one of them."""

SUM_TOLERANCE = 1e-3
"""How far the sum of a row's soft targets may be from 1: they may have been written with few digits."""

RESERVED = (*LOCATORS, "split", "group", "source")

# Absolute, on a drive, leaving the root, with a separator of another system, or with a NUL.
UNSAFE_PATH = r"^/|^[A-Za-z]:|(^|/)\.\.(/|$)|\\|\x00|^$"


# A step of a path that stays where it is: `.`, or nothing between two slashes.
IDLE_STEP = r"(^|/)\./|//|/\.?$"


class RowError(AnnotationError):
    """A value that a manifest does not allow, in row `row` (counted from 0)."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(f"{message} in row {row}")
        self.message, self.row = message, row


@dataclass(frozen=True, eq=False)
class Manifest:
    """Samples and what is annotated on them.

    On construction everything is checked, class columns and `split` become enumerations, label columns
    int8; `split` and `group` are added, all null, where they are missing. A file has one spelling: the paths
    `./a.png` and `b//c.png` become `a.png` and `b/c.png`.

    Args:
        frame: One row a sample; see the module for its columns.
        tasks: The tasks whose columns are in the frame; none for samples without annotation.
        root: What `path` is relative to.
        name: What to call this data.
        origins: Data sets with terms of their own that rows come from, by the names of their readers; kept
            through files, joins and splits.

    Raises:
        EmptyDataError: No rows.
        UnknownNameError: A task's column is missing, or none of `path`, `row` and `text` is there.
        DuplicateNameError: Two tasks of one name, or two tasks that need the same column.
        AnnotationError: A class, label, split or locator that is not allowed; names column and row.
        UnsafePathError: A path that is absolute, leaves the root or has backslashes.

    Example:
        >>> pet = MulticlassTask("pet", ["cat", "dog"])
        >>> frame = pl.DataFrame({"path": ["a.png", "b.png"], "pet": ["dog", None]})
        >>> Manifest(frame, (pet,)).targets()
        {'pet': array([ 1, -1])}
    """

    frame: pl.DataFrame
    tasks: tuple[Task, ...]
    root: Path | None = None
    name: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tasks = tuple(self.tasks)
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "root", None if self.root is None else Path(self.root))
        check_columns(tasks)
        object.__setattr__(self, "frame", _checked(self.frame, tasks))

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        tasks = ", ".join(f"{task.name} ({task.width})" for task in self.tasks)
        return f"Manifest({self.name!r}, {len(self):,} rows, tasks: {tasks or 'none'}, root: {self.root})"

    def task(self, name: str) -> Task:
        """The task of this name.

        Raises:
            UnknownNameError: No such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownNameError.of("task", name, (task.name for task in self.tasks))

    def targets(self) -> dict[str, npt.NDArray[Any]]:
        """Encoded targets by task: int64 (n,) with -1, or float32 (n, K) with NaN, for gaps."""
        return {task.name: self._encoded(task) for task in self.tasks}

    def _encoded(self, task: Task) -> npt.NDArray[Any]:
        if isinstance(task, MulticlassTask):
            index = self.frame[task.name].to_physical().cast(pl.Int64).fill_null(MISSING_CLASS)
            return index.to_numpy(writable=True)
        out = np.empty((len(self), task.width), dtype=np.float32)
        for k, column in enumerate(task_columns(task)):  # one at a time: millions of rows fit in memory once
            out[:, k] = self.frame[column].cast(pl.Float32).fill_null(np.nan).to_numpy()
        return out

    def soft_targets(self) -> dict[str, npt.NDArray[np.float32]]:
        """Soft targets by class task, for those that have any: float32 (n, C), rows of NaN for none."""
        tasks = [task for task in self.tasks if has_soft_targets(self.frame, task)]
        return {
            task.name: self.frame.select(
                pl.col(soft_columns(task)).cast(pl.Float32).fill_null(np.nan)
            ).to_numpy()
            for task in tasks
        }

    def annotated(self, task: str) -> npt.NDArray[np.bool_]:
        """Which rows carry at least one annotation of a task: shape (n,)."""
        columns = task_columns(self.task(task))
        some = pl.any_horizontal(pl.col(columns).is_not_null())
        return self.frame.select(some).to_series().to_numpy()

    # -- parts of it -------------------------------------------------------------------------------

    def filter(self, condition: pl.Expr | str) -> Manifest:
        """The rows that meet a condition.

        Args:
            condition: A polars expression, or one in SQL: `split = 'train' AND "units.AU1" = 1`.

        Raises:
            ConfigError: A condition that cannot be read or applied.
            EmptyDataError: No row meets it.
        """
        try:
            expression = pl.sql_expr(condition) if isinstance(condition, str) else condition
            frame = self.frame.filter(expression)
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0].partition("; valid columns")[0]
            names = ", ".join(self.frame.columns[:12]) + (", ..." if self.frame.width > 12 else "")
            raise ConfigError(
                f"cannot apply the condition {str(condition)!r}: {reason}; columns: {names}"
            ) from error
        if frame.is_empty():
            raise EmptyDataError(
                f"none of {len(self):,} rows of {self.name or 'the manifest'} meets {condition}"
            )
        return replace(self, frame=frame)

    def select(self, *names: str) -> Manifest:
        """The same rows with some of the tasks, in this order; the columns of the others go.

        Raises:
            UnknownNameError: No such task.
        """
        kept = tuple(self.task(name) for name in names)
        gone = [task for task in self.tasks if task not in kept]
        columns = [c for task in gone for c in (*task_columns(task), *soft_columns(task))]
        return replace(self, frame=self.frame.drop(columns, strict=False), tasks=kept)

    def partition(self, column: str = "source") -> dict[str, Manifest]:
        """One manifest a value of a column, by that value, in the order of first appearance.

        Raises:
            UnknownNameError: No such column.
            NoAnnotationError: Rows without a value in the column.
        """
        if column not in self.frame.columns:
            raise UnknownNameError.of("column", column, self.frame.columns)
        if self.frame[column].null_count():
            raise NoAnnotationError(
                f"column {column!r} is empty in {self.frame[column].null_count()} rows; filter them out first"
            )
        parts = self.frame.partition_by(column, maintain_order=True, as_dict=True)
        return {str(key[0]): replace(self, frame=part, name=str(key[0])) for key, part in parts.items()}


def task_columns(task: Task) -> list[str]:
    """The columns of a task in a manifest: `TASK`, or `TASK.LABEL` for every label."""
    if isinstance(task, MultilabelTask):
        return [f"{task.name}.{label}" for label in task.labels]
    return [task.name]


def soft_columns(task: Task) -> list[str]:
    """The columns of a class task's soft targets, `TASK.p.CLASS`; none of a multilabel task."""
    if isinstance(task, MultilabelTask):
        return []
    return [f"{task.name}.p." + name.replace(".", "\\.") for name in task.outputs]


def has_soft_targets(frame: pl.DataFrame, task: Task) -> bool:
    """Whether a table holds soft targets of a task."""
    return any(column in frame.columns for column in soft_columns(task))


def class_type(task: MulticlassTask) -> pl.Enum:
    """The column type of a multiclass task: an enumeration whose codes are the class indices."""
    return pl.Enum(task.classes)


def check_columns(tasks: Sequence[Task]) -> None:
    """Refuse tasks that need the same column, or one that every manifest has.

    Raises:
        DuplicateNameError: Two tasks of one name, or of one column; names both.
    """
    if tasks:
        task_names(tasks)
    owner: dict[str, str] = dict.fromkeys(RESERVED, "every manifest")
    for task in tasks:
        for column in task_columns(task):
            if column in owner:
                raise DuplicateNameError(
                    f"task {task.name!r} needs column {column!r}, which belongs to {owner[column]}"
                )
            owner[column] = f"task {task.name!r}"


def _checked(frame: pl.DataFrame, tasks: Sequence[Task]) -> pl.DataFrame:
    if frame.is_empty():
        raise EmptyDataError("a manifest has at least one row, found none")
    for task in tasks:
        for column in task_columns(task):
            if column not in frame.columns:
                raise UnknownNameError.of(f"column (of task {task.name!r})", column, frame.columns)
    columns = [_split(frame), _group(frame), *_locators(frame)]
    for task in tasks:
        if isinstance(task, MulticlassTask):
            columns.append(class_names(frame[task.name], task.name, class_type(task), "class"))
            if has_soft_targets(frame, task):
                columns.extend(_shares(frame, task))
        else:
            columns.extend(_labels(frame[column]) for column in task_columns(task))
    return frame.with_columns(columns)


def _split(frame: pl.DataFrame) -> pl.Series:
    if "split" not in frame.columns:
        return pl.Series("split", [None], dtype=pl.Enum(SPLITS)).new_from_index(0, frame.height)
    return class_names(frame["split"], "split", pl.Enum(SPLITS), "split")


def _group(frame: pl.DataFrame) -> pl.Series:
    if "group" not in frame.columns:
        return pl.Series("group", [None], dtype=pl.String).new_from_index(0, frame.height)
    column = frame["group"]
    if not (column.dtype.is_integer() or _textual(column)):
        raise AnnotationError(f"column 'group' holds text, found {column.dtype}")
    return column.cast(pl.String)


def _locators(frame: pl.DataFrame) -> list[pl.Series]:
    present = [name for name in LOCATORS if name in frame.columns]
    if not present:
        raise UnknownNameError(
            f"a manifest has a column 'path', 'row' or 'text', found {', '.join(frame.columns[:12])}"
        )
    nowhere = frame.select(pl.all_horizontal(pl.col(present).is_null())).to_series()
    if nowhere.any():
        raise RowError(f"every sample has a {' or '.join(present)}, found none", _first(nowhere))
    return [_locator(frame[name]) for name in present]


def _locator(column: pl.Series) -> pl.Series:
    if column.name == "row":
        if not (column.dtype.is_integer() or column.dtype == pl.Null):
            raise AnnotationError(f"column 'row' holds whole numbers, found {column.dtype}")
        rows = column.cast(pl.Int64)
        if rows.null_count() < len(rows) and int(rows.min()) < 0:  # type: ignore[arg-type]
            raise RowError("a row of a feature file counts from 0, found a negative one", _first(rows < 0))
        return rows
    if not _textual(column):
        raise AnnotationError(f"column {column.name!r} holds text, found {column.dtype}")
    texts = column.cast(pl.String)
    if column.name == "path":
        unsafe = texts.str.contains(UNSAFE_PATH)
        if unsafe.any():
            row = _first(unsafe)
            raise UnsafePathError(
                f"a path is relative to the root, inside it, with forward slashes; found {texts[row]!r} "
                f"in row {row}"
            )
        texts = _one_spelling(texts)
    return texts


def _one_spelling(paths: pl.Series) -> pl.Series:
    """Paths without steps that lead nowhere: `./a.png` and `b//a.png` are the files `a.png` and `b/a.png`."""
    if not paths.str.contains(IDLE_STEP).any():
        return paths
    inner = paths.str.replace_all(r"/(\.?/)+", "/")
    return inner.str.replace(r"^\./(.)", "${1}").str.replace(r"(.)/\.?$", "${1}")


def _textual(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)


def class_names(column: pl.Series, name: str, dtype: pl.Enum, kind: str) -> pl.Series:
    """A column of names as an enumeration; `name` and `kind` are what messages call it and its names.

    Raises:
        AnnotationError: A column that holds no text, or a name that the enumeration does not have.
    """
    if column.dtype == dtype:
        return column
    if not _textual(column):
        raise AnnotationError(f"column {name!r} holds {kind} names as text, found {column.dtype}")
    texts = column if column.dtype == pl.String else column.cast(pl.String)
    out = texts.cast(dtype, strict=False)
    if out.null_count() > texts.null_count():
        row = _first(out.is_null() & texts.is_not_null())
        unknown = UnknownNameError.of(kind, texts[row], dtype.categories)
        raise RowError(f"column {name!r}: {unknown}", row)
    return out


def _shares(frame: pl.DataFrame, task: MulticlassTask) -> list[pl.Series]:
    """Soft targets of a class task: in a row all of them or none, each in [0, 1], and 1 in sum."""
    names = soft_columns(task)
    for name in names:
        if name not in frame.columns:
            raise UnknownNameError.of(f"column (soft targets of task {task.name!r})", name, frame.columns)
        if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Null):
            raise AnnotationError(f"column {name!r}: soft targets are numbers, found {frame[name].dtype}")
    shares = frame.select(pl.col(names).cast(pl.Float64).fill_nan(None))
    given = shares.select(pl.sum_horizontal(pl.all().is_not_null())).to_series()
    total = shares.sum_horizontal()
    outside = shares.select(pl.any_horizontal(~pl.all().is_between(0, 1)).fill_null(False)).to_series()
    bad = (given > 0) & ((given < len(names)) | outside | ((total - 1).abs() > SUM_TOLERANCE))
    if bad.any():
        row = _first(bad)
        found = ", ".join("null" if share is None else f"{share:g}" for share in shares.row(row))
        raise RowError(
            f"soft targets of task {task.name!r} are shares in [0, 1] that sum to 1, or all null; "
            f"found {found}",
            row,
        )
    return [column.cast(pl.Float32) for column in shares]


def _labels(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None)
    elif not (column.dtype.is_integer() or column.dtype in (pl.Boolean, pl.Null)):
        raise AnnotationError(f"column {column.name!r}: labels are 0, 1 or null, found {column.dtype}")
    bad = ~column.cast(pl.Int8).is_in([0, 1]) if column.dtype in (pl.Boolean, pl.Null) else _beyond(column)
    if bad.any():
        row = _first(bad)
        raise RowError(f"column {column.name!r}: labels are 0, 1 or null, found {column[row]}", row)
    return column.cast(pl.Int8)


def _beyond(column: pl.Series) -> pl.Series:
    return ~((column == 0) | (column == 1))


def _first(mask: pl.Series) -> int:
    return int(mask.fill_null(False).arg_max() or 0)
