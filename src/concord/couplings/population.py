"""Population matching: the relation holds over the population, not sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from concord.couplings.base import LEAST_MASS, Coupling, View, clip
from concord.couplings.cells import Cells
from concord.errors import RangeError


class PopulationMatching(Coupling):
    r"""Match how often a label occurs in a class, leaving open when.

    With :math:`P_{xc}` the annotated class or p(c|x), and :math:`Q_{xk}` the annotated label or p_k(x),

    :math:`m_{ck} = \sum_x P_{xc} Q_{xk} / \sum_x P_{xc}` and
    :math:`L = \sum_c w_c \,\mathrm{mean}_k \mathrm{KL}(R_{ck} \| m_{ck})` over known cells, with
    :math:`w_c` the share of class c (no gradient). Sums run over the global batch. Unlike matching by
    sample it keeps the variation within a class. From class to class the KL is that of rows.

    Args:
        momentum: With small batches, share of the running sums in the statistics, in [0, 1): sums decay
            by it every step and carry no gradient. 0 uses the batch alone.
        weight: Factor in the objective, >= 0.

    Raises:
        RangeError: A momentum outside [0, 1).
    """

    def __init__(self, *, momentum: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        if not 0 <= momentum < 1:
            raise RangeError(f"the momentum of population matching lies in [0, 1), found {momentum}")
        self.momentum = momentum
        self._running: dict[str, tuple[Tensor, Tensor]] = {}

    def loss(self, view: View) -> Tensor:
        """Weighted divergence of the population's table from the relation's."""
        p = _filled(view.p, view.class_known.unsqueeze(-1), _one_hot(view))
        z, tensors = view.target_logits, view.tensors
        if view.relation.class_to_class:
            given, sides = [tensors.present], [_filled(z.softmax(dim=-1), view.seen, view.active)]
        else:  # both sides are summed: 1 - m has few digits left where m is near 1
            given = [tensors.present, tensors.absent]
            sides = [
                _filled(z.sigmoid(), view.seen, view.active),
                _filled((-z).sigmoid(), view.seen, view.seen - view.active),
            ]
        cells = tensors.known if isinstance(tensors.known, Cells) else None
        each = [cells.structure.sampled(p, q) if cells else p.T @ q for q in sides]
        joint = self.population.total(torch.stack(each))
        mass = self.population.total(p.sum(dim=0))
        if self.momentum > 0:
            joint, mass = self._with_history(view, joint, mass)
        divergence = (_stored_divergence if cells else _divergence)(view, given, joint, mass)
        share = (mass / mass.sum().clamp(min=LEAST_MASS)).detach()
        return (share * divergence).sum()

    def _with_history(self, view: View, joint: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        old = self._running.get(view.relation.name)
        if old is not None:  # perhaps of another device: running sums are no buffers, which would move along
            joint, mass = joint + self.momentum * old[0].to(joint), mass + self.momentum * old[1].to(mass)
        if self.training:
            self._running[view.relation.name] = (joint.detach(), mass.detach())
        return joint, mass

    def begin(self) -> None:
        """Forget running sums: they are of one training's batches and networks."""
        self._running = {}

    def get_extra_state(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Running sums, by relation: part of the state, so that a resumed run is the unbroken one."""
        return dict(self._running)

    def set_extra_state(self, state: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Restore running sums."""
        self._running = dict(state)

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return f"momentum={self.momentum:g}, {super().extra_repr()}"


def _divergence(view: View, given: Sequence[Any], joint: Tensor, mass: Tensor) -> Tensor:
    """Divergence of each class's row from the relation's: (C,)."""
    least = clip(view.relation.target)
    shares = (joint / mass.clamp(min=LEAST_MASS).unsqueeze(-1)).clamp(least, 1 - least)
    known: Any = view.tensors.known
    divergence = torch.zeros_like(mass)
    for r, m in zip(given, shares, strict=True):
        divergence = divergence + (known * (torch.xlogy(r, r) - r * m.log())).sum(dim=-1)
    if not view.relation.class_to_class:
        divergence = divergence / known.sum(dim=-1).clamp(min=1)
    return divergence


def _stored_divergence(view: View, given: Sequence[Any], joint: Tensor, mass: Tensor) -> Tensor:
    """The same of a sparse relation, joint (sides, nnz); a zero that a known row leaves out adds nothing."""
    structure = given[0].structure
    least = clip(view.relation.target)
    shares = (joint / mass.clamp(min=LEAST_MASS)[structure.rows]).clamp(least, 1 - least)
    divergence = torch.zeros_like(mass)
    for cells, m in zip(given, shares, strict=True):
        r = cells.values
        divergence = divergence.index_add(0, structure.rows, torch.xlogy(r, r) - r * m.log())
    if not view.relation.class_to_class:
        divergence = divergence / view.tensors.known.sum(dim=-1).clamp(min=1)
    return divergence


def _one_hot(view: View) -> Tensor:
    return functional.one_hot(view.source_targets.clamp(min=0), view.relation.source.width).to(view.p.dtype)


def _filled(predicted: Tensor, annotated: Tensor, annotation: Tensor) -> Tensor:
    return annotated * annotation + (1 - annotated) * predicted
