"""Learners: what can train a model on rows and predict rows, whatever the model is."""

from concord.learners.protocol import Learner
from concord.learners.torch_memory import TorchLearner

__all__ = ["Learner", "TorchLearner"]
