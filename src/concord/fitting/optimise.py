"""What changes the weights: groups of parameters, learning rates over time, frozen parts, averages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from concord.errors import RangeError, UnknownNameError

Schedule = Literal["constant", "cosine", "linear"]
"""Course of the learning rate after the warm-up: as it is, or falling to zero."""

Decay = Literal["all", "matrices"]
"""What weight decay applies to: every parameter, or only those with two dimensions and more."""


def rate_factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate in a step: a pure function, so that a resumed run needs no state.

    Args:
        schedule: Its course after the warm-up.
        step: 1 .. steps.
        steps: Number of steps in all.
        warmup: Steps in which the factor rises linearly to 1.
    """
    if step <= warmup:
        return step / warmup
    done = (step - warmup - 1) / max(1, steps - warmup)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule == "linear" else 1.0


def freeze(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Freeze modules: no gradient; returns them, to be kept in evaluation mode.

    Args:
        network: The network.
        names: Names of modules as in `network.named_modules()`: `trunk`, `trunk.stem`.

    Raises:
        UnknownNameError: No module of this name.
    """
    known = dict(network.named_modules())
    frozen = []
    for name in names:
        if name not in known or not name:
            raise UnknownNameError.of(
                "module to freeze", name, [known_name for known_name in known if known_name]
            )
        known[name].requires_grad_(False)
        frozen.append(known[name])
    return frozen


def depths(network: nn.Module) -> dict[str, int]:
    """Depth of every parameter, by name: 0 next to the input; the heads share the greatest.

    The trunk is taken apart into its units in order: single layers, and the elements of every list of
    blocks.
    """
    trunk = getattr(network, "trunk", network)
    units = _with_weights(trunk)
    while len(units) == 1 and any(True for _ in units[0].children()):  # a wrapper around the layers
        units = _with_weights(units[0])
    number = {
        id(parameter): i for i, unit in reversed(list(enumerate(units))) for parameter in unit.parameters()
    }
    # A parameter outside all units (a class token) is next to the input.
    own = {id(parameter): number.get(id(parameter), 0) for parameter in trunk.parameters()}
    return {name: own.get(id(parameter), len(units)) for name, parameter in network.named_parameters()}


def _with_weights(module: nn.Module) -> list[nn.Module]:
    return [unit for unit in _units(module, top=True) if any(True for _ in unit.parameters())]


def _units(module: nn.Module, top: bool = False) -> Iterator[nn.Module]:
    if top or isinstance(module, (nn.Sequential, nn.ModuleList)) or _has_blocks(module):
        children = list(module.children())
        if not children:
            yield module
        for child in children:
            if _has_blocks(child) or (top and isinstance(child, (nn.Sequential, nn.ModuleList))):
                yield from _units(child)
            else:
                yield child
    else:
        yield module


def _has_blocks(module: nn.Module) -> bool:
    return any(
        isinstance(part, (nn.Sequential, nn.ModuleList))
        and sum(any(True for _ in element.children()) for element in part) >= 2
        for part in module.modules()
    )


def parameter_groups(
    network: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    decay: Decay = "all",
) -> list[dict[str, Any]]:
    """Groups of trainable parameters for an optimiser.

    Args:
        network: The network.
        learning_rate: Of the heads.
        weight_decay: Of the parameters that decay.
        layer_decay: Factor of the learning rate from one layer of the trunk to the one before it, in (0, 1].
        decay: What decays.

    Raises:
        RangeError: A layer decay outside (0, 1], or nothing to train.
        UnknownNameError: Another kind of decay.
    """
    if not 0 < layer_decay <= 1:
        raise RangeError(f"layer_decay lies in (0, 1], found {layer_decay}")
    if decay not in get_args(Decay):
        raise UnknownNameError.of("weight decay", decay, get_args(Decay))
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if not named:
        raise RangeError("every parameter is frozen: there is nothing to train")
    depth = depths(network) if layer_decay < 1 else {}
    deepest = max(depth.values(), default=0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        rate = learning_rate * layer_decay ** (deepest - depth.get(name, deepest))
        lost = weight_decay if decay == "all" or parameter.dim() > 1 else 0.0
        group = groups.setdefault(
            (rate, lost), {"params": [], "lr": rate, "initial_lr": rate, "weight_decay": lost}
        )
        group["params"].append(parameter)
    return list(groups.values())


class Average:
    """Exponential moving average of a network's weights; counts and other buffers are the latest.

    Args:
        network: The network.
        decay: Share of the old average in a step, in [0, 1); smaller in the first steps.

    Raises:
        RangeError: A decay outside [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise RangeError(f"the decay of an average lies in [0, 1), found {decay}")
        self.network, self.decay, self.updates = network, decay, 0
        self.shadow = [p.detach().clone() for p in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.network.parameters()], 1 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Exchange average and weights."""
        for mean, parameter in zip(self.shadow, self.network.parameters(), strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network holds the average."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def state_dict(self) -> dict[str, Any]:
        """The average by parameter's name, and the number of updates."""
        names = [name for name, _ in self.network.named_parameters()]
        return {"updates": self.updates, "shadow": dict(zip(names, self.shadow, strict=True))}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average."""
        self.updates = state["updates"]
        shadow: Mapping[str, Tensor] = state["shadow"]
        for (name, _), mean in zip(self.network.named_parameters(), self.shadow, strict=True):
            mean.copy_(shadow[name])
