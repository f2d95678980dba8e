"""Joint decoding: both heads combined through the relation at prediction time. Needs no training.

Works on probabilities alone, so also for two networks that were trained elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

from concord.arrays import group_of_rows
from concord.decoding.calibration import best_strength, class_loss, row_loss
from concord.errors import NoAnnotationError, NotFittedError, RangeError, ShapeError
from concord.relations import Relation, least_probability
from concord.tasks import Task, as_predictions

Array = npt.NDArray[np.float64]


STRENGTHS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


KNOWN_MASS = 1e-3
"""Class mass with a known cell from which on it implies something for a target."""


LEAST = 1e-12
"""Least class probability, before its logarithm."""


def implied_bounds(relation: Relation) -> tuple[float, float]:
    """Range of implied probabilities and base rates, so that their logits or logarithms are finite."""
    least = least_probability(relation.target)
    return least, 1.0 if relation.class_to_class else 1 - least


def implied(class_proba: Array, relation: Relation) -> tuple[Array, Array]:
    """What class probabilities imply for the target: probabilities and known class mass, both (n, K)."""
    mass = relation.known_mass(class_proba)
    base = np.broadcast_to(relation.rates(), mass.shape)
    q = np.divide(relation.mixture(class_proba), mass, out=base.copy(), where=mass > KNOWN_MASS)
    return np.clip(q, *implied_bounds(relation)), mass


def decode_targets(
    class_proba: Array, target_proba: Array, relation: Relation, strength: float = 1.0
) -> Array:
    """Target probabilities, moved by what the class head implies: (n, K).

    Labels: logit q + strength x known mass x (logit implied - logit base rate). Class to class: the same
    with logarithms, renormalised. Implied probabilities and base rates are at least .001 and at most .999
    (class to class: at least .002 / K).

    Args:
        class_proba: (n, C) class probabilities of the source.
        target_proba: (n, K) probabilities of the target.
        relation: From source to target.
        strength: 0 leaves the target as it is; 1 adds the implied evidence in full.
    """
    return _moved_targets(target_proba, strength * _shift_of_targets(class_proba, relation), relation)


def decode_classes(
    class_proba: Array, target_proba: Array, relation: Relation, strength: float = 1.0
) -> Array:
    """Class probabilities, moved by the evidence of predicted targets: (n, C).

    Labels: log p + strength x sum_k log(q_k R/pi + (1-q_k)(1-R)/(1-pi)). Class to class:
    log p + strength x log sum_d q_d S_cd/pi_d. Unknown cells contribute nothing.

    Args:
        class_proba: (n, C) class probabilities of the source.
        target_proba: (n, K) probabilities of the target.
        relation: From source to target.
        strength: 0 leaves the classes as they are.
    """
    return _moved_classes(class_proba, strength * relation.evidence().of_predictions(target_proba))


def _shift_of_targets(class_proba: Array, relation: Relation) -> Array:
    """Known mass x (implied - base rate), as logarithms from class to class, else as logits: (n, K)."""
    suggestion, mass = implied(class_proba, relation)
    rates = np.clip(relation.rates(), *implied_bounds(relation))
    scale = np.log if relation.class_to_class else logit
    return np.asarray(mass * (scale(suggestion) - scale(rates)))


def _moved_targets(target_proba: Array, shift: Array, relation: Relation) -> Array:
    if relation.class_to_class:
        return softmax(np.log(np.clip(target_proba, LEAST, None)) + shift, axis=1)
    return expit(logit(np.clip(target_proba, 1e-6, 1 - 1e-6)) + shift)


def _moved_classes(class_proba: Array, shift: Array) -> Array:
    return softmax(np.log(np.clip(class_proba, LEAST, None)) + shift, axis=1)


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

    def fit(
        self, class_proba: Any, target_proba: Any, y: Any = None, a: Any = None, *, groups: Any = None
    ) -> JointDecoder:
        """Fit both strengths on validation rows, which neither network was trained on.

        Args:
            class_proba: (n, C) class probabilities.
            target_proba: (n, K) target probabilities.
            y: (n,) classes as names or indices, with gaps; None if there are none.
            a: (n, K) labels (or (n,) target classes), with gaps; None if there are none.
            groups: (n,) which rows belong together, such as videos or persons: a direction has to gain more
                than the noise of as many groups. None: each row stands alone.

        A direction without annotations is left out: its strength becomes 0, whatever it was.

        Raises:
            NoAnnotationError: Neither y nor a holds an annotation.
            ShapeError: Another number of rows, classes, targets or groups.
            AnnotationError: A row without a group.
            RangeError: Predictions that are no probabilities, or of classes and do not sum to 1.
        """
        with self._begun_anew():
            return self._fit(class_proba, target_proba, y, a, groups=groups)

    @contextmanager
    def _begun_anew(self) -> Iterator[None]:
        """Both strengths 0, as what no annotated row speaks for is left out; those before where it fails."""
        before = self._target_strength, self._class_strength, self._fitted
        self._target_strength = self._class_strength = 0.0
        self._fitted = True
        try:
            yield
        except BaseException:
            self._target_strength, self._class_strength, self._fitted = before
            raise

    def _fit(
        self, class_proba: Any, target_proba: Any, y: Any = None, a: Any = None, *, groups: Any = None
    ) -> JointDecoder:
        """As `fit`, but a direction without annotations keeps its strength."""
        p, q = self._checked(class_proba, target_proba)
        classes = self._encoded(self.relation.source, y, len(p))
        targets = self._encoded(self.relation.target, a, len(p))
        has_y, has_a = (
            task.annotated(values)
            for task, values in ((self.relation.source, classes), (self.relation.target, targets))
        )
        if not (has_y.any() or has_a.any()):
            raise NoAnnotationError("joint decoding is fitted on annotated validation rows, found none")
        group = group_of_rows(groups, len(p))
        if has_a.any():
            own = None if group is None else group[has_a]
            self.target_strength = self._fitted_to_targets(p[has_a], q[has_a], targets[has_a], own)
        if has_y.any():
            own = None if group is None else group[has_y]
            self.class_strength = self._fitted_to_classes(p[has_y], q[has_y], classes[has_y], own)
        return self

    def _encoded(self, task: Task, values: Any, n: int) -> npt.NDArray[Any]:
        encoded = task.gaps(n) if values is None else task.encode(values)
        if len(encoded) != n:
            raise ShapeError(f"{n} rows of predictions, but {len(encoded)} of {task.name!r}")
        return encoded

    def _fitted_to_targets(
        self, p: Array, q: Array, targets: npt.NDArray[Any], group: npt.NDArray[Any] | None
    ) -> float:
        relation, shift = self.relation, _shift_of_targets(p, self.relation)
        losses = {
            s: row_loss(_moved_targets(q, s * shift, relation), targets, relation.class_to_class)
            for s in STRENGTHS
        }
        return best_strength(losses, group)

    def _fitted_to_classes(
        self, p: Array, q: Array, classes: npt.NDArray[Any], group: npt.NDArray[Any] | None
    ) -> float:
        shift = self.relation.evidence().of_predictions(q)
        losses = {s: class_loss(_moved_classes(p, s * shift), classes) for s in STRENGTHS}
        return best_strength(losses, group)

    def decode(self, class_proba: Any, target_proba: Any) -> tuple[Array, Array]:
        """Better probabilities of both tasks: (n, C) and (n, K).

        Both directions start from what the heads predict, not from each other's result: nothing is counted
        twice.

        Args:
            class_proba: What the class head predicts: (n, C), in [0, 1], rows sum to 1. Named columns of a
                table are taken by name.
            target_proba: What the other head predicts: (n, K), in [0, 1]; of classes, rows sum to 1.

        Raises:
            NotFittedError: Neither `fit` was called nor a strength set.
            ShapeError: Another number of rows, classes or targets.
            RangeError: Predictions that are no probabilities, or of classes and do not sum to 1.
        """
        p, q = self._checked(class_proba, target_proba)
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

    def _checked(self, class_proba: Any, target_proba: Any) -> tuple[Array, Array]:
        classes = as_predictions(self.relation.source, class_proba)
        return classes, as_predictions(self.relation.target, target_proba, len(classes))
