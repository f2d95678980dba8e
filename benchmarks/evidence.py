"""Everything measured again, and every page of it: `make evidence`.

    python benchmarks/evidence.py list                                  # each part: done, partial, stale, cannot run
    python benchmarks/evidence.py run [PART ...] [--processes 2]        # resumable, in any order; a page's name is all its parts
    python benchmarks/evidence.py run --budget 120                      # as much as two hours hold
    python benchmarks/evidence.py run --quick                           # that it runs: minutes, pages beside the runs
    python benchmarks/evidence.py pages                                 # write the pages of what has run, however little
    python benchmarks/evidence.py marks                                 # say on every page whether it is of today's code

Runs go to `--out`, which several machines may share: each part is claimed by one of them, and one that was killed
goes on where it stopped. The folder of a page's runs is named after the code that they rest on, so that other code
begins anew and numbers of two versions never mix. What a part needs and does not find (a pack, a package, a GPU) is
said, and the rest goes on. The exit status is 1 where a part or a page failed.

A page is written once its parts are done, but for those that cannot run: until then the older one stays, which holds
more. `docs/evidence.json` keeps what made each of them: marks below their headings
follow from it, and `docs/evidence.md`, which tells the findings in the order of a reader's questions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import evidence_page
import findings
import marks
import origin
import paper_page
from concord import __version__
from concord.archive import Claimant, own
from concord.study import write_json
from evidence_parts import DATA, PAGES, Page, Part
from page import DOCS

HERE = Path(__file__).resolve().parent
COMMAND = "python benchmarks/evidence.py run"
GRACE = 60.0
"""Seconds that a part is given to stop when its time is over."""


class Place(NamedTuple):
    """Where runs and pages go.

    Attributes:
        out: Of all runs; several machines may share it.
        docs: Of the pages.
        quick: Whether everything is run in small.
    """

    out: Path
    docs: Path
    quick: bool = False

    def folder(self, page: Page) -> Path:
        """Of a page's runs: of the code that is at hand."""
        version = json.dumps(page.version(self.quick), sort_keys=True)
        return self.out / f"{page.name}-{hashlib.sha256(version.encode()).hexdigest()[:8]}"

    def record(self, page: Page, part: Part) -> dict[str, Any]:
        """What is known of a part's runs by the code at hand: `sessions`, and `done`."""
        return _read(self.folder(page) / f"{part.name}.part.json")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": [], "done": False}


def main(arguments: Sequence[str] | None = None, pages: Sequence[Page] = PAGES) -> int:
    """List, run, or write; 1 where anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("list", "run", "pages", "marks"))
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="names of parts or of pages; all unless given"
    )
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
    given = parser.parse_intermixed_args(arguments)  # parts may stand behind options
    out = given.out or Path("runs/evidence-quick" if given.quick else "runs/evidence")
    place = Place(out, given.docs or (out / "pages" if given.quick else DOCS), given.quick)
    chosen = _chosen(given.parts, pages, parser)
    if given.what == "list":
        show(chosen, place)
        return 0
    if given.what == "marks":
        write_marks(place.docs, pages)
        return 0
    place.out.mkdir(parents=True, exist_ok=True)
    failed = run(chosen, place, given.budget, given.processes) if given.what == "run" else []
    failed += write_pages(dict.fromkeys(page for page, _ in chosen), place, pages, given.what == "pages")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _chosen(
    names: Sequence[str], pages: Sequence[Page], parser: argparse.ArgumentParser
) -> list[tuple[Page, Part]]:
    every = [(page, part) for page in pages for part in page.parts]
    known = {name for page, part in every for name in (page.name, part.name)}
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no part {unknown[0]!r}; `list` shows them all")
    return [each for each in every if not names or {each[0].name, each[1].name} & set(names)]


# -- what is there -------------------------------------------------------------------------------------


def state(page: Page, part: Part, place: Place) -> str:
    """Of a part, in a word and what there is to say of it."""
    record = place.record(page, part)
    if record["done"]:
        return "done"
    if not part.commands(place.quick):
        return "not in quick"
    written = marks.read_records(place.docs).get(page.name)
    other = written is not None and marks.changed(written, page.version(place.quick))
    if written and not other and not written["missing"]:
        return "done: its page is of today's code, and its runs are elsewhere"
    if reason := part.missing(place.quick):
        return f"cannot run: {reason}"
    if record["sessions"]:
        last = record["sessions"][-1]
        return f"partial: {last['end']}" if last.get("end") else "partial: running, or killed"
    older = [_read(path) for path in place.out.glob(f"{page.name}-*/{part.name}.part.json")]
    if any(each["done"] for each in older):
        return "stale: done by other code"
    return f"stale: its page is of other code, {written['dates'][-1]}" if other else "not run"


def show(chosen: Sequence[tuple[Page, Part]], place: Place) -> None:
    """Print a line for each part."""
    for page, part in chosen:
        told = f"{part.name:<24} {page.file:<24} {part.minutes:>4.0f} min  {state(page, part, place)}"
        print(told)
    left = sum(p.minutes for g, p in chosen if state(g, p, place).startswith(("partial", "stale", "not run")))
    if not place.quick:
        print(
            f"left, of what can run here: about {left / 60:.1f} hours on two cores; `run PART ...` runs some"
        )


# -- running -------------------------------------------------------------------------------------------


def run(
    chosen: Sequence[tuple[Page, Part]], place: Place, budget: float | None = None, processes: int = 1
) -> list[str]:
    """Run what is not done, each part by one machine; names of parts that failed."""
    end = None if budget is None else time.monotonic() + 60 * budget
    failed, claimant = [], Claimant()
    for page, part in chosen:
        told = state(page, part, place)
        if told.startswith(("done", "not in quick", "cannot run")):
            print(f"{part.name}: {told}", flush=True)
            continue
        if end is not None and time.monotonic() >= end:
            print(f"{part.name}: left for the next time", flush=True)
            continue
        folder = place.folder(page)
        folder.mkdir(parents=True, exist_ok=True)
        claim = claimant.take(folder / f"{part.name}.claim")
        if claim is None:
            print(f"{part.name}: another process runs it", flush=True)
            continue
        with claim:
            if place.record(page, part)["done"]:  # by whoever held the claim a moment ago
                continue
            if not run_part(page, part, place, end, processes):
                failed.append(part.name)
    return failed


def run_part(page: Page, part: Part, place: Place, end: float | None, processes: int) -> bool:
    """Run a part's commands and note it; False where one failed. Out of time is no failure."""
    folder, started = place.folder(page), time.monotonic()
    path, log = folder / f"{part.name}.part.json", folder / f"{part.name}.log"
    several = any("{processes}" in step for step in part.commands(place.quick))
    session: dict[str, Any] = {
        "code": origin.commit(),
        "version": __version__,
        "rooms": page.version(place.quick),
        "machine": origin.machine(threads=1) | ({"processes": processes} if several else {}),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    before = _read(path)["sessions"]

    def note(end: str, done: bool = False) -> None:
        minutes = round((time.monotonic() - started) / 60, 2)
        write_json(path, {"done": done, "sessions": [*before, {**session, "end": end, "minutes": minutes}]})
        print(f"{part.name}: {end or 'begun'}{f', {minutes:.1f} minutes' if end else ''}", flush=True)

    note("")
    try:
        for step in part.commands(place.quick):
            left = None if end is None else end - time.monotonic()
            status = execute(words_of(step, folder, place.docs, processes), log, left)
            if status is None:
                note("out of time")
                return True
            if status:
                note(f"failed with status {status}: {_last_line(log)} ({log})")
                return False
    except KeyboardInterrupt:
        note("stopped")
        raise
    if page.version(place.quick) != session["rooms"]:
        note("failed: the code changed while it ran, so that nobody knows what was measured")
        return False
    note("done", done=True)
    return True


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


def execute(words: Sequence[str], log: Path, seconds: float | None = None) -> int | None:
    """Run a command with one thread a process, its output at the end of the log; None where its time was over."""
    paths = [str(origin.ROOT / "src"), os.environ.get("PYTHONPATH", "")]  # the code whose digest is noted
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CONCORD_DATA": str(DATA.absolute()),
    }
    if seconds is not None and seconds <= 0:
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        print(f"$ {shlex.join(words)}", file=file, flush=True)
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=origin.ROOT,
            env=environment,
        )
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
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


