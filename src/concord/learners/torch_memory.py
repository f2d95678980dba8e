"""Networks on rows that are held in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from concord.couplings import Coupling
from concord.errors import ShapeError
from concord.fitting import Recipe, Rows, fit, row_logits
from concord.learners.frozen import (
    FEATURES,
    HEADS,
    TrunkAlone,
    on_features,
    rows_worth_features,
)
from concord.learners.linear import LINEAR, fit_linear, penalty_of
from concord.learners.protocol import Frozen, Kind, Learner, Model, Trained, Training
from concord.learners.side_by_side import processes, train_side_by_side
from concord.learners.sklearn import EstimatorLearner, predict_fitted
from concord.networks import Capacity, MultiTaskNetwork, mlp_network, predict_logits, seeded
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.tasks import Task

Array = npt.NDArray[np.float64]

Progress = Callable[[], Callable[[dict[str, float]], None]]

RECORDS = 50
"""Records of a network that is trained for all steps, where its progress is watched."""


def network_logits(network: nn.Module, inputs: Tensor) -> dict[str, Array]:
    """Logits of inputs in memory (n, ...), in float64: by task, (n, width)."""
    return {name: z.numpy().astype(np.float64) for name, z in predict_logits(network, inputs).items()}


@dataclass(frozen=True, kw_only=True)
class TorchLearner(Learner):
    """Trains a multilayer perceptron, or any trunk with one head per task, on rows in memory.

    Args:
        trunk: A module that turns inputs into features (copied for every network), or a function that makes
            one; tasks share it as a whole. None is a multilayer perceptron, whose last hidden layer can be
            each task's own.
        hidden: Widths of the perceptron's hidden layers.
        dropout: Its dropout, in [0, 1).
        steps: Optimiser steps of a network trained for a share of 1.
        rows_per_task: Rows of each task in a step.
        learning_rate: Of AdamW; it falls to 0 along a cosine.
        weight_decay: Of AdamW.
        device: Where to train.
        relations: Relations of the couplings.
        couplings: Couplings in the loss of every network.
        progress: Asked for each network that is trained; what it gives takes the network's records.
        kinds: What it trains.
        linear: Whether logistic regression, with some penalties, is among the single-task models.
        rivals: Estimators among them, by the name of the kind.
        n_jobs: Processes for models that do not depend on each other; -1 is one per core.
    """

    trunk: nn.Module | Callable[[], nn.Module] | None
    hidden: tuple[int, ...]
    dropout: float
    steps: int
    rows_per_task: int
    learning_rate: float
    weight_decay: float
    device: str
    relations: Sequence[Relation] = ()
    couplings: Sequence[Coupling] = ()
    progress: Progress | None = None
    kinds: Sequence[Kind] = ("single-task", "shared", "coupled")
    linear: bool = False
    rivals: Mapping[str, EstimatorLearner] = field(default_factory=dict)
    n_jobs: int = 1

    @property
    def alone(self) -> Sequence[Kind]:  # type: ignore[override]
        """Further kinds of single-task models."""
        return (*(LINEAR if self.linear else ()), *self.rivals)

    @property
    def aligns(self) -> bool:  # type: ignore[override]
        """Not for a trunk of the user's, which takes inputs as they are."""
        return self.trunk is None

    def coupled(self, relations: Sequence[Relation], couplings: Sequence[Coupling]) -> TorchLearner:
        """The same with couplings in the loss."""
        return replace(self, relations=relations, couplings=couplings)

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
        """A new network, trained on `rows` for a share of the steps; a linear one is fitted in full."""
        if kind in LINEAR:
            return fit_linear(rows, tasks[0], penalty_of(kind))
        if kind in self.rivals:
            given = {"task_weights": task_weights, "soft_weights": soft_weights}
            return self.rivals[kind].train(rows, tasks, kind="single-task", share=1.0, seed=seed, **given)
        capacity: Capacity = "shared" if kind == "single-task" else "half-shared"
        if initial is None:
            network = self.build(tasks, tuple(rows.inputs.shape[1:]), capacity, seed).to(self.device)
        else:
            network = copy.deepcopy(initial)
        objective = CoupledObjective(
            tasks,
            self.relations,
            self.couplings,
            task_weights=task_weights,
            soft_weights=soft_weights,
        ).to(self.device)
        fit(
            network,
            objective,
            rows,
            steps=self.steps_of(share),
            rows_per_task=self.rows_per_task,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            seed=seed,
            recipe=Recipe(schedule="cosine"),
            log_every=max(1, self.steps if self.progress is None else self.steps // RECORDS),
            on_log=None if self.progress is None else self.progress(),
        )
        return network

    def train_all(self, trainings: Iterable[Training]) -> list[Trained]:
        """Train models that do not depend on each other, each on one thread, in `n_jobs` processes."""

        def done(kind: Kind, share: float) -> None:
            if self.progress is not None and kind not in self.alone:  # those are fitted, without steps
                self.progress()({"step": float(self.steps_of(share))})

        # In this process networks tell their steps themselves.
        alone = self if processes(self.n_jobs) == 1 else replace(self, progress=None)
        return train_side_by_side(alone, trainings, self.n_jobs, done)

    def steps_of(self, share: float) -> int:
        """Optimiser steps of a network that is trained for a share of them."""
        return max(1, round(self.steps * share))

    def frozen(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Frozen:
        """Frozen features of the trunk, and perceptrons on them as the estimator trains by itself.

        Raises:
            ShapeError: No trunk of the user's.
        """
        if self.trunk is None:
            return super().frozen(rows, tasks, seed)
        trunk = self.build(tasks, tuple(rows.inputs.shape[1:]), "shared", seed).trunk.to(self.device)
        row_steps = self.steps * self.rows_per_task * len(tasks)
        return frozen_features(trunk, rows, tasks, row_steps, seed, n_jobs=self.n_jobs)

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Array:
        """Vectors themselves; with a trunk of the user's what that gives before any training: (n, d).

        Such a trunk alone knows what its inputs are: vectors may be the words of a text.
        """
        if self.trunk is None:
            return super().looked_at(rows, tasks, seed)
        trunk = self.build(tasks, tuple(rows.inputs.shape[1:]), "shared", seed).trunk.to(self.device)
        return looked_at(trunk, rows.inputs)

    def predict(self, model: Model, rows: Rows) -> dict[str, Array]:
        """Logits of all tasks of a network, or of estimators: by task, (n, width)."""
        if isinstance(model, nn.Module):
            return network_logits(model, rows.inputs)
        return predict_fitted(model, rows)

    def build(
        self, tasks: Sequence[Task], shape: tuple[int, ...], capacity: Capacity, seed: int
    ) -> MultiTaskNetwork:
        """A fresh network for inputs (n, *shape); its weights depend on the seed alone.

        A trunk of the user's is shared as a whole. It cannot be cut in two, and a layer for each task on top
        of it made learning so slow that sharing seemed to do harm.

        Raises:
            ShapeError: A trunk that is no module or does not take such inputs.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.trunk is None:
            return mlp_network(
                shape[0],
                tasks,
                hidden=self.hidden,
                dropout=self.dropout,
                capacity=capacity,
                generator=generator,
            )
        with seeded(seed):
            trunk = copy.deepcopy(self.trunk) if isinstance(self.trunk, nn.Module) else self.trunk()
            if not isinstance(trunk, nn.Module):
                raise ShapeError(f"trunk is a function that makes a module, found one that made {trunk!r}")
            try:
                return MultiTaskNetwork(trunk, tasks, torch.zeros(2, *shape))
            except RuntimeError as error:
                sizes = ", ".join(map(str, shape))
                raise ShapeError(f"the trunk does not take inputs of shape (n, {sizes}): {error}") from error


def looked_at(trunk: nn.Module, inputs: Any) -> Array:
    """What a trunk gives inputs, in memory or in sources: (n, d).

    Raises:
        EmptyDataError: A row whose input cannot be read and was to be left out.
    """
    return row_logits(TrunkAlone(trunk), inputs)[FEATURES].double().numpy()


def frozen_features(
    trunk: nn.Module, rows: Rows, tasks: Sequence[Task], row_steps: int, seed: int, *, n_jobs: int = 1
) -> Frozen:
    """Features that a trunk gives rows, in memory or in sources, and heads on them.

    Args:
        trunk: Inputs to features, on the device to be used.
        rows: The rows.
        tasks: The tasks.
        row_steps: Rows that the pair of single-task models is trained on, over all steps.
        seed: Of the draw of rows, where not all are worth their cost.
        n_jobs: Processes for heads.

    Raises:
        EmptyDataError: A row whose input cannot be read and was to be left out.
    """
    index = rows_worth_features(rows, tasks, row_steps, seed)
    inputs = rows.inputs[torch.from_numpy(index)]
    features = row_logits(TrunkAlone(trunk), inputs)[FEATURES]
    heads = TorchLearner(**HEADS, n_jobs=n_jobs)  # type: ignore[arg-type]
    return on_features(heads, rows, index, features, row_steps)
