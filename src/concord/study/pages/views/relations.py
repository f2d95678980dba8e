"""A relation as given, as estimated, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from markupsafe import Markup

from concord.study.pages.heat import Kind, Table, heat_map
from concord.study.pages.outcome import Row

NAMED_DISAGREEMENTS = 6
FRAMED = 0.3
"""A cell whose estimate is further from the table has a frame."""
NOTABLE = 0.05


def relation(record: Row) -> dict[str, Any]:
    """Heat maps of a relation, its largest disagreements, and what it cannot tell."""
    given, estimated = record["table"], record.get("estimated")
    rows, columns, name = record["rows"], record["columns"], record["name"]
    interval = record.get("interval")
    notes = [[_bounds(interval, i, j) for j in range(len(columns))] for i in range(len(rows))]

    def draw(table: Table, what: str, kind: Kind, **more: Any) -> Markup:
        return heat_map(table, rows, columns, f"{name}, {what}", kind=kind, **more)

    title = "As given" if record.get("given", True) else "As assumed"
    pictures = [{"title": title, "svg": draw(given, "as given", "probability", notes=notes)}]
    gaps: list[dict[str, Any]] = []
    if estimated:
        apart = [
            [_minus(e, g) for e, g in zip(*pair, strict=True)] for pair in zip(estimated, given, strict=True)
        ]
        gaps = _largest(apart, given, estimated, rows, columns)
        pictures += [
            {"title": "As estimated", "svg": draw(estimated, "as estimated", "probability")},
            {
                "title": "Estimate minus table",
                "svg": draw(
                    apart, "estimated minus given", "difference",
                    outlined=lambda i, j: abs(apart[i][j] or 0.0) > FRAMED,
                ),
            },
        ]  # fmt: skip
    return {
        "name": name.replace("->", " \N{RIGHTWARDS ARROW} "),
        "pictures": pictures,
        "estimated": bool(estimated),
        "gaps": gaps,
        "alike": [group for group in record.get("indistinguishable", []) if len(group) > 1],
        "mute": record.get("uninformative", []),
    }


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _bounds(interval: Any, i: int, j: int) -> str:
    if not interval or interval[0][i][j] is None:
        return ""
    return f"interval {interval[0][i][j]:.3f} to {interval[1][i][j]:.3f}"


def _largest(
    apart: Any, given: Any, estimated: Any, rows: Sequence[str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    known = [(i, j) for i, j in product(range(len(rows)), range(len(columns))) if apart[i][j] is not None]
    order = sorted(known, key=lambda at: -abs(apart[at[0]][at[1]]))
    return [
        {"row": rows[i], "column": columns[j], "given": given[i][j], "estimated": estimated[i][j]}
        for i, j in order[:NAMED_DISAGREEMENTS]
        if abs(apart[i][j]) >= NOTABLE
    ]
