"""Heads brought to the scale of the annotations before a relation is read off them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logit, softmax

from concord.estimation.observations import Observations
from concord.tasks import MISSING_CLASS

Array = npt.NDArray[np.float64]

Scale = Callable[[Array], Array]
"""Probabilities as a head says them -> calibrated ones."""

Loss = Callable[[float, Array], tuple[float, Array, Array]]
"""(inverse temperature, biases) -> (loss, its derivatives by both)."""

RIDGE = 1.0
"""Weight of staying as it is, against the log-loss of one row for each unit; few rows move a head little."""

FLOOR = 1e-6
MOST_STEPS = 200


def calibrated(observations: Observations, by: Observations | None = None) -> Observations:
    """The observations with both heads calibrated on the rows that are annotated for them.

    One inverse temperature a head, and a bias for each class or label: bias-corrected temperature scaling
    (Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at
    label shift adaptation", ICML 2020), drawn to what the head says by a ridge. Classes and labels without
    an annotated row keep bias 0. What says the same of every row, a label or a whole class head, keeps its
    probabilities: it knows nothing that could be put right, and must not seem to. Rows of one group count as
    one, for each label those that are annotated for it; rows of weight 0 calibrate nothing.

    Args:
        observations: Any rows.
        by: The rows that calibrate, predicted out of sample where they are annotated, so that what is fitted
            is not confirmed; None: the observations are such rows.
    """
    by = (observations if by is None else by).counting()
    labelled = np.asarray(by.seen.any(axis=1))
    p = _classes(by, by.class_proba, by.classes, by.classes != MISSING_CLASS)(observations.class_proba)
    if by.class_to_class:
        q = _classes(by, by.target_proba, by.targets.astype(int), labelled)(observations.target_proba)
    else:
        q = _labels(by, labelled)(observations.target_proba)
    return replace(observations, class_proba=p, target_proba=q)


def _weights(observations: Observations, rows: npt.NDArray[np.bool_], seen: Array) -> Array:
    """Weight of each of these rows by label, 0 where it is not seen; a group counts as one row of each.

    Args:
        observations: Any rows.
        rows: (n,) which of them.
        seen: (m, K) of each of them and each label, 1 where it is annotated and else 0.
    """
    w = seen * observations.weights[rows][:, None]
    if observations.group is None:
        return w
    _, index = np.unique(observations.group[rows], return_inverse=True)
    size = np.zeros((index.max() + 1, seen.shape[1]))
    np.add.at(size, index, seen)
    return np.asarray(w / np.maximum(size, 1.0)[index])


def _classes(
    observations: Observations, p: Array, y: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]
) -> Scale:
    x = _logarithms(p)
    if not rows.any() or not np.ptp(x, axis=0).any():
        return lambda proba: proba
    x, given = x[rows], y[rows]
    w = _weights(observations, rows, np.ones((len(given), 1)))[:, 0]
    each = np.arange(len(given))

    def loss(scale: float, bias: Array) -> tuple[float, Array, Array]:
        said = log_softmax(scale * x + bias, axis=1)
        value, off = -float(w @ said[each, given]), np.exp(said)
        off[each, given] -= 1.0
        off *= w[:, None]
        return value, (off * x).sum(), off.sum(axis=0)

    scale, bias = _fit(loss, np.bincount(given, minlength=p.shape[1]) > 0)
    return lambda proba: np.asarray(softmax(scale * _logarithms(proba) + bias, axis=1))


def _logarithms(proba: Array) -> Array:
    return np.asarray(np.log(np.clip(proba, FLOOR, None)))


def _logits(proba: Array) -> Array:
    return np.asarray(logit(np.clip(proba, FLOOR, 1 - FLOOR)))


def _labels(observations: Observations, rows: npt.NDArray[np.bool_]) -> Scale:
    if not rows.any():
        return lambda proba: proba
    z = _logits(observations.target_proba)
    x, active = z[rows], observations.active[rows]
    varies = np.ptp(z, axis=0) > 0
    w = varies * _weights(observations, rows, np.asarray(observations.seen[rows], dtype=np.float64))

    def loss(scale: float, bias: Array) -> tuple[float, Array, Array]:
        said = scale * x + bias
        off = w * (expit(said) - active)
        return float((w * (np.logaddexp(0.0, said) - active * said)).sum()), (off * x).sum(), off.sum(axis=0)

    scale, bias = _fit(loss, (w > 0).any(axis=0))
    return lambda proba: np.where(varies, expit(scale * _logits(proba) + bias), proba)


def _fit(loss: Loss, seen: npt.NDArray[np.bool_]) -> tuple[float, Array]:
    """Inverse temperature in [.05, 5] and biases that minimise the loss and the ridge."""
    from scipy.optimize import minimize

    def penalised(values: Array) -> tuple[float, Array]:
        scale, bias = float(values[0]), np.where(seen, values[1:], 0.0)
        value, d_scale, d_bias = loss(scale, bias)
        value += RIDGE / 2 * ((scale - 1) ** 2 + (bias**2).sum())
        return value, np.r_[d_scale + RIDGE * (scale - 1), np.where(seen, d_bias + RIDGE * bias, 0.0)]

    start = np.r_[1.0, np.zeros(len(seen))]
    bounds = [(0.05, 5.0), *[(None, None)] * len(seen)]
    found = minimize(
        penalised, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MOST_STEPS}
    )
    return float(found.x[0]), np.where(seen, found.x[1:], 0.0)
