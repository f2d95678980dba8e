"""What data say of a relation: estimates without co-annotated rows, checks, and shifts of the classes."""

from concord.estimation.agreement import EXPONENTS, Evidence, fit_exponent
from concord.estimation.audit import RelationAudit, audit_relation, propose_audit
from concord.estimation.calibration import calibrated
from concord.estimation.check import RelationCheck, check_observations
from concord.estimation.check_table import check_relation
from concord.estimation.contradictions import Contradiction
from concord.estimation.em import FREE_STRENGTH, estimate_by_em
from concord.estimation.estimate import estimate_relation
from concord.estimation.observations import Observations, observed
from concord.estimation.relatedness import FoldPredictions, Skill
from concord.estimation.shift import InputShift, PriorShift, input_shifts, prior_shift

__all__ = [
    "EXPONENTS",
    "FREE_STRENGTH",
    "Contradiction",
    "Evidence",
    "FoldPredictions",
    "InputShift",
    "Observations",
    "PriorShift",
    "RelationAudit",
    "RelationCheck",
    "Skill",
    "audit_relation",
    "calibrated",
    "check_observations",
    "check_relation",
    "estimate_by_em",
    "estimate_relation",
    "fit_exponent",
    "input_shifts",
    "observed",
    "prior_shift",
    "propose_audit",
]
