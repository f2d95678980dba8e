"""Tables as heat maps: probabilities, differences of two tables, confusions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from markupsafe import Markup

from concord.study.pages.plots import WIDTH, points
from concord.study.pages.svg import drawing, fitted, hover, tag, text_width

Table = Sequence[Sequence[float | None]]
Kind = Literal["probability", "difference", "confusion"]

DENSE = 2000
"""A table of more cells is drawn small and without a word in or on its cells: a page has to stay light."""

DENSE_CELL = 5.0
FLIPS = {
    "p": (0.755, 0.555),
    "right": (0.755, 0.555),
    "plus": (0.935, 0.61),
    "minus": (0.905, 0.695),
    "wrong": (0.92, 0.675),
}
"""Strength of each colour beyond which the number on it changes from black to white by day, and from white
to black by night: on either side its contrast is at least 4.5."""

LEVELS = 16
"""Strengths of colour in a dense table."""


@dataclass(frozen=True)
class Shade:
    """Colour of a cell, its strength in [0, 1], its value in words, and as short as a cell needs it."""

    colour: str
    strength: float
    description: str
    text: str


@dataclass(frozen=True)
class Grid:
    """Where cells are, in pixels."""

    left: float
    top: float
    wide: float
    high: float
    upright: bool

    def box(self, i: int, j: int) -> tuple[float, float]:
        """Upper left corner of a cell."""
        return self.left + self.wide * j, self.top + self.high * i


def heat_map(
    table: Table,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    *,
    kind: Kind,
    width: float = WIDTH,
    notes: Sequence[Sequence[str]] | None = None,
    outlined: Callable[[int, int], bool] = lambda _i, _j: False,
) -> Markup:
    """A table as coloured cells; what nobody knows is hatched.

    Args:
        table: Cells in rows; None is unknown.
        rows: Names of the rows.
        columns: Names of the columns.
        label: Says in words what the picture shows.
        kind: `probability` (cells in [0, 1]), `difference` (cells in [-1, 1], two colours by sign) or
            `confusion` (counts: shares of their row, the diagonal in one colour and mistakes in another).
        width: Pixels that it may take where its cells then have room; a wide table grows beyond.
        notes: More to say of each cell.
        outlined: Whether a cell (row, column) has a frame.
    """
    dense = len(rows) * len(columns) > DENSE
    grid = _grid(rows, columns, width, dense)
    if dense:
        cells = list(_dense(table, kind, grid))
    else:
        shades = _shades(table, kind)
        cells = [
            _cell(
                shades[i][j],
                grid,
                (i, j),
                f"{rows[i]} \N{RIGHTWARDS ARROW} {columns[j]}",
                notes[i][j] if notes else "",
                outlined(i, j),
                "no row of this class" if kind == "confusion" else "unknown",
            )
            for i, j in product(range(len(rows)), range(len(columns)))
        ]
    step = 3 if dense else 1
    heads = [_head(name, grid, j) for j, name in enumerate(columns) if j % step == 0]
    sides = [_side(name, grid, i) for i, name in enumerate(rows) if i % step == 0]
    right, bottom = grid.box(len(rows), len(columns))
    return drawing(right + 4, bottom + 4, label, *sides, *heads, *cells, fixed=right + 4 > WIDTH)


def _grid(rows: Sequence[str], columns: Sequence[str], width: float, dense: bool) -> Grid:
    longest = max(text_width(name, 11) for name in columns)
    left = min(120.0, 10 + max(text_width(name, 11) for name in rows))
    wide = DENSE_CELL if dense else min(40.0, max(13.0, (width - left - 4) / len(columns)))
    upright = dense or longest > wide - 2
    return Grid(left, min(110.0, 10 + longest) if upright else 20.0, wide, min(wide, 28.0), upright)


def _head(name: str, grid: Grid, j: int) -> Markup:
    x, y = grid.left + grid.wide * (j + 0.5), grid.top - 6
    placed = {
        "x": x,
        "y": y + 4,
        "dx": 2,
        "text_anchor": "start",
        "transform": f"rotate(-90 {x:.2f} {y:.2f})",
    }
    flat = {"x": x, "y": y, "text_anchor": "middle"}
    return _name(name, grid.top - 8, placed if grid.upright else flat)


def _side(name: str, grid: Grid, i: int) -> Markup:
    y = grid.top + grid.high * (i + 0.5) + 4
    return _name(name, grid.left - 8, {"x": grid.left - 6, "y": y, "text_anchor": "end"})


def _name(name: str, room: float, placed: dict[str, object]) -> Markup:
    return tag("text", fitted(name, room, 11), hover(name), class_="side", **placed)


def _cell(
    shade: Shade | None, grid: Grid, at: tuple[int, int], name: str, note: str, outlined: bool, gap: str
) -> Markup:
    if shade is None:
        return tag("g", hover(f"{name}: {gap}"), _box(grid, at, "unknown"))
    x, y = grid.box(*at)
    parts = [
        hover("\n".join(filter(None, (f"{name}: {shade.description}", note)))),
        _box(grid, at, "ground"),
        _box(grid, at, f"{shade.colour} framed" if outlined else shade.colour, shade.strength),
    ]
    if grid.wide >= 22 and grid.high >= 14 and shade.text:
        look = _inked(shade)
        middle = (x + grid.wide / 2, y + grid.high / 2 + 3.5)
        parts.append(tag("text", shade.text, class_=look, x=middle[0], y=middle[1], text_anchor="middle"))
    return tag("g", *parts)


def _inked(shade: Shade) -> str:
    day, night = FLIPS[shade.colour]
    return "cell" + " on" * (shade.strength > day) + " night" * (shade.strength > night)


def _box(grid: Grid, at: tuple[int, int], look: str, strength: float | None = None) -> Markup:
    x, y = grid.box(*at)
    size = {"width": grid.wide - 2, "height": grid.high - 2, "rx": 2}
    return tag("rect", class_=look, fill_opacity=strength, x=x + 1, y=y + 1, **size)


def _dense(table: Table, kind: Kind, grid: Grid) -> Iterator[Markup]:
    """One path for all cells of a colour and strength."""
    right, bottom = grid.box(len(table), len(table[0]))
    size = {"width": right - grid.left, "height": bottom - grid.top}
    yield tag("rect", class_="ground", x=grid.left, y=grid.top, **size)
    held: dict[tuple[str, int], list[str]] = {}
    for i, shades in enumerate(_shades(table, kind)):
        for j, shade in enumerate(shades):
            colour, level = (
                ("unknown", LEVELS) if shade is None else (shade.colour, round(LEVELS * shade.strength))
            )
            if level:
                x, y = grid.box(i, j)
                held.setdefault((colour, level), []).append(
                    f"M{x:g},{y:g}h{grid.wide:g}v{grid.high:g}h-{grid.wide:g}z"
                )
    for (colour, level), paths in held.items():
        yield tag("path", class_=colour, fill_opacity=level / LEVELS, d="".join(paths))


def _shades(table: Table, kind: Kind) -> list[list[Shade | None]]:
    out: list[list[Shade | None]] = []
    for i, row in enumerate(table):
        total = sum(value or 0.0 for value in row)
        out.append(
            [
                None
                if value is None or (kind == "confusion" and not total)
                else _shade(value, kind, total, i == j)
                for j, value in enumerate(row)
            ]
        )
    return out


def _shade(value: float, kind: Kind, total: float, diagonal: bool) -> Shade:
    if kind == "probability":
        return Shade("p", value, f"{value:.3f}", _short(value))
    if kind == "difference":
        text = points(value, 2).replace("0.", ".")
        colour = "plus" if value > 0 else "minus"
        return Shade(colour, min(1.0, abs(value)), points(value, 3), "" if text == ".00" else text)
    share = value / total
    description, text = f"{value:g} of {total:g} ({share:.1%})", f"{100 * share:.0f}"
    if diagonal:
        return Shade("right", 0.85 * share, description, text)
    # Mistakes are rare where a network is any good: the root makes a few in a hundred visible.
    return Shade("wrong", share**0.5, description, text if share >= 0.005 else "")


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("0.", ".") or "0"
