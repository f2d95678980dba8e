"""Every cell of a plan trained once: here, in processes, or as one of several parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.errors import ConcordError, StudyError
from concord.fit import Rows
from concord.metrics import evaluate, lower_is_better, main_metric
from concord.relation import Relation
from concord.study.cells import Cell, cells, finished, open_folder, save
from concord.study.conditions import condition as named_condition
from concord.study.conditions.base import Predictor, Setting
from concord.study.environment import note_session
from concord.study.load import problem_of
from concord.study.plan import Budget, Plan, Regime, as_plan
from concord.study.problem import Problem, check, draw

__all__ = ["default_processes", "part_of", "run", "run_cell"]

Progress = Callable[[Cell], None]


def run(
    plan: Plan,
    out: str | Path,
    *,
    processes: int = 1,
    part: tuple[int, int] = (1, 1),
    on_done: Progress | None = None,
    on_start: Callable[[int, int], None] | None = None,
) -> int:
    """Train the cells of a plan that the folder does not hold yet.

    Each cell runs on one thread and depends on the plan alone, so that results are the same in however
    many processes, parts or sessions they were made.

    Args:
        plan: The plan.
        out: The study's folder.
        processes: Cells that run at a time; 1 stays in this process.
        part: (i, n): only every n-th cell, starting with the i-th, i in 1 .. n: for array jobs.
        on_done: Called with each cell that is finished.
        on_start: Called once with the number of cells of this part, and of those that were done already.

    Returns:
        Number of cells of the plan that are not done yet, in any part.

    Raises:
        StudyError: A plan that the data cannot serve, a folder of another plan, a part that is none, a
            cell that failed (the others are kept).
    """
    out = Path(out)
    problem = problem_of(plan)
    check(problem, plan)
    for condition in plan.conditions:
        named_condition(condition.use, **condition.options)
    mine = part_of(cells(plan), part)
    open_folder(out, plan)
    done = finished(out, plan)
    pending = [cell for cell in mine if cell not in done]
    if on_start is not None:
        on_start(len(mine), len(mine) - len(pending))
    if pending:
        with note_session(out, processes):
            for cell in _executed(plan, problem, out, pending, processes):
                if on_done is not None:
                    on_done(cell)
    return len(set(cells(plan)) - finished(out, plan))


def part_of(given: Sequence[Cell], part: tuple[int, int]) -> list[Cell]:
    """Every n-th cell from the i-th on, for `part` (i, n).

    Raises:
        StudyError: i is not in 1 .. n.
    """
    i, n = part
    if not 1 <= i <= n:
        raise StudyError(f"a part is I/N with I in 1 .. N, found {i}/{n}")
    return list(given[i - 1 :: n])


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
    best: tuple[float, Budget, Setting, Predictor, dict[str, dict[str, float]]] | None = None
    for budget in candidates(plan):
        setting = setting_of(plan, problem, regime, cell.seed, budget)
        predict = named_condition(chosen.use, **chosen.options).train(setting)
        found = _validated(setting, predict)
        score = _score(plan, setting, found)
        if best is None or score > best[0]:
            best = (score, budget, setting, predict, found)
    assert best is not None
    _, budget, setting, predict, found = best
    inputs, _ = problem.of("test")
    logits = {name: z.numpy().astype(np.float32) for name, z in predict(torch.from_numpy(inputs)).items()}
    record = {
        "plan": plan.digest,
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
        "seconds": round(time.perf_counter() - start, 3),
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


# -- fan-out -------------------------------------------------------------------------------------------


def _executed(
    plan: Plan, problem: Problem, out: Path, pending: Sequence[Cell], processes: int
) -> Iterator[Cell]:
    processes = min(processes, len(pending))
    if processes <= 1:
        with _one_thread():
            for cell in pending:
                with _naming(cell):
                    run_cell(plan, problem, cell, out)
                yield cell
        return
    payload = (plan.model_dump_json(), str(out))
    executor = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start_worker, initargs=payload
    )
    clean = False
    try:
        futures: dict[Future[None], Cell] = {executor.submit(_work, cell): cell for cell in pending}
        open_futures = set(futures)
        while open_futures:
            ready, open_futures = wait(open_futures, return_when=FIRST_COMPLETED)
            for future in ready:
                with _naming(futures[future]):
                    future.result()
                yield futures[future]
        clean = True
    except BrokenProcessPool as error:
        raise StudyError(
            "a process was ended from outside, as where memory runs out; what is finished is kept: give the "
            "same command again, with fewer --processes if it comes back"
        ) from error
    finally:
        executor.shutdown(wait=clean, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    try:
        yield
    except ConcordError as error:
        raise StudyError(f"run {cell.id} failed: {error}") from error


_worker: dict[str, Any] = {}


def _start_worker(plan: str, out: str) -> None:
    import signal
    import threading
    from multiprocessing import parent_process

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: the parent speaks, workers just end
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _worker.update(plan=plan, out=Path(out))


@lru_cache(maxsize=1)
def _opened(plan: str) -> tuple[Plan, Problem]:
    import json

    opened = as_plan(json.loads(plan))
    return opened, problem_of(opened)


def _work(cell: Cell) -> None:
    plan, problem = _opened(_worker["plan"])
    run_cell(plan, problem, cell, _worker["out"])
