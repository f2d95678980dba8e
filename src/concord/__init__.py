"""Concord: classification tasks whose labels lie on different data, trained together without harm.

Public names load on first use, so that `import concord` (and the command line's `--help`) costs neither
torch nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "JointDecoder": "concord.decoding",
    "CoupledClassifier": "concord.estimator",
    "CoupledObjective": "concord.objective",
    "MultiTaskNetwork": "concord.network",
    "MulticlassTask": "concord.tasks",
    "MultilabelTask": "concord.tasks",
    "Relation": "concord.relation",
}
_ROOMS = ("couplings", "data", "errors", "tables", "trunks")

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
    "tables",
    "trunks",
]

if TYPE_CHECKING:
    from concord import couplings as couplings
    from concord import data as data
    from concord import errors as errors
    from concord import tables as tables
    from concord import trunks as trunks
    from concord.decoding import JointDecoder as JointDecoder
    from concord.estimator import CoupledClassifier as CoupledClassifier
    from concord.network import MultiTaskNetwork as MultiTaskNetwork
    from concord.objective import CoupledObjective as CoupledObjective
    from concord.relation import Relation as Relation
    from concord.tasks import MulticlassTask as MulticlassTask
    from concord.tasks import MultilabelTask as MultilabelTask


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _ROOMS:
        value = import_module(f"concord.{name}")
    else:
        raise AttributeError(f"module 'concord' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
