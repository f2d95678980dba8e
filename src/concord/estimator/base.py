"""`CoupledClassifier(base=...)`: an estimator of scikit-learn in place of networks."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

import numpy as np
from scipy import sparse

from concord.errors import ConfigError, EmptyDataError, ShapeError
from concord.estimator.couplings import CHOOSING
from concord.estimator.settings import sequence_of
from concord.fitting import HeldFeatures
from concord.learners import EstimatorLearner

OF_NETWORKS = (
    "trunk",
    "hidden",
    "dropout",
    "steps",
    "rows_per_task",
    "learning_rate",
    "weight_decay",
    "device",
)
"""Parameters that an estimator of scikit-learn has no use for."""


def checked_base(model: Any) -> EstimatorLearner:
    """The learner of a model with `base`, whose other settings fit it.

    Raises:
        EstimatorError: A base that is no estimator with `predict_proba`.
        ConfigError: A parameter that only networks have, or a coupling that needs one.
    """
    learner = EstimatorLearner(model.base)
    usual = inspect.signature(type(model).__init__).parameters
    given = [name for name in OF_NETWORKS if not _same(getattr(model, name), usual[name].default)]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: only networks have that, and base={learner.name} takes their place; leave "
            "it out, or leave out base"
        )
    coupling = model.coupling
    if not (coupling is None or (isinstance(coupling, str) and coupling in CHOOSING)):
        what = repr(coupling) if isinstance(coupling, str) else "of losses"
        raise ConfigError(
            f"coupling {what} is a loss of networks; with base it is 'auto', 'two-stage' or None"
        )
    if coupling == "two-stage" and not learner.weighted:
        raise ConfigError(
            f"coupling='two-stage' teaches by weighted copies of rows, and base={learner.name} takes no "
            "weights; take another base, or coupling='auto', which leaves out what a base cannot do"
        )
    return learner


def _same(value: Any, usual: Any) -> bool:
    if isinstance(usual, tuple) and isinstance(value, (list, tuple)):
        return tuple(value) == usual
    return value is usual or (type(value) is type(usual) and value == usual)


def rival_learners(model: Any) -> tuple[bool, dict[str, EstimatorLearner]]:
    """Whether linear models are among a model's rivals, and the learners of the others, by name.

    Raises:
        EstimatorError: Something that is neither ``"linear"`` nor an estimator with `predict_proba`.
        ConfigError: Rivals without a choice to be made.
    """
    rivals = sequence_of("rivals", model.rivals, object, "'linear' and estimators of scikit-learn")
    if rivals and model.effort == "probe":
        raise ConfigError(
            "rivals: with effort='probe' heads on frozen features decide, and nothing else is tried; leave "
            "rivals out, or choose another effort"
        )
    if rivals and not (isinstance(model.coupling, str) and model.coupling == "auto"):
        raise ConfigError("rivals compete where coupling='auto' chooses; leave them out, or take 'auto'")
    if rivals and model.base is not None:
        raise ConfigError("rivals compete with networks, whose place base takes; leave out one of them")
    found: dict[str, EstimatorLearner] = {}
    for rival in rivals:
        if isinstance(rival, str) and rival == "linear":
            continue
        learner = EstimatorLearner(rival)
        alike = sum(name.partition(" ")[0] == learner.name for name in found)
        found[f"{learner.name} {alike + 1}" if alike else learner.name] = learner
    return any(isinstance(rival, str) for rival in rivals), found


def held_features(X: Any) -> HeldFeatures:
    """Features (n, d) as they are given: what a base does not take, it refuses itself.

    Raises:
        ShapeError: No table with rows and columns.
        EmptyDataError: No row or no column.
    """
    values = X.tocsr() if sparse.issparse(X) else X if hasattr(X, "columns") else np.asarray(X)
    if len(values.shape) != 2:
        raise ShapeError(
            f"features have shape (n, d), found {values.shape}. Reshape your data: X[None] is one row"
        )
    if not all(values.shape):
        kind = "sample" if not values.shape[0] else "feature"
        raise EmptyDataError(
            f"found 0 {kind}(s) (shape={values.shape}) while a minimum of 1 is required; give more"
        )
    return HeldFeatures(values)


def adopt_tags(tags: Any, base: Any) -> None:
    """Take features as the base does: gaps, sparse matrices, text."""
    from sklearn.utils import get_tags

    own = get_tags(base)
    tags.input_tags = deepcopy(own.input_tags)
    if tags.classifier_tags is not None and own.classifier_tags is not None:
        tags.classifier_tags.multi_class = own.classifier_tags.multi_class
        tags.classifier_tags.poor_score = own.classifier_tags.poor_score
