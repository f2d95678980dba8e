"""Figures of matplotlib, in which names are text and not formulas, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from concord.files.writing import whole
from concord.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def figure_file(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw in, which is written at the end.

    Args:
        path: A .svg, .png or .pdf file.
        width: In inches.
        height: In inches.

    Raises:
        OutputError: It cannot be written; names the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        for text in figure.findobj(Text):
            text.set_text(printable(text.get_text()))
        with whole(path) as part:
            figure.savefig(part, dpi=120, format=Path(path).suffix[1:].lower())
