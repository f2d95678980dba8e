"""What was found, from the runs behind a page: plain data for its record, and long tables beside the pages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from held import Held

Facts = dict[str, Any]
Measured = Sequence[tuple[dict[str, Any], Any]]
"""Keys and measurements of a file."""


def facts_of(name: str, folder: Path, docs: Path) -> Facts:
    """What the page of evidence tells of a page: plain data. Long tables are written beside the page."""
    make = FACTS.get(name)
    return make(folder, docs) if make else {}


def _interval(values: Any) -> list[float | None]:
    """Mean and 95 % interval over seeds, rounded; no interval where there is one seed."""
    from concord.study import paired

    if len(values) < 2:
        return _rounded((float(values.mean()), math.nan, math.nan))
    found = paired(values)
    return _rounded((found.mean, found.low, found.high))


def _rounded(points: Iterable[Any]) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 2) for value in points]


def method_facts(folder: Path, docs: Path) -> Facts:
    """Gains of the scarce task by pack with the right table; every cell with a wrong one; what `auto` costs."""
    import polars as pl

    import method_page
    import search_table

    frame, main = method_page.load(folder / "features"), "auto-standard"
    gains, wrong = [], []
    for regime, role in (("few-class", "class"), ("few-label", "label")):
        found = method_page.differences(frame, main, "right", "single-task")
        found = found.filter(
            (pl.col("regime") == regime) & (pl.col("role") == role) & (pl.col("metric") != "map")
        )
        for (pack,), part in found.group_by(["pack"], maintain_order=True):
            gains.append({"pack": pack, "task": role, "points": _interval(part["difference"].to_numpy())})
    key = ["pack", "regime", "role", "metric"]
    worse, cells = 0, 0
    for shown in ("shuffled", "partly-wrong"):
        found = method_page.differences(frame, main, shown, "single-task")
        for names, part in found.group_by(key, maintain_order=True):
            where = "/".join(map(str, (shown, *names)))
            wrong.append({"where": where, "points": _interval(part["difference"].to_numpy())})
        if len(found) and found["seed"].n_unique() > 1:
            bad, count, _, _ = method_page.harm(found)
            worse, cells = worse + bad, cells + count
    costs = method_page.one_row_a_run(frame, main)["cost"].drop_nulls()
    mean = frame.group_by("pack", "regime", "condition", "table", "role", "metric", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("deviation"),
        pl.len().alias("seeds"),
    )
    search_table.write(
        mean,
        docs / "tables" / "method",
        "The method's board",
        "A row is the mean over seeds of one test metric.",
    )
    frame.write_parquet(docs / "tables" / "method.parquet", compression="zstd")
    return {
        "seeds": frame["seed"].n_unique(),
        "real": [pack for pack in method_page.REAL if pack in set(frame["pack"])],
        "gains": gains,
        "wrong": wrong,
        "significantly worse": [worse, cells],
        "cost": round(float(costs.mean()), 1) if len(costs) else None,
    }


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
    search_table.write(
        frame,
        docs / "tables" / "board",
        "The board",
        "A row is the mean over seeds of the main test metric, in points.",
    )
    every.write_parquet(docs / "tables" / "board.parquet", compression="zstd")
    return {
        "standing": board_page.standing(rows, about),
        "against": against,
        "blocks": sum(board_page.OURS in values for values in blocks.values()),
        "behind": [[*block, name, round(gap, 1)] for block, name, gap in behind],
    }


def results_facts(folder: Path, docs: Path) -> Facts:
    """Of each case study, how often `auto` is better and worse than single-task networks."""
    found = {}
    for path in sorted(folder.glob("*/summary.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
        said = [r["verdict"] for r in rows if r["condition"] == "auto" and r["baseline"] == "single-task"]
        found[path.parent.name] = [said.count("superior"), said.count("inferior"), len(said)]
    return {"auto": found}


def _measured(name: str, read: Callable[[Measured], list[list[str]]]) -> Callable[[Path, Path], Facts]:
    """Findings of a page whose measurements lie in one file: lines of what, how much, and what was asked."""

    def facts(folder: Path, docs: Path) -> Facts:
        return {"lines": read(Held(folder / f"{name}.jsonl").all())}

    return facts


def _rows(held: Measured) -> list[list[str]]:
    fits = [(key["rows"], value) for key, value in held if key.get("form") == "auto"]
    lines = [
        [
            f"`auto` on {rows:,} + {rows:,} rows",
            f"{found['seconds']:,.0f} s of one core, {found['mebibytes']:,.0f} MiB",
            "",
        ]
        for rows, found in sorted(fits, key=lambda each: each[0])
    ]
    if len(fits) > 1:
        (few, least), (many, most) = min(fits, key=lambda e: e[0]), max(fits, key=lambda e: e[0])
        slope = math.log(most["seconds"] / least["seconds"]) / math.log(many / few)
        lines.append(["slope of log time on log rows", f"{slope:.2f}", ""])
    return lines


def _steps(held: Measured) -> list[list[str]]:
    dearest = [max(found["steps"], key=lambda row: float(row[3])) for key, found in held if "case" in key]
    return [
        [
            f"a training step, {row[0]}, with the dearest coupling ({row[1]})",
            f"{row[3]} x a step without",
            row[5],
        ]
        for row in dearest
    ]


def _data(held: Measured) -> list[list[str]]:
    from data import GOALS

    return [
        [f"{step.replace('_', ' ')}: {name.replace('_', ' ')}", f"{value:,.2f}", GOALS[name]]
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
            [f"start of {name}", f"{value:.2f} s, {value / alone:.1f} x Python alone", GOALS.get(name, "")]
            for name, value in found["seconds"].items()
            if name != "Python alone"
        ]
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


def _worlds(held: Measured) -> list[list[str]]:
    from safety import rows_of

    worlds = dict.fromkeys(key["world"] for key, _ in held if "world" in key)
    return [
        rows_of(world, [value for key, value in held if key.get("world") == world])[1][:5] for world in worlds
    ]


FACTS: dict[str, Callable[[Path, Path], Facts]] = {
    "method": method_facts,
    "board": board_facts,
    "results": results_facts,
    **{
        name: _measured(name, read)
        for name, read in (
            ("many-rows", _rows), ("step-cost", _steps), ("data", _data), ("start", _starts), ("images", _images),
            ("safety", _worlds),
        )
    },
}  # fmt: skip
