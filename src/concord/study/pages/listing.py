"""Records as tables for a page: what a column is called, how its values are written and sorted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from concord.study.pages.plots import points

VERDICT_WORDS = {
    "superior": "better",
    "non-inferior": "not worse",
    "undecided": "undecided",
    "inferior": "worse",
}
"""Verdicts as a page says them, best first."""

TRACED = ("study", "regime", "condition", "task", "metric", "baseline")
"""Columns that say which rows of `results.csv` a number comes from."""

GAP = "\N{EN DASH}"

STARTED = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\+00:00|Z)$")


@dataclass(frozen=True)
class Column:
    """A column: its key in the records, its heading, whether it holds numbers, whether one filters by it."""

    key: str
    title: str
    number: bool
    facet: bool


@dataclass(frozen=True)
class Cell:
    """A value as written, what it is sorted by, and its class in the style sheet."""

    text: str
    order: str
    look: str = ""


@dataclass(frozen=True)
class Row:
    """A row of cells, and what its numbers are traced by."""

    cells: Sequence[Cell]
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """A table that sorts and filters."""

    name: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Row]


def listing(
    name: str, title: str, records: Sequence[Mapping[str, Any]], note: str = "", *, traced: bool = True
) -> Listing:
    """Make a table of records; its columns are their keys, in the order they first occur.

    Args:
        name: Unique on the page.
        title: Heading.
        records: Rows; a value that is missing or None is a gap.
        note: A sentence below the heading.
        traced: Whether a row leads to the rows of `results.csv` that its numbers are means of.
    """
    keys = list(dict.fromkeys(key for record in records for key in record))
    columns = [_column(key, [record.get(key) for record in records]) for key in keys]
    rows = [
        Row(
            [_cell(key, record.get(key)) for key in keys],
            {key: record[key] for key in TRACED if traced and record.get(key) is not None},
        )
        for record in records
    ]
    return Listing(name, title, note, columns, rows)


def _column(key: str, values: Sequence[Any]) -> Column:
    number = any(_is_number(value) for value in values)
    distinct = {str(value) for value in values}
    return Column(key, TITLES.get(key, key.replace("_", " ")), number, not number and 1 < len(distinct) <= 40)


def _cell(key: str, value: Any) -> Cell:
    text = written(key, value)
    if key == "verdict":
        return Cell(VERDICT_WORDS.get(text, text), str(_rank(text)), f"v-{text}")
    if _is_number(value):
        return Cell(text, repr(float(value)), "number")
    return Cell(text, "" if text == GAP else text.lower())


def _rank(verdict: str) -> int:
    return list(VERDICT_WORDS).index(verdict) if verdict in VERDICT_WORDS else len(VERDICT_WORDS)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def written(key: str, value: Any) -> str:
    """A value as a page shows it: points with signs, metrics in points, p-values short, gaps as a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return GAP
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        return FORMS.get(key, _plain)(value)
    return STARTED.sub(r"\1 \2 UTC", str(value))


def span(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _metric(value: float) -> str:
    return f"{100 * value:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _memory(mebibytes: float) -> str:
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_240 else f"{mebibytes / 1024:.1f} GiB"


FORMS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(
        ("difference", "low", "high", "bootstrap_low", "bootstrap_high", "lowest", "gain"), points
    ),
    **dict.fromkeys(("p", "p_holm"), _p),
    **dict.fromkeys(("mean", "sd"), _metric),
    **dict.fromkeys(("rate", "rate_beyond_margin"), _share),
    **dict.fromkeys(("seconds", "duration"), span),
    "memory": _memory,
}

TITLES = {
    "n_seeds": "seeds",
    "n": "seeds",
    "p_holm": "p (Holm)",
    "bootstrap_low": "low, test rows",
    "bootstrap_high": "high, test rows",
    "gain": "mean %",
    "rate": "rate",
    "rate_beyond_margin": "rate beyond margin",
}
