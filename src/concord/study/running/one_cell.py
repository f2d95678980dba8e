"""One cell of a study: a condition trained and evaluated on the rows of a regime and seed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.decoding import ThresholdMetric, choose_thresholds
from concord.errors import NotFiniteError
from concord.metrics import evaluate, lower_is_better, main_metric, probabilities
from concord.relations import Relation
from concord.study.conditions import Predictor, Setting
from concord.study.conditions import condition as named_condition
from concord.study.plan import Plan
from concord.study.problems import Problem, draw
from concord.study.running.cells import Cell, save
from concord.study.running.memory import PeakMemory
from concord.study.spec import Budget, Regime, TrunkNetwork


def run_cell(plan: Plan, problem: Problem, cell: Cell, out: Path, device: str = "cpu") -> None:
    """Train one cell on a device and write its files. Test targets are not looked at.

    Trunks by name take long to train: their trainings keep checkpoints until the cell is done, so that a cell
    whose process is killed goes on where it stopped, with the same result bit by bit.

    Raises:
        NotFiniteError: The training diverges with every budget that it may choose from.
    """
    start, memory = time.perf_counter(), PeakMemory(device)
    store = out / "runs" / f"{cell.id}.training"
    regime = next(regime for regime in plan.regimes if regime.name == cell.regime)
    chosen = next(condition for condition in plan.conditions if condition.name == cell.condition)
    spared, thresholds = 0.0, {}
    best: tuple[float, Setting, Predictor, dict[str, dict[str, float]]] | None = None
    diverged: NotFiniteError | None = None
    for budget in candidates(plan):
        setting = setting_of(plan, problem, regime, cell.seed, budget, device=device, store=store)
        try:
            predict = named_condition(chosen.use, **chosen.options).train(setting)
            said = {name: z.numpy() for name, z in predict(setting.validation.inputs).items()}
            found = _validated(setting, said)
        except NotFiniteError as error:  # a rate that is too high for it is not chosen
            diverged = error
            continue
        spared += sum(setting.spared)
        score = _score(plan, setting, found)
        if best is None or score > best[0]:
            best = (score, setting, predict, found)
            thresholds = _thresholds(setting, said, _groups(problem, "val"))
    if best is None:
        assert diverged is not None
        raise diverged
    _, setting, predict, found = best
    given, _ = problem.of("test")
    inputs = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
    logits = {name: z.numpy().astype(np.float32) for name, z in predict(inputs).items()}
    record = {
        "plan": plan.digest_of(cell.regime, cell.condition),
        "regime": cell.regime,
        "condition": cell.condition,
        "seed": cell.seed,
        "rows": {task.name: len(setting.rows.annotated(task)) for task in setting.tasks},
        "total": len(setting.rows),
        "budget": setting.budget.model_dump(),
        "validation": found,
        "thresholds": thresholds,
        "curves": setting.curves,
        "account": setting.account,
        "relations": {r.name: _cells_of(r) for r in setting.relations} if regime.table != "given" else {},
        "seconds": round(time.perf_counter() - start + spared, 3),
        "memory": memory.mebibytes(),
    }
    save(out, cell, record, logits)
    shutil.rmtree(store, ignore_errors=True)


def candidates(plan: Plan) -> list[Budget]:
    """The budgets that every condition may choose from: the plan's own, or the product of its tuning."""
    names, values = list(plan.tuning), list(plan.tuning.values())
    return [plan.budget.model_copy(update=dict(zip(names, v, strict=True))) for v in product(*values)]


def setting_of(
    plan: Plan,
    problem: Problem,
    regime: Regime,
    seed: int,
    budget: Budget,
    *,
    device: str = "cpu",
    store: Path | None = None,
) -> Setting:
    """What a condition may use in one cell."""
    if regime.steps is not None:
        budget = budget.model_copy(update={"steps": regime.steps})
    val_targets = problem.targets_of("val")
    network = regime.network or plan.network
    setting = Setting(
        tasks=problem.tasks,
        relations=(),
        rows=problem.rows(*draw(problem, regime, seed)),
        validation=replace(problem.rows(problem.splits["val"], val_targets), group=None),
        network=network,
        budget=budget,
        seed=seed,
        recipe=plan.recipe_of(regime),
        folder=plan.folder,
        device=device,
        store=store if isinstance(network, TrunkNetwork) else None,
        metrics=plan.metrics,
    )
    from concord.study.conditions import relations_of

    return relations_of(setting, problem.relations, regime)


def _validated(setting: Setting, logits: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, float]]:
    return {
        task.name: evaluate(task, setting.validation.targets[task.name].numpy(), logits[task.name])
        for task in setting.tasks
    }


def _groups(problem: Problem, split: str) -> npt.NDArray[Any] | None:
    return None if problem.groups is None else problem.groups[problem.splits[split]]


THRESHOLDS_FOR: dict[str, ThresholdMetric] = {
    "mean_f1": "f1",
    "macro_f1": "f1",
    "balanced_accuracy": "balanced_accuracy",
}
"""What thresholds are chosen for, by the metric that a task is judged by; others do not depend on any, or are
best without."""


def _thresholds(
    setting: Setting, logits: Mapping[str, npt.NDArray[Any]], groups: Any
) -> dict[str, list[float]]:
    """By task, the thresholds that are best on validation rows: every condition gets its own."""
    out = {}
    for task in setting.tasks:
        metric = THRESHOLDS_FOR.get(setting.metrics.get(task.name, main_metric(task)))
        if metric is not None:
            p = {task.name: probabilities(task, logits[task.name])}
            y = {task.name: setting.validation.targets[task.name].numpy()}
            found = choose_thresholds(metric, [task], y, p, groups)
            out[task.name] = found.values[task.name].tolist()
    return out


def _score(plan: Plan, setting: Setting, found: dict[str, dict[str, float]]) -> float:
    total = 0.0
    for task in setting.tasks:
        metric = plan.metrics.get(task.name, main_metric(task))
        total += -found[task.name][metric] if lower_is_better(metric) else found[task.name][metric]
    return total


def _cells_of(relation: Relation) -> list[list[float | None]]:
    return [[None if np.isnan(v) else round(float(v), 6) for v in row] for row in relation.table]
