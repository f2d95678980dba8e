"""Learners: what can train a model on rows and predict rows, whatever the model is."""

from concord.learners.kept import check_linear, keep_estimators, read_estimators
from concord.learners.linear import LINEAR, fit_linear, linear_network, penalty_of
from concord.learners.protocol import Frozen, Kind, Learner, Model, Trained, Training, train_and_predict
from concord.learners.sklearn import EstimatorLearner, FittedOutput, FittedTask, predict_fitted, train_alone
from concord.learners.torch_memory import TorchLearner, frozen_features, looked_at, network_logits
from concord.learners.torch_stream import StoredNetwork, StreamLearner, rows_digest

__all__ = [
    "LINEAR",
    "EstimatorLearner",
    "FittedOutput",
    "FittedTask",
    "Frozen",
    "Kind",
    "Learner",
    "Model",
    "StoredNetwork",
    "StreamLearner",
    "TorchLearner",
    "Trained",
    "Training",
    "check_linear",
    "fit_linear",
    "frozen_features",
    "keep_estimators",
    "linear_network",
    "looked_at",
    "network_logits",
    "penalty_of",
    "predict_fitted",
    "read_estimators",
    "rows_digest",
    "train_alone",
    "train_and_predict",
]
