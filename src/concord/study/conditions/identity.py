"""What a training depends on, as a digest: a run that is started again knows its own trainings by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from concord.fitting import Rows
from concord.learners import rows_digest
from concord.objective import CoupledObjective

if TYPE_CHECKING:
    from concord.study.conditions.base import Setting


def training_digest(
    network: nn.Module, objective: CoupledObjective, rows: Rows, setting: Setting, steps: int
) -> str:
    """Rows, initial weights, loss, budget, recipe and seed of a training, as 32 hexadecimal digits."""
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
        "budget": setting.budget.model_dump(mode="json"),
        "recipe": None if setting.recipe is None else setting.recipe.model_dump(mode="json"),
        "network": setting.network.model_dump(mode="json"),
        "seed": setting.seed,
        "steps": steps,
    }
    found.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return found.hexdigest()[:32]
