"""Learning curves, and the metric against the number of annotated rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from concord.study.pages.outcome import POINTS, Outcome
from concord.study.pages.plots import Line, curves

SETTLED = 0.2
"""The first fifth of the training does not stretch the vertical axis."""

Point = tuple[float, float, float, float]

MOST_STEPS = 120
"""Points of a learning curve that are drawn; more are thinned evenly."""


def colours(outcome: Outcome) -> dict[str, int]:
    """The colour of each condition; those that all are compared with are grey."""
    greys = {"single-task": 0, "uncoupled": 1}
    others = (name for name in outcome.conditions if name not in greys)
    named = {name: i for i, name in enumerate(others, len(greys))}
    return {name: greys.get(name, named.get(name, 0)) for name in outcome.conditions}


def learning(outcome: Outcome) -> list[dict[str, Any]]:
    """A group for each task and what was logged of it: validation metrics first, then losses."""
    held: dict[tuple[str, str], dict[str, dict[str, dict[int, list[float]]]]] = {}
    for row in outcome.curves:
        by_step = (
            held.setdefault((row["task"], row["metric"]), {})
            .setdefault(row["regime"], {})
            .setdefault(row["condition"], {})
        )
        by_step.setdefault(row["step"], []).append(row["value"])
    groups = [_curve_group(outcome, *key, by_regime) for key, by_regime in held.items()]
    return sorted((group for group in groups if group["panels"]), key=lambda group: group["loss"])


def _curve_group(
    outcome: Outcome, task: str, metric: str, by_regime: Mapping[str, Mapping[str, Mapping[int, list[float]]]]
) -> dict[str, Any]:
    loss = metric.partition(":")[0] == "loss"
    scale = 1.0 if loss else POINTS
    colour_of, panels = colours(outcome), []
    for regime in (name for name in outcome.regimes if name in by_regime):
        found = {
            name: _summed(by_regime[regime][name], scale)
            for name in outcome.conditions
            if name in by_regime[regime]
        }
        lines = [
            Line(name, colour_of[name], points) for name, points in found.items() if not _is_empty(points)
        ]
        if not lines:
            continue
        picture = curves(
            lines,
            f"{metric} of {task} along training, {regime}",
            x_title="steps",
            settled=SETTLED,
            number="{:.3g}".format,
        )
        panels.append(
            {"title": regime, "note": outcome.described(regime), "zoom": "", "svg": picture,
             "gaps": _gaps(found)}
        )  # fmt: skip
    return {"task": task, "metric": metric, "loss": loss, "panels": panels}


def _summed(by_step: Mapping[int, Sequence[float]], scale: float) -> list[Point]:
    """Step, mean, lowest and highest over seeds."""
    steps = sorted(by_step)
    stride = -(-len(steps) // MOST_STEPS)
    return [
        _band(step, [scale * value for value in by_step[step]])
        for i, step in enumerate(steps)
        if i % stride == 0 or i == len(steps) - 1
    ]


def _band(x: float, values: Sequence[float]) -> Point:
    """Mean, lowest and highest of the seeds; a gap where one of them has no number, or there is none."""
    if not values or not all(map(math.isfinite, values)):
        return float(x), math.nan, math.nan, math.nan
    return float(x), sum(values) / len(values), min(values), max(values)


def _is_empty(points: Sequence[Point]) -> bool:
    return all(math.isnan(point[1]) for point in points)


def _gaps(found: Mapping[str, Sequence[Point]]) -> str:
    """Which conditions have no number at some of their points, in words."""
    counted = {name: sum(math.isnan(point[1]) for point in points) for name, points in found.items()}
    told = [f"{name} at {n} of {len(found[name])} points" for name, n in counted.items() if n]
    return f"No number: {', '.join(told)}." if told else ""


def efficiency(outcome: Outcome) -> list[dict[str, Any]]:
    """The metric of a task against its annotated rows, where a study has several sizes.

    Regimes that differ in this size alone make a panel. Where there are none, all regimes make one, and the
    page says that more than one size changes in it.
    """
    panels = []
    for task in outcome.tasks:
        found = {
            key: names for key, names in _series(outcome, task).items() if _several(outcome, names, task)
        }
        clean = bool(found)
        everything = [name for name in outcome.regimes if task in outcome.sizes[name]]
        if not clean and _several(outcome, everything, task):
            found = {"": sorted(everything, key=lambda name: outcome.sizes[name][task])}
        for rest, regimes in found.items():
            panels.append(
                {"task": task, "metric": outcome.metric(task), "rest": rest, "clean": clean,
                 "regimes": regimes, "svg": _efficiency_panel(outcome, task, regimes)}
            )  # fmt: skip
    return panels


def _several(outcome: Outcome, regimes: Sequence[str], task: str) -> bool:
    return len({outcome.sizes[name][task] for name in regimes}) > 1


def _series(outcome: Outcome, task: str) -> dict[str, list[str]]:
    """By what they have in common, in words: regimes that may differ in the rows of the task alone."""
    planned = {entry.get("name"): entry for entry in outcome.config.get("regimes", [])}
    out: dict[str, list[str]] = {}
    for regime in outcome.regimes:
        sizes = outcome.sizes[regime]
        if task in sizes:
            plan = planned.get(regime, {})
            # As planned: where annotations have gaps, each draw has another number of rows.
            rows = sizes | (plan.get("rows") or {})
            rest = [f"{rows[other]} {other}" for other in sizes if other != task]
            rest += [f"overlap {plan['overlap']:.0%}"] if plan.get("overlap") else []
            rest += [f"table {plan['table']}"] if plan.get("table", "given") != "given" else []
            rest += [f"network {_network(plan['network'])}"] if plan.get("network") else []
            out.setdefault(", ".join(rest), []).append(regime)
    return {rest: names for rest, names in out.items() if _distinct(outcome, names, task)}


def _distinct(outcome: Outcome, regimes: Sequence[str], task: str) -> bool:
    """Whether no two regimes have equally many rows: such differ in something else, as in their steps."""
    return len({outcome.sizes[name][task] for name in regimes}) == len(regimes)


def _network(network: Mapping[str, Any]) -> str:
    """What tells a network from others, in words."""
    return " ".join(f"{key} {value}" for key, value in network.items() if value not in (None, "", [], {}))


def _efficiency_panel(outcome: Outcome, task: str, regimes: Sequence[str]) -> Markup:
    metric, lines = outcome.metric(task), []
    for condition, colour in colours(outcome).items():
        by_size: dict[int, list[float]] = {}
        for regime in regimes:
            values = outcome.values(regime, task, metric, condition).values()
            by_size.setdefault(outcome.sizes[regime][task], []).extend(POINTS * v for v in values)
        held = [_band(size, values) for size, values in sorted(by_size.items())]
        lines.append(Line(condition, colour, held, {"condition": condition, "task": task, "metric": metric}))
    sizes = sorted({outcome.sizes[regime][task] for regime in regimes})
    label = f"{metric} of {task} against the number of its annotated rows"
    return curves(
        [line for line in lines if not _is_empty(line.points)],
        label,
        x_title=f"rows annotated for {task}",
        log=True,
        marks=True,
        x_ticks=sizes,
        number="{:.1f}".format,
    )
