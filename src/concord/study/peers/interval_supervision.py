"""Interval supervision: a class keeps the probability of each label inside a band.

Source: Pu, Chen, Xie, Wu, Lin, "AU-Expression Knowledge Constrained Representation Learning for Facial
Expression Recognition", ICRA 2021, reconstructed: [.75, 1] for primary labels of the annotated class, [.5,
.75] for secondary ones, [0, .25] for the others, by the distance to the band's middle outside of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from concord.couplings import Coupling, View
from concord.errors import RangeError
from concord.relations import Relation
from concord.study.conditions import Condition, Coupled

PRIMARY, SECONDARY = 0.75, 0.25
"""Cells of the table from which a label is primary, or secondary; the observational labels of the prior
table, .26 to .67, are secondary."""


def bands(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper end of the band of each cell."""
    low = torch.where(cells >= PRIMARY, 0.75, torch.where(cells >= SECONDARY, 0.5, 0.0))
    return low, low + 0.25


class IntervalSupervision(Coupling):
    """Mean over class-annotated samples, and their known cells, of the distance to the band's middle.

    Inside the band it is 0. Not defined class to class.
    """

    def loss(self, view: View) -> Tensor:
        """The loss of one batch."""
        cells, known = view.table_rows
        low, high = bands(cells)
        p = view.target_logits.sigmoid()
        outside = ((p < low) | (p > high)).to(p.dtype) * known
        distance = outside * (p - (low + high) / 2).abs()
        return self.population.mean(distance.sum(dim=1) / known.sum(dim=1).clamp(min=1), known.amax(dim=1))

    def supports(self, relation: Relation) -> bool:
        """Relations from classes to labels."""
        return not relation.class_to_class


def condition(weight: float = 1.0) -> Condition:
    """The condition `interval-supervision`.

    Raises:
        RangeError: A negative weight.
    """
    if not 0 <= weight < float("inf"):
        raise RangeError(f"condition 'interval-supervision': the weight is finite and >= 0, found {weight}")
    return Coupled(lambda: [IntervalSupervision()], weight)
