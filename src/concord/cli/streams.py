"""`-` on the command line: standard input and output as files, and findings as JSON.

Commands read and write files. Where `-` is given, standard input is read into a file of its own first, and
what a command wrote is put on standard output when the command is done, whole or not at all; all that it says
goes to standard error then.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from concord.errors import ConfigError, MissingDataError
from concord.terminal import call, divert, put, say, undivert

DASH = "-"
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
"""What a Parquet file and a gzipped one begin with."""
STDIN = ("stdin.csv", "stdin.parquet", "stdin.csv.gz")
"""Names of the file that standard input is read into."""

_folder: list[Path] = []  # of the command that runs


@contextmanager
def streams() -> Iterator[None]:
    """Around a command: what it read from and wrote to `-` is removed."""
    try:
        yield
    finally:
        while _folder:
            shutil.rmtree(_folder.pop(), ignore_errors=True)
        undivert()


def readable(given: str | Path) -> Path:
    """The file to read for an argument; standard input for `-`.

    Raises:
        ConfigError: `-`, and nothing comes from there.
    """
    if str(given) != DASH:
        return Path(given)
    if any((_place() / name).exists() for name in STDIN):  # given for a second argument
        raise ConfigError("standard input (-) can be read once, and is given twice")
    content = _input("pipe a table into it, or name a file")
    csv, parquet, gzipped = STDIN
    name = parquet if content.startswith(PARQUET) else gzipped if content.startswith(GZIP) else csv
    path = _place() / name
    path.write_bytes(content)
    call(str(path), "standard input")
    return path


def named_files(given: Iterable[Path]) -> list[Path]:
    """Files and folders of arguments: lines of standard input for `-`, what a pattern finds, in order.

    Lines are bytes of whatever encoding the file system has, as names of files are.

    Raises:
        ConfigError: `-`, and nothing comes from there.
        MissingDataError: A pattern that finds nothing.
    """
    found: list[Path] = []
    for place in given:
        if str(place) == DASH:
            lines = (line.removesuffix(b"\r") for line in _input("pipe paths into it").split(b"\n"))
            found += [Path(os.fsdecode(line)) for line in lines if line.strip()]
        elif glob.has_magic(str(place)) and not place.exists():  # of a shell that left it as it is
            matches = sorted(glob.glob(str(place), recursive=True))
            if not matches:
                raise MissingDataError(f"no file fits the pattern {str(place)!r}")
            found += map(Path, matches)
        else:
            found.append(place)
    return found


def table_name(given: str) -> str:
    """The name of a built-in table or of a file; of a file with standard input for `-`."""
    return str(readable(given)) if given == DASH else given


def writable(given: str | Path) -> Path:
    """The file to write for an argument; one that is put on standard output for `-`."""
    if str(given) != DASH:
        return Path(given)
    divert()
    path = _place() / "stdout.csv"
    call(str(path), "standard output")
    return path


def write_json(path: Path | None, found: Any) -> None:
    """Write what a command found, where `--json` asks for it, and say so."""
    if path is None:
        return
    import json

    from concord.files import write_text

    write_text(path, json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    say(f"wrote {path}")


def _input(instead: str) -> bytes:
    """All of standard input; it may be closed, as under cron."""
    content = b"" if sys.stdin is None else sys.stdin.buffer.read()
    if not content.strip():
        raise ConfigError(f"standard input (-) is empty; {instead}")
    return content


def _place() -> Path:
    if not _folder:
        _folder.append(Path(tempfile.mkdtemp(prefix="concord-")))
    return _folder[0]


def put_out() -> None:
    """Put on standard output what was written to `-`."""
    path = _folder[0] / "stdout.csv" if _folder else None
    if path is not None and path.exists():
        put(path.read_bytes())


JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Write the findings to this JSON file; - for standard output.",
        parser=writable,
        metavar="<path>",
        show_default=False,
    ),
]
