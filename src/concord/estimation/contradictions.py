"""Cells of a table that the data contradict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from concord.estimation.em import FEWEST_GROUPS, calibrate, effective_groups, free_estimate
from concord.estimation.observations import Observations
from concord.metrics import standard_error
from concord.relations import EvidenceTable
from concord.tasks import MISSING_CLASS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What the labels say of each cell.

    Attributes:
        estimate: (C, K), drawn to the base rate by one row.
        count: (C, K) effective number of rows behind it: the sum of w p^2 over rows that the label is
            annotated for, p the probability of the class and w the weight, so that a row of weight 2 is two
            rows. At most the effective number of groups where rows come in groups.
        error: (C, K) standard error; NaN where less than two groups are behind a cell.
    """

    estimate: Array
    count: Array
    error: Array


def leave_one_label_out(observations: Observations, table: Array, exponent: float, rates: Array) -> Judged:
    """What the labels say of each cell when the class is inferred without the cell's own label.

    A table that claims a cell cannot confirm it here: the class of a row comes from its own annotation, or
    from the head and all *other* labels. A row counts by how sure its class is.
    """
    obs = observations.take(observations.seen.any(axis=1))
    w = obs.weights
    has_class = obs.classes != MISSING_CLASS
    certain = np.eye(obs.source.width)[np.where(has_class, obs.classes, 0)]
    log_p = np.log(np.clip(obs.class_proba, 1e-12, None))
    active, seen = obs.active, obs.seen
    evidence = EvidenceTable.of(table, rates, obs.class_to_class)
    total = evidence.of_annotations(active, seen)
    estimate = np.zeros((obs.source.width, obs.target.width))
    count, error = np.zeros_like(estimate), np.zeros_like(estimate)
    for k in range(obs.target.width):
        if obs.class_to_class:
            others = 0.0 * total  # one annotation is all there is: the head alone names the class
        else:
            one = np.zeros(obs.target.width)
            one[k] = 1.0
            others = total - evidence.of_annotations(active * one, seen * one)
        p = np.where(has_class[:, None], certain, softmax(log_p + exponent * others, axis=1))
        r = p * (w * seen[:, k])[:, None]
        mass = r.sum(axis=0)
        estimate[:, k] = (r.T @ active[:, k] + rates[k]) / (mass + 1.0)
        count[:, k] = (r * p).sum(axis=0)
        if obs.group is not None:
            own = effective_groups(r, obs.group)
            count[:, k] = np.minimum(count[:, k], own)
            error[:, k] = [
                standard_error(active[:, k], obs.group, r[:, c]) if own[c] >= FEWEST_GROUPS else np.nan
                for c in range(len(own))
            ]
    binomial = np.sqrt(np.maximum(estimate * (1 - estimate), 0.01) / np.maximum(count, 1.0))
    return Judged(estimate, count, np.maximum(error, binomial))


@dataclass(frozen=True)
class Contradiction:
    """A cell of a supplied table that the data contradict.

    Attributes:
        source: Name of the class.
        target: Name of the label.
        given: What the table says.
        estimate: What rows say whose class is annotated or told by the head and all other labels, without
            the label itself. An estimate of the relation takes the label along, and is another number.
        error: Standard error of the estimate.
        count: Effective number of rows behind it, a row as often as it weighs; of groups where rows come in
            groups.
    """

    source: str
    target: str
    given: float
    estimate: float
    error: float
    count: float

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"the table says {self.source} shows {self.target} with probability {self.given:.2f}; "
            f"rows whose class is told without {self.target} say {self.estimate:.2f} +- {self.error:.2f}"
        )


ANCHOR, CONTRADICTION, FREE_CONTRADICTION, MIN_COUNT = 10.0, 0.5, 0.7, 0.1
SELDOM = 0.3
MIN_GROUP_Z = 2.0
"""Rows of a few groups can be far from a table by chance: so many standard errors are asked for."""


def find_contradictions(observations: Observations, table: Array, rates: Array) -> tuple[Contradiction, ...]:
    """Cells far from what the rows say.

    The class of a row is inferred without the cell's own label, through an estimate that is drawn to the
    calibrated table only weakly: a wrong cell can neither confirm itself nor mislead its neighbours much.
    Where a whole row of the table is wrong even that draws classes to the wrong place, so that the data's own
    estimate is asked as well; it mixes up classes that the head does not know, and has to be further away:
    by more than .7, in place of .5. A table of what may occur, whose likely cells are seldom in the data, is
    judged after calibration.
    """
    if observations.class_to_class:
        return ()
    own = free_estimate(observations)
    scale = calibrate(table, own, np.ones(len(table)))
    likely = table > 0.5
    other_scale = bool(likely.any()) and float(scale[likely].mean()) < SELDOM
    given = scale if other_scale else table
    anchored = free_estimate(observations, scale, ANCHOR)
    names, labels = observations.source.outputs, observations.target.outputs
    found: dict[tuple[int, int], Contradiction] = {}
    for relation, threshold in ((anchored, CONTRADICTION), (own, FREE_CONTRADICTION)):
        found_here = leave_one_label_out(observations, relation, 1.0, rates)
        judged, count, error = found_here.estimate, found_here.count, found_here.error
        with np.errstate(invalid="ignore"):
            wrong = (np.abs(given - judged) > threshold) & (count >= MIN_COUNT)
            if observations.group is not None:  # NaN, of a single group, decides nothing
                wrong &= np.abs(given - judged) > MIN_GROUP_Z * error
        for c, k in np.argwhere(wrong):
            cell = Contradiction(names[c], labels[k], table[c, k], judged[c, k], error[c, k], count[c, k])
            found.setdefault((int(c), int(k)), cell)
    return tuple(sorted(found.values(), key=lambda cell: -abs(cell.given - cell.estimate) / cell.error))
