"""Cells of what was measured, drawn at random, made again by the code at hand and compared to the bit.

    python benchmarks/evidence.py again study-mushroom          # what a part has kept; and writes down that it still holds
    python benchmarks/again.py runs --cells 3                   # of a folder of studies

A cell is a run of a study (regime, condition, seed), or a line of measurements that are no times. Nothing is rounded:
what a change of code was not to move must come out the same. Processors with other kernels differ in last digits, and
networks then go ways of their own: `origin.KERNELS` are the variables by which those with AVX-512 compute as others do,
in most cells; where one differs all the same, it is made by the code that made it first, too, and these are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kept
import origin
from concord.study import Plan, as_plan, compare, run, write_json
from evidence_parts import Part
from evidence_runs import Place, beside, execute, last_line, of_code, restore, words_of
from held import MACHINE, Held, lines_of, name_of

HERE = Path(__file__).resolve().parent
TIMED = ("seconds", "memory")
"""What a run notes that no other run repeats."""


def names_in(folder: Path) -> list[str]:
    """Every cell below a folder: `STUDY/REGIME~CONDITION~SEED` of studies, `FILE.jsonl KEY` of measurements."""
    runs = [path for path in folder.rglob("runs/*.json") if (path.parent.parent / "config.json").exists()]
    studies = [(path.parent.parent / path.stem).relative_to(folder).as_posix() for path in runs]
    lines = [
        f"{path.relative_to(folder).as_posix()} {name_of(key)}"
        for path in folder.rglob("*.jsonl")
        for key, _ in Held(path).all()
        if key != MACHINE
    ]
    return sorted([*studies, *lines])


LEAST = 3
"""Cells that are drawn of a part, unless it has more conditions: then one of each."""


def drawn(names: Sequence[str], draw: int | str, cells: int | None = None) -> list[str]:
    """Some of the names, by a seed; of runs one of each condition first, since code may move some conditions alone.

    Args:
        names: Of all cells.
        draw: The seed; a text draws by its letters.
        cells: How many, but never fewer than one of each kind of condition (`auto-standard.right` and
            `auto-standard.none` are of one kind); unless given one of each condition, and at least `LEAST`.
    """
    order = random.Random(draw).sample(sorted(names), len(names))
    kinds: dict[str, list[str]] = {}
    for name in order:
        kinds.setdefault(condition_of(name), []).append(name)
    first = {kind.partition(".")[0]: group[0] for kind, group in reversed(kinds.items())}
    turns = [name for k in range(len(order)) for group in kinds.values() for name in group[k : k + 1]]
    turns = list(dict.fromkeys([*(name for name in turns if name in first.values()), *turns]))
    return turns[: max(LEAST, len(kinds)) if cells is None else max(cells, len(first))]


def condition_of(name: str) -> str:
    """The condition of a run; empty for a measurement."""
    return name.split("~")[1] if is_run(name) else ""


def is_run(name: str) -> bool:
    """Whether a cell is a run of a study."""
    return not name.partition(" ")[0].endswith(".jsonl")


# -- runs of studies -----------------------------------------------------------------------------------


def kept_values(folder: Path, name: str) -> dict[str, Any]:
    """What a run noted and scored, by place, of those that a folder keeps."""
    study, cell = folder / Path(name).parent, Path(name).name
    found = _leaves(json.loads((study / "runs" / f"{cell}.json").read_text(encoding="utf-8")))
    return found | _results(study / "results.csv", cell)


def made_values(folder: Path, name: str) -> dict[str, Any]:
    """The same of a run that is made now, by the code at hand."""
    cell = Path(name).name
    with tempfile.TemporaryDirectory() as place:
        plan = _one(_plan(folder / Path(name).parent), cell)
        run(plan, place)
        compare(plan, place)
        found = kept_values(Path(place).parent, f"{Path(place).name}/{cell}")
    scored = (folder / Path(name).parent / "results.csv").exists()
    return {place: value for place, value in found.items() if scored or not place.startswith("test/")}


def _plan(study: Path) -> Plan:
    """The plan that a study's folder holds, which names no folder: problems are those beside this script."""
    return as_plan({"folder": str(HERE), **json.loads((study / "config.json").read_text(encoding="utf-8"))})


