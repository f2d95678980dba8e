"""Every cell of a plan trained once: here, in processes, on Ray, or by several jobs and machines."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.errors import ConcordError, StudyError
from concord.fit import Rows
from concord.metrics import evaluate, lower_is_better, main_metric
from concord.relation import Relation
from concord.study.cells import Cell, cells, finished, is_finished, open_folder, save
from concord.study.claims import Claims
from concord.study.conditions import condition as named_condition
from concord.study.conditions.base import Predictor, Setting
from concord.study.engines import Engine, check_engine
from concord.study.engines import engine as engine_of
from concord.study.environment import note_session
from concord.study.load import problem_of
from concord.study.plan import Budget, Plan, Regime
from concord.study.problem import Problem, check, draw

__all__ = ["cells_of", "default_processes", "run", "run_cell"]

Progress = Callable[[Cell], None]


def run(
    plan: Plan,
    out: str | Path,
    *,
    processes: int | None = None,
    engine: str = "processes",
    array: tuple[int, int] = (0, 1),
    on_done: Progress | None = None,
    on_start: Callable[[int, int], None] | None = None,
) -> int:
    """Train the cells of a plan that the folder does not hold yet.

    Each cell runs on one thread and depends on the plan alone, so that results are the same in however
    many processes, jobs or sessions they were made. Sessions that run at the same time, on one machine or
    on several with a common folder, share the cells among them (see `concord.study.claims`); each returns
    when nothing is left to claim.

    Args:
        plan: The plan.
        out: The study's folder.
        processes: Cells that run at a time; 1, or None, stays in this process.
        engine: `processes` of this machine, or `ray`.
        array: (index, size): only every size-th cell from the index-th on, counted from 0: for array jobs.
        on_done: Called with each cell that is finished.
        on_start: Called once with the number of cells of this job, and of those that were done already.

    Returns:
        Number of cells of the plan that are not done yet, in any job.

    Raises:
        StudyError: A plan that the data cannot serve, a folder of another plan, an index that is none, a
            cell that failed (the others are kept).
        MissingExtraError: What the engine or a condition needs is not installed.
    """
    out = Path(out)
    problem = problem_of(plan)
    check(problem, plan)
    for condition in plan.conditions:
        named_condition(condition.use, **condition.options)
    mine = cells_of(cells(plan), array)

    def work(cell: Cell) -> None:
        run_cell(plan, problem, cell, out)

    check_engine(engine)
    open_folder(out, plan)
    done = finished(out, plan)
    # The conditions of a seed one after the other: what they have in common is made once in a process.
    order = {(r.name, seed): i for i, (r, seed) in enumerate(product(plan.regimes, plan.seeds))}
    pending = sorted(
        (cell for cell in mine if cell not in done), key=lambda cell: order[cell.regime, cell.seed]
    )
    if on_start is not None:
        on_start(len(mine), len(mine) - len(pending))
    if pending:
        with (
            engine_of(engine, plan, out, processes, len(pending), work) as made,
            note_session(out, made.size),
            Claims(out) as claims,
        ):
            _train(out, pending, made, claims, on_done)
    return len(set(cells(plan)) - finished(out, plan))


def _train(
    out: Path,
    pending: Sequence[Cell],
    engine: Engine,
    claims: Claims,
    on_done: Progress | None,
) -> None:
    """Claim and train cells, as many at a time as the engine takes, until none is left to claim."""
    waiting, running = deque(pending), dict[Any, Cell]()
    while True:
        while waiting and len(running) < engine.size:
            cell = waiting.popleft()
            if not claims.take(cell):
                continue
            if is_finished(out, cell):  # by another session, since this one looked
                claims.release(cell)
                continue
            running[engine.submit(cell)] = cell
        if not running:
            return
        handle = engine.first(list(running))
        cell = running.pop(handle)
        with _naming(cell):
            engine.result(handle)
        claims.release(cell)
        if on_done is not None:
            on_done(cell)


def cells_of(given: Sequence[Cell], array: tuple[int, int]) -> list[Cell]:
    """Every size-th cell from the index-th on, for `array` (index, size).

    Raises:
        StudyError: The index is not in 0 .. size-1.
    """
    index, size = array
    if not 0 <= index < size:
        raise StudyError(f"the index of an array job lies in 0 .. size-1, found {index} of {size}")
    return list(given[index::size])


def default_processes() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_cell(plan: Plan, problem: Problem, cell: Cell, out: Path) -> None:
    """Train one cell and write its files. Test targets are not looked at."""
    start = time.perf_counter()
    regime = next(regime for regime in plan.regimes if regime.name == cell.regime)
    chosen = next(condition for condition in plan.conditions if condition.name == cell.condition)
    spared = 0.0
    best: tuple[float, Budget, Setting, Predictor, dict[str, dict[str, float]]] | None = None
    for budget in candidates(plan):
        setting = setting_of(plan, problem, regime, cell.seed, budget)
        predict = named_condition(chosen.use, **chosen.options).train(setting)
        spared += sum(setting.spared)
        found = _validated(setting, predict)
        score = _score(plan, setting, found)
        if best is None or score > best[0]:
            best = (score, budget, setting, predict, found)
    assert best is not None
    _, budget, setting, predict, found = best
    inputs, _ = problem.of("test")
    logits = {name: z.numpy().astype(np.float32) for name, z in predict(torch.from_numpy(inputs)).items()}
    record = {
        "plan": plan.digest_of(cell.regime, cell.condition),
        "regime": cell.regime,
        "condition": cell.condition,
        "seed": cell.seed,
        "rows": {task.name: len(setting.rows.annotated(task)) for task in setting.tasks},
        "total": len(setting.rows),
        "budget": budget.model_dump(),
        "validation": found,
        "curves": setting.curves,
        "account": setting.account,
        "relations": {r.name: _cells_of(r) for r in setting.relations} if regime.table != "given" else {},
        "seconds": round(time.perf_counter() - start + spared, 3),
    }
    save(out, cell, record, logits)


def candidates(plan: Plan) -> list[Budget]:
    """The budgets that every condition may choose from: the plan's own, or the product of its tuning."""
    names, values = list(plan.tuning), list(plan.tuning.values())
    return [plan.budget.model_copy(update=dict(zip(names, v, strict=True))) for v in product(*values)]