# -- pages ---------------------------------------------------------------------------------------------


def write_pages(
    chosen: Iterable[Page], place: Place, every: Sequence[Page] = PAGES, partial: bool = False
) -> list[str]:
    """Write pages of finished parts, their records, and all marks; names of pages that failed.

    A page of which parts are left to run takes no older one's place, unless `partial`.
    """
    failed = []
    with own(place.out, ".pages", wait=True):
        records = marks.read_records(place.docs)
        for page in chosen:
            found = {part.name: place.record(page, part) for part in page.parts if part.commands(place.quick)}
            if not any(each["done"] for each in found.values()):
                continue
            states = {part.name: state(page, part, place) for part in page.parts}
            left = [name for name, told in states.items() if told.startswith(("partial", "stale", "not run"))]
            older = page.name in records and marks.changed(records[page.name], page.version(place.quick))
            if left and older and not partial:
                print(f"page {page.name} stays the older one until {marks.listed(left)} ran", flush=True)
                continue
            folder, log = place.folder(page), place.folder(page) / "page.log"
            command = (page.quick_write if place.quick else "") or page.write
            if execute(words_of(command, folder, place.docs, 1), log):
                print(f"page {page.name} failed: {_last_line(log)} ({log})", flush=True)
                failed.append(page.name)
                continue
            records[page.name] = record_of(found, place.quick)
            records[page.name]["facts"] = findings.facts_of(page.name, folder, place.docs)
            print(f"wrote {place.docs / page.file}", flush=True)
        marks.write_records(place.docs, records)
        write_marks(place.docs, every)
    return failed


def record_of(parts: Mapping[str, Mapping[str, Any]], quick: bool) -> dict[str, Any]:
    """What made a page: of the sessions of its finished parts, all of the same code."""
    done = [each for each in parts.values() if each["done"]]
    sessions = [session for each in done for session in each["sessions"]]
    record = {
        "version": sessions[-1]["version"],
        "code": list(dict.fromkeys(session["code"] for session in sessions)),
        "dates": sorted({session["started"][:10] for session in sessions}),
        "machines": [json.loads(text) for text in dict.fromkeys(json.dumps(s["machine"]) for s in sessions)],
        "minutes": round(sum(session["minutes"] for session in sessions), 1),
        "rooms": sessions[-1]["rooms"],
        "missing": [name for name, each in parts.items() if not each["done"]],
    }
    return {**record, "quick": True} if quick else record


def write_marks(docs: Path, pages: Sequence[Page]) -> None:
    """Say on every page that is there what made it and whether that code is today's; write the page of evidence."""
    records = marks.read_records(docs)
    for page in pages:
        mark = marks.words(records.get(page.name), page.version(), f"{COMMAND} {page.name}")
        marks.write_mark(docs / page.file, page.name, mark, section=page.section)
    evidence_page.write(docs, records, {page.name: page for page in pages}, COMMAND)
    paper_page.write(docs)


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
