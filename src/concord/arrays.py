"""Arrays as people hand them over, and the one name for a NumPy array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.errors import AnnotationError, DuplicateNameError, RangeError, ShapeError, UnknownNameError
from concord.names import Names, are_whole, plain

Array = npt.NDArray[Any]

CONSTANT = 1e-12
"""A column that deviates less than so, of 1 or of its mean where that is larger, is constant."""


def whole_number(what: str, value: Any, least: int = 1) -> int:
    """A whole number >= least; what it is called begins the message.

    Raises:
        RangeError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise RangeError(f"{what} is a whole number >= {least}, found {value!r}")
    return int(value)


def share(what: str, value: Any) -> float:
    """A share in [0, 1); what it is called begins the message.

    Raises:
        RangeError: It is none.
    """
    number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise RangeError(f"{what} is a share in [0, 1), found {value!r}")
    return float(value)


def as_array(owner: str, values: Any, *names: Sequence[str] | None) -> Array:
    """An array of what people hold their data in, keeping what NumPy alone would lose.

    That is the mask of a masked array (None, in an array of objects); in a list with text or truth values,
    what is a number or a gap (NumPy makes one dtype of all); and the names of a table. A sparse array is
    made dense.

    Args:
        owner: Whose values they are, for messages.
        values: A list, an array, a tensor of torch on any device, or a table or column of pandas or polars.
        names: For each axis, the names in the order to bring it to where `values` names it; None leaves it as
            it comes. A number is the name that it spells; whole numbers 0, 1, ... are indices where no name
            is a number.

    Raises:
        ShapeError: Rows of different lengths, a name that the table lacks, or names of several levels.
        UnknownNameError: A name that the axis does not have.
        DuplicateNameError: A name that occurs twice.
    """
    if isinstance(values, np.ma.MaskedArray):
        array = values.data.astype(object)
        array[np.ma.getmaskarray(values)] = None
        return array
    if hasattr(values, "detach"):
        values = _of_tensor(values)
    if hasattr(values, "toarray"):  # SciPy's sparse arrays
        values = values.toarray()
    mixed = isinstance(values, (list, tuple)) and any(isinstance(v, (str, bool, np.bool_)) for v in values)
    try:
        array = np.asarray(values, dtype=object if mixed else None)
    except ValueError as error:
        lengths = [len(row) if hasattr(row, "__len__") else None for row in values]
        odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
        raise ShapeError(
            f"{owner}: rows have one length, found another in row {odd} than in row 0; a row of which "
            "nothing is known holds a gap (None) in each column"
        ) from error
    for axis, (given, wanted) in enumerate(zip(_axes(values), names, strict=False)):
        order = None if given is None or wanted is None else _order(owner, axis, given, wanted)
        if order is not None:
            array = array.take(order, axis=axis)
    return array


def _of_tensor(values: Any) -> Array:
    """A tensor of torch as an array; types that NumPy lacks, such as bfloat16, become float32."""
    here = values.detach().cpu()
    try:
        array: Array = here.numpy()
    except TypeError:
        array = here.to_dense().float().numpy()
    return array


def _axes(values: Any) -> list[Any]:
    axes = getattr(values, "axes", None)  # pandas: index and columns
    return axes if isinstance(axes, list) else [None, getattr(values, "columns", None)]


def _order(owner: str, axis: int, given: Iterable[object], wanted: Sequence[str]) -> list[int] | None:
    """Where each wanted name stands among those given; None where that is in order, or nothing is named."""
    kind, found = ("column" if axis else "row"), [plain(name) for name in given]
    if any(isinstance(name, tuple) for name in found):
        raise ShapeError(
            f"{owner}: the {kind}s have names of several levels, such as {found[0]!r}; join them into one "
            "name each"
        )
    numbers = list(range(len(found)))
    unnamed = [f"column_{i}" for i in numbers]  # what polars calls columns without names
    if found == unnamed and set(unnamed) != set(wanted):
        return None
    names = Names(wanted)
    if are_whole(found) and not names.numbered:  # numbers count as indices where no name is a number
        if sorted(found) == numbers:
            return None if found == numbers else [found.index(i) for i in numbers]
        raise UnknownNameError(
            f"{owner}: the {kind}s are called {_few(found)}, which are neither names nor the indices "
            f"0 .. {len(wanted) - 1}; an array without names is taken by position"
        )
    return _by_name(owner, kind, found, wanted, names)


