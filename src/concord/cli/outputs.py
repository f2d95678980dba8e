"""What a command writes takes the place of nothing that it reads, and what it is told has an effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

from concord.cli.streams import DASH
from concord.errors import ConfigError
from concord.files import check_place

TASKS = ".tasks.json"
"""Ending of the file of a CSV manifest's tasks: `concord.data.files.SIDECAR`, which is slow to import."""


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Iterable[Path | None], kept: Iterable[Path] = ()
) -> None:
    """Refuse what cannot be written to, is one of the inputs, or another output, before any work is done.

    Args:
        outputs: Files to be written, by option; None where nothing is.
        inputs: Files that are read; the tasks of a manifest count with it.
        kept: Files that a training or a study keeps.

    Raises:
        ConfigError: Two of them are one file, by whatever name, or one is `-`.
        OutputError: An output is a folder, a device, or a file without the right to write.
    """
    named = [path for path in inputs if path is not None]
    read = [*named, *(tasks for tasks in map(tasks_file, named) if tasks.exists())]
    held = list(kept)
    written: dict[str, Path] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        check_named(option, path)
        if any(_same(path, other) for other in read):
            raise ConfigError(f"{option} {path} is a file that is read here; write to one of another name")
        if any(_same(path, other) for other in held):
            raise ConfigError(
                f"{option} {path} is a file that the training or study in its folder keeps; write to one of "
                "another name"
            )
        check_place(path)
        for earlier, other in written.items():
            if _same(path, other):
                raise ConfigError(f"{earlier} and {option} are one file, {path}; give each its own name")
        written[option] = path


def files_of_run(folder: Path) -> list[Path]:
    """Files that a training and its evaluation keep in their folder: an output is none of them."""
    from concord.runs import WRITTEN

    return [path for name in WRITTEN for path in _files_at(folder / name)]


def files_of_study(folder: Path) -> list[Path]:
    """Files that a study keeps in its folder, but for its report."""
    from concord.study import KEPT

    return [path for name in KEPT for path in _files_at(folder / name)]


def _files_at(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]


def check_below(option: str, out: Path | None, root: Path) -> None:
    """Refuse a file of a data set as output: what is there already and is no manifest of this library.

    Args:
        option: Of the command.
        out: The file; None where nothing is written.
        root: Folder of the data set.

    Raises:
        ConfigError: It is one.
    """
    from concord.data import is_written_manifest

    if out is None or not out.exists() or not out.resolve().is_relative_to(root.resolve()):
        return
    if not is_written_manifest(out):
        raise ConfigError(f"{option} {out} is a file of the data set in {root}; write to one of another name")


def check_named(option: str, path: Path) -> None:
    """Refuse `-` where a file or folder is written under its own name.

    Where standard output is meant, `concord.cli.streams.writable` has put a file in its place.

    Raises:
        ConfigError: The path is `-`, or in a folder of that name.
    """
    if path.parts[:1] == (DASH,):
        raise ConfigError(f"{option} cannot be standard output (-) here; give a name")


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
