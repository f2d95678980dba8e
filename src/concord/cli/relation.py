"""`concord relation`: look at a table of P(label | class)."""

from __future__ import annotations

import typer

app = typer.Typer(help="Tables of P(label | class): show, estimate, check.", no_args_is_help=True)


@app.command()
def show() -> None:
    """Show a table."""


@app.command()
def estimate() -> None:
    """Estimate a table."""
