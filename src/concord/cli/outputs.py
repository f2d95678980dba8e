"""What a command writes takes the place of nothing that it reads, and what it is told has an effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        kept: Files that a training or a study keeps, and folders of such.

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
        if any(_same(path, place) or _is_below(path, place) for place in held):
            raise ConfigError(
                f"{option} {path} is a file that the training or study in its folder keeps; write to one of "
                "another name"
            )
        check_place(path)
        for earlier, other in written.items():
            if _same(path, other):
                raise ConfigError(f"{earlier} and {option} are one file, {path}; give each its own name")
        written[option] = path


def kept_by_run(folder: Path) -> list[Path]:
    """What a training and its evaluation keep in their folder: an output is nothing of it."""
    from concord.runs import WRITTEN

    return [folder / name for name in WRITTEN]


def kept_by_study(folder: Path) -> list[Path]:
    """What a study keeps in its folder, but for its report."""
    from concord.study import KEPT

    return [folder / name for name in KEPT]


def check_below(option: str, out: Path | None, root: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a file of a data set as output: what is there already, and the command did not write before.

    Args:
        option: Of the command.
        out: The file; None where nothing is written.
        root: Folder of the data set.
        is_ours: Whether a file is what the command writes.

    Raises:
        ConfigError: It is one.
    """
    if out is not None and _is_below(out, root) and not is_ours(out):
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


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a file is there, in a folder or below it."""
    return path.exists() and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()
