"""Gradient boosting on histograms, by scikit-learn, after LightGBM: Ke et al., NeurIPS 2017."""

from __future__ import annotations

from typing import Any

from concord.arrays import whole_number
from concord.study.conditions import Condition
from concord.study.peers._estimators import Estimators

PENALTIES = (0.0, 1.0, 10.0)
"""Candidates of the L2 penalty of leaves; validation rows choose one per task.

Without any, scikit-learn's default, steps of many classes at once diverge where some are rare: their leaves
have next to no curvature.
"""
COMPETING = (1.0,)
"""What `auto` compares with networks: the others mostly differ little, and each costs as much as they do."""


def condition(iterations: int = 100) -> Condition:
    """The condition `boosting`.

    Args:
        iterations: Number of boosting iterations, >= 1.

    Raises:
        RangeError: A number of iterations that is none.
    """
    whole_number("condition 'boosting': iterations", iterations)

    def make(penalty: float | None) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=iterations, early_stopping=False, l2_regularization=penalty
        )

    return Estimators("boosting", make, PENALTIES, COMPETING)
