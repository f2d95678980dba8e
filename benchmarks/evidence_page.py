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
from page import TESTED, UNTESTED, table

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

    def studies(self) -> list[str]:
        """Pages of case studies."""
        return [name for name in self.pages if name.startswith("study-")]

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
            places = "; ".join(dict.fromkeys(marks.place(each) for each in record.get("machines", [])))
            dates = (
                f"{record['dates'][-1]}, code {', '.join(record['code'])}{f', on {places}' if places else ''}"
            )
            counts = [
                (len(record.get(key, [])), said)
                for key, said in (("partly", "in part"), ("missing", "not run"))
            ]
            rest = "".join(f", {count} of its parts {said}" for count, said in counts if count)
            if record.get("quick"):
                lines.append(f"- {link}: {marks.QUICK.strip('> ')} ({dates})")
            elif marks.changed(record, self.now[name]):
                what = "its numbers are" if self.facts(name) is None else "these numbers are"
                lines.append(
                    f"- {link}: **not run again yet**, {what} of an older version ({dates}{rest}); {run}."
                )
            elif told := marks.sampled(record):
                lines.append(
                    f"- {link}: it still holds ({dates}{rest}): {told[:1].lower()}{told[1:-1]}; {run}."
                )
            else:
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
        "Points are differences x 100 of a metric on test rows, which each section names; a difference is tested from three",
        "paired seeds on, and an interval is Student's over seeds at 95 %.",
        "",
        "## Does it help?",
        "",
        *_helps(told.facts("method"), docs),
        *_fresh(told.facts("method-fresh")),
        *told.source("method", "method-fresh", "method-images"),
        "",
        "## Does it harm?",
        "",
        *(
            _harms(told.facts("method"), docs)
            + _worlds(told.facts("safety"))
            + _level(told.facts("guard-level"))
            or [NOTHING]
        ),
        *told.source("method", "method-controls", "safety", "guard-level"),
        "",
        "## Against what you would use instead",
        "",
        *(
            _best_single(told.facts("method-rivals"))
            + _rivals(told.facts("board"))
            + _libmtl(told.facts("libmtl"))
            or [NOTHING]
        ),
        *told.source(
            "method-rivals",
            "board",
            *told.studies(),
            "libmtl",
            "written-tables-check",
            "written-tables",
            "audit",
        ),
        "",
        "## What it costs",
        "",
        *_costs(told),
        *told.source(*COSTS),
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


COSTS = (
    "many-rows", "step-cost", "libmtl-throughput", "data", "side-by-side", "start", "images", "streamed-memory", "relation-scale",
)  # fmt: skip
"""Measurements that say what it costs, in the order of the page."""

OTHERS = {
    "single-task": "over single-task networks",
    "balanced-shared": "over one shared network",
    "none": "over `auto` without the table",
}
"""What a gain is over, by its name in the findings."""

METHOD_METRICS = "Metrics: balanced accuracy of classes, mean F1 of labels (balanced accuracy of clinc150's second task, which has classes)"


def _helps(facts: Facts | None, docs: Path) -> list[str]:
    if not facts:
        return [NOTHING]
    gains = facts["gains"]
    real = [each for each in gains if each["pack"] in facts["real"]]
    rows = [
        [
            f"{named}{which}",
            str(len(own)),
            *(_gains([each[other] for each in own if other in each]) for other in OTHERS),
        ]
        for role, named in (("class", "classes"), ("label", "labels"))
        for which, found in (("", gains), (", packs with real labels", real))
        if (own := [each for each in found if each["task"] == role])
    ]
    _figure(
        [(f"{each['pack']}, {each['task']}", each["single-task"]) for each in gains],
        docs / "figures" / "evidence-helps.svg",
        "points over single-task networks, the scarce task",
    )
    return [
        f"What `auto` gains with the right table for the scarce task, in points: the mean over packs ({facts['seeds']} seeds), and in how "
        "many of the packs that have an interval it lies above and below zero. The first two columns hold what sharing gives as "
        f"well; the last is what the table adds, on the same rows. {METHOD_METRICS}.",
        "",
        table(["scarce task", "packs", *OTHERS.values()], rows),
        "",
        f"Real labels do not follow from the table: {', '.join(facts['real'])}."
        if facts["real"]
        else "No pack among them has labels that do not follow from the table.",
        "",
        "![Gain of the scarce task by pack over single-task networks, with its interval](figures/evidence-helps.svg)",
    ]


