"""With what a study was run: versions, machine, sessions."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from concord import __version__
from concord.study.running.cells import write_json

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
def note_session(out: Path, processes: int) -> Iterator[None]:
    """Add a session to `environment.json`, with its duration when it ends, however it ends."""
    path = out / "environment.json"
    started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    session: dict[str, Any] = {"started": started, "command": command, "processes": processes}
    try:
        yield
    finally:
        session["duration"] = round(time.perf_counter() - start, 1)
        held = _held(path)  # not before: other sessions may have ended meanwhile
        sessions = [*held.get("sessions", []), session]
        content = {
            **environment(),
            "started": held.get("started", started),
            "command": command,
            "processes": processes,
            "sessions": sessions,
        }
        content["duration"] = round(sum(s.get("duration", 0.0) for s in sessions), 1)
        write_json(path, content)


def _held(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}  # no earlier session, or one that was cut off: the runs themselves are what counts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
