"""`CoupledClassifier`: several tasks in the manner of scikit-learn."""

from concord.estimator.classifier import CoupledClassifier
from concord.estimator.scoring import TaskScorer, make_scorer
from concord.estimator.splitting import TaskKFold
from concord.estimator.tables import by_task, target_frame

__all__ = ["CoupledClassifier", "TaskKFold", "TaskScorer", "make_scorer", "target_frame"]
