"""Learning curves of a training, which go on where a killed training is taken up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from concord.fitting import Logger
from concord.tasks import Task

OTHERS = ("step", "lr", "rate")
"""What a record holds besides parts of the loss."""

ALL_TASKS = ("all", "all tasks", "all of the tasks")
"""What parts of no single task are filed under: the first that no task is called."""


def points(tasks: Sequence[Task], record: Mapping[str, float]) -> list[dict[str, Any]]:
    """Points of the parts of the loss, by the task that they are of.

    Args:
        tasks: The tasks of the training.
        record: Of one step.
    """
    names, out = {task.name for task in tasks}, []
    # What is of all tasks has a name that is no task's.
    alone = tasks[0].name if len(tasks) == 1 else next(n for n in ALL_TASKS if n not in names)
    for part, value in record.items():
        if part not in OTHERS and not (part == "loss" and len(tasks) == 1):
            owner = part if part in names else alone
            metric = "loss" if part in ("loss", owner) else f"loss:{part}"
            out.append({"task": owner, "metric": metric, "step": int(record["step"]), "value": value})
    return out


class Curves(Logger):
    """The points of a training; its checkpoints hold them.

    Args:
        measure: Makes the points of a record.
    """

    def __init__(self, measure: Callable[[Mapping[str, float]], list[dict[str, Any]]]) -> None:
        self.measure = measure
        self.points: list[dict[str, Any]] = []

    def log(self, record: Mapping[str, float]) -> None:
        """Measure, and keep the points."""
        self.points += self.measure(record)

    def state_dict(self) -> dict[str, Any]:
        """The points so far."""
        return {"points": list(self.points)}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Take up the points up to a step."""
        self.points = [point for point in state.get("points", []) if point["step"] <= step]

    def close(self) -> None:
        """Nothing is left to write."""
