"""Fixed weights: every task's loss has a factor that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping

from concord.study.conditions import Condition, Weighting
from concord.study.conditions import condition as coupled


def condition(weights: Weighting | Mapping[str, float] = "rows") -> Condition:
    """One shared network, uncoupled, under weighted losses.

    Args:
        weights: By task, factors >= 0; or ``"rows"``: a task's annotated rows by those of the richest task,
            at least .1.

    Raises:
        UnknownNameError: An unknown weighting. An unknown task is found by `check`.
        RangeError: A factor that is negative or no number.
    """
    return coupled("uncoupled", weighting=weights)
