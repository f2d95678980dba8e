"""Posterior co-annotation: Bayes' rule on the annotated labels as a soft target for the class head."""

from __future__ import annotations

from torch import Tensor

from concord.couplings.base import Coupling, View, check_exponent


def class_posterior(view: View, exponent: float = 1.0) -> Tensor:
    """P(class | annotated labels), with the relation's prior and tempered evidence: (n, C).

    Args:
        view: The batch.
        exponent: Tempering of the evidence, in [0, 1].
    """
    return (view.tensors.log_prior + exponent * view.evidence()).softmax(dim=-1)


class PosteriorCoannotation(Coupling):
    r"""Train the class head on the posterior of the class given the annotated labels.

    :math:`r(c|a) \propto \pi_c \prod_k (R_{ck}^{a_k} (1-R_{ck})^{1-a_k})^s` over annotated labels with a
    known cell, cells kept in [.03, .97] (class to class: at .03 of the base rate or above); the loss is the
    cross-entropy :math:`-\sum_c r \log p`, a mean over samples with such a label and no class of their own.

    Args:
        exponent: s in [0, 1]. Labels are not independent given the class, so full evidence is too sure of
            itself; fit s on data where that matters.
        weight: Factor in the objective, >= 0.

    Raises:
        RangeError: An exponent outside [0, 1].
    """

    def __init__(self, exponent: float = 1.0, *, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.exponent = check_exponent(exponent)

    def loss(self, view: View) -> Tensor:
        """Mean over samples with labels and without a class."""
        terms = -(class_posterior(view, self.exponent) * view.log_p).sum(dim=-1)
        return self.population.mean(terms, view.informed * (1 - view.class_known))

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return f"exponent={self.exponent:g}, {super().extra_repr()}"
