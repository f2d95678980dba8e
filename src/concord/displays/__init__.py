"""Displays in scikit-learn's manner, on matplotlib: a relation, calibration by task, verdicts of a study."""

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.displays.calibration import CalibrationDisplay
    from concord.displays.relation import RelationDisplay
    from concord.displays.verdict import VerdictDisplay

__all__ = ["CalibrationDisplay", "RelationDisplay", "VerdictDisplay"]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "CalibrationDisplay": "concord.displays.calibration",
        "RelationDisplay": "concord.displays.relation",
        "VerdictDisplay": "concord.displays.verdict",
    },
)
