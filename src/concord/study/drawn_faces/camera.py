"""Pictures of faces, taken in the manner of a database."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from concord.errors import RangeError
from concord.study.drawn_faces.anatomy import Sketch
from concord.study.drawn_faces.poses import Faces
from concord.study.drawn_faces.styles import LABORATORY, Style

SIZES = (32, 96)
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Faces at a time: their coordinates as Python numbers take about 20 kB each.
BLOCK = 256


def render(faces: Faces, style: Style = LABORATORY, size: int = 48) -> npt.NDArray[np.uint8]:
    """Take pictures: (n, size, size, 3), red, green and blue.

    A picture depends on its face, the style and the size alone, not on other faces of the batch.

    Args:
        faces: What is on them.
        style: In whose manner.
        size: Pixels of a side, 32 .. 96.

    Raises:
        RangeError: A size outside 32 .. 96.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise RangeError(f"pictures of faces have {SIZES[0]} .. {SIZES[1]} pixels a side, found {size}")
    out = np.empty((len(faces), size, size, 3), dtype=np.uint8)
    for start in range(0, len(faces), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(faces)))
        out[rows] = _taken(faces.take(rows), style, size)
    return out


def _taken(faces: Faces, style: Style, size: int) -> npt.NDArray[np.uint8]:
    fine = 3 if size <= 64 else 2
    sketch = Sketch(faces, style, scale=fine * size / 2)
    canvas = sketch.draw()
    drawn = np.empty((len(faces), size, size, 3), dtype=np.float32)
    noise = np.empty_like(drawn)
    for i, rng in enumerate(sketch.rng):
        image = _background(rng, style, fine * size)
        canvas.paint(i, image)
        drawn[i] = np.asarray(image.reduce(fine))
        noise[i] = rng.standard_normal((size, size, 3), dtype=np.float32)
    return _developed(drawn / 255, faces, style, noise)


def _background(rng: np.random.Generator, style: Style, pixels: int) -> Image.Image:
    """A wall that is lighter on one side, or patches that are out of focus."""
    cells = style.clutter + 1
    base = 0.62 + 0.2 * rng.random() + (0.04 * rng.random((cells, cells, 1)))
    patches = style.liveliness * (rng.random((cells, cells, 3)) - 0.5)
    small = (255 * np.clip(base + patches, 0, 1)).astype(np.uint8)
    return Image.fromarray(small).resize((pixels, pixels), Image.Resampling.BILINEAR)


def _developed(x: Any, faces: Faces, style: Style, noise: Any) -> npt.NDArray[np.uint8]:
    size = x.shape[1]
    across = np.linspace(-1, 1, size, dtype=np.float32)
    light = faces.light.astype(np.float32)[:, :, None, None]
    round_off = 1 - 0.22 * (across[None, None, :] ** 2 + 0.4 * across[None, :, None] ** 2)
    ramp = 1 + light[:, 0] * across[None, None, :] - light[:, 1] * across[None, :, None]
    x = x * (round_off * ramp)[..., None]
    grey = (x @ GREY)[..., None]
    x = grey + style.saturation * (x - grey)
    x = (0.5 + style.contrast * (x - 0.5) + style.brightness) * np.asarray(style.cast, dtype=np.float32)
    if style.blur:
        x = (1 - style.blur) * x + style.blur * _mean3(x)
    x = x + style.noise * noise
    return (255 * np.clip(x, 0, 1)).round().astype(np.uint8)


def _mean3(x: Any) -> Any:
    """Mean over 3 x 3 pixels, edges repeated."""
    for axis in (1, 2):
        first, last = x.take([0], axis=axis), x.take([-1], axis=axis)
        n = x.shape[axis]
        padded = np.concatenate([first, x, last], axis=axis)
        x = sum(padded.take(range(k, n + k), axis=axis) for k in range(3)) / 3
    return x
