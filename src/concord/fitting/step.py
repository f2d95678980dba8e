"""One optimiser step: the loss of a batch, its gradients, and the change of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from concord.fitting.checkpoints import random_state, set_random_state
from concord.fitting.optimise import Average, freeze, parameter_groups, rate_factor
from concord.fitting.recipe import Recipe
from concord.fitting.rows import Rows, Samples
from concord.networks import length, pieces
from concord.objective import CoupledObjective, ObjectiveResult

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Soft = Callable[[Samples], Mapping[str, Tensor]]
"""Soft targets for a batch, by task: a teacher's, or those of a first stage."""


Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class Stepper:
    """A network with its loss and optimiser, set up for the devices of a Fabric.

    Args:
        network: Input -> logits by task; trained in place.
        objective: The loss.
        fabric: Launched.
        recipe: How weights are changed.
        steps: Steps of the whole training, on which the learning rate depends.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        seed: Of the augmentation.
        soft: Gives soft targets for a batch.
        augment: Changes the inputs of a batch.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: CoupledObjective,
        fabric: Fabric,
        recipe: Recipe,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        seed: int,
        soft: Soft | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        from lightning_fabric.strategies import SingleDeviceStrategy

        self.network, self.objective, self.fabric, self.recipe = network, objective, fabric, recipe
        self.steps, self.seed, self.soft, self.augment = steps, seed, soft, augment
        self.device = fabric.device
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.frozen = freeze(network, recipe.frozen)
        self._switched_off = [parameter for parameter in trained if not parameter.requires_grad]
        if recipe.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            layer_decay=recipe.layer_decay,
            decay=recipe.decay,
        )
        # One kernel for all parameters: small networks feel the many of foreach, on CPUs most of all.
        # Fabric does not clip where the optimiser itself undoes the scale of half precision, as a fused one.
        scaled = recipe.precision == "16-mixed" and recipe.clip is not None
        fused = self.device.type in ("cpu", "cuda") and not scaled
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser = torch.optim.AdamW(groups, lr=learning_rate, fused=fused, foreach=not fused)
        compiled: Any = network if recipe.compile is None else torch.compile(network, backend=recipe.compile)
        self.module, self.wrapped = fabric.setup(compiled, self.optimiser)
        # Where Fabric adds nothing to a step, its wrappers are left out: small networks feel them.
        plain = fabric.world_size == 1 and fabric.strategy.precision.precision == "32-true"
        self.forward: Callable[[Any], Mapping[str, Tensor]] = (
            network if plain and recipe.compile is None else self.module
        )
        alone = plain and isinstance(fabric.strategy, SingleDeviceStrategy)
        self.backward: Callable[[Tensor], None] = Tensor.backward if alone else fabric.backward
        self.stepping: Any = self.optimiser if alone else self.wrapped
        self.average = None if recipe.average is None else Average(network, recipe.average)

    def train_mode(self) -> None:
        """Network and loss in training mode, frozen parts in evaluation mode."""
        self.network.train()
        for module in self.frozen:
            module.eval()
        self.objective.train()

    def thaw(self) -> None:
        """Let what this training froze learn again: its recipe says nothing of the next training."""
        for parameter in self._switched_off:
            parameter.requires_grad_(True)

    def averaged(self) -> Any:
        """Within it the network has its averaged weights, where they are averaged."""
        return nullcontext() if self.average is None else self.average.applied()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the network's weights, on the CPU."""
        return {k: v.detach().to("cpu", copy=True) for k, v in self.network.state_dict().items()}

    def advance(self, step: int, batch: Samples) -> tuple[ObjectiveResult, int]:
        """Take one step; the parts of the loss, and how many rows it saw.

        Args:
            step: Number of the step, from 1.
            batch: Its rows, on the device.
        """
        factor = rate_factor(self.recipe.schedule, step, self.steps, self.recipe.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        inputs = self._prepared(step, batch.inputs)
        targets, extras = batch.targets, self._extras(batch)
        if self.recipe.accumulate == 1:
            result = self.objective(self.forward(inputs), targets, **extras)
            self.backward(result.loss)
        else:
            result = self._in_pieces(inputs, targets, extras)
        if self.recipe.clip is not None:
            self.fabric.clip_gradients(
                self.module, self.wrapped, max_norm=self.recipe.clip, error_if_nonfinite=False
            )
        self.stepping.step()
        for parameter in self.parameters:  # as `zero_grad`, whose wrappers a small network feels
            parameter.grad = None
        if self.average is not None:
            self.average.update()
        return result, length(batch.inputs)

    def _extras(self, batch: Samples) -> dict[str, Any]:
        """What the loss of a batch takes beside its targets: soft targets, weights, shares."""
        shares = dict(getattr(batch, "shares", None) or {})
        # A mixture's batch has votes alone; rows in memory may have a first stage's soft targets as well.
        soft = dict(batch.soft) if isinstance(batch, Rows) else {}
        if self.soft is not None:
            soft = _filled(soft, _without(self.soft(batch), shares))
        weights = dict(getattr(batch, "weights", None) or {})
        return {"soft": soft or None, "sample_weight": weights or None, "shares": shares or None}

    def _prepared(self, step: int, inputs: Any) -> Any:
        if self.augment is not None and isinstance(inputs, Tensor):
            from concord.data import step_generator

            number = step * self.fabric.world_size + self.fabric.global_rank
            inputs = self.augment(inputs, step_generator(self.seed, number, self.device))
        if self.recipe.channels_last and isinstance(inputs, Tensor) and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _in_pieces(
        self,
        inputs: Any,
        targets: Mapping[str, Tensor],
        extras: Mapping[str, Any],
    ) -> ObjectiveResult:
        # A process may have no row of a batch: that is one piece without rows, for the others wait for it.
        parts = pieces(inputs, max(1, -(-length(inputs) // self.recipe.accumulate))) or [inputs]
        states, chunks = [], []
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        with torch.no_grad():
            for part in parts:
                states.append(random_state(self.device))
                chunks.append(self.forward(part))
            # Running statistics take a piece in once, when it has its gradient.
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)
        logits = {
            name: torch.cat([chunk[name] for chunk in chunks]).detach().requires_grad_() for name in chunks[0]
        }
        result: ObjectiveResult = self.objective(logits, targets, **extras)
        gradients = torch.autograd.grad(result.loss, list(logits.values()), allow_unused=True)
        by_task = dict(zip(logits, gradients, strict=True))
        start = 0
        for i, (part, state) in enumerate(zip(parts, states, strict=True)):
            set_random_state(state, self.device)
            last = i == len(parts) - 1
            waiting = self.fabric.world_size > 1 and not last
            with self.fabric.no_backward_sync(self.module) if waiting else nullcontext():
                out = self.forward(part)
                stop = start + length(part)
                # A loss with the same gradient: every logit times what the whole batch's loss asks of it.
                terms = [
                    0 * z.sum() if (g := by_task[name]) is None else (z * g[start:stop]).sum()
                    for name, z in out.items()
                ]
                self.fabric.backward(torch.stack(terms).sum())
                start = stop
        return result


def _without(soft: Mapping[str, Tensor], shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A teacher's soft targets for the rows that have no votes."""
    out = dict(soft)
    for name in soft.keys() & shares.keys():
        out[name] = torch.where(torch.isnan(shares[name]), soft[name], torch.nan)
    return out


def _filled(own: Mapping[str, Tensor], further: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Soft targets of a batch's own, and further ones for the rows that have none."""
    out = {**own, **further}
    for name in own.keys() & further.keys():
        out[name] = torch.where(torch.isnan(own[name]), further[name].to(own[name].dtype), own[name])
    return out
