"""What a condition is given, and what it hands back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from concord.fitting import Rows, fit
from concord.metrics import evaluate, main_metric
from concord.networks import (
    Capacity,
    MultiTaskNetwork,
    SmallResNet,
    dry_features,
    initialise,
    mlp,
    mlp_network,
    predict_logits,
    seeded,
)
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.study.spec import Budget, Network
from concord.tasks import Task

Predictor = Callable[[Tensor], dict[str, Tensor]]
"""Inputs to logits by task, on the CPU."""


@dataclass(frozen=True)
class Setting:
    """All that a condition may use: the training rows, the validation rows, the budget, the seed.

    Attributes:
        tasks: The tasks.
        relations: The relations, as the regime gives them.
        rows: Training rows with gaps.
        validation: Validation rows.
        network: The trunk's plan.
        budget: Steps and rows.
        seed: Of initial weights, order of rows and dropout.
        metrics: By task, the metric it is judged by.
        curves: Points of the learning curves: `task`, `metric`, `step`, `value`; filled while training.
        account: What the condition has to say of its choices, as plain data; goes into the run's record.
        spared: Seconds that earlier runs had spent on what this one found done; its own seconds include them.
    """

    tasks: tuple[Task, ...]
    relations: tuple[Relation, ...]
    rows: Rows
    validation: Rows
    network: Network
    budget: Budget
    seed: int
    metrics: dict[str, str] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)
    spared: list[float] = field(default_factory=list)

    def build(self, tasks: Sequence[Task], capacity: Capacity = "shared") -> MultiTaskNetwork:
        """A fresh network for some of the tasks; its weights depend on the seed alone.

        Raises:
            UnknownNameError: A capacity of another name, or one that the trunk does not offer.
        """
        generator = torch.Generator().manual_seed(self.seed)
        example = self.rows.inputs[:1]
        if self.network.kind == "resnet":
            # Layers draw default weights as they are made: that must leave no trace.
            with seeded(None):
                return _resnet(self.network, tasks, example, capacity, generator)
        return mlp_network(
            example.shape[1],
            tasks,
            hidden=self.network.hidden,
            dropout=self.network.dropout,
            capacity=capacity,
            generator=generator,
        )

    def train(
        self,
        network: nn.Module,
        objective: CoupledObjective,
        rows: Rows | None = None,
        steps: int | None = None,
    ) -> nn.Module:
        """Train with the study's budget, noting the learning curve; returns the network.

        Args:
            network: Input to logits by task.
            objective: The loss; its tasks are the ones that are sampled.
            rows: Other rows than the setting's (soft targets added).
            steps: Fewer or more steps than the budget's, for a method of several stages.
        """
        given = self.rows if rows is None else rows
        # Rows without any annotation of these tasks would only be carried along.
        fit(
            network,
            objective,
            given,
            steps=self.budget.steps if steps is None else steps,
            rows_per_task=self.budget.rows_per_task,
            learning_rate=self.budget.learning_rate,
            weight_decay=self.budget.weight_decay,
            seed=self.seed,
            log_every=self.budget.log_every,
            on_log=partial(self.note, network, list(objective.tasks.values())),
        )
        return network

    def note(self, network: nn.Module, tasks: Sequence[Task], record: dict[str, float]) -> None:
        """Add a point to the learning curves: parts of the loss, and the validation metric of each task."""
        step = int(record["step"])
        alone = tasks[0].name if len(tasks) == 1 else "all"
        for part, value in record.items():
            if part != "step":
                owner = part if part in {task.name for task in tasks} else alone
                metric = "loss" if part in ("loss", owner) else f"loss:{part}"
                if not (part == "loss" and len(tasks) == 1):
                    self.curves.append({"task": owner, "metric": metric, "step": step, "value": value})
        logits = predict_logits(network, self.validation.inputs)
        for task in tasks:
            metric = self.metrics.get(task.name, main_metric(task))
            found = evaluate(task, self.validation.targets[task.name].numpy(), logits[task.name].numpy())
            self.curves.append({"task": task.name, "metric": metric, "step": step, "value": found[metric]})


class Condition(ABC):
    """A way to train on the rows of a setting. Abstract."""

    @abstractmethod
    def train(self, setting: Setting) -> Predictor:
        """Train, and return what gives the logits of all tasks."""


def joined(networks: Sequence[nn.Module]) -> Predictor:
    """The logits of several networks, each with tasks of its own."""

    def predict(inputs: Tensor) -> dict[str, Tensor]:
        return {
            name: logits for network in networks for name, logits in predict_logits(network, inputs).items()
        }

    return predict


def _resnet(
    plan: Network, tasks: Sequence[Task], example: Tensor, capacity: Capacity, generator: torch.Generator
) -> MultiTaskNetwork:
    def trunk() -> SmallResNet:
        return SmallResNet(example.shape[1], plan.width, plan.stages, plan.stem_stride)

    if capacity == "shared":
        network = MultiTaskNetwork(trunk(), tasks, example)
    elif capacity == "shared+private":
        own = {task.name: trunk() for task in tasks}
        network = MultiTaskNetwork(trunk(), tasks, example, private=own, parallel=True)
    elif capacity == "half-shared":
        shared = trunk()
        features = dry_features(shared, example).shape[1]
        layers = {task.name: mlp(features, [features], dropout=plan.dropout) for task in tasks}
        network = MultiTaskNetwork(shared, tasks, example, private=layers)
    else:
        from concord.errors import UnknownNameError

        known = ("shared", "half-shared", "shared+private")
        raise UnknownNameError.of("capacity of a residual net", capacity, known)
    return initialise(network, generator)
