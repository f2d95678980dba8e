"""Pictures of a study: paired differences, curves, mean ranks.

Each function gives one SVG whose colours are classes of the page's style sheet: `v-VERDICT` for verdicts,
`c0`, `c1`, ... for conditions (the same in every picture).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from concord.study.pages.svg import Scale, drawing, fitted, hover, path, spread, tag, text_width, ticks

WIDTH = 352.0
"""Pixels of a panel: it fits a phone, and three fit a desk."""

COLOURS = 10
"""Colours of conditions in the style sheet."""

DASHES = (None, "7 3", "2 3", "9 3 2 3", "12 4")
MARKS = ("circle", "square", "up", "diamond", "down", "plus", "cross")
"""A condition has one dash and one mark: with 5 and 7 of them no two of 35 conditions look alike in grey."""

MOST_MARKS = 5
"""Marks on a curve whose points are not all marked."""

OFF_SCALE = 3.0
"""An effect reaching further than this many times the reach of four fifths is cut at the panel's edge."""


@dataclass(frozen=True)
class Effect:
    """A difference to a baseline, in points.

    Attributes:
        label: Name of the row.
        value: Mean over seeds.
        low: Lower end of the interval over seeds; None with a single seed.
        high: Upper end.
        resampled: Interval over resampled test rows.
        seeds: The difference of each seed.
        verdict: `superior`, `non-inferior`, `undecided` or `inferior`.
        data: What the rows behind it are found by.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    verdict: str
    resampled: tuple[float | None, float | None] = (None, None)
    seeds: tuple[float, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)

    @property
    def reach(self) -> tuple[float, float]:
        """The furthest that it goes to either side of zero, both >= 0."""
        known = [v for v in (self.value, self.low, self.high) if v is not None]
        return max(0.0, -min(known)), max(0.0, *known)


@dataclass(frozen=True)
class Line:
    """A curve with a band.

    Attributes:
        label: Written at its end.
        colour: Index of the condition.
        points: x, y, and the band's low and high, by rising x; y is NaN where there is a gap.
        data: What the rows behind it are found by.
    """

    label: str
    colour: int
    points: Sequence[tuple[float, float, float, float]]
    data: Mapping[str, object] = field(default_factory=dict)


def points(value: float, digits: int = 1) -> str:
    """A signed number of points with a true minus sign; what rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if not text.strip("+-0.") else text.replace("-", "\N{MINUS SIGN}")


# -- differences ---------------------------------------------------------------------------------------


