"""Gradient boosting on histograms, by scikit-learn, after LightGBM: Ke et al., NeurIPS 2017."""

from __future__ import annotations

from typing import Any

from concord.study.conditions import Condition
from concord.study.peers._estimators import Estimators


def condition(iterations: int = 100) -> Condition:
    """The condition `boosting`.

    Args:
        iterations: Number of boosting iterations, >= 1.
    """

    def make(_: float | None, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=iterations, early_stopping=False, random_state=seed)

    return Estimators(make)