def _fresh(facts: Facts | None) -> list[str]:
    if not facts:
        return []
    named = {"class": "classes", "label": "labels"}
    rows = [
        [each["table"], f"scarce {named[each['task']]}", _gains(each["points"])] for each in facts["gains"]
    ]
    first, last = facts["seeds"]
    return [
        "",
        f"On seeds {first} to {last}, at which nobody had looked before {facts['until']}, over single-task networks:",
        "",
        table(["table", "scarce task", "points"], rows),
    ]


def _gains(points: Sequence[Sequence[float]]) -> str:
    """Their mean, and in how many of those that were tested the interval lies above and below zero."""
    if not points:
        return "not run"
    spans = [_span(each) for each in points]
    tested = [each for each in spans if not math.isnan(each[1])]
    above, below = sum(low > 0 for _, low, _ in tested), sum(high < 0 for _, _, high in tested)
    said = f"above in {above}, below in {below} of {len(tested)}" if tested else UNTESTED
    return f"{_mean([each[0] for each in spans]):+.1f}; {said}"


def _harms(facts: Facts | None, docs: Path) -> list[str]:
    if not facts or not facts["harm"]:
        return []
    rows = []
    for each in facts["harm"]:
        median, low = each["chance"]
        tested = each["tested"]
        rows.append(
            [
                each["table"], OTHERS[each["against"]].removeprefix("over "), str(each["cells"]),
                f"{each['worse']} of {tested}" if tested else UNTESTED,
                f"{each['below']} of {tested}" if tested else UNTESTED,
                (f"{each['shows']:.1f}" if "shows" in each else "not noted") if tested else UNTESTED,
                f"{each['worst']:+.1f} ({each['where']})",
                f"{median:+.1f} / {low:+.1f}" if tested == each["cells"] and low is not None else UNTESTED,
            ]
        )  # fmt: skip
    lines = [
        "How often `auto` is below either reference, by the table that it is shown. A cell is a pack, regime, task and metric "
        "(balanced accuracy; mean F1 and average precision of labels). Significantly: one-sided paired t-tests, with Holm's "
        "correction over the cells of a row that were tested, each row by itself. Least loss shown: what "
        "the mean of a cell has to be measured as to be significant, at the median of their noise; a true loss of that size is seen about half the "
        "time. By chance: the worst cell of a method without any effect, at the median and at 5 %, by the noise of cells without a sure gain. Seeds draw training rows; the "
        "test rows of a pack are the same for all, and no interval of packs holds their noise (those of case studies do).",
        "",
        table(
            [
                "table",
                "against",
                "cells",
                "significantly below",
                "interval below, uncorrected",
                "least loss shown",
                "worst cell",
                "worst by chance",
            ],
            rows,
        ),
    ]
    if wrong := sorted(facts["wrong"], key=lambda each: each["points"][0]):
        _figure(
            [("", each["points"]) for each in wrong],
            docs / "figures" / "evidence-harms.svg",
            "points over single-task networks, a shuffled or partly wrong table",
        )
        lines += [
            "",
            "![Every cell with a wrong table, sorted, with its interval](figures/evidence-harms.svg)",
        ]
    return lines


