"""Layers that a training puts before a trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONSTANT = 1e-12
"""A deviation below this share of the mean, or of 1, is rounding."""

LIMIT = 6.0
"""Features are clipped at so many standard deviations."""


class Standardize(nn.Module):
    """Features to mean 0 and deviation 1 of the training rows, clipped at 6 deviations.

    Part of the network, so that it is saved and exported with it.

    Args:
        mean: (width,).
        deviation: (width,), >= 0; a constant feature becomes 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        constant = deviation <= CONSTANT * mean.abs().clamp(min=1.0)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, deviation)))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised features, of the same shape (n, width)."""
        return ((x - self.mean) * self.scale).clamp(-LIMIT, LIMIT)
