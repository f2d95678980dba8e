"""What a command writes takes the place of nothing that it reads, nor of its other outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from concord.errors import ConfigError
from concord.files import check_place


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse what cannot be written to, is one of the inputs, or another output, before any work is done.

    Args:
        outputs: Files to be written, by option; None where nothing is.
        inputs: Files that are read.

    Raises:
        ConfigError: Two of them are one file, by whatever name.
        OutputError: An output is a folder, a device, or a file without the right to write.
    """
    read = [path for path in inputs if path is not None]
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


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()
