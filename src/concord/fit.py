"""One training loop: equal steps, balanced rows, a fixed budget, final weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concord.errors import EmptyDataError, NoAnnotationError, NotFiniteError, RangeError, ShapeError
from concord.objective import CoupledObjective
from concord.tasks import MulticlassTask, Task

__all__ = ["History", "Rows", "balanced_indices", "fit", "predict_logits"]


@dataclass(frozen=True)
class Rows:
    """Samples in memory.

    Attributes:
        inputs: (n, ...).
        targets: By task: (n,) int64 with -1, or (n, K) float with NaN.
        soft: By task, where there are any: (n, C) or (n, K) soft targets, NaN for none.
    """

    inputs: Tensor
    targets: dict[str, Tensor]
    soft: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Any, targets: Mapping[str, Any], tasks: Sequence[Task]) -> Rows:
        """Check and convert arrays; a task without targets is a gap in every row.

        Raises:
            EmptyDataError: No rows.
            ShapeError: Targets of another number of rows than the inputs.
        """
        x = torch.as_tensor(inputs)
        x = x if x.is_floating_point() else x.float()
        if len(x) == 0:
            raise EmptyDataError("no rows to train on")
        encoded: dict[str, Tensor] = {}
        for task in tasks:
            values = task.encode(targets[task.name]) if task.name in targets else task.gaps(len(x))
            if len(values) != len(x):
                raise ShapeError(f"{len(x)} rows of inputs, but {len(values)} of task {task.name!r}")
            encoded[task.name] = torch.from_numpy(np.ascontiguousarray(values))
        return cls(x, encoded)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor) -> Rows:
        """The rows of `index`, in its order."""
        return Rows(
            self.inputs[index],
            {name: values[index] for name, values in self.targets.items()},
            {name: values[index] for name, values in self.soft.items()},
        )

    def annotated(self, task: Task) -> Tensor:
        """Indices of the rows with an annotation of `task`."""
        values = self.targets[task.name]
        known = values != -1 if isinstance(task, MulticlassTask) else (~torch.isnan(values)).any(dim=1)
        return torch.nonzero(known).squeeze(1)


@dataclass(frozen=True)
class History:
    """What happened: one record a logged step, with `step`, `loss` and the loss's parts."""

    records: list[dict[str, float]]


def balanced_indices(
    groups: Sequence[Tensor], rows_per_group: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Endless batches with as many rows of each group every step.

    Each group is walked in random order, every row once before any comes again; a small group is simply
    walked more often. A group smaller than its share of a batch appears more than once in it.

    Args:
        groups: Row indices of each group, none empty.
        rows_per_group: Rows of each group in a batch, > 0.
        generator: Source of the order.
    """
    queues = [group[:0] for group in groups]
    while True:
        parts = []
        for i, group in enumerate(groups):
            while len(queues[i]) < rows_per_group:
                queues[i] = torch.cat([queues[i], group[torch.randperm(len(group), generator=generator)]])
            parts.append(queues[i][:rows_per_group])
            queues[i] = queues[i][rows_per_group:]
        yield torch.cat(parts)


def fit(
    network: nn.Module,
    objective: CoupledObjective,
    rows: Rows,
    *,
    steps: int = 600,
    rows_per_task: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    log_every: int = 50,
    on_log: Callable[[dict[str, float]], None] | None = None,
) -> History:
    """Train `network` in place for a fixed number of steps; the final weights are the result.

    Every step holds `rows_per_task` rows of each task of the objective, however few a task has, so that a
    scarce task sees a stable sample; every condition that is compared gets the same number of steps.

    Args:
        network: Input -> logits by task. It is left in evaluation mode, on its device.
        objective: The loss.
        rows: The training rows; they are moved to the network's device once.
        steps: Number of optimiser steps, >= 1.
        rows_per_task: Rows of each task in a step, >= 1.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        seed: Seeds the order of rows and the dropout. The global random state is left as it was.
        log_every: Steps between two records of the history.
        on_log: Called with each record.

    Raises:
        EmptyDataError: No rows.
        NoAnnotationError: A task of the objective without a single annotation.
        NotFiniteError: The loss became NaN or infinite.
        RangeError: A number of steps or rows below 1.
    """
    if steps < 1 or rows_per_task < 1:
        raise RangeError(f"steps and rows_per_task are >= 1, found {steps} and {rows_per_task}")
    if len(rows) == 0:
        raise EmptyDataError("no rows to train on")
    groups = []
    for task in objective.tasks.values():
        index = rows.annotated(task)
        if len(index) == 0:
            raise NoAnnotationError(f"task {task.name!r} has no annotation in {len(rows)} rows")
        groups.append(index)
    device = next(network.parameters()).device
    rows = Rows(
        rows.inputs.to(device),
        {name: values.to(device) for name, values in rows.targets.items()},
        {name: values.to(device) for name, values in rows.soft.items()},
    )
    generator = torch.Generator().manual_seed(seed)
    batches = balanced_indices(groups, rows_per_task, generator)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=learning_rate, weight_decay=weight_decay, foreach=True
    )
    records: list[dict[str, float]] = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network.train()
        objective.train()
        for step in range(1, steps + 1):
            batch = rows.take(next(batches).to(device))
            result = objective(network(batch.inputs), batch.targets, soft=batch.soft or None)
            optimiser.zero_grad(set_to_none=True)
            result.loss.backward()
            optimiser.step()
            if step % log_every == 0 or step == steps:
                record = {"step": float(step), "loss": float(result.loss.detach())}
                record |= {name: float(part) for name, part in result.parts.items()}
                if not np.isfinite(record["loss"]):
                    raise NotFiniteError(f"the loss became {record['loss']} at step {step}")
                records.append(record)
                if on_log is not None:
                    on_log(record)
    network.eval()
    return History(records)


@torch.no_grad()
def predict_logits(network: nn.Module, inputs: Tensor, *, batch_size: int = 4096) -> dict[str, Tensor]:
    """Logits of all tasks for all inputs, in evaluation mode, on the CPU: by task, (n, C) or (n, K)."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    chunks = [network(chunk.to(device)) for chunk in torch.split(inputs, batch_size)]
    network.train(was_training)
    return {name: torch.cat([chunk[name] for chunk in chunks]).float().cpu() for name in chunks[0]}
