"""A relation from data without co-annotated rows: evidence, EM, calibration, trust, contradicted cells.

The input is always the same: what two heads, trained *without* coupling, say of rows they were not
trained on, and the annotations of these rows. Coupled heads would only confirm the relation that they
were trained with. Everything here is NumPy, deterministic, and knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from concord.estimation.agreement import MIN_AGREEMENT, Builder, Evidence, cross_fitted, fit_exponent
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
    together,
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
            the data's own estimate, where the annotations fit less well), or rows that are annotated for
            both tasks do; ``"calibrated"`` on the scale of the data, or an estimate with that as 50 rows or
            10; ``"partly wrong"`` re-estimated from where it is right; ``"dropped"`` replaced by the data's
            own estimate, since they contradict it or no class is told through it; ``"estimated"`` no table
            was supplied; ``"unrelated"`` labels and classes have nothing to say of each other, and nothing
            should be coupled; ``"undecided"`` no relation was shown, but a head knows too little of rows that
            it has not seen for that to mean anything. `rule` tells which of several it was.
        relation: The relation to use.
        estimate: The data's own estimate, without the table, with conditional intervals and counts; of rows
            annotated for both tasks alone where only these show a relation.
        exponent: Evidence exponent to use with `relation`, 0 if unrelated or undecided.
        trust: Agreement with the class head of the supplied table, by that of the data's own estimate on
            the same cells, cross-fitted: about 1 for a right table, about 0 for a wrong one; NaN without one.
            Where `together` told, that is with rows annotated for both tasks in place of the head.
        evidence: Cross-fitted agreement of the relation to use.
        reverse: Gain on annotated classes from predicted labels; nothing of an estimate by rows annotated for
            both tasks alone, which is judged with their classes hidden.
        together: Gain on annotated classes from annotated labels, of rows annotated for both tasks,
            cross-fitted; weighed only where heads show no relation through the table (or any, without one),
            else nothing.
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
    together: Evidence
    skill: Skill
    target_skill: Skill
    contradictions: tuple[Contradiction, ...]
    rule: TableRule

    def sentences(self) -> list[str]:
        """The verdict in plain words."""
        name = self.relation.name
        gain, back, both = (
            f"{found.agreement:.2f} nats a row, z = {found.z:.1f}"
            for found in (self.evidence, self.reverse, self.together)
        )
        skill, other = (f"{s.lift:+.2f}, z = {s.z:.1f}" for s in (self.skill, self.target_skill))
        fits = (
            f"rows that are annotated for both tasks fit the table ({both})"
            if self.together.shown
            else f"the table fits the data (trust {self.trust:.2f}"
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
            "dropped": f"{name}: {self._why_dropped()}; it is replaced by the data's own estimate.",
            "estimated": f"{name}: no table was supplied; it is estimated from the data "
            f"({f'rows annotated for both tasks: {both}' if self.together.shown else gain}).",
            "unrelated": f"{name}: {self._unrelated(gain, back)}; no coupling.",
            "undecided": f"{name}: whether the two tasks are related cannot be told, as a head knows too "
            "little of rows that it has not seen (probability of the truth above its average: "
            f"{self.relation.source.name} {skill}; {self.relation.target.name} {other}); no coupling. "
            f"{self._could_tell()}",
        }[self.verdict]
        return [verdict, *(f"{c}." for c in self.told_contradictions[:5])]

    def _unrelated(self, gain: str, back: str) -> str:
        """What was found, where that is no relation."""
        if self.evidence.shown:
            return (
                f"annotations agree with the class head ({gain}), but predictions tell nothing of annotated "
                f"classes ({back}), so that the agreement may be chance that the head has learnt"
            )
        return (
            "in these data the two tasks say nothing of each other that can be told from noise (annotations "
            f"and the class head: {gain}; predictions and annotated classes: {back})"
        )

    def _why_dropped(self) -> str:
        if self.trust < TRUSTED:
            return f"the data contradict the table (trust {self.trust:.2f})"
        return f"annotations fit the table (trust {self.trust:.2f}), but no class is told through it"

    def _could_tell(self) -> str:
        """What would, where nothing can be told."""
        if self.target_skill.flat:
            target = self.relation.target.name
            return f"Predictions of {target} are the same for every row; others could tell."
        return "More annotated rows, more steps or a better network could tell."

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
    on; among the good ones the closest to the supplied table is used by which annotated classes are told,
    too. Where heads show no relation, rows that are annotated for both tasks may.

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
    ranked, trust = _weighed(
        observations,
        table,
        rates,
        cross_fitted,
        lambda anchored: _stands(observations, anchored, rates, fold_predictions),
    )
    read = _first_shown(observations, ranked, rates, fold_predictions)
    skills = class_skill(observations, fold_predictions), target_skill(observations, fold_predictions)
    both = Evidence(0.0, 0.0, 0.0)
    if read.exponent == 0.0:
        # Rows that are annotated for both tasks need no head that predicts either.
        by_both, trust_by_both = _weighed(observations, table, rates, together)
        both = by_both[0].evidence
        if both.shown:
            trust = trust_by_both
            rule = replace(by_both[0].rule, of_both=True)  # what was shown is what is used
            by_head = replace(by_both[0], rule=rule, evidence=cross_fitted(observations, rule, rates))
            read = replace(_read(observations, by_head, rates, fold_predictions), exponent=both.exponent)
    if read.exponent == 0.0 and table is not None:
        # A table hides nothing that the data show without it.
        own = _ranked(observations, {"dropped": [TableRule()]}, rates, cross_fitted)
        without = _first_shown(observations, own, rates, fold_predictions)
        read = without if without.exponent > 0 else read
    verdict, rule, exponent, reverse = read.verdict, read.rule, read.exponent, read.reverse
    chosen = rule(observations)
    if exponent == 0.0:
        # Annotations that fit no class of a head that knows classes are a finding. Where they fit, but
        # predicted ones tell no class, it takes a head that can predict them.
        could_tell = skills[0].some and bool(observations.seen.any())
        some = not read.evidence.shown or skills[1].some
        verdict = "unrelated" if could_tell and some else "undecided"
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
    counted = observations.take(observations.both) if both.shown else observations
    contradictions = () if table is None else find_contradictions(counted, table, rates)
    estimate = with_intervals(counted, rates)
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
        read.evidence,
        reverse,
        both,
        *skills,
        contradictions,
        rule,
    )


Judging = Callable[[Observations, Builder, Array], Evidence]
"""(rows, rule, rates) -> how well relations by the rule agree with rows that they were not fitted on."""


@dataclass(frozen=True)
class _Tried:
    """A rule, what becomes of the table by it, and how well it agrees with rows that it was not fitted on."""

    verdict: Verdict
    rule: TableRule
    evidence: Evidence


@dataclass(frozen=True)
class _Read(_Tried):
    """The same read both ways.

    Attributes:
        reverse: Gain on annotated classes from predicted labels.
        exponent: Evidence exponent; 0 where one of the two ways shows nothing.
    """

    reverse: Evidence
    exponent: float


def _weighed(
    observations: Observations,
    table: Array | None,
    rates: Array,
    judging: Judging,
    stands: Callable[[TableRule], bool] = lambda anchored: False,
) -> tuple[list[_Tried], float]:
    """The rules in the order in which they are asked, and trust; `stands` is asked where that is low.

    Those that agree well come first, and among these and among the others the closest to the table.
    """
    if table is None:
        return _ranked(observations, {"estimated": [TableRule()]}, rates, judging), float("nan")
    trust = _trust(observations, table, rates, judging)
    return _ranked(observations, _rules_of(table, trust, stands), rates, judging), trust


def _first_shown(
    observations: Observations,
    ranked: Sequence[_Tried],
    rates: Array,
    fold_predictions: FoldPredictions | None,
) -> _Read:
    """The closest rule to the table by which a relation is shown both ways; the closest where none is.

    Classes may be told through a table on the scale of the data, or through an estimate that it helps,
    where they are not through the table as it is: one of what may occur says too much of what is seldom
    predicted.
    """
    closest = _read(observations, ranked[0], rates, fold_predictions)
    if closest.exponent > 0:
        return closest
    others = (_read(observations, each, rates, fold_predictions) for each in ranked[1:])
    return next((read for read in others if read.exponent > 0), closest)


def _read(
    observations: Observations, tried: _Tried, rates: Array, fold_predictions: FoldPredictions | None
) -> _Read:
    judges = _judges_of(tried.rule, fold_predictions)
    reverse = class_direction(observations, tried.rule, rates, judges)
    shown = tried.evidence.shown and reverse.agreement > MIN_AGREEMENT and reverse.z > MIN_REVERSE_Z
    exponent = fit_exponent(observations, tried.rule(observations), rates).exponent if shown else 0.0
    return _Read(tried.verdict, tried.rule, tried.evidence, reverse, exponent)


def _trust(observations: Observations, table: Array, rates: Array, judging: Judging) -> float:
    """Agreement of the table, as given or on the scale of the data, by that of the data's own estimate."""

    def same_cells(rows: Observations) -> Array:
        return np.where(np.isnan(table), np.nan, free_estimate(rows))

    as_it_is, on_its_scale = (TableRule(table, scaled, np.inf) for scaled in (False, True))
    own = judging(observations, same_cells, rates).agreement
    as_given = judging(observations, as_it_is, rates).agreement
    on_scale = judging(observations, on_its_scale, rates).agreement
    return max(as_given, on_scale) / own if own > MIN_AGREEMENT else 0.0


def _rules_of(
    table: Array, trust: float, stands: Callable[[TableRule], bool]
) -> Mapping[Verdict, Sequence[TableRule]]:
    """What may become of a supplied table, the closest to it first."""
    anchored = TableRule(table, scaled=True, strength=ANCHOR)
    if trust < TRUSTED and not stands(anchored):
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
    anchored: TableRule,
    rates: Array,
    fold_predictions: FoldPredictions | None,
) -> bool:
    """Whether the other head tells annotated classes through the table better than through any estimate.

    A class head that knows little makes trust a ratio of two small numbers; this reading does not need it,
    and nothing of the table was fitted to it. A table that is wrong in part is surpassed by the data's.
    """
    as_supplied = TableRule(anchored.table, strength=np.inf)
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


def _ranked(
    observations: Observations,
    rules: Mapping[Verdict, Sequence[TableRule]],
    rates: Array,
    judging: Judging,
) -> list[_Tried]:
    tried = [
        _Tried(verdict, rule, judging(observations, rule, rates))
        for verdict, each in rules.items()
        for rule in each
    ]
    best = max(each.evidence.agreement for each in tried)
    return sorted(tried, key=lambda each: each.evidence.agreement < best - (1 - GOOD_SHARE) * abs(best))
