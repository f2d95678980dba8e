"""Naive joint lookup: label predictors alone, turned into classes by the table.

Source: Lampert, Nickisch, Harmeling, "Learning to Detect Unseen Object Classes by Between-Class Attribute
Transfer", CVPR 2009, direct attribute prediction, with a table of probabilities. No class annotation is used
where a relation leads from the class task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.decoding import decode_classes
from concord.errors import StudyError
from concord.metrics import probabilities
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.study.conditions import Condition, Predictor, Setting, joined
from concord.study.spec import AnyNetwork
from concord.tasks import Task

SMALLEST = 1e-12


class TableLookup(Condition):
    """Single-task networks for what no relation leads from; classes by the table from their outputs."""

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            StudyError: No relation, or one whose target is read off a relation itself.
        """
        del tasks, network
        if not relations:
            raise StudyError("condition 'table-lookup' reads classes off a relation, and there is none")
        read = {relation.source.name for relation in relations}
        chained = [relation.name for relation in relations if relation.target.name in read]
        if chained:
            raise StudyError(
                f"condition 'table-lookup': nothing is trained that {chained[0]} could be read off"
            )

    def train(self, setting: Setting) -> Predictor:
        """Train the networks that are looked up, each for the full number of steps."""
        read = {relation.source.name for relation in setting.relations}
        trained = [task for task in setting.tasks if task.name not in read]
        first = joined([setting.train(setting.build([task]), CoupledObjective([task])) for task in trained])

        def predict(inputs: Any) -> dict[str, Tensor]:
            out = first(inputs)
            for relation in setting.relations:
                q = probabilities(relation.target, out[relation.target.name].numpy())
                p = _so_far(out, relation.source.name, relation.class_prior(), len(q))
                moved = decode_classes(p, q, relation)
                out[relation.source.name] = torch.from_numpy(np.log(np.clip(moved, SMALLEST, None))).float()
            return {task.name: out[task.name] for task in setting.tasks}

        return predict


def _so_far(out: dict[str, Tensor], name: str, prior: np.ndarray, n: int) -> np.ndarray:
    """Class probabilities by the relations that were read before this one: the prior at first."""
    return np.exp(out[name].double().numpy()) if name in out else np.tile(prior, (n, 1))


def condition() -> Condition:
    """The condition `table-lookup`; it has no options."""
    return TableLookup()
