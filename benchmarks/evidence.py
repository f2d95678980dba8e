"""Everything measured again, and every page of it: `make evidence`.

    python benchmarks/evidence.py list                                  # each part: done, partial, stale, cannot run
    python benchmarks/evidence.py run [PART ...] [--processes 2]        # resumable, in any order; `results` or another page: all its parts
    python benchmarks/evidence.py run --budget 120                      # as much as two hours hold
    python benchmarks/evidence.py run --quick                           # that it runs: minutes, pages beside the runs
    python benchmarks/evidence.py keep [PART ...]                       # keep what unfinished parts have, to go on elsewhere
    python benchmarks/evidence.py again [PART ...] [--cells 3]          # make drawn cells again: parts hold if all come out the same
    python benchmarks/evidence.py pages                                 # write the pages of what has run, however little
    python benchmarks/evidence.py marks                                 # say on every page whether it is of today's code
    python benchmarks/evidence.py adopt method runs/method              # write a page of studies that were run by hand

Runs go to `--out`, which several machines may share: each part is claimed by one of them, and one that was killed
goes on where it stopped. The folder of a part's runs is named after the code that they rest on, so that other code
begins anew; where the code changes while a part runs, what was measured is put aside (`NAME.mixed`) and counts for
nothing. So numbers of two versions never mix. What a part needs and does not find (a pack, a package, a GPU) is
said, and the rest goes on. The exit status is 1 where a part or a page failed.

`adopt` takes a folder of studies that were made without this command. Code, days and machine are those that the
folder tells of, digests are of the files of that commit, and its parts count as run in part, since nobody knows by
which options they were: `run` makes them again.

What a finished part measured is kept beside the pages (`docs/records/PART.tar.xz`, texts alone): another checkout of
the same code, on a machine that shares no folder with this one, takes it for done and writes pages of it.

`again` is for a change of code that was to move no number: cells that are drawn at random are made again, by today's
code, and where each is equal to the bit the part counts as of today's code, and its page says how many cells that rests
on. Networks are trained with the kernels of AVX2, on processors that have AVX-512, too: so two machines can agree.

A page is written once its parts are done, but for those that cannot run: until then the older one stays, which holds
more. `docs/evidence.json` keeps what made each of them: marks below their headings
follow from it, and `docs/evidence.md`, which tells the findings in the order of a reader's questions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import again
import evidence_page
import findings
import kept
import marks
import origin
import paper_page
from concord import __version__
from concord.archive import Claim, Claimant, own
from concord.study import write_json
from evidence_parts import DATA, PAGES, Page, Part
from page import DOCS, LEFT_TO_OTHERS

HERE = Path(__file__).resolve().parent
COMMAND = "python benchmarks/evidence.py run"
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
        return _read(_beside(self.folder(part), ".part.json"))


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": [], "done": False}


def main(arguments: Sequence[str] | None = None, pages: Sequence[Page] = PAGES) -> int:
    """List, run, or write; 1 where anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("list", "run", "keep", "again", "pages", "marks", "adopt"))
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="names of parts or of pages; all unless given; for adopt a page and a folder",
    )
    parser.add_argument("--code", nargs="+", metavar="COMMIT", help="adopt: what made it, if no file tells")
    parser.add_argument(
        "--quick", action="store_true", help="in small: proves that it runs, and is no evidence"
    )
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="stop then; what is begun goes on next time"
    )
    parser.add_argument("--out", type=Path, help="folder of the runs; runs/evidence, or runs/evidence-quick")
    parser.add_argument(
        "--docs", type=Path, help="folder of the pages; docs, or with --quick `pages` below --out"
    )
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="of a study")
    parser.add_argument(
        "--cells", type=int, help="again: how many of each part; one of each condition unless given"
    )
    parser.add_argument(
        "--draw", type=int, help="again: the seed that draws them; the number of today unless given"
    )
    parser.add_argument(
        "--native",
        action="store_true",
        help="again: with the processor's own kernels, for parts made with such",
    )
    given = parser.parse_intermixed_args(arguments)  # parts may stand behind options
    out = given.out or Path("runs/evidence-quick" if given.quick else "runs/evidence")
    place = Place(out, given.docs or (out / "pages" if given.quick else DOCS), given.quick)
    if given.what == "adopt":
        if len(given.parts) != 2:
            parser.error("adopt takes a page and a folder")
        (name, folder), known = given.parts, {page.name: page for page in pages}
        if name not in known:
            parser.error(f"no page {name!r}; there are {', '.join(known)}")
        place.out.mkdir(parents=True, exist_ok=True)
        with own(place.out, ".pages", wait=True):
            return int(not adopt(known[name], Path(folder), place, given.code, pages))
    chosen = _chosen(given.parts, pages, parser)
    if given.what in ("list", "run", "pages"):
        for page in dict.fromkeys(page for page, _ in chosen):
            for part in page.parts:
                restore(part, place)
    if given.what == "list":
        show(chosen, place)
        return 0
    if given.what == "marks":
        return int(not write_marks(place.docs, pages))
    if given.what == "keep":
        keep([part for _, part in chosen], place)
        return 0
    place.out.mkdir(parents=True, exist_ok=True)
    failed = []
    if given.what == "run":
        failed = run(chosen, place, given.budget, given.processes)
    elif given.what == "again":
        draw = date.today().toordinal() if given.draw is None else given.draw
        failed = make_again([part for _, part in chosen], place, given.cells, draw, given.native)
    failed += write_pages(dict.fromkeys(page for page, _ in chosen), place, pages, given.what == "pages")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _chosen(
    names: Sequence[str], pages: Sequence[Page], parser: argparse.ArgumentParser
) -> list[tuple[Page, Part]]:
    every = [(page, part) for page in pages for part in page.parts]
    called = [{page.name, part.name, page.file.removesuffix(".md")} for page, part in every]
    if unknown := [name for name in names if not any(name in own for own in called)]:
        parser.error(f"no part {unknown[0]!r}; `list` shows them all")
    return [each for each, own in zip(every, called, strict=True) if not names or own & set(names)]


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
    older = [_read(path) for path in place.out.glob(f"{part.name}-????????.part.json")]
    if any(each["done"] for each in older):
        return "stale: done by other code"
    return f"stale: its page is of other code, {written['dates'][-1]}" if held and written else "not run"