def setting_of(plan: Plan, problem: Problem, regime: Regime, seed: int, budget: Budget) -> Setting:
    """What a condition may use in one cell."""
    index, targets = draw(problem, regime, seed)
    inputs, val_targets = problem.of("val")
    setting = Setting(
        tasks=problem.tasks,
        relations=(),
        rows=Rows.of(problem.inputs[index], targets, problem.tasks),
        validation=Rows.of(inputs, val_targets, problem.tasks),
        network=regime.network or plan.network,
        budget=budget,
        seed=seed,
        metrics=plan.metrics,
    )
    from concord.study.tables import relations_of

    return relations_of(setting, problem.relations, regime)


def _validated(setting: Setting, predict: Predictor) -> dict[str, dict[str, float]]:
    logits = predict(setting.validation.inputs)
    return {
        task.name: evaluate(task, setting.validation.targets[task.name].numpy(), logits[task.name].numpy())
        for task in setting.tasks
    }


def _score(plan: Plan, setting: Setting, found: dict[str, dict[str, float]]) -> float:
    total = 0.0
    for task in setting.tasks:
        metric = plan.metrics.get(task.name, main_metric(task))
        total += -found[task.name][metric] if lower_is_better(metric) else found[task.name][metric]
    return total


def _cells_of(relation: Relation) -> list[list[float | None]]:
    return [[None if np.isnan(v) else round(float(v), 6) for v in row] for row in relation.table]


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    try:
        yield
    except ConcordError as error:
        raise StudyError(f"run {cell.id} failed: {error}") from error
