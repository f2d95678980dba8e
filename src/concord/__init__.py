"""Concord: classification tasks whose labels lie on different data, trained together without harm.

Public names load on first use, so that `import concord` (and the command line's `--help`) costs neither
torch nor scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door
from concord._version import __version__

if TYPE_CHECKING:
    from concord import couplings, data, errors
    from concord.decoding import JointDecoder
    from concord.deploy import export_onnx, from_pretrained, push_to_hub, save_pretrained
    from concord.displays import CalibrationDisplay, RelationDisplay, VerdictDisplay
    from concord.estimation import audit_relation, check_relation, estimate_relation, propose_audit
    from concord.estimator import CoupledClassifier, TaskKFold, make_scorer, target_frame
    from concord.networks import MultiTaskNetwork, trunks
    from concord.objective import CoupledObjective
    from concord.relations import Relation
    from concord.relations import literature as tables
    from concord.runs import load_run, train
    from concord.tasks import MulticlassTask, MultilabelTask

__all__ = [
    "CalibrationDisplay",
    "CoupledClassifier",
    "CoupledObjective",
    "JointDecoder",
    "MultiTaskNetwork",
    "MulticlassTask",
    "MultilabelTask",
    "Relation",
    "RelationDisplay",
    "TaskKFold",
    "VerdictDisplay",
    "__version__",
    "audit_relation",
    "check_relation",
    "couplings",
    "data",
    "errors",
    "estimate_relation",
    "export_onnx",
    "from_pretrained",
    "load_run",
    "make_scorer",
    "propose_audit",
    "push_to_hub",
    "save_pretrained",
    "tables",
    "target_frame",
    "train",
    "trunks",
]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "CalibrationDisplay": "concord.displays",
        "CoupledClassifier": "concord.estimator",
        "CoupledObjective": "concord.objective",
        "JointDecoder": "concord.decoding",
        "MultiTaskNetwork": "concord.networks",
        "MulticlassTask": "concord.tasks",
        "MultilabelTask": "concord.tasks",
        "Relation": "concord.relations",
        "RelationDisplay": "concord.displays",
        "VerdictDisplay": "concord.displays",
        "TaskKFold": "concord.estimator",
        "make_scorer": "concord.estimator",
        "target_frame": "concord.estimator",
        "estimate_relation": "concord.estimation",
        "train": "concord.runs",
        "save_pretrained": "concord.deploy",
        "load_run": "concord.runs",
        "from_pretrained": "concord.deploy",
        "push_to_hub": "concord.deploy",
        "export_onnx": "concord.deploy",
        "audit_relation": "concord.estimation",
        "check_relation": "concord.estimation",
        "propose_audit": "concord.estimation",
    },
    {
        "couplings": "concord.couplings",
        "data": "concord.data",
        "errors": "concord.errors",
        "tables": "concord.relations.literature",
        "trunks": "concord.networks.trunks",
    },
)
