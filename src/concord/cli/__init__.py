"""The command line: parse, call, print. One file a group of commands, each thin.

Nothing heavy (torch, scikit-learn, SciPy, polars, matplotlib) is imported before a command runs, so that
`--help` and mistakes in the command line answer at once.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, cast

import typer

from concord import __version__
from concord.cli import annotate, data, relation
from concord.cli.audit import audit
from concord.cli.doctor import doctor
from concord.cli.embed import embed
from concord.cli.explain import explain
from concord.cli.export import export, push
from concord.cli.init import init, schema
from concord.cli.report import report
from concord.cli.streams import put_out, streams
from concord.cli.study import study
from concord.cli.train import evaluate, predict, train
from concord.cli.upgrade import upgrade
from concord.errors import ConcordError, ConcordWarning
from concord.terminal import lost_output, open_streams, say

PURPOSE = "Classification tasks whose labels lie on different data, trained together without harm."

GREETING = f"""Concord {__version__}
{PURPOSE}

See it work, on handwritten digits, in a few minutes:
  concord study digits

Look at a table that couples two tasks, built in or your own CSV file:
  concord relation show expressions

See what is annotated where in a table of yours:
  concord data inspect faces.csv --task expression --labels 'action_units=AU*'

Start a training of your own, from a config in which every key is explained:
  concord init

All commands: concord --help"""
"""What `concord` alone says: four things to do next."""

# Typer brings its own copy of click in some versions; BadParameter is of that copy, whichever it is.
_MISUSE = cast(type[Exception], typer.BadParameter.__mro__[2])

app = typer.Typer(
    name="concord",
    help=PURPOSE,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},  # of all commands below, too
)
app.command()(init)
app.command()(schema)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(embed)
app.command()(export)
app.command()(push)
app.command()(upgrade)
app.command()(annotate.annotate)
app.command()(study)
app.command()(report)
app.command()(doctor)
app.command()(explain)
relation.app.command()(audit)
app.add_typer(relation.app, name="relation")
app.add_typer(data.app, name="data")


def _version(value: bool) -> None:
    if value:
        say(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    if context.invoked_subcommand is None:
        say(GREETING)


def main() -> None:
    """Run the command line; a mistake of the user is one line on standard error and exit status 2.

    A line below it names the page that explains the mistake, where there is one. A warning of the package is
    one line, too, and stops nothing.
    """
    open_streams()
    with warnings.catch_warnings():
        warnings.showwarning = partial(_note, warnings.showwarning)
        with streams():
            _run()


def _note(others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Show a warning: of the package without the place in its code, which is nothing to a user."""
    if issubclass(category, ConcordWarning):
        say("concord: note: " + " ".join(str(message).split()), error=True)
    else:
        others(message, category, *where)


def _run() -> None:
    try:
        status = app(prog_name="concord", standalone_mode=False)  # the same name however it was started
    except ConcordError as error:
        _stop(str(error), error.page)
    except OSError as error:
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}; choose another path, or see to the rights on this one")
    except _MISUSE as error:
        own = _own_mistake(error)
        if own is None:
            _misused(error)
        _stop(str(own), own.page)
    else:
        put_out()
        lost = lost_output()
        if lost is not None:
            _stop(f"standard output could not be written: {lost.strerror or lost}; files were")
        raise SystemExit(status or 0)


def _own_mistake(error: BaseException) -> ConcordError | None:
    """The error of the package that a parser of an argument raised; Typer hides it in one of its own."""
    within: BaseException | None = error
    while within is not None and not isinstance(within, ConcordError):
        held = within.errors() if hasattr(within, "errors") else []  # of pydantic, which hides it once more
        found = [each["ctx"]["error"] for each in held if "error" in each.get("ctx", {})]
        within = found[0] if found else within.__cause__ or within.__context__
    return within


def _misused(error: Any) -> NoReturn:
    """A command line that Typer refuses: one line. A group without a command shows its help."""
    context, message = getattr(error, "ctx", None), error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        raise SystemExit(error.exit_code)
    path = context.command_path if context is not None else "concord"
    elsewhere = _elsewhere(context.command, message) if context is not None else ""
    _stop(f"{message[:1].lower()}{message[1:].rstrip('.')}{elsewhere}; see `{path} --help`")


def _elsewhere(group: Any, message: str) -> str:
    """A question, where groups below have the command that this one lacks, as `relation` has `check`."""
    lacking = re.match("No such command '([^']+)'", message)
    if lacking is None:
        return ""
    commands = getattr(group, "commands", {}).items()
    found = [name for name, each in commands if lacking[1] in getattr(each, "commands", {})]
    return (
        f"; did you mean {' or '.join(f'`concord {name} {lacking[1]}`' for name in found)}?" if found else ""
    )


def _stop(message: str, page: str | None = None) -> NoReturn:
    say("concord: " + " ".join(message.split()), error=True)
    if page is not None:
        say(f"more: concord explain {page}", error=True)
    raise SystemExit(2)
