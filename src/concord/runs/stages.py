"""Training in two stages: uncoupled networks first, then the one that learns from what they say.

The first stage is that of `concord.auto.two_stage`, over the training rows of all sources: networks
like the final one, each trained without one fold of the rows. What they teach is kept in the folder of the
run, so that it is made once; before it is there, every network resumes from checkpoints of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from concord.auto import Effort, two_stage
from concord.data import Source
from concord.errors import CheckpointError, ConfigError
from concord.fitting import Checkpoints, JsonLines, Logger, Progress, Recipe, Rows, Samples, fit, on_first
from concord.learners import Kind
from concord.networks import moved
from concord.runs.building import Built
from concord.runs.sources import mixture_of, named
from concord.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


FIRST_STAGE = "first-stage"
"""Folder of the first stage within a run's: `fold-1`, ... hold checkpoints, `targets` what they teach."""


@dataclass(frozen=True)
class Taught:
    """Soft targets of the training rows, for `fit(soft=...)`.

    Attributes:
        tables: By class task, (n, C) over the rows of all sources; NaN where nothing is taught.
        starts: (sources,) number of each source's first row.
        said: What the first stage found, in plain words.
    """

    tables: dict[str, Tensor]
    starts: Tensor
    said: tuple[str, ...] = ()

    def __call__(self, batch: Samples) -> dict[str, Tensor]:
        """Soft targets of a mixture's batch, by task."""
        rows: Any = batch
        place = self.starts[rows.source] + rows.index
        return {name: table[place] for name, table in self.tables.items()}


def begun(folder: Path) -> bool:
    """Whether the folder of a run holds anything of a first stage."""
    parts = folder / FIRST_STAGE
    return parts.is_dir() and any(
        Checkpoints(part).latest() is not None for part in parts.iterdir() if part.is_dir()
    )


def teach(built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any]) -> Taught:
    """Train the first stage, or take it up; what it teaches is the same bit by bit, interrupted or not.

    Args:
        built: Whose config asks for two stages.
        fabric: Launched.
        folder: Of the run.
        options: Of `fit`, for both stages alike.

    Raises:
        ConfigError: A row whose input cannot be read.
        CheckpointError: A folder that cannot be written, or that is of other rows.
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
    """
    plan, store = built.config.stages, Checkpoints(folder / FIRST_STAGE / "targets", every=1, keep=1)
    if store.latest() is None:
        folds = _Folds(built, fabric, folder / FIRST_STAGE, options)
        said: list[str] = []
        with named("stages"):
            two_stage(
                folds,
                Rows(torch.arange(sum(folds.sizes)), folds.targets()),
                built.tasks,
                built.relations,
                effort=Effort(plan.folds, plan.share),
                seed=built.config.training.seed,
                groups=folds.groups(),
                say=said.append,
            )

        def keep() -> None:
            store.prepare()
            store.save(1, {"soft": folds.taught, "said": said}, {})
            for place in (folder / FIRST_STAGE).glob("fold-*/"):  # they have said what they know
                shutil.rmtree(place, ignore_errors=True)

        on_first(fabric, keep, "what the first stage teaches")
        folds.settle()
    kept = store.latest()
    assert kept is not None
    state, sizes = store.load(kept), [len(source) for source in built.training.values()]
    if any(len(table) != sum(sizes) for table in state["soft"].values()):
        raise CheckpointError(
            f"{kept} is of other rows than the {sum(sizes)} of these sources; train into another folder"
        )
    tables = {name: table.to(fabric.device) for name, table in state["soft"].items()}
    starts = torch.tensor(np.cumsum([0, *sizes[:-1]]), device=fabric.device)
    return Taught(tables, starts, tuple(state["said"]))


