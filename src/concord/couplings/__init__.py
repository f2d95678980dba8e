"""Couplings: losses that tie the heads of two tasks through their relation. One per file, each in `registry`.

Names load on first use: the registry serves configs, which are checked without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door
from concord.couplings.registry import (
    LOSSES,
    RECIPES,
    Ingredient,
    check_options,
    coupling_names,
    ingredients,
    make_couplings,
)

if TYPE_CHECKING:
    from concord.couplings.base import Coupling, View, relation_tensors, wide
    from concord.couplings.class_to_labels import ClassToLabels
    from concord.couplings.hard_coannotation import PROTOTYPICAL, HardCoannotation, hard_classes, hard_labels
    from concord.couplings.marginal import MarginalLikelihood
    from concord.couplings.matching import DistributionMatching
    from concord.couplings.population import PopulationMatching
    from concord.couplings.posterior import PosteriorCoannotation, class_posterior
    from concord.couplings.soft_coannotation import (
        SoftCoannotation,
        check_temperature,
        indicator_scores,
        soft_classes,
    )

_CLASSES = {name: module for module, _, name in (home.partition(":") for home in LOSSES.values())}

__all__ = [
    "LOSSES",
    "RECIPES",
    "Coupling",
    "Ingredient",
    "View",
    "coupling_names",
    "make_couplings",
]
__all__ += list(_CLASSES)

_OTHERS = {
    "Coupling": "concord.couplings.base",
    "PROTOTYPICAL": "concord.couplings.hard_coannotation",
    "View": "concord.couplings.base",
    "check_temperature": "concord.couplings.soft_coannotation",
    "class_posterior": "concord.couplings.posterior",
    "hard_classes": "concord.couplings.hard_coannotation",
    "hard_labels": "concord.couplings.hard_coannotation",
    "indicator_scores": "concord.couplings.soft_coannotation",
    "relation_tensors": "concord.couplings.base",
    "soft_classes": "concord.couplings.soft_coannotation",
    "wide": "concord.couplings.base",
}

__getattr__, __dir__ = lazy_door(__name__, _CLASSES | _OTHERS)
