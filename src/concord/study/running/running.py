"""Every cell of a plan trained once: here, in processes, on Ray, or by several jobs and machines."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from concord.archive import LOOK
from concord.data import Manifest, StreamedInputs, near_copies, near_copies_in_memory
from concord.errors import ConcordError, ConcordWarning, StudyError
from concord.fitting import freeze
from concord.study.conditions import condition as named_condition
from concord.study.conditions import network_for
from concord.study.plan import Plan
from concord.study.problems import Problem, check_problem, problem_of
from concord.study.running.cells import Cell, all_cells, finished, is_finished, open_folder
from concord.study.running.claims import Claims
from concord.study.running.devices import devices_of
from concord.study.running.engines import Engine, LostProcessError, check_engine
from concord.study.running.engines import engine as engine_of
from concord.study.running.environment import is_noted, note_session
from concord.study.running.one_cell import run_cell
from concord.study.spec import TrunkNetwork

Progress = Callable[[Cell], None]

pause = time.sleep


def run(
    plan: Plan,
    out: str | Path,
    *,
    processes: int | None = None,
    engine: str = "processes",
    array: tuple[int, int] = (0, 1),
    devices: Sequence[str] = ("cpu",),
    on_done: Progress | None = None,
    on_start: Callable[[int, int], None] | None = None,
) -> int:
    """Train the cells of a plan that the folder does not hold yet.

    Each cell runs on one thread and depends on the plan alone, so that results are the same in however
    many processes, jobs or sessions they were made. Sessions that run at the same time, on one machine or
    on several with a common folder, share the cells among them (see `concord.study.running.claims`); each
    returns when nothing is left to claim, and no claim whose holder may be gone.

    Args:
        plan: The plan.
        out: The study's folder.
        processes: Cells that run at a time; 1, or None, stays in this process.
        engine: `processes` of this machine, or `ray`.
        devices: Where networks are trained, such as `cpu`, `cuda` (each one that is seen) or `cuda:1`: each
            process takes one of them in turn. A run is trained on one device. Numbers of another kind of
            device differ in their last digits.
        array: (index, size): only every size-th cell from the index-th on, counted from 0: for array jobs.
        on_done: Called with each cell that is finished.
        on_start: Called once with the number of cells of this job, and of those that were done already.

    Returns:
        Number of cells of the plan that are not done yet, in any job.

    Raises:
        StudyError: A plan that the data cannot serve, a condition that cannot be trained on them, a folder of
            another plan, an index that is none, cells that failed (all others are trained first).
        MissingExtraError: What the engine or a condition needs is not installed.
        ConfigError: A device that this machine does not have.
    """
    out = Path(out)
    places = devices_of(devices)
    problem = problem_of(plan)
    check_problem(problem, plan)
    _check_trunks(plan, problem)
    _check_conditions(plan, problem)
    mine = cells_of(all_cells(plan), array)

    def work(cell: Cell) -> None:
        run_cell(plan, problem, cell, out, places[0])

    check_engine(engine)
    open_folder(out, plan)
    for copies in _copies(problem):
        warnings.warn(copies, ConcordWarning, stacklevel=2)
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
            engine_of(engine, plan, out, processes, len(pending), work, places) as made,
            note_session(out, made.size, places),
            Claims(out) as claims,
        ):
            _train(out, pending, made, claims, on_done)
    elif not is_noted(out):  # of a session that was killed before it could say so
        with note_session(out, 1, places):
            pass
    return len(set(all_cells(plan)) - finished(out, plan))


def _check_trunks(plan: Plan, problem: Problem) -> None:
    """Build, and freeze, each trunk by name once before anything is written: what is wrong is told now."""
    networks = [regime.network or plan.network for regime in plan.regimes]
    for k, network in enumerate(networks):
        if isinstance(network, TrunkNetwork) and network not in networks[:k]:
            freeze(network_for(network, problem.tasks, problem.shape, folder=plan.folder), network.freeze)


def _check_conditions(plan: Plan, problem: Problem) -> None:
    """Ask each condition whether it can be trained in each regime, before anything is written.

    Raises:
        StudyError: One cannot; names both.
    """
    made = [named_condition(each.use, **each.options) for each in plan.conditions]
    for regime, (chosen, condition) in product(plan.regimes, zip(plan.conditions, made, strict=True)):
        try:
            condition.check(problem.tasks, problem.relations, regime.network or plan.network)
        except ConcordError as error:
            raise StudyError(f"regime {regime.name!r}, condition {chosen.name!r}: {error}") from error


def _copies(problem: Problem) -> Iterator[str]:
    """What is to be said of near-copies without a group: by the files of sources, or of rows in memory."""
    inputs = problem.inputs
    if isinstance(inputs, StreamedInputs):
        # A source is there once for each split, and copies in two of them are the worst.
        parts: dict[str, list[Manifest]] = {}
        for source in inputs.sources:
            parts.setdefault(source.name, []).append(source.manifest)
        found = [near_copies(_as_one(name, manifests)) for name, manifests in parts.items()]
    else:
        found = [near_copies_in_memory(inputs, problem.groups, problem.name)]
    return (each for each in found if each is not None)


def _as_one(name: str, manifests: Sequence[Manifest]) -> Manifest:
    frame = pl.concat([manifest.frame for manifest in manifests], how="diagonal")
    return replace(manifests[0], name=name, frame=frame)


def _train(
    out: Path,
    pending: Sequence[Cell],
    engine: Engine,
    claims: Claims,
    on_done: Progress | None,
) -> None:
    """Claim and train cells, as many at a time as the engine takes, until none is left to claim.

    Raises:
        StudyError: A cell failed; the others are trained before that is said.
    """
    failed: list[StudyError] = []
    waiting, running, watched = deque(pending), dict[Any, Cell](), list[Cell]()
    while True:
        waiting.extend(watched)
        watched.clear()
        while waiting and len(running) < engine.size:
            cell = waiting.popleft()
            if not claims.take(cell):
                if claims.watched(cell):  # of another machine, perhaps of a session that is gone
                    watched.append(cell)
                continue
            if is_finished(out, cell):  # by another session, since this one looked
                claims.release(cell)
                continue
            running[engine.submit(cell)] = cell
        if not running and watched:
            pause(LOOK)
            continue
        if not running:
            break
        handle = engine.first(list(running))
        cell = running.pop(handle)
        try:
            engine.result(handle)
        except LostProcessError:
            raise
        except ConcordError as error:
            failed.append(StudyError(f"run {cell.id} failed: {error}"))
            failed[-1].__cause__ = error
            claims.release(cell)
            continue
        claims.release(cell)
        if on_done is not None:
            on_done(cell)
    if failed:
        more = f" ({len(failed) - 1} more failed, {failed[-1]})" if len(failed) > 1 else ""
        raise StudyError(f"{failed[0]}{more}") from failed[0].__cause__


def cells_of(given: Sequence[Cell], array: tuple[int, int]) -> list[Cell]:
    """Every size-th cell from the index-th on, for `array` (index, size).

    Raises:
        StudyError: The index is not in 0 .. size-1.
    """
    index, size = array
    if not 0 <= index < size:
        raise StudyError(f"the index of an array job lies in 0 .. size-1, found {index} of {size}")
    return list(given[index::size])


def default_processes(devices: Sequence[str] = ("cpu",)) -> int:
    """Runs at a time unless said otherwise: the cores that this process may use, or one on each accelerator.

    Args:
        devices: Where networks are trained; see `run`.
    """
    accelerators = [device for device in devices_of(devices) if device != "cpu"]
    if accelerators:
        return len(accelerators)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
