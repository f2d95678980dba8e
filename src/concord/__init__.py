"""Concord: classification tasks whose labels lie on different data, trained together without harm.

Public names load on first use, so that `import concord` (and the command line's `--help`) costs neither
torch nor scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

__version__ = "0.1.0"

if TYPE_CHECKING:
    from concord import couplings, data, errors
    from concord.decoding import JointDecoder
    from concord.estimator import CoupledClassifier
    from concord.networks import MultiTaskNetwork, trunks
    from concord.objective import CoupledObjective
    from concord.relations import Relation
    from concord.relations import literature as tables
    from concord.tasks import MulticlassTask, MultilabelTask

__all__ = [
    "CoupledClassifier",
    "CoupledObjective",
    "JointDecoder",
    "MultiTaskNetwork",
    "MulticlassTask",
    "MultilabelTask",
    "Relation",
    "__version__",
    "couplings",
    "data",
    "errors",
    "estimate_relation",
    "tables",
    "trunks",
]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "CoupledClassifier": "concord.estimator",
        "CoupledObjective": "concord.objective",
        "JointDecoder": "concord.decoding",
        "MultiTaskNetwork": "concord.networks",
        "MulticlassTask": "concord.tasks",
        "MultilabelTask": "concord.tasks",
        "Relation": "concord.relations",
        "estimate_relation": "concord.estimation",
    },
    {
        "couplings": "concord.couplings",
        "data": "concord.data",
        "errors": "concord.errors",
        "tables": "concord.relations.literature",
        "trunks": "concord.networks.trunks",
    },
)
