"""Several sources in one stream of batches: shares, epochs, order, ranks, resuming.

The stream is a pure function of seed, epoch and step. A batch is divided among the sources by
Webster's method (Sainte-Laguë, the one that divides seats among parties), applied to all rows of the epoch
so far: what rounding takes from a source in one batch it gets back in a later one, and after n rows a
source has had the nearest whole number to its share of n. Each source hands out its rows in the order of
a permutation; when that is used up, in the order of the next one, across batches and epochs. So nothing is
dropped, and a row returns only when its source is exhausted: a scarce source goes round several times
while a large one goes round once.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args
from weakref import ref

import numpy as np
import torch

from concord.data.batches import Batch, Skipped, SkippedInputWarning
from concord.data.inputs import Rows, concatenate
from concord.data.loading import Collate, Loading, Plan, Request, Result, Workers
from concord.data.shares import Share, apportion, first_reaching, source_weights
from concord.data.source import Source
from concord.errors import (
    CheckpointError,
    ConcordError,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    RangeError,
    UnknownNameError,
)
from concord.tasks import Task, task_names, unite_tasks

Epoch = Literal["longest", "shortest", "sum"]
LastBatch = Literal["short", "carry"]


class Mixture:
    """Batches that hold rows of all sources, each in its share.

    Iterating gives the rest of the current epoch, then the mixture stands at the beginning of the next.
    `state_dict` says where it stands; a mixture that is loaded with it goes on exactly there, whatever its
    number of workers and ranks. The order of a source does not change when others join or leave.

    Args:
        sources: One or more sources with distinct names.
        tasks: Tasks of the targets; a source that lacks one has gaps there. None takes all tasks of all
            sources, and joins classes or labels of tasks of one name.
        batch_size: Rows of a batch over all ranks.
        share: The share of each source: `"size"` by its rows, `"equal"`, `"temperature"` by rows to the
            power 1 / temperature, or a positive number by name of source (relative to their sum).
        temperature: > 0; 1 is by size, larger is closer to equal.
        epoch: `"longest"`: until every source has given all its rows at least once; `"shortest"`: until
            one has; `"sum"`: as many rows as the sources have together; or a number of batches. By size all
            three are the same, and every row comes exactly once.
        seed: >= 0; fixes the order of every source in every pass.
        shuffle: Whether the order is random; otherwise it is the manifest's.
        last_batch: What becomes of the rows at the end of an epoch that do not fill a batch: `"short"`, a
            smaller one; `"carry"`, they open the next epoch.
        rank: This process, 0 .. world_size - 1. It gets every world_size-th row of each batch, and
            its batches differ by at most one row from other ranks'.
        world_size: Number of processes that share the batches.
        workers: Worker processes that load inputs; 0 loads in this process, best for features in memory.
        prefetch: Batches that each worker loads ahead.
        context: How workers start, `"fork"`, `"spawn"` or `"forkserver"`; None is the system's default.
        collate: Puts the inputs of several sources into one batch, from the parts and the names of the
            sources; see `concord.data.inputs.concatenate`, the default.

    Raises:
        EmptyDataError: No source.
        DuplicateNameError: Two sources of one name.
        UnknownNameError: A share of an unknown source or none of a known one, an unknown option.
        NoAnnotationError: A task that no source has.
        RangeError: A share, temperature, size, seed or rank outside its range, or shares so far apart that
            the rows of an epoch cannot be counted.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tasks: Sequence[Task] | None = None,
        *,
        batch_size: int,
        share: Share | Mapping[str, float] = "size",
        temperature: float = 2.0,
        epoch: Epoch | int = "longest",
        seed: int = 0,
        shuffle: bool = True,
        last_batch: LastBatch = "short",
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        context: str | None = None,
        collate: Collate = concatenate,
    ) -> None:
        self.sources = tuple(sources)
        if not self.sources:
            raise EmptyDataError("a mixture has at least one source, found none")
        self.names = _distinct([source.name for source in self.sources])
        self.tasks = (
            unite_tasks(source.manifest.tasks for source in self.sources) if tasks is None else tuple(tasks)
        )
        _check_options(
            epoch,
            last_batch,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            workers=workers,
            prefetch=prefetch,
        )
        self.batch_size, self.seed, self.shuffle, self.last_batch = batch_size, seed, shuffle, last_batch
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.prefetch, self.context = prefetch, context
        self.sizes = tuple(len(source) for source in self.sources)
        self._weights = source_weights(self.names, self.sizes, share, temperature)
        self._rows = self._countable(self._epoch_rows(epoch))
        self._per_epoch = apportion(self._weights, self._rows)
        self._targets = self._annotations()
        self._orders: list[dict[int, Rows]] = [{} for _ in self.sources]
        self._loading = Loading([(s.inputs, s.transform, s.name) for s in self.sources], collate)
        self._workers: Workers | None = None
        self._epoch, self._step = 0, 0
        self.skipped: dict[tuple[str, int], Skipped] = {}
        self._unread = 0  # rows of this rank that were skipped since one was read

    # -- what it is --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return math.ceil(self._rows / self.batch_size)

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.3g}" for name, share in self.shares.items())
        return f"Mixture({shares}; {len(self):,} batches of {self.batch_size})"

    @property
    def shares(self) -> dict[str, float]:
        """Share of each source in the batches, by name; they sum to 1."""
        total = sum(self._weights)
        return {name: weight / total for name, weight in zip(self.names, self._weights, strict=True)}

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self._epoch

    @property
    def step(self) -> int:
        """Number of the next batch in its epoch, from 0."""
        return self._step

    @property
    def unreadable(self) -> bool:
        """Whether as many rows as there are went by without one whose input could be loaded."""
        return self._unread >= sum(self.sizes)

    def rows(self, epoch: int, step: int) -> tuple[Rows, ...]:
        """Rows of each source in one global batch: a pure function of seed, epoch and step."""
        begin, end = step * self.batch_size, min((step + 1) * self.batch_size, self._rows)
        starts, stops = apportion(self._weights, begin), apportion(self._weights, end)
        return tuple(
            self._stretch(number, epoch * whole + start, epoch * whole + stop)
            for number, (whole, start, stop) in enumerate(zip(self._per_epoch, starts, stops, strict=True))
        )

    # -- going on ----------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch.

        Raises:
            RangeError: A negative epoch.
        """
        if epoch < 0:
            raise RangeError(f"epochs count from 0, found {epoch}")
        self._epoch, self._step = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the mixture stands, and what it must agree with: plain numbers, text and lists."""
        return {"epoch": self._epoch, "step": self._step, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another mixture of the same sources and seed stood.

        Raises:
            CheckpointError: The state of a mixture with another stream; names the difference.
        """
        for key, mine in self._identity().items():
            if state.get(key) != mine:
                raise CheckpointError(
                    f"this is the state of another mixture: {key} was {state.get(key)}, here it is {mine}"
                )
        epoch, step = state.get("epoch"), state.get("step")
        if not isinstance(epoch, int) or not isinstance(step, int) or epoch < 0 or not 0 <= step < len(self):
            raise CheckpointError(
                f"a mixture of {len(self)} batches cannot stand at epoch {epoch}, step {step}"
            )
        self._epoch, self._step = epoch, step

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed if self.shuffle else None,
            "batch_size": self.batch_size,
            "sources": list(self.names),
            "sizes": list(self.sizes),
            "weights": list(self._weights),
            "epoch_rows": self._rows,
        }

    def __iter__(self) -> Iterator[Batch]:
        epoch = self._epoch
        plans: deque[Plan] = deque()
        requests = _Requests(self, plans)
        loaded = self._results(requests)
        try:
            for result in loaded:
                batch = self._batch(plans.popleft(), result)
                # The place moves on before the batch is handed over: a state saved in the loop's body says
                # that this batch is done.
                last = self._step + 1 == len(self)
                self._epoch, self._step = (epoch + 1, 0) if last else (epoch, self._step + 1)
                yield batch
        except Exception:
            # Else the traceback would keep the workers.
            del loaded
            self.close()
            raise

    def close(self) -> None:
        """End the workers, if any; iterating starts new ones. The mixture's end does the same."""
        self._workers = None

    def _results(self, requests: _Requests) -> Iterator[Result | ConcordError]:
        if not self.workers:
            return map(self._loading.__getitem__, requests)
        if self._workers is None:
            self._workers = Workers(self._loading, self.workers, self.prefetch, self.context)
        return self._workers.results(requests)

    # -- the order ---------------------------------------------------------------------------------

    def _stretch(self, number: int, start: int, stop: int) -> Rows:
        size, parts = self.sizes[number], []
        while start < stop:
            turn, offset = divmod(start, size)
            part = self._order(number, turn)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)

    def _order(self, number: int, turn: int) -> Rows:
        orders = self._orders[number]
        if turn not in orders:
            # Two passes meet in a batch; older ones never come back.
            for old in [known for known in orders if abs(known - turn) > 1]:
                del orders[old]
            orders[turn] = self._permutation(number, turn)
        return orders[turn]

    def _permutation(self, number: int, turn: int) -> Rows:
        order = np.arange(self.sizes[number], dtype=np.int32 if self.sizes[number] < 2**31 else np.int64)
        if self.shuffle:
            name = zlib.crc32(self.names[number].encode())
            np.random.default_rng([self.seed, name, turn]).shuffle(order)
        return order  # type: ignore[return-value]

    def _epoch_rows(self, epoch: Epoch | int) -> int:
        if isinstance(epoch, int):
            return epoch * self.batch_size
        if epoch == "sum":
            rows = sum(self.sizes)
        else:
            through = all if epoch == "longest" else any
            rows = first_reaching(lambda n: through(map(int.__ge__, apportion(self._weights, n), self.sizes)))
        if self.last_batch == "carry":
            return max(1, rows // self.batch_size) * self.batch_size
        return rows

    def _countable(self, rows: int) -> int:
        """The rows of an epoch, where NumPy and `len` can count them."""
        if rows < 2**63:
            return rows
        smallest = self.names[self._weights.index(min(self._weights))]
        raise RangeError(
            "an epoch of this mixture has 2^63 rows or more; give fewer batches, or a larger share to source "
            f"{smallest!r}"
        )

    # -- a batch -----------------------------------------------------------------------------------

    def _annotations(self) -> list[tuple[Task, list[Any]]]:
        if self.tasks:
            task_names(self.tasks)
        out = [(task, [source.targets(task) for source in self.sources]) for task in self.tasks]
        for task, by_source in out:
            if all(rows.values is None for rows in by_source):
                known = unite_tasks(source.manifest.tasks for source in self.sources)
                names = ", ".join(each.name for each in known) or "none"
                raise NoAnnotationError(f"no source has task {task.name!r}; they have {names}")
        return out

    def _plan(self, epoch: int, step: int) -> Plan:
        own, passed = [], 0
        for rows in self.rows(epoch, step):
            own.append(rows[(self.rank - passed) % self.world_size :: self.world_size])
            passed += len(rows)
        return Plan((self.seed, epoch, step, self.rank), tuple(own))

    def _request(self, plan: Plan) -> Request:
        used = [number for number, rows in enumerate(plan.rows) if len(rows)] or [0]
        return Request(plan.seed, tuple((n, self.sources[n].keys(plan.rows[n])) for n in used))

    def _batch(self, plan: Plan, result: Result | ConcordError) -> Batch:
        if isinstance(result, ConcordError):
            raise result
        rows, skipped = list(plan.rows), self._note(plan, result)
        for number, failures in result.failures.items():
            rows[number] = np.delete(rows[number], [failure.position for failure in failures])
        n = sum(map(len, rows))
        self._unread = 0 if n else self._unread + len(skipped)
        targets, soft = {}, {}
        for task, by_source in self._targets:
            targets[task.name], start = torch.from_numpy(task.gaps(n)), 0
            if any(own.shares is not None for own in by_source):
                soft[task.name] = torch.full((n, task.width), torch.nan)
            for own, chosen in zip(by_source, rows, strict=True):
                own.fill(targets[task.name], start, chosen)
                if task.name in soft:
                    own.fill_shares(soft[task.name], start, chosen)
                start += len(chosen)
        source = np.repeat(np.arange(len(rows)), [len(chosen) for chosen in rows])
        index = torch.from_numpy(np.concatenate(rows))
        return Batch(result.inputs, targets, torch.from_numpy(source), index, skipped, soft)

    def _note(self, plan: Plan, result: Result) -> tuple[Skipped, ...]:
        skipped = tuple(
            Skipped(
                self.names[number], int(plan.rows[number][failure.position]), failure.path, failure.reason
            )
            for number, failures in result.failures.items()
            for failure in failures
        )
        for row in skipped:
            if (row.source, row.index) not in self.skipped:
                self.skipped[row.source, row.index] = row
                warnings.warn(
                    f"source {row.source!r}: row {row.index} is skipped, {row.path}: {row.reason}",
                    SkippedInputWarning,
                    stacklevel=4,
                )
        return skipped


class _Requests:
    """Requests of the rest of an epoch; each one's plan is kept for when its inputs arrive.

    The mixture is referred to weakly: in a cycle with its loader, its workers would be ended by the garbage
    collector at some later time, possibly in a process that was forked since.
    """

    def __init__(self, mixture: Mixture, plans: deque[Plan]) -> None:
        self.mixture, self.plans = ref(mixture), plans
        self.epoch, self.steps = mixture.epoch, range(mixture.step, len(mixture))

    def __iter__(self) -> Iterator[Request]:
        return map(self._at, self.steps)

    def _at(self, step: int) -> Request:
        mixture = self.mixture()
        assert mixture is not None
        self.plans.append(mixture._plan(self.epoch, step))
        return mixture._request(self.plans[-1])


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise DuplicateNameError(f"sources of a mixture have distinct names, found {name!r} twice")
    return tuple(names)


def _check_options(epoch: Epoch | int, last_batch: LastBatch, **numbers: int) -> None:
    if isinstance(epoch, str) and epoch not in get_args(Epoch):
        raise UnknownNameError.of("epoch", epoch, get_args(Epoch))
    if last_batch not in get_args(LastBatch):
        raise UnknownNameError.of("last_batch", last_batch, get_args(LastBatch))
    if not isinstance(epoch, str):
        numbers["epoch"] = epoch
    for name, value in numbers.items():
        least = 0 if name in {"seed", "workers", "rank"} else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RangeError(f"{name} of a mixture is a whole number >= {least}, found {value!r}")
    if numbers["rank"] >= numbers["world_size"]:
        raise RangeError(
            f"rank {numbers['rank']} does not exist among {numbers['world_size']} processes, counted from 0"
        )
