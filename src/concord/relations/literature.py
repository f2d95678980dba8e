"""Relations from the literature, ready to use.

Source: S. Du, Y. Tao, A. M. Martinez, "Compound facial expressions of emotion", PNAS 2014. Prototypical
action units (seen in most subjects) are 1; observational ones carry the share of subjects. Some copies
of the table set AU10 = 1 for surprise, which the study does not.
"""

from __future__ import annotations

from concord.relations.relation import Relation
from concord.tasks import MulticlassTask, MultilabelTask

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
"""The project's one vocabulary of basic expressions, in its one order."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26)
"""The 17 action units that the tables cover."""

_BASIC: dict[str, tuple[tuple[int, ...], dict[int, float]]] = {
    "neutral": ((), {}),
    "happiness": ((12, 25), {6: 0.51}),
    "sadness": ((4, 15), {1: 0.60, 6: 0.50, 11: 0.26, 17: 0.67}),
    "surprise": ((1, 2, 25, 26), {5: 0.66}),
    "fear": ((1, 4, 20, 25), {2: 0.57, 5: 0.63, 26: 0.33}),
    "disgust": ((9, 10, 17), {4: 0.31, 24: 0.26}),
    "anger": ((4, 7, 24), {10: 0.26, 17: 0.52, 23: 0.29}),
}

# Variant units: shown by some of the subjects, the share is not recorded here.
_COMPOUND: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "happily surprised": ((1, 2, 12, 25), (5, 26)),
    "happily disgusted": ((10, 12, 25), (4, 6, 9)),
    "sadly fearful": ((1, 4, 20, 25), (2, 5, 6, 15)),
    "sadly angry": ((4, 15), (6, 7, 11, 17)),
    "sadly surprised": ((1, 4, 25, 26), (2, 6)),
    "sadly disgusted": ((4, 10), (1, 6, 9, 11, 15, 17, 25)),
    "fearfully angry": ((4, 20, 25), (5, 7, 10, 11)),
    "fearfully surprised": ((1, 2, 5, 20, 25), (4, 10, 11, 26)),
    "fearfully disgusted": ((1, 4, 10, 20, 25), (2, 5, 6, 9, 15, 26)),
    "angrily surprised": ((4, 25, 26), (5, 7, 10)),
    "angrily disgusted": ((4, 10, 17), (7, 9, 24)),
    "disgustedly surprised": ((1, 2, 5, 10), (4, 9, 17, 24, 26)),
    "appalled": ((4, 10), (6, 9, 17, 24)),
    "hatred": ((4, 10), (7, 9, 17, 24)),
    "awed": ((1, 2, 5, 25), (4, 20, 26)),
}


def _units() -> MultilabelTask:
    return MultilabelTask("action_units", [f"AU{unit}" for unit in ACTION_UNITS])


def expressions() -> Relation:
    """Seven basic expressions (neutral: a row of zeros) to 17 action units, Du et al. 2014."""
    return Relation.from_prototypes(
        MulticlassTask("expression", EXPRESSIONS),
        _units(),
        {name: [f"AU{u}" for u in first] for name, (first, _) in _BASIC.items()},
        {name: {f"AU{u}": w for u, w in more.items()} for name, (_, more) in _BASIC.items()},
    )


def compound_expressions(variant: float = 0.5) -> Relation:
    """Fifteen compound expressions to 17 action units, Du et al. 2014.

    Args:
        variant: Probability written for a variant unit, in [0, 1]; the lists do not say how often one is
            shown, so the middle is the default.
    """
    return Relation.from_prototypes(
        MulticlassTask("expression", _COMPOUND),
        _units(),
        {name: [f"AU{u}" for u in first] for name, (first, _) in _COMPOUND.items()},
        {name: {f"AU{u}": variant for u in more} for name, (_, more) in _COMPOUND.items()},
    )


BUILTIN = {"expressions": expressions, "compound-expressions": compound_expressions}
"""Tables by the name that the command line and configurations use."""
