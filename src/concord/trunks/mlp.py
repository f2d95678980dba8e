"""A multilayer perceptron for feature rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

__all__ = ["mlp"]


def mlp(inputs: int, hidden: Sequence[int] = (128, 128), *, dropout: float = 0.2) -> nn.Sequential:
    """Linear layers with ReLU and dropout.

    Args:
        inputs: Width of the input rows.
        hidden: Width of each layer; the last one is the width of the features.
        dropout: Probability of dropping a unit, in [0, 1).
    """
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *hidden[:-1]), hidden, strict=True):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
