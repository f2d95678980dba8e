"""The protocol of learners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from concord.errors import ShapeError
from concord.fitting import Rows, in_memory
from concord.tasks import Task

Array = npt.NDArray[np.float64]

Kind = str
"""What a model is trained for: `single-task`, one task alone; `shared`, several tasks; `coupled`, several,
with soft targets in the rows; or a further kind of single-task model that a learner names in `alone`."""

Model = Any
"""What a learner trained: only the learner itself looks into it."""


@dataclass(frozen=True, eq=False)
class Training:
    """One training that depends on no other, as `Learner.train` takes it.

    Attributes:
        rows: Training rows.
        tasks: What is predicted.
        kind: What the model is trained for.
        share: Of the usual training length, in (0, 1].
        seed: Of initial weights, order of rows and dropout.
        task_weights: By task, the factor of its loss.
        soft_weights: By task, the factor of its loss on soft targets.
        predicted: Rows that the model is to predict, where any.
        initial: Of the same tasks and kind, a model that the training goes on from; None begins anew.
    """

    rows: Rows
    tasks: Sequence[Task]
    kind: Kind
    share: float
    seed: int
    task_weights: Mapping[str, float] = field(default_factory=dict)
    soft_weights: Mapping[str, float] = field(default_factory=dict)
    predicted: Rows | None = None
    initial: Model | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a `Training`.

    Attributes:
        model: Of the learner.
        logits: By task, (n, width) for the rows that were to be predicted; empty where there were none.
    """

    model: Model
    logits: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Frozen:
    """Rows as features of a trunk that is not trained, and what trains heads on them.

    Attributes:
        learner: Trains heads.
        rows: Features in memory, with what is annotated.
        index: (m,) which of the rows they are.
        cost: Of making them, with the pair of single-task models as 1.
    """

    learner: Learner
    rows: Rows
    index: npt.NDArray[np.int64]
    cost: float


class Learner(Protocol):
    """What can train a model on rows and predict rows, wherever they lie and whatever the model is.

    `auto` and studies know nothing else of models.
    """

    kinds: Sequence[Kind]
    """Kinds that it offers; of what it does not offer, `auto` makes no candidate."""

    alone: Sequence[Kind] = ()
    """Further kinds of single-task models, cheap beside `single-task`, of which `auto` takes the best."""

    aligns: bool = True
    """Whether features may be standardised by source; not where a trunk of the user's knows its own scale."""

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
        """Train a new model, and leave the one that it begins from as it is.

        Args:
            rows: Training rows; those of a coupled model carry soft targets.
            tasks: What it predicts: a single one of kind `single-task`.
            kind: One of `kinds`.
            share: Of the usual training length, in (0, 1].
            seed: Fixes initial weights, order of rows and dropout.
            task_weights: By task, the factor of its loss; 1 where not named.
            soft_weights: By task, the factor of its loss on soft targets; 1 where not named.
            initial: Of the same tasks and kind, a model of this learner whose weights are the initial ones;
                None draws them. Optimiser and schedule begin anew. What has no steps is fitted in full.
        """

    def predict(self, model: Model, rows: Rows) -> dict[str, Array]:
        """Logits, or log-odds, of all tasks of a model, in the order of the rows: by task, (n, width)."""

    def frozen(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Frozen:
        """Frozen features of the trunk that networks begin with, of as many rows as is cheap.

        Args:
            rows: Training rows.
            tasks: The tasks.
            seed: Of weights that are not pretrained, and of which rows.

        Raises:
            ShapeError: Models without a trunk.
        """
        raise ShapeError(
            "effort probe decides on frozen features of a trunk, and these models have none; give a trunk, "
            "or choose another effort"
        )

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> Array:
        """Numbers by which rows of two sources may be told apart: (n, d).

        Here the inputs themselves, for models without a trunk; whose inputs are no numbers says what is.

        Args:
            rows: A few hundred of the training rows.
            tasks: The tasks.
            seed: Of weights that are not pretrained.

        Raises:
            EmptyDataError: A row whose input cannot be read and was to be left out.
        """
        del tasks, seed
        return in_memory(rows.inputs).reshape(len(rows), -1).double().numpy()

    def train_all(self, trainings: Iterable[Training]) -> list[Trained]:
        """Train models that do not depend on each other; here one after the other.

        Args:
            trainings: What to train, drawn from as models are begun, so that few parts of the rows are held
                at a time.
        """
        return [train_and_predict(self, each) for each in trainings]


def train_and_predict(learner: Learner, one: Training) -> Trained:
    """The model of one training, and what it predicts."""
    model = learner.train(
        one.rows,
        one.tasks,
        kind=one.kind,
        share=one.share,
        seed=one.seed,
        task_weights=one.task_weights,
        soft_weights=one.soft_weights,
        initial=one.initial,
    )
    return Trained(model, {} if one.predicted is None else learner.predict(model, one.predicted))
