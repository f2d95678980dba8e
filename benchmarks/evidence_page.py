"""docs/evidence.md: what was found, in the order of a reader's questions, from the records of measured pages alone.

When a page is written its findings go into its record (`facts_of`); this page is made of the records, so that it can
be written anywhere, and a part that today's code has not run is named with the command that runs it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import marks
from held import Held
from page import table

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#888888"
Facts = dict[str, Any]
Measured = Sequence[tuple[dict[str, Any], Any]]
"""Keys and measurements of a file."""


# -- findings of a page, from its runs -----------------------------------------------------------------


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


def _span(points: Sequence[float | None]) -> tuple[float, float, float]:
    """Mean, lower and upper end, NaN where a record has none."""
    mean, low, high = (math.nan if value is None else value for value in points)
    return mean, low, high


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


# -- the page ------------------------------------------------------------------------------------------


class Told:
    """What can be said of each page: its findings, whether they are of today's code, and what runs it."""

    def __init__(self, records: Mapping[str, Any], pages: Mapping[str, Any], command: str) -> None:
        self.records, self.pages, self.command = records, pages, command

    def facts(self, name: str) -> Facts | None:
        """Findings of a page; None where no run is at hand that left any."""
        return (self.records.get(name) or {}).get("facts")

    def source(self, *names: str) -> list[str]:
        """Where the numbers of a section are from, a line for each page."""
        lines = []
        for name in names:
            page, record = self.pages.get(name), self.records.get(name)
            if page is None:
                continue
            words = name.replace("-", " ")
            link = f"[{words}]({page.file})" if record else words
            run = f"`{self.command} {name}`"
            if record is None:
                lines.append(f"- {link}: not run; {run}.")
                continue
            dates = f"{record['dates'][-1]}, code {', '.join(record['code'])}"
            if record.get("quick"):
                lines.append(f"- {link}: {marks.QUICK.strip('> ')}")
            elif marks.changed(record, page.version()):
                what = "its numbers are" if self.facts(name) is None else "these numbers are"
                lines.append(f"- {link}: **not run again yet**, {what} of an older version ({dates}); {run}.")
            else:
                rest = f", {len(record['missing'])} of its parts not run" if record.get("missing") else ""
                lines.append(f"- {link}: by today's code ({dates}{rest}); {run}.")
        return ["", *lines] if lines else []


NOTHING = "No findings are recorded yet: each line below names the commands that measure, and an older page where there is one."


def write(docs: Path, records: Mapping[str, Any], pages: Mapping[str, Any], command: str) -> None:
    """Write evidence.md and its figures of what the records hold."""
    told = Told(records, pages, command)
    quick = any(record.get("quick") for record in records.values())
    lines = [
        "# Evidence",
        "",
        *([marks.QUICK, ""] if quick else []),
        "What was measured, in the order of the questions that one has. This page is written by `make evidence` from the",
        "records of what has run (`evidence.json`): nothing on it is typed by hand, and each section names what makes it.",
        "Points are differences x 100 of balanced accuracy (classes) or mean F1 (labels) on test rows.",
        "",
        "## Does it help?",
        "",
        *_helps(told.facts("method"), docs),
        *told.source("method"),
        "",
        "## Does it harm?",
        "",
        *_harms(told.facts("method"), told.facts("safety"), docs),
        *told.source("method", "safety", "guard-level"),
        "",
        "## Against what you would use instead",
        "",
        *_rivals(told.facts("board")),
        *told.source("board", "results", "libmtl", "written-tables-check", "written-tables", "audit"),
        "",
        "## What it costs",
        "",
        *_costs(told),
        *told.source("many-rows", "step-cost", "data", "side-by-side", "start", "images", "relation-scale"),
        "",
        "## Where it does not help",
        "",
        *_not_there(told),
        "",
        "Why that is so, and what to do then: [when coupling cannot help](explanations/when-not.md)."
        if (docs / "explanations" / "when-not.md").exists()
        else "",
        "",
        *_tables(docs),
    ]
    docs.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines).rstrip() + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    (docs / "evidence.md").write_text(text, encoding="utf-8")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _helps(facts: Facts | None, docs: Path) -> list[str]:
    if not facts:
        return [NOTHING]
    gains = facts["gains"]
    sure = [each for each in gains if _span(each["points"])[1] > 0]
    below = [each for each in gains if _span(each["points"])[2] < 0]
    by_task = {
        role: [each["points"][0] for each in gains if each["task"] == role] for role in ("class", "label")
    }
    means = " and ".join(
        f"{_mean(values):+.1f} points on scarce {'classes' if role == 'class' else 'labels'} ({len(values)} packs)"
        for role, values in by_task.items()
        if values
    )
    real = [each["points"][0] for each in gains if each["pack"] in facts["real"]]
    _figure(
        [(f"{each['pack']}, {each['task']}", each["points"]) for each in gains],
        docs / "figures" / "evidence-helps.svg",
        "points over single-task networks, the scarce task",
    )
    return [
        f"With the right table `auto` gains {means} over single-task networks, the mean over packs and {facts['seeds']} seeds. "
        f"Of {len(gains)} packs and scarce tasks, the 95 % interval over seeds lies above zero in {len(sure)} and below it in {len(below)}. "
        + (
            f"On packs whose labels do not follow from the table ({', '.join(facts['real'])}) the mean gain is {_mean(real):+.1f} points."
            if real
            else "No pack among them has labels that do not follow from the table."
        ),
        "",
        "![Gain of the scarce task by pack, with its interval](figures/evidence-helps.svg)",
    ]


