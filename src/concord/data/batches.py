"""A batch: inputs, targets with gaps, and where each row comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from concord.errors import ConcordWarning


class SkippedInputWarning(ConcordWarning):
    """An input could not be loaded and its row was left out of a batch."""


@dataclass(frozen=True)
class Skipped:
    """A row that was left out of a batch, since its input could not be loaded."""

    source: str
    index: int
    path: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows of several sources, with targets for all tasks.

    Rows of one source stand together, in the order of the sources.

    Args:
        inputs: A tensor (n, ...), a list of n, or a mapping of these.
        targets: By task: int64 (n,) with -1, or float32 (n, K) with NaN, where a row is not annotated.
        source: int64 (n,): number of the source of each row.
        index: int64 (n,): the row in that source's manifest.
        skipped: Rows that are missing, since their inputs could not be loaded.
        soft: By class task, where a source has any: float32 (n, C) soft targets, rows of NaN for none.
    """

    inputs: Any
    targets: dict[str, Tensor]
    source: Tensor
    index: Tensor
    skipped: tuple[Skipped, ...] = ()
    soft: dict[str, Tensor] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, Tensor]:
        """`soft`, by the name that a training takes votes under: rows with votes keep the class of most."""
        return self.soft

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with all tensors on a device; `non_blocking` as in `torch.Tensor.to`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch with all tensors in page-locked memory, for asynchronous copies."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs=_mapped(self.inputs, change),
            targets={name: change(values) for name, values in self.targets.items()},
            source=change(self.source),
            index=change(self.index),
            soft={name: change(values) for name, values in self.soft.items()},
        )


def _mapped(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, Mapping):
        return {key: _mapped(value, change) for key, value in values.items()}
    return values
