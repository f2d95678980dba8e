"""Where the inputs of a source come from: texts, rows of a feature file, images.

An input works in two halves. In the main process `keys` turns rows of a manifest into something small
that says what to load (row numbers, texts, paths); `load` turns that into values, in the main process or
in a worker. The second half never touches polars, whose threads do not survive a fork.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from concord.data.manifest import Manifest
from concord.errors import ShapeError, UnknownNameError

Rows = npt.NDArray[np.int64]
Keyer = Callable[[Rows], Any]


@dataclass(frozen=True)
class Failure:
    """One input that could not be loaded: its place among the keys, its path, and why."""

    position: int
    path: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """What `load` gives: values of the inputs that could be loaded, in order, and the failures."""

    values: Any
    failures: tuple[Failure, ...] = ()


class Inputs(ABC):
    """What leads from rows of a manifest to inputs. Abstract: `FeatureRows`, `Texts` or `Images`."""

    @abstractmethod
    def keys(self, manifest: Manifest) -> Keyer:
        """Check that the manifest leads to inputs; return what turns its rows into keys.

        Raises:
            UnknownNameError: The manifest lacks a column that the inputs need.
            ConcordError: A value in such a column that leads nowhere.
        """

    @abstractmethod
    def load(self, keys: Any) -> Loaded:
        """Load what the keys say. Runs in a worker process where there are any."""


def column(manifest: Manifest, name: str, needed_by: str) -> pl.Series:
    """A column of a manifest without nulls.

    Raises:
        UnknownNameError: No such column, or one with nulls.
    """
    if name not in manifest.frame.columns:
        raise UnknownNameError(
            f"{needed_by} need a column {name!r} in manifest {manifest.name!r}; it has "
            f"{', '.join(manifest.frame.columns[:12])}"
        )
    series = manifest.frame[name]
    if series.null_count():
        raise UnknownNameError(
            f"{needed_by} need a {name} in every row of manifest {manifest.name!r}; "
            f"{series.null_count()} have none: filter them out"
        )
    return series


class Texts(Inputs):
    """The manifest's column `text`, as lists of strings; tokenise in the source's transform."""

    def __repr__(self) -> str:
        return "Texts()"

    def keys(self, manifest: Manifest) -> Keyer:
        """The texts themselves."""
        texts = column(manifest, "text", "texts")
        return lambda chosen: texts.gather(chosen).to_list()

    def load(self, keys: list[str]) -> Loaded:
        """The texts, a list of length n."""
        return Loaded(keys)


def concatenate(parts: Sequence[Any], names: Sequence[str]) -> Any:
    """Put the inputs of several sources into one batch: tensors, lists, or mappings of these.

    Args:
        parts: Inputs of each source, rows first.
        names: Names of the sources, for messages.

    Raises:
        ShapeError: Parts of different kind, shape or dtype.
    """
    first = parts[0]
    kinds = [_kind(part) for part in parts]
    for kind, name in zip(kinds, names, strict=True):
        if kind != kinds[0]:
            raise ShapeError(
                f"inputs of one batch must be alike: source {names[0]!r} gives {kinds[0]}, source "
                f"{name!r} gives {kind}; bring them together with a transform of the source, or "
                "pass a collate function"
            )
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {key: concatenate([part[key] for part in parts], names) for key in first}
    if isinstance(first, list):
        return list(chain.from_iterable(parts))
    raise ShapeError(
        f"inputs are tensors, lists or mappings of these, found {kinds[0]}; pass a collate function"
    )


def _kind(part: Any) -> str:
    if isinstance(part, Tensor):
        return f"{part.dtype} of shape (n, {', '.join(map(str, part.shape[1:]))})"
    if isinstance(part, Mapping):
        return f"a mapping of {', '.join(map(str, part))}"
    return type(part).__name__
