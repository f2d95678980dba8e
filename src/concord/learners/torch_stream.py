"""Networks on rows that stay where they lie: any trunk, mixed precision, several devices, resumable."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from concord.data import StreamedInputs
from concord.errors import CheckpointError, ConfigError
from concord.fitting import (
    Checkpoints,
    JsonLines,
    Logger,
    Progress,
    Recipe,
    Rows,
    Samples,
    fit,
    on_first,
)
from concord.learners.frozen import (
    FEATURES,
    HEADS,
    TrunkAlone,
    is_vectors,
    on_features,
    rows_worth_features,
)
from concord.learners.protocol import Frozen, Kind, Learner
from concord.learners.torch_memory import TorchLearner
from concord.networks import moved
from concord.objective import CoupledObjective
from concord.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network that a `StreamLearner` trained: where its weights lie, so that one is in memory at a time.

    Attributes:
        name: Its folder within the learner's.
        tasks: The tasks that it predicts.
        seed: Of its initial weights.
    """

    name: str
    tasks: tuple[Task, ...]
    seed: int


def objective_of(
    tasks: Sequence[Task], task_weights: Mapping[str, float], soft_weights: Mapping[str, float]
) -> CoupledObjective:
    """Supervised losses and those on soft targets, without couplings."""
    return CoupledObjective(tasks, task_weights=task_weights, soft_weights=soft_weights)


