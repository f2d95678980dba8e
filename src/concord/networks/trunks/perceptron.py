"""A multilayer perceptron for feature rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import nn

from concord.arrays import share
from concord.errors import RangeError

MOST_LAYERS, WIDEST = 1000, 10**6


def mlp(inputs: int, hidden: Sequence[int] = (128, 128), *, dropout: float = 0.2) -> nn.Sequential:
    """Linear layers with ReLU and dropout.

    Args:
        inputs: Width of the input rows.
        hidden: Width of each layer; the last one is the width of the features. Without any, the features are
            the inputs, and heads on them are linear.
        dropout: Probability of dropping a unit, in [0, 1).

    Raises:
        RangeError: Widths that are not whole numbers from 1 to a million, or more than a thousand of them;
            dropout that is no number in [0, 1).
    """
    listed = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    if not listed or len(hidden) > MOST_LAYERS or not all(_is_width(width) for width in hidden):
        raise RangeError(f"hidden lists widths of layers, whole numbers >= 1, found {hidden!r:.200}")
    dropout = share("dropout", dropout)
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _is_width(width: object) -> bool:
    return isinstance(width, int | np.integer) and not isinstance(width, bool) and 1 <= int(width) <= WIDEST
