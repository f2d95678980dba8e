"""Inputs of rows that stay where they are: numbered over several sources, loaded batch by batch.

In memory are the numbers of the rows; inputs are read when a batch asks for them, in this process or ahead
of it in workers. Rows come in the order that is asked for, whatever source they lie in, so that a training
on them sees what a training on the same rows in memory sees.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.data.batches import SkippedInputWarning
from concord.data.groups import group_codes
from concord.data.inputs import concatenate
from concord.data.loading import Collate, Loading, Request, Result, Workers
from concord.data.source import Source
from concord.errors import ConcordError, EmptyDataError
from concord.tasks import Task

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StreamedInputs:
    """Inputs of rows of several sources; see the module.

    Attributes:
        sources: Where the rows lie.
        number: (n,) which rows: counted over all sources, one source after the other, from 0.
        collate: Puts the inputs of several sources into one batch.
        workers: Processes that load inputs ahead; 0 loads in this one.
        prefetch: Batches that each loads ahead.
    """

    sources: tuple[Source, ...]
    number: Numbers
    collate: Collate = concatenate
    workers: int = 0
    prefetch: int = 2

    @classmethod
    def of(cls, sources: Iterable[Source], **options: Any) -> StreamedInputs:
        """All rows of some sources, in order.

        Raises:
            EmptyDataError: No source.
        """
        found = tuple(sources)
        if not found:
            raise EmptyDataError("rows lie in one source or more, found none")
        return cls(found, np.arange(sum(map(len, found))), **options)

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, index: Any) -> StreamedInputs:
        """Some of the rows, by their places; no input is read."""
        return replace(self, number=self.number[np.asarray(index)])

    @cached_property
    def starts(self) -> Numbers:
        """(sources + 1,) number of each source's first row; the last one is how many rows there are."""
        return np.cumsum([0, *map(len, self.sources)])

    @cached_property
    def one(self) -> Any:
        """The first input that can be read, as a batch of one.

        Raises:
            EmptyDataError: None can be read, or there are no rows.
        """
        for inputs, places in self.load(np.arange(len(self))[:, None]):
            if len(places):
                return inputs
        raise EmptyDataError("none of the inputs can be read")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the row; see `one`."""
        return tuple(self.one.shape[1:])

    # -- what is known without reading an input ------------------------------------------------------

    def targets(self, tasks: Sequence[Task]) -> dict[str, Tensor]:
        """Targets of the rows: by task, (n,) int64 with -1 or (n, K) float32 with NaN."""
        out = {task.name: torch.from_numpy(task.gaps(len(self))) for task in tasks}
        for places, k, rows in self._by_source(self.number):
            for task in tasks:
                values = torch.from_numpy(task.gaps(len(rows)))
                self.sources[k].targets(task).fill(values, 0, rows)
                out[task.name][torch.from_numpy(places)] = values
        return out

    def shares(self, tasks: Sequence[Task]) -> dict[str, Tensor]:
        """Votes of the rows, for the tasks that any has: by task, (n, C) float32, rows of NaN for none."""
        out: dict[str, Tensor] = {}
        for places, k, rows in self._by_source(self.number):
            for task in tasks:
                found = self.sources[k].targets(task)
                if found.shares is not None:
                    values = torch.full((len(rows), task.width), torch.nan)
                    found.fill_shares(values, 0, rows)
                    out.setdefault(task.name, torch.full((len(self), task.width), torch.nan))
                    out[task.name][torch.from_numpy(places)] = values
        return out

    def group(self) -> npt.NDArray[Any] | None:
        """(n,) group of each row, or None where no row has one; see `group_codes`."""
        codes = group_codes(source.manifest for source in self.sources)
        return None if codes is None else codes[self.number]

    def parts(self) -> dict[str, Source]:
        """The rows as sources of their own, in the sources' order of rows; by name, none empty."""
        out = {}
        for _, k, rows in self._by_source(self.number):
            source = self.sources[k]
            manifest = replace(source.manifest, frame=source.manifest.frame[np.sort(rows)])
            out[source.name] = Source(manifest, source.inputs, source.transform, source.name)
        return out

    # -- reading -------------------------------------------------------------------------------------

    def load(
        self,
        order: Iterable[Numbers],
        *,
        seed: int = 0,
        first: int = 0,
        skipped: Callable[[str], object] | None = None,
    ) -> Iterator[tuple[Any, Numbers]]:
        """Read the inputs of one batch after another.

        Args:
            order: Places of each batch's rows, 0 .. n - 1; rows may come again.
            seed: With the number of a batch, fixes what transforms draw.
            first: Number of the first batch.
            skipped: Told of each input that could not be loaded and may be left out; a warning unless given.

        Yields:
            Inputs of a batch in its own order, and the places of the rows that they are of: all of them, but
            for inputs that could not be loaded.

        Raises:
            ConcordError: An input that cannot be loaded and may not be left out.
        """
        tell = _warn if skipped is None else skipped
        loading = Loading([(s.inputs, s.transform, s.name) for s in self.sources], self.collate)
        asked = _Asked(self, order, seed, first)
        if self.workers:
            results = Workers(loading, self.workers, self.prefetch, None).results(asked)
        else:
            results = map(loading.__getitem__, asked)
        for result in results:
            if isinstance(result, ConcordError):
                raise result
            yield self._arranged(result, *asked.waiting.popleft(), tell)

    def read(self, rows: int = 256) -> Tensor:
        """All inputs in memory: (n, ...).

        Args:
            rows: Read at a time.

        Raises:
            EmptyDataError: An input that cannot be loaded and was to be left out: here, every row counts.
            ConcordError: An input that cannot be loaded.
        """
        out: list[Tensor] = []
        for places in _pieces(len(self), rows):
            for inputs, found in self.load([places]):
                if len(found) < len(places):
                    raise EmptyDataError(unreadable(len(places) - len(found)))
                out.append(inputs)
        return torch.cat(out) if out else torch.empty(0)

    def _by_source(self, number: Numbers) -> Iterator[tuple[Numbers, int, Numbers]]:
        """Places, number of the source and rows within it, of every source that has some of the rows."""
        which = np.searchsorted(self.starts, number, side="right") - 1
        for k in range(len(self.sources)):
            places = np.flatnonzero(which == k)
            if len(places):
                yield places, k, number[places] - self.starts[k]

    def _arranged(
        self, result: Result, places: Numbers, parts: Sequence[Part], tell: Callable[[str], object]
    ) -> tuple[Any, Numbers]:
        """Inputs that came source by source, in the order of the batch."""
        came = []
        for within, k, rows in parts:
            failures = result.failures.get(k, ())
            for failure in failures:
                row, name = rows[failure.position], self.sources[k].name
                tell(f"source {name!r}: row {row} is skipped, {failure.path}: {failure.reason}")
            came.append(np.delete(within, [failure.position for failure in failures]))
        position = np.concatenate(came)
        order = np.argsort(position)
        return _taken(result.inputs, order), places[position[order]]


