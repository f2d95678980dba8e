"""People: the shape, colours and marks of a face, and what of it an attribute task names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from concord.errors import EmptyDataError

Array = npt.NDArray[Any]

ATTRIBUTES = (
    "glasses",
    "beard",
    "moustache",
    "bald",
    "long_hair",
    "fringe",
    "dark_hair",
    "fair_hair",
    "mole",
    "scar",
    "freckles",
    "heavy_brows",
)
"""What the attribute task says of a picture."""

SKINS = np.array(
    [(250, 222, 200), (240, 200, 170), (222, 172, 135), (190, 138, 100), (140, 94, 66), (98, 64, 46)]
)
HAIRS = np.array([(36, 28, 26), (66, 44, 30), (112, 72, 42), (160, 92, 48), (214, 176, 104), (176, 174, 172)])
IRISES = np.array([(70, 44, 26), (92, 66, 34), (64, 104, 70), (70, 112, 160)])
DARK, FAIR = (0, 1), (4, 5)
BALD, SHORT, FRINGE, LONG = range(4)


@dataclass(frozen=True)
class People:
    """People, one a row; lengths are in half pictures, about 0.

    Attributes:
        shape: (n, 14) standard normal: the measures of `SHAPES`, in standard deviations.
        skin: (n, 3) 0 .. 255.
        hair_colour: (n,) 0 .. 5, an index of `HAIRS`.
        iris: (n, 3) 0 .. 255.
        hair: (n,) 0 bald, 1 short, 2 fringe, 3 long.
        glasses: (n,) 0 or 1.
        frame: (n,) in [0, 1]: from round to square, fine to heavy.
        beard: (n,) 0 or 1.
        moustache: (n,) 0 or 1.
        mole: (n,) 0 or 1.
        scar: (n,) 0 or 1.
        freckles: (n,) 0 or 1.
        spot: (n, 4) in [0, 1]: where mole and scar are.
    """

    shape: Array
    skin: Array
    hair_colour: Array
    iris: Array
    hair: Array
    glasses: Array
    frame: Array
    beard: Array
    moustache: Array
    mole: Array
    scar: Array
    freckles: Array
    spot: Array

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, rows: Array | Sequence[int] | slice) -> Self:
        """Some of the people, or some of them several times."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def measure(self, name: str) -> Array:
        """A measure in standard deviations: (n,)."""
        return self.shape[:, SHAPES.index(name)]


SHAPES = (
    "width",
    "jaw",
    "chin",
    "eye_gap",
    "eye_size",
    "eye_tilt",
    "brow_height",
    "brow_thickness",
    "nose_width",
    "nose_length",
    "mouth_width",
    "mouth_height",
    "upper_lip",
    "lower_lip",
)
"""Measures of a face, in the order of `People.shape`."""


def draw_people(n: int, seed: int) -> People:
    """People at random; the first n are the same for every larger number.

    Args:
        n: How many, >= 1.
        seed: Of the draw.

    Raises:
        EmptyDataError: n is 0 or less.
    """
    if n < 1:
        raise EmptyDataError(f"at least one person is needed, found n = {n}")
    u = np.stack([np.random.default_rng([seed, i, 0xFACE]).random(48) for i in range(n)])
    # Means of uniform numbers are near enough to normal, and never far out.
    shape = (u[:, :14] + u[:, 14:28] - 1) * np.sqrt(6)
    tone = u[:, 28] * (len(SKINS) - 1)
    low = np.minimum(tone.astype(int), len(SKINS) - 2)
    skin = SKINS[low] + (tone - low)[:, None] * (SKINS[low + 1] - SKINS[low])
    hair = np.digitize(u[:, 29], (0.12, 0.45, 0.7))
    hairy = (u[:, 34] < 0.45) & (hair != LONG)
    # Dark hair comes with dark skin more often, as fair hair does with fair.
    colour = np.digitize(u[:, 30] + 0.25 * (0.4 - u[:, 28]), (0.25, 0.45, 0.62, 0.74, 0.9))
    return People(
        shape=shape,
        skin=skin,
        hair_colour=colour,
        iris=IRISES[(u[:, 31] * len(IRISES)).astype(int)].astype(float),
        hair=hair,
        glasses=(u[:, 32] < 0.25).astype(int),
        frame=u[:, 33],
        beard=(hairy & (u[:, 35] < 0.7)).astype(int),
        moustache=(hairy & (u[:, 36] < 0.65)).astype(int),
        mole=(u[:, 37] < 0.2).astype(int),
        scar=(u[:, 38] < 0.15).astype(int),
        freckles=((u[:, 39] < 0.35) & (u[:, 28] < 0.55)).astype(int),
        spot=u[:, 40:44],
    )


def attributes(people: People) -> npt.NDArray[np.float64]:
    """What the attribute task says of each person as drawn: (n, 12), 0 or 1."""
    hair = people.hair != BALD
    found = {
        "glasses": people.glasses,
        "beard": people.beard,
        "moustache": people.moustache,
        "bald": people.hair == BALD,
        "long_hair": people.hair == LONG,
        "fringe": people.hair == FRINGE,
        "dark_hair": hair & np.isin(people.hair_colour, DARK),
        "fair_hair": hair & np.isin(people.hair_colour, FAIR),
        "mole": people.mole,
        "scar": people.scar,
        "freckles": people.freckles,
        "heavy_brows": people.measure("brow_thickness") > HEAVY,
    }
    return np.stack([np.asarray(found[name], dtype=float) for name in ATTRIBUTES], axis=1)


HEAVY = 0.7
"""Brows this many standard deviations thicker than the mean are heavy."""

KEPT = {"glasses": 0.85, "beard": 0.8, "moustache": 0.8}
"""How often a person who wears it has it on; the other attributes never change."""

PUT_ON = {"glasses": 0.05}
"""How often a person without it is seen with it: sunglasses, reading glasses."""


def attribute_table(people: People) -> npt.NDArray[np.float64]:
    """P(attribute | person) over pictures: (n, 12)."""
    table = attributes(people)
    for name, kept in KEPT.items():
        column = table[:, ATTRIBUTES.index(name)]
        column[:] = np.where(column == 1, kept, PUT_ON.get(name, 0.0))
    return table


def vary(people: People, rng: np.random.Generator) -> People:
    """The same people on another day: glasses off or on, beards shaved, as `attribute_table` says."""
    changed = {}
    for name, kept in KEPT.items():
        has, u = getattr(people, name) == 1, rng.random(len(people))
        changed[name] = np.where(has, u < kept, u < PUT_ON.get(name, 0.0)).astype(int)
    return replace(people, **changed)