def _worlds(facts: Facts | None) -> list[str]:
    if not facts:
        return []
    lines, head = [], ["world", "", "balanced accuracy", "label F1", "average precision"]
    for key, said in (
        ("odd", "Where sources look different, or tasks are not related"),
        ("ordinary", "On packs of related tasks"),
    ):
        if facts[key]:
            words = f"`auto` against single-task networks: the mean over {_seeds(facts['seeds'])}, in brackets the standard error:"
            lines += ["", f"{said}, {words}", "", table(head, facts[key])]
    if facts["odd"]:
        lines += [
            "",
            "Where inputs differ `auto` brings each source to a scale of its own, which the single-task networks beside it do not have: where it "
            "chose them for both tasks ([what was chosen](harm.md)), a difference is that of the scale, not of sharing, and may hide a loss as "
            "well as look like a gain. These differences are not tested.",
        ]
    return lines


def _seeds(counts: Sequence[int]) -> str:
    return f"{' or '.join(map(str, counts))} {'seed' if list(counts) == [1] else 'seeds'}"


def _level(facts: Facts | None) -> list[str]:
    if not facts:
        return []

    def between(shares: Sequence[float]) -> str:
        return " to ".join(dict.fromkeys(f"{100 * share:.1f} %" for share in shares))

    found = "; ".join(f"{where}: {between(shares)}" for where, *shares in facts["power"])
    return [
        "",
        f"The guard's test, simulated at a level of {100 * facts['alpha']:g} % ({facts['draws']} draws a world): candidates that are as "
        f"good as the start, the hardest case without harm, take its place in {between(facts['joint'])} of draws; each tested by "
        f"itself, without a level over all, in {between(facts['each'])}. Better ones, whose noise is {100 * facts['less']:g} % less, are found in: {found}.",
    ]


def _best_single(facts: Facts | None) -> list[str]:
    if not facts:
        return []
    named = {"auto-rivals": "`auto` with rivals", "auto-standard": "`auto` as it is by default"}
    rows, places = [], [("class", "scarce"), ("label", "scarce"), ("class", "rich"), ("label", "rich")]
    for each in facts["harm"]:
        key = (each["condition"], each["table"])
        own = {
            (one["task"], one["rows"]): _gains(one["points"])
            for one in facts["against"]
            if (one["condition"], one["table"]) == key
        }
        tested = each["tested"]
        below = (
            f"{each['worse']} of {tested}; worst {each['worst']:+.1f} ({each['where']})"
            if tested
            else UNTESTED
        )
        rows.append(
            [named.get(key[0], key[0]), key[1], *(own.get(place, "not run") for place in places), below]
        )
    head = ["", "table", *(f"{rows} {'classes' if task == 'class' else 'labels'}" for task, rows in places)]
    return [
        "Against the best single-task model that one would have: a network, logistic regression, extremely randomised trees or, where "
        f"it is affordable, gradient boosting, chosen for each task and seed on validation rows ({facts['seeds']} seeds). The mean over packs, "
        f"and in how many of them the interval lies above and below zero. {METHOD_METRICS}. The last column is over cells of pack, "
        "regime, task and metric: significantly below, with Holm's correction, and the worst of them.",
        "",
        table([*head, "below"], rows),
        "",
    ]


def _rivals(facts: Facts | None) -> list[str]:
    if not facts:
        return []
    rows = [
        [f"`{each['other']}`", str(each["packs"]), *_points(each["points"])]
        for each in sorted(facts["against"], key=lambda each: each["points"][0])
    ]
    return [
        *facts["standing"],
        "",
        "Mean difference of `auto` over packs, in points, with Student's interval over packs; the hardest rival first. "
        f"{_seeds(facts['seeds'])} a pack; metrics: {', '.join(facts['metrics'])}, as [the board](board.md) "
        "says pack by pack.",
        "",
        table(["against", "packs", "difference", "interval"], rows),
    ]


def _libmtl(facts: Facts | None) -> list[str]:
    if not facts or not facts["against"]:
        return []
    rows = [[name, str(count), f"{mean:+.1f}"] for name, (count, mean) in facts["against"].items()]
    return [
        "",
        "`auto` against LibMTL on one study: the mean difference over regimes and tasks, in points, which is not tested:",
        "",
        table(["against", "regimes and tasks", "difference"], rows),
    ]


