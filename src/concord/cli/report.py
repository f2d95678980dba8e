"""`concord report`: draw a finished study again, or several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from concord.cli.outputs import check_outputs, kept_by_study
from concord.terminal import say


def report(
    studies: Annotated[
        list[Path], typer.Argument(help="Folders of finished studies.", show_default=False, metavar="DIR...")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page of several studies; comparison.html unless given."),
    ] = None,
) -> None:
    """Write the report of a study (DIR/report.html), or a page that compares several."""
    from concord.study import write_comparison, write_report

    check_outputs({"--out": out}, [], [path for study in studies for path in kept_by_study(study)])
    alone = len(studies) == 1 and out is None
    page = write_report(studies[0]) if alone else write_comparison(studies, out or Path("comparison.html"))
    say(f"report: {page}")
