"""Couplings: losses that tie the heads of two tasks through their relation. One per file."""

from concord.couplings.base import Coupling, View, relation_tensors, wide
from concord.couplings.class_to_labels import ClassToLabels
from concord.couplings.hard_coannotation import PROTOTYPICAL, HardCoannotation, hard_classes, hard_labels
from concord.couplings.marginal import MarginalLikelihood
from concord.couplings.matching import DistributionMatching
from concord.couplings.named import COUPLINGS
from concord.couplings.population import PopulationMatching
from concord.couplings.posterior import PosteriorCoannotation, class_posterior
from concord.couplings.soft_coannotation import SoftCoannotation, indicator_scores, soft_classes

__all__ = [
    "COUPLINGS",
    "PROTOTYPICAL",
    "ClassToLabels",
    "Coupling",
    "DistributionMatching",
    "HardCoannotation",
    "MarginalLikelihood",
    "PopulationMatching",
    "PosteriorCoannotation",
    "SoftCoannotation",
    "View",
    "class_posterior",
    "hard_classes",
    "hard_labels",
    "indicator_scores",
    "relation_tensors",
    "soft_classes",
    "wide",
]
