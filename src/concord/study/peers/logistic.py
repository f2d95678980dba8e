"""Logistic regression on standardised inputs, by scikit-learn: what one fits first, without a network."""

from __future__ import annotations

from typing import Any

from concord.study.conditions import Condition
from concord.study.peers._estimators import Estimators, check_class_weight

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidates of C, the inverse strength of the L2 penalty; validation rows choose one per task."""


def condition(class_weight: str | None = None) -> Condition:
    """The condition `logistic`.

    Args:
        class_weight: `"balanced"` weighs rows against the frequency of their class, None does not.

    Raises:
        UnknownNameError: Another class weight.
    """
    check_class_weight("logistic", class_weight)

    def make(penalty: float | None) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(
            StandardScaler(),
            LogisticRegression(C=penalty, class_weight=class_weight, max_iter=300),
        )

    return Estimators("logistic", make, PENALTIES)
