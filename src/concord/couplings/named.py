"""Couplings by name, with the settings they run at wherever they are asked for by it."""

from __future__ import annotations

from collections.abc import Callable

from concord.couplings.base import Coupling
from concord.couplings.class_to_labels import ClassToLabels
from concord.couplings.hard_coannotation import HardCoannotation
from concord.couplings.marginal import MarginalLikelihood
from concord.couplings.matching import DistributionMatching
from concord.couplings.population import PopulationMatching
from concord.couplings.posterior import PosteriorCoannotation
from concord.couplings.soft_coannotation import SoftCoannotation

COUPLINGS: dict[str, Callable[[], list[Coupling]]] = {
    "paper-matching": lambda: [DistributionMatching("paper")],
    "paper-coannotation": lambda: [SoftCoannotation("paper")],
    "paper": lambda: [DistributionMatching("paper"), SoftCoannotation("paper")],
    "hard-coannotation": lambda: [HardCoannotation()],
    "matching": lambda: [DistributionMatching()],
    "coannotation": lambda: [SoftCoannotation(temperature=0.2)],
    "population": lambda: [PopulationMatching()],
    "posterior": lambda: [PosteriorCoannotation(), ClassToLabels()],
    "marginal": lambda: [MarginalLikelihood(exponent=0.5, weight=1 / 3)],
}
"""Couplings of every name, made anew for each training."""
