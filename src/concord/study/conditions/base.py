"""What a condition is given, and what it hands back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor, nn

from concord.data import Augment, StreamedInputs
from concord.fitting import Checkpoints, Recipe, Rows, fit, row_logits
from concord.learners import EstimatorLearner
from concord.metrics import evaluate, lower_is_better, main_metric
from concord.networks import Capacity, MultiTaskNetwork
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.study.conditions.building import network_for
from concord.study.conditions.curves import Curves, points
from concord.study.conditions.identity import training_digest
from concord.study.spec import AnyNetwork, Budget, StudyRecipe, TrunkNetwork
from concord.tasks import Task

Predictor = Callable[[Any], dict[str, Tensor]]
"""Inputs, in memory or in sources, to logits by task, on the CPU."""

CHECKPOINT_EVERY = 100
"""Steps between two checkpoints of a training that is kept where its run can find it again."""


@dataclass(frozen=True)
class Setting:
    """All that a condition may use: the training rows, the validation rows, the budget, the seed.

    Attributes:
        tasks: The tasks.
        relations: The relations, as the regime gives them.
        rows: Training rows with gaps.
        validation: Validation rows.
        network: The trunk's plan.
        recipe: How weights are changed beyond the budget; None is a constant rate in single precision.
        folder: Where functions that the plan names are looked for first.
        device: Where networks are trained.
        store: Where trainings keep checkpoints until the run is done, so that a killed run goes on from
            there; None keeps none.
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
    network: AnyNetwork
    budget: Budget
    seed: int
    recipe: StudyRecipe | None = None
    folder: str = ""
    device: str = "cpu"
    store: Path | None = None
    metrics: dict[str, str] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)
    spared: list[float] = field(default_factory=list)

    def build(self, tasks: Sequence[Task], capacity: Capacity = "shared") -> MultiTaskNetwork:
        """A fresh network for some of the tasks; its weights depend on the seed alone.

        Raises:
            UnknownNameError: A capacity of another name, or one that the trunk does not offer.
            ConcordError: What building a trunk by name raises.
        """
        network = network_for(self.network, tasks, self.shape, capacity, self.seed, self.folder)
        return network.to(self.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the row."""
        inputs = self.rows.inputs
        return tuple(inputs.shape if isinstance(inputs, StreamedInputs) else inputs.shape[1:])

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
        tasks = list(objective.tasks.values())
        count = self.budget.steps if steps is None else steps
        options: dict[str, Any] = {}
        if self.recipe is not None or isinstance(self.network, TrunkNetwork):
            options = {"recipe": self._recipe(objective, count), "augment": self._augment()}
        if self.store is None:
            options["on_log"] = lambda record: self.curves.extend(self.points(network, tasks, record))
            curves = None
        else:
            place = self.store / training_digest(network, objective, given, self._plain(count))
            options["checkpoints"] = Checkpoints(place, every=CHECKPOINT_EVERY, keep=1)
            curves = Curves(lambda record: self.points(network, tasks, record))
            options["loggers"] = [curves]
        # Rows without any annotation of these tasks would only be carried along.
        fit(
            network,
            objective.to(self.device),
            given,
            steps=count,
            rows_per_task=self.budget.rows_per_task,
            learning_rate=self.budget.learning_rate,
            weight_decay=self.budget.weight_decay,
            seed=self.seed,
            log_every=self.budget.log_every,
            **options,
        )
        if curves is not None:
            self.curves.extend(curves.points)
        return network

    def score(self, task: Task, logits: npt.NDArray[Any]) -> float:
        """The metric that judges a task, of logits of the validation rows (m, width); higher is better."""
        metric = self.metrics.get(task.name, main_metric(task))
        value = evaluate(task, self.validation.targets[task.name].numpy(), logits)[metric]
        return -value if lower_is_better(metric) else value

    def points(
        self, network: nn.Module, tasks: Sequence[Task], record: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        """Points of the learning curves: parts of the loss, and the validation metric of each task."""
        found = points(tasks, record)
        logits = row_logits(network, self.validation.inputs)
        for task in tasks:
            metric = self.metrics.get(task.name, main_metric(task))
            value = evaluate(task, self.validation.targets[task.name].numpy(), logits[task.name].numpy())[
                metric
            ]
            found.append({"task": task.name, "metric": metric, "step": int(record["step"]), "value": value})
        return found

    def _plain(self, steps: int) -> dict[str, Any]:
        """What a training depends on besides its network, loss and rows."""
        parts = {"budget": self.budget, "recipe": self.recipe, "network": self.network}
        plain = {name: part and part.model_dump(mode="json") for name, part in parts.items()}
        return {**plain, "seed": self.seed, "steps": steps}

    def _recipe(self, objective: CoupledObjective, steps: int) -> Recipe:
        plan, network = self.recipe or StudyRecipe(), self.network
        layer_decay, frozen = 1.0, tuple[str, ...]()
        if isinstance(network, TrunkNetwork):
            layer_decay, frozen = network.layer_decay, network.freeze
        return Recipe(
            schedule=plan.schedule,
            warmup=round(plan.warmup * min(1.0, steps / self.budget.steps)),
            clip=plan.clip,
            accumulate=plan.accumulate if objective.takes_pieces else 1,
            average=plan.average,
            precision=plan.precision,
            channels_last=plan.channels_last,
            layer_decay=layer_decay,
            decay=plan.decay,
            frozen=frozen,
        )

    def _augment(self) -> Augment | None:
        plan = self.recipe
        if plan is None or not (plan.flip or plan.shift):
            return None
        return Augment(flip=plan.flip, shift=plan.shift)


class Condition(ABC):
    """A way to train on the rows of a setting. Abstract."""

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """Raise where it can never be trained, by what is known before the first run; here it always can.

        Args:
            tasks: The tasks.
            relations: Between them; those of a regime are between the same ones, perhaps with other cells.
            network: The trunk's plan.

        Raises:
            ConcordError: What it lacks.
        """
        del tasks, relations, network

    @abstractmethod
    def train(self, setting: Setting) -> Predictor:
        """Train where `check` says nothing against it, and return what gives the logits of all tasks."""

    def rivals(self) -> dict[str, EstimatorLearner]:
        """Estimators that it fits, by what they are called, for `auto` to compare its networks with."""
        return {}


def joined(networks: Sequence[nn.Module]) -> Predictor:
    """The logits of several networks, each with tasks of its own."""

    def predict(inputs: Any) -> dict[str, Tensor]:
        return {name: logits for network in networks for name, logits in row_logits(network, inputs).items()}

    return predict
