"""With what a study was run: versions, machine, sessions."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from concord import __version__
from concord.errors import DataFormatError
from concord.files import read_json
from concord.study.running.cells import write_json
from concord.study.running.claims import finishing

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "lightning-fabric", "polars", "pydantic")


def environment() -> dict[str, Any]:
    """Versions and machine."""
    versions = {"concord": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "threads": 1,
    }


@contextmanager
def note_session(out: Path, processes: int, devices: Sequence[str] = ("cpu",)) -> Iterator[None]:
    """Note a session in `environment.json`, and its duration when it ends, however it ends.

    Each says what it ran with: another session may have had other versions, on another machine.
    """
    path = out / "environment.json"
    started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    found = environment()
    session: dict[str, Any] = {
        "started": started,
        "command": command,
        "processes": processes,
        "devices": ", ".join(dict.fromkeys(devices)),
        "concord": found["versions"]["concord"],
        "torch": found["versions"]["torch"],
        "processor": found["machine"]["processor"],
    }
    _note(path, found, session)  # a session that is killed was one, too
    try:
        yield
    finally:
        ended = {**session, "duration": round(time.perf_counter() - start, 1)}
        _note(path, found, ended, session)


def is_noted(out: Path) -> bool:
    """Whether a folder tells of a session."""
    return bool(_sessions(out / "environment.json"))


def _note(
    path: Path, found: dict[str, Any], session: dict[str, Any], before: dict[str, Any] | None = None
) -> None:
    """Add a session to the file, in the place of what was noted of it before."""
    with finishing(path.parent):
        sessions = _sessions(path)  # not before: other sessions may have ended meanwhile
        if before in sessions:
            sessions.remove(before)
        sessions.append(session)
        content = {
            **found,
            "started": min(str(s["started"]) for s in sessions),
            "command": session["command"],
            "processes": session["processes"],
            "sessions": sessions,
            "duration": round(sum(s.get("duration", 0.0) for s in sessions), 1),
        }
        write_json(path, content)


def _sessions(path: Path) -> list[dict[str, Any]]:
    """The sessions that a file tells of; entries that are none are left out."""
    try:
        held = read_json(path)
    except (OSError, DataFormatError):
        return []  # no earlier session, or one that was cut off: the runs themselves are what counts
    entries = held.get("sessions") if isinstance(held, dict) else None
    return [entry for entry in entries if _is_session(entry)] if isinstance(entries, list) else []


def _is_session(entry: Any) -> bool:
    if not isinstance(entry, dict) or "started" not in entry:
        return False
    duration = entry.get("duration", 0.0)
    return isinstance(duration, int | float) and math.isfinite(duration)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
