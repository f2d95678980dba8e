"""`concord data`: what is annotated where."""

from __future__ import annotations

import typer

app = typer.Typer(help="Manifests: inspect, index, join, filter, split.", no_args_is_help=True)


@app.command()
def inspect() -> None:
    """What is annotated where."""


@app.command()
def index() -> None:
    """Write the manifest of a data set."""
