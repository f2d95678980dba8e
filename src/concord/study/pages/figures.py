"""Tables as a figure file: panels of heat maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from concord.errors import ConfigError
from concord.files import figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FIGURES = (".svg", ".png", ".pdf")
MOST_NUMBERS = 600
"""A table of more cells shows colours alone."""
MOST_NAMES = 60
UNKNOWN = "#d9d9d9"


@dataclass(frozen=True)
class Panel:
    """One heat map.

    Attributes:
        title: Above it.
        table: (C, K), NaN where unknown.
        signed: Whether cells lie in [-1, 1] and have two colours, or in [0, 1].
        framed: (C, K) cells with a frame; None for none.
    """

    title: str
    table: npt.NDArray[np.float64]
    signed: bool = False
    framed: npt.NDArray[np.bool_] | None = None


def check_figure(path: str | Path) -> Path:
    """The path, if a figure can be written to it.

    Raises:
        ConfigError: Another ending.
    """
    file = Path(path)
    if file.suffix.lower() not in FIGURES:
        raise ConfigError(f"a figure ends in {', '.join(FIGURES)}, found {file.name!r}")
    return file


def draw_panels(
    path: str | Path, panels: Sequence[Panel], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw tables of the same rows and columns.

    Args:
        path: A .svg, .png or .pdf file.
        panels: At least one.
        rows: Names of the rows.
        columns: Names of the columns.

    Raises:
        ConfigError: Another ending.
        OutputError: It cannot be written.
    """
    file = check_figure(path)
    left, below = (0.09 * max(map(len, names[:MOST_NAMES])) for names in (rows, columns))
    wide = min(14.0, max(2.5, 0.36 * len(columns))) + 1.0
    high = min(14.0, max(1.5, 0.3 * len(rows))) + 0.4
    below_each_other = wide > 1.5 * high
    if below_each_other:
        size, shape = (wide + left, len(panels) * high + below), (len(panels), 1)
    else:
        size, shape = (len(panels) * wide + left, high + below), (1, len(panels))
    with figure_file(file, *size) as figure:
        axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).ravel()
        for panel, place in zip(panels, axes, strict=True):
            _draw(place, panel, rows, columns)


def _draw(axes: Axes, panel: Panel, rows: Sequence[str], columns: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    low = -1.0 if panel.signed else 0.0
    axes.set_facecolor(UNKNOWN)
    image = axes.imshow(
        panel.table, cmap="RdBu_r" if panel.signed else "Blues", vmin=low, vmax=1, aspect="auto"
    )
    axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    axes.set_title(panel.title, fontsize=10)
    step_x, step_y = (-(-len(names) // MOST_NAMES) for names in (columns, rows))
    axes.set_xticks(range(0, len(columns), step_x), columns[::step_x], rotation=90, fontsize=8)
    axes.set_yticks(range(0, len(rows), step_y), rows[::step_y], fontsize=8)
    if panel.table.size <= MOST_NUMBERS:
        for i, j in np.ndindex(panel.table.shape):
            value = float(panel.table[i, j])
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(j, i, _short(value), ha="center", va="center", fontsize=7, color=colour)
    if panel.framed is not None:
        for i, j in np.argwhere(panel.framed):
            frame: dict[str, Any] = {"fill": False, "edgecolor": "#c00000", "linewidth": 1.5}
            axes.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, **frame))


def _short(value: float) -> str:
    if np.isnan(value):
        return "?"
    text = f"{value:.2f}".replace("0.", ".")
    return {"-.00": "0", ".00": "0", "1.00": "1", "-1.00": "-1"}.get(text, text)