def show(chosen: Sequence[tuple[Page, Part]], place: Place) -> None:
    """Print a line for each part."""
    states = {part.name: state(page, part, place) for page, part in chosen}
    for page, part in chosen:
        print(f"{part.name:<24} {page.file:<24} {part.minutes:>4.0f} min  {states[part.name]}")
    left = sum(part.minutes for _, part in chosen if states[part.name].startswith(LEFT))
    if not place.quick:
        print(
            f"left, of what can run here: about {left / 60:.1f} hours on two cores; `run PART ...` runs some"
        )


def restore(part: Part, place: Place) -> None:
    """Fetch a part's runs from what is kept beside the pages, where this code made them and they are not here."""
    folder, path = place.folder(part), kept.path_of(place.docs, part.name)
    noted = _beside(folder, ".part.json")
    if place.quick or noted.exists():
        return
    record = kept.record_in(path)
    if not record or marks.changed({"rooms": of_code(record)}, part.version(place.quick, place.code)):
        return
    place.out.mkdir(parents=True, exist_ok=True)
    claim = Claimant().take(_beside(folder, ".claim"))
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
        claim = claimant.take(_beside(folder, ".claim")) if record["sessions"] and folder.exists() else None
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
        claim = claimant.take(_beside(place.folder(part), ".claim"))
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
        self.path, self.log = _beside(self.folder, ".part.json"), _beside(self.folder, ".log")
        self.before = _read(self.path)["sessions"]
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
                    told, failed = f"failed with status {status}: {_last_line(self.log)} ({self.log})", True
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
            aside = _beside(self.folder, f".mixed-{datetime.now(UTC):%Y%m%d-%H%M%S}")
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
            kept.keep(_read(self.path), self.folder, kept.path_of(self.place.docs, self.part.name))
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
    paths = [str(origin.ROOT / "src"), os.environ.get("PYTHONPATH", "")]  # the code whose digest is noted
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


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# -- made again ----------------------------------------------------------------------------------------


