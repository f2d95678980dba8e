"""What a training depends on, as a digest: a run that is started again knows its own trainings by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from concord.fitting import Rows
from concord.learners import rows_digest
from concord.objective import CoupledObjective


def training_digest(
    network: nn.Module, objective: CoupledObjective, rows: Rows, settings: Mapping[str, Any]
) -> str:
    """A training by its rows, initial weights, loss and settings, as 32 hexadecimal digits.

    Args:
        network: With its initial weights.
        objective: The loss.
        rows: What it is trained on.
        settings: Plain data: seed, steps, budget, recipe.
    """
    found = hashlib.sha256(rows_digest(rows).encode())
    for part in (network.state_dict(), objective.state_dict()):
        for name, values in part.items():
            if isinstance(values, Tensor):
                found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
                found.update(
                    values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                )
    plain: Mapping[str, Any] = {
        "objective": [type(objective).__qualname__, list(objective.tasks), objective.identity()],
        **settings,
    }
    found.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return found.hexdigest()[:32]
