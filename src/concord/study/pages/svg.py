"""Drawing in SVG: elements that escape what they are given, scales, ticks, labels that fit.

Colours come from the page's style sheet by class, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from concord.terminal import printable

ADVANCE = 0.56
"""Mean width of a character in units of the font size; generous, since fonts differ between machines."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; text and attribute values are escaped, `Markup` children are taken as they are.

    Control characters are shown as a terminal shows them: XML has none, and some turn the direction of text.

    Args:
        name: Of the element.
        *children: Text, numbers or elements.
        **attributes: Underscores become hyphens, `class_` is `class`; None is left out; a mapping `data`
            becomes attributes `data-*`.
    """
    data = attributes.pop("data", None)
    pairs = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    if isinstance(data, Mapping):
        pairs |= {f"data-{key}": value for key, value in data.items()}
    written = "".join(
        f' {key}="{escape(_plain(value))}"' for key, value in pairs.items() if value is not None
    )
    inner = Markup("").join(escape(_plain(child)) for child in children)
    whole = f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"
    return Markup(whole)  # noqa: S704, all its parts are escaped above


def _plain(value: object) -> object:
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return shown(value)


def shown(value: object) -> object:
    """A value as a page shows it: no control characters in text, also within mappings and lists."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {shown(key): shown(held) for key, held in value.items()}
    return list(map(shown, value)) if isinstance(value, list) else value


def drawing(width: float, height: float, label: str, *children: Markup, fixed: bool = False) -> Markup:
    """A picture; it scales with its column unless it is `fixed`."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {_plain(float(width))} {_plain(float(height))}",
        width=float(width),
        height=float(height),
        class_="plot fixed" if fixed else "plot",
        role="img",
        aria_label=label,
    )


def hover(text: str) -> Markup:
    """What a pointer that rests on the parent element is told."""
    return tag("title", text)


def path(points: Sequence[tuple[float, float]], *, closed: bool = False) -> str:
    """Coordinates of a polyline."""
    return (
        "M" + "L".join(f"{_plain(float(x))},{_plain(float(y))}" for x, y in points) + ("Z" if closed else "")
    )


@dataclass(frozen=True)
class Scale:
    """Data to pixels.

    Args:
        low: Data at `start`.
        high: Data at `stop`.
        start: Pixel.
        stop: Pixel.
        log: Whether equal ratios take equal room.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round values in low .. high."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * next(f for f in (1, 2, 5, 10) if f * magnitude >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def text_width(text: str, size: float = 12.0) -> float:
    """Estimated pixels of a text."""
    return ADVANCE * size * len(printable(text))


def fitted(text: str, room: float, size: float = 12.0) -> str:
    """The text, with an ellipsis in its middle where it would not fit: names differ at both ends."""
    text, most = printable(text), max(3, int(room / (ADVANCE * size)))
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart, in low .. high where that is possible."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    groups: list[list[int]] = []
    for i in order:
        groups.append([i])
        while len(groups) > 1 and _top(groups[-1], wanted, gap, low, high) < (
            _top(groups[-2], wanted, gap, low, high) + gap * len(groups[-2])
        ):
            last = groups.pop()
            groups[-1] += last
    for group in groups:
        top = _top(group, wanted, gap, low, high)
        for k, i in enumerate(group):
            placed[i] = top + gap * k
    return placed


def _top(group: Sequence[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    middle = sum(wanted[i] for i in group) / len(group)
    span = gap * (len(group) - 1)
    return max(low, min(middle - span / 2, high - span))