class _Folds:
    """The `Learner` of the first stage: its rows are numbers, over all sources one after the other.

    Networks and losses are the config's own, weights of tasks included, so that the stages differ in nothing
    but rows, steps and what they are taught. The second stage is the run's own training: here only what it
    would be taught is noted.
    """

    kinds: Sequence[Kind] = ("shared", "coupled")

    def __init__(self, built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any]) -> None:
        self.built, self.fabric, self.folder, self.options = built, fabric, folder, options
        self.sources = list(built.training.values())
        self.sizes = [len(source) for source in self.sources]
        self.starts = np.cumsum([0, *self.sizes])
        self.scaler = dict(fabric.strategy.precision.state_dict())
        self.trained = 0
        self.taught: dict[str, Tensor] = {}

    def targets(self) -> dict[str, Tensor]:
        """Targets of all rows, by task."""
        out = {}
        for task in self.built.tasks:
            out[task.name] = torch.from_numpy(task.gaps(int(self.starts[-1])))
            for start, source in zip(self.starts, self.sources, strict=False):
                source.targets(task).fill(out[task.name], int(start), np.arange(len(source)))
        return out

    def groups(self) -> npt.NDArray[Any] | None:
        """Group of each row: a name is the same group in all sources, a row without one stands alone."""
        names = [name for source in self.sources for name in source.manifest.frame["group"]]
        if not any(name is not None for name in names):
            return None
        return np.array([f"row {i}" if name is None else f"group {name}" for i, name in enumerate(names)])

    def settle(self) -> None:
        """Forget what a training left in the scaler of gradients: the next one begins like any other."""
        self.fabric.strategy.precision.load_state_dict(self.scaler)

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
    ) -> nn.Module:
        """A network of some rows."""
        del tasks, kind, task_weights, soft_weights
        if rows.soft:
            self.taught = rows.soft
            return nn.Identity()
        self.trained += 1
        training, fabric = self.built.config.training, self.fabric
        steps, recipe = max(1, round(training.steps * share)), self.options["recipe"]
        assert isinstance(recipe, Recipe)
        network = self.built.fresh_network(seed).to(fabric.device)
        self.settle()
        fit(
            network,
            self.built.objective,
            self.built.mixture(
                fabric.global_rank, fabric.world_size, sources=self._part(rows.inputs), seed=seed
            ),
            steps=steps,
            seed=seed,
            checkpoints=Checkpoints(
                self.folder / f"fold-{self.trained}", every=self.built.config.checkpoints.every, keep=1
            ),
            loggers=self._loggers(steps),
            **{**self.options, "recipe": replace(recipe, warmup=round(recipe.warmup * share))},
        )
        return network.float().cpu()

    def _part(self, numbers: Tensor) -> dict[str, Source]:
        out = {}
        for start, source in zip(self.starts, self.sources, strict=False):
            rows = numbers[(numbers >= start) & (numbers < start + len(source))].numpy() - start
            if len(rows):
                manifest = replace(source.manifest, frame=source.manifest.frame[rows])
                out[source.name] = Source(manifest, source.inputs, source.transform, source.name)
        return out

    def _loggers(self, steps: int) -> list[Logger]:
        if not self.fabric.is_global_zero:
            return []
        loggers: list[Logger] = [JsonLines(self.folder / f"fold-{self.trained}.jsonl")]
        return [*loggers, Progress(steps)] if self.built.config.watching.progress else loggers

    @torch.no_grad()
    def predict(self, network: nn.Module, rows: Rows) -> dict[str, npt.NDArray[np.float64]]:
        """Logits of all rows, over all ranks."""
        built, fabric = self.built, self.fabric
        network.to(fabric.device).eval()
        out = {task.name: torch.zeros(len(rows), task.width) for task in built.tasks}
        out[""] = torch.zeros(len(rows), 1)  # whether a row was there
        batches = mixture_of(
            built.training,
            built.tasks,
            built.config.validation.batch_size,
            built.preparation.collate,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        for batch in batches:
            if len(batch):
                place = torch.from_numpy(self.starts)[batch.source] + batch.index
                for name, z in network(moved(batch.inputs, fabric.device)).items():
                    out[name][place] = z.float().cpu()
                out[""][place] = 1.0
        if fabric.world_size > 1:  # every row is one rank's; the others add zero
            for name, values in out.items():
                out[name] = values.to(fabric.device)
                torch.distributed.all_reduce(out[name])
                out[name] = out[name].cpu()
        network.cpu()
        there = out.pop("").squeeze(1) > 0
        if not bool(there.all()):
            raise ConfigError(
                f"the inputs of {int((~there).sum())} training rows cannot be read, and a first stage "
                "predicts every row; leave them out (where), or see which with on_error: raise"
            )
        return {name: z.numpy().astype(np.float64) for name, z in out.items()}
