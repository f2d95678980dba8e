"""Learners: what can train a model on rows and predict rows, whatever the model is."""

from concord.learners.protocol import Kind, Learner, Model
from concord.learners.torch_memory import TorchLearner, network_logits

__all__ = ["Kind", "Learner", "Model", "TorchLearner", "network_logits"]
