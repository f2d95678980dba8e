"""Two-stage targets: what a first, uncoupled stage says of a row, joined with the row's annotations.

The results are soft targets for `CoupledObjective(..., soft=...)`, in anyone's loop: train an uncoupled
network, call these on its predictions, train a second network with what they return. The first stage's
predictions should be out of sample on the rows in question; with disjoint annotations they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

from concord.errors import RangeError, ShapeError
from concord.relations import Relation
from concord.tasks import MISSING_CLASS, MulticlassTask, as_predictions

Array = npt.NDArray[np.float64]

LIMIT = 4.0
"""Largest shift of a logit in tilted label targets."""


def posterior_targets(p: Any, targets: Any, relation: Relation, exponent: float = 1.0) -> Array:
    """Class targets of rows with annotated labels: softmax(log p + exponent x evidence).

    Args:
        p: (n, C) class probabilities of the first stage; named columns of a table are taken by name.
        targets: (n, K) labels, or (n,) target classes, with gaps.
        relation: From the class task to the annotated one; evidence is relative to its base rates.
        exponent: Tempering of the evidence, in [0, 1]; `estimation.fit_exponent` fits it.

    Returns:
        (n, C); a row without any annotation of the target is NaN.

    Raises:
        RangeError: Predictions that are no probabilities, or an exponent outside [0, 1].
        ShapeError: Another number of rows, or of classes.
    """
    if not 0 <= exponent <= 1:
        raise RangeError(f"relation {relation.name}: the exponent lies in [0, 1], found {exponent}")
    encoded = relation.target.encode(targets)
    probabilities = as_predictions(relation.source, p, len(encoded))
    annotated = relation.target.annotated(encoded)
    if isinstance(relation.target, MulticlassTask):
        seen = np.repeat(annotated[:, None], relation.target.width, axis=1).astype(np.float64)
        active = np.eye(relation.target.width)[np.maximum(encoded, 0)] * seen
    else:
        seen = (~np.isnan(encoded)).astype(np.float64)
        active = np.nan_to_num(encoded.astype(np.float64))
    ll = relation.evidence().of_annotations(active, seen)
    posterior = softmax(np.log(np.clip(probabilities, 1e-12, None)) + exponent * ll, axis=1)
    return np.where(annotated[:, None], posterior, np.nan)


def tilted_targets(q: Any, classes: Any, relation: Relation, limit: float = LIMIT) -> Array:
    """Label targets of class-annotated rows: the first stage's logits, shifted so that class means fit.

    For each class and label one shift b, |b| <= limit, such that the mean of sigmoid(logit q + b) over the
    rows of the class is the relation's cell: how often a label is on follows the relation, on which rows
    follows the network. A label head that knows little teaches its own noise this way: use it where the
    first stage's label head ranks rows well within a class.

    Args:
        q: (n, K) label probabilities of the first stage; named columns of a table are taken by name.
        classes: (n,) classes as names or indices, with gaps.
        relation: From the class task to the labels.
        limit: Largest shift, > 0.

    Returns:
        (n, K); NaN in rows without a class, and where the cell is unknown.

    Raises:
        RangeError: Predictions that are no probabilities, or a limit that is not > 0.
        ShapeError: Another number of rows or labels, or a relation between two class tasks.
    """
    if relation.class_to_class:
        raise ShapeError(f"relation {relation.name}: tilted targets are for labels")
    if not limit > 0:
        raise RangeError(f"relation {relation.name}: the limit of a shift is > 0, found {limit}")
    y = relation.source.encode(classes)
    probabilities = as_predictions(relation.target, q, len(y))
    z = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))
    out = np.full_like(z, np.nan)
    for c in np.unique(y[y != MISSING_CLASS]):
        rows = np.flatnonzero(y == c)
        cell = relation.row(c)
        known = ~np.isnan(cell)
        out[np.ix_(rows, np.flatnonzero(known))] = expit(
            z[rows][:, known] + _shift(z[rows][:, known], cell[known], limit)
        )
    return out


def _shift(z: Array, mean: Array, limit: float) -> Array:
    """The shift of each column after which its mean probability is `mean`, by bisection."""
    low, high = np.full(z.shape[1], -limit), np.full(z.shape[1], limit)
    for _ in range(40):
        middle = (low + high) / 2
        short = expit(z + middle).mean(axis=0) < mean
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return (low + high) / 2
