"""Learners: what can train a model on rows and predict rows, whatever the model is."""

from concord.learners.protocol import Kind, Learner, Model, Trained, Training, train_and_predict
from concord.learners.sklearn import EstimatorLearner, FittedOutput, FittedTask, train_alone
from concord.learners.torch_memory import TorchLearner, network_logits
from concord.learners.torch_stream import StoredNetwork, StreamLearner

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
    "network_logits",
    "train_alone",
    "train_and_predict",
]
