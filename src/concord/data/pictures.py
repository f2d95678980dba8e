"""Pictures in memory, prepared exactly as `Images` prepares files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from concord.data.images import BOX, Images, decoding, normalize, upright_rgb
from concord.data.inputs import Inputs, Keyer, Loaded, Rows, column
from concord.data.manifest import Manifest
from concord.errors import ConfigError, ShapeError

Picture = Any
"""A picture of pillow, an array (h, w), (h, w, 3) or (h, w, 4) of uint8, or the bytes of an image file."""


def as_pictures(given: Any) -> list[Picture] | None:
    """The pictures that are given: one, a list of them, or an array (n, h, w, 3); None for anything else.

    Raises:
        ShapeError: An array of another shape or type.
    """
    if isinstance(given, Image.Image | bytes | bytearray):
        return [given]
    if isinstance(given, np.ndarray):
        return list(given) if given.ndim == 4 else [_checked(given)]
    if not isinstance(given, list | tuple):
        return None
    known = [isinstance(one, Image.Image | bytes | bytearray | np.ndarray) for one in given]
    return list(given) if known and all(known) else None


def _checked(picture: Picture) -> Picture:
    if isinstance(picture, np.ndarray):
        colours = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
        if picture.dtype != np.uint8 or not colours or not picture.size:
            raise ShapeError(
                "a picture in memory is an array (height, width, 3) or (height, width) of uint8, 0 to 255, "
                f"found {picture.dtype} of shape {picture.shape}"
            )
    return picture


class Pictures(Inputs):
    """Pictures in memory, counted by the manifest's column `row`.

    Args:
        pictures: See `Picture`.
        images: How files are prepared; its region is the whole picture.

    Raises:
        ConfigError: Another region: only a table says where boxes and landmarks are.
        ShapeError: An array of another shape or type.
    """

    def __init__(self, pictures: Sequence[Picture], images: Images) -> None:
        if images.region != "whole":
            raise ConfigError(
                "the training cut pictures out by a table, and one in memory has none: give a table with the "
                f"columns path, {', '.join(BOX) if images.region == 'box' else 'landmarks'}"
            )
        self.pictures, self.images = [_checked(picture) for picture in pictures], images

    def __repr__(self) -> str:
        return f"Pictures({len(self.pictures)}, size={self.images.size})"

    def keys(self, manifest: Manifest) -> Keyer:
        """Numbers of pictures."""
        rows = column(manifest, "row", "pictures in memory").to_numpy()
        return lambda chosen: rows[chosen]

    def load(self, keys: Rows) -> Loaded:
        """Tensor of shape (n, 3, size, size): float32, or uint8 without normalisation.

        Raises:
            DataFormatError: A picture that cannot be decoded; says which.
        """
        size = self.images.size
        pixels = np.empty((len(keys), size, size, 3), dtype=np.uint8)
        for position, number in enumerate(keys):
            with decoding(f"picture {number}"):
                pixels[position] = np.asarray(self.images.squared(self._rgb(self.pictures[number])))
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        by = self.images.normalize
        return Loaded(images if by is None else normalize(images, by))

    def _rgb(self, picture: Picture) -> Image.Image:
        if isinstance(picture, bytes | bytearray):
            with self.images.opened(BytesIO(picture)) as opened:
                return upright_rgb(opened, self.images.fill)
        made = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        return upright_rgb(self.images.sized(made), self.images.fill)