def _pieces(n: int, size: int) -> Iterator[Numbers]:
    """Places 0 .. n - 1, at most `size` at a time."""
    return (np.arange(start, min(start + size, n)) for start in range(0, n, size))


def unreadable(rows: int) -> str:
    """What to say of rows that were asked for and cannot be read."""
    return (
        f"the inputs of {rows} rows cannot be read, and every row is predicted; leave them out (where), or "
        "see which with on_error: raise"
    )


Part = tuple[Numbers, int, Numbers]
"""Places within a batch, number of the source, rows within the source."""


class _Asked:
    """Requests of batches; what each one asked for waits until its inputs arrive."""

    def __init__(self, inputs: StreamedInputs, order: Iterable[Numbers], seed: int, first: int) -> None:
        self.inputs, self.order, self.seed, self.first = inputs, order, seed, first
        self.waiting: deque[tuple[Numbers, list[Part]]] = deque()

    def __iter__(self) -> Iterator[Request]:
        for step, places in enumerate(self.order, self.first):
            parts = list(self.inputs._by_source(self.inputs.number[places]))
            self.waiting.append((places, parts))
            keys = tuple((k, self.inputs.sources[k].keys(rows)) for _, k, rows in parts)
            yield Request((self.seed, step), keys)


def _taken(inputs: Any, order: Numbers) -> Any:
    if (np.diff(order) == 1).all():
        return inputs
    if isinstance(inputs, Mapping):
        return {key: _taken(values, order) for key, values in inputs.items()}
    if isinstance(inputs, Tensor):
        return inputs[torch.from_numpy(order)]
    return [inputs[i] for i in order]


def _warn(message: str) -> None:
    warnings.warn(message, SkippedInputWarning, stacklevel=3)
