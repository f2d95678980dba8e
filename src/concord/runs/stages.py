"""Training in two stages: uncoupled networks first, then the one that learns from what they say.

The first stage is that of `concord.auto.two_stage`, over the training rows of all sources: networks
like the final one, each trained without one fold of the rows. What they teach is kept in the folder of the
run, so that it is made once; before it is there, every network resumes from checkpoints of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from concord.auto import Effort, posterior_stage
from concord.data import StreamedInputs
from concord.errors import CheckpointError
from concord.fitting import Checkpoints, Rows, Samples, on_first
from concord.learners import StreamLearner
from concord.runs.building import Built
from concord.runs.sources import named
from concord.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


FIRST_STAGE = "first-stage"
"""Folder of the first stage within a run's: `fold-1`, ... hold checkpoints, `targets` what they teach."""


@dataclass(frozen=True)
class SoftTargets:
    """Soft targets of the training rows, for `fit(soft=...)`.

    Attributes:
        tables: By class task, (n, C) over the rows of all sources; NaN for rows without.
        starts: (sources,) number of each source's first row.
        report: What the first stage found, in plain words.
    """

    tables: dict[str, Tensor]
    starts: Tensor
    report: tuple[str, ...] = ()

    def __call__(self, batch: Samples) -> dict[str, Tensor]:
        """Soft targets of a mixture's batch, by task."""
        rows: Any = batch
        place = self.starts[rows.source] + rows.index
        return {name: table[place] for name, table in self.tables.items()}


def stream_learner(
    built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any], **others: Any
) -> StreamLearner:
    """What trains networks of a config on its training rows, and keeps them in a folder."""
    config = built.config
    return StreamLearner(
        build=built.fresh_network,
        fabric=fabric,
        folder=folder,
        steps=built.steps,
        rows_per_task=max(1, config.training.batch_size // len(built.tasks)),
        options={key: value for key, value in options.items() if key != "fabric"},
        batch_size=config.validation.batch_size,
        every=config.checkpoints.every,
        progress=config.watching.progress,
        **others,
    )


def training_rows(built: Built) -> Rows:
    """The training rows of all sources, one source after the other; inputs stay where they lie."""
    inputs = StreamedInputs.of(
        built.training.values(), collate=built.preparation.collate, workers=built.config.mixing.workers
    )
    return Rows.streamed(inputs, built.tasks)


def teach(built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any]) -> SoftTargets:
    """Train the first stage, or take it up; what it teaches is the same bit by bit, interrupted or not.

    Its networks and losses are the config's own, weights of tasks included, and so is the order of their
    rows: the stages differ only in rows, steps and soft targets.

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
        report: list[str] = []
        soft = _first_stage(
            built, fabric, folder / FIRST_STAGE, options, Effort(plan.folds, plan.share), report
        )

        def keep() -> None:
            store.prepare()
            store.save(1, {"soft": soft, "said": report}, {})
            for place in (folder / FIRST_STAGE).glob("network-*/"):  # their predictions are kept
                shutil.rmtree(place, ignore_errors=True)

        on_first(fabric, keep, "what the first stage teaches")
    kept = store.latest()
    assert kept is not None
    state, sizes = store.load(kept), [len(source) for source in built.training.values()]
    if any(len(table) != sum(sizes) for table in state["soft"].values()):
        raise CheckpointError(
            f"{kept} is of other rows than the {sum(sizes)} of these sources; train into another folder"
        )
    tables = {name: table.to(fabric.device) for name, table in state["soft"].items()}
    starts = torch.tensor(np.cumsum([0, *sizes[:-1]]), device=fabric.device)
    return SoftTargets(tables, starts, tuple(state["said"]))


def _first_stage(
    built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any], effort: Effort, report: list[str]
) -> dict[str, Tensor]:
    def draw(rows: Rows, tasks: Sequence[Task], seed: int) -> Any:
        del tasks
        rank, world = fabric.global_rank, fabric.world_size
        return built.mixture(rank, world, sources=rows.inputs.parts(), seed=seed)

    learner = stream_learner(
        built,
        fabric,
        folder,
        options,
        draw=draw,
        objective=lambda *_: built.objective,
        kinds=("shared", "coupled"),
    )
    rows = training_rows(built)
    with named("stages"):
        return posterior_stage(
            learner,
            rows,
            built.tasks,
            built.relations,
            effort=effort,
            seed=built.config.training.seed,
            say=report.append,
        )
