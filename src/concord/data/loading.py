"""What happens in a worker: from keys to the inputs of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from concord.data.inputs import Failure, Inputs, Rows
from concord.errors import ConcordError, ShapeError
from concord.networks import seeded

Collate = Callable[[Sequence[Any], Sequence[str]], Any]


@dataclass(frozen=True)
class Plan:
    """Rows of each source that this rank gets in one batch, and the seed of its transforms."""

    seed: tuple[int, ...]
    rows: tuple[Rows, ...]


@dataclass(frozen=True)
class Request:
    """What a worker is asked to load: keys by number of source."""

    seed: tuple[int, ...]
    parts: tuple[tuple[int, Any], ...]


@dataclass(frozen=True)
class Result:
    """Inputs of a batch, and what could not be loaded, by number of source."""

    inputs: Any
    failures: dict[int, tuple[Failure, ...]]


class Loading(Dataset[Any]):
    """What happens in a worker: from a request to inputs."""

    def __init__(self, sources: Sequence[tuple[Inputs, Any, str]], collate: Collate) -> None:
        self.sources, self.collate = tuple(sources), collate

    def __getitem__(self, request: Request) -> Result | ConcordError:
        try:
            return self._load(request)
        except ConcordError as error:
            # Returned, not raised: a loader would wrap it in the worker's traceback.
            return error

    def _load(self, request: Request) -> Result:
        parts, names, failures = [], [], {}
        for number, keys in request.parts:
            inputs, transform, name = self.sources[number]
            loaded = inputs.load(keys)
            if loaded.failures:
                failures[number] = loaded.failures
            values = loaded.values
            if transform is not None:
                values = _transformed(transform, values, (*request.seed, number), name)
            parts.append(values)
            names.append(name)
        return Result(self.collate(parts, names), failures)


def _transformed(transform: Callable[[Any], Any], values: Any, seed: tuple[int, ...], name: str) -> Any:
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    with seeded(int(state[0])):
        out = transform(values)
    if _length(out) != _length(values):
        raise ShapeError(
            f"the transform of source {name!r} must keep the number of rows: {_length(values)} in, "
            f"{_length(out)} out"
        )
    return out


def _length(values: Any) -> int:
    return len(next(iter(values.values()))) if isinstance(values, Mapping) else len(values)


class Workers:
    """Processes that answer requests, in order, for one iteration after another.

    Args:
        loading: What they do.
        number: How many, >= 1.
        prefetch: Requests that each is sent ahead.
        context: How they start.
    """

    def __init__(self, loading: Loading, number: int, prefetch: int, context: str | None) -> None:
        self._latest = _Latest()
        self._loader = DataLoader(
            loading,
            batch_size=None,
            sampler=self._latest,
            num_workers=number,
            collate_fn=_identity,
            prefetch_factor=prefetch,
            persistent_workers=True,
            multiprocessing_context=context,
            # Of its own, so that workers do not change what the global generator gives a training loop.
            generator=torch.Generator(),
        )

    def results(self, requests: Iterable[Request]) -> Iterator[Result | ConcordError]:
        """Results of the requests, in order; those of an earlier iteration are given up."""
        self._latest.requests = requests
        return iter(self._loader)


class _Latest(Sampler[Any]):
    """The requests that were set last: one loader, and its workers, serve all iterations."""

    requests: Iterable[Request]

    def __init__(self) -> None: ...

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


def _identity(value: Any) -> Any:
    return value
