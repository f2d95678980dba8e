"""Write what docs/paper.md repeats of the measured pages: nothing in that section is typed by hand.

    python benchmarks/paper_page.py [--docs FOLDER]

`make evidence` does it with its pages. What a page does not have is left out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from page import DOCS, TESTED, UNTESTED, write_section

SCARCE = {"few-class": "few-class", "grocery81": "few-fine", "clinc150": "few-domains"}
"""Regime in which the class is scarce: the first, unless a study has another."""

STUDIES = ("faces", "identities", "goemotions", "mushroom", "clothing_fmnist", "grocery81", "clinc150")


class Cell(NamedTuple):
    """A row of `paper` in the results: differences with intervals, and their verdicts."""

    alone: str
    alone_verdict: str
    shared: str
    shared_verdict: str


class Study(NamedTuple):
    """A study of the results: its command, its scarce task and its rich ones, each right and shuffled."""

    command: str
    scarce: str
    rich: str
    cells: dict[tuple[str, bool], Cell]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    write(parser.parse_args(arguments).docs)


def write(docs: Path) -> None:
    """Bring the section to what the other pages hold; a folder without the page stays as it is.

    Raises:
        LookupError: A page is there, and what is repeated of it is not found in it.
    """
    page = docs / "paper.md"
    if page.exists():
        write_section("open-data", "More data sets, with the same control", section(docs), page)


def section(docs: Path) -> str:
    """The section: the table of studies, and what follows from it, the board and the method's page.

    Raises:
        LookupError: A page is there, and what is repeated of it is not found in it.
    """
    texts = {name: _text(docs / f"{name}.md") for name in ("results", "method", "board")}
    texts["method"] = (
        texts["method"].partition("<!-- section: method -->")[2].partition("<!-- end: method -->")[0]
    )
    studies = [each for name in STUDIES if (each := study(texts["results"], name))]
    found = {"results": studies, "method": _of_method(texts["method"]), "board": _of_board(texts["board"])}
    if lost := [name for name, text in texts.items() if text and not found[name]]:
        raise LookupError(
            f"nothing of `paper` is found in {', '.join(f'{name}.md' for name in lost)}: run it, or mend benchmarks/paper_page.py"
        )
    lines = [_whence(texts), ""]
    if studies:
        lines += [
            "Points (x 100) against single-task networks with 95 % intervals, the right table and the same with its rows shuffled. "
            "The scarce task is a class:",
            "",
            "| command | scarce task | `paper`, right | `paper`, shuffled | rich task | `paper`, right | `paper`, shuffled |",
            "|---|---|---|---|---|---|---|",
            *(_row(each) for each in studies),
            "",
            *_findings(studies),
        ]
    return "\n".join([*lines, *_of_method(texts["method"]), *_of_board(texts["board"])])


def study(results: str, name: str) -> Study | None:
    """What the page of results says of `paper` in one study; None where it was not run."""
    found = re.search(rf"`(concord study (?:configs/studies/)?{name}(?:\.yaml)?)(?: [^`]*)?`", results)
    if not found:
        return None
    own = re.split(r"^## ", results[found.start() :], maxsplit=1, flags=re.MULTILINE)[0]
    regime = SCARCE.get(name, SCARCE["few-class"])
    cells: dict[tuple[str, bool], Cell] = {}
    for line in own.splitlines():
        parts = [part.strip() for part in line.strip("|").split("|")]
        if len(parts) == 8 and parts[2] == "paper" and parts[0] in (regime, f"{regime}-shuffled"):
            cells[parts[1], parts[0] != regime] = Cell(parts[4], parts[5], parts[6], parts[7])
    tasks = [task for task, shuffled in cells if not shuffled]
    if len(tasks) < 2 or any((task, True) not in cells for task in tasks):
        return None
    scarce = next((task for task in tasks if task.startswith("domain")), tasks[0])
    return Study(found[1], scarce, next(task for task in reversed(tasks) if task != scarce), cells)


def _row(each: Study) -> str:
    cells = [
        part
        for task in (each.scarce, each.rich)
        for part in (task, each.cells[task, False].alone, each.cells[task, True].alone)
    ]
    return f"| `{each.command}` | {' | '.join(cells)} |"


def _findings(studies: Sequence[Study]) -> list[str]:
    scarce = [[each.cells[each.scarce, wrong] for each in studies] for wrong in (False, True)]
    labelled = [each for each in studies if each.rich.endswith("F1")]
    rich = [[each.cells[each.rich, wrong] for each in labelled] for wrong in (False, True)]
    gains = [sum(cell.alone_verdict == "better" for cell in cells) for cells in scarce]
    harms = [sum(cell.alone_verdict == "worse" for cell in cells) for cells in rich]
    shared = {
        verdict: sum(cell.shared_verdict == verdict for cell in scarce[0]) for verdict in ("better", "worse")
    }
    n, k = len(studies), len(labelled)
    return [
        f"- The scarce class: a gain is shown in {gains[0]} of {n} studies with the right table, and in {gains[1]} with shuffled rows.",
        f"- Part of the gain is sharing, which the uncoupled network has as well. Against that one, also in [the results](results.md), the "
        f"scarce class is better in {shared['better']} of {n} and worse in {shared['worse']}.",
        f"- Labels: a loss is shown in {harms[0]} of {k} studies with the right table, and in {harms[1]} of {k} with shuffled rows.",
    ]


def _of_method(text: str) -> list[str]:
    cells = rf"(?:(\d+) of (\d+)|{UNTESTED})"
    harm = {
        table: re.search(
            rf"^\| paper \| {table} \| single-task \| {cells} \| [^|]+ \| ([+-]?[\d.]+) \(",
            text,
            flags=re.MULTILINE,
        )
        for table in ("right", "shuffled")
    }
    right, wrong = harm["right"], harm["shuffled"]
    if right is None or wrong is None:
        return []
    if right[1] is None or wrong[1] is None:
        return [
            f"- On [the method's page](method.md#harm) harm of `paper` was {UNTESTED}: that takes {TESTED} seeds. The worst cell against "
            f"single-task networks is {right[3]} points with the right table, and {wrong[3]} with a shuffled one."
        ]
    return [
        f"- On [the method's page](method.md#harm) (`python benchmarks/method.py run`) `paper` is significantly below single-task networks in "
        f"{right[1]} of {right[2]} cells with the right table (the worst cell: {right[3]} points), and in {wrong[1]} of {wrong[2]} with a "
        "shuffled one."
    ]


def _of_board(text: str) -> list[str]:
    ranks = re.findall(r"^\| ([\w-]+) \| (\d+\.\d+) \|", text, flags=re.MULTILINE)
    place = {name: f"number {i} ({rank})" for i, (name, rank) in enumerate(ranks, start=1)}
    named = ("paper-coannotation", "uncoupled", "paper", "paper-matching")
    critical = re.search(r"(?:differ by less than|critical difference) (\d+\.\d+)", text)
    if critical is None or any(name not in place for name in named):
        return []
    told = ", ".join(f"`{name}` is {place[name]}" for name in named)
    return [
        f"- On [the board](board.md) of {len(ranks)} conditions by mean rank (`python benchmarks/board.py run`) {told}; ranks closer than "
        f"{critical[1]} are not told apart."
    ]


def _whence(texts: dict[str, str]) -> str:
    """Which pages are repeated, and what marks of an older version they or their sections carry."""
    lines = []
    for name, text in texts.items():
        found = re.findall(
            r"^> \*\*(.+?)\.?\*\*(?:.*?, (\d{4}-\d\d-\d\d(?: to \d{4}-\d\d-\d\d)?)[,.])?",
            text,
            flags=re.MULTILINE,
        )
        sections = text.count("<!-- section: ")
        for mark in dict.fromkeys(said for said, _ in found):
            own = [date for said, date in found if said == mark]
            which = f"{len(own)} of {sections} studies of " if sections else ""
            dates = dict.fromkeys(filter(None, own))
            of = f", of {', '.join(dates)}" if dates else ""
            lines.append(f"> **{mark}**: the numbers of {which}[{name}]({name}.md){of}.")
    return (
        "\n>\n".join(lines)
        if lines
        else "Repeated from [results](results.md), [method](method.md) and [board](board.md)."
    )


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


if __name__ == "__main__":
    main()
