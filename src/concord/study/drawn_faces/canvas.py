"""Shapes of many pictures at once, collected first and painted picture by picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Array = npt.NDArray[Any]


def bezier(*controls: Array, steps: int = 10) -> Array:
    """Points of a Bezier curve: controls (n, 2) to (n, steps, 2)."""
    degree = len(controls) - 1
    t = np.linspace(0, 1, steps)[:, None]
    weights = [_binomial(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
    return np.einsum("sk,nkd->nsd", np.concatenate(weights, axis=1), np.stack(controls, axis=1))


def _binomial(n: int, k: int) -> int:
    from math import comb

    return comb(n, k)


def ellipse(x: Any, y: Any, rx: Any, ry: Any, steps: int = 14) -> Array:
    """Points of an ellipse: (n,) each, or a number, to (n, steps, 2)."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    x, y, rx, ry = np.broadcast_arrays(*np.atleast_1d(x, y, rx, ry))
    return np.stack(
        [x[:, None] + rx[:, None] * np.cos(angle), y[:, None] + ry[:, None] * np.sin(angle)], axis=-1
    )


def mixed(first: Array, second: Array, share: Any) -> Array:
    """A colour between two: (n, 3); `share` of the second, a number or (n,)."""
    share = np.asarray(share, dtype=float)
    return first + (share[:, None] if share.ndim else share) * (second - first)


class Canvas:
    """A list of shapes, each for all pictures.

    Args:
        n: Pictures.
        scale: Pixels of half a picture, supersampling included.
    """

    def __init__(self, n: int, scale: float) -> None:
        self._n, self._scale = n, scale
        self._shapes: list[tuple[list[list[float]], list[tuple[int, ...]], list[int] | None, list[bool]]] = []

    def polygon(self, points: Array, colour: Array, where: Array | None = None) -> None:
        """Fill a polygon.

        Args:
            points: (n, k, 2) in half pictures about the centre, y downwards.
            colour: (n, 3) or (3,), 0 .. 255.
            where: (n,) whether it is there; everywhere unless given.
        """
        self._add(points, colour, None, where)

    def line(self, points: Array, colour: Array, width: Any, where: Array | None = None) -> None:
        """Draw a line through points; `width` (n,) or a number, in half pictures."""
        pixels = np.maximum(np.rint(np.broadcast_to(width, self._n) * self._scale), 1).astype(int)
        self._add(points, colour, pixels.tolist(), where)

    def _add(self, points: Array, colour: Array, width: list[int] | None, where: Array | None) -> None:
        where = np.ones(self._n, dtype=bool) if where is None else np.asarray(where, dtype=bool)
        if not where.any():
            return
        pixels = (np.asarray(points) + 1) * self._scale
        colours = np.broadcast_to(np.clip(np.rint(colour), 0, 255).astype(int), (self._n, 3))
        self._shapes.append(
            (
                pixels.reshape(self._n, -1).tolist(),
                [tuple(c) for c in colours.tolist()],
                width,
                where.tolist(),
            )
        )

    def paint(self, i: int, image: Image.Image) -> None:
        """Paint the shapes of picture i, in the order in which they were added."""
        draw = ImageDraw.Draw(image)
        for points, colours, width, where in self._shapes:
            if not where[i]:
                continue
            if width is None:
                draw.polygon(points[i], fill=colours[i])
            else:
                draw.line(points[i], fill=colours[i], width=width[i])
