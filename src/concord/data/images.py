"""Images: decoded with pillow, upright, RGB, square, of one size.

Whatever a file holds, what comes out is a tensor (n, 3, size, size) in channels-last memory. A file that
cannot be read is named, and is an error or is left out, as asked.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from concord.data.alignment import align
from concord.data.inputs import Failure, Inputs, Keyer, Loaded, Rows, column
from concord.data.manifest import Manifest
from concord.data.paths import DataRoot
from concord.errors import (
    ConcordError,
    DataFormatError,
    MissingDataError,
    RangeError,
    UnknownNameError,
    UnsafePathError,
)

Normalization = tuple[Sequence[float], Sequence[float]]
Region = Literal["whole", "box", "landmarks"]
Fit = Literal["pad", "crop", "stretch"]
OnError = Literal["raise", "skip"]

IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the channels of ImageNet, on a scale of 0 to 1."""

BOX = ("box_x", "box_y", "box_width", "box_height")
"""Columns of a manifest with the face box: left, top, width, height, in pixels of the upright image."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded. Formats that run programs (EPS) or that no photo comes in stay closed."""

ORIENTATION = 0x0112
METADATA = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N", "I")

# What pillow's decoders raise on damaged files, besides OSError.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Warning,  # where warnings are errors
)


@dataclass(frozen=True)
class _Keys:
    root: str
    paths: list[str]
    boxes: npt.NDArray[np.float64] | None = None
    landmarks: list[list[float] | None] | None = None


