"""What made a number: the commit, the code of the rooms that it rests on, and the machine."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "auto", "couplings", "decoding", "estimation", "fitting", "learners", "objective", "relations", "study/conditions",
    "study/judging",
)  # fmt: skip
"""Rooms of `src/concord` whose code decides what the method reaches and what is said of it."""


def commit(root: Path = ROOT) -> str:
    """The commit of a checkout, with `-dirty` where files differ from it; `unknown` without git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return told.stdout.strip() or "unknown"


def rooms(names: Iterable[str] = ROOMS, root: Path = ROOT) -> dict[str, str]:
    """A digest of the code of each room, by its name.

    Raises:
        LookupError: No such room.
    """
    return {name: digest(_files(root / "src" / "concord" / name), root) for name in names}


def _files(room: Path) -> list[Path]:
    """The files of a room, which is a folder or a module."""
    found = [*room.rglob("*.py"), *(path for path in [room.with_suffix(".py")] if path.exists())]
    if not found:
        raise LookupError(f"no room {room}")
    return found


def digest(files: Iterable[Path], root: Path = ROOT) -> str:
    """A short digest of Python files, by their paths; words about the code (docstrings, comments) do not count."""
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(f"{path.relative_to(root).as_posix()}\n".encode())
        found.update(_code_at(path, path.stat().st_mtime_ns).encode())
    return found.hexdigest()[:12]


@cache
def _code_at(path: Path, time: int) -> str:
    return code_of(path.read_text(encoding="utf-8"))


def code_of(text: str) -> str:
    """The lines of a module without docstrings, lines of comment and empty lines."""
    words: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone does nothing, whether it documents a module, a function or an attribute.
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            words.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = (line.rstrip() for number, line in enumerate(text.splitlines(), 1) if number not in words)
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def machine(threads: int | None = None) -> dict[str, Any]:
    """Processor, cores, memory in GiB, versions, and threads of each process where given."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    found = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory": memory(),
        "python": platform.python_version(),
        "torch": torch,
    }
    return found if threads is None else {**found, "threads": threads}


def processor() -> str:
    """The processor's name; the architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.machine()


def memory() -> int | None:
    """Memory of this machine in GiB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
