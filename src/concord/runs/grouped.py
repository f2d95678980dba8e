"""Validation batches that say which rows belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from concord.data import Mixture, Source, group_codes

GROUP = "\0group"
"""Where the groups stand among the targets; no task is called so."""


class _Batch(NamedTuple):
    inputs: Any
    targets: dict[str, Tensor]


class GroupedBatches:
    """Batches of a mixture whose targets hold each row's group too: gathered with them, rank by rank.

    Args:
        mixture: The batches.
        sources: Its sources, in its order.
    """

    def __init__(self, mixture: Mixture, sources: Sequence[Source]) -> None:
        self.mixture, self.starts = mixture, [0]
        for source in sources:
            self.starts.append(self.starts[-1] + len(source))
        codes = group_codes(source.manifest for source in sources)
        self.codes = None if codes is None else torch.from_numpy(codes)

    def __iter__(self) -> Iterator[_Batch]:
        starts = torch.tensor(self.starts)
        for batch in self.mixture:
            own = {} if self.codes is None else {GROUP: self.codes[starts[batch.source] + batch.index]}
            yield _Batch(batch.inputs, batch.targets | own)
