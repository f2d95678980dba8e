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
on. Networks are trained with the kernels of AVX2, on processors that have AVX-512, too, so that two machines can agree;
where they do not, a cell is compared with what the older code makes on the same machine.

A page is written once its parts are done, but for those that cannot run: until then the older one stays, which holds
more. `docs/evidence.json` keeps what made each of them: marks below their headings
follow from it, and `docs/evidence.md`, which tells the findings in the order of a reader's questions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import again
import evidence_page
import evidence_runs
import findings
import marks
import origin
import paper_page
from concord.archive import own
from concord.study import write_json
from evidence_parts import PAGES, Page, Part
from evidence_runs import LEFT, Place, execute, keep, last_line, of_code, restore, state, words_of
from page import DOCS

COMMAND = "python benchmarks/evidence.py run"


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
        "--cells",
        type=int,
        help="again: how many of each part, at least one of each kind of condition; one of each condition unless given",
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
        for page in _shown_on(chosen, pages):
            for part in page.shown:
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
        failed = evidence_runs.run(chosen, place, given.budget, given.processes)
    elif given.what == "again":
        draw = date.today().toordinal() if given.draw is None else given.draw
        failed = again.make_again([part for _, part in chosen], place, given.cells, draw, given.native)
    failed += write_pages(_shown_on(chosen, pages), place, pages, given.what == "pages")
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


def _shown_on(chosen: Sequence[tuple[Page, Part]], pages: Sequence[Page]) -> list[Page]:
    """Pages that show any of the parts."""
    parts = {part.name for _, part in chosen}
    return [page for page in pages if any(part.name in parts for part in page.shown)]


# -- what is there -------------------------------------------------------------------------------------


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
            found = {part.name: place.record(part) for part in page.shown if part.commands(place.quick)}
            if not any(found[part.name]["done"] for part in page.parts if part.name in found):
                continue
            states = {part.name: state(page, part, place) for part in page.shown}
            older = marks.read_records(place.docs).get(page.name)
            left = [name for name in found if _would_lose(older, name, found, states)]
            if left and not partial:
                print(f"page {page.name} stays the older one until {marks.listed(left)} ran", flush=True)
                continue
            parts = [place.folder(part) for part in page.shown if found.get(part.name, {}).get("done")]
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
        print(f"page {page.name} failed: {last_line(log)} ({log})", flush=True)
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
            "here": sum(each.get("here", 0) for each in sampled.values()),
            "code": list(dict.fromkeys(each["code"] for each in sampled.values())),
            "dates": sorted({each["started"][:10] for each in sampled.values()}),
            "conditions": sorted({name for each in sampled.values() for name in each.get("conditions", [])}),
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
