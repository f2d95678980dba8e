"""Parts of `make evidence` as they are run: where, what is there of them, and each command in a process of its own."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kept
import marks
import origin
from concord import __version__
from concord.archive import Claim, Claimant
from concord.study import write_json
from evidence_parts import DATA, Page, Part
from page import LEFT_TO_OTHERS

HERE = Path(__file__).resolve().parent
GRACE = 60.0
"""Seconds that a part is given to stop when its time is over."""
LOOK = 60.0
"""Seconds between two looks at a part that runs: at its time, and whether the code is still the same."""
LEFT = ("partial", "stale", "not run")
"""How a state begins of a part that is left to run."""
PR_SET_PDEATHSIG = 1
ENDS_WITH_PARENT = (
    [sys.executable, "-c", f"import ctypes, os, sys; ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {int(signal.SIGINT)}); "
     "os.execv(sys.argv[1], sys.argv[1:])"]
    if sys.platform == "linux" else []
)  # fmt: skip
"""What begins a command that is stopped when this process is killed; nothing where the system cannot."""


@dataclass(frozen=True)
class Place:
    """Where runs and pages go, and which code makes them.

    Attributes:
        out: Of all runs; several machines may share it.
        docs: Of the pages.
        quick: Whether everything is run in small.
        code: As it was when it was looked at.
    """

    out: Path
    docs: Path
    quick: bool = False
    code: origin.Code = field(default_factory=origin.Code)

    def now(self) -> Place:
        """The same with the code that lies there now."""
        return replace(self, code=origin.Code())

    def folder(self, part: Part) -> Path:
        """Of a part's runs by this code."""
        version = json.dumps(part.version(self.quick, self.code), sort_keys=True)
        return self.out / f"{part.name}-{hashlib.sha256(version.encode()).hexdigest()[:8]}"

    def record(self, part: Part) -> dict[str, Any]:
        """What is known of a part's runs by this code: `sessions`, and `done`."""
        return read_record(beside(self.folder(part), ".part.json"))


def beside(folder: Path, suffix: str) -> Path:
    """What lies beside a part's folder of runs, by what is added to its name."""
    return folder.with_name(folder.name + suffix)


def read_record(path: Path) -> dict[str, Any]:
    """What is known of a part's runs; that there are none, where the file is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": [], "done": False}


# -- what is there -------------------------------------------------------------------------------------


def state(page: Page, part: Part, place: Place) -> str:
    """Of a part, in a word and what there is to say of it."""
    record = place.record(part)
    if record["done"]:
        return "done"
    if not part.commands(place.quick):
        return "not in quick"
    written = marks.read_records(place.docs).get(page.name)
    held = marks.shows(written, part.name)
    other = written is not None and bool(marks.changed(written, part.version(place.quick, place.code)))
    if held and not other and not (written or {}).get("quick"):
        return "done: its page is of today's code, and its runs are elsewhere"
    if reason := part.missing(place.quick):
        return f"cannot run: {reason}"
    if record["sessions"]:
        last = record["sessions"][-1]
        return f"partial: {last['end']}" if last.get("end") else "partial: running, or killed"
    older = [read_record(path) for path in place.out.glob(f"{part.name}-????????.part.json")]
    if any(each["done"] for each in older):
        return "stale: done by other code"
    return f"stale: its page is of other code, {written['dates'][-1]}" if held and written else "not run"


def restore(part: Part, place: Place) -> None:
    """Fetch a part's runs from what is kept beside the pages, where this code made them and they are not here."""
    folder, path = place.folder(part), kept.path_of(place.docs, part.name)
    noted = beside(folder, ".part.json")
    if place.quick or noted.exists():
        return
    record = kept.record_in(path)
    if not record or marks.changed({"rooms": of_code(record)}, part.version(place.quick, place.code)):
        return
    place.out.mkdir(parents=True, exist_ok=True)
    claim = Claimant().take(beside(folder, ".claim"))
    if claim is not None:
        with claim:
            if not noted.exists():  # by whoever held the claim a moment ago
                kept.restore(path, folder, noted)


