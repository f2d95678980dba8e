"""What stands below the heading of a measured page or section: which code made it, where, when, and whether it still holds.

`docs/evidence.json` keeps a record for each page and section that a command makes; the mark is written of it, and of
the code at hand. So a page of an older version says so until it is run again, and nobody writes that by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.files import write_text

RECORDS = "evidence.json"
NAMED = 6
"""Names that a sentence holds."""

QUICK = "> **Quick: proves that it runs, not evidence.** Few rows, seeds and steps."


def read_records(docs: Path) -> dict[str, Any]:
    """The records of a folder of pages, by page; empty where there are none yet."""
    path = docs / RECORDS
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write_records(docs: Path, records: Mapping[str, Any]) -> None:
    """Write them, sorted, one line per value of a page, so that changes are seen."""

    def line(key: str, value: str) -> str:
        return f"{json.dumps(key)}: {value}"

    def plain(value: Any) -> str:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)

    every = [
        line(name, "{\n  " + ",\n  ".join(line(key, plain(record[key])) for key in sorted(record)) + "\n }")
        for name, record in sorted(records.items())
    ]
    docs.mkdir(parents=True, exist_ok=True)
    write_text(docs / RECORDS, "{\n " + ",\n ".join(every) + "\n}\n")


def changed(record: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Rooms whose code is not what it was when a page was made; `part NAME` for a part's own commands and scripts.

    Parts that the page does not show do not count.
    """
    before, missing = record.get("rooms", {}), {f"part {name}" for name in record.get("missing", [])}
    return [name for name, value in now.items() if name not in missing and before.get(name) != value]


def shows(record: Mapping[str, Any] | None, part: str) -> bool:
    """Whether a page shows the whole of a part."""
    if record is None or part in record.get("partly", []):
        return False
    return f"part {part}" in record.get("rooms", {}) and part not in record.get("missing", [])


def words(record: Mapping[str, Any] | None, now: Mapping[str, str], command: str) -> str:
    """The mark of a page.

    Args:
        record: What is known of its making; None where nothing is.
        now: Digests of the code that it rests on, as it is today.
        command: What makes it again.
    """
    again = f"`{command}` makes it again."
    if record is None:
        return f"> **Of unknown code.** No record tells what made this page. {again}"
    if record.get("quick"):
        return f"{QUICK} {_made(record)}"
    other = changed(record, now)
    parts = [f"{_made(record)}"]
    if partly := record.get("partly"):
        parts.append(f"In part: {', '.join(partly)}.")
    if missing := record.get("missing"):
        parts.append(f"Not run: {', '.join(missing)}.")
    if not other:
        return f"*{' '.join(parts)} {again}*"
    rooms = [f"`{name}`" for name in other if not name.startswith("part ")]
    own = [f"`{name.removeprefix('part ')}`" for name in other if name.startswith("part ")]
    what = f"the code of {_some(rooms)} has" if rooms else f"the settings of {_some(own)} have"
    return f"> **Not run again yet.** {' '.join(parts)} Since then {what} changed. {again}"


def _some(names: Sequence[str]) -> str:
    """Names in a sentence, the first of many."""
    if len(names) <= NAMED:
        return listed(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"


def _made(record: Mapping[str, Any]) -> str:
    """By which code, where and when."""
    codes = ", ".join(record.get("code", [])) or "unknown"
    dates = sorted(record["dates"])
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    places = "; ".join(dict.fromkeys(place(each) for each in record.get("machines", [])))
    made = f"Made by version {record['version']} (code {codes}), {when}{f', on {places}' if places else ''}."
    return f"{made} {sampled(record)}".strip()


def sampled(record: Mapping[str, Any]) -> str:
    """How many cells were made again by later code, in a sentence; empty where none were."""
    found = record.get("again")
    if not found:
        return ""
    count = found.get("here", 0)
    here = f", {count} of them to what the older code makes on the same machine" if count else ""
    some = f" of {_some(found['parts'])}" if len(found["parts"]) > 1 else ""
    kinds = list(dict.fromkeys(name.partition(".")[0] for name in found.get("conditions", [])))
    of_each = f", of each kind of condition ({', '.join(kinds)})" if len(kinds) > 1 else ""
    return (
        f"{found['cells']} of {found['of']:,} cells{some}, drawn at random{of_each}, were made again by code "
        f"{', '.join(found['code'])}, {found['dates'][-1]}, and are equal to the bit{here}."
    )


def place(machine: Mapping[str, Any]) -> str:
    """A machine in words."""
    parts = [str(machine.get("processor") or "an unknown processor")]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("memory"):
        parts.append(f"{machine['memory']} GiB")
    parts += [f"{name} {machine.get(name.lower(), 'unknown')}" for name in ("Python", "torch")]
    if "threads" in machine:
        threads = "one thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
        several = machine.get("processes", 1)
        parts.append(threads if several == 1 else f"{several} processes of {threads} each")
    if "kernels" in machine:
        parts.append(f"{machine['kernels']} kernels")
    return ", ".join(parts)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def marked(text: str, name: str, mark: str) -> str:
    """A page with the mark of this name in its place: below the heading of the section so named, else of the page."""
    begin, end = f"<!-- made: {name} -->", f"<!-- end of made: {name} -->"
    text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}\n*", "", text, flags=re.DOTALL)
    section = f"<!-- section: {name} -->\n"
    at = text.index(section) + len(section) if section in text else 0
    heading = re.compile(r"^#+ .*\n", flags=re.MULTILINE).search(text, at)
    at = heading.end() if heading else 0
    return f"{text[:at]}\n{begin}\n{mark}\n{end}\n\n{text[at:].lstrip(chr(10))}"


def write_mark(page: Path, name: str, mark: str, *, section: bool) -> None:
    """Put a mark into a page, or a section of one, that is there."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    if text and (not section or f"<!-- section: {name} -->" in text):
        write_text(page, marked(text, name, mark))
