"""docs/evidence.md: what was found, in the order of a reader's questions, from the records of measured pages alone.

When a page is written its findings go into its record (`findings`); this page is made of the records, so that it can
be written anywhere, and a part that today's code has not run is named with the command that runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import marks
from concord.files import write_text
from page import table

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#888888"
Facts = dict[str, Any]


class Told:
    """What can be said of each page: its findings, whether they are of today's code, and what runs it."""

    def __init__(
        self, records: Mapping[str, Any], pages: Mapping[str, Any], now: Mapping[str, Any], command: str
    ) -> None:
        self.records, self.pages, self.now, self.command = records, pages, now, command

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
            elif marks.changed(record, self.now[name]):
                what = "its numbers are" if self.facts(name) is None else "these numbers are"
                lines.append(f"- {link}: **not run again yet**, {what} of an older version ({dates}); {run}.")
            else:
                rest = f", {len(record['missing'])} of its parts not run" if record.get("missing") else ""
                lines.append(f"- {link}: by today's code ({dates}{rest}); {run}.")
        return ["", *lines] if lines else []


NOTHING = "No findings are recorded yet: each line below names the commands that measure, and an older page where there is one."


def write(
    docs: Path, records: Mapping[str, Any], pages: Mapping[str, Any], now: Mapping[str, Any], command: str
) -> None:
    """Write evidence.md and its figures of what the records hold; `now` are the versions of pages today."""
    told = Told(records, pages, now, command)
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
    write_text(docs / "evidence.md", text)


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


def _span(points: Sequence[float | None]) -> tuple[float, float, float]:
    """Mean, lower and upper end, NaN where a record has none."""
    mean, low, high = (math.nan if value is None else value for value in points)
    return mean, low, high
