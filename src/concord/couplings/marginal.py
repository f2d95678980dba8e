"""Marginal likelihood: the annotated labels as evidence on the class head's own view."""

from __future__ import annotations

import torch
from torch import Tensor

from concord.couplings.base import Coupling, View, check_exponent


class MarginalLikelihood(Coupling):
    r"""Maximise the likelihood of the annotated labels under the class head: EM in one loss.

    :math:`-\log \sum_c p(c|x) \prod_k (R_{ck}^{a_k} (1-R_{ck})^{1-a_k})^s`, relative to base rates so that
    unknown cells are neutral; a mean over samples with an annotated label that has a known cell and no class
    of their own. Like posterior co-annotation with the network's own p(c|x) as the prior.

    Args:
        exponent: s in [0, 1], the tempering of the evidence.
        weight: Factor in the objective, >= 0. At 1 and with full evidence it crowds out the supervised
            terms; about 1/3 is a usual start.

    Raises:
        RangeError: An exponent outside [0, 1].
    """

    def __init__(self, exponent: float = 1.0, *, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.exponent = check_exponent(exponent)

    def loss(self, view: View) -> Tensor:
        """Mean over samples with labels and without a class."""
        terms = -torch.logsumexp(view.log_p + self.exponent * view.evidence(), dim=-1)
        return self.population.mean(terms, view.informed * (1 - view.class_known))

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return f"exponent={self.exponent:g}, {super().extra_repr()}"
