"""What a training is asked for, and what it gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn

from concord.arrays import whole_number
from concord.errors import RangeError, UnknownNameError
from concord.fitting.optimise import Decay, Schedule


@dataclass(frozen=True)
class Recipe:
    """How weights are changed, beyond learning rate and weight decay.

    Args:
        schedule: Course of the learning rate after the warm-up.
        warmup: Steps in which it rises linearly to its value, >= 0.
        clip: Largest norm of the gradient; None leaves it as it is.
        accumulate: Pieces that a batch is cut into, so that a large one fits into memory, >= 1. The loss is
            that of the whole batch, couplings and all (gradient caching: Gao et al., "Scaling deep
            contrastive learning batch size under memory limited setup", 2021), for one more forward pass.
            Statistics of a batch that the network itself takes (BatchNorm) are those of a piece.
        average: Decay of an exponential moving average of the weights, which is then the result; or None.
        precision: `32-true`, `bf16-mixed`, `16-mixed`, `64-true`; of the training's own Fabric.
        channels_last: Whether images and convolutions lie in memory channels last.
        compile: Backend of `torch.compile`, such as `inductor`; None does not compile.
        layer_decay: Factor of the learning rate from a layer of the trunk to the one before it, in (0, 1].
        decay: What weight decay applies to, `all` or `matrices`.
        frozen: Names of modules that are not trained, and kept in evaluation mode.

    Raises:
        RangeError: A number outside its range.
        UnknownNameError: Another schedule, or backend of `torch.compile`.
    """

    schedule: Schedule = "constant"
    warmup: int = 0
    clip: float | None = None
    accumulate: int = 1
    average: float | None = None
    precision: str = "32-true"
    channels_last: bool = False
    compile: str | None = None
    layer_decay: float = 1.0
    decay: Decay = "all"
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise UnknownNameError.of("schedule", self.schedule, get_args(Schedule))
        if self.compile is not None:
            backends = torch.compiler.list_backends(exclude_tags=())
            if self.compile not in backends:
                raise UnknownNameError.of("backend of torch.compile", self.compile, backends)
        whole_number("warmup", self.warmup, 0)
        whole_number("accumulate", self.accumulate)
        if self.clip is not None and not self.clip > 0:
            raise RangeError(f"clip is > 0, found {self.clip}")

    def identity(self) -> dict[str, Any]:
        """What makes two trainings different, as plain data: all fields but how the network is compiled."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key != "compile"
        }


@dataclass(frozen=True)
class Selected:
    """Weights that a task chose on validation rows.

    Attributes:
        step: When.
        score: Its metric, or minus its temperature-scaled log-loss; NaN where the validation rows could not
            judge the task, and the last weights were kept.
        weights: State of the whole network at that step, on the CPU.
    """

    step: int
    score: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class History:
    """What happened.

    Attributes:
        records: One a logged step, with `step`, `loss` and the loss's parts.
        validation: One an evaluation, with `step` and `val/TASK/METRIC`.
        selected: By task, where weights are selected.
    """

    records: list[dict[str, float]]
    validation: list[dict[str, float]] = field(default_factory=list)
    selected: dict[str, Selected] = field(default_factory=dict)


def selected_network(network: nn.Module, history: History) -> nn.Module:
    """The network that each task chose: `network` itself where nothing was selected.

    Where all tasks chose the same step, it is `network` with the weights of that step; otherwise a
    `TaskwiseNetwork` with a copy for each task.
    """
    from copy import deepcopy

    from concord.networks import TaskwiseNetwork

    if not history.selected:
        return network
    by_step = {chosen.step: chosen.weights for chosen in history.selected.values()}
    if len(by_step) == 1:
        network.load_state_dict(next(iter(by_step.values())))
        return network
    networks = {}
    for step, weights in by_step.items():
        networks[step] = deepcopy(network)
        networks[step].load_state_dict(weights)
    return TaskwiseNetwork({task: networks[chosen.step] for task, chosen in history.selected.items()})