def _by_name(
    owner: str, kind: str, found: Sequence[object], wanted: Sequence[str], names: Names
) -> list[int] | None:
    place: dict[int, int] = {}
    twice: list[object] = []
    for i, name in enumerate(found):
        at = names.find(name)
        if at is None:
            raise UnknownNameError(
                f"{owner}: {UnknownNameError.of(kind, name, wanted)}; an array without names is taken by "
                "position"
            )
        twice += [name] if place.setdefault(at, i) != i else []
    if twice:
        raise DuplicateNameError(f"{owner}: {kind} {str(twice[0])!r} occurs twice")
    for at, name in enumerate(wanted):
        if at not in place:
            raise ShapeError(f"{owner}: the table has no {kind} {name!r}")
    order = [place[at] for at in range(len(wanted))]
    return None if order == list(range(len(wanted))) else order


def _few(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")


def as_numbers(what: str, values: Any, *names: Sequence[str] | None) -> npt.NDArray[np.float64]:
    """A float64 array with NaN for gaps, copied only where it is none; otherwise as `as_array`.

    Raises:
        ShapeError: What is no number, or rows of different lengths, or a name that the table lacks.
        UnknownNameError: A name that the axis does not have.
        DuplicateNameError: A name that occurs twice.
    """
    array = as_array(what, values, *names)
    try:
        return as_floats(array)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{what} must be an array of numbers ({error})") from error


def as_floats(array: Array) -> npt.NDArray[np.float64]:
    """Numbers, with every gap as NaN, in float64."""
    if array.dtype.kind in "OU":
        array = array.astype(object)
        array = np.where(np.vectorize(is_gap, otypes=[bool])(array), np.nan, array)
    return array.astype(np.float64, copy=False)


def is_gap(value: object) -> bool:
    """Whether a value stands for a missing annotation: None, NaN, NaT, pandas' NA or a masked entry."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return type(value).__name__ in {"NAType", "NaTType"}  # pandas' missing values, without pandas


def group_of_rows(groups: Any, n: int) -> Array | None:
    """Groups of n rows as numbers: (n,), in the order of what they are called; None where rows stand alone.

    Args:
        groups: (n,) numbers, text or any other values, equal ones for rows that belong together; None.
        n: Number of rows.

    Raises:
        ShapeError: Another number of rows.
        AnnotationError: A row without a group: None, NaN, a masked entry, blank text.
    """
    if groups is None:
        return None
    given = as_array("groups", groups)
    if given.shape != (n,):
        raise ShapeError(f"groups has shape ({n},), found {given.shape}")
    if given.dtype.kind in "iub":
        return given
    values = given.tolist()
    row: dict[Any, int] = {}
    for i, value in enumerate(values):
        row.setdefault(value, i)
    for value, i in row.items():
        if is_gap(value):
            raise AnnotationError(
                f"groups: row {i} has none ({value!r}); every row belongs to a group, if only its own"
            )
    ordered = any(all(isinstance(value, kind) for value in row) for kind in (str, Real))
    called = {value: value if ordered else str(value) for value in row}
    place = {name: k for k, name in enumerate(sorted(set(called.values())))}
    return np.fromiter((place[called[value]] for value in values), np.int64, n)


def moments(rows: Array) -> tuple[Array, Array]:
    """Mean and deviation of each column, (n, width) to two of (width,); not finite where numbers overflow.

    Computed in the type of the rows. In float64 the deviation of a constant column is exactly 0, where
    rounding alone would make it a little more.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        rounding = CONSTANT * np.maximum(1.0, np.abs(mean))
        return mean, np.where(deviation <= rounding, 0.0, deviation)


def check_probability(owner: str, table: Array) -> None:
    """Raise `RangeError` unless all known entries of `table` lie in [0, 1]."""
    known = table[~np.isnan(table)]
    bad = known[(known < 0) | (known > 1)]
    if bad.size:
        raise RangeError(f"{owner}: probabilities lie in [0, 1], found {bad[0]}")
