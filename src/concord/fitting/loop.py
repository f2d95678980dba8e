"""One training loop, on Lightning Fabric: a fixed budget, final weights, and it survives being killed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from concord.archive import Claim, covering
from concord.arrays import whole_number
from concord.data import StreamedInputs
from concord.errors import ConcordWarning, NotFiniteError
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.devices import keep_freed_memory, on_first
from concord.fitting.resume import (
    check_same_training,
    network_state,
    rank_seed,
    restore_network,
    restored_selection,
    selection_state,
)
from concord.fitting.rows import Feed, RowFeed, Rows, Samples, StreamedRowFeed, StreamFeed
from concord.fitting.step import Augmentation, Soft, Stepper
from concord.fitting.validation import Validation, collect
from concord.fitting.watch import Logger
from concord.losses import Distributed
from concord.networks import seeded, usual_torch
from concord.objective import CoupledObjective, ObjectiveResult

if TYPE_CHECKING:
    from lightning_fabric import Fabric
from concord.fitting.recipe import History, Recipe, Selected

CHECKED_STEPS = 10
"""Steps at the beginning of which every value is checked; later ones only where a record is made."""


def fit(
    network: nn.Module,
    objective: CoupledObjective,
    rows: Rows | Iterable[Samples],
    *,
    steps: int = 600,
    rows_per_task: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    log_every: int = 50,
    on_log: Callable[[dict[str, float]], None] | None = None,
    recipe: Recipe | None = None,
    validation: Validation | None = None,
    checkpoints: Checkpoints | None = None,
    loggers: Sequence[Logger] = (),
    soft: Soft | None = None,
    augment: Augmentation | None = None,
    fabric: Fabric | None = None,
) -> History:
    """Train `network` in place for a fixed number of steps; the final weights are the result.

    Of rows every step holds `rows_per_task` of each task of the objective, however few a task
    has, so that a scarce task sees a stable sample; every condition that is compared gets the same number
    of steps. A mixture, or any iterable of batches, says itself what a step holds.

    Args:
        network: Input -> logits by task. It is left in evaluation mode, on its device.
        objective: The loss.
        rows: The training rows: in memory they are moved to the device once, elsewhere they are read batch by
            batch, in the same order; or batches, of this rank.
        steps: Number of optimiser steps, >= 1.
        rows_per_task: Rows of each task in a step over all ranks, >= 1; of rows, not of batches.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        seed: Seeds the order of rows and the dropout. The global random state is left as it was.
        log_every: Steps between two records of the history.
        on_log: Called with each record.
        recipe: How weights are changed beyond that.
        validation: Rows to watch, and which weights to select.
        checkpoints: Where to save, and whether to resume. A resumed training ends in the same weights, bit
            by bit, as one that was never interrupted, on the same machine and number of processes.
        loggers: What else takes the records, on rank 0.
        soft: Gives soft targets for a batch: staged training, distillation.
        augment: Changes the inputs of a training batch on the device, with a generator of its step.
        fabric: A launched Fabric (see `concord.fitting.launch`) for several devices; none trains in this
            process on the network's device.

    Raises:
        EmptyDataError: No rows.
        NoAnnotationError: A task of the objective without a single annotation.
        NotFiniteError: The loss became NaN or infinite.
        RangeError: A number of steps or rows that is no whole number >= 1.
        UnknownNameError: An unknown metric, task or module.
        CheckpointError: A checkpoint that cannot be written, read, or is of another training.
    """
    steps = whole_number("the number of steps", steps)
    rows_per_task = whole_number("rows_per_task", rows_per_task)
    log_every = whole_number("log_every", log_every)
    recipe = recipe or Recipe()
    if validation is not None:
        validation.check(objective.tasks)
    if fabric is None:
        device = next(network.parameters()).device
        # A scaler of gradients has a state of its own; without one, plug-ins need not be looked for again.
        fabric = (_local if recipe.precision == "16-mixed" else _local_again)(device, recipe.precision)
    device = fabric.device
    feed: Feed
    if isinstance(rows, Rows):
        kind = StreamedRowFeed if isinstance(rows.inputs, StreamedInputs) else RowFeed
        feed = kind(
            rows,
            list(objective.tasks.values()),
            rows_per_task,
            seed=seed,
            device=device,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
    else:
        feed = StreamFeed(rows, device)
    stepper = Stepper(
        network,
        objective,
        fabric,
        recipe,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        soft=soft,
        augment=augment,
    )
    identity = {
        "seed": seed,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "tasks": {name: list(task.outputs) for name, task in objective.tasks.items()},
        "rows_per_task": rows_per_task if isinstance(rows, Rows) else None,
        # A digest of every relation is for those that may resume, not for each small training.
        **({} if checkpoints is None else objective.identity()),
        **recipe.identity(),
        # Where the rate falls towards the last step, it is another course with another number of them.
        "steps": None if recipe.schedule == "constant" else steps,
        # What was selected, and scores by which checkpoints are kept, are those of one way to judge.
        "validation": None if validation is None else validation.identity(objective.tasks),
    }
    watched = loggers if fabric.is_global_zero else ()
    return _Loop(stepper, feed, log_every, on_log, validation, checkpoints, watched, identity).run()


def _local(device: torch.device, precision: str) -> Fabric:
    # Nearly all the time of this import is torch._dynamo's, which every optimiser of torch imports anyway.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

    # The environment is given: in a job of several processes this training is still one process's own.
    return Fabric(
        accelerator=device.type,
        strategy=SingleDeviceStrategy(device),
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()],
    )


_local_again = lru_cache(maxsize=8)(_local)


@dataclass(eq=False)
class _Loop:
    """One training; see `fit`."""

    stepper: Stepper
    feed: Feed
    log_every: int
    on_log: Callable[[dict[str, float]], None] | None
    validation: Validation | None
    checkpoints: Checkpoints | None
    loggers: Sequence[Logger]
    identity: dict[str, Any]
    step: int = 0
    records: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    selected: dict[str, Selected] = field(default_factory=dict)
    claim: Claim | None = None  # on the folder of the checkpoints, where no claim covers it
    _in_time: tuple[dict[str, Selected], list[dict[str, float]]] | None = None
    _seen: int = 0
    _since: float = field(default_factory=time.perf_counter)

    def run(self) -> History:
        """Train from the beginning or from the newest checkpoint."""
        objective, fabric = self.stepper.objective, self.stepper.fabric
        before, validate = objective.population, objective.validate
        if self.stepper.device.type == "cpu":
            keep_freed_memory()
        first = rank_seed(self.stepper.seed, fabric.global_rank)
        with usual_torch(), seeded(first, self.stepper.device):
            if fabric.world_size > 1:
                objective.population = Distributed()
            try:
                self._resume()
                self._train()
            finally:
                objective.population, objective.validate = before, validate
                self.stepper.thaw()
                for logger in self.loggers:
                    logger.close()
                if self.claim is not None:
                    self.claim.release()
        if self.stepper.average is not None:
            self.stepper.average.exchange()
        self.stepper.network.eval()
        return History(self.records, self.evaluations, self.selected)

    def _train(self) -> None:
        objective, steps = self.stepper.objective, self.stepper.steps
        self.stepper.train_mode()
        checked, validate, self._since = (
            self.step + CHECKED_STEPS,
            objective.validate,
            time.perf_counter(),
        )
        while self.step < steps:
            self.step += 1
            due = self._due(self.log_every)
            # Checking values waits for an accelerator, so most steps go without.
            checking = validate and (due or self.step <= checked)
            if objective.validate != checking:  # a module's attributes are set slowly
                objective.validate = checking
            result, rows = self.stepper.advance(self.step, self.feed.next())
            self._seen += rows
            if due:
                self._log(result)
            if self.validation and self.step == steps and steps % self.validation.every:
                # A longer training does not look here: it goes on from what was selected before.
                self._in_time = dict(self.selected), list(self.evaluations)
            scores = self._evaluate() if self.validation and self._due(self.validation.every) else {}
            if self.checkpoints and self._due(self.checkpoints.every):
                _finite(float(result.loss.detach()), self.step)
                self._save(scores)
        if self.validation is not None and self.validation.select != "final":
            self._take_last([name for name in objective.tasks if name not in self.selected])

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.stepper.steps

    # -- what is recorded ----------------------------------------------------------------------------------

    def _log(self, result: ObjectiveResult) -> None:
        record = {"step": float(self.step), "loss": float(result.loss.detach())}
        record |= {name: float(part) for name, part in result.parts.items()}
        _finite(record["loss"], self.step)
        self.records.append(record)
        now = time.perf_counter()
        rate = self._seen * self.stepper.fabric.world_size / max(now - self._since, 1e-9)
        extra = {"lr": max(group["lr"] for group in self.stepper.optimiser.param_groups), "rate": rate}
        for logger in self.loggers:
            logger.log(record | extra)
        if self.on_log is not None:
            self.on_log(record)
        self._seen, self._since = 0, time.perf_counter()

    def _evaluate(self) -> dict[str, float]:
        assert self.validation is not None
        with self.stepper.averaged():
            targets, logits = collect(
                self.stepper.module,
                self.stepper.network,
                self.validation.rows,
                device=self.stepper.device,
                batch_size=self.validation.batch_size,
                rank=self.stepper.fabric.global_rank,
                world=self.stepper.fabric.world_size,
            )
            record, scores = {"step": float(self.step)}, {}
            for name, task in self.stepper.objective.tasks.items():
                score, found = self.validation.score(task, targets[name], logits[name])
                record |= {f"val/{name}/{metric}": value for metric, value in found.items()}
                if score is not None:
                    scores[name] = score
            self._select(scores)
        self.evaluations.append(record)
        for logger in self.loggers:
            logger.log(record)
        return scores

    def _select(self, scores: Mapping[str, float]) -> None:
        assert self.validation is not None
        if self.validation.select == "final":
            return
        better = [
            t for t, score in scores.items() if t not in self.selected or score > self.selected[t].score
        ]
        if better:
            weights = self.stepper.weights()
            self.selected |= {task: Selected(self.step, scores[task], weights) for task in better}

    def _take_last(self, tasks: Sequence[str]) -> None:
        """The last weights for tasks that no evaluation could judge."""
        if not tasks:
            return
        warnings.warn(
            f"the validation rows cannot judge {', '.join(map(repr, tasks))}: none is annotated, or no label "
            "is present in any; the last weights are kept there",
            ConcordWarning,
            stacklevel=5,
        )
        with self.stepper.averaged():
            weights = self.stepper.weights()
        self.selected |= {task: Selected(self.step, float("nan"), weights) for task in tasks}

    # -- surviving -------------------------------------------------------------------------------------

    def _save(self, scores: Mapping[str, float]) -> None:
        checkpoints = self.checkpoints
        assert checkpoints is not None
        state = network_state(self.stepper) | {
            "rows": self.feed.state_dict(),
            "selected": selection_state(self.selected),
            "history": {"records": self.records, "validation": self.evaluations},
            "loggers": {name: logger.state_dict() for name, logger in self._named_loggers()},
            "training": self.identity,
        }
        if self._in_time is not None:
            selected, evaluations = self._in_time
            state["in_time"] = {"selected": selection_state(selected), "validation": evaluations}
        on_first(
            self.stepper.fabric,
            lambda: checkpoints.save(self.step, state, scores),
            f"the checkpoint of step {self.step}",
        )

    def _resume(self) -> None:
        newest = None
        if self.checkpoints is not None:
            on_first(self.stepper.fabric, self._prepare, "to the folder of checkpoints")
            newest = self.checkpoints.latest()
        if self.checkpoints is not None and newest is not None:
            self._restore(self.checkpoints.load(newest), str(newest))
        else:
            self.stepper.objective.begin()
            # What a run logged that was killed before its first checkpoint is void.
            for logger in self.loggers:
                logger.resume(0, {})

    def _prepare(self) -> None:
        assert self.checkpoints is not None
        owner = self.checkpoints.owner or covering(self.checkpoints.folder)
        if owner is None:
            owner = self.claim = self.checkpoints.claim()
        self.checkpoints = replace(self.checkpoints, owner=owner)
        self.checkpoints.prepare()

    def _restore(self, state: Mapping[str, Any], place: str) -> None:
        check_same_training(state, self.identity, self.stepper.steps, place)
        # Rows first: a stream that is walked again may draw its order, which must be that of the first walk.
        self.feed.load_state_dict(state["rows"])
        restore_network(self.stepper, state, place)
        self.records, self.evaluations = state["history"]["records"], state["history"]["validation"]
        self.selected = restored_selection(state["selected"])
        if "in_time" in state and state["step"] < self.stepper.steps:
            self.evaluations = state["in_time"]["validation"]
            self.selected = restored_selection(state["in_time"]["selected"])
        self.step = state["step"]
        named = self._named_loggers()
        known = state["loggers"]
        if isinstance(known, list):  # of a version that told loggers apart by their place alone
            known = dict(zip([name for name, _ in named], known, strict=False))
        for name, logger in named:
            logger.resume(self.step, known.get(name, {}))

    def _named_loggers(self) -> list[tuple[str, Logger]]:
        """Loggers by their class and number: a training may go on with others, each with its own state."""
        classes = [f"{type(logger).__module__}:{type(logger).__qualname__}" for logger in self.loggers]
        numbers = [classes[:i].count(name) for i, name in enumerate(classes)]
        names = [f"{name}:{number}" for name, number in zip(classes, numbers, strict=True)]
        return list(zip(names, self.loggers, strict=True))


def _finite(loss: float, step: int) -> None:
    if not np.isfinite(loss):
        raise NotFiniteError(
            f"the loss became {loss} at step {step}; lower the learning rate or clip gradients"
        )
