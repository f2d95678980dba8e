"""Names of classes, labels, rows and columns, as people write them: as text, or as the numbers they spell.

A number and its text are one name (`1`, `1.0` where a class is 1, `"1"`); text is only ever itself, so that
`"007"` and an identifier of twenty digits stay what they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TRUTH = {"True": 1, "False": 0}
EXACT = 2**53
"""Whole numbers from which a float is no longer one of them alone."""


def plain(value: object) -> Any:
    """A value of NumPy as Python's own."""
    import numpy as np

    return value.item() if isinstance(value, np.generic) else value


def is_number(value: object) -> bool:
    """Whether a name is a number, given as one or as text; truth values are none."""
    if isinstance(value, str):
        return NUMBER.fullmatch(value) is not None
    import numpy as np

    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


class Names:
    """Where each of some names stands.

    Args:
        names: Distinct names, as text.

    Attributes:
        numbered: Whether any of them is a number or a truth value, so that a number may be a name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.place = {name: i for i, name in enumerate(names)}
        self.numbered = any(is_number(name) or name in TRUTH for name in names)
        self._numbers: dict[int | float, int | None] = {}
        for i, name in enumerate(names):
            value = _spelt(name)
            if value is not None:
                self._numbers[value] = None if value in self._numbers else i

    def find(self, value: object) -> int | None:
        """Where a name stands, whether it is given as text, number or truth value; None where it is none."""
        value = plain(value)
        if isinstance(value, str) or not is_number(value):
            return self.place.get(str(value))
        if str(value) in self.place:
            return self.place[str(value)]
        if isinstance(value, float) and abs(value) >= EXACT:
            return None  # it may stand for any of several whole numbers
        return self._numbers.get(value)  # type: ignore[call-overload]


def _spelt(name: str) -> int | float | None:
    """The number that is written as this name, and as nothing else."""
    if name in TRUTH:
        return TRUTH[name]
    if not is_number(name):
        return None
    for kind in (int, float):
        try:
            if str(kind(name)) == name:
                return kind(name)
        except ValueError:
            continue
    return None


def are_whole(values: Iterable[object]) -> bool:
    """Whether all names are whole numbers: those that a table has that names nothing."""
    return all(isinstance(value, Integral) and not isinstance(value, bool) for value in values)


def spelling(name: str) -> str:
    """What names have in common that differ in capitals, composed characters or blanks around them alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def spelt_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in their spelling alone."""
    first: dict[str, str] = {}
    return [(known, name) for name in names if (known := first.setdefault(spelling(name), name)) != name]
