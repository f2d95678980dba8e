"""docs/benchmarks.md: a page of sections, each rewritten by the command that measures it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """# How fast, and on what

Each section is written by the command that it names; numbers are of the machine that it names. On a busy
machine times say little, ratios within one run still do.
"""


def write_section(name: str, title: str, body: str, page: Path = PAGE) -> None:
    """Put a section in its place on the page, or at its end.

    Args:
        name: By which it is found again.
        title: Its heading.
        body: Markdown.
        page: The file; made where it does not exist.
    """
    begin, end = f"<!-- section: {name} -->", f"<!-- end: {name} -->"
    text = page.read_text(encoding="utf-8") if page.exists() else HEAD
    section = f"{begin}\n## {title}\n\n{body.strip()}\n{end}"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + section + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def machine(*further: str) -> str:
    """One line: processor, cores, Python, date, load, and what else is given."""
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores when it began"
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return ", ".join([_processor(), f"Python {platform.python_version()}", *further, load, today])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{named or platform.machine()}, {os.cpu_count()} cores"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
