"""Tables as a figure file: panels of heat maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from concord.errors import ConfigError
from concord.files import figure_file

FIGURES = (".svg", ".png", ".pdf")
MOST_NAMES = 60
"""Of more rows or columns, some are named."""


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
    from concord.displays import RelationDisplay

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
            RelationDisplay(
                panel.table,
                rows,
                columns,
                title=panel.title,
                signed=panel.signed,
                framed=panel.framed,
            ).plot(place)
