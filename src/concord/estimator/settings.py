"""Whether the settings of an estimator can be used, said before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import torch

from concord.arrays import whole_number
from concord.errors import RangeError, ShapeError, UnknownNameError


def number(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """A number in [low, high), or with `above` in (low, high).

    Raises:
        RangeError: It is none.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if not fits or not (low < value if above else low <= value) or not value < high:
        ends = f"{'>' if above else '>='} {low:g} and " + (f"< {high:g}" if high < math.inf else "finite")
        raise RangeError(f"{name} is a number {ends}, found {value!r}")
    return float(value)


def processes(value: Any) -> None:
    """Check `n_jobs`: None, a number of processes >= 1, or -1 for one per core.

    Raises:
        RangeError: It is something else.
    """
    if value is not None and value != -1:
        whole_number("n_jobs, where it is not -1 (one per core),", value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names.

    Raises:
        UnknownNameError: It is none.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise UnknownNameError.of(name, value, names)
    return value


def sequence_of(name: str, values: Any, kind: Any, what: str) -> list[Any]:
    """A list of things of a kind; None is an empty one.

    Raises:
        ShapeError: It is no list, or holds something else.
    """
    if values is None:
        return []
    if isinstance(values, (str, Iterator)) or not isinstance(values, Iterable):  # an iterator is used up once
        raise ShapeError(f"{name} is a list of {what}, found {type(values).__name__}")
    values = list(values)
    for value in values:
        if not isinstance(value, kind):
            raise ShapeError(f"{name} is a list of {what}, found a {type(value).__name__} in it")
    return values


def check_device(device: Any) -> None:
    """Refuse a device that this machine cannot train on.

    Raises:
        RangeError: It is unknown, or is not there.
    """
    try:
        found = torch.empty(0, device=torch.device(device))
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise RangeError(f"device {str(device)!r} cannot be used on this machine: {reason}") from error
    if found.is_meta:
        raise RangeError("device 'meta' holds no numbers; nothing can be trained on it")
