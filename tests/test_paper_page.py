"""What docs/paper.md repeats of other pages is what they hold."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SOURCES = ("results.md", "method.md", "board.md")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    import paper_page

    yield paper_page
    for name in ("paper_page", "page", "origin"):
        sys.modules.pop(name, None)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name in (*SOURCES, "paper.md"):
        shutil.copy(DOCS / name, tmp_path / name)
    return tmp_path


def change(page: Path, old: str, new: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new), encoding="utf-8")


def test_the_page_is_what_the_command_writes(benchmark: Any, docs: Path) -> None:
    benchmark.main(["--docs", str(docs)])
    assert (docs / "paper.md").read_text(encoding="utf-8") == (DOCS / "paper.md").read_text(
        encoding="utf-8"
    ), "run `python benchmarks/paper_page.py`"


FAMILY, ATTRIBUTES = "family, accuracy", "attributes, mean F1"
ROWS = (
    (
        "few-class",
        FAMILY,
        "paper",
        "57.4",
        "+2.7 (+1.5 to +3.9)",
        "better",
        "+0.7 (-0.5 to +1.9)",
        "undecided",
    ),
    ("few-class", ATTRIBUTES, "paper", "20.4", "-6.4 (-7.9 to -5.0)", "worse", "-5.5 (-6 to -4)", "worse"),
    ("few-class", FAMILY, "auto", "99.0", "+42.3 (+41.0 to +43.6)", "better", "+40.1 (+39 to +41)", "better"),
    (
        "few-class-shuffled",
        FAMILY,
        "paper",
        "42.0",
        "-12.7 (-15.9 to -9.6)",
        "worse",
        "-18 (-21 to -14)",
        "worse",
    ),
    (
        "few-class-shuffled",
        ATTRIBUTES,
        "paper",
        "17.0",
        "-9.9 (-12.6 to -7.1)",
        "worse",
        "-8 (-9 to -7)",
        "worse",
    ),
)
LATER = (
    "few-class",
    FAMILY,
    "paper",
    "1.0",
    "-99.0 (-99.1 to -98.9)",
    "worse",
    "-99 (-99.1 to -98.9)",
    "worse",
)


def line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


RESULTS = "\n".join(
    [
        "# Results\n\n## Mushrooms\n\n5 seeds, `concord study configs/studies/mushroom.yaml`, 2030-01-01.\n",
        *map(line, ROWS),
        f"\n## Another\n\n{line(LATER)}\n",
    ]
)


def test_numbers_and_findings_follow_the_pages(benchmark: Any, docs: Path) -> None:
    (docs / "results.md").write_text(RESULTS, encoding="utf-8")
    change(
        docs / "method.md",
        "| paper | shuffled | single-task | 43 of 46 |",
        "| paper | shuffled | single-task | 2 of 46 |",
    )
    benchmark.main(["--docs", str(docs)])
    text = (docs / "paper.md").read_text(encoding="utf-8")
    wanted = (
        "| `concord study configs/studies/mushroom.yaml` | family, accuracy | +2.7 (+1.5 to +3.9) | "
        "-12.7 (-15.9 to -9.6) | attributes, mean F1 | -6.4 (-7.9 to -5.0) | -9.9 (-12.6 to -7.1) |"
    )
    assert wanted in text
    assert "`concord study faces`" not in text
    assert "-99.0" not in text
    assert "+42.3" not in text
    assert "a gain is shown in 1 of 1 studies with the right table, and in 0 with shuffled rows" in text
    assert "better in 0 of 1 and worse in 0" in text
    assert "a loss is shown in 1 of 1 studies with the right table" in text
    assert "in 2 of 46 with a shuffled one" in text
    assert "the numbers of [results]" not in text, "the new page has no mark of an older version"
    assert "**Not run again yet**: the numbers of [board](board.md)" in text


def test_what_a_page_does_not_have_is_left_out(benchmark: Any, docs: Path) -> None:
    for name in SOURCES:
        (docs / name).unlink()
    benchmark.main(["--docs", str(docs)])
    text = (docs / "paper.md").read_text(encoding="utf-8")
    assert "mean rank" not in text
    assert "faces" not in text.partition("section: open-data")[2].partition("end: open-data")[0]
    assert "## What follows" in text


def test_a_folder_without_the_page_stays_as_it_is(benchmark: Any, tmp_path: Path) -> None:
    benchmark.main(["--docs", str(tmp_path)])
    assert not list(tmp_path.iterdir())
