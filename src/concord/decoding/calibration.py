"""Temperatures, log-losses of rows, and strengths fitted on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from concord.metrics import z_score

Array = npt.NDArray[np.float64]


MIN_Z = 1.64
"""A strength above 0 must gain more than this many standard errors on the rows it is fitted on."""


def class_loss(p: Array, y: npt.NDArray[Any]) -> Array:
    """Log-loss of each row to its class (n,), or its cross-entropy to distributions (n, C): (n,)."""
    if y.ndim == 2:
        return -(y * np.log(np.clip(p, 1e-12, None))).sum(axis=1)
    return -np.log(np.clip(p[np.arange(len(y)), y], 1e-12, None))


def label_loss(q: Array, a: npt.NDArray[Any]) -> Array:
    """Mean log-loss of the annotated labels of each row: (n,)."""
    seen = ~np.isnan(a)
    q = np.clip(q, 1e-7, 1 - 1e-7)
    each = -np.nan_to_num(a) * np.log(q) - (1 - np.nan_to_num(a)) * np.log(1 - q)
    return np.where(seen, each, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def row_loss(probabilities: Array, targets: npt.NDArray[Any], class_target: bool) -> Array:
    """Log-loss of each annotated row: (n,)."""
    return class_loss(probabilities, targets) if class_target else label_loss(probabilities, targets)


def best_strength(losses: dict[float, Array], group: npt.NDArray[Any] | None = None) -> float:
    """The strength of the least mean loss, or 0 where its gain over 0 can be told from noise by no means.

    Args:
        losses: Row losses by strength, one of them 0.
        group: (n,) rows of one group are counted as one sample; None: each row stands alone.
    """
    base = losses[0.0]
    best = min(losses, key=lambda strength: float(losses[strength].mean()))
    gain = base - losses[best]
    if len(gain) < 2 or best == 0.0:
        return 0.0
    return best if z_score(gain, group) > MIN_Z else 0.0


def temperature(logits: Array, targets: npt.NDArray[Any], class_target: bool) -> float:
    """Inverse temperature that minimises the log-loss of annotated rows, in [.05, 4.5].

    Args:
        logits: (n, C) or (n, K) of rows that the head was not trained on.
        targets: (n,) indices or (n, C) distributions, without gaps; or (n, K) labels or probabilities with
            NaN.
        class_target: Which of the two.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_scale: float) -> float:
        z = logits * np.exp(log_scale)
        if class_target and targets.ndim == 2:
            return float(-(targets * log_softmax(z, axis=1)).sum(axis=1).mean())
        if class_target:
            return float(-log_softmax(z, axis=1)[np.arange(len(z)), targets].mean())
        seen = ~np.isnan(targets)
        a, z = targets[seen], z[seen]
        return float((a * np.logaddexp(0.0, -z) + (1 - a) * np.logaddexp(0.0, z)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 1.5), method="bounded").x))
