"""Rows, in memory or where they lie, and where the batches of a training come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from concord.data import StreamedInputs
from concord.errors import CheckpointError, EmptyDataError, NoAnnotationError, ShapeError
from concord.fitting.held import HeldFeatures
from concord.networks import length, moved, owned, pieces
from concord.tasks import Encoded, MulticlassTask, Task


class Samples(Protocol):
    """What a step needs to know of a batch: `Rows`, or a mixture's `Batch`."""

    @property
    def inputs(self) -> Any:
        """A tensor (n, ...), or a mapping or list of such."""

    @property
    def targets(self) -> dict[str, Tensor]:
        """By task: (n,) int64 with -1, or (n, K) float with NaN."""


@dataclass(frozen=True)
class Rows:
    """Samples: what is annotated is in memory, inputs are or stay where they lie.

    Attributes:
        inputs: (n, ...) held in memory as a tensor, or as they were given (`HeldFeatures`); or numbers of
            rows in sources, which are read when they are needed; of a batch, whatever the network takes.
        targets: By task: (n,) int64 with -1, or (n, K) float with NaN.
        soft: By task, where there are any: (n, C) or (n, K) soft targets, NaN for none.
        weights: By task, where there are any: (n,) >= 0, weights of rows in its supervised loss.
        shares: By task, where there are any: (n, C) distributions (votes, say) or (n, K) probabilities, NaN
            for none, which the supervised loss takes in place of `targets`; `targets` holds the likeliest.
        group: (n,) int64, equal for rows that belong together (a video, a person): no fold divides them, and
            they count as one sample wherever noise is measured. None: each row stands alone.
    """

    inputs: Any
    targets: dict[str, Tensor]
    soft: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    group: Tensor | None = None
    shares: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Any, targets: Mapping[str, Any], tasks: Sequence[Task]) -> Rows:
        """Check and convert encoded targets; a task without targets is a gap in every row.

        Raises:
            EmptyDataError: No rows.
            ShapeError: Targets of another number of rows than the inputs.
        """
        x = inputs if isinstance(inputs, HeldFeatures) else torch.as_tensor(inputs)
        x = x if isinstance(x, HeldFeatures) or x.is_floating_point() else x.float()
        if len(x) == 0:
            raise EmptyDataError("no rows to train on")
        encoded: dict[str, Tensor] = {}
        for task in tasks:
            values = task.encode(Encoded(targets[task.name])) if task.name in targets else task.gaps(len(x))
            if len(values) != len(x):
                raise ShapeError(f"{len(x)} rows of inputs, but {len(values)} of task {task.name!r}")
            encoded[task.name] = torch.from_numpy(np.ascontiguousarray(values))
        return cls(x, encoded)

    @classmethod
    def streamed(cls, inputs: StreamedInputs, tasks: Sequence[Task]) -> Rows:
        """Rows of sources, with their groups and their annotations for some tasks."""
        return cls(inputs, inputs.targets(tasks), shares=inputs.shares(tasks)).in_groups(inputs.group())

    def __len__(self) -> int:
        return length(self.inputs)

    def batches(self, size: int) -> Iterator[tuple[Rows, Tensor]]:
        """The rows in order, at most `size` at a time, with inputs in memory, and their places.

        Rows whose inputs cannot be loaded, and may be left out, are left out.
        """
        places = torch.split(torch.arange(len(self)), size)
        if isinstance(self.inputs, StreamedInputs):
            for inputs, found in self.inputs.load(part.numpy() for part in places):
                yield self._at(inputs, torch.from_numpy(found)), torch.from_numpy(found)
        else:
            for inputs, part in zip(pieces(self.inputs, size), places, strict=True):
                yield self._at(owned(inputs), part), part

    def _at(self, inputs: Any, index: Tensor) -> Rows:
        """The rows of `index`, whose inputs are at hand."""
        return Rows(
            inputs,
            _each_at(self.targets, index),
            _each_at(self.soft, index),
            _each_at(self.weights, index),
            None if self.group is None else _at(self.group, index),
            _each_at(self.shares, index),
        )

    def take(self, index: Tensor) -> Rows:
        """The rows of `index` (m,), int64 >= 0, in its order."""
        inputs = _at(self.inputs, index) if isinstance(self.inputs, Tensor) else self.inputs[index]
        return self._at(inputs, index)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return replace(
            self,
            inputs=moved(self.inputs, device),
            targets={name: values.to(device) for name, values in self.targets.items()},
            soft={name: values.to(device) for name, values in self.soft.items()},
            weights={name: values.to(device) for name, values in self.weights.items()},
            shares={name: values.to(device) for name, values in self.shares.items()},
            group=None if self.group is None else self.group.to(device),
        )

    def of_tasks(self, tasks: Sequence[Task]) -> Rows:
        """The same rows with the targets, soft targets, shares and weights of some tasks only."""
        names = {task.name for task in tasks}

        def of(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: part[name] for name in part if name in names}

        return Rows(
            self.inputs,
            of(self.targets),
            of(self.soft),
            of(self.weights),
            self.group,
            of(self.shares),
        )

    def in_groups(self, groups: Any) -> Rows:
        """The same rows in groups.

        Args:
            groups: (n,) any labels, equal ones for rows that belong together; None: each row stands alone.

        Raises:
            ShapeError: Groups of another number of rows.
        """
        if groups is None:
            return replace(self, group=None)
        if np.shape(groups) != (len(self),):
            raise ShapeError(f"groups have shape ({len(self)},), found {np.shape(groups)}")
        codes = np.unique(np.asarray(groups), return_inverse=True)[1]
        return replace(self, group=torch.from_numpy(codes.astype(np.int64)))

    def annotated(self, task: Task) -> Tensor:
        """Indices of the rows with an annotation of `task`."""
        values = self.targets[task.name]
        known = values != -1 if isinstance(task, MulticlassTask) else (~torch.isnan(values)).any(dim=1)
        return torch.nonzero(known).squeeze(1)

    def learnt(self, task: Task, index: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What a model learns of the annotated rows of `index`: their targets, or their shares.

        Where any row has shares, distributions (n, C) of classes, or probabilities (n, K) of labels with NaN.
        """
        targets = self.targets[task.name].numpy()[index]
        if task.name not in self.shares:
            return targets
        shares = self.shares[task.name].numpy()[index].astype(np.float64)
        if isinstance(task, MulticlassTask):
            none = np.isnan(shares).any(axis=1, keepdims=True)
            return np.where(none, np.eye(task.width)[targets], shares)
        return np.where(np.isnan(shares), targets, shares)


def _each_at(part: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    return {name: _at(values, index) for name, values in part.items()}


def _at(values: Tensor, index: Tensor) -> Tensor:
    # Whole rows are copied: `values[index]` would copy number by number, several times as slowly.
    return values.index_select(0, index.to(values.device))


class Balanced(Iterator[Tensor]):
    """Endless batches with as many rows of each group every step.

    Each group is walked in random order, every row once before any comes again; a small group is simply
    walked more often. A group smaller than its share of a batch appears more than once in it.

    Args:
        groups: Row indices of each group, none empty.
        rows_per_group: Rows of each group in a batch, > 0.
        generator: Source of the order.
    """

    def __init__(self, groups: Sequence[Tensor], rows_per_group: int, generator: torch.Generator) -> None:
        self.groups, self.rows_per_group, self.generator = list(groups), rows_per_group, generator
        self._queues = [group[:0] for group in self.groups]  # the walks from the first of `_ready` on
        self._ready: Tensor = torch.empty(0)  # the batches until a walk must be extended, one per row
        self._used = 0  # of `_ready`

    def __next__(self) -> Tensor:
        if self._used == len(self._ready):
            self._prepare()
        self._used += 1
        return self._ready[self._used - 1]

    def _prepare(self) -> None:
        self._queues, size = self._left(), self.rows_per_group
        for i, group in enumerate(self.groups):
            while len(self._queues[i]) < size:
                order = torch.randperm(len(group), generator=self.generator)
                self._queues[i] = torch.cat([self._queues[i], group[order]])
        batches = min(len(queue) // size for queue in self._queues)
        parts = [queue[: batches * size].reshape(batches, size) for queue in self._queues]
        self._ready, self._used = torch.cat(parts, dim=1), 0

    def _left(self) -> list[Tensor]:
        return [queue[self._used * self.rows_per_group :] for queue in self._queues]

    def state_dict(self) -> dict[str, Any]:
        """What is left of each walk, and the state of the generator."""
        return {
            "generator": self.generator.get_state(),
            "queues": [queue.clone() for queue in self._left()],
            "sizes": [len(group) for group in self.groups],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another walk over the same groups stood.

        Raises:
            CheckpointError: Groups of other sizes.
        """
        check_sizes(state.get("sizes"), self.groups)
        self.generator.set_state(state["generator"])
        self._queues, self._ready, self._used = list(state["queues"]), torch.empty(0), 0


def groups_of(rows: Rows, tasks: Iterable[Task]) -> list[Tensor]:
    """Annotated rows of each task: what a balanced batch draws from.

    Raises:
        EmptyDataError: No rows.
        NoAnnotationError: A task without a single annotation.
    """
    if len(rows) == 0:
        raise EmptyDataError("no rows to train on")
    groups = []
    for task in tasks:
        index = rows.annotated(task)
        if len(index) == 0:
            raise NoAnnotationError(f"task {task.name!r} has no annotation in {len(rows)} rows")
        groups.append(index.cpu())
    return groups


def check_sizes(before: Any, groups: Sequence[Tensor]) -> None:
    """Check that a walk over groups is resumed over groups of the same sizes.

    Raises:
        CheckpointError: Groups of other sizes.
    """
    sizes = [len(group) for group in groups]
    if before != sizes:
        raise CheckpointError(
            f"the checkpoint's rows differ: annotated rows by task were {before}, here {sizes}"
        )


class Feed(ABC):
    """An endless stream of batches on the training's device, which can be left and taken up. Abstract."""

    @abstractmethod
    def next(self) -> Samples:
        """The next batch of this rank."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: numbers, text, tensors, and lists and mappings of these."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stream stood."""


class RowFeed(Feed):
    """Balanced batches of rows in memory; under several ranks each takes every world-th row of a batch.

    Raises:
        EmptyDataError: No rows.
        NoAnnotationError: A task without a single annotation.
    """

    def __init__(
        self,
        rows: Rows,
        tasks: Iterable[Task],
        rows_per_task: int,
        *,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.order = Balanced(groups_of(rows, tasks), rows_per_task, torch.Generator().manual_seed(seed))
        self.rows, self.device, self.rank, self.world = rows.to(device), device, rank, world

    def next(self) -> Rows:
        """The next rows of this rank."""
        index = next(self.order)
        mine = index if self.world == 1 else index[self.rank :: self.world]
        return self.rows.take(mine.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """State of the order."""
        return self.order.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the order."""
        self.order.load_state_dict(state)


class StreamedRowFeed(Feed):
    """Balanced batches of rows that stay where they lie: the batches of `RowFeed`, loaded when needed.

    Its state is how many batches were used: the order is a function of the seed, and is walked again.

    Raises:
        EmptyDataError: No rows; when asked for a batch, none whose input can be read.
        NoAnnotationError: A task without a single annotation.
    """

    def __init__(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        rows_per_task: int,
        *,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows, self.device, self.seed, self.rank, self.world = rows, device, seed, rank, world
        self.groups, self.rows_per_task = groups_of(rows, tasks), rows_per_task
        self._used = 0
        self._batches = self._from(0)

    def _from(self, used: int) -> Iterator[tuple[Any, Any]]:
        generator = torch.Generator().manual_seed(self.seed)
        order = islice(Balanced(self.groups, self.rows_per_task, generator), used, None)
        mine = (index[self.rank :: self.world].numpy() for index in order)
        # Transforms of ranks and of a resumed training draw as those of one unbroken training do.
        return self.rows.inputs.load(mine, seed=self.seed, first=used)

    def next(self) -> Rows:
        """The next rows of this rank; a batch of which no input can be loaded is passed over.

        Raises:
            EmptyDataError: As many rows as there are were passed over.
        """
        size, passed = -(-self.rows_per_task * len(self.groups) // self.world), 0
        for inputs, places in self._batches:
            self._used += 1
            if len(places):
                return self.rows._at(inputs, torch.from_numpy(places)).to(self.device)
            passed += size
            if passed >= len(self.rows):
                break
        raise EmptyDataError(_unread(len(self.rows)))

    def state_dict(self) -> dict[str, Any]:
        """How many batches were used, and of what rows."""
        return {"used": self._used, "sizes": [len(group) for group in self.groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Walk to where another feed of the same rows stood.

        Raises:
            CheckpointError: Rows that are not annotated alike.
        """
        check_sizes(state.get("sizes"), self.groups)
        self._used = state["used"]
        self._batches = self._from(self._used)


def _unread(rows: int) -> str:
    return (
        f"none of the inputs of {rows} rows can be read, and there is nothing to train on; on_error: raise "
        "says why"
    )


class StreamFeed(Feed):
    """Batches of a mixture, or of anything that can be iterated again and again.

    What has `state_dict` and `load_state_dict` is taken up where it stood; anything else is walked again
    from its beginning, past as many batches as were used.

    Raises:
        EmptyDataError: When asked for a batch of a stream without any, or of a mixture whose inputs cannot be
            read.
    """

    def __init__(self, batches: Iterable[Samples], device: torch.device) -> None:
        self.batches, self.device = batches, device
        self._used = 0
        self._endless = self._again()

    def _again(self) -> Iterator[Samples]:
        while True:
            before = self._used
            for batch in self.batches:
                self._used += 1
                yield batch
            if self._used == before:
                raise EmptyDataError("no batches to train on")

    def next(self) -> Samples:
        """The next batch, on the device."""
        batch = next(self._endless)
        if getattr(self.batches, "unreadable", False):
            raise EmptyDataError(_unread(sum(self.batches.sizes)))  # type: ignore[attr-defined]
        moves: Any = getattr(batch, "to", None)
        moved_batch: Samples = batch if moves is None else moves(self.device)
        return moved_batch

    def state_dict(self) -> dict[str, Any]:
        """State of the stream."""
        stateful: Any = getattr(self.batches, "state_dict", None)
        return {"used": self._used} | ({} if stateful is None else {"stream": stateful()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the stream up."""
        stateful: Any = getattr(self.batches, "load_state_dict", None)
        if stateful is not None and "stream" in state:
            stateful(state["stream"])
            self._used = state["used"]
        else:
            for _ in islice(self._endless, state["used"]):
                pass
