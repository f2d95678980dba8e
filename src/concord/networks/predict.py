"""Logits of many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from concord.networks.batches import moved, pieces

if TYPE_CHECKING:
    pass


@torch.no_grad()
def predict_logits(network: nn.Module, inputs: Any, *, batch_size: int = 4096) -> dict[str, Tensor]:
    """Logits of all tasks for all inputs, in evaluation mode, on the CPU: by task, (n, C) or (n, K).

    Args:
        network: Input -> logits by task.
        inputs: A tensor (n, ...), or a mapping of tensors.
        batch_size: Rows at a time, >= 1.
    """
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    try:
        chunks = [network(moved(chunk, device)) for chunk in pieces(inputs, batch_size)]
    finally:
        for part, mode in modes:
            part.training = mode
    return {name: torch.cat([chunk[name] for chunk in chunks]).float().cpu() for name in chunks[0]}
