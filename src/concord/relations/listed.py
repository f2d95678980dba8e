"""A table from lists: which labels a class shows for certain, and which with a weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from concord.errors import DuplicateNameError, ShapeError, UnknownNameError
from concord.names import Names
from concord.tasks import MulticlassTask, MultilabelTask


def listed_cells(
    source: MulticlassTask,
    target: MultilabelTask,
    prototypical: Mapping[str, Iterable[str]],
    observational: Mapping[str, Mapping[str, float]],
) -> npt.NDArray[np.float64]:
    """The cells (C, K): see `Relation.from_prototypes`, whose arguments and errors these are."""
    table = np.full((source.width, target.width), np.nan)
    rows, columns = Names(source.classes), Names(target.labels)
    for name in (*prototypical, *observational):
        table[_place(rows, "class", name)] = 0.0
    for name, weights in (
        *((n, dict.fromkeys(_once(n, labels), 1.0)) for n, labels in prototypical.items()),
        *observational.items(),
    ):
        for label, weight in weights.items():
            cell = _place(rows, "class", name), _place(columns, "label", label)
            if table[cell] != 0:
                raise DuplicateNameError(f"class {name!r} lists label {label!r} twice")
            table[cell] = weight
    return table


def _once(owner: str, labels: Iterable[str]) -> list[str]:
    if isinstance(labels, str):
        raise ShapeError(f"class {owner!r}: prototypical labels are a list of names, found {labels!r}")
    out = list(labels)
    seen: set[str] = set()
    for label in out:
        if label in seen:
            raise DuplicateNameError(f"class {owner!r} lists label {label!r} twice")
        seen.add(label)
    return out


def _place(names: Names, kind: str, name: object) -> int:
    place = names.find(name)
    if place is None:
        raise UnknownNameError.of(kind, name, names.place)
    return place