def _points(points: Sequence[float]) -> list[str]:
    mean, low, high = _span(points)
    return [f"{mean:+.1f}", "" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"]


def _costs(told: Told) -> list[str]:
    rows = [line for name in COSTS for line in (told.facts(name) or {}).get("lines", [])]
    cost = (told.facts("method") or {}).get("cost")
    lines = (
        [
            f"`auto` trains as much as {cost[0]:g} pairs of single-task models do on average where a task is scarce, {cost[1]:g} at most, by its own account.",
            "",
        ]
        if cost
        else []
    )
    if rows:
        lines.append(table(["what", "measured", "asked"], rows))
    return lines or [NOTHING]


def _not_there(told: Told) -> list[str]:
    lines = []
    if method := told.facts("method"):
        tested = [each for each in method["gains"] if each["single-task"][1] is not None]
        flat = [each for each in tested if each["single-task"][1] <= 0]
        named = ", ".join(f"{each['pack']} ({each['task']}, {each['single-task'][0]:+.1f})" for each in flat)
        said = f"{named or 'none'}, of {len(tested)} packs and tasks that were tested" if tested else UNTESTED
        lines.append(f"- No sure gain for the scarce task over single-task networks: {said}.")
    for name, against in (
        ("method", "single-task networks"),
        ("method-rivals", "the best single-task model"),
    ):
        lines += _losses((told.facts(name) or {}).get("harm", []), against)
    if board := told.facts("board"):
        behind = board["behind"]
        text = f"- Another condition is first in {len(behind)} of {board['blocks']} blocks of pack, regime and task"
        most = [
            f"{pack}, {regime}, {task}: `{name}` by {gap:.1f}" for pack, regime, task, name, gap in behind[:5]
        ]
        lines.append(f"{text}{'; most of all ' + '; '.join(most) if most else ''}.")
    studies = [facts for name in told.studies() if (facts := told.facts(name))]
    silent = [name.removeprefix("study-") for name in told.studies() if not told.facts(name)]
    for key, what in (("auto", "Case studies"), ("controls", "Their controls, with a shuffled table")):
        if counts := {name: count for facts in studies for name, count in facts[key].items()}:
            lines.append(f"- {what}: {_worse(counts)}.")
    if silent and studies:
        lines.append(
            f"- Case studies of which no findings are recorded by this version: {', '.join(silent)}."
        )
    if untested := [name for facts in studies for name in facts["untested"]]:
        lines.append(f"- Case studies of fewer than {TESTED} seeds, {UNTESTED}: {', '.join(untested)}.")
    return lines or [f"No findings are recorded yet: `{told.command} method board results` measures them."]


def _losses(harm: Sequence[Mapping[str, Any]], against: str) -> list[str]:
    """Cells that are below a reference, of all tables and kinds of `auto`: by how much, and whether that is significant."""
    own = [
        each
        for each in harm
        if each.get("against", "single-task") == "single-task" and each["tested"] and "low" in each
    ]
    lowest: dict[str, float] = {}
    for each in own:
        for where, mean in each["low"]:
            lowest[where] = min(mean, lowest.get(where, mean))
    if not own:
        return []
    named = ", ".join(
        f"{where} ({mean:+.1f})" for where, mean in sorted(lowest.items(), key=lambda one: one[1])
    )
    worse = max(each["worse"] for each in own)
    return [
        f"- Below {against}: cells of pack, regime, task and metric whose 95 % interval is below zero with some table, and the lowest of their "
        f"means: {named or 'none'}. After Holm's correction at most {worse} of {own[0]['tested']} with any one table."
    ]


def _worse(counts: Mapping[str, Sequence[int]]) -> str:
    """How many comparisons of how many studies are to the worse."""
    bad = {name: worse for name, (_, worse, _) in counts.items() if worse}
    every = sum(count for _, _, count in counts.values())
    named = f" ({', '.join(f'{name} {worse}' for name, worse in bad.items())})" if bad else ""
    return (
        f"`auto` is shown to be worse than single-task networks in {sum(bad.values())} of {every} comparisons, "
        f"in {len(bad)} of {len(counts)} studies{named}"
    )


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
