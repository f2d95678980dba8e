"""Everything that the golden tests take from the package: the one file that follows when modules move."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord import (
    CoupledClassifier,
    JointDecoder,
    MulticlassTask,
    MultilabelTask,
    MultiTaskNetwork,
    Relation,
)
from concord.auto import posterior_targets
from concord.cli import main
from concord.config import as_config
from concord.couplings import Coupling, View, class_posterior, make_couplings, relation_tensors
from concord.data import Manifest, write_manifest
from concord.decoding import decode_classes, decode_targets, implied, temperature
from concord.deploy import TrunkRecord, from_pretrained, save_pretrained, upgrade
from concord.errors import ConcordWarning
from concord.estimation import FoldPredictions, Observations, fit_exponent
from concord.estimation import check_observations as check_relation
from concord.networks import build_trunk
from concord.relations import EvidenceTable
from concord.runs import load_run, predict, train
from concord.study import as_plan, compare
from concord.study import run as run_study

__all__ = [
    "COUPLINGS",
    "ConcordWarning",
    "CoupledClassifier",
    "FoldPredictions",
    "JointDecoder",
    "Manifest",
    "MultiTaskNetwork",
    "MulticlassTask",
    "MultilabelTask",
    "Observations",
    "Relation",
    "TrunkRecord",
    "View",
    "as_config",
    "as_plan",
    "build_trunk",
    "check_relation",
    "class_posterior",
    "command",
    "compare",
    "decode_classes",
    "decode_targets",
    "evidence",
    "fit_exponent",
    "from_pretrained",
    "implied",
    "load_run",
    "networks",
    "posterior_targets",
    "predict",
    "recorded_names",
    "relation_fields",
    "relation_tensors",
    "run_study",
    "save_pretrained",
    "temperature",
    "train",
    "upgrade",
    "write_manifest",
]

relation_fields = ("table", "strength", "interval", "prior", "base_rate")
"""What a relation holds beside its two tasks."""

recorded_names = {"rule": "way"}
"""Fields whose name changed after their values were recorded."""

_FORMER = {
    "distribution-matching": "matching",
    "population-matching": "population",
    "posterior-coannotation": "posterior",
    "marginal-likelihood": "marginal",
    "soft-coannotation": "coannotation",
}
"""What a loss was called when the values of relations were recorded, before it took its class's name."""


def _formerly_named(name: str) -> list[Coupling]:
    made = make_couplings(name)
    for coupling in made:
        coupling.name = _FORMER.get(coupling.name, coupling.name)
    return made


_RECORDED = (
    "paper-matching paper-coannotation paper hard-coannotation matching coannotation population posterior "
    "marginal"
)
"""Names that values of relations were recorded under, in their order."""

COUPLINGS: dict[str, Callable[[], list[Coupling]]] = {
    name: partial(_formerly_named, name) for name in _RECORDED.split()
}


def evidence(
    table: Any, rates: np.ndarray, active: np.ndarray, seen: np.ndarray, class_to_class: bool
) -> np.ndarray:
    """Log-likelihood of every class by annotated targets: (n, C)."""
    return EvidenceTable.of(table, rates, class_to_class).of_annotations(active, seen)


def networks(model: CoupledClassifier) -> Iterator[tuple[str, torch.nn.Module]]:
    """The networks of a fitted estimator, by a name of their own, each once, in a fixed order."""
    if model._automatic is None:
        yield "network", model._network
        return
    known = set()
    for family, held in sorted(model._automatic.families.items()):
        for i, by_task in enumerate(held.networks):
            for task, network in sorted(by_task.items()):
                if id(network) not in known:
                    known.add(id(network))
                    yield f"{family}/{i}/{task}", network


def command(*words: str | Path) -> int:
    """Run `concord WORDS` in this process; its exit status."""
    before = sys.argv
    sys.argv = ["concord", *map(str, words)]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0
