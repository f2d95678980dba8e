"""Pages of Markdown: sections, each rewritten by the command that measures it; tables; the line of a machine."""

from __future__ import annotations

import os
import shlex
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path

import origin
from concord.files import write_text

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
HARM = DOCS / "harm.md"
LEFT_TO_OTHERS = 75
"""Status of a command that leaves work to other jobs (`EX_TEMPFAIL`): it is not done yet, and nothing failed."""
TESTED = 3
"""Seeds from which on a difference is tested: with fewer nothing is said of better and worse, as in a study."""
UNTESTED = "not tested"
HEADS = {
    "benchmarks.md": """# How fast, and on what

Each section is written by the command that it names; numbers are of the machine that it names. On a busy
machine times say little, ratios within one run still do.
""",
    "results.md": """# Results of the case studies

Each section is written by `python benchmarks/results.py` of a finished study. Differences are in points (x100), paired over seeds, with
intervals; verdicts are corrected within each regime. A regime whose name ends in shuffled has a table with its rows exchanged: a control.

Each study is one command of [the case studies](case-studies.md), with `--seeds` where fewer than five are named; a
study that is not here has not been run. In figures green is better, red worse, dark grey not worse, light grey undecided.
""",
    "method.md": """# What the method does, measured

Each section is written by `python benchmarks/method.py page` from the studies of `python benchmarks/method.py run`, and by
`python benchmarks/method_page.py` alone. Nothing is typed by hand.
""",
    "harm.md": """# Whether it harms

Each section is written by the command that it names: what `auto` costs where sharing or a table may do harm, and
how often the test behind it errs.
""",
}
"""How a page begins that does not exist yet, by its file's name."""


def page_option(parser: ArgumentParser, default: Path) -> None:
    """Add `--page [FILE]`."""
    told = f"write the page; {default.name} of the documentation unless a file is named"
    parser.add_argument("--page", type=Path, nargs="?", const=default, help=told)


def write_section(name: str, title: str, body: str, page: Path = PAGE) -> None:
    """Put a section in its place on the page, or at its end.

    Args:
        name: By which it is found again.
        title: Its heading.
        body: Markdown.
        page: The file; made where it does not exist.
    """
    begin, end = f"<!-- section: {name} -->", f"<!-- end: {name} -->"
    fallback = f"# {page.stem.replace('-', ' ').capitalize()}\n"
    text = page.read_text(encoding="utf-8") if page.exists() else HEADS.get(page.name, fallback)
    section = f"{begin}\n## {title}\n\n{body.strip()}\n{end}"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + section + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, text)


PLACES = ("--beside", "--device", "--json", "--out", "--processes")
"""Options that say where a command runs and writes, and nothing of what it measures."""


def plain(command: str) -> str:
    """A command as a page names it: without the places of the machine that ran it."""
    words: list[str] = []
    skip = False
    for word in shlex.split(command):
        if skip or word.partition("=")[0] in PLACES:
            skip = not skip and word in PLACES
            continue
        words.append(word)
    return shlex.join(words)


def machine(*further: str) -> str:
    """One line: processor, cores, Python, date, load, and what else is given."""
    found = origin.machine()
    load = f"load {os.getloadavg()[0]:.1f} on {found['cores']} cores when it began"
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    where = f"{found['processor']}, {found['cores']} cores"
    return ", ".join([where, f"Python {found['python']}", *further, load, today])


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
