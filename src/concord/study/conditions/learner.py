"""What `concord.auto` asks of a learner, by a study's own trunk, budget and recipe."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from concord.fitting import Rows, in_memory, row_logits
from concord.learners import (
    EstimatorLearner,
    Frozen,
    Kind,
    Learner,
    Model,
    Training,
    frozen_features,
    looked_at,
    predict_fitted,
)
from concord.networks import Capacity
from concord.objective import CoupledObjective
from concord.study.conditions.base import Setting
from concord.study.spec import Network
from concord.tasks import Task


class StudyLearner(Learner):
    """Trains networks as every condition of the study does, on other rows, seeds and shares of the steps.

    Args:
        setting: Trunk, budget and validation rows.
        rivals: Estimators among the single-task models, by the name of the kind; rows of sources are read
            into memory for them.

    Attributes:
        curves: Learning curves of the networks, by their `id`; from the first step of the one that a training
            goes on from.
    """

    kinds: Sequence[Kind] = ("single-task", "shared", "coupled")

    def __init__(self, setting: Setting, rivals: Mapping[str, EstimatorLearner] | None = None) -> None:
        self.setting = setting
        self.rivals = dict(rivals or {})
        self.curves: dict[int, list[dict[str, Any]]] = {}

    @property
    def alone(self) -> Sequence[Kind]:  # type: ignore[override]
        """Further kinds of single-task models."""
        return tuple(self.rivals)

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        kind: Kind,
        share: float,
        seed: int,
        task_weights: Mapping[str, float],
        soft_weights: Mapping[str, float],
        initial: Model | None = None,
    ) -> Model:
        """A new network, trained for a share of the budget's steps; an estimator is fitted in full."""
        if kind in self.rivals:
            held = replace(rows, inputs=in_memory(rows.inputs))
            one = Training(held, tasks, "single-task", 1.0, seed, task_weights, soft_weights)
            return self.rivals[kind].train_all([one])[0].model
        setting = replace(self.setting, seed=seed, curves=[])
        objective = CoupledObjective(tasks, task_weights=task_weights, soft_weights=soft_weights)
        steps = max(1, round(setting.budget.steps * share))
        # A residual net is shared as a whole, as a user's trunk is: a layer for each task on top of it made
        # learning so slow that sharing seemed to do harm.
        network_plan = setting.network
        parted = isinstance(network_plan, Network) and network_plan.kind == "mlp"
        whole = kind == "single-task" or not parted
        capacity: Capacity = "shared" if whole else "half-shared"
        begun = setting.build(tasks, capacity) if initial is None else copy.deepcopy(initial)
        network = setting.train(begun, objective, rows, steps)
        before = [] if initial is None else self.curves[id(initial)]
        done = max((point["step"] for point in before), default=0)
        self.curves[id(network)] = before + [
            {**point, "step": done + point["step"]} for point in setting.curves
        ]
        return network

    def frozen(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Frozen:
        """Frozen features of the trunk that a network of this seed begins with.

        Raises:
            ShapeError: Perceptrons on features, which have no trunk.
        """
        plan, budget = self.setting.network, self.setting.budget
        if isinstance(plan, Network) and plan.kind == "mlp":
            return super().frozen(rows, tasks, seed)
        trunk = replace(self.setting, seed=seed).build(tasks, "shared").trunk
        return frozen_features(trunk, rows, tasks, budget.steps * budget.rows_per_task * len(tasks), seed)

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> npt.NDArray[np.float64]:
        """Vectors themselves for perceptrons; else what the trunk gives before any training: (n, d)."""
        plan = self.setting.network
        if isinstance(plan, Network) and plan.kind == "mlp":
            return super().looked_at(rows, tasks, seed)
        return looked_at(replace(self.setting, seed=seed).build(tasks, "shared").trunk, rows.inputs)

    def predict(self, model: Model, rows: Rows) -> dict[str, npt.NDArray[np.float64]]:
        """Logits of all tasks of a network, or of estimators: by task, (n, width)."""
        if not isinstance(model, nn.Module):
            return predict_fitted(model, replace(rows, inputs=in_memory(rows.inputs)))
        return {name: z.numpy().astype(np.float64) for name, z in row_logits(model, rows.inputs).items()}
