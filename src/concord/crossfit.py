"""Out-of-sample predictions of rows that one has: the first stage of `auto`, on its own.

A relation is read off what uncoupled heads say of rows that they were not trained on
(`Relation.estimate`, `estimation.check_relation`); this makes such predictions from features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax
from sklearn.base import clone
from sklearn.utils import check_random_state

from concord.decoding import temperature
from concord.errors import ConcordWarning, RangeError, ShapeError
from concord.estimator import CoupledClassifier
from concord.rows import Rows
from concord.selection import EFFORTS, _folds
from concord.tasks import MulticlassTask, Task

__all__ = ["cross_predict"]

Array = npt.NDArray[np.float64]
SMALLEST = 1e-7


def cross_predict(
    model: CoupledClassifier, X: Any, y: Mapping[str, Any], groups: Any = None
) -> dict[str, Array]:
    """Probabilities of every row by balanced shared networks, without coupling, that have not seen it.

    A row that is annotated for a task is predicted by the network of the other folds; any other row by all
    of them, averaged. Temperatures are fitted on the annotated rows.

    Args:
        model: An unfitted estimator: its tasks, network, steps, seed and effort (which gives the number of
            folds and the share of the steps) are used, its coupling and relations are not.
        X: (n, d) features.
        y: By task name, targets with gaps, as `CoupledClassifier.fit` takes them.
        groups: (n,) subjects, videos: rows of one are never divided between folds.

    Returns:
        By task, (n, C) or (n, K).

    Raises:
        ShapeError: A model without tasks, or targets of another number of rows.
        RangeError: Fewer annotated rows of a task than folds.

    Example:
        >>> import numpy as np, concord as cc
        >>> pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
        >>> X = np.random.default_rng(0).normal(size=(40, 3))
        >>> y = {"pet": [0, 1] * 10 + [-1] * 20, "trait": [[np.nan]] * 20 + [[0.0], [1.0]] * 10}
        >>> p = cross_predict(cc.CoupledClassifier([pet, trait], steps=5, random_state=0), X, y)
        >>> p["pet"].shape, p["trait"].shape
        ((40, 2), (40, 1))
    """
    if not model.tasks:
        raise ShapeError("cross-fitting needs a model with tasks=[...]")
    tasks, effort = list(model.tasks), EFFORTS[model.effort]
    X = np.asarray(X)
    targets = {task.name: task.encode(y[task.name]) for task in tasks}
    rows = Rows.of(X, targets, tasks)
    for task in tasks:
        if (n := len(rows.annotated(task))) < effort.folds:
            raise RangeError(
                f"task {task.name!r} has {n} annotated rows, fewer than the {effort.folds} folds of "
                "cross-fitting; annotate more, or give out-of-sample predictions"
            )
    seed = int(check_random_state(model.random_state).randint(2**31 - 1))
    fold = _folds(rows, tasks, effort.folds, seed, None if groups is None else np.asarray(groups))
    steps = max(1, round(model.steps * effort.share))
    said: dict[str, list[Array]] = {task.name: [] for task in tasks}
    for k in range(effort.folds):
        part = clone(model).set_params(coupling=None, relations=None, steps=steps, random_state=seed + k)
        learn = fold != k
        with warnings.catch_warnings():  # a class or label that one fold lacks is no news of the data
            warnings.simplefilter("ignore", ConcordWarning)
            part.fit(X[learn], {name: values[learn] for name, values in targets.items()})
        for name, p in part.predict_proba(X).items():
            said[name].append(p)
    return {task.name: _scaled(task, np.stack(said[task.name]), targets[task.name], fold) for task in tasks}


def _scaled(task: Task, said: Array, targets: npt.NDArray[Any], fold: npt.NDArray[np.int64]) -> Array:
    is_class = isinstance(task, MulticlassTask)
    known = task.annotated(targets)
    p = np.clip(said.astype(np.float64), SMALLEST, 1 - SMALLEST)
    z = np.log(p) if is_class else logit(p)
    held_out = z[fold, np.arange(len(fold))]
    scale = temperature(held_out[known], targets[known], is_class)
    squash = (lambda values: softmax(values, axis=-1)) if is_class else expit
    return np.where(known[:, None], squash(scale * held_out), squash(scale * z).mean(axis=0))
