"""The tables that a language model wrote: whole, with their prompt; and what the command makes of studies."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.relations import read_table

ROOT = Path(__file__).parent.parent
TABLES = sorted((ROOT / "examples" / "tables").glob("*.csv"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("CONCORD_DATA", "")  # the board sets it; this puts it back
    monkeypatch.delenv("CONCORD_DATA")
    import written_tables

    yield written_tables
    for name in ("written_tables", "board", "board_page", "page"):
        sys.modules.pop(name, None)


def test_every_open_pack_has_one_and_its_prompt_is_kept(command: Any) -> None:
    assert {path.stem for path in TABLES} == set(command.TARGETS)
    text = (ROOT / "examples" / "tables" / "README.md").read_text()
    assert "## The prompt" in text
    assert all(f"`{path.name}`" in text for path in TABLES)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_hold_probabilities_and_some_knowledge(path: Path) -> None:
    table = read_table(path)
    known = table.cells[~np.isnan(table.cells)]
    assert ((known >= 0) & (known <= 1)).all()
    spoken = table.cells[:, ~np.isnan(table.cells).all(axis=0)]
    assert (np.nanstd(spoken, axis=0) > 0.01).mean() > 0.7, "labels that tell classes apart"
    if path.stem == "clinc150":
        np.testing.assert_allclose(table.cells.sum(axis=1), 1)


def study(folder: Path, values: dict[str, list[float]], verdict: str) -> None:
    folder.mkdir(parents=True)
    row = {"regime": "few-class", "task": "family", "metric": "accuracy"}
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["condition", "seed", *row, "value"])
        writer.writeheader()
        for condition, each in values.items():
            writer.writerows(
                {"condition": condition, "seed": i, **row, "value": v} for i, v in enumerate(each)
            )
    account = {"regime": "few-class", "condition": "auto", "relations": {"family->attributes": {verdict: 3}}}
    summary = {"metrics": {"family": "accuracy"}, "means": [row], "accounts": [account]}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.json").write_text(json.dumps({"budget": {"steps": 300}, "seeds": [0, 1, 2]}))


def test_the_section_says_what_the_table_bought(command: Any, tmp_path: Path) -> None:
    out, page = tmp_path / "runs", tmp_path / "page.md"
    with pytest.raises(SystemExit, match="no finished pack"):
        command.main(["page", "--out", str(out), "--page", str(page)])
    alone = [0.2, 0.3, 0.4]
    written = {"single-task": alone, "auto": [0.3, 0.4, 0.5], "auto-no-table": [0.2, 0.35, 0.35]}
    study(out / "mushroom-written", written, "calibrated")
    study(out / "mushroom-own", {"single-task": alone, "auto": [0.4, 0.5, 0.6]}, "kept")
    page.write_text("# A page\n\nkept as it is\n")
    command.main(["page", "--out", str(out), "--page", str(page)])
    text = page.read_text()
    assert "kept as it is" in text
    line = next(line for line in text.splitlines() if line.startswith("| mushroom, few-class |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [
        "family, accuracy", "30.0", "+10.0 (0.0)", "+0.0 (12.4)", "+20.0 (0.0)", "calibrated 3", "kept 3",
    ]  # fmt: skip
    assert "Not run: clinc150" in text


def test_the_check_alone_is_a_section_of_its_own(command: Any, tmp_path: Path) -> None:
    own = {"verdict": "kept", "trust": 0.98, "contradicted": [], "cells": 851}
    written = {"verdict": "calibrated", "trust": 0.9, "contradicted": ["a", "b"], "cells": 851}
    found = {"regime": "few-class", "seed": 900, "steps": 300, "written": written, "own": own}
    (tmp_path / "mushroom-check.json").write_text(json.dumps(found))
    page = tmp_path / "page.md"
    command.main(["page", "--out", str(tmp_path), "--page", str(page)])
    assert "| mushroom | calibrated | 0.90 | 2 of 851 | kept | 0.98 | 0 of 851 |" in page.read_text()


def test_both_tables_are_asked_of_the_same_first_stage(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {
        "title": "t",
        "problem": "digits",
        "regimes": [{"name": "few-class", "rows": {"digit": 60, "segments": 120}}],
    }

    def plan(pack: str, kind: str, seeds: Any, steps: int, regimes: Any) -> Any:
        return command.as_plan({**right, "seeds": list(seeds), "conditions": ["single-task"]})

    monkeypatch.setattr(command, "plan_of", plan)
    monkeypatch.setitem(command.TARGETS, "mushroom", "segments")
    command.main(["check", "--out", str(tmp_path), "--packs", "mushroom", "--steps", "20"])
    found = json.loads((tmp_path / "mushroom-check.json").read_text())
    assert found["written"] == found["own"], "the same table gets the same verdict"
    assert found["own"]["cells"] == 70
    assert f"written {found['own']['verdict']}" in capsys.readouterr().out
