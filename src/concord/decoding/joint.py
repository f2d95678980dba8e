"""Joint decoding: both heads combined through the relation at prediction time. Needs no training.

Works on probabilities alone, so also for two networks that were trained elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

from concord.decoding.calibration import best_strength, class_loss, row_loss
from concord.errors import NoAnnotationError, NotFittedError, RangeError, ShapeError
from concord.relations import Relation
from concord.tasks import as_predictions

Array = npt.NDArray[np.float64]


STRENGTHS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


FLOOR = 1e-3


def implied(p: Array, relation: Relation) -> tuple[Array, Array]:
    """What class probabilities imply for the target: probabilities and known class mass, both (n, K)."""
    mass = relation.known_mass(p)
    base = np.broadcast_to(relation.rates(), mass.shape)
    q = np.divide(relation.mixture(p), mass, out=base.copy(), where=mass > FLOOR)
    return np.clip(q, FLOOR, 1 - FLOOR), mass


def decode_targets(p: Array, q: Array, relation: Relation, strength: float = 1.0) -> Array:
    """Target probabilities, moved by what the class head implies: (n, K).

    Labels: logit q + strength x known mass x (logit implied - logit base rate). Class to class: the same
    with logarithms, renormalised.

    Args:
        p: (n, C) class probabilities of the source.
        q: (n, K) probabilities of the target.
        relation: From source to target.
        strength: 0 leaves q as it is; 1 adds the implied evidence in full.
    """
    suggestion, mass = implied(p, relation)
    rates = np.clip(relation.rates(), FLOOR, 1 - FLOOR)
    if relation.class_to_class:
        moved = np.log(np.clip(q, 1e-12, None)) + strength * mass * (np.log(suggestion) - np.log(rates))
        return softmax(moved, axis=1)
    return expit(logit(np.clip(q, 1e-6, 1 - 1e-6)) + strength * mass * (logit(suggestion) - logit(rates)))


def decode_classes(p: Array, q: Array, relation: Relation, strength: float = 1.0) -> Array:
    """Class probabilities, moved by the evidence of predicted targets: (n, C).

    Labels: log p + strength x sum_k log(q_k R/pi + (1-q_k)(1-R)/(1-pi)). Class to class:
    log p + strength x log sum_d q_d S_cd/pi_d. Unknown cells contribute nothing.

    Args:
        p: (n, C) class probabilities of the source.
        q: (n, K) probabilities of the target.
        relation: From source to target.
        strength: 0 leaves p as it is.
    """
    score = relation.evidence().of_predictions(q)
    return softmax(np.log(np.clip(p, 1e-12, None)) + strength * score, axis=1)


class JointDecoder:
    """Combine the predictions of two heads, or of two networks trained elsewhere, through a relation.

    How strongly each direction is used is fitted on validation rows, by log-loss; a direction that helps
    no more than noise is left out. Before `decode`, call `fit`, or set `target_strength` or `class_strength`.

    Args:
        relation: From the class task to the label task (or second class task).

    Raises:
        ShapeError: Something else than a relation.

    Example:
        >>> import numpy as np, concord as cc
        >>> pet = cc.MulticlassTask("pet", ["cat", "dog"])
        >>> trait = cc.MultilabelTask("trait", ["purrs", "barks"])
        >>> decoder = JointDecoder(cc.Relation(pet, trait, [[0.9, 0.0], [0.0, 0.9]]))
        >>> decoder.target_strength = 1.0
        >>> p, q = decoder.decode(np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]]))
        >>> bool(q[0, 0] > 0.5 > q[0, 1])
        True
    """

    def __init__(self, relation: Relation) -> None:
        if not isinstance(relation, Relation):
            raise ShapeError(f"joint decoding needs a Relation, found {type(relation).__name__}")
        self.relation = relation
        self._target_strength = self._class_strength = 0.0
        self._fitted = False

    @property
    def target_strength(self) -> float:
        """How much classes move targets, in [0, 1]; fitted, or set; 0 before."""
        return self._target_strength

    @target_strength.setter
    def target_strength(self, value: float) -> None:
        self._target_strength = self._strength("target_strength", value)

    @property
    def class_strength(self) -> float:
        """How much targets move classes, in [0, 1]; fitted, or set; 0 before."""
        return self._class_strength

    @class_strength.setter
    def class_strength(self, value: float) -> None:
        self._class_strength = self._strength("class_strength", value)

    def _strength(self, name: str, value: float) -> float:
        if not 0 <= value <= 1:
            raise RangeError(f"relation {self.relation.name}: {name} lies in [0, 1], found {value}")
        self._fitted = True
        return float(value)

    def fit(self, p: Any, q: Any, y: Any = None, a: Any = None) -> JointDecoder:
        """Fit both strengths on validation rows, which neither network was trained on.

        Args:
            p: (n, C) class probabilities.
            q: (n, K) target probabilities.
            y: (n,) classes as names or indices, with gaps; None if there are none.
            a: (n, K) labels (or (n,) target classes), with gaps; None if there are none.

        Raises:
            NoAnnotationError: Neither y nor a holds an annotation.
            ShapeError: Another number of rows, classes or targets.
            RangeError: Predictions that are no probabilities, or of classes and do not sum to 1.
        """
        p, q = self._checked(p, q)
        source, target = self.relation.source, self.relation.target
        classes = source.gaps(len(p)) if y is None else source.encode(y)
        targets = target.gaps(len(p)) if a is None else target.encode(a)
        for task, encoded in ((source, classes), (target, targets)):
            if len(encoded) != len(p):
                raise ShapeError(f"{len(p)} rows of predictions, but {len(encoded)} of {task.name!r}")
        has_y, has_a = source.annotated(classes), target.annotated(targets)
        if not (has_y.any() or has_a.any()):
            raise NoAnnotationError("joint decoding is fitted on annotated validation rows, found none")
        if has_a.any():
            self.target_strength = best_strength(
                {
                    s: row_loss(
                        decode_targets(p[has_a], q[has_a], self.relation, s),
                        targets[has_a],
                        self.relation.class_to_class,
                    )
                    for s in STRENGTHS
                }
            )
        if has_y.any():
            self.class_strength = best_strength(
                {
                    s: class_loss(decode_classes(p[has_y], q[has_y], self.relation, s), classes[has_y])
                    for s in STRENGTHS
                }
            )
        return self

    def decode(self, p: Any, q: Any) -> tuple[Array, Array]:
        """Better probabilities of both tasks: (n, C) and (n, K).

        Both directions start from what the heads said, not from each other's result: nothing is counted
        twice.

        Args:
            p: What the class head says: (n, C), in [0, 1], rows sum to 1. Named columns of a table are taken
                by name.
            q: What the other head says: (n, K), in [0, 1]; of classes, rows sum to 1.

        Raises:
            NotFittedError: Neither `fit` was called nor a strength set.
            ShapeError: Another number of rows, classes or targets.
            RangeError: Predictions that are no probabilities, or of classes and do not sum to 1.
        """
        p, q = self._checked(p, q)
        self.check_fitted()
        return (
            decode_classes(p, q, self.relation, self.class_strength) if self.class_strength else p,
            decode_targets(p, q, self.relation, self.target_strength) if self.target_strength else q,
        )

    def check_fitted(self) -> None:
        """Nothing, where the strengths are known.

        Raises:
            NotFittedError: Neither `fit` was called nor a strength set.
        """
        if not self._fitted:
            raise NotFittedError(
                f"the joint decoder of {self.relation.name} is not fitted and would change nothing; call fit "
                "with annotated validation rows, or set target_strength and class_strength"
            )

    def _checked(self, p: Any, q: Any) -> tuple[Array, Array]:
        first = as_predictions(self.relation.source, p)
        return first, as_predictions(self.relation.target, q, len(first))
