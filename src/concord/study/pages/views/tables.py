"""All numbers as tables, and what was run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from concord.study.judging import MIN_SEEDS
from concord.study.pages.listing import Listing, listing, written
from concord.study.pages.outcome import Outcome, Row

SEEDS_ALONE = (
    "Intervals are by the seeds alone: other test rows would move these numbers further than they say."
)
VERDICTS = "Differences in points. p is of no difference; Holm's correction is within a regime and baseline."
MEANS = "All metrics on the test rows, in points."
WORST = (
    "The lowest difference over tasks in each seed, as a mean over seeds; next to it the task that is "
    "weakest on average, and the lowest difference of all seeds. " + SEEDS_ALONE
)
CUT = (
    "In every other table labels are cut at .5, and classes are the most probable one. Here the metric at .5 "
    "(half) stands next to that at thresholds per label and class (chosen), which every condition chooses on "
    "validation rows; differences are between conditions at thresholds of their own. In points, on test "
    "rows. " + SEEDS_ALONE
)
NEGATIVE = "How often, over tasks and seeds, a condition is below the single-task networks."
COST = (
    "Seconds of one run, tuning included, and the most memory that one took, the data in memory included: of "
    "its process, or of the accelerator that it was trained on."
)
DELTA = (
    "Mean over tasks of the relative change in percent: for comparison with other papers only. " + SEEDS_ALONE
)


def verdict_record(row: Row, study: str | None = None) -> dict[str, Any]:
    """A verdict as a row of a table."""
    first = ("regime", "task", "metric", "condition", "baseline", "verdict", "difference", "low", "high")
    last = ("bootstrap_low", "bootstrap_high", "p", "p_holm", "n_seeds")
    named = {} if study is None else {"study": study}
    return {**named, **{key: row.get(key) for key in (*first, *last)}}


def listings(outcome: Outcome) -> list[Listing]:
    """What the comparison found, table by table; empty ones are left out."""
    summary, single = outcome.summary, {"baseline": "single-task"}
    worst = [_renamed(row, task="weakest") for row in summary.get("worst_task", [])]
    negative = [{**row, **single} for row in summary.get("negative_transfer", [])]
    delta = [{**_renamed(row, mean="gain"), **single} for row in summary.get("delta_m", [])]
    cut = _thresholds(summary.get("thresholds", []))
    held = [
        listing("verdicts", "Verdicts", [verdict_record(row) for row in outcome.verdicts], VERDICTS),
        listing("means", "Means over seeds", summary["means"], MEANS),
        # results.csv holds neither what is cut at other thresholds nor which task was the worst.
        listing("thresholds", "At thresholds of their own", cut, CUT, traced=False),
        listing("worst", "Worst task", worst, WORST, traced=False),
        listing("negative", "Negative transfer", negative, NEGATIVE),
        listing("delta", "Relative gain over single task (delta-m)", delta, DELTA),
    ]
    return [table for table in held if table.rows]


def _thresholds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each comparison, or one without where a condition is compared with nothing."""
    out = []
    for row in rows:
        plain = {key: value for key, value in row.items() if key != "against"}
        against = row["against"] or {None: {}}
        out += [{**plain, "baseline": name, **found} for name, found in against.items()]
    return out


def _renamed(record: Row, **names: str) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in record.items()}


def setup(outcome: Outcome) -> dict[str, Any]:
    """Regimes, conditions with their cost, sessions, plan, machine and versions."""
    config, environment = outcome.config, outcome.environment
    regimes = [
        {
            "regime": entry["name"],
            **{f"rows: {task}": n for task, n in outcome.said_sizes(entry["name"]).items()},
            "overlap": entry.get("overlap"),
            "table": entry.get("table"),
            "steps": entry.get("steps"),
        }
        for entry in config.get("regimes", [])
    ]
    cost = {row["condition"]: row for row in outcome.summary.get("cost") or []}
    conditions = [
        {
            "condition": entry["name"],
            "method": entry.get("use"),
            "options": _options(entry.get("options")),
            "seconds": cost.get(entry["name"], {}).get("seconds"),
            "memory": cost.get(entry["name"], {}).get("memory"),
        }
        for entry in config.get("conditions", [])
    ]
    shown = ("regimes", "conditions", "title")
    return {
        "plan": flat({key: value for key, value in config.items() if key not in shown}),
        "environment": flat({k: v for k, v in environment.items() if k not in ("versions", "sessions")}),
        "versions": flat(environment.get("versions", {})),
        "listings": [
            listing("regimes", "Regimes", regimes),
            listing("splits", "Splits", outcome.summary.get("splits") or []),
            listing("conditions", "Conditions and their cost", conditions, COST),
            listing("sessions", "Sessions", environment.get("sessions", [])),
        ],
    }


def told(outcome: Outcome) -> list[str]:
    """What each condition might spend, and what counted as one sample, in sentences."""
    budget, tuning = outcome.config.get("budget") or {}, outcome.config.get("tuning") or {}
    out = []
    if "steps" in budget:
        rows = (
            f", with {budget['rows_per_task']} rows of each task in a step"
            if "rows_per_task" in budget
            else ""
        )
        regimes = outcome.config.get("regimes") or []
        steps = {entry["name"]: entry.get("steps") or budget["steps"] for entry in regimes}
        each = f"{budget['steps']} steps"
        if len(set(steps.values())) == 1:
            each = f"{next(iter(steps.values()))} steps"
        elif steps:
            each = ", ".join(f"{n} steps ({name})" for name, n in steps.items())
        out.append(
            "The budget is the same for all conditions, single-task networks included: "
            f"{each} for each network{rows}."
        )
    if tuning:
        tried = math.prod(len(values) for values in tuning.values())
        out.append(
            f"Every condition chose among {tried} budgets by validation rows ({', '.join(tuning)} varied)."
        )
    splits = outcome.summary.get("splits") or []
    if any(row["groups"] for row in splits):
        counts = ", ".join(f"{row['groups']} in {row['split']}" for row in splits)
        out.append(
            f"Rows belong to groups ({counts}): no group is in two splits, and the intervals of verdicts "
            "count groups, not rows."
        )
    elif splits:
        out.append("Rows have no groups: each counts as a sample of its own.")
    out += _single(outcome)
    sessions = outcome.environment.get("sessions") or []
    for what in ("concord", "torch", "processor", "devices"):
        found = dict.fromkeys(str(each[what]) for each in sessions if each.get(what))
        if len(found) > 1:
            out.append(f"Runs of several sessions are compared, whose {what} differ: {', '.join(found)}.")
    return out


def _single(outcome: Outcome) -> list[str]:
    """What is said where no interval can be given, though there are seeds enough."""
    untold = {row["task"] for row in outcome.verdicts if row["low"] is None and row["n_seeds"] >= MIN_SEEDS}
    return [
        f"{task} is annotated in a single test row or group: how another would come out is not known."
        for task in outcome.tasks
        if task in untold
    ]


def _options(options: Mapping[str, Any] | None) -> str | None:
    return ", ".join(f"{key} = {value}" for key, value in (options or {}).items()) or None


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested data as pairs of a dotted name and a text."""
    out: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            out += flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            out += flat({str(i): item for i, item in enumerate(value, 1)}, f"{prefix}{key}.")
        elif isinstance(value, list):
            out.append((f"{prefix}{key}", ", ".join(map(str, value)) or written("", None)))
        else:
            out.append((f"{prefix}{key}", written(key, value)))
    return out
