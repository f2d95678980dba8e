"""One training loop, on Lightning Fabric: a fixed budget, final weights, and it survives being killed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from concord.data import StreamedInputs
from concord.errors import CheckpointError, ConcordWarning, NotFiniteError, RangeError
from concord.fitting.checkpoints import Checkpoints, random_state, set_random_state
from concord.fitting.devices import keep_freed_memory, on_first
from concord.fitting.optimise import Average, freeze, parameter_groups, rate_factor
from concord.fitting.rows import Feed, RowFeed, Rows, Samples, StreamedRowFeed, StreamFeed
from concord.fitting.validation import Validation, collect
from concord.fitting.watch import Logger
from concord.losses import Distributed
from concord.networks import length, pieces, reseed, seeded, usual_torch
from concord.objective import CoupledObjective, ObjectiveResult

if TYPE_CHECKING:
    from lightning_fabric import Fabric
from concord.fitting.recipe import History, Recipe, Selected

CHECKED_STEPS = 10
"""Steps at the beginning of which every value is checked; later ones only where a record is made."""


Soft = Callable[[Samples], Mapping[str, Tensor]]
"""Soft targets for a batch, by task: a teacher's, or those of a first stage."""


Augmentation = Callable[[Tensor, torch.Generator], Tensor]


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
        fabric: A launched Fabric (see `concord.launch.launch`) for several devices; none trains in this
            process on the network's device.

    Raises:
        EmptyDataError: No rows.
        NoAnnotationError: A task of the objective without a single annotation.
        NotFiniteError: The loss became NaN or infinite.
        RangeError: A number of steps or rows below 1.
        UnknownNameError: A metric, task or module that there is not.
        CheckpointError: A checkpoint that cannot be written, read, or is of another training.
    """
    if steps < 1 or rows_per_task < 1 or log_every < 1:
        raise RangeError(
            f"steps, rows_per_task and log_every are >= 1, found {steps}, {rows_per_task} and {log_every}"
        )
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
    loop = _Loop(
        network=network,
        objective=objective,
        feed=feed,
        fabric=fabric,
        recipe=recipe,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        log_every=log_every,
        on_log=on_log,
        validation=validation,
        checkpoints=checkpoints,
        loggers=loggers if fabric.is_global_zero else (),
        soft=soft,
        augment=augment,
        identity={"rows_per_task": rows_per_task if isinstance(rows, Rows) else None},
    )
    return loop.run()


def _local(device: torch.device, precision: str) -> Fabric:
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


class _Loop:
    """One training; see `fit`."""

    def __init__(
        self,
        *,
        network: nn.Module,
        objective: CoupledObjective,
        feed: Feed,
        fabric: Fabric,
        recipe: Recipe,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        seed: int,
        log_every: int,
        on_log: Callable[[dict[str, float]], None] | None,
        validation: Validation | None,
        checkpoints: Checkpoints | None,
        loggers: Sequence[Logger],
        soft: Soft | None,
        augment: Augmentation | None,
        identity: dict[str, Any],
    ) -> None:
        self.network, self.objective, self.feed, self.fabric = network, objective, feed, fabric
        self.recipe, self.steps, self.seed, self.log_every = recipe, steps, seed, log_every
        self.on_log, self.validation, self.checkpoints = on_log, validation, checkpoints
        self.loggers, self.soft, self.augment = loggers, soft, augment
        self.device = fabric.device
        self.identity = {
            "seed": seed,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "tasks": {name: list(task.outputs) for name, task in objective.tasks.items()},
            **identity,
            # A digest of every relation is for those that may go on, not for each small training.
            **({} if checkpoints is None else objective.identity()),
            **{
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(recipe).items()
                if key != "compile"
            },
            # Where the rate falls towards the last step, it is another course with another number of them.
            "steps": None if recipe.schedule == "constant" else steps,
        }
        self.frozen = freeze(network, recipe.frozen)
        if recipe.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            layer_decay=recipe.layer_decay,
            decay=recipe.decay,
        )
        fused = self.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(groups, lr=learning_rate, fused=fused, foreach=not fused)
        compiled: Any = network if recipe.compile is None else torch.compile(network, backend=recipe.compile)
        self.module, self.wrapped = fabric.setup(compiled, self.optimiser)
        # Where Fabric adds nothing to the forward pass, its wrapper is left out: small networks feel it.
        plain = (
            fabric.world_size == 1
            and recipe.compile is None
            and fabric.strategy.precision.precision == "32-true"
        )
        self.forward: Callable[[Any], Mapping[str, Tensor]] = network if plain else self.module
        self.average = None if recipe.average is None else Average(network, recipe.average)
        self.step = 0
        self.records: list[dict[str, float]] = []
        self.evaluations: list[dict[str, float]] = []
        self.selected: dict[str, Selected] = {}
        self._seen = 0
        self._since = time.perf_counter()

    # -- the course of a training ----------------------------------------------------------------------

    def run(self) -> History:
        """Train from the beginning or from the newest checkpoint."""
        before, validate = self.objective.population, self.objective.validate
        if self.device.type == "cpu":
            keep_freed_memory()
        first = _rank_seed(self.seed, self.fabric.global_rank)
        with usual_torch(), seeded(first, self.device):
            if self.fabric.world_size > 1:
                self.objective.population = Distributed()
            try:
                self._resume()
                self._train()
            finally:
                self.objective.population, self.objective.validate = before, validate
                for logger in self.loggers:
                    logger.close()
        if self.average is not None:
            self.average.exchange()
        self.network.eval()
        return History(self.records, self.evaluations, self.selected)

    def _train(self) -> None:
        self.network.train()
        for module in self.frozen:
            module.eval()
        self.objective.train()
        checked, validate, self._since = (
            self.step + CHECKED_STEPS,
            self.objective.validate,
            time.perf_counter(),
        )
        while self.step < self.steps:
            self.step += 1
            due = self._due(self.log_every)
            # Checking values waits for an accelerator, so most steps go without.
            self.objective.validate = validate and (due or self.step <= checked)
            result, rows = self._advance()
            self._seen += rows
            if due:
                self._log(result)
            scores = self._evaluate() if self.validation and self._due(self.validation.every) else {}
            if self.checkpoints and self._due(self.checkpoints.every):
                _finite(float(result.loss.detach()), self.step)
                self._save(scores)
        if self.validation is not None and self.validation.select != "final":
            self._take_last([name for name in self.objective.tasks if name not in self.selected])

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    # -- one step --------------------------------------------------------------------------------------

    def _advance(self) -> tuple[ObjectiveResult, int]:
        factor = rate_factor(self.recipe.schedule, self.step, self.steps, self.recipe.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        batch = self.feed.next()
        inputs = self._prepared(batch.inputs)
        soft = dict(getattr(batch, "soft", None) or {})
        if self.soft is not None:
            soft |= self.soft(batch)
        weights = dict(getattr(batch, "weights", None) or {})
        if self.recipe.accumulate == 1:
            result = self.objective(
                self.forward(inputs), batch.targets, soft=soft or None, sample_weight=weights or None
            )
            self.fabric.backward(result.loss)
        else:
            result = self._in_pieces(inputs, batch.targets, soft, weights)
        if self.recipe.clip is not None:
            self.fabric.clip_gradients(
                self.module, self.wrapped, max_norm=self.recipe.clip, error_if_nonfinite=False
            )
        self.wrapped.step()
        self.wrapped.zero_grad()
        if self.average is not None:
            self.average.update()
        return result, length(batch.inputs)

    def _prepared(self, inputs: Any) -> Any:
        if self.augment is not None and isinstance(inputs, Tensor):
            from concord.data import step_generator

            number = self.step * self.fabric.world_size + self.fabric.global_rank
            inputs = self.augment(inputs, step_generator(self.seed, number, self.device))
        if self.recipe.channels_last and isinstance(inputs, Tensor) and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _in_pieces(
        self,
        inputs: Any,
        targets: Mapping[str, Tensor],
        soft: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
    ) -> ObjectiveResult:
        parts = pieces(inputs, max(1, -(-length(inputs) // self.recipe.accumulate)))
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
        result: ObjectiveResult = self.objective(
            logits, targets, soft=soft or None, sample_weight=weights or None
        )
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

    # -- what is told ----------------------------------------------------------------------------------

    def _log(self, result: ObjectiveResult) -> None:
        record = {"step": float(self.step), "loss": float(result.loss.detach())}
        record |= {name: float(part) for name, part in result.parts.items()}
        _finite(record["loss"], self.step)
        self.records.append(record)
        now = time.perf_counter()
        rate = self._seen * self.fabric.world_size / max(now - self._since, 1e-9)
        extra = {"lr": max(group["lr"] for group in self.optimiser.param_groups), "rate": rate}
        for logger in self.loggers:
            logger.log(record | extra)
        if self.on_log is not None:
            self.on_log(record)
        self._seen, self._since = 0, time.perf_counter()

    def _evaluate(self) -> dict[str, float]:
        assert self.validation is not None
        with self.average.applied() if self.average else nullcontext():
            targets, logits = collect(
                self.module,
                self.network,
                self.validation.rows,
                device=self.device,
                batch_size=self.validation.batch_size,
                rank=self.fabric.global_rank,
                world=self.fabric.world_size,
            )
            record, scores = {"step": float(self.step)}, {}
            for name, task in self.objective.tasks.items():
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
            weights = self._weights()
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
        with self.average.applied() if self.average else nullcontext():
            weights = self._weights()
        self.selected |= {task: Selected(self.step, float("nan"), weights) for task in tasks}

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().to("cpu", copy=True) for k, v in self.network.state_dict().items()}

    # -- surviving -------------------------------------------------------------------------------------

    def _save(self, scores: Mapping[str, float]) -> None:
        checkpoints = self.checkpoints
        assert checkpoints is not None
        state = {
            "network": dict(self.network.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "objective": dict(self.objective.state_dict()),
            "average": None if self.average is None else self.average.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "random": self._random_states(),
            "rows": self.feed.state_dict(),
            "selected": self._packed_selection(),
            "history": {"records": self.records, "validation": self.evaluations},
            "loggers": [logger.state_dict() for logger in self.loggers],
            "training": self.identity,
        }
        on_first(
            self.fabric,
            lambda: checkpoints.save(self.step, state, scores),
            f"the checkpoint of step {self.step}",
        )

    def _packed_selection(self) -> dict[str, Any]:
        # Tasks that chose the same step share its weights.
        weights = {str(chosen.step): chosen.weights for chosen in self.selected.values()}
        tasks = {task: {"step": chosen.step, "score": chosen.score} for task, chosen in self.selected.items()}
        return {"tasks": tasks, "weights": weights}

    def _random_states(self) -> list[dict[str, Tensor]]:
        mine = {name: state.cpu() for name, state in random_state(self.device).items()}
        if self.fabric.world_size == 1:
            return [mine]
        out: list[dict[str, Tensor]] = [{} for _ in range(self.fabric.world_size)]
        for name, state in mine.items():
            gathered = self.fabric.all_gather(state.to(self.device))
            for rank, row in enumerate(gathered):
                out[rank][name] = row.cpu()
        return out

    def _resume(self) -> None:
        newest = None
        if self.checkpoints is not None:
            if self.fabric.is_global_zero:
                self.checkpoints.prepare()
            if self.fabric.world_size > 1:
                self.fabric.barrier()
            newest = self.checkpoints.latest()
        if self.checkpoints is not None and newest is not None:
            self._restore(self.checkpoints.load(newest), str(newest))
        else:  # what a run logged that was killed before its first checkpoint is void
            for logger in self.loggers:
                logger.resume(0, {})

    def _restore(self, state: Mapping[str, Any], place: str) -> None:
        for key, mine in self.identity.items():
            if state["training"].get(key) != mine:
                raise CheckpointError(
                    f"{place} is of another training: {key} was {state['training'].get(key)}, here it is "
                    f"{mine}; train into another folder"
                )
        if state["step"] > self.steps:
            raise CheckpointError(f"{place} is at step {state['step']}, beyond the {self.steps} asked for")
        try:
            self.network.load_state_dict(state["network"])
            self.objective.load_state_dict(_on(self.device, state["objective"]))
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{place} is of another network: {reason}") from error
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.feed.load_state_dict(state["rows"])
        self.records, self.evaluations = state["history"]["records"], state["history"]["validation"]
        self.selected = {
            task: Selected(chosen["step"], chosen["score"], state["selected"]["weights"][str(chosen["step"])])
            for task, chosen in state["selected"]["tasks"].items()
        }
        self.step = state["step"]
        states, rank = state["random"], self.fabric.global_rank
        if len(states) == self.fabric.world_size:
            set_random_state(states[rank], self.device)
        else:  # another number of processes: the same training, but no longer bit by bit
            reseed(_rank_seed(self.seed + self.step, rank), self.device)
        for i, logger in enumerate(self.loggers):
            known = state["loggers"][i] if i < len(state["loggers"]) else {}
            logger.resume(self.step, known)


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _on(device, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on(device, part) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value


def _finite(loss: float, step: int) -> None:
    if not np.isfinite(loss):
        raise NotFiniteError(
            f"the loss became {loss} at step {step}; lower the learning rate or clip gradients"
        )


def _rank_seed(seed: int, rank: int) -> int:
    # Ranks drop different units; rank 0 drops what a single process would.
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
