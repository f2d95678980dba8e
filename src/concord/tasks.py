"""Classification tasks: their names, their encoding, and the one convention for gaps.

A *gap* is a missing annotation: class index -1 in a multiclass task, NaN in a multilabel task. Inputs
may write a gap in the ways people do (None, NaN, empty text, a mask); `encode` brings all to the convention.
This room knows NumPy only: neither devices nor files.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt

from concord.arrays import as_array, as_floats, as_numbers, is_gap
from concord.errors import (
    AnnotationError,
    ConcordWarning,
    DuplicateNameError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.names import Names, is_number, plain, spelt_alike

Array = npt.NDArray[Any]


MISSING_CLASS = -1
"""Class index of a sample that is not annotated for a multiclass task."""


SUM_TOLERANCE = 1e-3
"""How far predicted class probabilities, perhaps of half precision, may be from a sum of 1."""


@dataclass(frozen=True)
class Encoded:
    """Targets that follow the convention already: to `encode` their numbers are indices, whatever the names.

    Attributes:
        values: (n,) with -1 for a gap, or (n, K) with NaN.
    """

    values: Any


def _names(owner: str, kind: str, values: Iterable[object], at_least: int) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ShapeError(f"{owner}: {kind} must be a list of names, found the text {values!r}")
    names = tuple(str(plain(value)) for value in values)
    if len(names) < at_least:
        raise ShapeError(f"{owner}: needs at least {at_least} {kind}, found {len(names)}")
    if any(not name.strip() for name in names):
        raise ShapeError(f"{owner}: {kind} must have names, found an empty one")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DuplicateNameError(f"{owner}: {kind} must be distinct, found {name!r} twice")
        seen.add(name)
    for known, name in spelt_alike(names):
        warnings.warn(
            f"{owner}: {known!r} and {name!r} are two {kind} that differ in spelling alone (capitals, "
            "composed characters or blanks)",
            ConcordWarning,
            stacklevel=4,
        )
    return names


@dataclass(frozen=True)
class Task(ABC):
    """What one head predicts. Abstract: use `MulticlassTask` or `MultilabelTask`.

    Args:
        name: The task's name; targets, logits and metrics are dictionaries keyed by it.
    """

    name: str

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of the head's logits, in order."""

    @property
    def width(self) -> int:
        """Number of logits of the head."""
        return len(self.outputs)

    @abstractmethod
    def encode(self, values: Any) -> Array:
        """Bring annotations to the convention for targets; see the concrete tasks."""

    @abstractmethod
    def annotated(self, targets: Array) -> npt.NDArray[np.bool_]:
        """Which samples carry at least one annotation: shape (n,)."""

    @abstractmethod
    def gaps(self, n: int) -> Array:
        """Targets of n samples without any annotation."""


