"""The comparison: test split opened, paired differences, intervals, verdicts, and a sentence of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.metrics import contributions, finish, lower_is_better, metric_names, resampled_map
from concord.study.judging.accounts import accounts
from concord.study.judging.artifacts import confusion, gallery, relation_tables
from concord.study.judging.results import Results, collect, write_curves, write_results
from concord.study.judging.statistics import (
    bootstrap_weights,
    delta_m,
    mean_ranks,
    paired,
    percentile_interval,
    verdicts,
)
from concord.study.judging.wording import sentence
from concord.study.plan import Plan
from concord.study.problems import problem_of
from concord.study.running import Cell, write_json
from concord.tasks import Task

Array = npt.NDArray[np.float64]
POINTS = 100.0
CALIBRATION = "ece"


def compare(plan: Plan, out: str | Path) -> dict[str, Any]:
    """Score all runs of a study on the test rows, judge, and write the files of the study.

    Writes `results.csv`, `curves.csv`, `summary.json`, `relation.json`, `confusion.json`, `gallery.json`.

    Args:
        plan: The plan.
        out: The study's folder, with all runs done.

    Returns:
        What `summary.json` holds.

    Raises:
        StudyError: Runs are missing or damaged.
    """
    out = Path(out)
    results = collect(plan, problem_of(plan), out)
    found = summary(results)
    write_results(results, out / "results.csv")
    write_curves(results, out / "curves.csv")
    write_json(out / "relation.json", relation_tables(results))
    write_json(out / "confusion.json", confusion(results))
    write_json(out / "gallery.json", gallery(results))
    write_json(out / "summary.json", found)
    return found


def summary(results: Results) -> dict[str, Any]:
    """Everything that is said of a study, as plain data; differences are in points (x100)."""
    plan = results.plan
    found: dict[str, Any] = {
        "title": plan.title,
        "margin": plan.margin,
        "level": plan.level,
        "metrics": {task: results.metric(task) for task in results.tasks},
        "seeds": plan.seeds,
        "verdicts": _verdicts(results),
        "means": _means(results),
        "worst_task": _worst_task(results),
        "negative_transfer": _negative_transfer(results),
        "delta_m": _delta_m(results),
        "ranks": _ranks(results),
        "calibration": _calibration(results),
        "thresholds": _thresholds(results),
        "cost": _cost(results),
        "splits": _splits(results),
        "accounts": accounts(results),
    }
    found["sentence"] = sentence(found)
    return found


def _others(results: Results, baseline: str) -> list[str]:
    skip = {"single-task": {"single-task"}, "uncoupled": {"single-task", "uncoupled"}}[baseline]
    return [name for name in results.conditions if name not in skip]


def _difference(
    results: Results, regime: str, condition: str, baseline: str, task: str, metric: str | None = None
) -> Array:
    """Paired differences in points over seeds, positive where the condition is better."""
    metric = metric or results.metric(task)
    sign = -1.0 if lower_is_better(metric) else 1.0
    first = results.seeds(regime, condition, task, metric)
    return POINTS * sign * (first - results.seeds(regime, baseline, task, metric))


def _verdicts(results: Results) -> list[dict[str, Any]]:
    """One family of tests for each regime and baseline: all conditions and tasks in it."""
    plan, out = results.plan, []
    samples = _bootstrap(results)
    for regime, baseline in product(plan.regimes, plan.baselines):
        family = list(product(results.tasks, _others(results, baseline)))
        if not family:
            continue
        differences = np.stack(
            [_difference(results, regime.name, condition, baseline, task) for task, condition in family]
        )
        units = np.array([_test_units(results, task) for task, _ in family])
        noise = _row_variance(samples, regime.name, baseline, family, units)
        judged, tests, adjusted = verdicts(
            differences,
            level=plan.level,
            margin=plan.margin,
            row_variance=noise,
            row_units=units,
        )
        for i, (task, condition) in enumerate(family):
            low, high = (
                _bootstrap_interval(
                    results, samples, regime=regime.name, condition=condition, baseline=baseline, task=task
                )
                if units[i] > 1
                else (None, None)
            )
            out.append(
                {
                    "regime": regime.name,
                    "task": task,
                    "metric": results.metric(task),
                    "condition": condition,
                    "baseline": baseline,
                    "n_seeds": len(plan.seeds),
                    "mean": float(results.seeds(regime.name, condition, task).mean()),
                    "difference": float(tests.mean[i]),
                    "low": _number(tests.low[i]),
                    "high": _number(tests.high[i]),
                    "p": float(tests.p[i]),
                    "p_holm": float(adjusted[i]),
                    "verdict": str(judged[i]),
                    "bootstrap_low": low,
                    "bootstrap_high": high,
                }
            )
    return out


def _bootstrap(results: Results) -> dict[tuple[str, str, str], Array]:
    """Mean over seeds of each main metric on resampled test rows, the same rows for all: (resamples,)."""
    plan = results.plan
    if plan.resamples == 0:
        return {}
    targets = results.problem.targets_of("test")
    test, groups = results.problem.splits["test"], results.problem.groups
    weights = bootstrap_weights(len(test), plan.resamples, groups=None if groups is None else groups[test])
    out = {}
    for task in results.problem.tasks:
        metric = results.metric(task.name)
        for regime, condition in product(plan.regimes, results.conditions):
            by_seed = []
            for seed in plan.seeds:
                p = results.probabilities(Cell(regime.name, condition, seed), task.name)
                by_seed.append(_resampled(metric, task, targets[task.name], p, weights))
            out[regime.name, condition, task.name] = np.mean(by_seed, axis=0)
    return out


def _resampled(metric: str, task: Task, y: npt.NDArray[Any], p: Array, weights: Array) -> Array:
    """A metric of rows that are drawn again: (draws,)."""
    if metric == "map":  # a rank statistic: it does not follow from sums over rows
        return resampled_map(y, p, weights)
    parts = contributions(metric, task, y, p)
    sums = (weights @ parts.reshape(len(parts), -1)).reshape(-1, *parts.shape[1:])
    return finish(metric, sums)


def _test_units(results: Results, task: str) -> int:
    """How many test rows, or groups of them, are annotated for a task."""
    known = results.problem.task(task).annotated(results.problem.targets_of("test")[task])
    rows = results.problem.splits["test"][known]
    groups = results.problem.groups
    return len(rows) if groups is None else len(np.unique(groups[rows]))


def _row_variance(
    samples: dict[tuple[str, str, str], Array],
    regime: str,
    baseline: str,
    family: Sequence[tuple[str, str]],
    units: npt.NDArray[np.int64],
) -> Array:
    """Variance by the test rows of each comparison, in points squared; 0 where rows are not resampled.

    Resamples of m rows, or groups, spread as a sum of squares over m does: by m / (m - 1) too little. One
    alone says nothing of it: NaN.
    """
    found = []
    for (task, condition), m in zip(family, units, strict=True):
        if (regime, condition, task) not in samples:
            found.append(0.0)
            continue
        resampled = POINTS * (samples[regime, condition, task] - samples[regime, baseline, task])
        found.append(np.nanvar(resampled, ddof=1) * m / (m - 1) if m > 1 else np.nan)
    return np.array(found)


def _bootstrap_interval(
    results: Results,
    samples: dict[tuple[str, str, str], Array],
    *,
    regime: str,
    condition: str,
    baseline: str,
    task: str,
) -> tuple[float | None, float | None]:
    if (regime, condition, task) not in samples:
        return None, None
    sign = -1.0 if lower_is_better(results.metric(task)) else 1.0
    difference = samples[regime, condition, task] - samples[regime, baseline, task]
    return percentile_interval(POINTS * sign * difference, results.plan.level)


def _means(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "regime": regime.name,
            "condition": condition,
            "task": task.name,
            "metric": metric,
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "n": len(values),
        }
        for regime, condition, task in product(
            results.plan.regimes, results.conditions, results.problem.tasks
        )
        for metric in metric_names(task)
        for values in [results.seeds(regime.name, condition, task.name, metric)]
    ]


def _worst_task(results: Results) -> list[dict[str, Any]]:
    """The task that fares worst against the baseline, seed by seed."""
    out = []
    for regime, baseline in product(results.plan.regimes, results.plan.baselines):
        for condition in _others(results, baseline):
            by_task = np.stack(
                [_difference(results, regime.name, condition, baseline, task) for task in results.tasks]
            )
            worst = paired(by_task.min(axis=0), level=results.plan.level)
            out.append(
                {
                    "regime": regime.name,
                    "condition": condition,
                    "baseline": baseline,
                    "task": results.tasks[int(by_task.mean(axis=1).argmin())],
                    "difference": float(worst.mean),
                    "low": _number(worst.low),
                    "high": _number(worst.high),
                    "lowest": float(by_task.min()),
                }
            )
    return out


def _negative_transfer(results: Results) -> list[dict[str, Any]]:
    """How often, over tasks and seeds, a condition is worse than the single-task networks."""
    if "single-task" not in results.plan.baselines:
        return []
    out = []
    for regime, condition in product(results.plan.regimes, _others(results, "single-task")):
        each = np.stack(
            [_difference(results, regime.name, condition, "single-task", task) for task in results.tasks]
        )
        beyond = int((each < -results.plan.margin).sum())
        out.append(
            {
                "regime": regime.name,
                "condition": condition,
                "rate": float((each < 0).mean()),
                "count": int((each < 0).sum()),
                "of": int(each.size),
                "beyond_margin": beyond,
                "rate_beyond_margin": beyond / each.size,
            }
        )
    return out


def _delta_m(results: Results) -> list[dict[str, Any]]:
    if "single-task" not in results.plan.baselines:
        return []
    lower = [lower_is_better(results.metric(task)) for task in results.tasks]
    out = []
    for regime, condition in product(results.plan.regimes, _others(results, "single-task")):
        values, baseline = (
            np.stack([results.seeds(regime.name, name, task) for task in results.tasks], axis=-1)
            for name in (condition, "single-task")
        )
        if (baseline == 0).any():  # nothing to be relative to
            continue
        gain = paired(delta_m(values, baseline, lower), level=results.plan.level)
        out.append(
            {
                "regime": regime.name,
                "condition": condition,
                "mean": float(gain.mean),
                "low": _number(gain.low),
                "high": _number(gain.high),
            }
        )
    return out


def _ranks(results: Results) -> dict[str, Any] | None:
    """Mean ranks over tasks and regimes, with the difference that would be more than chance."""
    if len(results.conditions) < 2:
        return None
    blocks = [
        [
            (-1.0 if lower_is_better(results.metric(task)) else 1.0)
            * results.seeds(regime.name, condition, task).mean()
            for condition in results.conditions
        ]
        for regime, task in product(results.plan.regimes, results.tasks)
    ]
    ranks = mean_ranks(blocks, level=results.plan.level)
    return {
        "mean": dict(zip(results.conditions, map(float, ranks.mean), strict=True)),
        "friedman_p": ranks.p,
        "critical_difference": ranks.critical,
        "groups": [[results.conditions[i] for i in group] for group in ranks.groups()],
        "blocks": len(blocks),
    }


def _calibration(results: Results) -> list[dict[str, Any]]:
    """Expected calibration error in points, and its paired difference, positive where better calibrated."""
    out = []
    for regime, condition, task in product(results.plan.regimes, results.conditions, results.tasks):
        row: dict[str, Any] = {
            "regime": regime.name,
            "condition": condition,
            "task": task,
            "metric": CALIBRATION,
            "mean": float(POINTS * results.seeds(regime.name, condition, task, CALIBRATION).mean()),
            "against": {},
        }
        for baseline in results.plan.baselines:
            if condition in _others(results, baseline):
                differences = _difference(results, regime.name, condition, baseline, task, CALIBRATION)
                row["against"][baseline] = _interval(differences, results.plan.level)
        out.append(row)
    return out


def _thresholds(results: Results) -> list[dict[str, Any]]:
    """Means at .5 and at thresholds chosen on validation rows, and what is left of differences there.

    `against` holds the paired difference to each baseline, both at thresholds of their own.
    """
    out = []
    cells = list(product(results.plan.regimes, results.conditions, results.tasks))
    found = {(r.name, c, task): results.at_thresholds(r.name, c, task) for r, c, task in cells}
    for regime, condition, task in cells:
        chosen = found[regime.name, condition, task]
        if chosen is None:
            continue
        row: dict[str, Any] = {
            "regime": regime.name,
            "condition": condition,
            "task": task,
            "metric": results.metric(task),
            "half": float(POINTS * results.seeds(regime.name, condition, task).mean()),
            "chosen": float(POINTS * chosen.mean()),
            "against": {},
        }
        for baseline in results.plan.baselines:
            other = found[regime.name, baseline, task] if condition in _others(results, baseline) else None
            if other is not None:
                row["against"][baseline] = _interval(POINTS * (chosen - other), results.plan.level)
        out.append(row)
    return out


def _interval(differences: Array, level: float) -> dict[str, Any]:
    """The mean of paired differences with its interval, by the seeds alone."""
    found = paired(differences, level=level)
    return {"difference": float(found.mean), "low": _number(found.low), "high": _number(found.high)}


def _cost(results: Results) -> list[dict[str, Any]]:
    """Seconds of a run and its most memory, by condition: on one thread, its tuning included.

    Memory is the greatest of all runs, in MiB; None where a system does not say, or a run is of before.
    """
    out = []
    for condition in results.conditions:
        records = [record for cell, record in results.records.items() if cell.condition == condition]
        known = [record["memory"] for record in records if record.get("memory") is not None]
        out.append(
            {
                "condition": condition,
                "seconds": _rounded([record["seconds"] for record in records]),
                "memory": max(known, default=None),
            }
        )
    return out


def _rounded(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def _splits(results: Results) -> list[dict[str, Any]]:
    """Rows of each split, and how many groups they make; None where rows stand alone."""
    groups = results.problem.groups
    return [
        {
            "split": name,
            "rows": len(rows),
            "groups": None if groups is None else len(np.unique(groups[rows])),
        }
        for name, rows in results.problem.splits.items()
    ]


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