def make_again(
    parts: Iterable[Part], place: Place, cells: int | None, draw: int, native: bool = False
) -> list[str]:
    """Make cells of what parts have kept again, and note where all are the same; names of parts where one is not.

    Args:
        parts: Which.
        place: Where.
        cells: Of each part; one of each condition unless given.
        draw: The seed that draws them.
        native: With the processor's own kernels.
    """
    failed = []
    for part in parts:
        path = kept.path_of(place.docs, part.name)
        record = kept.record_in(path)
        told = _never_again(part, record, place, native)
        if not told:
            with tempfile.TemporaryDirectory(dir=place.out) as inside:
                folder = Path(inside) / "runs"
                kept.restore(path, folder, Path(inside) / "part.json")
                every = again.names_in(folder)
                names = again.drawn(every, draw, cells)
                told, same = _made_again(part, folder, names, place, native)
                if same:
                    told = f"{len(names)} of {len(every)} cells are equal to the bit (draw {draw})"
                    _hold(part, record, folder, place, {"cells": len(names), "of": len(every), "draw": draw})
                elif names:
                    failed.append(part.name)
        print(f"{part.name}: {told}", flush=True)
    return failed


def _hold(part: Part, record: dict[str, Any], folder: Path, place: Place, cells: Mapping[str, int]) -> None:
    """Note that what a part has kept is what today's code makes, too."""
    note = {
        "code": origin.commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": origin.machine(threads=1),
        "rooms": part.version(place.quick, place.code),
        **cells,
    }
    record = {**record, "again": [*record.get("again", []), note]}
    kept.keep(record, folder, kept.path_of(place.docs, part.name))
    noted = _beside(place.folder(part), ".part.json")
    if noted.exists():
        write_json(noted, record)
    restore(part, place)


def _never_again(part: Part, record: Mapping[str, Any], place: Place, native: bool) -> str:
    """Why no cell of a part can be made again here; empty where one can."""
    if not record:
        return "nothing of it is kept"
    if part.timed:
        return "it measures time, which no run repeats"
    if of_code(record).get(part.key) != part.version(place.quick, place.code)[part.key]:
        return "its commands, scripts or plans have changed: it must run"
    if not native and origin.kernels() is None:
        return "this processor has no AVX2: with --native the last digits may differ"
    return part.missing()


def _made_again(
    part: Part, folder: Path, names: Sequence[str], place: Place, native: bool
) -> tuple[str, bool]:
    """What is to be said of cells that were made again, and whether all are the same."""
    if not names:
        return "it keeps nothing that could be drawn: it must run", False
    log = place.out / f"{part.name}.again.log"
    log.unlink(missing_ok=True)
    environment = {} if native else origin.kernels()
    runs = [name for name in names if again.is_run(name)]
    lines = [name for name in names if not again.is_run(name)]
    found: dict[str, str] = {}
    failed = False
    if runs:
        out = folder.parent / "differ.json"
        words = [sys.executable, str(HERE / "again.py"), str(folder), "--names", *runs, "--out", str(out)]
        execute(words, log, environment=environment)
        failed = not out.exists()
        found |= {} if failed else json.loads(out.read_text(encoding="utf-8"))
    if lines and not failed:
        other = folder.parent / "other"
        again.thinned(folder, other, lines)
        steps = (words_of(step, other, place.docs, 1) for step in part.steps)
        failed = any(execute(words, log, environment=environment) for words in steps)
        found |= {} if failed else again.compared(folder, other, lines)
    if failed:
        return f"failed: {_last_line(log)} ({log})", False
    differ = [f"{name}: {said}" for name, said in found.items() if said]
    told = f"{len(differ)} of {len(names)} cells differ; {differ[0]}; it must run" if differ else ""
    return told, not differ


# -- pages ---------------------------------------------------------------------------------------------