@final
@dataclass(frozen=True)
class MulticlassTask(Task):
    """Exactly one of C classes per sample: a softmax head.

    Targets are an int64 array of shape (n,), in -1 .. C-1, where -1 marks a gap.

    Args:
        name: The task's name.
        classes: At least two distinct class names, in the order of the logits; numbers may be names.

    Attributes:
        values: The classes as they were given, numbers as numbers.

    Raises:
        DuplicateNameError: A class is named twice.
        ShapeError: Fewer than two classes, or an empty name.

    Warns:
        ConcordWarning: Two names that differ in capitals or composed characters alone.

    Example:
        >>> task = MulticlassTask("digit", classes=["zero", "one", "two"])
        >>> task.encode(["two", None, "zero"])
        array([ 2, -1,  0])
        >>> task.decode([2, -1])
        array(['two', None], dtype=object)
        >>> stars = MulticlassTask("stars", classes=[1, 2, 3])
        >>> stars.encode([3, 1, None])
        array([ 2,  0, -1])
        >>> stars.as_given([2, 0])
        array([3, 1])
    """

    classes: tuple[str, ...]
    values: tuple[Any, ...] = field(compare=False, repr=False)

    def __init__(self, name: str, classes: Iterable[object]) -> None:
        given = classes if isinstance(classes, str) else tuple(map(plain, classes))
        object.__setattr__(self, "name", _names("task", "name", [name], 1)[0])
        object.__setattr__(self, "classes", _names(f"task {name!r}", "classes", given, 2))
        object.__setattr__(self, "values", given)

    @cached_property
    def _known(self) -> Names:
        return Names(self.classes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.classes

    def encode(self, values: Any) -> npt.NDArray[np.int64]:
        """Bring class names or indices to indices.

        Args:
            values: Shape (n,): class names, or integer indices in -1 .. C-1. None, NaN, empty text and
                masked values are gaps. Text is always a name (`"nan"` too), a truth value the name `True` or
                `False`. Where any class name is a number, numbers are names, too, and -1 is a gap unless a
                class is called so; else they are indices.

        Returns:
            int64 array of shape (n,) in -1 .. C-1.

        Raises:
            ShapeError: Not one-dimensional.
            AnnotationError: A name that is no class, or an index out of range.
        """
        encoded = isinstance(values, Encoded)
        array = as_array(f"task {self.name!r}", values.values if isinstance(values, Encoded) else values)
        if array.ndim != 1:
            raise ShapeError(f"task {self.name!r}: class targets have shape (n,), found {array.shape}")
        if array.dtype.kind in "iuf" and (encoded or not self._known.numbered):
            return self._check_indices(array)
        if array.dtype.kind in "iuf":
            distinct, place = np.unique(array, return_inverse=True)
            first = np.unique(place, return_index=True)[1]
            return self._from_objects(distinct.astype(object), first)[place]
        if array.dtype.kind == "M" and array.dtype != "datetime64[D]":
            array = array.astype("datetime64[us]")  # of nanoseconds NumPy makes numbers, and no dates
        return self._from_objects(array.astype(object), np.arange(len(array)))

    def index(self, value: object) -> int | None:
        """Where a class stands, 0 .. C-1; None where there is no such class.

        Args:
            value: The class as text or number; a whole number is an index where no class name is a number.
        """
        value = plain(value)
        if self._known.numbered or not isinstance(value, int) or isinstance(value, bool):
            return self._known.find(value)
        return value if 0 <= value < self.width else None

    def _check_indices(self, indices: Array) -> npt.NDArray[np.int64]:
        # Checked in the dtype they came in: a cast first could turn nonsense into an index or a gap.
        if indices.dtype.kind == "f":
            indices = np.where(np.isnan(indices), MISSING_CLASS, indices)
        bad = (indices < MISSING_CLASS) | (indices >= self.width) | (indices != np.floor(indices))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self._no_index(indices.flat[row], row)
        return indices.astype(np.int64)

    def _no_index(self, value: object, row: int) -> AnnotationError:
        return AnnotationError(
            f"task {self.name!r}: class indices are whole numbers in -1 (missing) .. {self.width - 1}, "
            f"found {value} in row {row}"
        )

    def _from_objects(self, array: Array, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indices of names, numbers and gaps; `rows` says where each stands, for messages."""
        out = np.empty(len(array), dtype=np.int64)
        for i, value in enumerate(map(plain, array)):
            row = int(rows[i])
            if is_gap(value):
                out[i] = MISSING_CLASS
            elif isinstance(value, (str, bool)):  # before numbers: bool is a kind of int
                place = self._known.find(value)
                if place is None:
                    hint = UnknownNameError.hint(value, self.classes)
                    raise AnnotationError(
                        f"task {self.name!r}: unknown class {str(value)!r} in row {row}; {hint}"
                    )
                out[i] = place
            elif isinstance(value, (int, float)):
                out[i] = self._of_number(value, row)
            elif (
                place := self._value_places.get(value) if isinstance(value, Hashable) else None
            ) is not None:
                out[i] = place
            else:
                raise AnnotationError(
                    f"task {self.name!r}: a class is a name or an index, found {value!r} in row {row}"
                )
        return out

    @cached_property
    def _value_places(self) -> dict[Any, int]:
        # Classes that are neither text nor numbers (dates, members of an enumeration) are themselves; pandas
        # holds a column of dates as midnights.
        midnights = {datetime.combine(v, time()): i for i, v in enumerate(self.values) if type(v) is date}
        return midnights | {value: i for i, value in enumerate(self.values) if isinstance(value, Hashable)}

    def _of_number(self, value: float, row: int) -> int:
        if not self._known.numbered:
            if not MISSING_CLASS <= value < self.width or value != int(value):
                raise self._no_index(value, row)
            return int(value)
        place = self._known.find(value)
        if place is None and value != MISSING_CLASS:
            raise AnnotationError(
                f"task {self.name!r}: found {value} in row {row}, which is no class; numbers are names "
                f"where a class is called by a number, and no indices; known: {', '.join(self.classes[:12])}"
            )
        return MISSING_CLASS if place is None else place

    def decode(self, indices: Any) -> Array:
        """Class names of indices; a gap (-1) gives None. Shape (n,), dtype object."""
        checked = self._check_indices(np.asarray(indices))
        return np.asarray([*self.classes, None], dtype=object)[checked]

    def as_given(self, indices: Any) -> Array:
        """Classes of indices as they were given, numbers as numbers; a gap (-1) gives None. Shape (n,).

        Of dtype object; where all classes are numbers, or all are truth values, and nothing is a gap, of
        theirs.
        """
        checked = self._check_indices(np.asarray(indices))
        numbers = all(is_number(value) and not isinstance(value, str) for value in self.values)
        truth = all(isinstance(value, bool) for value in self.values)
        if (numbers or truth) and (checked != MISSING_CLASS).all():
            return np.asarray(self.values)[checked]
        table = np.empty(self.width + 1, dtype=object)
        for i, value in enumerate(self.values):
            table[i] = value
        return table[checked]

    def annotated(self, targets: Array) -> npt.NDArray[np.bool_]:
        """Which samples carry a class, by their encoded targets (n,): shape (n,)."""
        return np.asarray(targets) != MISSING_CLASS

    def gaps(self, n: int) -> npt.NDArray[np.int64]:
        """Targets of n samples without a class: int64, shape (n,), all -1."""
        return np.full(n, MISSING_CLASS, dtype=np.int64)


@final
@dataclass(frozen=True)
class MultilabelTask(Task):
    """K binary labels per sample, any number of them present: K sigmoid heads.

    Targets are a float32 array of shape (n, K) with 0 (absent), 1 (present) or NaN (not annotated).

    Args:
        name: The task's name.
        labels: At least one distinct label name, in the order of the logits.

    Raises:
        DuplicateNameError: A label is named twice.
        ShapeError: No label, or an empty name.
    """

    labels: tuple[str, ...]

    def __init__(self, name: str, labels: Iterable[object]) -> None:
        object.__setattr__(self, "name", _names("task", "name", [name], 1)[0])
        object.__setattr__(self, "labels", _names(f"task {name!r}", "labels", labels, 1))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Label names, in the order of the logits."""
        return self.labels

    def encode(self, values: Any) -> npt.NDArray[np.float32]:
        """Bring labels to float32 with NaN for gaps.

        Args:
            values: Shape (n, K), or (n,) where K is 1: 0/1, booleans, and None, NaN, empty text or a
                masked value for a gap. Text is read as the number that it spells, `"nan"` among them.
                Columns of a pandas or polars table that have names are taken by name, in any order, a number
                as the name that it spells, ``TASK.LABEL`` as the label where all are called so; such without
                (`column_0` ..., or 0, 1, ... where no label is called by a number) by position. A sparse
                array is made dense.

        Returns:
            float32 array of shape (n, K) holding 0, 1 or NaN.

        Raises:
            ShapeError: Another number of columns than labels, or rows of different lengths.
            UnknownNameError: A named column that is no label.
            DuplicateNameError: A named column that occurs twice.
            AnnotationError: A value other than 0, 1 or a gap.
        """
        values = values.values if isinstance(values, Encoded) else values
        array = as_array(f"task {self.name!r}", _own_columns(self, values), None, self.labels)
        if array.ndim == 1 and self.width == 1:
            array = array[:, None]
        if array.ndim != 2 or array.shape[1] != self.width:
            raise ShapeError(
                f"task {self.name!r}: label targets have shape (n, {self.width}), found {array.shape}"
            )
        try:
            numbers = as_floats(array)
        except (TypeError, ValueError) as error:
            raise AnnotationError(
                f"task {self.name!r}: labels are 0, 1 or missing, found a value that is no number"
            ) from error
        bad = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise AnnotationError(
                f"task {self.name!r}: labels are 0, 1 or NaN (missing), found {numbers[row, column]} "
                f"in row {row}, label {self.labels[column]!r}"
            )
        return numbers.astype(np.float32)

    def annotated(self, targets: Array) -> npt.NDArray[np.bool_]:
        """Which samples carry at least one label, by their encoded targets (n, K): shape (n,)."""
        return (~np.isnan(np.asarray(targets))).any(axis=1)

    def gaps(self, n: int) -> npt.NDArray[np.float32]:
        """Targets of n samples without a label: float32, shape (n, K), all NaN."""
        return np.full((n, self.width), np.nan, dtype=np.float32)


def unite_tasks(groups: Iterable[Iterable[Task]]) -> tuple[Task, ...]:
    """The tasks of several data sets; those of one name become one, with the outputs of all.

    Args:
        groups: The tasks of each data set. Classes and labels are joined in the order of their first
            appearance.

    Raises:
        AnnotationError: One name for a multiclass and a multilabel task.
    """
    out: dict[str, Task] = {}
    for task in (task for group in groups for task in group):
        known = out.get(task.name, task)
        if type(known) is not type(task):
            raise AnnotationError(
                f"task {task.name!r} has classes in one source and labels in another; rename one of them, or "
                "choose the tasks of each source"
            )
        outputs = tuple(dict.fromkeys((*known.outputs, *task.outputs)))
        make = MulticlassTask if isinstance(task, MulticlassTask) else MultilabelTask
        out[task.name] = known if outputs == known.outputs else make(task.name, outputs)
    return tuple(out.values())


def task_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Names of several tasks, checked to be distinct.

    Raises:
        ShapeError: No task at all.
        DuplicateNameError: Two tasks carry one name.
    """
    names = [task.name for task in tasks]
    if not names:
        raise ShapeError("at least one task is needed, found none")
    for name in names:
        if names.count(name) > 1:
            raise DuplicateNameError(f"task names must be distinct, found {name!r} twice")
    return tuple(names)


def _own_columns(task: Task, values: Any) -> Any:
    """A table whose columns are all called ``TASK.OUTPUT``, as those of several tasks are, by its outputs."""
    columns = getattr(values, "columns", None)
    names = [] if columns is None or not hasattr(values, "rename") else list(columns)
    start = f"{task.name}."
    if not names or not all(isinstance(name, str) and name.startswith(start) for name in names):
        return values
    if any(name in task.outputs for name in names):
        return values
    new = {name: name.removeprefix(start) for name in names}
    return values.rename(columns=new) if hasattr(values, "iloc") else values.rename(new)


def as_predictions(task: Task, values: Any, rows: int | None = None) -> npt.NDArray[np.float64]:
    """Predicted probabilities of a task: (n, C) or (n, K). Named columns of a table are taken by name.

    Args:
        task: The task.
        values: In [0, 1]; of classes, each row sums to 1.
        rows: How many there must be; None for any number.

    Raises:
        ShapeError: Something else than numbers, or another number of rows or columns.
        RangeError: Predictions that are no probabilities.
        UnknownNameError: A column that is no class or label.
    """
    array = as_numbers(f"predictions of {task.name!r}", _own_columns(task, values), None, task.outputs)
    if array.ndim != 2 or array.shape != (len(array) if rows is None else rows, task.width):
        n = "n" if rows is None else rows
        raise ShapeError(f"predictions of {task.name!r} have shape ({n}, {task.width}), found {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():
        raise RangeError(f"predictions of {task.name!r} are probabilities, all in [0, 1]")
    if isinstance(task, MulticlassTask):
        total = array.sum(axis=1)
        wrong = np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE)
        if len(wrong):
            raise RangeError(
                f"predictions of {task.name!r} are probabilities of classes, each row sums to 1, found "
                f"{total[wrong[0]]:.6g} in row {wrong[0]}"
            )
    return array
