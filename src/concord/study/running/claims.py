"""Claims on cells: sessions on one machine or many work on one plan, and none trains what another does.

A claim is a file beside the run's own, made by whoever comes first; the file system decides that at once.
Whoever holds claims gives a sign of life every minute. A claim is stale, and may be taken over, when its
process is gone from this machine, or when it has given no sign for five minutes. Where a claim is taken over
from somebody who is alive after all, both train the same numbers, and files are written whole.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from concord.study.running.cells import Cell

RENEW = 60.0
"""Seconds between two signs of life."""

STALE = 300.0
"""Seconds without one after which a claim counts no more."""


class Claims:
    """The claims of one session; a context that gives signs of life, and releases what is left at its end.

    Args:
        out: The study's folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "runs"
        self.token = uuid4().hex
        self.held: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for path in list(self.held):
            self._drop(path)

    def take(self, cell: Cell) -> bool:
        """Claim a cell; False where another session holds it."""
        path = self._path(cell)
        # A second try follows where a stale claim was put aside, or a claim was released meanwhile.
        for _ in range(2):
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                if not self._put_aside(path):
                    return False
                continue
            with os.fdopen(file, "w", encoding="utf-8") as text:
                json.dump({"token": self.token, "host": _host(), "pid": os.getpid()}, text)
            self.held.add(path)
            return True
        return False

    def release(self, cell: Cell) -> None:
        """Give a claim up."""
        self._drop(self._path(cell))

    def renew(self) -> None:
        """Give a sign of life for every claim that is held."""
        for path in list(self.held):
            try:
                os.utime(path)
            except FileNotFoundError:
                self.held.discard(path)  # taken over: this session was thought dead

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.id}.claim"

    def _drop(self, path: Path) -> None:
        self.held.discard(path)
        if _token(_read(path)) == self.token:
            path.unlink(missing_ok=True)

    def _keep_renewing(self) -> None:
        while not self._ended.wait(RENEW):
            self.renew()

    def _put_aside(self, path: Path) -> bool:
        """Remove a claim if it is stale; whether there is a point in claiming again."""
        seen = _read(path)
        if seen is None:
            return True
        if not self._stale(path, seen):
            return False
        aside = path.with_name(f"{path.name}.{self.token}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return True
        if _read(aside) != seen:  # another session took the stale claim over meanwhile: it counts
            with suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()
            return False
        aside.unlink()
        return True

    def _stale(self, path: Path, seen: str) -> bool:
        try:
            age = self._now() - path.stat().st_mtime
        except FileNotFoundError:
            return True
        if age > STALE:
            return True
        try:
            holder: dict[str, Any] = json.loads(seen)
            host, pid = holder["host"], int(holder["pid"])
        except (ValueError, TypeError, KeyError):
            return False  # being written, or cut off while it was: time will tell
        return host == _host() and os.name == "posix" and not _alive(pid)

    def _now(self) -> float:
        """The time by the clock that dates the claims, which on a network is not this machine's."""
        probe = self.folder / f"clock.{self.token}.part"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _token(text: str | None) -> Any:
    try:
        return json.loads(text or "{}").get("token")
    except (ValueError, AttributeError):
        return None


def _host() -> str:
    """This machine, and the name space in which its process numbers mean something."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()} {space}".strip()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
