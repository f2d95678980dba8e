"""Supervised losses with gaps, and the sums over a batch (of one process, or of all) that they divide by."""

from concord.losses.population import Distributed, Local, Population
from concord.losses.supervised import (
    multiclass_loss,
    multilabel_loss,
    soft_multiclass_loss,
    soft_multilabel_loss,
)

__all__ = [
    "Distributed",
    "Local",
    "Population",
    "multiclass_loss",
    "multilabel_loss",
    "soft_multiclass_loss",
    "soft_multilabel_loss",
]
