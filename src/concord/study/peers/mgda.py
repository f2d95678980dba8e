"""MGDA: the shared layers follow the shortest vector in the convex hull of the tasks' gradients.

Source: Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, algorithm 2, with
gradients as they are and the exact solution in place of Frank-Wolfe steps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.peers._losses import CombinedGradients, OfGradients, factor

SMALLEST = 1e-30


def least_norm_weights(gramian: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Weights w >= 0 of sum 1 for which w^T G w is least, for a Gramian G of the gradients: (T,).

    min |Bv|^2 + (sum v - 1)^2 over v >= 0 has its solution in the same direction, which makes it a
    non-negative least squares problem; G is scaled first, so that both terms are of one size.
    """
    g = np.asarray(gramian, dtype=np.float64)
    b = factor(g / max(float(np.trace(g)), SMALLEST))
    found = nnls(np.vstack([b, np.ones(len(b))]), np.append(np.zeros(len(b)), 1.0))[0]
    return found / found.sum()


class MGDAObjective(CombinedGradients):
    """The shortest convex combination of the gradients."""

    def direction(self, gradients: Tensor) -> Tensor:
        """See `least_norm_weights`."""
        wide = gradients.double()
        weights = torch.from_numpy(least_norm_weights((wide @ wide.T).cpu().numpy())).to(wide.device)
        return (weights @ wide).to(gradients.dtype)


class MGDA(OfGradients):
    """A shared network, uncoupled."""

    def train(self, setting: Setting) -> Predictor:
        """Train one network for all tasks."""
        network = setting.build(setting.tasks)
        return joined([setting.train(network, MGDAObjective(setting.tasks, network))])


def condition() -> Condition:
    """The condition `mgda`; it has no options."""
    return MGDA()
