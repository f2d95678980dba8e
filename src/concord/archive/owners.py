"""Who may write: one process at a time, known by a file that it holds locked.

A claim is a small file that appears whole, with its content and its lock (`flock`). On one machine the lock
decides: it goes with its process, however that ends. Between machines a lock may not be shared, so a holder
also gives a sign of life: the file's modification time changes every `BEAT` seconds. Whoever wants the claim
of another machine watches it, and takes it after `STALE` seconds without a sign by its own clock. No two
clocks are compared, so that a claim of the future, or an empty one, is as good as any.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from uuid import uuid4
from weakref import WeakSet

from concord.errors import CheckpointError, ConcordWarning

BEAT = 15.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without a sign after which the claim of another machine counts no more."""

LOOK = 5.0
"""Seconds between two looks at the claim of another."""

OWNER = ".owner"
"""Name of the claim on a folder."""

State = Literal["alive", "watched", "gone"]

now, pause = time.monotonic, time.sleep


class Claim:
    """A claim that is held, until `release`; a context that releases it.

    Args:
        path: Its file.
        descriptor: Of the file, open and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.lost = path, False
        self._descriptor, self._process = descriptor, os.getpid()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self._thread.start()
        _held.add(self)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def released(self) -> bool:
        """Whether it was given up."""
        return self._ended.is_set()

    def check(self) -> None:
        """Raise where another process took the claim over.

        Raises:
            CheckpointError: This process gave no sign of life for too long.
        """
        self.renew()
        if self.lost:
            raise CheckpointError(
                f"{self.path.parent} was taken over by another process, which saw no sign of this one for "
                f"{STALE:.0f} seconds; this one stops"
            )

    def renew(self) -> None:
        """Give a sign of life."""
        if not self._is_mine():
            self.lost = True
            return
        with suppress(OSError):
            os.utime(self._descriptor)

    def release(self) -> None:
        """Give the claim up."""
        if self._process != os.getpid() or self.released:
            return
        self._ended.set()
        self._thread.join()
        if self._is_mine():
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _is_mine(self) -> bool:
        try:
            there, mine = os.stat(self.path), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _keep_renewing(self) -> None:
        while not self._ended.wait(BEAT):
            self.renew()

    def let_go(self) -> None:
        """In a forked child: the lock is the parent's, and ends with it."""
        with suppress(OSError):
            os.close(self._descriptor)


_held: WeakSet[Claim] = WeakSet()


def _after_fork() -> None:
    for claim in list(_held):
        claim.let_go()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def covering(folder: Path) -> Claim | None:
    """The claim that this process holds on a folder above, which covers those below it; None without one."""
    above = folder.resolve().parents
    held = (claim for claim in list(_held) if not claim.released)
    return next((claim for claim in held if claim.path.parent.resolve() in above), None)