class Images(Inputs):
    """Image files, found by the manifest's column `path`.

    A path may lead into an archive: `images.zip/00001.jpg`. Orientation (EXIF) is applied; grey, palette,
    CMYK and 16-bit images become 8-bit RGB, 16 bits by their high byte; transparent pixels show `fill`.

    Args:
        root: What paths are relative to, and never leave; None is the manifest's root.
        size: Height and width of what comes out, in pixels.
        region: `"whole"`; `"box"`, the part in the manifest's columns `box_x`, `box_y`, `box_width` and
            `box_height`; `"landmarks"`, the face aligned by the column `landmarks` (x0, y0, x1, y1, ... of
            5 or 68 points). Both in pixels of the upright image.
        margin: By how much of its longer side a box is widened on each side.
        fit: How a region becomes square: `"pad"` with `fill`, `"crop"` to its centre, or `"stretch"`. A
            box is widened to a square instead of padded, where the image reaches.
        normalize: Mean and standard deviation by channel on a scale of 0 to 1, giving float32; or
            None for uint8 as decoded, a quarter of the memory, to be normalised on the device by
            `concord.data.augment.Augment`.
        fill: Colour of padding and of transparent pixels, 0 to 255.
        on_error: `"raise"`, or `"skip"`: a file that cannot be read is left out of its batch and reported.
            A path that leaves the root is always an error.
        max_pixels: Width times height beyond which a file is refused before it is decoded.

    Raises:
        RangeError: A size, margin, colour or limit outside its range.
        UnknownNameError: An unknown option, or a manifest without a column that is needed.
        MissingDataError: No such root.
        DataFormatError: When loading: a file that cannot be decoded.
        UnsafePathError: When loading: a path that leads out of the root.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        size: int = 224,
        *,
        region: Region = "whole",
        margin: float = 0.0,
        fit: Fit = "pad",
        normalize: Normalization | None = IMAGENET,
        fill: tuple[int, int, int] = (255, 255, 255),
        on_error: OnError = "raise",
        max_pixels: int = 64_000_000,
    ) -> None:
        options: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("region", region, get_args(Region)),
            ("fit", fit, get_args(Fit)),
            ("on_error", on_error, get_args(OnError)),
        )
        for kind, value, known in options:
            if value not in known:
                raise UnknownNameError.of(f"{kind} of images", value, known)
        if size < 1 or max_pixels < 1 or not margin >= 0:
            raise RangeError(
                "size and max_pixels of images are >= 1 and margin >= 0, found "
                f"{size}, {max_pixels} and {margin}"
            )
        if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
            raise RangeError(
                f"max_pixels is at most pillow's own limit of {Image.MAX_IMAGE_PIXELS:,}, found "
                f"{max_pixels:,}; raise PIL.Image.MAX_IMAGE_PIXELS first"
            )
        if len(fill) != 3 or not all(0 <= value <= 255 for value in fill):
            raise RangeError(f"fill is a colour of three values in 0 .. 255, found {fill}")
        self.root, self.size, self.region, self.margin, self.fit = root, size, region, margin, fit
        self.normalize, self.fill, self.on_error, self.max_pixels = normalize, fill, on_error, max_pixels
        self._roots: dict[str, DataRoot] = {}

    def __repr__(self) -> str:
        return f"Images(root={str(self.root)!r}, size={self.size}, region={self.region!r})"

    def keys(self, manifest: Manifest) -> Keyer:
        """Paths, with boxes or landmarks where the region asks for them.

        Raises:
            MissingDataError: Neither the images nor the manifest say what paths are relative to.
        """
        root = self.root or manifest.root
        if root is None:
            raise MissingDataError(
                f"paths of manifest {manifest.name!r} are relative to a root that nobody gave: "
                "`concord data table --root FOLDER` notes one, `concord embed --root` takes one; in Python "
                "it is Images(root=...)"
            )
        where = self._root(str(root)).root
        paths = column(manifest, "path", "images")
        boxes = landmarks = None
        if self.region == "box":
            boxes = np.stack([column(manifest, name, "boxes").cast(float).to_numpy() for name in BOX], axis=1)
        if self.region == "landmarks":
            landmarks = column(manifest, "landmarks", "aligned images")

        def key(rows: Rows) -> _Keys:
            return _Keys(
                where,
                paths.gather(rows).to_list(),
                None if boxes is None else boxes[rows],
                None if landmarks is None else landmarks.gather(rows).to_list(),
            )

        return key

    def load(self, keys: _Keys) -> Loaded:
        """Tensor of shape (n, 3, size, size): float32, or uint8 without normalisation."""
        root = self._root(keys.root)
        pixels = np.empty((len(keys.paths), self.size, self.size, 3), dtype=np.uint8)
        failures: list[Failure] = []
        for position, path in enumerate(keys.paths):
            try:
                pixels[position - len(failures)] = self._decoded(root, path, keys, position)
            except UnsafePathError:
                raise
            except ConcordError as error:
                if self.on_error == "raise":
                    way = "on_error: skip leaves out images that cannot be read"
                    raise type(error)(f"{error}; {way}") from None
                failures.append(Failure(position, path, str(error)))
        images = torch.from_numpy(pixels[: len(pixels) - len(failures)]).permute(0, 3, 1, 2)
        return Loaded(
            images if self.normalize is None else normalize(images, self.normalize), tuple(failures)
        )

    def _root(self, root: str) -> DataRoot:
        if root not in self._roots:
            self._roots[root] = DataRoot(root)
        return self._roots[root]

    def _decoded(self, root: DataRoot, path: str, keys: _Keys, position: int) -> Any:
        with decoding(f"{root.root}/{path}"), root.open(path) as file, self.opened(file) as image_file:
            return self._framed(upright_rgb(image_file, self.fill), keys, position)

    def opened(self, file: IO[bytes]) -> Image.Image:
        """An image file whose header was read, but no pixel.

        Raises:
            RangeError: More pixels than `max_pixels`.
            OSError: No image of the formats that are decoded.
        """
        return self.sized(Image.open(file, formats=FORMATS))

    def sized(self, image: Image.Image) -> Image.Image:
        """The image itself.

        Raises:
            RangeError: More pixels than `max_pixels`.
        """
        if image.width * image.height > self.max_pixels:
            raise RangeError(
                f"refused, {image.width} x {image.height} pixels are more than max_pixels={self.max_pixels:,}"
            )
        return image

    def _framed(self, image: Image.Image, keys: _Keys, position: int) -> Image.Image:
        if keys.landmarks is not None:
            return align(image, keys.landmarks[position] or [], self.size, self.fill)
        if keys.boxes is not None:
            image = self._boxed(image, keys.boxes[position])
        return self.squared(image)

    def squared(self, image: Image.Image) -> Image.Image:
        """An RGB image as a square of `size`, by `fit`."""
        target = (self.size, self.size)
        if image.size == target:
            return image
        if self.fit == "crop":
            return ImageOps.fit(image, target, Image.Resampling.BILINEAR)
        if self.fit == "pad" and image.width != image.height:
            return ImageOps.pad(image, target, Image.Resampling.BILINEAR, color=self.fill)
        return image.resize(target, Image.Resampling.BILINEAR)

    def _boxed(self, image: Image.Image, box: npt.NDArray[np.float64]) -> Image.Image:
        x, y, width, height = (float(value) for value in box)
        if not (width > 0 and height > 0 and np.isfinite(box).all()):
            raise RangeError(f"a box has a width and height > 0, found {width:g} x {height:g}")
        if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
            raise RangeError(f"the box at {x:g}, {y:g} lies outside the {image.width} x {image.height} image")
        if self.fit == "pad":
            side = max(width, height)
            x, y, width, height = x - (side - width) / 2, y - (side - height) / 2, side, side
        widen = self.margin * max(width, height)
        left, top = round(x - widen), round(y - widen)
        right, bottom = max(left + 1, round(x + width + widen)), max(top + 1, round(y + height + widen))
        if (right - left) * (bottom - top) > self.max_pixels:
            raise RangeError(f"a box of {right - left} x {bottom - top} pixels is more than max_pixels")
        if left >= 0 and top >= 0 and right <= image.width and bottom <= image.height:
            return image.crop((left, top, right, bottom))
        canvas = Image.new("RGB", (right - left, bottom - top), self.fill)
        canvas.paste(image, (-left, -top))
        return canvas


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Raise what goes wrong with one image as a `DataFormatError` that names it.

    Args:
        where: The image, for messages.
    """
    try:
        yield
    except (MissingDataError, UnsafePathError):
        raise
    except ConcordError as error:
        raise DataFormatError(f"{where}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataFormatError(f"{where}: refused, {error}") from None
    except DAMAGED as error:
        unknown = isinstance(error, UnidentifiedImageError)  # its own text names an object in memory
        reason = (
            f"it is empty, or no image of {', '.join(FORMATS)}"
            if unknown
            else str(error) or type(error).__name__
        )
        raise DataFormatError(f"{where}: cannot be decoded, {reason}") from None


def upright_rgb(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    """Decode an opened image: orientation applied, 8-bit RGB, transparent pixels over `fill`.

    Raises:
        RangeError: Pixels without a stated range (floating point, or 32 bits beyond 16).
        OSError: A damaged file.
    """
    image.load()
    if image.info.keys() & METADATA and image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in GREY_16:
        return _from_16_bit(image)
    if image.mode == "F":
        raise RangeError("floating-point pixels have no stated range; convert the file to 8 or 16 bits")
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*fill, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # pillow's own conversion cuts everything above 255 to white.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= 2**16:
        raise RangeError(f"16-bit pixels lie in 0 .. 65535, found {values.min()} .. {values.max()}")
    return Image.fromarray((values >> 8).astype(np.uint8), "L").convert("RGB")


def normalize(images: Tensor, by: Normalization) -> Tensor:
    """Bring images (n, 3, h, w), uint8 or float in 0 .. 1, to float with mean and deviation removed."""
    top = 1.0 if images.is_floating_point() else 255.0
    images = images if images.is_floating_point() else images.float()
    mean, deviation = (torch.tensor(v, dtype=images.dtype, device=images.device) for v in by)
    factor, shift = 1 / (deviation * top), -mean / deviation
    if not images.is_contiguous(memory_format=torch.channels_last):
        return torch.addcmul(shift.view(1, -1, 1, 1), images, factor.view(1, -1, 1, 1))
    # Rows of pixels are long enough to be vectorised, the three channels of one are not.
    n, c, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(n * height, width * c)
    rows = torch.addcmul(shift.repeat(width), rows, factor.repeat(width))
    return rows.view(n, height, width, c).permute(0, 3, 1, 2)
