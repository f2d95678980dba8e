"""Sums over the population that a step sees: this process's batch, or the batches of all ranks.

Every mean of the package divides by the number of annotated samples of the *global* batch. Losses ask a
`Population` for sums, so that the same code is right in one process and in many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Population(ABC):
    """Where sums run over. Abstract: `Local` or `Distributed`."""

    @abstractmethod
    def total(self, local: Tensor) -> Tensor:
        """Sum of `local` over all processes, of the same shape.

        Its gradient is scaled such that *averaging* gradients over processes, as data-parallel training
        does, gives the gradient of the global sum.
        """

    def mean(self, values: Tensor, weight: Tensor) -> Tensor:
        """Weighted mean of `values` (n,) with `weight` (n,) >= 0 over the population; 0 where none weighs.

        A value of weight 0 contributes neither value nor gradient, even if it is infinite. A weight may be
        boolean: whether a value counts.
        """
        if weight.dtype == torch.bool:
            return self.mean_of_sums(values.masked_fill(~weight, 0.0).sum(), torch.count_nonzero(weight))
        if weight.dtype in (torch.float16, torch.bfloat16):  # whose sums overflow, or stop growing
            weight = weight.float()
        weighed = values.masked_fill(weight == 0, 0.0) * weight
        above, below = self.totals(weighed.sum(), weight.sum().to(weighed.dtype))
        # Where nothing weighs, the sum is 0 and stays in the graph.
        return above / torch.where(below > 0, below, 1.0)

    def mean_of_sums(self, above: Tensor, count: Tensor) -> Tensor:
        """Mean over the population, from this process's sum and number of values; 0 where there is none.

        The number may be an integer.
        """
        above, count = self.totals(above, count)
        return above / count.clamp(min=1)

    def totals(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """`total` of two numbers at once."""
        first, second = self.total(torch.stack([first, second.to(first.dtype)])).unbind()
        return first, second


class Local(Population):
    """The batch of this process is all there is."""

    def total(self, local: Tensor) -> Tensor:
        """Return `local` as it is."""
        return local

    def totals(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are: small networks feel every operation."""
        return first, second


class Distributed(Population):
    """All ranks of a process group.

    Args:
        group: The process group; None means the default one.
    """

    def __init__(self, group: torch.distributed.ProcessGroup | None = None) -> None:
        self.group = group

    def total(self, local: Tensor) -> Tensor:
        """Sum over ranks; the gradient of this rank's part is scaled by the number of ranks."""
        world = torch.distributed.get_world_size(self.group)
        summed = local.detach().clone()
        torch.distributed.all_reduce(summed, group=self.group)
        scaled = world * local
        return scaled + (summed - scaled).detach()
