"""Logits of many rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concord.networks.batches import moved, owned, pieces

SMALL = 1 << 13
"""Values of an input that is no large one: less than a colour picture of 53 pixels has."""

MOST_ROWS, MOST_VALUES = 4096, 1 << 23
"""Of a batch that is predicted: so many rows, or of large inputs so many values (55 pictures of 224 px)."""


def rows_at_a_time(shape: Sequence[int]) -> int:
    """How many rows are predicted at a time: a function of the shape of one input, without the row, alone."""
    size = math.prod(shape)
    return MOST_ROWS if size <= SMALL else max(1, MOST_VALUES // size)


@torch.no_grad()
def predict_logits(network: nn.Module, inputs: Any, *, batch_size: int | None = None) -> dict[str, Tensor]:
    """Logits of all tasks for all inputs, in evaluation mode, on the CPU: by task, (n, C) or (n, K).

    Args:
        network: Input -> logits by task.
        inputs: A tensor (n, ...), or a mapping of tensors.
        batch_size: Rows at a time, >= 1; by the size of an input unless given (`rows_at_a_time`).
    """
    if batch_size is None:
        batch_size = rows_at_a_time(inputs.shape[1:]) if isinstance(inputs, Tensor) else MOST_ROWS
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    try:
        chunks = [network(moved(owned(chunk), device)) for chunk in pieces(inputs, batch_size)]
    finally:
        for part, mode in modes:
            part.training = mode
    return {name: torch.cat([chunk[name] for chunk in chunks]).float().cpu() for name in chunks[0]}
