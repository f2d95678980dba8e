"""What a relation is made of, checked: its two tasks, its arrays, weights of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import as_numbers, check_probability
from concord.errors import DuplicateNameError, RangeError, ShapeError
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]

ROW_SUM_TOLERANCE = 1e-6
"""How far a distribution may be from a sum of 1."""


def check_ends(source: object, target: object) -> None:
    """Check what a relation leads from and to.

    Raises:
        ShapeError: A source that is no multiclass task, or a target that is no task.
        DuplicateNameError: One task as both.
    """
    if not isinstance(source, MulticlassTask):
        swapped = isinstance(source, Task) and isinstance(target, MulticlassTask)
        raise ShapeError(
            f"the source of a relation is a multiclass task, found {_shown(source)}"
            + ("; source and target are swapped" if swapped else "")
        )
    if not isinstance(target, Task):
        raise ShapeError(
            f"the target of a relation is a multilabel or multiclass task, found {_shown(target)}"
        )
    if source == target:
        raise DuplicateNameError(
            f"a relation leads from one task to another, found {source.name!r} as source and target"
        )


def _shown(value: object) -> str:
    name = value.name if isinstance(value, Task) else value
    return type(value).__name__ + (f" {name!r}" if isinstance(name, str) else "")


def row_weights(weights: Any, n: int) -> Array:
    """Weights of n rows, checked: (n,).

    Raises:
        ShapeError: What is no number.
        RangeError: Another shape, or a weight that is negative or not finite, or none above 0.
    """
    w = as_numbers("weights", weights)
    if w.shape != (n,) or not ((w >= 0) & np.isfinite(w)).all() or not w.any():
        raise RangeError(f"weights have shape ({n},), are finite and >= 0, and not all 0")
    return w


def is_sparse(values: Any) -> bool:
    """Whether values are a sparse array of SciPy, by its mark and without importing it."""
    return hasattr(values, "tocsr")


def table_of(owner: str, what: str, values: Any, shape: tuple[int, ...], *names: Sequence[str]) -> Any:
    """A table as a relation keeps it: an array that nobody can change, or a sparse one as CSR.

    Args:
        owner: Whose it is, in messages.
        what: Which of the owner's, in messages.
        values: As people hand it over; see `as_numbers`.
        shape: That it must have.
        names: Of rows and columns, by which tables that have names are taken.

    Raises:
        ShapeError: Another shape, or a sparse array with indices beyond it.
        DuplicateNameError: A sparse array that stores a cell twice.
    """
    if is_sparse(values):
        return _csr(owner, what, values, shape)
    return array_of(owner, what, values, shape, *names)


def _csr(owner: str, what: str, values: Any, shape: tuple[int, ...]) -> Any:
    from scipy import sparse

    if values.shape != shape:
        raise ShapeError(f"{owner}: {what} has shape {shape}, found {values.shape}")
    _check_indices(owner, what, values)
    array = sparse.csr_array(values, dtype=np.float64, copy=True)
    _check_indices(owner, what, array)  # of kinds that keep none of their own
    array.sum_duplicates()
    if array.nnz != values.nnz:
        raise DuplicateNameError(f"{owner}: the sparse {what} stores a cell twice")
    unknown = np.isnan(array.data)
    if unknown.any():
        kept = np.repeat(np.arange(shape[0]), np.diff(array.indptr))[~unknown]
        where = (array.data[~unknown], (kept, array.indices[~unknown]))
        array = sparse.csr_array(where, shape=shape)
    for part in (array.data, array.indices, array.indptr):
        part.setflags(write=False)
    return array


def _check_indices(owner: str, what: str, values: Any) -> None:
    """Refuse indices beyond the shape: SciPy looks at none, and reads and writes outside its memory."""
    try:
        if values.format in ("csr", "csc", "bsr"):
            values.check_format(full_check=True)
        elif values.format == "coo":
            for index, size in zip((values.row, values.col), values.shape, strict=True):
                if len(index) != values.nnz or (len(index) and not 0 <= index.min() <= index.max() < size):
                    raise ValueError(f"an index lies outside 0 .. {size - 1}")
    except ValueError as error:
        raise ShapeError(f"{owner}: the sparse {what} is damaged: {error}") from error


def array_of(owner: str, what: str, values: Any, shape: tuple[int, ...], *names: Sequence[str]) -> Array:
    """Numbers of one shape, as an array that nobody can change; see `table_of`.

    Raises:
        ShapeError: Another shape.
    """
    array = np.array(as_numbers(f"{owner}: {what}", values, *names))
    if array.shape != shape:
        raise ShapeError(f"{owner}: {what} has shape {shape}, found {array.shape}")
    array.setflags(write=False)
    return array


def check_distributions(owner: str, source: MulticlassTask, table: Any) -> None:
    """Check that every row of a class-to-class table is a distribution, or unknown as a whole.

    Raises:
        RangeError: A row that is known in part, or does not sum to 1.
    """
    if is_sparse(table):
        count, total = np.diff(table.indptr), table.sum(axis=1)
        whole = count > 0
    else:
        known = ~np.isnan(table)
        count, total, whole = known.sum(axis=1), table.sum(axis=1), known.all(axis=1)
    wrong = np.flatnonzero((count > 0) & ~(whole & (np.abs(total - 1) <= ROW_SUM_TOLERANCE)))
    if len(wrong) and not whole[wrong[0]]:
        raise RangeError(
            f"{owner}: the row of class {source.classes[wrong[0]]!r} is known in part; a class-to-class row "
            "is a distribution, known or unknown as a whole"
        )
    if len(wrong):
        raise RangeError(
            f"{owner}: the row of class {source.classes[wrong[0]]!r} must sum to 1, found "
            f"{total[wrong[0]]:.6g}"
        )


def prior_of(owner: str, values: Any, classes: Sequence[str]) -> Array:
    """Class probabilities, checked: (C,).

    Raises:
        ShapeError: Another shape.
        RangeError: No distribution.
    """
    prior = array_of(owner, "prior", values, (len(classes),), classes)
    if not (prior >= 0).all() or abs(prior.sum() - 1) > ROW_SUM_TOLERANCE:
        raise RangeError(
            f"{owner}: the prior is a distribution over {len(classes)} classes, it sums to {prior.sum():.6g}"
        )
    return prior


def base_rate_of(owner: str, values: Any, target: Task) -> Array:
    """Probabilities of labels, or of target classes, checked: (K,).

    Raises:
        ShapeError: Another shape.
        RangeError: A probability outside [0, 1] or NaN; of target classes no distribution.
    """
    rate = array_of(owner, "base_rate", values, (target.width,), target.outputs)
    check_probability(f"{owner}, base_rate", rate)
    if np.isnan(rate).any():
        raise RangeError(
            f"{owner}: the base_rate of {target.outputs[int(np.isnan(rate).argmax())]!r} is NaN; leave out "
            "base_rate as a whole where it is not known"
        )
    if isinstance(target, MulticlassTask) and abs(rate.sum() - 1) > ROW_SUM_TOLERANCE:
        raise RangeError(
            f"{owner}: the base_rate is a distribution over {target.width} classes, it sums to "
            f"{rate.sum():.6g}"
        )
    return rate
