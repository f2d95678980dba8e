"""Soft co-annotation: label annotations read as a soft annotation of the class."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from concord.couplings.base import LEAST_MASS, Coupling, View
from concord.errors import RangeError, UnknownNameError

Form = Literal["soft-target", "paper"]
Neutral = Literal["absent-share", "renormalise", "naive"]


def indicator_scores(view: View, neutral: Neutral = "absent-share") -> tuple[Tensor, Tensor]:
    """How well the annotated labels fit each class, and which classes have such a score at all.

    I(c|x) = sum_k R_ck a_k / sum_k R_ck, both sums over annotated labels with a known cell.

    Args:
        view: The batch.
        neutral: What a class whose row is all zeros gets: ``"absent-share"`` the share of absent labels
            among the annotated ones, ``"renormalise"`` no score.

    Returns:
        Scores in [0, 1] and a boolean mask, both (n, C); a score outside the mask is 0.
    """
    reach = view.seen @ view.tensors.present.T
    scored = reach > LEAST_MASS
    scores = torch.where(
        scored, (view.active @ view.tensors.present.T) / reach.clamp(min=LEAST_MASS), torch.zeros_like(reach)
    )
    if neutral == "absent-share" and not view.relation.class_to_class:
        judged = view.seen @ view.tensors.known.T
        absent = ((view.seen - view.active) @ view.tensors.known.T) / judged.clamp(min=1)
        by_absence = view.tensors.neutral & (judged > 0)
        scores, scored = torch.where(by_absence, absent, scores), scored | by_absence
    return scores, scored


COLDEST = 1e-6
"""Least temperature: scores divided by it are finite in every precision that losses are computed in."""


def check_temperature(temperature: float) -> None:
    """Check a temperature of the softmax over classes.

    Raises:
        RangeError: It is below `COLDEST` or not finite.
    """
    if not COLDEST <= temperature < float("inf"):
        raise RangeError(
            f"the temperature of soft co-annotation is finite and >= {COLDEST:g}, found {temperature}"
        )


def soft_classes(
    view: View, neutral: Neutral = "absent-share", temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Log of q(c|x), which classes it runs over, and which samples have one: (n, C), (n, C), (n,).

    q is the softmax of the indicator scores over the classes that have one. A sample without any score
    gets a uniform q over all classes, so that it stays finite.

    Args:
        view: The batch.
        neutral: As in `indicator_scores`.
        temperature: Of the softmax; see `check_temperature`.
    """
    scores, scored = indicator_scores(view, neutral)
    some = scored.any(dim=-1)
    scored = scored | ~some.unsqueeze(-1)
    return _masked_log_softmax(scores / temperature, scored), scored, some


class SoftCoannotation(Coupling):
    r"""Pull the class head to classes whose labels are present, on samples with label annotations.

    :math:`I(c|x) = \sum_k R_{ck} a_k / \sum_k R_{ck}` over annotated labels, and
    :math:`q(c|x) = \mathrm{softmax}_c(I / T)` over the classes that have a score; p is renormalised over
    the same classes. As a mean over samples with an annotated label:

    - ``"soft-target"``: :math:`-\sum_c q \log p`, the proper cross-entropy with a soft target.
    - ``"paper"``: :math:`-\sum_c p \log q`, reconstructed from Kollias, Sharmanska, Zafeiriou,
      "Distribution Matching for Multi-Task Learning of Classification Tasks", AAAI 2024. It is linear in
      p, :math:`-\sum_c p_c I_c + \mathrm{const}`, and so collapses to an argmax.

    From class to class, I(c|x) is P(annotated class | c).

    Args:
        form: One of the forms above.
        neutral: How a class with a row of zeros takes part: ``"absent-share"`` scores it by the share of
            absent labels, ``"renormalise"`` leaves it out of p and q, ``"naive"`` leaves it out of the
            sum only: then predicting it costs nothing, and it wins (kept to show the trap). None means
            absent-share, but renormalise for the paper's form: most labels are absent from most samples,
            so the absent share is often the largest score, and the largest takes all there.
        temperature: T, finite and >= 1e-6. q is flat at 1 (never above about .35 for six classes); lower is
            sharper.
        weight: Factor in the objective, >= 0.

    Raises:
        UnknownNameError: Another form or way with neutral classes.
        RangeError: A temperature or a weight outside its range.
    """

    def __init__(
        self,
        form: Form = "soft-target",
        *,
        neutral: Neutral | None = None,
        temperature: float = 1.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if neutral is None:
            neutral = "renormalise" if form == "paper" else "absent-share"
        for kind, value, known in (("form", form, get_args(Form)), ("neutral", neutral, get_args(Neutral))):
            if value not in known:
                raise UnknownNameError.of(f"{kind} of soft co-annotation", value, known)
        check_temperature(temperature)
        self.form, self.neutral, self.temperature = form, neutral, temperature

    def loss(self, view: View) -> Tensor:
        """Mean over samples with an annotated label; see the class."""
        log_q, scored, some = soft_classes(view, self.neutral, self.temperature)
        log_p = view.log_p if self.neutral == "naive" else _masked_log_softmax(view.source_logits, scored)
        first, second = (log_p, log_q) if self.form == "paper" else (log_q, log_p)
        # Outside the mask both logs are large and finite, and the probability before them is 0 or masked.
        terms = -(torch.where(scored, first.exp() * second, torch.zeros_like(second))).sum(dim=-1)
        return self.population.mean(terms, view.target_known * some)

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return (
            f"form={self.form!r}, neutral={self.neutral!r}, temperature={self.temperature:g}, "
            f"{super().extra_repr()}"
        )


def _masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    lowest = torch.finfo(logits.dtype).min / 4
    return torch.where(mask, logits, torch.full_like(logits, lowest)).log_softmax(dim=-1)