def write_pages(
    chosen: Iterable[Page], place: Place, every: Sequence[Page] = PAGES, partial: bool = False
) -> list[str]:
    """Write pages of finished parts, and with each its record and all marks; names of pages that failed.

    A page takes no older one's place that shows more, unless `partial`.
    """
    failed, place = [], place.now()
    with own(place.out, ".pages", wait=True):
        for page in chosen:
            found = {part.name: place.record(part) for part in page.parts if part.commands(place.quick)}
            if not any(each["done"] for each in found.values()):
                continue
            states = {part.name: state(page, part, place) for part in page.parts}
            older = marks.read_records(place.docs).get(page.name)
            left = [name for name in found if _would_lose(older, name, found, states)]
            if left and not partial:
                print(f"page {page.name} stays the older one until {marks.listed(left)} ran", flush=True)
                continue
            parts = [place.folder(part) for part in page.parts if found.get(part.name, {}).get("done")]
            runs = gathered(parts, place.out / f"{page.name}.page")
            if not write_page(page, runs, place, record_of(found, place.quick), every):
                failed.append(page.name)
        if not write_marks(place.docs, every):
            failed.append("paper")
    return failed


def _would_lose(
    older: Mapping[str, Any] | None, part: str, found: Mapping[str, Any], states: Mapping[str, str]
) -> bool:
    """Whether a page now would be without a part that the older one shows, though it can be had."""
    if older is None or found[part]["done"] or part in older.get("missing", []):
        return False
    return states[part].startswith(("done", *LEFT))


