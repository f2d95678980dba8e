"""Hard co-annotation: annotations of one task written into the gaps of the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from concord.couplings.base import Coupling, View

PROTOTYPICAL = 1.0 - 1e-6


def hard_labels(view: View) -> Tensor:
    """Weights of labels given by the class annotations of a view: (n, K), 0 where none is given or needed.

    A prototypical label (cell 1) is given as present with weight 1, an observational one with its cell as
    weight; absent labels are never given. From class to class a class is given only where its row has a
    single non-zero cell.
    """
    rows, known = view.table_rows
    if view.relation.class_to_class:
        single = (rows > 0).sum(dim=-1, keepdim=True) == 1
        rows = torch.where(single, (rows > 0).to(rows.dtype), torch.zeros_like(rows))
    return rows * known * (1 - view.seen)


def hard_classes(view: View) -> tuple[Tensor, Tensor]:
    """Class given by the label annotations of a view: its index and whether one is given, both (n,).

    A class is given if all its prototypical labels are annotated as present. Of several, the one with
    the largest set of them; where that is a tie still, none, since any choice would hang on the order of
    classes. From class to class: the only class that leads to the annotated one, unless of some class nobody
    knows where it leads.
    """
    missing = 1 - view.class_known
    if view.relation.class_to_class:
        leads = view.active @ (view.tensors.present > 0).to(view.active.dtype).T
        given = (leads.sum(dim=-1) == 1) & (missing > 0) & (view.target_known > 0)
        if not view.tensors.whole:
            given = torch.zeros_like(given)
        return leads.argmax(dim=-1), given
    needed = (view.tensors.present >= PROTOTYPICAL).to(view.active.dtype)
    size = needed.sum(dim=-1)
    complete = (view.active @ needed.T >= size - 0.5) & (size > 0)
    score = torch.where(complete, size.expand_as(complete), torch.zeros_like(size).expand_as(complete))
    best = score.amax(dim=-1, keepdim=True)
    winner = complete & (score == best)
    given = (winner.sum(dim=-1) == 1) & (missing > 0) & (view.target_known > 0)
    return winner.to(score.dtype).argmax(dim=-1), given


class HardCoannotation(Coupling):
    """Fill gaps by rule, then supervise both heads with what was filled.

    Reconstructed from Kollias, Sharmanska, Zafeiriou, "Face Behavior a la carte" (arXiv 1910.11111): a class
    annotation gives its prototypical labels as positives with weight 1 and its observational ones with
    their weight; a label annotation gives a class only if all its prototypical labels are present.

    The loss is the mean over samples that received labels of the mean over those labels of
    weight x -log p_k, plus the mean over samples that received a class of -log p(c).

    Args:
        weight: Factor in the objective, >= 0.
    """

    def loss(self, view: View) -> Tensor:
        """Sum of the two means; see the class."""
        weights = hard_labels(view)
        given = (weights > 0).to(weights.dtype)
        z = view.target_logits
        log_p = (
            functional.log_softmax(z, dim=-1) if view.relation.class_to_class else functional.logsigmoid(z)
        )
        count = given.sum(dim=-1)
        labels = -(weights * log_p).sum(dim=-1) / count.clamp(min=1)
        index, has_class = hard_classes(view)
        classes = -view.log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return self.population.mean(labels, (count > 0).to(z.dtype)) + self.population.mean(
            classes, has_class.to(z.dtype)
        )
