"""Supervised losses with gaps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from concord.losses.population import Local, Population
from concord.tasks import MISSING_CLASS

_LOCAL = Local()


def multiclass_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    sample_weight: Tensor | None = None,
    population: Population = _LOCAL,
) -> Tensor:
    """Mean cross-entropy over annotated samples; 0 where there is none.

    Args:
        logits: (n, C).
        targets: (n,) int64, -1 for a gap.
        sample_weight: (n,) >= 0; the mean is weighted by it.
        population: What the mean runs over.
    """
    known = targets != MISSING_CLASS
    terms = functional.cross_entropy(logits, targets, ignore_index=MISSING_CLASS, reduction="none")
    if sample_weight is None:  # terms of gaps are 0, and without a gradient
        return population.mean_of_sums(terms.sum(), torch.count_nonzero(known))
    return population.mean(terms, known * sample_weight)


def multilabel_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    sample_weight: Tensor | None = None,
    population: Population = _LOCAL,
) -> Tensor:
    """Mean over samples with an annotated label of the mean Bernoulli cross-entropy of those labels.

    Args:
        logits: (n, K).
        targets: (n, K), 0, 1 or NaN for a gap; values in between are soft targets.
        sample_weight: (n,) >= 0; the mean over samples is weighted by it.
        population: What the mean runs over.
    """
    gap = torch.isnan(targets)
    filled = torch.nan_to_num(targets).to(logits.dtype)
    each = functional.binary_cross_entropy_with_logits(logits, filled, reduction="none").masked_fill(gap, 0.0)
    count = (~gap).sum(dim=-1, dtype=logits.dtype)
    terms = each.sum(dim=-1) / count.clamp(min=1)
    if sample_weight is None:  # terms of samples without a label are 0, and without a gradient
        return population.mean_of_sums(terms.sum(), torch.count_nonzero(count))
    return population.mean(terms, (count > 0) * sample_weight)


def soft_multiclass_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    sample_weight: Tensor | None = None,
    population: Population = _LOCAL,
) -> Tensor:
    """Mean cross-entropy with soft targets over samples that have one.

    Args:
        logits: (n, C).
        targets: (n, C) distributions; a row of NaN is a gap.
        sample_weight: (n,) >= 0; the mean is weighted by it.
        population: What the mean runs over.
    """
    known = ~torch.isnan(targets).any(dim=-1)
    terms = -(torch.nan_to_num(targets).to(logits.dtype) * logits.log_softmax(dim=-1)).sum(dim=-1)
    return population.mean(terms, known if sample_weight is None else known * sample_weight)


soft_multilabel_loss = multilabel_loss
"""The Bernoulli cross-entropy takes soft targets as they are."""