def of_code(record: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the code that a part's runs are of: that made them or, later, cells of them again."""
    found: dict[str, str] = (record.get("again") or record["sessions"])[-1]["rooms"]
    return found


def keep(parts: Iterable[Part], place: Place) -> None:
    """Keep what this code measured so far beside the pages; a part that runs at the moment is left alone."""
    for part in parts:
        folder, path, claimant = place.folder(part), kept.path_of(place.docs, part.name), Claimant()
        record = place.record(part)
        claim = claimant.take(beside(folder, ".claim")) if record["sessions"] and folder.exists() else None
        if claim is not None:
            with claim:
                kept.keep(record, folder, path)
            told = f"{'done' if record['done'] else 'in part'}, kept in {path}"
            print(f"{part.name}: {told}, {path.stat().st_size / 2**20:.1f} MiB", flush=True)


# -- running -------------------------------------------------------------------------------------------


def run(
    chosen: Sequence[tuple[Page, Part]], place: Place, budget: float | None = None, processes: int = 1
) -> list[str]:
    """Run what is not done, each part by one machine; names of parts that failed."""
    end = None if budget is None else time.monotonic() + 60 * budget
    failed, claimant = [], Claimant()
    for page, part in chosen:
        place = place.now()
        told = state(page, part, place)
        if told.startswith(("done", "not in quick", "cannot run")):
            print(f"{part.name}: {told}", flush=True)
            continue
        if end is not None and time.monotonic() >= end:
            print(f"{part.name}: left for the next time", flush=True)
            continue
        claim = claimant.take(beside(place.folder(part), ".claim"))
        if claim is None:
            print(f"{part.name}: another process runs it", flush=True)
            continue
        with claim:
            if place.record(part)["done"]:  # by whoever held the claim a moment ago
                continue
            if not Running(part, place, claim).run(end, processes):
                failed.append(part.name)
    return failed


class Running:
    """A part that runs: its session, which is noted as it goes on.

    Args:
        part: Which.
        place: Where, and by which code.
        claim: This process's own, of the part's runs.
    """

    def __init__(self, part: Part, place: Place, claim: Claim) -> None:
        self.part, self.place, self.claim = part, place, claim
        self.folder, self.steps = place.folder(part), part.commands(place.quick)
        self.version, self.started = part.version(place.quick, place.code), time.monotonic()
        self.path, self.log = beside(self.folder, ".part.json"), beside(self.folder, ".log")
        self.before = read_record(self.path)["sessions"]
        self.session: dict[str, Any] = {
            "code": origin.commit(),
            "version": __version__,
            "rooms": self.version,
            "machine": origin.machine(threads=1),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def run(self, end: float | None, processes: int) -> bool:
        """Run the commands; False where one failed. Out of time, or left to others, is no failure."""
        if any("{processes}" in step for step in self.steps):
            self.session["machine"]["processes"] = processes
        kernels = None if self.part.timed else origin.kernels()
        if kernels is not None:
            self.session["machine"]["kernels"] = "AVX2"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tell("begun")
        told, failed = "", False
        try:
            for step in self.steps:
                left = None if end is None else end - time.monotonic()
                words = words_of(step, self.folder, self.place.docs, processes)
                status = execute(words, self.log, left, self.goes_on, kernels)
                if status is None:
                    told = "out of time"
                elif status == LEFT_TO_OTHERS:
                    told = "the rest is at other jobs"
                elif status:
                    told, failed = f"failed with status {status}: {last_line(self.log)} ({self.log})", True
                if told or self.changed():
                    break
        except KeyboardInterrupt:
            told = "stopped"
            raise
        finally:
            failed = self.conclude(told) or failed
        return not failed

    def conclude(self, told: str) -> bool:
        """Note how it ended; True where that is a failure. Numbers of two versions are put aside."""
        if self.changed():
            aside = beside(self.folder, f".mixed-{datetime.now(UTC):%Y%m%d-%H%M%S}")
            self.folder.rename(aside)
            self.tell(
                f"failed: the code changed while it ran; what was measured lies in {aside} and counts for nothing"
            )
            self.path.unlink()
            return True
        if not told and not self.place.quick:
            lacking = [name for name in self.part.outputs if not (self.folder / name).exists()]
            told = f"not there yet: {lacking[0]}, of {len(lacking)}" if lacking else ""
        if not told:
            self.claim.check()  # another process may have taken it over, and be at it
        self.tell(told or "done", done=not told)
        if not told and not self.place.quick:
            kept.keep(read_record(self.path), self.folder, kept.path_of(self.place.docs, self.part.name))
        return False

    def changed(self) -> bool:
        """Whether the code is no longer what this part was begun with."""
        return self.part.version(self.place.quick, self.place.now().code) != self.version

    def goes_on(self) -> bool:
        """Note that it runs; False where the code has changed, so that more of it is of no use."""
        self.note("")
        return not self.changed()

    def note(self, end: str, done: bool = False) -> float:
        """Write the session; the minutes it took so far."""
        minutes = round((time.monotonic() - self.started) / 60, 2)
        held = {"done": done, "sessions": [*self.before, {**self.session, "end": end, "minutes": minutes}]}
        write_json(self.path, held)
        return minutes

    def tell(self, end: str, done: bool = False) -> None:
        """Write the session, and say it."""
        minutes = self.note("" if end == "begun" else end, done)
        print(f"{self.part.name}: {end}{'' if end == 'begun' else f', {minutes:.1f} minutes'}", flush=True)


def words_of(step: str, folder: Path, docs: Path, processes: int) -> list[str]:
    """A command of the table as it is executed, in the root of the checkout."""
    places = {"run": _from_root(folder), "docs": _from_root(docs), "processes": processes}
    words = [word.format(**places) for word in shlex.split(step)]
    if words[0] == "python":
        return [sys.executable, str(HERE / words[1]), *words[2:]]
    # A study notes the command that it was begun by.
    named = "import sys; sys.argv[0] = 'concord'; from concord.cli import main; main()"
    return [sys.executable, "-c", named, *words[1:]]


def _from_root(path: Path) -> Path:
    """A path as pages may name it: within the checkout from its root."""
    full = path.absolute()
    return full.relative_to(origin.ROOT) if full.is_relative_to(origin.ROOT) else full


def execute(
    words: Sequence[str],
    log: Path,
    seconds: float | None = None,
    goes_on: Callable[[], bool] = lambda: True,
    environment: Mapping[str, str] | None = None,
) -> int | None:
    """Run a command with one thread a process, its output at the end of the log.

    Args:
        words: The command.
        log: Written to.
        seconds: After which it is stopped.
        goes_on: Asked every minute; it is stopped where it must not.
        environment: More of it than this process has.

    Returns:
        Its status; None where it was stopped.
    """
    # The code whose digest is noted, unless another is asked for.
    first = (environment or {}).get("PYTHONPATH", str(origin.ROOT / "src"))
    paths = [first, os.environ.get("PYTHONPATH", "")]
    environment = (
        os.environ
        | (environment or {})
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "CONCORD_DATA": str(DATA.absolute()),
        }
    )
    end = math.inf if seconds is None else time.monotonic() + seconds
    if end <= time.monotonic():
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        print(f"$ {shlex.join(words)}", file=file, flush=True)
        child = subprocess.Popen(
            [*ENDS_WITH_PARENT, *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=origin.ROOT,
            env=environment,
        )
        try:
            while (left := end - time.monotonic()) > 0:
                try:
                    return child.wait(min(left, LOOK))
                except subprocess.TimeoutExpired:
                    if left > LOOK and not goes_on():
                        break
            return None
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a process as Ctrl-C would, so that it can keep what it has; if it does not, at once."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