class Claimant:
    """Takes claims, and remembers what it saw of those of others."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Any, float, bool]] = {}
        self._left: dict[Path, list[Path]] = {}

    def take(self, path: Path) -> Claim | None:
        """Claim a file; None where another process holds it, or may: see `watched`.

        Raises:
            OSError: The file cannot be made.
        """
        for _ in range(3):  # again where a claim was put aside, or released meanwhile
            made = _make(path)
            if made is not None:
                self._seen.pop(path, None)
                self._tidy(path)
                return Claim(path, made)
            state = self._state(path)
            if state != "gone":
                return None
        return None

    def _tidy(self, path: Path) -> None:
        """Remove what processes left of this claim that were ended while they made theirs."""
        folder = path.parent
        if folder not in self._left:  # looked through once: a study claims thousands in one folder
            self._left[folder] = [each for each in folder.iterdir() if each.name.endswith(".tmp")]
        for left in self._left[folder]:
            if left.name.startswith(f".{path.name}."):
                _remove_unlocked(left)

    def watched(self, path: Path) -> bool:
        """Whether nobody knows yet if the holder lives: no sign was seen, and `STALE` has not passed."""
        return path in self._seen and not self._seen[path][2]

    def _state(self, path: Path) -> State:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return "gone"
        try:
            locked = _lock(descriptor, shared=True)
            content, mark = os.read(descriptor, 4096), os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if locked == "refused":
            self._seen.pop(path, None)
            return "alive"
        holder = _holder(content)
        if holder.get("machine") == _machine() and (locked == "given" or not _runs(holder.get("pid"))):
            return _put_aside(path, content)
        return self._watch(path, content, (content, mark.st_ino, mark.st_mtime_ns))

    def _watch(self, path: Path, content: bytes, sign: Any) -> State:
        before, since, alive = self._seen.get(path, (sign, now(), False))
        if sign != before:
            since, alive = now(), True
        self._seen[path] = (sign, since, alive)
        if now() - since < STALE:
            return "alive" if alive else "watched"
        del self._seen[path]
        return _put_aside(path, content)


def own(folder: Path, name: str = OWNER, *, wait: bool = False) -> Claim:
    """Claim a folder for writing.

    Args:
        folder: Exists.
        name: Of the claim, where a folder has several.
        wait: Whether to wait until a living holder is done.

    Raises:
        CheckpointError: Another process writes to it, or the claim cannot be written.
    """
    claimant, path, warned = Claimant(), folder / name, False
    while True:
        try:
            claim = claimant.take(path)
        except OSError as error:
            raise CheckpointError(
                f"cannot write to {folder}: {(error.strerror or str(error)).lower()}"
            ) from error
        if claim is not None:
            return claim
        if claimant.watched(path):
            if not warned:
                warned = True
                warnings.warn(
                    f"{folder} was in use by {holder_of(path)}: waiting up to {STALE:.0f} seconds for a "
                    "sign of life",
                    ConcordWarning,
                    stacklevel=2,
                )
        elif not wait:
            raise CheckpointError(
                f"{folder} is in use by {holder_of(path)}; wait until it is done, or write to another folder"
            )
        pause(LOOK if claimant.watched(path) else LOOK / 10)


@contextmanager
def owned(folder: Path, owner: Claim | None = None) -> Iterator[Claim]:
    """Hold the claim on a folder, or go on with the one that is given."""
    if owner is not None:
        owner.check()
        yield owner
        return
    with own(folder) as claim:
        yield claim


def holder_of(path: Path) -> str:
    """Who holds a claim, in words."""
    try:
        found = _holder(path.read_bytes())
    except OSError:
        found = {}
    return (
        f"process {found['pid']} on {found['host']}" if {"pid", "host"} <= set(found) else "another process"
    )


# -- the file -----------------------------------------------------------------------------------------


def _make(path: Path) -> int | None:
    """Make a claim's file, locked and with its content, at once; None where there is one."""
    token = uuid4().hex
    temporary = path.with_name(f".{path.name}.{token}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        _lock(descriptor, shared=False)
        holder = {"token": token, "host": platform.node(), "machine": _machine(), "pid": os.getpid()}
        os.write(descriptor, json.dumps(holder).encode())
        if _link(temporary, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    os.close(descriptor)
    return None


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):  # the latter: tidied away by another; the next try tells
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if path.exists():  # a file system without links
            return False
        os.rename(temporary, path)
    return True


def _lock(descriptor: int, *, shared: bool) -> Literal["given", "refused", "unknown"]:
    try:
        import fcntl
    except ImportError:  # no POSIX: the process number decides
        return "unknown"
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return "refused"
    except OSError:  # a file system without locks
        return "unknown"
    return "given"


def _put_aside(path: Path, seen: bytes) -> State:
    """Remove a claim that nobody holds any more, unless another process was faster."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return "gone"
    overtaken = aside.read_bytes() != seen
    if overtaken:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return "alive" if overtaken else "gone"


def _remove_unlocked(path: Path) -> None:
    """Remove a file that no process has locked."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if _lock(descriptor, shared=True) == "given":
                path.unlink()
        finally:
            os.close(descriptor)


def _holder(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine() -> str:
    """This machine since it was started: containers on it share its locks, another machine may not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _runs(process: Any) -> bool:
    if not isinstance(process, int) or os.name != "posix" or process <= 0:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
