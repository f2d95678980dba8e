"""A comparison as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from concord.study.judging import METRIC_WORDS, VERDICT_WORDS
from concord.terminal import plain, whole_table

STYLES = {"superior": "green", "inferior": "red", "non-inferior": "", "undecided": "dim"}


def result_tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """One table for each regime and task: means, paired differences, intervals, verdicts.

    Args:
        summary: What `compare` returns.
    """
    baselines = list(dict.fromkeys(row["baseline"] for row in summary["verdicts"]))
    found = {
        (row["regime"], row["task"], row["condition"], row["baseline"]): row for row in summary["verdicts"]
    }
    means = [row for row in summary["means"] if row["metric"] == summary["metrics"][row["task"]]]
    percent = f"{100 * summary['level']:g} %"
    for regime, task in dict.fromkeys((row["regime"], row["task"]) for row in means):
        metric = METRIC_WORDS.get(summary["metrics"][task], summary["metrics"][task])
        table = whole_table(f"{regime}: {task}, {metric}; differences to baselines, {percent} intervals")
        table.add_column("condition")
        table.add_column("mean (sd)", justify="right")
        for baseline in baselines:
            table.add_column(plain(baseline), justify="right")
            table.add_column("verdict")
        for row in means:
            if (row["regime"], row["task"]) == (regime, task):
                cells: list[str | Text] = []
                for baseline in baselines:
                    cells += _compared(found.get((regime, task, row["condition"], baseline)))
                table.add_row(plain(row["condition"]), _mean(row), *cells)
        yield table


def _mean(row: Mapping[str, Any]) -> str:
    spread = "" if row["sd"] is None else f" ({100 * row['sd']:.1f})"
    return f"{100 * row['mean']:.1f}{spread}"


def _compared(row: Mapping[str, Any] | None) -> tuple[str, str | Text]:
    if row is None:
        return "", ""
    # Student's interval is symmetric: its half width says it in fewer columns.
    interval = "" if row["low"] is None else f" ± {(row['high'] - row['low']) / 2:.1f}"
    words, style = VERDICT_WORDS[row["verdict"]], STYLES[row["verdict"]]
    return f"{row['difference']:+.1f}{interval}", Text(words, style)
