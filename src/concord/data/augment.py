"""Augmentation of whole batches, on whatever device they are.

Every sample draws its own numbers from an explicit generator, so that a run can be repeated and resumed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from concord.data.images import IMAGENET, Normalization, normalize
from concord.errors import RangeError, ShapeError


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one step of training: the same after a resume.

    Args:
        seed: The run's seed, >= 0.
        step: Number of the step in the whole run (and of the rank, for different numbers on each: any
            whole number that never repeats).
        device: Where the images are.
    """
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


class Augment:
    """Mirror, shift, brightness and contrast, then normalisation, in plain torch.

    Args:
        flip: Probability of mirroring left and right.
        shift: Largest shift in pixels, in both directions; the border is mirrored in.
        brightness: Images are multiplied by a factor drawn from 1 - brightness .. 1 + brightness.
        contrast: Distances to the image's mean are multiplied by a factor drawn likewise.
        normalize: Mean and standard deviation by channel for uint8 images; float images are
            normalised already.

    Raises:
        RangeError: A probability outside [0, 1], a negative shift, brightness or contrast.

    Example:
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> Augment(shift=2)(images, step_generator(seed=0, step=7)).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        *,
        flip: float = 0.5,
        shift: int = 0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        normalize: Normalization = IMAGENET,
    ) -> None:
        if not 0 <= flip <= 1:
            raise RangeError(f"flip is a probability, found {flip}")
        if shift < 0 or not 0 <= brightness <= 1 or not 0 <= contrast <= 1:
            raise RangeError(
                "shift is >= 0, brightness and contrast lie in [0, 1]; found "
                f"{shift}, {brightness}, {contrast}"
            )
        self.flip, self.shift, self.brightness, self.contrast = flip, shift, brightness, contrast
        self.normalize = normalize

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            images: Shape (n, 3, h, w): uint8, or float that is normalised already.
            generator: On the device of the images.

        Returns:
            Float tensor of the same shape, normalised.

        Raises:
            ShapeError: Another shape, or normalised images where colours are to change.
        """
        _check_images(images)
        if images.is_floating_point() and (self.brightness or self.contrast):
            raise ShapeError(
                "brightness and contrast need uint8 images, found normalised ones; use Images(normalize=None)"
            )
        if self.flip:
            mirrored = self._uniform(images, generator) < self.flip
            images = torch.where(mirrored, images.flip(-1), images)
        if self.shift:
            images = self._shifted(images, generator)
        if images.is_floating_point():
            return images
        if self.brightness or self.contrast:
            images = self._coloured(images.float() / 255, generator)
        return normalize(images, self.normalize)

    @staticmethod
    def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = images.shape
        offsets = torch.randint(
            -self.shift, self.shift + 1, (2, n, 1), generator=generator, device=images.device
        )
        rows = _mirrored(torch.arange(height, device=images.device) + offsets[0], height)
        columns = _mirrored(torch.arange(width, device=images.device) + offsets[1], width)
        sample = torch.arange(n, device=images.device)[:, None, None]
        return images.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _coloured(self, images: Tensor, generator: torch.Generator) -> Tensor:
        factor = 1 + self.brightness * (2 * self._uniform(images, generator) - 1)
        images = images * factor
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        factor = 1 + self.contrast * (2 * self._uniform(images, generator) - 1)
        return (mean + factor * (images - mean)).clamp(0, 1)


def _mirrored(index: Tensor, size: int) -> Tensor:
    period = max(2 * (size - 1), 1)
    index = index.abs() % period
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ShapeError(
            f"images are uint8 or float of shape (n, c, h, w), found {images.dtype} {tuple(images.shape)}"
        )
