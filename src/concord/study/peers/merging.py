"""Merging: networks that were trained for one task each, from the same pretrained weights, become one.

Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023: what training changed of the trunk
is added up over tasks, and the sum, times one factor that held-out rows choose, is added to the pretrained
trunk; each task keeps its own head. Statistics of batch norm are taken anew on training rows, after Jordan
et al., "REPAIR: REnormalizing Permuted Activations for Interpolation Repair", ICLR 2023: those of the single
networks fit no merged one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from concord.errors import StudyError
from concord.fitting import in_memory, row_logits
from concord.networks import TRUNK_SOURCES, MultiTaskNetwork, rows_at_a_time
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.spec import AnyNetwork, TrunkNetwork
from concord.tasks import Task

FACTORS = tuple(k / 10 for k in range(1, 11))
"""Candidates of the factor; of two networks 1/2 is their mean, 1 adds both changes in full."""

ROWS = 512
"""Training rows that statistics of batch norm are taken on, the same number of each task's."""


class Merging(Condition):
    """Single-task networks first, each with the full number of steps; no step after that."""

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            StudyError: A network that begins with random weights: changes from there do not add up.
        """
        del tasks, relations
        random = (
            isinstance(network, TrunkNetwork)
            and network.trunk.partition(":")[0] in TRUNK_SOURCES
            and not network.pretrained
        )
        if random or not isinstance(network, TrunkNetwork):
            raise StudyError(
                "condition 'merging' adds up what trainings changed of one pretrained trunk: it takes "
                "network: {trunk: ..., pretrained: true}, or a function that loads weights"
            )

    def train(self, setting: Setting) -> Predictor:
        """Train a network per task and merge their trunks, by the factor that is best on validation rows."""
        start, network = setting.build(setting.tasks), setting.build(setting.tasks)
        single = {
            task.name: setting.train(setting.build([task]), CoupledObjective([task]))
            for task in setting.tasks
        }
        inputs = in_memory(setting.rows.take(_drawn(setting)).inputs)

        def at(factor: float) -> MultiTaskNetwork:
            return normalised(merged(network, start, single, factor), start, inputs)

        return joined([at(max(FACTORS, key=lambda factor: _score(setting, at(factor))))])


def merged(
    network: MultiTaskNetwork, start: MultiTaskNetwork, single: Mapping[str, nn.Module], factor: float
) -> MultiTaskNetwork:
    """Give a network the trunk `start + factor x sum of (trained - start)`, and each task's own head.

    Args:
        network: Changed, and returned; of the same trunk and tasks.
        start: As every single-task network began.
        single: By task, its trained network.
        factor: Of the sum.
    """
    trained = [each.get_submodule("trunk").state_dict() for each in single.values()]
    state = start.trunk.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            change = torch.stack([each[name].to(value) - value for each in trained]).sum(dim=0)
            state[name] = value + factor * change
    network.trunk.load_state_dict(state)
    for task, each in single.items():
        assert isinstance(each, MultiTaskNetwork)
        network.head(task).load_state_dict(each.head(task).state_dict())
    return network


def normalised(network: MultiTaskNetwork, start: MultiTaskNetwork, inputs: Tensor) -> MultiTaskNetwork:
    """Take the statistics of batch norms, where training moved them, on inputs (n, ...).

    Args:
        network: Changed, and returned.
        start: As every single-task network began: what a frozen norm had it keeps.
        inputs: Of training rows; the mean over batches of nearly equal size is taken.
    """
    before = dict(start.trunk.named_modules())
    norms = [
        part
        for name, part in network.trunk.named_modules()
        if isinstance(part, _BatchNorm)
        and part.running_mean is not None
        and not torch.equal(part.running_mean, before[name].get_buffer("running_mean"))
    ]
    momenta = [part.momentum for part in norms]
    network.eval()  # dropout and the like stay off
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # a plain mean over batches
        part.train()
    if norms:
        device = next(network.parameters()).device
        count = -(-len(inputs) // rows_at_a_time(inputs.shape[1:]))
        with torch.no_grad():
            for batch in torch.tensor_split(inputs, count):
                network.trunk(batch.to(device))
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum
    return network.eval()


def _drawn(setting: Setting) -> Tensor:
    """Training rows, as many of each task's as there can be of `ROWS` in all."""
    generator = torch.Generator().manual_seed(setting.seed)
    share = ROWS // len(setting.tasks)
    parts = []
    for task in setting.tasks:
        rows = setting.rows.annotated(task)
        parts.append(rows[torch.randperm(len(rows), generator=generator)[:share]])
    return torch.cat(parts)


def _score(setting: Setting, network: nn.Module) -> float:
    """Mean over tasks of the metric that judges each, on validation rows; higher is better."""
    logits = row_logits(network, setting.validation.inputs)
    return float(np.mean([setting.score(task, logits[task.name].numpy()) for task in setting.tasks]))


def condition() -> Condition:
    """The condition `merging`; it has no options."""
    return Merging()