@dataclass(kw_only=True, eq=False)
class StreamLearner(Learner):
    """Trains networks of any trunk on rows of sources, or in memory, and keeps each of them in a folder.

    Everything that it has finished is taken from the folder when the same calls come again, and a training
    that was interrupted resumes from its checkpoint, so that a process that is killed at any moment and
    started again gets the same networks and predictions, bit by bit.

    Args:
        build: A new network for some tasks from a seed, on the CPU.
        fabric: Launched: device, precision, number of processes.
        folder: Where networks, predictions and logs are kept.
        steps: Optimiser steps of a network trained for a share of 1.
        rows_per_task: Rows of each task in a step, over all processes.
        options: Of `fit`: `learning_rate`, `weight_decay`, `recipe`, `augment`, `log_every`.
        batch_size: Rows that are predicted at a time.
        every: Steps between two checkpoints of a training.
        progress: Whether a bar is drawn for each training.
        draw: What `fit` is given for some rows, tasks and a seed, where it is not the rows themselves.
        objective: The loss of some tasks with their weights.
        kinds: What it trains.
    """

    build: Callable[[Sequence[Task], int], nn.Module]
    fabric: Fabric
    folder: Path
    steps: int
    rows_per_task: int = 64
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 512
    every: int = 500
    progress: bool = False
    draw: Callable[[Rows, Sequence[Task], int], Rows | Iterable[Samples]] = lambda rows, tasks, seed: rows
    objective: Callable[..., CoupledObjective] = objective_of
    kinds: Sequence[Kind] = ("single-task", "shared", "coupled")
    trained: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._scaler = dict(self.fabric.strategy.precision.state_dict())

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        kind: Kind,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
        initial: StoredNetwork | None = None,
    ) -> StoredNetwork:
        """A new network, trained on `rows` for a share of the steps, or the one that was before.

        Raises:
            CheckpointError: A folder that cannot be written, or holds other networks.
        """
        self.trained += 1
        stored = StoredNetwork(f"network-{self.trained}", tuple(tasks), seed)
        what = {
            "kind": kind,
            "share": share,
            "seed": seed,
            "rows": rows_digest(rows),
            "weights": [dict(sorted(task_weights.items())), dict(sorted(soft_weights.items()))],
            **({} if initial is None else {"initial": initial.name}),
        }
        done = Checkpoints(self.folder / stored.name / "weights", every=1, keep=1)
        if (found := done.latest()) is not None:
            if done.load(found)["training"] != what:
                raise CheckpointError(f"{found} is of another training; train into another folder")
            return stored
        network = self._fitted(rows, stored, share, task_weights, soft_weights, initial)

        def keep() -> None:
            done.prepare()
            done.save(1, {"network": dict(network.state_dict()), "training": what}, {})
            shutil.rmtree(self.folder / stored.name / "training", ignore_errors=True)

        on_first(self.fabric, keep, f"the weights of {stored.name}")
        return stored

    def predict(self, model: StoredNetwork, rows: Rows) -> dict[str, Array]:
        """Logits of all tasks of a network, over all processes: by task, (n, width).

        Raises:
            ConfigError: A row whose input cannot be loaded.
            CheckpointError: Predictions that cannot be written.
        """
        place = self.folder / model.name / f"predictions-{rows_digest(replace(rows, soft={}))[:16]}"
        done = Checkpoints(place, every=1, keep=1)
        if (found := done.latest()) is None:
            logits = self._predicted(
                self.network(model), {task.name: task.width for task in model.tasks}, rows
            )

            def keep() -> None:
                done.prepare()
                done.save(1, {"logits": logits}, {})

            on_first(self.fabric, keep, f"predictions of {model.name}")
        else:
            logits = done.load(found)["logits"]
        return {name: z.numpy().astype(np.float64) for name, z in logits.items()}

    def frozen(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Frozen:
        """Frozen features of the trunk, made once and kept in the folder, and perceptrons on them.

        Raises:
            ConfigError: A row whose input cannot be loaded.
            CheckpointError: Features that cannot be written.
        """
        row_steps = self.steps * self.rows_per_task * len(tasks)
        index = rows_worth_features(rows, tasks, row_steps, seed)
        features = self._features(rows.take(torch.from_numpy(index)), tasks, seed)
        heads = TorchLearner(**HEADS)  # type: ignore[arg-type]
        return on_features(heads, rows, index, features, row_steps)

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Array:
        """Vectors themselves; of other inputs what the trunk gives before any training: (n, d).

        Read or made once, and kept in the folder.

        Raises:
            ConfigError: A row whose input cannot be loaded.
            CheckpointError: Features that cannot be written.
        """
        if is_vectors(rows.inputs):
            found = self._kept(f"inputs-{rows_digest(rows)[:16]}", "inputs", lambda: self._vectors(rows))
            return found.double().numpy()
        return self._features(rows, tasks, seed).double().numpy()

    def _features(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Tensor:
        """Features of the trunk that networks of a seed begin with, made once: (n, width)."""

        def make() -> Tensor:
            network: Any = self.build(tasks, seed).eval()
            width = network.head(tasks[0].name).in_features
            return self._predicted(TrunkAlone(network.trunk), {FEATURES: width}, rows)[FEATURES]

        return self._kept(f"features-{rows_digest(rows)[:16]}", "features of the trunk", make)

    def _vectors(self, rows: Rows) -> Tensor:
        width = rows.inputs.shape[-1]
        return self._predicted(TrunkAlone(nn.Identity()), {FEATURES: width}, rows)[FEATURES]

    def _kept(self, name: str, what: str, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that is made once and then taken from the folder."""
        done = Checkpoints(self.folder / name, every=1, keep=1)
        if (found := done.latest()) is not None:
            kept: Tensor = done.load(found)[FEATURES]
            return kept
        features = make()

        def keep() -> None:
            done.prepare()
            done.save(1, {FEATURES: features}, {})

        on_first(self.fabric, keep, what)
        return features

    def network(self, model: StoredNetwork) -> nn.Module:
        """The network itself, in evaluation mode, on the CPU."""
        store = Checkpoints(self.folder / model.name / "weights")
        found = store.latest()
        if found is None:
            raise CheckpointError(f"{store.folder} holds no network; train it")
        network = self.build(model.tasks, model.seed)
        network.load_state_dict(store.load(found)["network"])
        return network.float().eval()

    # -- one training, one prediction ----------------------------------------------------------------

    def _fitted(
        self,
        rows: Rows,
        stored: StoredNetwork,
        share: float,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
        initial: StoredNetwork | None,
    ) -> nn.Module:
        steps, recipe = max(1, round(self.steps * share)), self.options.get("recipe") or Recipe()
        tasks, seed = stored.tasks, stored.seed
        network = self.build(tasks, seed) if initial is None else self.network(initial)
        network.to(self.fabric.device)
        self.settle()
        fit(
            network,
            self.objective(tasks, task_weights, soft_weights).to(self.fabric.device),
            self.draw(rows, tasks, seed),
            steps=steps,
            rows_per_task=self.rows_per_task,
            seed=seed,
            checkpoints=Checkpoints(self.folder / stored.name / "training", every=self.every, keep=1),
            loggers=self._loggers(stored.name, steps),
            fabric=self.fabric,
            **{**self.options, "recipe": replace(recipe, warmup=round(recipe.warmup * share))},
        )
        self.settle()
        return network.float().cpu()

    def settle(self) -> None:
        """Forget what a training left in the scaler of gradients: the next one begins like any other."""
        self.fabric.strategy.precision.load_state_dict(self._scaler)

    def _loggers(self, name: str, steps: int) -> list[Logger]:
        if not self.fabric.is_global_zero:
            return []
        loggers: list[Logger] = [JsonLines(self.folder / f"{name}.jsonl")]
        return [*loggers, Progress(steps)] if self.progress else loggers

    @torch.no_grad()
    def _predicted(self, network: nn.Module, widths: Mapping[str, int], rows: Rows) -> dict[str, Tensor]:
        fabric, n = self.fabric, len(rows)
        network.to(fabric.device)
        out = {name: torch.zeros(n, width) for name, width in widths.items()}
        there = torch.zeros(n)
        index = torch.arange(fabric.global_rank, n, fabric.world_size)
        mine = rows.take(index) if fabric.world_size > 1 else rows
        for batch, places in mine.batches(self.batch_size) if len(index) else ():
            if not len(places):
                continue
            for name, z in network(moved(batch.inputs, fabric.device)).items():
                out[name][index[places]] = z.float().cpu()
            there[index[places]] = 1.0
        if fabric.world_size > 1:  # every row is one process's; the others add zero
            out = {name: self._summed(values) for name, values in out.items()}
            there = self._summed(there)
        if not bool(there.bool().all()):
            raise ConfigError(
                f"the inputs of {int((there == 0).sum())} training rows cannot be read, and networks without "
                "coupling predict every row; leave them out (where), or see which with on_error: raise"
            )
        return out

    def _summed(self, values: Tensor) -> Tensor:
        values = values.to(self.fabric.device)
        torch.distributed.all_reduce(values)
        return values.cpu()


def rows_digest(rows: Rows) -> str:
    """SHA-256 of which rows they are and what is known of them; of inputs in sources, their numbers."""
    held = rows.inputs
    known = torch.from_numpy(held.number) if isinstance(held, StreamedInputs) else held
    found = hashlib.sha256()
    for values in ({"": known}, rows.targets, rows.soft, rows.weights, rows.shares):
        for name, tensor in sorted(values.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
