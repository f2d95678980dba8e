"""The command line: parse, call, print. One file a group of commands, each thin.

Nothing heavy (torch, scikit-learn, SciPy, polars, matplotlib) is imported before a command runs, so that
`--help` and mistakes in the command line answer at once.
"""

from __future__ import annotations

import sys

import typer

from concord import __version__
from concord.cli import annotate, data, relation
from concord.cli.report import report
from concord.cli.study import study
from concord.errors import ConcordError

app = typer.Typer(
    name="concord",
    help="Classification tasks whose labels lie on different data, trained together without harm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(annotate.annotate)
app.command()(study)
app.command()(report)
app.add_typer(relation.app, name="relation")
app.add_typer(data.app, name="data")


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None: ...


def main() -> None:
    """Run the command line; a mistake of the user is one line on standard error and exit status 2."""
    try:
        app()
    except ConcordError as error:
        print(f"concord: {error}", file=sys.stderr)
        raise SystemExit(2) from None
