"""`CoupledClassifier`: several tasks in the manner of scikit-learn."""

from concord.estimator.classifier import CoupledClassifier

__all__ = ["CoupledClassifier"]
