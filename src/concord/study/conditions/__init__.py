"""Conditions by name: how a network is trained on the rows of a regime. Peers are found here too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.study.conditions.base import Condition, Predictor, Setting, joined
    from concord.study.conditions.building import network_for
    from concord.study.conditions.coupled import Coupled, Weighting
    from concord.study.conditions.learner import StudyLearner
    from concord.study.conditions.registry import condition, condition_names
    from concord.study.conditions.tables import control, relations_of

__all__ = [
    "Condition",
    "Coupled",
    "Predictor",
    "Setting",
    "StudyLearner",
    "Weighting",
    "condition",
    "condition_names",
    "control",
    "joined",
    "network_for",
    "relations_of",
]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "Condition": "concord.study.conditions.base",
        "Coupled": "concord.study.conditions.coupled",
        "Predictor": "concord.study.conditions.base",
        "Setting": "concord.study.conditions.base",
        "StudyLearner": "concord.study.conditions.learner",
        "Weighting": "concord.study.conditions.coupled",
        "condition": "concord.study.conditions.registry",
        "condition_names": "concord.study.conditions.registry",
        "control": "concord.study.conditions.tables",
        "joined": "concord.study.conditions.base",
        "network_for": "concord.study.conditions.building",
        "relations_of": "concord.study.conditions.tables",
    },
)
