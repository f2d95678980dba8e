"""Pictures of paired differences, and of mean ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from concord.study.pages.outcome import Outcome, Row, finite
from concord.study.pages.plots import Effect, differences, mean_ranks, reach

AGAINST = {"single-task": "single-task networks", "uncoupled": "the uncoupled network"}

FINER = 5.0
"""A panel whose own range is this much smaller than the common one has an axis of its own."""


def against(baseline: str) -> str:
    """A baseline in words."""
    return AGAINST.get(baseline, baseline)


def effect(outcome: Outcome, row: Row, label: str, **data: str) -> Effect:
    """A verdict as a row of a picture, with the differences of its seeds."""
    return Effect(
        label=label,
        value=row["difference"],
        low=finite(row["low"]),
        high=finite(row["high"]),
        verdict=row["verdict"],
        resampled=(finite(row.get("bootstrap_low")), finite(row.get("bootstrap_high"))),
        seeds=outcome.paired(row["regime"], row["task"], row["metric"], row["condition"], row["baseline"]),
        data={**data, **{key: row[key] for key in ("regime", "condition", "task", "metric", "baseline")}},
    )


def pictures(outcome: Outcome) -> list[dict[str, Any]]:
    """A group for each baseline and task: one panel a regime."""
    margin, groups = float(outcome.summary["margin"]), []
    for baseline, task in product(outcome.baselines, outcome.tasks):
        held: dict[str, list[Effect]] = {}
        for row in outcome.ordered(outcome.verdicts):
            if (row["baseline"], row["task"]) == (baseline, task):
                held.setdefault(row["regime"], []).append(effect(outcome, row, row["condition"]))
        ordered = {regime: held[regime] for regime in outcome.regimes if regime in held}
        notes = {regime: outcome.described(regime) for regime in ordered}
        if ordered:
            shown = panels(ordered, margin, f"differences to {against(baseline)} in {task}, in points", notes)
            metric = outcome.metric(task)
            groups.append({"baseline": baseline, "task": task, "metric": metric, "panels": shown})
    return groups


def panels(
    held: Mapping[str, Sequence[Effect]], margin: float, label: str, notes: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One panel a title, all on one axis; where that would hide its effects it is magnified, and says so."""
    low, high = reach([each for effects in held.values() for each in effects], margin)
    out = []
    for title, effects in held.items():
        own = reach(effects, margin)
        factor = (high - low) / (own[1] - own[0])
        limits, zoom = (
            (own, f"axis {factor:.0f} \N{MULTIPLICATION SIGN} finer")
            if factor >= FINER
            else ((low, high), "")
        )
        picture = differences(effects, limits, margin, f"{title}: {label}")
        out.append({"title": title, "note": (notes or {}).get(title, ""), "zoom": zoom, "svg": picture})
    return out


def ranks(outcome: Outcome) -> dict[str, Any] | None:
    """Mean ranks of conditions; None where a study has none."""
    held = outcome.summary.get("ranks")
    if not held:
        return None
    critical = finite(held.get("critical_difference"))
    return {
        "svg": mean_ranks(held["mean"], critical, "Mean rank of each condition over tasks and regimes"),
        "critical": critical,
        "p": finite(held.get("friedman_p")),
        "blocks": held.get("blocks"),
    }
