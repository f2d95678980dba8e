"""What a command writes takes the place of nothing that it reads, and what it is told has an effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

from concord.errors import ConfigError
from concord.files import check_place

TASKS = ".tasks.json"
"""Ending of the file of a CSV manifest's tasks: `concord.data.files.SIDECAR`, which is slow to import."""


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse what cannot be written to, is one of the inputs, or another output, before any work is done.

    Args:
        outputs: Files to be written, by option; None where nothing is.
        inputs: Files that are read; the tasks of a manifest count with it.

    Raises:
        ConfigError: Two of them are one file, by whatever name.
        OutputError: An output is a folder, a device, or a file without the right to write.
    """
    named = [path for path in inputs if path is not None]
    read = [*named, *(tasks for tasks in map(tasks_file, named) if tasks.exists())]
    written: dict[str, Path] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if any(_same(path, other) for other in read):
            raise ConfigError(f"{option} {path} is a file that is read here; write to one of another name")
        check_place(path)
        for earlier, other in written.items():
            if _same(path, other):
                raise ConfigError(f"{earlier} and {option} are one file, {path}; give each its own name")
        written[option] = path


def manifest_out(out: Path) -> dict[str, Path]:
    """What `--out` of a manifest writes: itself, and its tasks beside it."""
    return {"--out": out, "--out (its tasks)": tasks_file(out)}


def tasks_file(manifest: Path) -> Path:
    """Where the tasks of a manifest in CSV stand."""
    return manifest.parent / (manifest.name + TASKS)


def check_effect(context: typer.Context, why: str, *names: str) -> None:
    """Refuse options that were given and would change nothing.

    Args:
        context: Of the command.
        why: Where they have no effect, such as "without --hub".
        names: Parameters of the command.

    Raises:
        ConfigError: One of them was given.
    """
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and not source.name.startswith("DEFAULT"):
            raise ConfigError(f"{options[name]} has no effect {why}; leave it out")


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()