def _one(plan: Plan, cell: str) -> Plan:
    regime, condition, seed = cell.split("~")
    return plan.model_copy(
        update={
            "regimes": [each for each in plan.regimes if each.name == regime],
            "conditions": [each for each in plan.conditions if each.name == condition],
            "seeds": [int(seed)],
        }
    )


def _results(path: Path, cell: str) -> dict[str, Any]:
    """Test metrics of a run by task and metric, as they are written; none where the study is not finished."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if f"{row['regime']}~{row['condition']}~{row['seed']}" == cell
        ]
    return {f"test/{row['task']}/{row['metric']}": row["value"] for row in rows}


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    """Plain values of nested ones by their place, without what is timed."""
    if isinstance(value, Mapping):
        inside: Iterator[tuple[Any, Any]] = ((key, each) for key, each in value.items() if key not in TIMED)
    elif isinstance(value, list):
        inside = iter(enumerate(value))
    else:
        return {place: value}
    return {
        name: leaf
        for key, each in inside
        for name, leaf in _leaves(each, f"{place}/{key}".lstrip("/")).items()
    }


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first value that is not the same, and how many are not; empty where all are."""
    places = [place for place in {**before, **now} if repr(before.get(place)) != repr(now.get(place))]
    if not places:
        return ""
    first = places[0]
    more = f", and {len(places) - 1} more of {len(before)}" if places[1:] else ""
    return f"{first} was {before.get(first)!r}, is {now.get(first)!r}{more}"


# -- measurements --------------------------------------------------------------------------------------


def thinned(folder: Path, into: Path, names: Sequence[str]) -> None:
    """A copy of a folder without some of its measurements: the command that made them measures what is missing."""
    shutil.copytree(folder, into)
    for path in into.rglob("*.jsonl"):
        file = path.relative_to(into).as_posix()
        left = [line for line in lines_of(path) if f"{file} {name_of(line['key'])}" not in names]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in left), encoding="utf-8")


def compared(folder: Path, other: Path, names: Sequence[str]) -> dict[str, str]:
    """Measurements of one folder and of another: by name what differs first, empty where nothing does."""
    found = {}
    for name in names:
        file, _, key = name.partition(" ")
        before, now = (dict(_named(place / file)).get(key) for place in (folder, other))
        found[name] = first_difference(_leaves({"value": before}), _leaves({"value": now}))
    return found


def _named(path: Path) -> Iterator[tuple[str, Any]]:
    return ((name_of(key), value) for key, value in Held(path).all())


# -- parts ---------------------------------------------------------------------------------------------


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
        record = kept.record_in(kept.path_of(place.docs, part.name))
        told = _never_again(part, record, place, native)
        if not told:
            told, same = _judged(part, record, place, cells, draw, native)
            failed += [] if same else [part.name]
        print(f"{part.name}: {told}", flush=True)
    return failed


def _judged(
    part: Part, record: dict[str, Any], place: Place, cells: int | None, draw: int, native: bool
) -> tuple[str, bool]:
    """What is to be said of a part, and whether nothing speaks against it."""
    with tempfile.TemporaryDirectory(dir=place.out) as inside:
        folder = Path(inside) / "runs"
        kept.restore(kept.path_of(place.docs, part.name), folder, Path(inside) / "part.json")
        every = names_in(folder)
        names = drawn(every, f"{draw} {part.name}", cells)  # parts of one design would draw the same cells
        if not names:
            return "it keeps nothing that could be drawn: it must run", True
        try:
            found, here = _made_again(part, record, folder, names, place, native)
        except LookupError as error:
            return f"failed: {error}", False
        if differ := [f"{name}: {said}" for name, said in found.items() if said]:
            note = {"code": origin.commit(), "cells": differ}
            if not native:  # there last digits may differ, and networks with them
                _keep({**record, "differed": [*record.get("differed", []), note]}, part, folder, place)
            return f"{len(differ)} of {len(names)} cells differ; {differ[0]}; it must run", False
        conditions = sorted({condition_of(name) for name in names} - {""})
        _hold(part, record, folder, place, {
            "cells": len(names), "of": len(every), "here": here, "draw": draw, "conditions": conditions
        })  # fmt: skip
        told = f"{len(names)} of {len(every)} cells are equal to the bit (draw {draw})"
        return f"{told}{f', {here} of them to those of the older code here' if here else ''}", True


