"""A table of P(label | class) on the terminal, as JSON, and as CSV files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.terminal import columns_of, plain, say, whole_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from concord.relations import Relation

SHADES = ("grey50", "white", "cyan", "bold green")


def print_relation(shown: Console, relation: Relation, tolerance: float) -> None:
    """Show a table and what it tells apart, cells within the tolerance as equal."""
    for block in _drawn(relation, shown.width):
        shown.print(block)
    for line in _findings(relation, tolerance):
        shown.print(line)


def _drawn(relation: Relation, width: int) -> Iterator[Table]:
    """The table in blocks of as many columns as the terminal takes; long classes are folded for them."""
    rows = max(map(columns_of, (relation.source.name, *relation.source.classes)))
    room = width - min(rows, width // 2) - 2
    widths = [max(5, columns_of(name) + 2) for name in relation.target.outputs]
    blocks: list[list[int]] = [[]]
    for k in range(len(widths)):
        if blocks[-1] and sum(widths[j] for j in (*blocks[-1], k)) > room:
            blocks.append([])
        blocks[-1].append(k)
    for number, block in enumerate(blocks):
        yield _block(
            relation, block, f"P({relation.target.name} | {relation.source.name})" if not number else None
        )


def _block(relation: Relation, block: Sequence[int], title: str | None) -> Table:
    import numpy as np
    from rich.text import Text

    table = whole_table(title)
    table.add_column(plain(relation.source.name))
    for k in block:
        table.add_column(plain(relation.target.outputs[k]), justify="right")
    for i, name in enumerate(relation.source.classes):
        cells = []
        for value in relation.table[i, list(block)]:
            if np.isnan(value):
                cells.append(Text("?", "yellow"))
            else:
                shade = SHADES[0 if value == 0 else 1 + min(2, int(value * 3))]
                cells.append(Text(_short(value), shade))
        table.add_row(plain(name), *cells)
    return table


def _short(value: float) -> str:
    return "1" if value == 1 else "0" if value == 0 else f"{value:.2f}".lstrip("0")


def _findings(relation: Relation, tolerance: float) -> list[str]:
    groups, silent = relation.indistinguishable(tolerance), relation.uninformative(tolerance)
    unknown = int((~relation.known).sum())
    lines = [f"cannot tell apart: {', '.join(group)}" for group in groups] or ["tells all classes apart"]
    lines.append(
        f"say nothing of the class: {', '.join(silent)}" if silent else "every label tells something"
    )
    if unknown:
        lines.append(f"{unknown} of {relation.table.size} cells are unknown")
    return lines


def relation_json(relation: Relation, tolerance: float) -> dict[str, Any]:
    """A table, what is known of its cells, and what it tells apart, as plain data; null where unknown."""

    def cells(values: Any) -> dict[str, dict[str, float | None]]:
        return {
            name: {label: number_or_none(values[i, k]) for k, label in enumerate(relation.target.outputs)}
            for i, name in enumerate(relation.source.outputs)
        }

    found: dict[str, Any] = {
        "source": relation.source.name,
        "target": relation.target.name,
        "table": cells(relation.table),
        "indistinguishable": [list(group) for group in relation.indistinguishable(tolerance)],
        "uninformative": list(relation.uninformative(tolerance)),
    }
    if relation.interval is not None:
        found |= {"low": cells(relation.interval[0]), "high": cells(relation.interval[1])}
    if relation.strength is not None:
        found["count"] = cells(relation.strength)
    return found


def number_or_none(value: Any) -> float | None:
    """The number, as JSON has it: null where it is not finite."""
    return float(value) if isfinite(value) else None


def write_table(relation: Relation, path: Path) -> None:
    """Write a table and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    relation.to_csv(path)
    say(f"wrote {path}")


def write_cells(relation: Relation, path: Path) -> None:
    """Write mean, interval and count of every cell."""
    from math import isnan

    from concord.files import write_csv

    assert relation.interval is not None
    assert relation.strength is not None
    rows = [[relation.source.name, relation.target.name, "mean", "low", "high", "count"]]
    for i, name in enumerate(relation.source.classes):
        for k, label in enumerate(relation.target.outputs):
            values = (relation.table[i, k], *relation.interval[:, i, k], relation.strength[i, k])
            rows.append([name, label, *("" if isnan(v) else f"{v:.6g}" for v in values)])
    write_csv(path, rows)
