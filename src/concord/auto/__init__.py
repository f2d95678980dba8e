"""`auto`: which coupling, if any, each task gets; and the guard that keeps it from doing harm."""

from concord.auto.alignment import Alignment, found_shifts
from concord.auto.combine import Choice, in_order
from concord.auto.cross_fitting import FirstStage, cross_fitted_predictions, first_stage
from concord.auto.effort import EFFORTS, IN_FOLDS, Effort
from concord.auto.families import Family, balance_weights, best_alone, train_shared, train_single
from concord.auto.held_out import Train, held_out_probabilities
from concord.auto.level import critical_value, studentised
from concord.auto.posterior import posterior_targets
from concord.auto.selection import Artefact, Automatic, possible_pairs, select
from concord.auto.teach import posterior_stage, two_stage
from concord.auto.zero_shot import covered

__all__ = [
    "EFFORTS",
    "IN_FOLDS",
    "Alignment",
    "Artefact",
    "Automatic",
    "Choice",
    "Effort",
    "Family",
    "FirstStage",
    "Train",
    "balance_weights",
    "best_alone",
    "covered",
    "critical_value",
    "cross_fitted_predictions",
    "first_stage",
    "found_shifts",
    "held_out_probabilities",
    "in_order",
    "possible_pairs",
    "posterior_stage",
    "posterior_targets",
    "select",
    "studentised",
    "train_shared",
    "train_single",
    "two_stage",
]
