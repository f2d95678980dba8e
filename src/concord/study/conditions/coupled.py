"""One network for all tasks, with or without couplings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from concord.auto import balance_weights
from concord.couplings import Coupling, make_couplings
from concord.errors import RangeError, UnknownNameError
from concord.networks import Capacity
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.study.conditions.base import Condition, Predictor, Setting, joined
from concord.study.conditions.building import check_capacity
from concord.study.conditions.tables import Shown, shown
from concord.study.spec import AnyNetwork
from concord.tasks import Task

Weighting = Literal["equal", "rows"]
"""Factors of the supervised losses: 1 for all, or the task's annotated rows over the richest task's."""


@dataclass(frozen=True)
class Coupled(Condition):
    """A shared network under supervised losses and couplings.

    Attributes:
        couplings: Makes the couplings anew for each run; none for the uncoupled baseline.
        weight: Factor of every coupling, >= 0.
        capacity: How the tasks share the network.
        weighting: Factors of the supervised losses.
        table: The regime's tables, or wrong ones in their place.
    """

    couplings: Callable[[], list[Coupling]]
    weight: float = 1.0
    capacity: Capacity = "shared"
    weighting: Weighting | Mapping[str, float] = "equal"
    table: Shown = "given"

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            ShapeError: No relation that a coupling works on.
            UnknownNameError: A weight of an unknown task, or a capacity that the network does not offer.
        """
        check_capacity(network, self.capacity)
        weights = dict(self.weighting) if isinstance(self.weighting, Mapping) else {}
        self._objective(tasks, relations, weights)

    def train(self, setting: Setting) -> Predictor:
        """Train one network for all tasks."""
        return joined([setting.train(setting.build(setting.tasks, self.capacity), self.objective(setting))])

    def objective(self, setting: Setting) -> CoupledObjective:
        """The loss of the setting's tasks and relations."""
        relations = shown(setting, self.table).relations
        return self._objective(setting.tasks, relations, task_weights(setting, self.weighting))

    def _objective(
        self, tasks: Sequence[Task], relations: Sequence[Relation], weights: Mapping[str, float]
    ) -> CoupledObjective:
        couplings = self.couplings()
        for coupling in couplings:
            coupling.weight *= self.weight
        return CoupledObjective(tasks, relations if couplings else (), couplings, task_weights=weights)


def task_weights(setting: Setting, weighting: Weighting | Mapping[str, float]) -> dict[str, float]:
    """Factors of the supervised losses: see `Weighting`; a mapping is taken as it is."""
    if isinstance(weighting, Mapping):
        return dict(weighting)
    if weighting == "equal":
        return {}
    return balance_weights(setting.rows, setting.tasks)


def condition(
    name: str,
    weight: float = 1.0,
    capacity: Capacity = "shared",
    weighting: Weighting | Mapping[str, float] = "equal",
    table: Shown = "given",
) -> Condition:
    """A condition of this file by name, with another weight, capacity, weighting of the tasks, or tables.

    Raises:
        RangeError: A negative weight, of the couplings or of a task.
        UnknownNameError: A capacity, weighting or table of another name.
    """
    if not 0 <= weight < float("inf"):
        raise RangeError(f"condition {name!r}: the weight is finite and >= 0, found {weight}")
    if capacity not in get_args(Capacity):
        raise UnknownNameError.of(f"capacity of condition {name!r}", capacity, get_args(Capacity))
    if isinstance(weighting, Mapping):
        _check_weights(name, weighting)
    elif weighting not in get_args(Weighting):
        raise UnknownNameError.of(f"weighting of condition {name!r}", weighting, get_args(Weighting))
    if table not in get_args(Shown):
        raise UnknownNameError.of(f"table of condition {name!r}", table, get_args(Shown))
    made = list if name == "uncoupled" else partial(make_couplings, name)
    return Coupled(made, weight, capacity, weighting, table)


def _check_weights(name: str, weights: Mapping[str, object]) -> None:
    for task, weight in weights.items():
        if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise RangeError(
                f"condition {name!r}: the weight of task {task!r} is finite and >= 0, found {weight!r}"
            )
