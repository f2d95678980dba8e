"""Small plans that the tests of studies share."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from concord.study.plan import Plan, as_plan

TINY = {
    "title": "tiny",
    "problem": "digits",
    "regimes": [{"name": "few-class", "rows": {"digit": 40, "segments": 120}}],
    "conditions": ["single-task", "uncoupled", "posterior"],
    "seeds": [0, 1],
    "network": {"hidden": [16], "dropout": 0.1},
    "budget": {"steps": 12, "rows_per_task": 16, "log_every": 6},
    "resamples": 50,
}


def tiny(**changes) -> Plan:
    return as_plan({**deepcopy(TINY), **changes})


def pretrained(norm: bool = True) -> nn.Module:
    """A trunk for digits whose weights are the same whenever it is built, as pretrained ones are."""
    trunk = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.ReLU())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        trunk[0].weight.copy_(torch.randn(16, 64, generator=generator) / 8)
        trunk[0].bias.zero_()
    return trunk
