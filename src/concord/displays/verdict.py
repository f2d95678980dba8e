"""What a study found of each condition: differences to a baseline with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.displays.axes import axes_of
from concord.errors import DataFormatError, EmptyDataError, MissingDataError, UnknownNameError
from concord.files import read_json
from concord.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "superior": (">", "#0b62c4", "better"),
    "non-inferior": ("o", "#4a8cc4", "not worse"),
    "undecided": ("o", "#868c95", "undecided"),
    "inferior": ("<", "#c43e06", "worse (harm)"),
}
"""Marker, colour and word of each verdict; the undecided ones are hollow."""

FIELDS = ("regime", "task", "condition", "baseline", "difference", "low", "high", "verdict")


class VerdictDisplay:
    """Differences to a baseline in points, one row for each condition, with interval and verdict.

    Make one with `from_study` or `from_verdicts`.

    Args:
        rows: Verdicts of one task, regime and baseline, as `summary.json` of a study holds them.
        title: Above them.

    Attributes:
        ax_: The axes, once plotted.
        figure_: Their figure.

    Raises:
        EmptyDataError: No row.

    Example:
        >>> import concord as cc
        >>> row = {"regime": "few", "task": "pet", "condition": "auto", "baseline": "single-task"}
        >>> row |= {"difference": 2.5, "low": 0.5, "high": 4.5, "verdict": "superior"}
        >>> cc.VerdictDisplay.from_verdicts([row]).ax_.get_title()
        'pet, few, against single-task'
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
        if not rows:
            raise EmptyDataError("no verdict to display: the study has a baseline and no other condition")
        self.rows, self.title = tuple(rows), title
        self.ax_: Axes
        self.figure_: Figure

    @classmethod
    def from_verdicts(
        cls,
        verdicts: Sequence[Mapping[str, Any]],
        *,
        task: str | None = None,
        regime: str | None = None,
        baseline: str | None = None,
        ax: Any = None,
    ) -> VerdictDisplay:
        """Plot verdicts, of which one task, regime and baseline is chosen.

        Args:
            verdicts: What `concord.study.compare` returns as ``"verdicts"``.
            task: Which task; the first unless given.
            regime: Which regime; the first unless given.
            baseline: Which baseline; the first unless given.
            ax: Axes of matplotlib; None makes a figure.

        Raises:
            EmptyDataError: No verdict.
            UnknownNameError: None of that task, regime or baseline.
            DataFormatError: A verdict without one of its fields.
        """
        rows = list(verdicts)
        for field in FIELDS:
            if any(field not in row for row in rows):
                raise DataFormatError(f"a verdict has no {field!r}; judge again with `concord study`")
        for row in rows:
            if row["verdict"] not in LOOKS:
                raise DataFormatError(f"{row['verdict']!r} is no verdict; judge again with `concord study`")
        named = []
        for field, wanted in (("task", task), ("regime", regime), ("baseline", baseline)):
            held = list(dict.fromkeys(str(row[field]) for row in rows))
            if wanted is not None and wanted not in held:
                raise UnknownNameError.of(f"{field} of the verdicts", wanted, held)
            named += [wanted if wanted is not None else held[0]] if held else []
            rows = [row for row in rows if row[field] == named[-1]] if held else []
        title = f"{named[0]}, {named[1]}, against {named[2]}" if rows else ""
        return cls(rows, title=title).plot(ax=ax)

    @classmethod
    def from_study(
        cls,
        folder: str | Path,
        *,
        task: str | None = None,
        regime: str | None = None,
        baseline: str | None = None,
        ax: Any = None,
    ) -> VerdictDisplay:
        """Plot the verdicts of a finished study.

        Args:
            folder: The study's folder.
            task: Which task; the first unless given.
            regime: Which regime; the first unless given.
            baseline: Which baseline; the first unless given.
            ax: Axes of matplotlib; None makes a figure.

        Raises:
            MissingDataError: The folder holds no finished study.
            DataFormatError: Its `summary.json` is damaged.
            EmptyDataError: No verdict.
            UnknownNameError: None of that task, regime or baseline.
        """
        path = Path(folder) / "summary.json"
        if not path.is_file():
            raise MissingDataError(f"no finished study in {folder}: there is no summary.json")
        summary = read_json(path)
        if not isinstance(summary, dict) or not isinstance(summary.get("verdicts"), list):
            raise DataFormatError(f"{path} holds no verdicts; judge again with `concord study`")
        return cls.from_verdicts(summary["verdicts"], task=task, regime=regime, baseline=baseline, ax=ax)

    def plot(self, ax: Any = None) -> VerdictDisplay:
        """Draw the rows, from top to bottom.

        Args:
            ax: Axes of matplotlib; None makes a figure.
        """
        self.ax_ = axes = axes_of(ax)
        self.figure_ = axes.figure  # type: ignore[assignment]
        axes.axvline(0, color="0.4", linewidth=0.8)
        told: set[str] = set()
        for place, row in enumerate(self.rows):
            marker, colour, word = LOOKS[row["verdict"]]
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=3, alpha=0.5)
            filled = "white" if row["verdict"] == "undecided" else colour
            axes.plot(
                row["difference"], place, marker, color=colour, markerfacecolor=filled, markersize=8,
                label="_" if word in told else word,
            )  # fmt: skip
            told.add(word)
        # Names are text: two dollar signs would make a formula of what stands between them, and a control
        # character an SVG file that is none.
        names = [printable(str(row["condition"])) for row in self.rows]
        axes.set_yticks(range(len(self.rows)), names, parse_math=False)
        axes.set_title(printable(self.title), parse_math=False)
        axes.set(xlabel="difference in points", ylim=(len(self.rows) - 0.5, -0.5))
        axes.legend()
        return self
