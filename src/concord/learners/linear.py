"""Logistic regression as a network without a hidden layer: fitted to its optimum, kept as any network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax
from torch import nn

from concord.arrays import moments
from concord.errors import RangeError
from concord.fitting import Rows
from concord.networks import MultiTaskNetwork
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]

PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Candidates of C, the inverse strength of the L2 penalty, as scikit-learn counts it."""

LINEAR = tuple(f"linear:{C:g}" for C in PENALTIES)
"""The kinds of linear models, by their penalty."""


def penalty_of(kind: str) -> float:
    """The penalty of a kind of linear models."""
    return PENALTIES[LINEAR.index(kind)]


ITERATIONS = 100
TOLERANCE = 1e-5
"""Of the gradient of the mean loss, at which a fit ends."""


def linear_network(tasks: list[Task], shape: tuple[int, ...]) -> MultiTaskNetwork:
    """A linear head for each task on inputs (n, *shape), without weights of its own yet."""
    return MultiTaskNetwork(nn.Flatten(), tasks, torch.zeros(2, *shape))


def fit_linear(rows: Rows, task: Task, C: float) -> MultiTaskNetwork:
    """L2-penalised logistic regression of one task on standardised inputs; each label's is its own.

    Minimises the sum of the log-losses of the annotated rows (cells) plus |W|^2 / (2 C), biases unpenalised:
    the objective of scikit-learn's `LogisticRegression`, by L-BFGS.

    Args:
        rows: Annotated rows, (n, ...) in memory; weights of rows enter as shares: a common factor of all
            changes nothing, as with networks.
        task: The task.
        C: Inverse strength of the penalty, > 0.

    Returns:
        A network on the inputs as they are: the scale of the features is part of its weights.

    Raises:
        RangeError: A penalty that is none.
    """
    if not C > 0:
        raise RangeError(f"C is a number > 0, found {C}")
    known = rows.annotated(task)
    X = rows.inputs[known].reshape(len(known), -1).numpy().astype(np.float64)
    mean, deviation = moments(X)
    scale = np.where(deviation > 0, deviation, 1.0)
    weight = rows.weights[task.name][known].numpy() if task.name in rows.weights else np.ones(len(known))
    weight = weight / (weight[weight > 0].mean() if (weight > 0).any() else 1.0)
    W, b = _fitted((X - mean) / scale, rows.learnt(task, known.numpy()), weight, task, C)
    W = W / scale
    network = linear_network([task], tuple(rows.inputs.shape[1:]))
    head = network.head(task.name)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(W))
        head.bias.copy_(torch.from_numpy(b - W @ mean))
    return network.eval()


def _fitted(X: Array, y: npt.NDArray[Any], weight: Array, task: Task, C: float) -> tuple[Array, Array]:
    """Weights (width, d) and biases (width,) at the optimum."""
    n, d = X.shape
    total = max(float(weight.sum()), 1.0)
    multiclass = isinstance(task, MulticlassTask)
    truth = np.eye(task.width)[y] if multiclass and y.ndim == 1 else np.nan_to_num(y)
    share = weight[:, None] * (np.ones((n, 1)) if multiclass else ~np.isnan(y)) / total

    def loss(flat: Array) -> tuple[float, Array]:
        W, b = flat[: -task.width].reshape(task.width, d), flat[-task.width :]
        z = X @ W.T + b
        if multiclass:
            each, error = truth * log_softmax(z, axis=1), softmax(z, axis=1) - truth
        else:
            each, error = truth * log_expit(z) + (1 - truth) * log_expit(-z), expit(z) - truth
        error = error * share
        value = float((W**2).sum()) / (2 * C * total) - float((share * each).sum())
        return value, np.concatenate([(error.T @ X + W / (C * total)).ravel(), error.sum(axis=0)])

    found = minimize(
        loss,
        np.zeros(task.width * (d + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "gtol": TOLERANCE},
    ).x
    return found[: -task.width].reshape(task.width, d), found[-task.width :]
