"""Faces that people make: expression, action units, pose, light, and what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from concord.errors import RangeError, ShapeError
from concord.relations import ACTION_UNITS, expressions
from concord.study.drawn_faces.people import People, draw_people
from concord.study.drawn_faces.styles import LABORATORY, Style

Array = npt.NDArray[Any]

WEAKEST = 0.45
"""Intensity of the faintest active unit; 1 is the strongest."""


@dataclass(frozen=True)
class Faces:
    """Pictures to be taken, one a row.

    Attributes:
        people: Who is on them, one person a picture.
        person: (n,) number of the person.
        expression: (n,) index into `tables.EXPRESSIONS`.
        units: (n, 17) intensity of each action unit in [0, 1]; 0 is inactive.
        pose: (n, 3) yaw, pitch, roll in radians.
        light: (n, 2) from the right and from above, in [-1, 1].
        gaze: (n, 2) in [-1, 1].
        cover: (n, 4) kind (0 nothing, 1 bar, 2 disc), place x and y, size.
        seed: (n,) of background, hair, freckles and noise.
    """

    people: People
    person: Array
    expression: Array
    units: Array
    pose: Array
    light: Array
    gaze: Array
    cover: Array
    seed: Array

    def __len__(self) -> int:
        return len(self.units)

    @property
    def active(self) -> npt.NDArray[np.float64]:
        """(n, 17) 1 where a unit is active: the annotation of action units."""
        return (self.units > 0).astype(np.float64)

    def take(self, rows: Array | Sequence[int] | slice) -> Self:
        """Some of the pictures; each looks as it did."""
        changed = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "people"}
        return replace(self, people=self.people.take(rows), **changed)


def draw_faces(
    n: int,
    seed: int,
    style: Style = LABORATORY,
    *,
    people: People | None = None,
    person: Array | None = None,
    expression: Array | None = None,
    prior: Sequence[float] | None = None,
) -> Faces:
    """Faces at random: each action unit is active with the table's probability for the expression.

    Args:
        n: How many.
        seed: Of the draw.
        style: Says how far heads are turned, how strong the light is, how often something is in the way.
        people: Among whom to choose; a stranger on every picture unless given.
        person: (n,) rows of `people`; at random unless given.
        expression: (n,) classes; drawn from `prior` unless given.
        prior: (7,) shares of the expressions; equal unless given.

    Raises:
        EmptyDataError: No face.
        ShapeError: Persons or expressions of another number than n.
        RangeError: An unknown expression.
    """
    rng = np.random.default_rng([seed, 0xFACE5])
    table = expressions().table
    if people is None:
        people, person = draw_people(n, seed), np.arange(n)
    elif person is None:
        person = rng.integers(len(people), size=n)
    if expression is None:
        expression = rng.choice(len(table), size=n, p=prior)
    person, expression = np.asarray(person), np.asarray(expression)
    for name, values in (("persons", person), ("expressions", expression)):
        if values.shape != (n,):
            raise ShapeError(f"{name} have shape ({n},), found {values.shape}")
    if not ((expression >= 0) & (expression < len(table))).all():
        raise RangeError(f"expressions are 0 .. {len(table) - 1}, found another")
    active = rng.random((n, len(ACTION_UNITS))) < table[expression]
    # One strength for the whole expression, and a share of its own for each unit.
    strength = 0.5 * rng.random((n, 1)) + 0.5 * rng.random(active.shape)
    angles = np.array([style.yaw, style.pitch, style.roll])
    hidden = rng.random(n) < style.occlusion
    return Faces(
        people=people.take(person),
        person=person,
        expression=expression,
        units=active * (WEAKEST + (1 - WEAKEST) * strength),
        pose=np.clip(rng.normal(size=(n, 3)), -2, 2) * angles,
        light=rng.uniform(-1, 1, size=(n, 2)) * style.light,
        gaze=np.clip(rng.normal(size=(n, 2)), -2, 2) / 2,
        cover=np.column_stack([hidden * rng.integers(1, 3, size=n), rng.random((n, 3))]),
        seed=rng.integers(2**31, size=n),
    )
