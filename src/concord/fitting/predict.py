"""Logits of many rows, in memory or read where they lie."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from concord.data import StreamedInputs, unreadable
from concord.errors import EmptyDataError
from concord.networks import predict_logits, rows_at_a_time


def row_logits(network: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """Logits of all tasks for all rows, in evaluation mode, on the CPU: by task, (n, C) or (n, K).

    As many rows are taken at a time whether they lie in memory or not, so that the numbers are the same.

    Args:
        network: Input -> logits by task.
        inputs: (n, ...) in memory, or rows of sources.

    Raises:
        EmptyDataError: A row whose input cannot be read and was to be left out.
    """
    if not isinstance(inputs, StreamedInputs):
        return predict_logits(network, inputs)
    chunks: list[dict[str, Tensor]] = []
    places = torch.split(torch.arange(len(inputs)), rows_at_a_time(inputs.shape))
    asked = [part.numpy() for part in places]
    for (batch, found), wanted in zip(inputs.load(iter(asked)), asked, strict=True):
        if len(found) < len(wanted):
            raise EmptyDataError(unreadable(len(wanted) - len(found)))
        chunks.append(predict_logits(network, batch))
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def in_memory(inputs: Any) -> Tensor:
    """Inputs in memory: (n, ...); those of sources are read, which takes memory for all of them."""
    return inputs.read() if isinstance(inputs, StreamedInputs) else inputs
