"""Class to labels: the row of an annotated class as soft targets for the other head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from concord.couplings.base import Coupling, View


class ClassToLabels(Coupling):
    r"""Train the label head on :math:`R_y` where a class is annotated and labels are not.

    Mean over class-annotated samples with a gap of the mean over those gaps (with a known cell) of
    :math:`-R_{yk} \log p_k - (1-R_{yk}) \log(1-p_k)`; from class to class the cross-entropy with the row.
    It removes variation within a class: harmless where cells are near 0 or 1, elsewhere only at a small
    weight.

    Args:
        weight: Factor in the objective, >= 0.
    """

    def loss(self, view: View) -> Tensor:
        """Mean over class-annotated samples with a gap in the target."""
        rows, known = view.table_rows
        open_cells = known * (1 - view.seen)
        count = open_cells.sum(dim=-1)
        z = view.target_logits
        if view.relation.class_to_class:
            terms = -(open_cells * rows * functional.log_softmax(z, dim=-1)).sum(dim=-1)
        else:
            each = -rows * functional.logsigmoid(z) - (1 - rows) * functional.logsigmoid(-z)
            terms = (open_cells * each).sum(dim=-1) / count.clamp(min=1)
        return self.population.mean(terms, (count > 0).to(z.dtype))