def gathered(parts: Sequence[Path], into: Path) -> Path:
    """One folder of the runs of several parts, made anew: links to what they hold.

    Measurements of several in a file of the same name are put one after the other, and the codes of theirs, too.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for part in parts:
        for path in sorted(part.rglob("*")):
            target = into / path.relative_to(part)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.suffix == ".jsonl" and target.exists():
                _own(target).write_bytes(target.read_bytes() + b"\n" + path.read_bytes())
            elif path.name == "about.json" and target.exists():
                codes = [code for each in (target, path) for code in json.loads(each.read_text())["code"]]
                write_json(_own(target), {"code": list(dict.fromkeys(codes))})
            elif not target.exists():
                target.symlink_to(path.absolute())
    return into


def _own(link: Path) -> Path:
    """A file of the gathered folder itself: what it leads to is never written to."""
    if link.is_symlink():
        held = link.read_bytes()
        link.unlink()
        link.write_bytes(held)
    return link


def write_page(page: Page, runs: Path, place: Place, record: dict[str, Any], every: Sequence[Page]) -> bool:
    """Write a page of runs, then its record and its mark; False where that failed, and the older one stays."""
    log = place.out / f"{page.name}.page.log"
    command = (page.quick_write if place.quick else "") or page.write
    try:
        facts = findings.facts_of(page.name, runs, place.docs)
    except Exception as error:  # whatever is wrong with one page, the others are written
        print(f"page {page.name} failed: its findings: {type(error).__name__}: {error}", flush=True)
        return False
    if execute(words_of(command, runs, place.docs, 1), log):
        print(f"page {page.name} failed: {_last_line(log)} ({log})", flush=True)
        return False
    marks.write_records(place.docs, marks.read_records(place.docs) | {page.name: {**record, "facts": facts}})
    write_marks(place.docs, every)
    print(f"wrote {place.docs / page.file}", flush=True)
    return True


def record_of(parts: Mapping[str, Mapping[str, Any]], quick: bool) -> dict[str, Any]:
    """What made a page: of the sessions of its finished parts, all of the same code."""
    done = [each for each in parts.values() if each["done"]]
    sessions = [session for each in done for session in each["sessions"]]
    rooms: dict[str, str] = {}
    for each in done:
        rooms |= of_code(each)
    record: dict[str, Any] = {
        "version": sessions[-1]["version"],
        "code": list(dict.fromkeys(session["code"] for session in sessions)),
        "dates": sorted({session["started"][:10] for session in sessions}),
        "machines": [json.loads(text) for text in dict.fromkeys(json.dumps(s["machine"]) for s in sessions)],
        "minutes": round(sum(session["minutes"] for session in sessions), 1),
        "rooms": rooms,
        "missing": [name for name, each in parts.items() if not each["done"]],
    }
    if sampled := {
        name: each["again"][-1] for name, each in parts.items() if each["done"] and each.get("again")
    }:
        record["again"] = {
            "parts": list(sampled),
            "cells": sum(each["cells"] for each in sampled.values()),
            "of": sum(each["of"] for each in sampled.values()),
            "code": list(dict.fromkeys(each["code"] for each in sampled.values())),
            "dates": sorted({each["started"][:10] for each in sampled.values()}),
        }
    return {**record, "quick": True} if quick else record


def write_marks(docs: Path, pages: Sequence[Page]) -> bool:
    """Say on every page that is there what made it and whether that code is today's; write the pages made of others.

    Returns:
        Whether all could be written.
    """
    records, code = marks.read_records(docs), origin.Code()
    now = {page.name: page.version(code=code) for page in pages}
    for page in pages:
        mark = marks.words(records.get(page.name), now[page.name], f"{COMMAND} {page.name}")
        marks.write_mark(docs / page.file, page.name, mark, section=page.section)
    evidence_page.write(docs, records, {page.name: page for page in pages}, now, COMMAND)
    try:
        paper_page.write(docs)
    except LookupError as error:
        print(f"page paper failed: {error}", flush=True)
        return False
    return True


# -- runs by hand --------------------------------------------------------------------------------------


def adopt(
    page: Page, folder: Path, place: Place, codes: Sequence[str] | None, every: Sequence[Page] = PAGES
) -> bool:
    """Write a page of the finished studies of a folder that this command did not make; False where that failed.

    Raises:
        SystemExit: Nothing of the page is there, or nobody knows which code made it.
    """
    shown = [part for part in page.parts if any((folder / name).exists() for name in part.outputs)]
    studies = [
        (folder / name).parent
        for part in shown
        for name in part.outputs
        if name.endswith("summary.json") and (folder / name).exists()
    ]
    if not studies:
        raise SystemExit(f"{folder} holds no finished study of the page {page.name}")
    if codes is None:
        told = [
            json.loads(path.read_text())
            for path in sorted([*folder.glob("about.json"), *folder.glob("*/about.json")])
        ]
        codes = list(dict.fromkeys(code for each in told for code in each["code"]))
    if not codes or any(code == "unknown" or code.endswith("-dirty") for code in codes):
        raise SystemExit(f"{folder} does not tell which commits made it, whole ones: name them by --code")
    record = adopted(page, [part.name for part in shown], [_environment(each) for each in studies], codes)
    return write_page(page, folder, place, record, every)


def _environment(study: Path) -> dict[str, Any]:
    path = study / "environment.json"
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return held


def adopted(
    page: Page, shown: Sequence[str], studies: Sequence[Mapping[str, Any]], codes: Sequence[str]
) -> dict[str, Any]:
    """The record of studies that were made by hand; `unknown` where they do not tell."""
    versions = [page.version(code=origin.Code(code)) for code in codes]
    sessions = [session for each in studies for session in each.get("sessions") or [each]]
    machines = [
        {
            "processor": each.get("machine", {}).get("processor"),
            "cores": each.get("machine", {}).get("cores"),
            **{name: each.get("versions", {}).get(name, "unknown") for name in ("python", "torch")},
            **({"threads": each["threads"]} if "threads" in each else {}),
            **({"processes": each["processes"]} if "processes" in each else {}),
        }
        for each in studies
    ]
    return {
        "version": next(
            (str(each["versions"]["concord"]) for each in studies if "versions" in each), "unknown"
        ),
        "code": list(codes),
        "dates": sorted({str(s["started"])[:10] for s in sessions if s.get("started")}) or ["unknown"],
        "machines": [json.loads(text) for text in dict.fromkeys(map(json.dumps, machines))],
        "minutes": round(sum(float(session.get("duration") or 0) for session in sessions) / 60, 1),
        "rooms": same(versions),
        "missing": [part.name for part in page.parts if part.name not in shown],
        "partly": list(shown),
    }


def same(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Digests in which all commits agree; empty where they do not: one that no code has."""
    names = dict.fromkeys(name for each in versions for name in each)
    return {
        name: versions[0].get(name, "") if len({each.get(name, "") for each in versions}) == 1 else ""
        for name in names
    }


def program(pages: Sequence[Page] = PAGES) -> None:
    """The command as a process: what runs is stopped with it, and keeps what it has."""
    # Even where a shell has Ctrl-C ignored in the background, and where a scheduler ends it.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    try:
        sys.exit(main(pages=pages))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


if __name__ == "__main__":
    program()