def _hold(part: Part, record: dict[str, Any], folder: Path, place: Place, cells: Mapping[str, Any]) -> None:
    """Note that what a part has kept is what today's code makes, too."""
    note = {
        "code": origin.commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": origin.machine(threads=1),
        "rooms": part.version(place.quick, place.code),
        **cells,
    }
    _keep({**record, "again": [*record.get("again", []), note]}, part, folder, place)
    restore(part, place)


def _keep(record: dict[str, Any], part: Part, folder: Path, place: Place) -> None:
    """Write what is known of a part to where it is kept, and to its runs if they are here."""
    kept.keep(record, folder, kept.path_of(place.docs, part.name))
    noted = beside(place.folder(part), ".part.json")
    if noted.exists():
        write_json(noted, record)


def _never_again(part: Part, record: Mapping[str, Any], place: Place, native: bool) -> str:
    """Why no cell of a part can be made again here; empty where one can."""
    if not record:
        return "nothing of it is kept"
    if part.timed:
        return "it measures time, which no run repeats"
    if of_code(record).get(part.key) != part.version(place.quick, place.code)[part.key]:
        return "its commands, scripts or plans have changed: it must run"
    if differed := record.get("differed"):
        # Another draw may miss what has changed; only the whole part shows that it has not.
        return f"cells of it came out otherwise by code {differed[-1]['code']}: it must run"
    if not native and origin.kernels() is None:
        return "this processor has no AVX2: with --native the last digits may differ"
    return part.missing()


def _made_again(
    part: Part, record: Mapping[str, Any], folder: Path, names: Sequence[str], place: Place, native: bool
) -> tuple[dict[str, str], int]:
    """By cell what differs first, empty where nothing does; and how many were compared with the older code's here.

    Raises:
        LookupError: They could not be made; says why.
    """
    log = place.out / f"{part.name}.again.log"
    log.unlink(missing_ok=True)
    environment = {} if native else origin.kernels() or {}
    runs = [name for name in names if is_run(name)]
    lines = [name for name in names if not is_run(name)]
    found: dict[str, str] = {}
    if runs:
        now = _made(folder, runs, log, environment)
        found = {name: first_difference(kept_values(folder, name), now[name]) for name in runs}
    others = [name for name in runs if found[name]]
    code = record["sessions"][-1]["code"]
    if others and not code.endswith("-dirty"):
        # Another processor has other last digits: then the code that made these cells makes them here, too.
        source = origin.exported(code, folder.parent / "code") / "src"
        before = _made(folder, others, log, {**environment, "PYTHONPATH": str(source)})
        found |= {name: first_difference(before[name], now[name]) for name in others}
    if lines:
        other = folder.parent / "other"
        thinned(folder, other, lines)
        for step in part.steps:
            if execute(words_of(step, other, place.docs, 1), log, environment=environment):
                raise LookupError(f"{last_line(log)} ({log})")
        found |= compared(folder, other, lines)
    return found, len(others)


def _made(
    folder: Path, runs: Sequence[str], log: Path, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    out = folder.parent / "made.json"
    out.unlink(missing_ok=True)
    words = [sys.executable, str(HERE / "again.py"), str(folder), "--names", *runs, "--out", str(out)]
    execute(words, log, environment=environment)
    if not out.exists():
        raise LookupError(f"{last_line(log)} ({log})")
    found: dict[str, dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Make runs of studies again; 1 where one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of studies")
    parser.add_argument("--cells", type=int, help="how many; one of each condition unless given")
    parser.add_argument("--draw", type=int, default=0, help="the seed that draws them")
    parser.add_argument("--names", nargs="+", help="these, in place of drawn ones")
    parser.add_argument("--out", type=Path, help="JSON: what was made, by name")
    given = parser.parse_args(arguments)
    names = given.names or drawn(
        [name for name in names_in(given.folder) if is_run(name)], given.draw, given.cells
    )
    if not names:
        parser.error(f"{given.folder} holds no study")
    found, differ = {}, False
    for name in names:
        found[name] = made_values(given.folder, name)
        told = first_difference(kept_values(given.folder, name), found[name])
        differ = differ or bool(told)
        print(f"{name}: {told or 'the same'}", flush=True)
    if given.out:
        given.out.write_text(json.dumps(found), encoding="utf-8")
    return int(differ)


if __name__ == "__main__":
    raise SystemExit(main())
