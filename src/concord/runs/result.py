"""What a training ends in: a run, with its network's logits on the scale of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from concord.decoding import Decoders, Thresholds
from concord.networks import TaskwiseNetwork
from concord.relations import Relation
from concord.runs.building import Built
from concord.runs.run import Run


def assembled(
    built: Built,
    network: nn.Module,
    relations: Sequence[Relation],
    decoder: Decoders,
    folder: Path,
    facts: Mapping[str, Any],
    thresholds: Thresholds | None = None,
) -> Run:
    """A trained network with all that is needed to use it."""
    return Run(
        folder=folder,
        config=built.config,
        network=network.cpu().eval(),
        tasks=built.tasks,
        relations=tuple(relations),
        decoder=decoder,
        example_input=built.trunk.example,
        inputs={name: plan.inputs for name, plan in built.config.sources.items()},
        shape=built.shape,
        normalization=built.preparation.normalization,
        vocabulary=built.preparation.vocabulary,
        columns=built.preparation.columns,
        tokenize=built.preparation.tokenize,
        trunk=built.trunk.resolved,
        standardize=built.standardize,
        chosen=dict(network.chosen) if isinstance(network, TaskwiseNetwork) else {},
        thresholds=thresholds,
        facts=facts,
    )


@torch.no_grad()
def scale_heads(network: nn.Module, scales: Mapping[str, float]) -> None:
    """Multiply the logits of tasks by scaling the weights of their heads."""
    for task, scale in scales.items():
        members: list[Any] = network.members(task) if isinstance(network, TaskwiseNetwork) else [network]
        for one in members:
            for parameter in one.head(task).parameters():
                parameter.mul_(scale)
