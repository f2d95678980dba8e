"""Several studies side by side."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from concord.study.pages.listing import VERDICT_WORDS, Listing, listing, written
from concord.study.pages.outcome import Outcome, Row, distinct
from concord.study.pages.plots import Effect
from concord.study.pages.views.differences import against, effect, panels
from concord.study.pages.views.tables import flat, verdict_record


def _verdicts(studies: Mapping[str, Outcome]) -> list[tuple[str, Row]]:
    return [(name, row) for name, outcome in studies.items() for row in outcome.verdicts]


def margin_of(studies: Mapping[str, Outcome]) -> float:
    """The widest margin of the studies, in points: the one that pictures of them all show."""
    return max(float(outcome.summary["margin"]) for outcome in studies.values())


def levels_of(studies: Mapping[str, Outcome]) -> list[float]:
    """The levels of the studies' intervals, each once, in ascending order."""
    return sorted({float(outcome.summary["level"]) for outcome in studies.values()})


def tallies(studies: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """By baseline and condition, how often each verdict was given over all studies."""
    rows, out = _verdicts(studies), []
    for baseline in distinct(row["baseline"] for _, row in rows):
        held = []
        for condition in distinct(name for o in studies.values() for name in o.conditions):
            mine = [r for _, r in rows if r["condition"] == condition and r["baseline"] == baseline]
            if mine:
                worst = min(mine, key=lambda row: row["difference"])
                held.append(
                    {"condition": condition, "of": len(mine), "worst": worst["difference"],
                     "mean": sum(row["difference"] for row in mine) / len(mine),
                     "counts": {v: sum(row["verdict"] == v for row in mine) for v in VERDICT_WORDS}}
                )  # fmt: skip
        out.append({"baseline": baseline, "rows": held})
    return out


def pictures_across(studies: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """A group for each baseline and task: one panel a condition, studies and regimes in its rows."""
    groups, rows = [], _verdicts(studies)
    regimes = distinct(row["regime"] for _, row in rows)
    rows.sort(key=lambda pair: regimes.index(pair[1]["regime"]))  # a regime of all studies side by side
    for baseline, task in product(*(distinct(row[key] for _, row in rows) for key in ("baseline", "task"))):
        held: dict[str, list[Effect]] = {}
        for name, row in rows:
            if (row["baseline"], row["task"]) == (baseline, task):
                named = effect(studies[name], row, f"{name}, {row['regime']}", study=name)
                held.setdefault(row["condition"], []).append(named)
        if held:
            shown = panels(
                held, margin_of(studies), f"differences to {against(baseline)} in {task}, in points"
            )
            metrics = distinct(row["metric"] for _, row in rows if row["task"] == task)
            groups.append({"baseline": baseline, "task": task, "metric": ", ".join(metrics), "panels": shown})
    return groups


def listings_across(studies: Mapping[str, Outcome]) -> list[Listing]:
    """Where the plans differ, all verdicts, all means."""
    means = [{"study": name, **row} for name, outcome in studies.items() for row in outcome.summary["means"]]
    return [
        listing("plans", "Where the plans differ", _plan_differences(studies)),
        listing("verdicts", "All verdicts", [verdict_record(row, name) for name, row in _verdicts(studies)]),
        listing("means", "Means over seeds", means, "All metrics on the test rows, in points."),
    ]


def _plan_differences(studies: Mapping[str, Outcome]) -> list[dict[str, str]]:
    """Fields of the plans that are not the same in all studies, one row per field."""
    held = {name: dict(flat(_by_name(outcome.config))) for name, outcome in studies.items()}
    fields = distinct(key for values in held.values() for key in values)
    return [
        {"field": key, **{name: values.get(key, written(key, None)) for name, values in held.items()}}
        for key in fields
        if len({values.get(key) for values in held.values()}) > 1
    ]


def _by_name(config: Row) -> dict[str, Any]:
    """A plan in which regimes and conditions are found by their names."""
    named = {key: {e["name"]: {k: v for k, v in e.items() if k != "name"} for e in config.get(key, [])}
             for key in ("regimes", "conditions")}  # fmt: skip
    return {**config, **named}
