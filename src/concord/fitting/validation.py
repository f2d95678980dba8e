"""Validation rows during a training: metrics by task, and which weights each task would choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from concord.arrays import whole_number
from concord.errors import NoAnnotationError, UnknownNameError
from concord.fitting.rows import Rows, Samples
from concord.metrics import main_metric, measured, metric_names, probabilities
from concord.networks import moved
from concord.tasks import Encoded, MulticlassTask, Task

Selection = Literal["final", "metric", "log-loss"]
"""Which weights a task gets: the last ones, those of its best metric, or those of its least
temperature-scaled log-loss, on validation rows."""

Gathered = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Targets and logits by task, on the CPU."""


@dataclass(frozen=True)
class Validation:
    """Rows that a training is watched on, and what is made of that.

    Args:
        rows: Rows in memory, or batches that cover the validation rows once each time they are iterated.
        every: Steps between two evaluations, >= 1; the last step always has one.
        select: Which weights each task gets. The default is a fixed budget: the last ones. Selection is by
            task, never by one joint loss, whose raw value says little about any task.
        metrics: By task, the metric it is judged by; its main metric unless named.
        batch_size: Rows at a time, of rows in memory.

    Raises:
        RangeError: A number that is no whole number >= 1.
        UnknownNameError: Another kind of selection.
    """

    rows: Rows | Iterable[Samples]
    every: int = 100
    select: Selection = "final"
    metrics: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 1024

    def __post_init__(self) -> None:
        whole_number("every of a validation", self.every)
        whole_number("batch_size of a validation", self.batch_size)
        if self.select not in get_args(Selection):
            raise UnknownNameError.of("selection", self.select, get_args(Selection))

    def check(self, tasks: Mapping[str, Task]) -> None:
        """Check the names of tasks and metrics.

        Raises:
            UnknownNameError: An unknown task or metric.
        """
        for name, metric in self.metrics.items():
            if name not in tasks:
                raise UnknownNameError.of("task of a metric", name, tasks)
            if metric not in metric_names(tasks[name]):
                raise UnknownNameError.of(f"metric of task {name!r}", metric, metric_names(tasks[name]))

    def identity(self, tasks: Mapping[str, Task]) -> dict[str, Any]:
        """What makes two validations of a training different, as plain data: not their rows."""
        metrics = {name: self.metrics.get(name, main_metric(task)) for name, task in tasks.items()}
        return {"select": self.select, "every": self.every, "metrics": metrics}

    def score(self, task: Task, targets: Tensor, logits: Tensor) -> tuple[float | None, dict[str, float]]:
        """Score of a task (larger is better; None where the rows cannot tell), and its metrics by name."""
        y, z = targets.numpy(), logits.double().numpy()
        try:
            loss = scaled_log_loss(task, y, z)
        except NoAnnotationError:
            return None, {}
        found = measured(task, y, probabilities(task, z))
        chosen = self.metrics.get(task.name, main_metric(task))
        if self.select == "log-loss":
            score: float | None = -loss
        else:
            score = found.get(chosen)  # none of F1, where no label is present
            score = -score if score is not None and chosen == "ece" else score
        return score, found | {"log-loss": loss}


def scaled_log_loss(task: Task, targets: Any, logits: Any) -> float:
    """Log-loss at the temperature that minimises it, over annotated rows or cells, in nats.

    Raw log-loss mostly says how over-confident a network has become; at its best temperature it says how
    well the network ranks.

    Args:
        task: The task.
        targets: (n,) with -1, or (n, K) with NaN.
        logits: (n, C) or (n, K).

    Raises:
        NoAnnotationError: No row is annotated.
    """
    from concord.decoding import temperature

    z, y = np.asarray(logits, dtype=np.float64), task.encode(Encoded(targets))
    annotated = task.annotated(y)
    if not annotated.any():
        raise NoAnnotationError(f"task {task.name!r}: no row is annotated")
    z, y = z[annotated], y[annotated]
    if isinstance(task, MulticlassTask):
        from scipy.special import log_softmax

        return float(-log_softmax(temperature(z, y, True) * z, axis=1)[np.arange(len(y)), y].mean())
    z = temperature(z, y, False) * z
    seen = ~np.isnan(y)
    return float(np.logaddexp(0.0, np.where(y[seen] > 0.5, -z[seen], z[seen])).mean())


@torch.no_grad()
def collect(
    forward: Callable[[Any], Mapping[str, Tensor]],
    network: nn.Module,
    rows: Rows | Iterable[Samples],
    *,
    device: torch.device,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
) -> Gathered:
    """Targets and logits of all rows, over all ranks, in evaluation mode.

    Of rows each rank takes every world-th; batches are each rank's own.

    Args:
        forward: Inputs to logits by task.
        network: What is put into evaluation mode and back.
        rows: The rows.
        device: Where the network is.
        batch_size: Rows at a time, of rows in memory.
        rank: This process.
        world: Number of processes.
    """
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    targets: list[dict[str, Tensor]] = []
    logits: list[dict[str, Tensor]] = []
    try:
        for inputs, wanted in _batches(rows, batch_size, rank, world):
            out = forward(moved(inputs, device))
            logits.append({name: z.float().cpu() for name, z in out.items()})
            targets.append({name: t.cpu() for name, t in wanted.items()})
    finally:
        for part, mode in modes:
            part.training = mode
    joined = (_joined(targets), _joined(logits))
    if world == 1:
        return joined
    return _over_ranks(joined[0], device), _over_ranks(joined[1], device)


def _batches(rows: Rows | Iterable[Samples], size: int, rank: int, world: int) -> Iterable[Any]:
    if not isinstance(rows, Rows):
        return ((batch.inputs, batch.targets) for batch in rows)
    mine = rows.take(torch.arange(rank, len(rows), world)) if world > 1 else rows
    return ((part.inputs, part.targets) for part, _ in mine.batches(size))


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _over_ranks(values: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Rows of all ranks, padded to the longest for the exchange and cut again."""
    world = torch.distributed.get_world_size()
    out = {}
    for name, mine in values.items():
        sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world)]
        torch.distributed.all_gather(sizes, torch.tensor([len(mine)], device=device))
        padded = torch.zeros(max(int(s) for s in sizes), *mine.shape[1:], dtype=mine.dtype, device=device)
        padded[: len(mine)] = mine.to(device)
        gathered = [torch.empty_like(padded) for _ in range(world)]
        torch.distributed.all_gather(gathered, padded)
        out[name] = torch.cat([part[: int(n)].cpu() for part, n in zip(gathered, sizes, strict=True)])
    return out
