"""A relation from data without co-annotated rows: evidence, EM, calibration, trust, contradicted cells.

The input is always the same: what two heads, trained *without* coupling, say of rows they were not
trained on, and the annotations of these rows. Coupled heads would only confirm the relation that they
were trained with. Everything here is NumPy, deterministic, and knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from concord.estimation.agreement import MIN_AGREEMENT, Evidence, cross_fitted, fit_exponent
from concord.estimation.contradictions import ANCHOR, Contradiction, find_contradictions
from concord.estimation.em import TableRule, class_prior, free_estimate, with_intervals
from concord.estimation.observations import Observations
from concord.estimation.relatedness import (
    FoldPredictions,
    Skill,
    class_direction,
    class_skill,
    not_surpassed,
    target_skill,
)
from concord.relations import Relation

Array = npt.NDArray[np.float64]


Verdict = Literal["kept", "calibrated", "partly wrong", "dropped", "estimated", "unrelated", "undecided"]


@dataclass(frozen=True)
class RelationCheck:
    """What the data say of a relation.

    Attributes:
        verdict: ``"kept"`` the table as supplied or, where that agrees clearly better with the class head,
            the data's estimate with the table as 200 rows; the annotations fit it or, where the class head
            knows too little to tell, what the other head says of annotated classes does (better than through
            the data's own estimate, where the annotations fit less well); ``"calibrated"`` on the scale
            of the data, or an estimate with that as 50 rows or 10; ``"partly wrong"`` re-estimated from where
            it is right; ``"dropped"`` replaced by the data's own estimate; ``"estimated"`` no table was
            supplied; ``"unrelated"`` labels and classes have nothing to say of each other, and no coupling
            should be made; ``"undecided"`` no relation was shown, but a head knows too little of rows that it
            has not seen for that to mean anything. `rule` tells which of several it was.
        relation: The relation to use.
        estimate: The data's own estimate, without the table, with conditional intervals and counts.
        exponent: Evidence exponent to use with `relation`, 0 if unrelated or undecided.
        trust: Agreement with the class head of the supplied table, by that of the data's own estimate on
            the same cells, cross-fitted: about 1 for a right table, about 0 for a wrong one; NaN without one.
        evidence: Cross-fitted agreement of the relation to use.
        reverse: Gain on annotated classes from predicted labels.
        skill: What the class head knows of annotated classes.
        target_skill: What the other task's head knows of its own annotations.
        contradictions: Cells that the data contradict, the strongest first.
        rule: How the table of `relation` was made; applied to some of the rows it gives theirs.
    """

    verdict: Verdict
    relation: Relation
    estimate: Relation
    exponent: float
    trust: float
    evidence: Evidence
    reverse: Evidence
    skill: Skill
    target_skill: Skill
    contradictions: tuple[Contradiction, ...]
    rule: TableRule

    def sentences(self) -> list[str]:
        """The verdict in plain words."""
        name = self.relation.name
        gain, back = (
            f"{found.agreement:.2f} nats a row, z = {found.z:.1f}" for found in (self.evidence, self.reverse)
        )
        skill, other = (f"{s.lift:+.2f}, z = {s.z:.1f}" for s in (self.skill, self.target_skill))
        fits = (
            f"the table fits the data (trust {self.trust:.2f}"
            + (")" if self.trust >= TRUSTED else f", but classes are told through it best: {back})")
            if self.evidence.shown
            else f"the head of {self.relation.source.name} knows too little to weigh the table, but what "
            f"that of {self.relation.target.name} says of rows with a class fits it ({back})"
        )
        use = self._use_of_kept() if self.verdict == "kept" else ""
        verdict = {
            "kept": f"{name}: {fits}; {use}.",
            "calibrated": f"{name}: the table orders classes rightly (trust {self.trust:.2f}), and brought "
            "to the scale of these data it agrees with them better than as supplied; it is used calibrated"
            f"{'' if np.isinf(self.rule.strength) else ', and moved further by what the data say'}.",
            "partly wrong": f"{name}: the table is right in part (trust {self.trust:.2f}); it is used as a "
            "starting point and re-estimated.",
            "dropped": f"{name}: the data contradict the table (trust {self.trust:.2f}); it is replaced by "
            "the data's own estimate.",
            "estimated": f"{name}: no table was supplied; it is estimated from the data ({gain}).",
            "unrelated": f"{name}: in these data the two tasks say nothing of each other that can be told "
            f"from noise (annotations and the class head: {gain}; predictions and annotated classes: "
            f"{back}); no coupling.",
            "undecided": f"{name}: whether the two tasks are related cannot be told, as a head knows too "
            "little of rows that it has not seen (probability of the truth above its average: "
            f"{self.relation.source.name} {skill}; {self.relation.target.name} {other}); no coupling. More "
            "annotated rows, more steps or a better network could tell.",
        }[self.verdict]
        return [verdict, *(f"{c}." for c in self.told_contradictions[:5])]

    def _use_of_kept(self) -> str:
        """What is used of a table that is kept: itself, or an estimate that is drawn to it."""
        if not self.rule.as_supplied:
            moved = np.nanmax(np.abs(np.asarray(self.relation.table) - np.asarray(self.rule.table)))
            return f"it is used, moved by what the data say (a cell by {max(moved, 0.01):.2f} at most)"
        if not self.contradictions:
            return "it is used as supplied"
        count = len(self.contradictions)
        cells = "the one cell" if count == 1 else f"the {count} cells"
        return f"it is used whole, with {cells} that the data contradict"

    @property
    def told_contradictions(self) -> tuple[Contradiction, ...]:
        """Contradictions that are worth a word: none where the data were not shown to know of any relation.

        What an estimate says of single cells is then made of what heads learnt by chance, and can be as sure
        as it is wrong.
        """
        return () if self.verdict in ("unrelated", "undecided") else self.contradictions


def check_observations(
    observations: Observations, relation: Relation | None, fold_predictions: FoldPredictions | None = None
) -> RelationCheck:
    """Weigh a supplied table against the data, and say which relation to use, if any.

    Rules that make a relation (the table as it is, calibrated, either of them as a prior of EM, EM alone)
    are compared by how well their evidence agrees with the class head on label rows they were not fitted
    on; among the good ones the closest to the supplied table is used.

    Args:
        observations: Rows with annotations and out-of-sample predictions of uncoupled heads, `calibrated`.
            Those of weight 0 are left out.
        relation: The supplied table, or None.
        fold_predictions: Predictions of single-task networks by fold, for the test of relatedness.

    Raises:
        DenseOnlyError: The table is sparse.
    """
    counts = observations.weights > 0
    if fold_predictions is not None and not counts.all():
        fold_predictions = fold_predictions.take(counts)
    observations = observations.counting()
    rates = observations.base_rates()
    given_cells = None if relation is None else relation.cells("weighing it against data")
    table = None if given_cells is None or np.isnan(given_cells).all() else given_cells
    rules: dict[Verdict, list[TableRule]] = {"estimated" if table is None else "dropped": [TableRule()]}
    trust = float("nan")
    contradictions: tuple[Contradiction, ...] = ()
    if table is not None:
        trust = _trust(observations, table, rates)
        contradictions = find_contradictions(observations, table, rates)
        rules = _rules_of(observations, table, trust, rates, fold_predictions)
    verdict, rule, found = _closest_good(observations, rules, rates)
    reverse = class_direction(observations, rule, rates, _judges_of(rule, fold_predictions))
    agrees = found.shown
    open_gate = agrees and reverse.agreement > MIN_AGREEMENT and reverse.z > MIN_REVERSE_Z
    chosen = rule(observations)
    exponent = fit_exponent(observations, chosen, rates).exponent if open_gate else 0.0
    skills = class_skill(observations, fold_predictions), target_skill(observations, fold_predictions)
    if exponent == 0.0:
        # Annotations that fit no class of a head that knows classes are a finding. Where they fit, but
        # predicted ones tell no class, it takes a head that can predict them.
        could_tell = skills[0].some and bool(observations.seen.any())
        verdict = "unrelated" if could_tell and (not agrees or skills[1].some) else "undecided"
    if verdict == "undecided" and table is not None:
        # A class head that knows nothing cannot weigh a table. A head that knows the labels can: what it says
        # of rows with a class fits the table or not, and nothing of the table was fitted to them.
        as_supplied = TableRule(table, strength=np.inf)
        by_labels = class_direction(
            observations, as_supplied, rates, _judges_of(as_supplied, fold_predictions)
        )
        if by_labels.agreement > MIN_AGREEMENT and by_labels.z > MIN_REVERSE_Z:
            verdict, rule, chosen = "kept", as_supplied, table
            exponent, reverse = by_labels.exponent, by_labels
    estimate = with_intervals(observations, rates)
    return RelationCheck(
        verdict,
        Relation(
            observations.source,
            observations.target,
            chosen,
            base_rate=rates,
            prior=class_prior(observations),
        ),
        estimate,
        exponent,
        trust,
        found,
        reverse,
        *skills,
        contradictions,
        rule,
    )


def _trust(observations: Observations, table: Array, rates: Array) -> float:
    """Agreement of the table, as given or on the scale of the data, by that of the data's own estimate."""

    def same_cells(rows: Observations) -> Array:
        return np.where(np.isnan(table), np.nan, free_estimate(rows))

    as_it_is, on_its_scale = (TableRule(table, scaled, np.inf) for scaled in (False, True))
    own = cross_fitted(observations, same_cells, rates).agreement
    as_given = cross_fitted(observations, as_it_is, rates).agreement
    on_scale = cross_fitted(observations, on_its_scale, rates).agreement
    return max(as_given, on_scale) / own if own > MIN_AGREEMENT else 0.0


def _rules_of(
    observations: Observations,
    table: Array,
    trust: float,
    rates: Array,
    fold_predictions: FoldPredictions | None,
) -> dict[Verdict, list[TableRule]]:
    """What may become of a supplied table, the closest to it first."""
    anchored = TableRule(table, scaled=True, strength=ANCHOR)
    if trust < TRUSTED and not _stands(observations, table, anchored, rates, fold_predictions):
        if trust < PARTLY_TRUSTED:
            return {"dropped": [TableRule()]}
        return {"partly wrong": [anchored], "dropped": [TableRule()]}
    as_it_is, on_its_scale = (TableRule(table, scaled, np.inf) for scaled in (False, True))
    return {
        "kept": [as_it_is, TableRule(table, strength=200.0)],
        "calibrated": [on_its_scale, TableRule(table, scaled=True, strength=50.0), anchored],
    }


def _stands(
    observations: Observations,
    table: Array,
    anchored: TableRule,
    rates: Array,
    fold_predictions: FoldPredictions | None,
) -> bool:
    """Whether the other head tells annotated classes through the table better than through any estimate.

    A class head that knows little makes trust a ratio of two small numbers; this reading does not need it,
    and nothing of the table was fitted to it. A table that is wrong in part is surpassed by the data's.
    """
    as_supplied = TableRule(table, strength=np.inf)
    judges = _judges_of(as_supplied, fold_predictions)
    told = class_direction(observations, as_supplied, rates, judges)
    if told.agreement <= MIN_AGREEMENT or told.z <= MIN_REVERSE_Z:
        return False
    return not_surpassed(observations, as_supplied, (TableRule(), anchored), rates, fold_predictions)


TRUSTED, PARTLY_TRUSTED = 0.9, 0.3


MIN_REVERSE_Z = 2.5


GOOD_SHARE = 0.985


def _judges_of(rule: TableRule, predictions: FoldPredictions | None) -> FoldPredictions | None:
    """Predictions of the rows whose classes may judge a rule's table: all, where it estimates nothing."""
    return predictions.everywhere() if predictions is not None and rule.as_supplied else predictions


def _closest_good(
    observations: Observations, rules: Mapping[Verdict, Sequence[TableRule]], rates: Array
) -> tuple[Verdict, TableRule, Evidence]:
    tried = [
        (verdict, rule, cross_fitted(observations, rule, rates))
        for verdict, each in rules.items()
        for rule in each
    ]
    best = max(found.agreement for _, _, found in tried)
    return next(one for one in tried if one[2].agreement >= best - (1 - GOOD_SHARE) * abs(best))
