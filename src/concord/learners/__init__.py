"""Learners: what can train a model on rows and predict rows, whatever the model is."""

from concord.learners.kept import check_linear, keep_estimators, read_estimators
from concord.learners.protocol import Kind, Learner, Model, Trained, Training, train_and_predict
from concord.learners.sklearn import EstimatorLearner, FittedOutput, FittedTask, train_alone
from concord.learners.torch_memory import TorchLearner, network_logits
from concord.learners.torch_stream import StoredNetwork, StreamLearner, rows_digest

__all__ = [
    "EstimatorLearner",
    "FittedOutput",
    "FittedTask",
    "Kind",
    "Learner",
    "Model",
    "StoredNetwork",
    "StreamLearner",
    "TorchLearner",
    "Trained",
    "Training",
    "check_linear",
    "keep_estimators",
    "network_logits",
    "read_estimators",
    "rows_digest",
    "train_alone",
    "train_and_predict",
]
