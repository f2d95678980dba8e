"""Studies: conditions x seeds x regimes on the same rows, compared so that the verdict can be believed.

`plan` says what is compared, `problem` on which data, `conditions` and `peers` how each condition trains,
`run` trains every cell of the plan once and keeps its test predictions, `compare` opens the test split and
judges, `report` draws.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Plan": "concord.study.plan",
    "Problem": "concord.study.problem",
    "Regime": "concord.study.plan",
    "compare": "concord.study.comparison",
    "read_plan": "concord.study.plan",
    "run": "concord.study.running",
}

__all__ = ["Plan", "Problem", "Regime", "compare", "read_plan", "run"]

if TYPE_CHECKING:
    from concord.study.comparison import compare as compare
    from concord.study.plan import Plan as Plan
    from concord.study.plan import Regime as Regime
    from concord.study.plan import read_plan as read_plan
    from concord.study.problem import Problem as Problem
    from concord.study.running import run as run


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'concord.study' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
