"""Data sets of drawn faces: pictures, annotations with gaps, and the truth behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.errors import EmptyDataError
from concord.relations import Relation, expressions
from concord.study.drawn_faces.camera import render
from concord.study.drawn_faces.people import (
    ATTRIBUTES,
    People,
    attribute_table,
    attributes,
    draw_people,
    vary,
)
from concord.study.drawn_faces.poses import Faces, draw_faces
from concord.study.drawn_faces.styles import FIELD, LABORATORY, Style
from concord.tasks import MulticlassTask, MultilabelTask, Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class FaceData:
    """Pictures with annotations.

    Attributes:
        images: (n, size, size, 3), 0 .. 255.
        tasks: A class task and a label task.
        relation: P(label | class) by which the faces were drawn.
        targets: By task: (n,) classes with -1, (n, K) labels with NaN, as the databases annotate them.
        truth: The same without gaps.
        database: (n,) index of the database that a picture is of.
        faces: What is on the pictures: intensities, poses, persons.
    """

    images: npt.NDArray[np.uint8]
    tasks: tuple[MulticlassTask, MultilabelTask]
    relation: Relation
    targets: Mapping[str, Array]
    truth: Mapping[str, Array]
    database: npt.NDArray[np.int64]
    faces: Faces

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self) -> npt.NDArray[np.float32]:
        """Pictures for a network: (n, 3, size, size), 0 is the middle grey and 2 is white."""
        x = np.ascontiguousarray(self.images.transpose(0, 3, 1, 2), dtype=np.float32)
        x -= 127.5
        x /= 63.75
        return x

    def png(self, row: int, zoom: int = 2) -> bytes:
        """A picture as a PNG file."""
        from io import BytesIO

        from PIL import Image

        image, file = Image.fromarray(self.images[row]), BytesIO()
        side = image.width * zoom
        image.resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG", optimize=True)
        return file.getvalue()


def databases(
    n_expression: int = 100,
    n_units: int = 2000,
    seed: int = 0,
    *,
    size: int = 48,
    styles: tuple[Style, Style] = (FIELD, LABORATORY),
    prior: Sequence[float] | None = None,
) -> FaceData:
    """Two databases: one annotated with expressions, the other with action units; no one is in both.

    Args:
        n_expression: Pictures of the first, annotated with one of seven expressions.
        n_units: Pictures of the second, annotated with 17 action units.
        seed: Of people, faces and pictures.
        size: Pixels of a side, 32 .. 96.
        styles: Of the first and the second; by default taken anywhere, and posed before a wall.
        prior: (7,) shares of the expressions; equal unless given.

    Raises:
        EmptyDataError: A database without pictures.
        RangeError: A size outside 32 .. 96.
    """
    relation = expressions()
    parts, images = [], []
    for k, (n, style) in enumerate(zip((n_expression, n_units), styles, strict=True)):
        if n < 1:
            raise EmptyDataError(f"each of the two databases needs a picture, found {n}")
        parts.append(draw_faces(n, _seed(seed, k), style, prior=prior))
        images.append(render(parts[-1], style, size))
    faces = _joined(parts)
    database = np.repeat([0, 1], [n_expression, n_units])
    first = database == 0
    truth = {"expression": faces.expression.astype(np.int64), "action_units": faces.active}
    targets = {
        "expression": np.where(first, truth["expression"], relation.source.gaps(len(first))),
        "action_units": np.where(first[:, None], np.nan, truth["action_units"]),
    }
    return _data(images, relation, targets, truth, database, faces)


def identities(
    n_people: int = 20,
    pictures: int = 100,
    seed: int = 0,
    *,
    size: int = 48,
    style: Style = LABORATORY,
) -> FaceData:
    """People, each on several pictures with other expressions, poses and light, and what they wear.

    Glasses and beards come and go, so that attributes are not a function of the identity; what a person is
    seen with, and how often, is the relation.

    Args:
        n_people: Identities, >= 2.
        pictures: Of each person.
        seed: Of people, faces and pictures.
        size: Pixels of a side, 32 .. 96.
        style: In whose manner pictures are taken.

    Raises:
        EmptyDataError: Fewer than two people, or no pictures.
        RangeError: A size outside 32 .. 96.
    """
    if n_people < 2 or pictures < 1:
        raise EmptyDataError(f"two people with a picture each are needed, found {n_people} with {pictures}")
    people = draw_people(n_people, _seed(seed, 2))
    person = np.tile(np.arange(n_people), pictures)
    faces = draw_faces(len(person), _seed(seed, 3), style, people=people, person=person)
    faces = replace(faces, people=vary(faces.people, np.random.default_rng([seed, 0xDA7])))
    identity = MulticlassTask("identity", [f"person{k:02d}" for k in range(n_people)])
    task = MultilabelTask("attributes", ATTRIBUTES)
    truth = {"identity": person.astype(np.int64), "attributes": attributes(faces.people)}
    relation = Relation(identity, task, attribute_table(people))
    return _data([render(faces, style, size)], relation, truth, truth, np.zeros(len(person), int), faces)


def _data(
    images: Sequence[Array],
    relation: Relation,
    targets: Mapping[str, Array],
    truth: Mapping[str, Array],
    database: Array,
    faces: Faces,
) -> FaceData:
    target: Task = relation.target
    assert isinstance(target, MultilabelTask)
    return FaceData(
        np.concatenate(images), (relation.source, target), relation, targets, truth, database, faces
    )


def _seed(seed: int, k: int) -> int:
    """A seed for each part of a data set."""
    return int(np.random.SeedSequence([seed, k]).generate_state(1)[0])


def _joined(parts: Sequence[Faces]) -> Faces:
    people = {
        f.name: np.concatenate([getattr(part.people, f.name) for part in parts]) for f in fields(People)
    }
    others = [f.name for f in fields(Faces) if f.name != "people"]
    return Faces(
        people=People(**people), **{k: np.concatenate([getattr(p, k) for p in parts]) for k in others}
    )
