"""Two-stage targets: what a first, uncoupled stage says of a row, joined with the row's annotations.

The results are soft targets for `CoupledObjective(..., soft=...)`, in anyone's loop: train an uncoupled
network, call these on its predictions, train a second network with what they return. The first stage's
predictions should be out of sample on the rows in question; with disjoint annotations they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from concord.errors import RangeError
from concord.relations import Relation
from concord.tasks import Encoded, MulticlassTask, as_predictions

Array = npt.NDArray[np.float64]


def posterior_targets(p: Any, targets: Any, relation: Relation, exponent: float = 1.0) -> Array:
    """Class targets of rows with annotated labels: softmax(log p + exponent x evidence).

    Args:
        p: (n, C) class probabilities of the first stage; named columns of a table are taken by name.
        targets: (n, K) labels, or (n,) target classes, encoded.
        relation: From the class task to the annotated one; evidence is relative to its base rates.
        exponent: Tempering of the evidence, in [0, 1]; `estimation.fit_exponent` fits it.

    Returns:
        (n, C); a row whose annotations are no evidence is NaN: it has none, or only such as the relation has
        no cell for.

    Raises:
        RangeError: Predictions that are no probabilities, or an exponent outside [0, 1].
        ShapeError: Another number of rows, or of classes.
    """
    if not 0 <= exponent <= 1:
        raise RangeError(f"relation {relation.name}: the exponent lies in [0, 1], found {exponent}")
    encoded = relation.target.encode(Encoded(targets))
    probabilities = as_predictions(relation.source, p, len(encoded))
    if isinstance(relation.target, MulticlassTask):
        annotated = relation.target.annotated(encoded)
        seen = np.repeat(annotated[:, None], relation.target.width, axis=1).astype(np.float64)
        active = np.eye(relation.target.width)[np.maximum(encoded, 0)] * seen
    else:
        seen = (~np.isnan(encoded)).astype(np.float64)
        active = np.nan_to_num(encoded.astype(np.float64))
    ll = relation.evidence().of_annotations(active, seen)
    posterior = softmax(np.log(np.clip(probabilities, 1e-12, None)) + exponent * ll, axis=1)
    return np.where(informed(relation, active, seen)[:, None], posterior, np.nan)


def informed(relation: Relation, active: Array, seen: Array) -> npt.NDArray[np.bool_]:
    """Rows with an annotated target that some class has a known cell for: (n,).

    Args:
        relation: From the class task to the annotated one.
        active: (n, K) 1 where present.
        seen: (n, K) 1 where annotated.
    """
    if relation.sparse and relation.class_to_class:  # a known row is 0 wherever it stores nothing
        known = np.full(relation.target.width, relation.known_rows.any())
    else:
        known = np.asarray(relation.known.sum(axis=0)).ravel() > 0
    return np.asarray((active if relation.class_to_class else seen) @ known.astype(np.float64) > 0)
