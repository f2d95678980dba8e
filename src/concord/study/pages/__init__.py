"""The pages of a study: figures, sections and templates."""

from concord.study.pages.figures import Panel, check_figure, draw_panels
from concord.study.pages.listed import result_tables
from concord.study.pages.outcome import POINTS, Outcome
from concord.study.pages.report import write_comparison, write_report

__all__ = [
    "POINTS",
    "Outcome",
    "Panel",
    "check_figure",
    "draw_panels",
    "result_tables",
    "write_comparison",
    "write_report",
]