def reach(effects: Sequence[Effect], margin: float) -> tuple[float, float]:
    """A common range for panels, zero within: outliers do not squeeze all others into a line.

    Args:
        effects: All effects of the panels.
        margin: Non-inferiority margin in points; the range shows it.
    """
    reaches = [effect.reach for effect in effects]
    furthest = sorted(max(pair) for pair in reaches)
    cap = OFF_SCALE * furthest[4 * (len(furthest) - 1) // 5] if furthest else 0.0
    ends = []
    for side in (0, 1):
        within = [pair[side] for pair in reaches if pair[side] <= cap]
        ends.append((max(within, default=0.0), len(within) < len(reaches)))
    furthest_shown = max(end for end, _ in ends)
    low, high = (
        1.06 * max(end, 1.6 * margin, 0.5, (0.4 if cut else 0.15) * furthest_shown) for end, cut in ends
    )
    return -low, high


def differences(effects: Sequence[Effect], limits: tuple[float, float], margin: float, label: str) -> Markup:
    """Rows of differences on one axis: mean, interval, resampled interval, and every seed.

    Args:
        effects: Rows, from top to bottom.
        limits: Range of the axis, as `reach` gives it; what lies beyond is cut with an arrow.
        margin: Non-inferiority margin in points, drawn as a dashed line.
        label: Says in words what the picture shows.
    """
    left = min(140.0, 14 + max(text_width(effect.label) for effect in effects))
    row, top = 30.0, 24.0
    bottom = top + row * len(effects)
    x = Scale(*limits, left, WIDTH - 52)
    rows = [_effect(effect, x, top + row * (i + 0.5), row) for i, effect in enumerate(effects)]
    return drawing(WIDTH, bottom + 24, label, _zones(x, margin, top, bottom), _axis(x, top, bottom), *rows)


def _zones(x: Scale, margin: float, top: float, bottom: float) -> Markup:
    zero, edge = x(0), x(max(-margin, x.low))
    harm = tag("rect", class_="harm", x=x.start, y=top, width=edge - x.start, height=bottom - top)
    line = tag("line", class_="margin", x1=edge, x2=edge, y1=top, y2=bottom) if margin else Markup("")
    words = Markup("").join(
        _direction(word, zero, top - 9, direction)
        for word, direction, room in (("worse", -1, zero - x.start), ("better", 1, WIDTH - zero))
        if room > 52
    )
    return tag("g", harm, line, words)


def _direction(word: str, zero: float, y: float, direction: int) -> Markup:
    anchor = "start" if direction > 0 else "end"
    text = tag("text", word, class_="way", x=zero + 12 * direction, y=y, text_anchor=anchor)
    return tag("g", tag("path", class_="way", d=_arrow(zero + 6 * direction, y - 4, direction)), text)


def _arrow(x: float, y: float, direction: int) -> str:
    return path([(x - 2 * direction, y - 3), (x + direction, y), (x - 2 * direction, y + 3)])


def _axis(x: Scale, top: float, bottom: float) -> Markup:
    parts = []
    for tick in ticks(x.low, x.high, 4):
        at, name = x(tick), "zero" if tick == 0 else "grid"
        digits = 0 if tick == round(tick) else 1
        parts += [
            tag("line", class_=name, x1=at, x2=at, y1=top, y2=bottom + 4),
            tag("text", points(tick, digits), class_="tick", x=at, y=bottom + 17, text_anchor="middle"),
        ]
    return tag("g", *parts)


def _effect(effect: Effect, x: Scale, y: float, height: float) -> Markup:
    parts = [
        hover(_hover_text(effect)),
        tag("rect", class_="hit", x=0, y=y - height / 2, width=WIDTH, height=height),
        tag(
            "text",
            fitted(effect.label, x.start - 10),
            class_="name",
            x=x.start - 8,
            y=y + 4,
            text_anchor="end",
        ),
        *(
            tag("circle", class_="seed", cx=x(seed), cy=y + 9, r=1.8)
            for seed in effect.seeds
            if x.low <= seed <= x.high
        ),
        *_whiskers(effect, x, y),
        _marker(effect, x, y),
        tag("text", points(effect.value), class_="value", x=WIDTH - 2, y=y + 4, text_anchor="end"),
    ]
    return tag("g", *parts, class_=f"effect v-{effect.verdict}", data=effect.data)


def _whiskers(effect: Effect, x: Scale, y: float) -> list[Markup]:
    out = []
    if effect.low is not None and effect.high is not None:
        first, last = (min(max(end, x.low), x.high) for end in (effect.low, effect.high))
        if last > first:
            out.append(tag("line", class_="interval", x1=x(first), x2=x(last), y1=y, y2=y))
        for end, direction in ((effect.low, -1), (effect.high, 1)):
            if not x.low <= end <= x.high and x.low < effect.value < x.high:
                at = x(x.low if direction < 0 else x.high)
                out.append(tag("path", class_="cut", d=_arrow(at, y, direction)))
    shown = [x(end) for end in effect.resampled if end is not None and x.low <= end <= x.high]
    return out + [tag("line", class_="resampled", x1=at, x2=at, y1=y - 5, y2=y + 5) for at in shown]


def glyph(verdict: str) -> Markup:
    """The mark of a verdict next to text: the same shapes as in the pictures."""
    return tag(
        "svg", _shape(verdict, 6, 6), class_=f"glyph v-{verdict}", viewBox="0 0 12 12", aria_hidden="true"
    )


def _shape(verdict: str, x: float, y: float) -> Markup:
    direction = {"superior": 1, "inferior": -1}.get(verdict, 0)
    if direction:
        corners = [(x - 4 * direction, y - 5), (x + 5 * direction, y), (x - 4 * direction, y + 5)]
        return tag("path", class_="mark", d=path(corners, closed=True))
    return tag("circle", class_="mark", cx=x, cy=y, r=4.5)


def _marker(effect: Effect, x: Scale, y: float) -> Markup:
    if not x.low <= effect.value <= x.high:
        direction = -1 if effect.value < x.low else 1
        at = x(x.low if direction < 0 else x.high) - 2 * direction
        shapes = [
            [(at - 8 * direction - d, y - 5), (at - d, y), (at - 8 * direction - d, y + 5)]
            for d in (0, 9 * direction)
        ]
        return tag("g", *(tag("path", class_="mark", d=path(shape, closed=True)) for shape in shapes))
    return _shape(effect.verdict, x(effect.value), y)


def _hover_text(effect: Effect) -> str:
    interval = "no interval from a single seed"
    if effect.low is not None and effect.high is not None:
        interval = f"interval {points(effect.low, 2)} to {points(effect.high, 2)}"
    lines = [f"{effect.label}: {points(effect.value, 2)} points, {interval}", f"verdict: {effect.verdict}"]
    low, high = effect.resampled
    if low is not None and high is not None:
        lines.append(f"over resampled test rows: {points(low, 2)} to {points(high, 2)}")
    if effect.seeds:
        lines.append(f"by seed: {', '.join(points(seed, 2) for seed in effect.seeds)}")
    return "\n".join(lines)


# -- curves --------------------------------------------------------------------------------------------


def curves(
    lines: Sequence[Line],
    label: str,
    *,
    x_title: str,
    log: bool = False,
    marks: bool = False,
    settled: float = 0.0,
    x_ticks: Sequence[float] | None = None,
    number: Callable[[float], str] = "{:g}".format,
) -> Markup:
    """Curves with bands, each named at its end.

    Args:
        lines: At least one, each with at least one known point.
        label: Says in words what the picture shows.
        x_title: Of the horizontal axis.
        log: Whether equal ratios take equal room on it.
        marks: Whether each point is marked.
        settled: The vertical range is that of the points beyond this share of the horizontal range; a curve
            that starts far below or above comes in from the panel's edge.
        x_ticks: Where it is labelled; round numbers unless given.
        number: How values are written.
    """
    xs = [p[0] for line in lines for p in line.points]
    late = min(xs) + settled * (max(xs) - min(xs))
    values = [v for line in lines for p in _known(line) for v in p[1:] if p[0] >= late]
    values = values or [v for line in lines for p in _known(line) for v in p[1:]]
    right = min(138.0, 26 + max(text_width(line.label, 11) for line in lines))
    height = max(170.0, 13.5 * len(lines))
    x = Scale(min(xs), max(xs), 38, WIDTH - right, log)
    pad = 0.04 * (max(values) - min(values)) or 0.5
    y = Scale(min(values) - pad, max(values) + pad, 10 + height, 10)
    ends = spread([y(_known(line)[-1][1]) for line in lines], 13, 14, 8 + height)
    named = sorted(zip(lines, ends, strict=True), key=lambda pair: -pair[0].colour)  # the greys on top
    parts = [
        _levels(x, y),
        _steps(x, 10 + height, x_title, x_ticks if x_ticks is not None else ticks(min(xs), max(xs), 4)),
        *(_inside(x, y, _band(line, x, y)) for line in lines),
        *(_curve(line, x, y, at, right, marks, number) for line, at in named),
    ]
    return drawing(WIDTH, height + 46, label, *parts)


def _inside(x: Scale, y: Scale, child: Markup) -> Markup:
    """The child, cut at the panel's edges: a drawing within a drawing shows nothing beyond its own box."""
    left, top, wide, tall = x.start - 3, y.stop - 3, x.stop - x.start + 6, y.start - y.stop + 6
    box = f"{left:g} {top:g} {wide:g} {tall:g}"
    return tag("svg", child, x=left, y=top, width=wide, height=tall, viewBox=box)


def _levels(x: Scale, y: Scale) -> Markup:
    parts = []
    for tick in ticks(y.low, y.high, 4):
        parts += [
            tag("line", class_="grid", x1=x.start, x2=x.stop, y1=y(tick), y2=y(tick)),
            tag("text", f"{tick:g}", class_="tick", x=x.start - 6, y=y(tick) + 4, text_anchor="end"),
        ]
    return tag("g", *parts)


def _steps(x: Scale, bottom: float, title: str, at: Sequence[float]) -> Markup:
    parts = [tag("line", class_="axis", x1=x.start, x2=x.stop, y1=bottom, y2=bottom)]
    for tick in at:
        parts += [
            tag("line", class_="axis", x1=x(tick), x2=x(tick), y1=bottom, y2=bottom + 4),
            tag("text", f"{tick:g}", class_="tick", x=x(tick), y=bottom + 16, text_anchor="middle"),
        ]
    middle = (x.start + x.stop) / 2
    return tag("g", *parts, tag("text", title, class_="tick", x=middle, y=bottom + 31, text_anchor="middle"))


def _styled(line: Line) -> str:
    return f"c{line.colour % COLOURS}"


def _known(line: Line) -> list[tuple[float, float, float, float]]:
    return [p for p in line.points if not math.isnan(p[1])]


def _pieces(line: Line) -> list[list[tuple[float, float, float, float]]]:
    """The points between gaps."""
    out: list[list[tuple[float, float, float, float]]] = [[]]
    for point in line.points:
        if math.isnan(point[1]):
            out.append([])
        else:
            out[-1].append(point)
    return [piece for piece in out if piece]


def _band(line: Line, x: Scale, y: Scale) -> Markup:
    around = [
        path([(x(p[0]), y(p[3])) for p in piece] + [(x(p[0]), y(p[2])) for p in reversed(piece)], closed=True)
        for piece in _pieces(line)
    ]
    return tag("path", class_=f"band {_styled(line)}", d="".join(around), data={"c": line.colour})


def sample(colour: int) -> Markup:
    """How a condition's curve is drawn, next to its name."""
    line = tag("path", class_="line", d="M1,6L25,6", stroke_dasharray=_dash(colour))
    box = {"viewBox": "0 0 26 12", "aria_hidden": "true"}
    return tag("svg", line, _dot(colour, 13, 6), **box)


def _dash(colour: int) -> str | None:
    return DASHES[colour % len(DASHES)]


def _dot(colour: int, x: float, y: float) -> Markup:
    shape = MARKS[colour % len(MARKS)]
    if shape == "circle":
        return tag("circle", class_="dot", cx=x, cy=y, r=3)
    corners = {
        "square": [(-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)],
        "up": [(-3.4, 2.8), (0, -3.4), (3.4, 2.8)],
        "diamond": [(-3.8, 0), (0, -3.8), (3.8, 0), (0, 3.8)],
        "down": [(-3.4, -2.8), (0, 3.4), (3.4, -2.8)],
        "plus": _cross([(1.0, 4.0), (1.0, 1.0), (4.0, 1.0)]),
        "cross": _cross([(0.0, 1.5), (2.2, 3.6), (3.6, 2.2)]),
    }[shape]
    return tag("path", class_="dot", d=path([(x + a, y + b) for a, b in corners], closed=True))


def _cross(corner: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A shape of four corners, each the one before turned by a right angle."""
    out, held = [], list(corner)
    for _ in range(4):
        out += held
        held = [(b, -a) for a, b in held]
    return out


def _curve(
    line: Line, x: Scale, y: Scale, named: float, right: float, marks: bool, number: Callable[[float], str]
) -> Markup:
    pieces = [[(x(p[0]), y(p[1])) for p in piece] for piece in _pieces(line)]
    last, end, edge = _known(line)[-1], pieces[-1][-1], WIDTH - right
    gaps = [f"{p[0]:g}" for p in line.points if math.isnan(p[1])]
    told = f"{line.label}: {number(last[1])} at {last[0]:g} (band {number(last[2])} to {number(last[3])})"
    parts = [
        hover(told + (f"; no value at {', '.join(gaps)}" if gaps else "")),
        _inside(
            x,
            y,
            tag("path", class_="line", d="".join(map(path, pieces)), stroke_dasharray=_dash(line.colour)),
        ),
        tag(
            "path",
            class_="lead-line",
            d=path([end, (edge + 4, end[1]), (edge + 17, named), (edge + 19, named)]),
        ),
        *(_dot(line.colour, px, py) for px, py in _marked(pieces, marks, y)),
        tag("text", fitted(line.label, right - 24, 11), class_="end", x=edge + 22, y=named + 3.5),
    ]
    return tag("g", *parts, class_=f"curve {_styled(line)}", data={"c": line.colour, **line.data})


def _marked(
    pieces: Sequence[Sequence[tuple[float, float]]], every: bool, y: Scale
) -> list[tuple[float, float]]:
    """The points that carry a mark: some along the curve, all that stand alone, and the last."""
    places = [place for piece in pieces for place in piece]
    stride = 1 if every else -(-len(places) // MOST_MARKS)
    alone = {piece[0] for piece in pieces if len(piece) == 1}
    kept = set(places[::-1][::stride]) | alone
    top, bottom = sorted((y.start, y.stop))
    return [place for place in places if place in kept and top - 3 <= place[1] <= bottom + 3]


# -- ranks ---------------------------------------------------------------------------------------------


def mean_ranks(means: Mapping[str, float], critical: float | None, label: str) -> Markup:
    """Mean ranks, best first; the band holds what cannot be told from the best.

    Args:
        means: Mean rank by condition, 1 is best.
        critical: Difference that is more than chance; None where unknown.
        label: Says in words what the picture shows.
    """
    order = sorted(means, key=lambda name: means[name])
    left = min(140.0, 14 + max(text_width(name) for name in order))
    row, top = 22.0, 8.0
    bottom = top + row * len(order)
    x = Scale(1, max(2, len(order)), left, WIDTH - 46)
    parts = []
    if critical is not None:
        first = means[order[0]]
        last = min(first + critical, x.high)
        parts.append(
            tag("rect", class_="alike", x=x(first), y=top, width=x(last) - x(first), height=bottom - top)
        )
    for tick in ticks(1, x.high, 6):
        parts += [
            tag("line", class_="grid", x1=x(tick), x2=x(tick), y1=top, y2=bottom + 4),
            tag("text", f"{tick:g}", class_="tick", x=x(tick), y=bottom + 17, text_anchor="middle"),
        ]
    for i, name in enumerate(order):
        y = top + row * (i + 0.5)
        parts += [
            tag("text", fitted(name, left - 10), class_="name", x=left - 8, y=y + 4, text_anchor="end"),
            tag(
                "circle",
                hover(f"{name}: mean rank {means[name]:.2f}"),
                class_="rank",
                cx=x(means[name]),
                cy=y,
                r=4.5,
            ),
            tag("text", f"{means[name]:.1f}", class_="value", x=WIDTH - 2, y=y + 4, text_anchor="end"),
        ]
    return drawing(WIDTH, bottom + 24, label, *parts)
