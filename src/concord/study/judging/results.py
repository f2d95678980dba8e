"""The finished runs of a study as arrays: the one place that opens the test split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.decoding import checked_thresholds
from concord.errors import ConcordError, StudyError
from concord.files import write_csv
from concord.metrics import contributions, evaluate, finish, main_metric, metric_names, probabilities
from concord.study.plan import Plan
from concord.study.problems import Problem
from concord.study.running import Cell, all_cells, finished, load, logits
from concord.tasks import Task

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """All that a comparison looks at.

    Attributes:
        plan: The plan.
        problem: The data, test targets included.
        records: What each run recorded.
        values: Test metrics by cell, task and metric.
        logits: Test logits by cell and task.
    """

    plan: Plan
    problem: Problem
    records: dict[Cell, dict[str, Any]]
    values: dict[Cell, dict[str, dict[str, float]]]
    logits: dict[Cell, dict[str, npt.NDArray[np.float32]]]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return [task.name for task in self.problem.tasks]

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the plan's order."""
        return [condition.name for condition in self.plan.conditions]

    def metric(self, task: str) -> str:
        """The metric that a task is judged by."""
        return self.plan.metrics.get(task, main_metric(self.problem.task(task)))

    def seeds(self, regime: str, condition: str, task: str, metric: str | None = None) -> Array:
        """A test metric over the seeds: (seeds,)."""
        name = metric or self.metric(task)
        return np.array([self.values[Cell(regime, condition, seed)][task][name] for seed in self.plan.seeds])

    def at_thresholds(self, regime: str, condition: str, task: str) -> Array | None:
        """A task's test metric over the seeds, cut where it was best on validation rows: (seeds,).

        None where no thresholds are chosen for its metric, or the runs are of a version that chose none.

        Raises:
            StudyError: The record of a run is damaged.
        """
        name, of = self.metric(task), self.problem.task(task)
        values = []
        for seed in self.plan.seeds:
            cell = Cell(regime, condition, seed)
            cut = _recorded(self.records[cell], cell, of)
            if cut is None:
                return None
            y, p = self.problem.targets_of("test")[task], self.probabilities(cell, task)
            values.append(finish(name, contributions(name, of, y, p, threshold=cut).sum(axis=0)))
        return np.array(values)

    def probabilities(self, cell: Cell, task: str) -> Array:
        """Test probabilities of a run."""
        return probabilities(self.problem.task(task), self.logits[cell][task])


def _recorded(record: dict[str, Any], cell: Cell, task: Task) -> Array | None:
    """Thresholds of a task that a run chose, if any."""
    try:
        cut = record.get("thresholds", {}).get(task.name)
        return None if cut is None else checked_thresholds({task.name: cut}, [task])[task.name]
    except (ConcordError, AttributeError, TypeError, ValueError) as error:
        raise StudyError(
            f"the record of run {cell.id} holds no thresholds of task {task.name!r} ({error}); delete it and "
            "start the study again"
        ) from error


def collect(plan: Plan, problem: Problem, out: Path) -> Results:
    """Read all runs and score them on the test rows.

    Raises:
        StudyError: Runs are missing or damaged.
    """
    missing = set(all_cells(plan)) - finished(out, plan)
    if missing:
        first = next(cell for cell in all_cells(plan) if cell in missing)
        raise StudyError(f"{out}: {len(missing)} runs are not done yet, {first.id} among them; run the study")
    targets = problem.targets_of("test")
    records, values, kept = {}, {}, {}
    for cell in all_cells(plan):
        records[cell], kept[cell] = load(out, plan, cell), logits(out, cell)
        for task in problem.tasks:
            found, wanted = kept[cell].get(task.name), (len(targets[task.name]), task.width)
            if found is None or found.shape != wanted or not np.isfinite(found).all():
                raise StudyError(
                    f"{out / 'runs' / cell.id}.npz does not hold finite logits of shape {wanted} of task "
                    f"{task.name!r}; delete it and start the study again"
                )
        values[cell] = {
            task.name: evaluate(task, targets[task.name], kept[cell][task.name]) for task in problem.tasks
        }
    return Results(plan, problem, records, values, kept)


def write_results(results: Results, path: Path) -> None:
    """Write `results.csv`: every test metric of every run."""
    tasks = results.tasks
    sizes = [f"n_{task}" for task in tasks] + [name for name, _ in _short_names(results)]
    write_csv(path, [["condition", "seed", "regime", "task", "metric", "value", *sizes], *_rows(results)])


def write_curves(results: Results, path: Path) -> None:
    """Write `curves.csv`: losses, and metrics on validation rows, along the training of every run."""
    rows: list[list[Any]] = [["condition", "seed", "regime", "task", "metric", "step", "value"]]
    for cell, record in results.records.items():
        for point in record["curves"]:
            named = [cell.condition, cell.seed, cell.regime, point["task"], point["metric"], point["step"]]
            rows.append([*named, repr(float(point["value"]))])
    write_csv(path, rows)


def _rows(results: Results) -> Iterator[list[Any]]:
    for cell, record in results.records.items():
        counts = [record["rows"][task] for task in results.tasks]
        counts += [record["rows"][task] for _, task in _short_names(results)]
        for task in results.problem.tasks:
            for metric in metric_names(task):
                value = repr(results.values[cell][task.name][metric])
                yield [cell.condition, cell.seed, cell.regime, task.name, metric, value, *counts]


def _short_names(results: Results) -> list[tuple[str, str]]:
    """`n_class` and `n_label`, next to the tasks' own columns, where there is one task of each kind."""
    from concord.tasks import MulticlassTask

    classes = [t.name for t in results.problem.tasks if isinstance(t, MulticlassTask)]
    labels = [t.name for t in results.problem.tasks if not isinstance(t, MulticlassTask)]
    if len(classes) != 1 or len(labels) != 1:
        return []
    pairs = [("n_class", classes[0]), ("n_label", labels[0])]
    return [(name, task) for name, task in pairs if name not in {f"n_{t}" for t in results.tasks}]
