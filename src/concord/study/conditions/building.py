"""The networks of a study: small ones of the package's own, and any trunk by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from concord.data import IMAGENET, Normalization
from concord.errors import StudyError, UnknownNameError
from concord.networks import (
    TRUNK_SOURCES,
    Capacity,
    MultiTaskNetwork,
    SmallResNet,
    build_trunk,
    dry_features,
    initialise,
    mlp,
    mlp_network,
    seeded,
    usual_torch,
)
from concord.study.functions import called, names_function
from concord.study.spec import AnyNetwork, Network, TrunkNetwork
from concord.tasks import Task

DROPOUT = 0.2
"""Of the layer that a task has of its own behind a trunk by name, where it has one."""


def network_for(
    plan: AnyNetwork,
    tasks: Sequence[Task],
    shape: Sequence[int],
    capacity: Capacity = "shared",
    seed: int = 0,
    folder: str = "",
) -> MultiTaskNetwork:
    """A fresh network for some tasks, on the CPU; its weights depend on the seed alone.

    Args:
        plan: Which.
        tasks: What it predicts.
        shape: Of one input without the row.
        capacity: What tasks share.
        seed: Of what is not pretrained.
        folder: Where functions are looked for first.

    Raises:
        UnknownNameError: A capacity of another name, or one that the trunk does not offer; an unknown trunk.
        StudyError: A trunk for other inputs.
        ConcordError: What building a trunk by name raises.
    """
    if isinstance(plan, TrunkNetwork):
        with usual_torch(), seeded(seed):
            return _on_trunk(lambda: _trunk(plan, shape, folder), tasks, shape, capacity, DROPOUT)
    generator = torch.Generator().manual_seed(seed)
    if plan.kind == "resnet":
        # Layers draw default weights as they are made: that must leave no trace.
        with seeded(None):
            network = _on_trunk(_resnet(plan, shape), tasks, shape, capacity, plan.dropout)
            return initialise(network, generator)
    return mlp_network(
        shape[0],
        tasks,
        hidden=plan.hidden,
        dropout=plan.dropout,
        capacity=capacity,
        generator=generator,
    )


def check_capacity(plan: AnyNetwork, capacity: Capacity) -> None:
    """Raise where a network has no such capacity, before one is built.

    Raises:
        UnknownNameError: `private` layers of a residual net or a trunk by name.
    """
    if capacity == "private" and not (isinstance(plan, Network) and plan.kind == "mlp"):
        raise _no_capacity(capacity)


def _no_capacity(capacity: str) -> UnknownNameError:
    known = [name for name in get_args(Capacity) if name != "private"]
    return UnknownNameError.of("capacity of a residual net or a trunk by name", capacity, known)


def _resnet(plan: Network, shape: Sequence[int]) -> Callable[[], SmallResNet]:
    return lambda: SmallResNet(shape[0], plan.width, plan.stages, plan.stem_stride)


def _on_trunk(
    trunk: Callable[[], nn.Module],
    tasks: Sequence[Task],
    shape: Sequence[int],
    capacity: Capacity,
    dropout: float,
) -> MultiTaskNetwork:
    example = torch.zeros(1, *shape)
    if capacity == "shared":
        return MultiTaskNetwork(trunk(), tasks, example)
    if capacity == "shared+private":
        own = {task.name: trunk() for task in tasks}
        return MultiTaskNetwork(trunk(), tasks, example, private=own, parallel=True)
    if capacity == "half-shared":
        shared = trunk()
        features = dry_features(shared, example).shape[1]
        layers = {task.name: mlp(features, [features], dropout=dropout) for task in tasks}
        return MultiTaskNetwork(shared, tasks, example, private=layers)
    raise _no_capacity(capacity)


# -- trunks by name ------------------------------------------------------------------------------------


def _trunk(plan: TrunkNetwork, shape: Sequence[int], folder: str) -> nn.Module:
    """A trunk by name, that takes what a study gives: features, or pictures normalised as ImageNet's are."""
    source = plan.trunk.partition(":")[0]
    if source not in TRUNK_SOURCES:
        return _returned(plan, folder)
    built = build_trunk(
        plan.trunk,
        shape=shape,
        pretrained=plan.pretrained,
        download=plan.download,
        options=plan.options,
    )
    wanted = "images" if len(shape) == 3 else "features"
    if built.kind != wanted:
        raise StudyError(f"network: trunk {plan.trunk} takes {built.kind}, and the problem has {wanted}")
    if built.normalization is not None and wanted == "images":
        _rescale(built.module, built.normalization)
    return built.module


def _returned(plan: TrunkNetwork, folder: str) -> nn.Module:
    """The trunk that a function returns."""
    if not names_function(plan.trunk):
        raise UnknownNameError.of("source of a trunk", plan.trunk.partition(":")[0], TRUNK_SOURCES)
    if plan.pretrained or plan.download:
        raise StudyError(f"network: function {plan.trunk} loads its own weights: leave pretrained out")
    made = called(plan.trunk, folder, **plan.options)
    if not isinstance(made, nn.Module):
        raise StudyError(
            f"network: trunk {plan.trunk!r}: the function must return a module, found {type(made).__name__}"
        )
    return made


def _rescale(module: nn.Module, normalization: Normalization) -> None:
    """Have a trunk's pictures brought from ImageNet's mean and deviation to those of its weights."""
    (mean, deviation), (own_mean, own_deviation) = (
        [torch.tensor(values, dtype=torch.float64)[:, None, None] for values in each]
        for each in (IMAGENET, normalization)
    )
    scale, shift = (deviation / own_deviation).float(), ((mean - own_mean) / own_deviation).float()
    if bool(((scale - 1).abs() < 1e-6).all()) and bool((shift.abs() < 1e-6).all()):
        return

    def rescaled(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        return (x * scale.to(x) + shift.to(x), *others)

    module.register_forward_pre_hook(rescaled)
