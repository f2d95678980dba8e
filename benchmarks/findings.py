"""What was found, from the runs behind a page: plain data for its record, and long tables beside the pages."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from held import Held
from page import TESTED

Facts = dict[str, Any]
Measured = Sequence[tuple[dict[str, Any], Any]]
"""Keys and measurements of a file."""


def facts_of(name: str, folder: Path, docs: Path) -> Facts:
    """What the page of evidence tells of a page: plain data. Long tables are written beside the page."""
    make = FACTS.get("study" if name.startswith("study-") else name)
    return make(folder, docs) if make else {}


def _interval(values: Any) -> list[float | None]:
    """Mean and 95 % interval over seeds, rounded; no interval where there are too few seeds for a test."""
    from concord.study import paired

    if len(values) < TESTED:
        return _rounded((float(values.mean()), math.nan, math.nan))
    found = paired(values)
    return _rounded((found.mean, found.low, found.high))


def _rounded(points: Iterable[Any]) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 2) for value in points]


SCARCE = {"few-class": "class", "few-label": "label"}
"""The task with few rows, by regime."""

AGAINST = ("single-task", "balanced-shared", "none")
"""What a gain is over: what one would do without this package, sharing alone, and `auto` without the table."""


def method_facts(folder: Path, docs: Path) -> Facts:
    """Gains of the scarce task by pack with the right table, over three others; harm with each table; the cost."""
    import polars as pl

    import method_page
    import search_table

    frame, main = method_page.load(folder / "features"), "auto-standard"
    if not len(frame):
        return {}
    gains: list[Facts] = []
    for regime, role in SCARCE.items():
        by_pack: dict[str, Facts] = {}
        for other in AGAINST:
            found = (
                method_page.gain_of_table(frame, main)
                if other == "none"
                else method_page.differences(frame, main, "right", other)
            )
            found = method_page.of_task(found, regime, role)
            for (pack,), part in found.group_by(["pack"], maintain_order=True):
                each = by_pack.setdefault(str(pack), {"pack": pack, "task": role})
                each[other] = _interval(part["difference"].to_numpy())
        gains += by_pack.values()
    wrong, harm = [], []
    for shown in ("right", "none", "shuffled", "partly-wrong"):
        for baseline in AGAINST[:2]:
            found = method_page.differences(frame, main, shown, baseline)
            if not len(found):
                continue
            harm.append({"table": shown, "against": baseline, **_harm(found)})
            if shown in ("shuffled", "partly-wrong") and baseline == "single-task":
                for names, part in found.group_by(["pack", "regime", "role", "metric"], maintain_order=True):
                    where = "/".join(map(str, (shown, *names)))
                    wrong.append({"where": where, "points": _interval(part["difference"].to_numpy())})
    costs = method_page.costs(frame, main)
    mean = frame.group_by("pack", "regime", "condition", "table", "role", "metric", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("deviation"),
        pl.len().alias("seeds"),
    )
    told = "A row is the mean over seeds of one test metric."
    search_table.write(mean, docs / "tables" / "method", "The method's board", told, frame)
    return {
        "seeds": method_page.seeds_of(frame),
        "real": [pack for pack in method_page.REAL if pack in set(frame["pack"])],
        "gains": gains,
        "wrong": wrong,
        "harm": harm,
        "cost": [round(float(costs.mean()), 1), round(float(costs.max()), 1)] if len(costs) else None,
    }


def _harm(differences: Any) -> Facts:
    """How often they are below zero, and what the worst would be by chance."""
    import method_page

    seen = method_page.harm(differences)
    return {
        **seen._asdict(),
        "worst": round(seen.worst, 1),
        "chance": _rounded(method_page.simulated_worst(differences)),
        "shows": _rounded([seen.shows])[0],
        "low": [[where, round(mean, 1)] for where, mean in seen.low],
    }


def _by_pack(differences: Any) -> list[list[float | None]]:
    """Mean and interval of each pack."""
    return [
        _interval(own["difference"].to_numpy())
        for _, own in differences.group_by(["pack"], maintain_order=True)
    ]


def fresh_facts(folder: Path, docs: Path) -> Facts:
    """Gains of the scarce task over single-task networks on draws that nobody had looked at, by table."""
    import method_page

    frame = method_page.load(folder / "fresh")
    if not len(frame):
        return {}
    gains: list[Facts] = []
    seeds = sorted(frame["seed"].unique())
    for shown in ("right", "shuffled", "none"):
        found = method_page.differences(frame, "auto-standard", shown, "single-task")
        for regime, role in SCARCE.items():
            points = _by_pack(method_page.of_task(found, regime, role))
            gains.append({"table": shown, "task": role, "points": points})
    return {"seeds": [seeds[0], seeds[-1]], "until": method_page.UNSEEN_UNTIL, "gains": gains}


def rivals_facts(folder: Path, docs: Path) -> Facts:
    """`auto` against the best single-task model: the scarce and the rich task by pack, and how often it is below."""
    import method_page

    frame = method_page.beside_rivals(folder)
    if not len(frame):
        return {}
    against, harm = [], []
    for condition, shown in method_page.tables_beside(frame):
        found = method_page.differences(frame, condition, shown, method_page.BEST)
        harm.append({"condition": condition, "table": shown, **_harm(found)})
        for regime, role in product(SCARCE, SCARCE.values()):
            points = _by_pack(method_page.of_task(found, regime, role))
            if points:
                rows = "scarce" if SCARCE[regime] == role else "rich"
                against.append(
                    {"condition": condition, "table": shown, "task": role, "rows": rows, "points": points}
                )
    return {"seeds": method_page.seeds_of(frame), "against": against, "harm": harm}


def board_facts(folder: Path, docs: Path) -> Facts:
    """`auto` against each rival, pack by pack, and where another is first."""
    import polars as pl

    import board_page
    import search_table

    summaries = board_page.finished(folder)
    blocks = board_page.with_best_single(board_page.blocks_of(summaries), folder, summaries)
    rows, about = board_page.table_of(
        summaries,
        {b: {n: v for n, v in values.items() if n != board_page.BEST} for b, values in blocks.items()},
    )
    names = dict.fromkeys(name for values in blocks.values() for name in values if name != board_page.OURS)
    against = []
    for name in names:
        if found := board_page.against(blocks, name):
            points = _rounded(found[key] for key in ("difference", "low", "high"))
            against.append({"other": name, "packs": found["packs"], "points": points})
    behind = board_page.behind(blocks)
    every = pl.concat(
        pl.read_csv(folder / pack / "results.csv", infer_schema_length=None).insert_column(
            0, pl.lit(pack).alias("pack")
        )
        for pack in summaries
    )
    frame = pl.DataFrame(
        [(*block, name, value) for block, values in blocks.items() for name, value in values.items()],
        schema=["pack", "regime", "task", "condition", "points"],
        orient="row",
    )
    told = "A row is the mean over seeds of the main test metric, in points."
    search_table.write(frame, docs / "tables" / "board", "The board", told, every)
    return {
        "standing": board_page.standing(rows, about),
        "against": against,
        "blocks": sum(board_page.OURS in values for values in blocks.values()),
        "behind": [[*block, name, round(gap, 1)] for block, name, gap in behind],
        "metrics": _metrics(summaries.values()),
        "seeds": sorted({len(summary["seeds"]) for summary in summaries.values()}),
    }


def _metrics(summaries: Iterable[Facts]) -> list[str]:
    """Main metrics of studies, in words."""
    from concord.study import METRIC_WORDS

    found = sorted({metric for summary in summaries for metric in summary["metrics"].values()})
    return [METRIC_WORDS.get(metric, metric) for metric in found]


def study_facts(folder: Path, docs: Path) -> Facts:
    """Of each case study, how often `auto` is better and worse than single-task networks; controls apart.

    Controls are regimes with a shuffled table. A study of too few seeds is named by itself.
    """
    own, controls, untested = {}, {}, []
    for path in sorted(folder.glob("*/summary.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if len(summary["seeds"]) < TESTED:
            untested.append(path.parent.name)
            continue
        for found, control in ((own, False), (controls, True)):
            said = [
                row["verdict"]
                for row in summary["verdicts"]
                if row["condition"] == "auto"
                and row["baseline"] == "single-task"
                and row["regime"].endswith("shuffled") == control
            ]
            if said:
                found[path.parent.name] = [said.count("superior"), said.count("inferior"), len(said)]
    return {"auto": own, "controls": controls, "untested": untested}


def libmtl_facts(folder: Path, docs: Path) -> Facts:
    """`auto` against each weighting of LibMTL: the mean over regimes and tasks of the means over seeds."""
    import csv

    from concord.metrics import lower_is_better
    from concord.study import POINTS, Outcome

    outcome = Outcome.read(folder / "study")
    with (folder / "libmtl.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == outcome.metric(row["task"])]
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for row in rows:
        place = (row["regime"], row["task"])
        mine = outcome.values(row["regime"], row["task"], row["metric"], "auto")
        sign = -POINTS if lower_is_better(row["metric"]) else POINTS
        gap = sign * (mine[int(row["seed"])] - float(row["value"]))
        found.setdefault(row["condition"], {}).setdefault(place, []).append(gap)
    means = {name: [sum(each) / len(each) for each in places.values()] for name, places in found.items()}
    return {"against": {name: [len(each), round(sum(each) / len(each), 1)] for name, each in means.items()}}


def _measured(name: str, read: Callable[[Measured], list[list[str]]]) -> Callable[[Path, Path], Facts]:
    """Findings of a page whose measurements lie in one file: lines of what, how much, and what was asked."""

    def facts(folder: Path, docs: Path) -> Facts:
        return {"lines": read(Held(folder / f"{name}.jsonl").all())}

    return facts


def rows_facts(folder: Path, docs: Path) -> Facts:
    """What `auto` costs by rows; a slope within the machine that measured most."""
    held = Held(folder / "many-rows.jsonl")
    fits = sorted(
        ((key["rows"], value, held.place(key)) for key, value in held.all() if key.get("form") == "auto"),
        key=lambda each: each[0],
    )
    several = len({place for _, _, place in fits}) > 1
    lines = [
        [
            f"`auto` on {rows:,} + {rows:,} rows",
            f"{found['seconds']:,.0f} s of one core{f' ({place})' if several else ''}, {found['mebibytes']:,.0f} MiB",
            "",
        ]
        for rows, found, place in fits
    ]
    for place in dict.fromkeys(place for _, _, place in fits):
        own = [(rows, found["seconds"]) for rows, found, where in fits if where == place]
        (few, least), (many, most) = own[0], own[-1]
        if few < many:
            slope = math.log(most / least) / math.log(many / few)
            lines.append(
                [f"slope of log time on log rows{f', {place}' if several else ''}", f"{slope:.2f}", ""]
            )
    return {"lines": lines}


def _steps(held: Measured) -> list[list[str]]:
    lines = []
    for found in (found for key, found in held if "case" in key):
        row = max(found["steps"], key=lambda row: float(row[3]))
        what = f"a training step, {row[0]}, with the dearest coupling ({row[1]})"
        lines.append(_goal(what, f"{row[3]} x a step without", float(row[3]), row[5]))
        if loop := found.get("loop"):
            what = f"rows a second of `fit`, {loop[0]}"
            lines.append(_goal(what, f"{loop[3]} x those of a plain loop", float(loop[3]), loop[5]))
    return lines


def _goal(what: str, said: str, value: float, goal: str) -> list[str]:
    """A line of what was measured, with what was asked of it, and whether that is met."""
    if not goal:
        return [what, said, ""]
    sign, asked = goal.split()
    bound = float(asked.replace(",", ""))
    met = value <= bound if sign == "<=" else value >= bound
    return [what, said, f"{goal}: {'met' if met else '**missed**'}"]


def _data(held: Measured) -> list[list[str]]:
    from data import GOALS

    return [
        _goal(f"{step.replace('_', ' ')}: {name.replace('_', ' ')}", f"{value:,.2f}", value, GOALS[name])
        for key, found in held
        if "part" in key
        for step, values in found.items()
        for name, value in values.items()
        if name in GOALS
    ]


def _starts(held: Measured) -> list[list[str]]:
    from performance import GOALS

    lines = []
    for found in (value for key, value in held if key.get("part") == "start"):
        alone = found["seconds"]["Python alone"]
        lines += [
            _goal(
                f"start of {name}",
                f"{value:.2f} s, {value / alone:.1f} x Python alone",
                value,
                GOALS.get(name, ""),
            )
            for name, value in found["seconds"].items()
            if name != "Python alone"
        ]
    return lines


def _memory(held: Measured) -> list[list[str]]:
    from streamed_memory import GOAL, WAYS

    found = {(key["way"], key["images"]): value for key, value in held if "way" in key}
    images = sorted({count for _, count in found})
    if len(images) < 2:
        return []
    few, many = images[0], images[-1]
    return [
        _goal(
            f"memory of a training from files ({way}), {many:,} images for {few:,}",
            f"{found[way, many] / found[way, few]:.2f} x, {found[way, many]:,.0f} MiB",
            found[way, many] / found[way, few],
            GOAL if WAYS[way][0] else "",
        )
        for way in WAYS
        if {(way, few), (way, many)} <= set(found)
    ]


def _side(held: Measured) -> list[list[str]]:
    from side_by_side import GOAL

    pairs = [(key, value) for key, value in held if "pair" in key]
    if not pairs:
        return []
    ratio, key = statistics.median(other / one for _, (one, other) in pairs), pairs[0][0]
    what = f"`auto` on {key['rows']} + {key['rows']} rows, `n_jobs={key['jobs']}`"
    return [_goal(what, f"{ratio:.2f} x the time of one process", ratio, GOAL)]


def _throughputs(held: Measured) -> list[list[str]]:
    from libmtl_throughput import CASES, GOAL

    found: dict[str, list[float]] = {}
    for key, seconds in held:
        if key.get("pair", -1) >= 0:
            theirs, ours = seconds
            found.setdefault(key["case"], []).append(theirs / ours)
    return [
        _goal(
            f"rows a second of {CASES[name].title}",
            f"{statistics.median(ratios):.2f} x LibMTL's own trainer",
            statistics.median(ratios),
            GOAL,
        )
        for name, ratios in found.items()
    ]


def _scales(held: Measured) -> list[list[str]]:
    """The dearest step of the largest relation of each series."""
    lines, most = [], {}
    for key, found in held:
        if "series" in key and found["cells"] >= most.get(key["series"], {"cells": 0})["cells"]:
            most[key["series"]] = found
    for series, found in most.items():
        step = max(found["steps"], key=lambda name: found["steps"][name][0])
        seconds, mebibytes = found["steps"][step]
        what = f"a {series} relation of {found['cells']:,} known cells, the dearest step ({step})"
        lines.append([what, f"{seconds:.2f} s, {mebibytes:,.0f} MiB", ""])
    return lines


def _images(held: Measured) -> list[list[str]]:
    lines = []
    for found in (value["seconds"] for key, value in held if key.get("part") == "images"):
        for what, whole, part in (
            ("embedded", "embed", "forward"),
            ("trained on from files", "train", "step"),
        ):
            share = (found["decode"] + found[part]) / found[whole]
            lines.append(
                [
                    f"images {what}",
                    f"{1 / found[whole]:,.0f} a second, {share:.2f} of pillow and the network alone",
                    "",
                ]
            )
    return lines


def worlds_facts(folder: Path, docs: Path) -> Facts:
    """`auto` against single-task networks: worlds where sharing may harm, and ordinary packs."""
    from safety import odd, rows_of

    held = Held(folder / "safety.jsonl").all()
    worlds = dict.fromkeys(key["world"] for key, _ in held if "world" in key)
    found: dict[str, list[list[str]]] = {"odd": [], "ordinary": []}
    seeds = set()
    for world in worlds:
        own = [value for key, value in held if key.get("world") == world]
        found["odd" if odd(world) else "ordinary"].append(rows_of(world, own)[1][:5])
        seeds.add(len(own))
    return {**found, "seeds": sorted(seeds)}


def level_facts(folder: Path, docs: Path) -> Facts:
    """Lowest and highest share of draws in which a candidate takes the start's place: by rule, and by world for power."""
    from guard_level import NOISE

    held = [(key, value) for key, value in Held(folder / "guard-level.jsonl").all() if "world" in key]
    if not held:
        return {}
    shares: dict[str, list[float]] = {}
    power: dict[str, list[float]] = {}
    for key, value in held:
        kind, rows, groups, _, _, *unequal = key["world"]
        if kind == "better":
            where = f"{rows:,} rows"
            if groups:
                where += f" in {groups} {' '.join([*unequal, 'groups'])}"
            power.setdefault(where, []).append(value["joint"])
        elif kind == "as good":
            for rule in ("joint", "each"):
                shares.setdefault(rule, []).append(value[rule])
    return {
        "alpha": held[0][0]["alpha"],
        "draws": held[0][0]["draws"],
        **{rule: [min(found), max(found)] for rule, found in shares.items()},
        "less": round(1 - NOISE["better"], 2),
        "power": [[where, min(found), max(found)] for where, found in power.items()],
    }


FACTS: dict[str, Callable[[Path, Path], Facts]] = {
    "method": method_facts,
    "method-fresh": fresh_facts,
    "method-rivals": rivals_facts,
    "board": board_facts,
    "study": study_facts,
    "libmtl": libmtl_facts,
    "safety": worlds_facts,
    "guard-level": level_facts,
    "many-rows": rows_facts,
    **{
        name: _measured(name, read)
        for name, read in (
            ("step-cost", _steps), ("data", _data), ("start", _starts), ("images", _images),
            ("streamed-memory", _memory),
            ("side-by-side", _side), ("libmtl-throughput", _throughputs), ("relation-scale", _scales),
        )
    },
}  # fmt: skip
