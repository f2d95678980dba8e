"""Where cells are trained: in this process, in several, or on a Ray cluster. Results are the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from concord.errors import ConcordError, MissingExtraError, StudyError, UnknownNameError
from concord.study.plan import Plan, as_plan
from concord.study.problems import Problem
from concord.study.running.cells import Cell

ENGINES = ("processes", "ray")


class Engine(ABC):
    """Something that trains cells; a context. Abstract.

    Attributes:
        size: Cells that it can train at a time.
    """

    size: int

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(clean=kind is None)

    @abstractmethod
    def submit(self, cell: Cell) -> Any:
        """Begin with a cell; returns a handle."""

    @abstractmethod
    def first(self, handles: Sequence[Any]) -> Any:
        """Wait for one of these to be done, and return it."""

    @abstractmethod
    def result(self, handle: Any) -> None:
        """Raise what went wrong, if anything did."""

    @abstractmethod
    def close(self, clean: bool) -> None:
        """Let go of what is held; not clean: of cells in training, too."""


class Here(Engine):
    """One cell after the other in this process, on one thread.

    Args:
        work: Trains a cell.
    """

    size = 1

    def __init__(self, work: Callable[[Cell], None]) -> None:
        self.work = work
        self.threads = torch.get_num_threads()

    def __enter__(self) -> Engine:
        torch.set_num_threads(1)
        return self

    def submit(self, cell: Cell) -> Any:
        """The cell itself."""
        return cell

    def first(self, handles: Sequence[Any]) -> Any:
        """The only one."""
        return handles[0]

    def result(self, handle: Any) -> None:
        """Train the cell."""
        self.work(handle)

    def close(self, clean: bool) -> None:
        """Threads as they were."""
        del clean
        torch.set_num_threads(self.threads)


class Processes(Engine):
    """Several processes of this machine, each on one thread.

    Args:
        plan: The plan.
        out: The study's folder.
        size: Number of processes.
        devices: Which each process takes one of in turn.
    """

    def __init__(self, plan: Plan, out: Path, size: int, devices: Sequence[str] = ("cpu",)) -> None:
        self.size = size
        context = get_context("spawn")
        places = context.SimpleQueue()
        for k in range(size):
            places.put(devices[k % len(devices)])
        self.executor = ProcessPoolExecutor(
            size,
            mp_context=context,
            initializer=_start_worker,
            initargs=(plan.model_dump_json(), str(out), places),
        )

    def submit(self, cell: Cell) -> Any:
        """Hand a cell to the next free process."""
        with _reporting_a_broken_pool():
            return self.executor.submit(_work, cell)

    def first(self, handles: Sequence[Any]) -> Any:
        """The first that is done."""
        done = wait(handles, return_when=FIRST_COMPLETED).done
        return next(handle for handle in handles if handle in done)

    def result(self, handle: Any) -> None:
        """Raise what the process raised."""
        with _reporting_a_broken_pool():
            handle.result()

    def close(self, clean: bool) -> None:
        """End the processes."""
        self.executor.shutdown(wait=clean, cancel_futures=True)


class LostProcessError(StudyError):
    """What trains cells is gone: no other cell can be trained by it either."""


@contextmanager
def _reporting_a_broken_pool() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise LostProcessError(
            "a process was ended from outside, as where memory runs out; what is finished is kept: give the "
            "same command again, with fewer --processes if it comes back"
        ) from error


class Ray(Engine):
    """Tasks on a Ray cluster, one CPU each: the one that is running, or one of this machine.

    The study's folder, and the plan's data, must be at the same place on all of its machines.

    Args:
        plan: The plan.
        out: The study's folder.
        size: Cells at a time; None for as many as the cluster has CPUs, or accelerators if it trains there.
        device: `cpu`, or `cuda`: one accelerator for each cell.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, plan: Plan, out: Path, size: int | None = None, device: str = "cpu") -> None:
        self.ray = ray = _ray()
        # A worker has a current folder of its own.
        here = plan.model_copy(update={"folder": str(Path(plan.folder).resolve())})
        kind = device.partition(":")[0]
        self.payload = (here.model_dump_json(), str(out.resolve()), kind)
        self.started = not ray.is_initialized()
        if self.started:
            ray.init(log_to_driver=False)
        needed = "GPU" if kind == "cuda" else "CPU"
        self.size = size or max(1, int(ray.cluster_resources().get(needed, 1)))
        needs = {"num_cpus": 1, "num_gpus": 1} if kind == "cuda" else {"num_cpus": 1}
        self.task: Any = ray.remote(**needs)(_work_on)
        self.running: list[Any] = []

    def submit(self, cell: Cell) -> Any:
        """Hand a cell to the cluster."""
        handle = self.task.remote(*self.payload, cell)
        self.running.append(handle)
        return handle

    def first(self, handles: Sequence[Any]) -> Any:
        """The first that is done."""
        done, _ = self.ray.wait(list(handles), num_returns=1)
        return done[0]

    def result(self, handle: Any) -> None:
        """Raise what the task raised."""
        self.running.remove(handle)
        try:
            self.ray.get(handle)
        except Exception as error:
            # Ray wraps what a task raises into an error that prints the task's whole stack.
            cause = getattr(error, "cause", None)
            if isinstance(cause, ConcordError):
                raise cause from error
            raise

    def close(self, clean: bool) -> None:
        """Cancel what is still in training; leave the cluster as it was found."""
        del clean
        for handle in self.running:
            self.ray.cancel(handle)
        if self.started:
            self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--engine ray needs ray: pip install concord-mtl[ray]") from error
    return ray


def check_engine(name: str) -> None:
    """Raise where there is no such engine, before anything is started or written.

    Raises:
        UnknownNameError: An engine of another name.
        MissingExtraError: Ray is not installed.
    """
    if name not in ENGINES:
        raise UnknownNameError.of("engine", name, ENGINES)
    if name == "ray":
        _ray()


def engine(
    name: str,
    plan: Plan,
    out: Path,
    processes: int | None,
    cells: int,
    work: Callable[[Cell], None],
    devices: Sequence[str] = ("cpu",),
) -> Engine:
    """An engine by name; see `check_engine`.

    Args:
        name: One of `ENGINES`.
        plan: The plan.
        out: The study's folder.
        processes: Cells at a time; None for one here, and for all CPUs of a Ray cluster.
        cells: Cells that there are to train.
        work: Trains a cell in this process.
        devices: Where cells are trained.
    """
    if name == "ray":
        return Ray(plan, out, processes, devices[0])
    size = min(processes or 1, cells)
    return Here(work) if size <= 1 else Processes(plan, out, size, devices)


# -- in the processes ----------------------------------------------------------------------------------

_worker: dict[str, str] = {}


def _start_worker(plan: str, out: str, places: Any) -> None:
    import os
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
    _worker.update(plan=plan, out=out, device=places.get())


def _work(cell: Cell) -> None:
    _work_on(_worker["plan"], _worker["out"], _worker["device"], cell)


def _work_on(plan: str, out: str, device: str, cell: Cell) -> None:
    from concord.study.running.one_cell import run_cell

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loaded, problem = _loaded(plan)
        run_cell(loaded, problem, cell, Path(out), device)
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _loaded(plan: str) -> tuple[Plan, Problem]:
    import json

    from concord.study.problems import problem_of

    loaded = as_plan(json.loads(plan))
    return loaded, problem_of(loaded)
