"""Distribution matching, sample by sample."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from concord.couplings.base import Coupling, View
from concord.errors import UnknownNameError
from concord.relations import Relation

Form = Literal["paper", "bernoulli", "class-mean", "both", "jensen-shannon"]
Cells = Literal["weighted", "binary"]
Head = Literal["source", "target"]


class DistributionMatching(Coupling):
    r"""Make the label head agree with what the class head implies, on every sample.

    With class distribution :math:`p(c|x)`, label probabilities :math:`p_k(x)` and
    :math:`q_k(x) = \sum_c p(c|x) R_{ck}`, the forms are, as a mean over all samples:

    - ``"paper"``: :math:`\sum_k -p_k \log q_k` (reconstructed from Kollias, Sharmanska, Zafeiriou,
      "Distribution Matching for Multi-Task Learning of Classification Tasks", AAAI 2024). One-sided: with
      q held it only ever pushes labels down.
    - ``"bernoulli"``: mean over k of :math:`-p_k \log q_k - (1-p_k) \log(1-q_k)`. Two-sided, but linear
      in p: it pushes each label to the rounded class mean.
    - ``"class-mean"``: mean over k of :math:`-q_k \log p_k - (1-q_k) \log(1-p_k)`. The proper direction
      for the label head: its minimum is the class mean itself.
    - ``"both"``: the mean of the two above. ``"jensen-shannon"``: their bounded, symmetric relative.

    From class to class, ``"paper"`` is the cross-entropy :math:`-\sum_d p_d \log q_d` of the two softmax
    distributions, ``"bernoulli"`` and ``"class-mean"`` its proper direction :math:`-\sum_d q_d \log p_d`.

    A label is weighted by the class mass whose cell is known; with no known cell it counts nothing. All
    forms remove variation within a class: where the relation is probabilistic, population matching is
    the better choice.

    Args:
        form: One of the forms above.
        cells: ``"weighted"`` takes the table as it is, ``"binary"`` 1 for every cell above 0; which of the
            two the paper means is open. From class to class a row is a distribution, which stays as it is.
        detach: Head that the gradient does not enter, or None.
        weight: Factor in the objective, >= 0.

    Raises:
        UnknownNameError: Another form, kind of cells or head.

    Example:
        >>> import torch, concord as cc
        >>> relation = cc.tables.expressions()
        >>> logits = {"expression": torch.zeros(2, 7), "action_units": torch.zeros(2, 17)}
        >>> targets = {"expression": torch.tensor([1, -1]), "action_units": torch.full((2, 17), torch.nan)}
        >>> bool(cc.couplings.DistributionMatching()(logits, targets, relation) > 0)
        True
    """

    def __init__(
        self,
        form: Form = "class-mean",
        *,
        cells: Cells = "weighted",
        detach: Head | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        for kind, value, known in (("form", form, get_args(Form)), ("cells", cells, get_args(Cells))):
            if value not in known:
                raise UnknownNameError.of(f"{kind} of distribution matching", value, known)
        if detach not in (None, *get_args(Head)):
            raise UnknownNameError.of("head to detach", detach, get_args(Head))
        self.form, self.cells, self.detach = form, cells, detach

    def prepared(self, relation: Relation) -> Relation:
        """The relation, or its binary form."""
        return relation.binary if self.cells == "binary" and not relation.class_to_class else relation

    def loss(self, view: View) -> Tensor:
        """Mean over samples; see the class."""
        q, not_q, mass = view.mixed()
        z = view.target_logits
        if self.detach == "source":
            q, not_q = q.detach(), not_q.detach()
        elif self.detach == "target":
            z = z.detach()
        terms = self._classes(z, q, mass) if view.relation.class_to_class else self._labels(z, q, not_q, mass)
        return self.population.mean(terms, torch.ones_like(terms))

    def _labels(self, z: Tensor, q: Tensor, not_q: Tensor, mass: Tensor) -> Tensor:
        log_p, log_not_p = functional.logsigmoid(z), functional.logsigmoid(-z)
        p, not_p = log_p.exp(), log_not_p.exp()
        if self.form == "paper":
            return (-mass * p * q.log()).sum(dim=-1)
        rounded = -p * q.log() - not_p * not_q.log()
        mean = -q * log_p - not_q * log_not_p
        if self.form == "bernoulli":
            return (mass * rounded).mean(dim=-1)
        if self.form == "class-mean":
            return (mass * mean).mean(dim=-1)
        if self.form == "both":
            return (mass * (rounded + mean)).mean(dim=-1) / 2
        log_m, log_not_m = ((p + q) / 2).log(), ((not_p + not_q) / 2).log()
        divergence = (
            p * (log_p - log_m)
            + not_p * (log_not_p - log_not_m)
            + q * (q.log() - log_m)
            + not_q * (not_q.log() - log_not_m)
        )
        return (mass * divergence).mean(dim=-1) / 2

    def _classes(self, z: Tensor, q: Tensor, mass: Tensor) -> Tensor:
        log_p = functional.log_softmax(z, dim=-1)
        p = log_p.exp()
        forward, proper = -p * q.log(), -q * log_p
        if self.form == "paper":
            terms = forward
        elif self.form == "both":
            terms = (forward + proper) / 2
        elif self.form == "jensen-shannon":
            log_m = ((p + q) / 2).log()
            terms = (p * (log_p - log_m) + q * (q.log() - log_m)) / 2
        else:
            terms = proper
        return (mass * terms).sum(dim=-1)

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return f"form={self.form!r}, cells={self.cells!r}, detach={self.detach!r}, {super().extra_repr()}"
