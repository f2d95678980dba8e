"""Extremely randomised trees, by scikit-learn: Geurts, Ernst, Wehenkel, Machine Learning 63, 2006."""

from __future__ import annotations

from typing import Any

from concord.arrays import whole_number
from concord.study.conditions import Condition
from concord.study.peers._estimators import Estimators, check_class_weight


def condition(trees: int = 100, class_weight: str | None = None) -> Condition:
    """The condition `extra-trees`.

    Args:
        trees: Number of trees, >= 1.
        class_weight: `"balanced"` weighs rows against the frequency of their class, None does not.

    Raises:
        RangeError: A number of trees that is none.
        UnknownNameError: Another class weight.
    """
    whole_number("condition 'extra-trees': trees", trees)
    check_class_weight("extra-trees", class_weight)

    def make(_: float | None) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(trees, class_weight=class_weight)

    return Estimators("extra-trees", make)