def _harms(facts: Facts | None, worlds: Facts | None, docs: Path) -> list[str]:
    lines = []
    if facts and facts["wrong"]:
        wrong = sorted(facts["wrong"], key=lambda each: each["points"][0])
        worse, cells = facts["significantly worse"]
        lowest = wrong[0]
        _figure(
            [("", each["points"]) for each in wrong],
            docs / "figures" / "evidence-harms.svg",
            "points over single-task networks, a shuffled or partly wrong table",
        )
        lines += [
            f"With a shuffled or a partly wrong table, {worse} of {cells} cells (pack, regime, task, metric) lie "
            f"significantly below single-task networks, after Holm's correction. The lowest of all is {lowest['points'][0]:+.1f} "
            f"points ({lowest['where']}).",
            "",
            "![Every cell with a wrong table, sorted, with its interval](figures/evidence-harms.svg)",
        ]
    if worlds and worlds["lines"]:
        lines += [
            "",
            "Where sources look different or tasks are not related, `auto` against single-task networks:",
            "",
            table(["world", "", "balanced accuracy", "label F1", "average precision"], worlds["lines"]),
        ]
    return lines or [NOTHING]


def _rivals(facts: Facts | None) -> list[str]:
    if not facts:
        return [NOTHING]
    rows = [
        [f"`{each['other']}`", str(each["packs"]), *_points(each["points"])]
        for each in sorted(facts["against"], key=lambda each: each["points"][0])
    ]
    return [
        *facts["standing"],
        "",
        "Mean difference of `auto` over packs, in points, with Student's interval over them; the hardest rival first:",
        "",
        table(["against", "packs", "difference", "interval"], rows),
    ]


def _points(points: Sequence[float]) -> list[str]:
    mean, low, high = _span(points)
    return [f"{mean:+.1f}", "" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"]


def _costs(told: Told) -> list[str]:
    rows = [
        line
        for name in ("many-rows", "step-cost", "data", "start", "images")
        for line in (told.facts(name) or {}).get("lines", [])
    ]
    cost = (told.facts("method") or {}).get("cost")
    lines = (
        [f"`auto` trains as much as {cost:g} pairs of single-task models do, by its own account.", ""]
        if cost
        else []
    )
    if rows:
        lines.append(table(["what", "measured", "asked"], rows))
    return lines or [NOTHING]


def _not_there(told: Told) -> list[str]:
    lines = []
    if method := told.facts("method"):
        flat = [each for each in method["gains"] if not _span(each["points"])[1] > 0]
        named = ", ".join(f"{each['pack']} ({each['task']}, {each['points'][0]:+.1f})" for each in flat)
        lines.append(f"- No sure gain for the scarce task: {named or 'none of the packs'}.")
    if board := told.facts("board"):
        behind = board["behind"]
        text = f"- Another condition is first in {len(behind)} of {board['blocks']} blocks of pack, regime and task"
        most = [
            f"{pack}, {regime}, {task}: `{name}` by {gap:.1f}" for pack, regime, task, name, gap in behind[:5]
        ]
        lines.append(f"{text}{'; most of all ' + '; '.join(most) if most else ''}.")
    if results := told.facts("results"):
        bad = {name: counts for name, counts in results["auto"].items() if counts[1]}
        named = ", ".join(f"{name} ({worse} of {count})" for name, (_, worse, count) in bad.items())
        lines.append(
            f"- Case studies in which `auto` is shown to be worse than single-task networks: {named or 'none'}."
        )
    return lines or [f"No findings are recorded yet: `{told.command} method board results` measures them."]


def _tables(docs: Path) -> list[str]:
    found = sorted((docs / "tables").glob("*.html"))
    if not found:
        return []
    rows = [
        f"- {path.stem}: [search](tables/{path.name}), [Parquet](tables/{path.stem}.parquet)"
        for path in found
    ]
    return ["## All numbers", "", *rows]


def _figure(lines: Sequence[tuple[str, Sequence[float]]], path: Path, title: str) -> None:
    """Means with their intervals, one line each, from the top."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    named = any(name for name, _ in lines)
    height = 0.8 + (0.24 if named else 0.02) * max(len(lines), 1)
    figure, axes = plt.subplots(figsize=(7, max(height, 2.0)), layout="constrained")
    for place, (_, points) in enumerate(lines):
        mean, low, high = _span(points)
        colour = BLUE if low > 0 else ORANGE if high < 0 else GREY
        if not math.isnan(low):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.5 if named else 0.7)
        axes.plot(mean, place, "o", color=colour, markersize=5 if named else 2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(lines)) if named else [], [name for name, _ in lines] if named else [])
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "concord", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
