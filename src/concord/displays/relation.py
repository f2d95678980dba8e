"""A relation as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from concord.displays.axes import axes_of, one_named
from concord.errors import ShapeError
from concord.relations import Relation
from concord.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERS = 600
"""A table of more cells shows colours alone."""

MOST_NAMES = 60
"""Of more rows or columns, some are named."""

UNKNOWN = "#d9d9d9"


class RelationDisplay:
    """A table of a relation as a heat map; unknown cells are grey, with a question mark.

    Make one with `from_estimator` or `from_relation`.

    Args:
        table: (C, K), NaN where unknown.
        rows: Names of its rows, the classes.
        columns: Names of its columns, the labels or target classes.
        title: Above it.
        signed: Whether cells lie in [-1, 1] and have two colours, as a difference of tables; else in [0, 1].
        framed: (C, K) cells with a frame; None for none.

    Attributes:
        ax_: The axes, once plotted.
        figure_: Their figure.

    Raises:
        ShapeError: A table of another shape than its names.

    Example:
        >>> import concord as cc
        >>> pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
        >>> display = cc.RelationDisplay.from_relation(cc.Relation(pet, trait, [[0.9], [0.1]]))
        >>> display.ax_.get_title()
        'pet->trait'
    """

    def __init__(
        self,
        table: Any,
        rows: Sequence[str],
        columns: Sequence[str],
        *,
        title: str = "",
        signed: bool = False,
        framed: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.table = np.asarray(table, dtype=np.float64)
        self.rows, self.columns = tuple(rows), tuple(columns)
        if self.table.shape != (len(self.rows), len(self.columns)):
            raise ShapeError(
                f"the table has shape {(len(self.rows), len(self.columns))}, found {self.table.shape}"
            )
        self.title, self.signed, self.framed = title, signed, framed
        self.ax_: Axes
        self.figure_: Figure

    @classmethod
    def from_relation(cls, relation: Relation, *, ax: Any = None) -> RelationDisplay:
        """Plot a relation.

        Args:
            relation: The relation.
            ax: Axes of matplotlib; None makes a figure.
        """
        return cls(
            relation.cells("a display"), relation.source.outputs, relation.target.outputs, title=relation.name
        ).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, relation: str | None = None, *, ax: Any = None
    ) -> RelationDisplay:
        """Plot a relation that a fitted `CoupledClassifier` uses, estimated or supplied.

        Args:
            estimator: The fitted model.
            relation: Its name, such as ``"pet->trait"``; None where the model uses a single one.
            ax: Axes of matplotlib; None makes a figure.

        Raises:
            UnknownNameError: The model uses no relation of that name; the message names those it uses.
        """
        check_is_fitted(estimator, "relations_")
        return cls.from_relation(one_named("relation", relation, estimator.relations_), ax=ax)

    def plot(self, ax: Any = None) -> RelationDisplay:
        """Draw the table.

        Args:
            ax: Axes of matplotlib; None makes a figure.
        """
        self.ax_ = axes = axes_of(ax)
        self.figure_ = axes.figure  # type: ignore[assignment]
        axes.set_facecolor(UNKNOWN)
        colours, low = ("RdBu_r", -1.0) if self.signed else ("Blues", 0.0)
        image = axes.imshow(self.table, cmap=colours, vmin=low, vmax=1, aspect="auto")
        axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
        # Names are text: two dollar signs would make a formula of what stands between them, and a control
        # character an SVG file that is none.
        axes.set_title(printable(self.title), fontsize=10, parse_math=False)
        step_x, step_y = (-(-len(names) // MOST_NAMES) for names in (self.columns, self.rows))
        axes.set_xticks(
            range(0, len(self.columns), step_x),
            list(map(printable, self.columns[::step_x])),
            rotation=90,
            fontsize=8,
            parse_math=False,
        )
        axes.set_yticks(
            range(0, len(self.rows), step_y),
            list(map(printable, self.rows[::step_y])),
            fontsize=8,
            parse_math=False,
        )
        if self.table.size <= MOST_NUMBERS:
            self._write_numbers(axes)
        if self.framed is not None:
            self._draw_frames(axes, self.framed)
        return self

    def _write_numbers(self, axes: Axes) -> None:
        for i, j in np.ndindex(self.table.shape):
            value = float(self.table[i, j])
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(j, i, _short(value), ha="center", va="center", fontsize=7, color=colour)

    def _draw_frames(self, axes: Axes, framed: npt.NDArray[np.bool_]) -> None:
        from matplotlib.patches import Rectangle

        for i, j in np.argwhere(framed):
            axes.add_patch(
                Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor="#c00000", linewidth=1.5)
            )


def _short(value: float) -> str:
    if np.isnan(value):
        return "?"
    text = f"{value:.2f}".replace("0.", ".")
    return {"-.00": "0", ".00": "0", "1.00": "1", "-1.00": "-1"}.get(text, text)
