"""What docs/paper.md repeats of other pages is what they hold."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

DOCS = Path(__file__).parents[1] / "docs"
SOURCES = ("results.md", "method.md", "board.md")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    import paper_page

    yield paper_page
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(DOCS.parent / "benchmarks")):
            sys.modules.pop(name)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name in (*SOURCES, "paper.md"):
        shutil.copy(DOCS / name, tmp_path / name)
    return tmp_path


def change(page: Path, pattern: str, new: str) -> None:
    """Write something else for what a page says once, whatever was measured last."""
    text, count = re.subn(pattern, new, page.read_text(encoding="utf-8"))
    assert count == 1
    page.write_text(text, encoding="utf-8")


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
        r"\| paper \| shuffled \| single-task \| \d+ of 46 \|",
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


def test_a_page_in_which_nothing_is_found_is_no_page_without_findings(benchmark: Any, docs: Path) -> None:
    before = (docs / "paper.md").read_text(encoding="utf-8")
    (docs / "board.md").write_text("# The board\n", encoding="utf-8")
    with pytest.raises(LookupError, match=r"nothing of `paper` is found in board\.md"):
        benchmark.main(["--docs", str(docs)])
    assert (docs / "paper.md").read_text(encoding="utf-8") == before


def test_pages_that_todays_writers_make_are_read(
    benchmark: Any, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import board_page
    import marks
    import method_page
    import results

    runs = tmp_path / "runs"
    # A case study, begun as `make evidence` does, on a machine of its own.
    rows = [
        {"baseline": base, "regime": f"few-class{wrong}", "task": task, "condition": "paper",
         "difference": 2.0, "low": 1.0, "high": 3.0, "verdict": "superior"}
        for base in ("single-task", "uncoupled") for wrong in ("", "-shuffled")
        for task in ("family", "attributes")
    ]  # fmt: skip
    means = [{**row, "metric": "accuracy", "mean": 0.5} for row in rows[:4]]
    metrics = {"family": "accuracy", "attributes": "accuracy"}
    summary = {
        "title": "M",
        "seeds": [0, 1, 2],
        "sentence": "",
        "verdicts": rows,
        "means": means,
        "metrics": metrics,
    }
    command = "concord study configs/studies/mushroom.yaml --out /srv/here/mushroom --processes 2"
    held = {"sessions": [{"command": command, "started": "2030-01-02T00"}], "duration": 60,
            "machine": {"cores": 2, "processor": "Chip"}}  # fmt: skip
    (runs / "mushroom").mkdir(parents=True)
    (runs / "mushroom" / "environment.json").write_text(json.dumps(held), encoding="utf-8")
    monkeypatch.setattr(results.Outcome, "read", lambda _: SimpleNamespace(summary=summary))
    monkeypatch.setattr(results, "draw", lambda *_: None)
    results.main([str(runs / "mushroom"), "--page", str(docs / "results.md")])
    assert "/srv/here" not in (docs / "results.md").read_text(encoding="utf-8")
    # The method's table of harm.
    frame = pl.DataFrame(
        [("a", "few-class", seed, "balanced_accuracy", value, "class", condition, table)
         for condition, table, value in (
             ("single-task", "none", 0.5), ("paper", "right", 0.6), ("paper", "shuffled", 0.4)
         )
         for seed in range(3)],
        schema=["pack", "regime", "seed", "metric", "value", "role", "condition", "table"], orient="row",
    )  # fmt: skip
    told = "\n".join(method_page.harm_section(frame, "auto", []))
    method_page.write_section("method", "Features", told, docs / "method.md")
    # The board.
    for pack in ("a", "b"):
        (runs / "board" / pack).mkdir(parents=True)
        (runs / "board" / pack / "config.json").write_text('{"budget": {"steps": 5}}', encoding="utf-8")
        names = ("auto", "paper-coannotation", "uncoupled", "paper", "paper-matching")
        told = [{"regime": "r", "task": "t", "metric": "accuracy", "condition": name, "mean": n / 10}
                for n, name in enumerate(names)]  # fmt: skip
        told = {"metrics": {"t": "accuracy"}, "seeds": [0, 1, 2], "means": told, "verdicts": []}
        (runs / "board" / pack / "summary.json").write_text(json.dumps(told), encoding="utf-8")
        (runs / "board" / pack / "results.csv").write_text(
            "condition,seed,regime,task,metric,value", encoding="utf-8"
        )
    board_page.write_page(runs / "board", docs / "board.md", ["a", "b"])
    made = {"version": "0", "code": ["abc"], "dates": ["2030-01-01", "2030-01-03"], "rooms": {}}
    marks.write_mark(docs / "board.md", "board", marks.words(made, {"auto": "1"}, "again"), section=False)
    benchmark.main(["--docs", str(docs)])
    text = (docs / "paper.md").read_text(encoding="utf-8")
    assert (
        "| `concord study configs/studies/mushroom.yaml` | family, accuracy | +2.0 (+1.0 to +3.0) |" in text
    )
    assert "(the worst cell: +10.0 points), and in 1 of 1 with a shuffled one" in text
    assert "`paper-matching` is number 1 (1.00); ranks closer than " in text
    assert "the numbers of [board](board.md), of 2030-01-01 to 2030-01-03." in text
    told = "\n".join(method_page.harm_section(frame.filter(pl.col("seed") < 2), "auto", []))
    method_page.write_section("method", "Features", told, docs / "method.md")
    benchmark.main(["--docs", str(docs)])
    assert "harm of `paper` was not tested: that takes 3 seeds" in (docs / "paper.md").read_text(
        encoding="utf-8"
    )


def test_commands_on_pages_name_no_places(benchmark: Any) -> None:
    plain = sys.modules["page"].plain
    assert (
        plain("concord study a.yaml --out /x/y --seeds 5 --processes 2 --device=cuda")
        == "concord study a.yaml --seeds 5"
    )


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


def test_sections_are_counted_by_their_mark(benchmark: Any) -> None:
    stale = "> **Not run again yet.** Made by version 0 (code a), 2030-01-0{}, on a chip. Since then."
    marks = [stale.format(1), stale.format(2), "> **Of unknown code.** No record tells.", "*Made by 0.*"]
    text = "\n".join(f"<!-- section: {i} -->\n## {i}\n\n{mark}\n" for i, mark in enumerate(marks))
    page = "studies of [results](results.md)"
    assert benchmark._whence({"results": text}).split("\n>\n") == [
        f"> **Not run again yet**: the numbers of 2 of 4 {page}, of 2030-01-01, 2030-01-02.",
        f"> **Of unknown code**: the numbers of 1 of 4 {page}.",
    ]
