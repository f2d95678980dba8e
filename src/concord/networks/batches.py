"""Nested batches of tensors: moved to a device, measured, cut into pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def moved(values: Any, device: torch.device) -> Any:
    """Inputs on a device: a tensor, or a mapping of tensors."""
    if isinstance(values, Mapping):
        return {key: moved(value, device) for key, value in values.items()}
    return values.to(device) if isinstance(values, Tensor) else values


def owned(values: Any) -> Any:
    """Inputs that share no memory with these: a network may work in place."""
    if isinstance(values, Mapping):
        return {key: owned(value) for key, value in values.items()}
    return values.clone() if isinstance(values, Tensor) else values


def length(values: Any) -> int:
    """Number of rows of inputs: a tensor, a list, or a mapping of these."""
    return len(next(iter(values.values()))) if isinstance(values, Mapping) else len(values)


def pieces(values: Any, size: int) -> list[Any]:
    """Inputs in pieces of at most `size` rows."""
    return [_cut(values, start, start + size) for start in range(0, length(values), size)]


def _cut(values: Any, start: int, stop: int) -> Any:
    if isinstance(values, Mapping):
        return {key: _cut(value, start, stop) for key, value in values.items()}
    return values[start:stop]
