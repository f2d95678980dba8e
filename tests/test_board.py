"""The board and the page of results: one tiny cell each, and what their tables say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import concord as cc
from concord.study.conditions.registry import condition_names


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    monkeypatch.setenv("CONCORD_DATA", "")  # the board sets it; this puts it back
    monkeypatch.delenv("CONCORD_DATA")
    import board
    import results

    yield SimpleNamespace(board=board, results=results)
    for name in ("board", "results"):
        sys.modules.pop(name, None)


TINY = ["run", "--packs", "digits", "--regimes", "few-class", "--seeds", "2", "--steps", "2",
        "--conditions", "single-task", "uncoupled", "paper"]  # fmt: skip


def test_a_tiny_board_is_run_once_and_written(benchmark, tmp_path, capsys):
    out, page = tmp_path / "board", tmp_path / "docs" / "board.md"
    with pytest.raises(SystemExit, match="no finished pack"):
        benchmark.board.main(["page", "--out", str(out), "--page", str(page)])
    assert not page.exists()
    benchmark.board.main([*TINY, "--out", str(out)])
    assert "paper~1" in capsys.readouterr().out
    benchmark.board.main([*TINY, "--out", str(out)])
    assert "~" not in capsys.readouterr().out, "what is done is not done again"
    benchmark.board.main(["page", "--out", str(out), "--page", str(page)])
    text = page.read_text()
    assert "| paper |" in text
    assert "Packs that have not run: clinc150" in text
    assert "`auto` has no rank" in text

    benchmark.results.main([str(out / "digits"), "--page", str(tmp_path / "docs" / "results.md")])
    text = (tmp_path / "docs" / "results.md").read_text()
    summary = json.loads((out / "digits" / "summary.json").read_text())
    row = next(r for r in summary["verdicts"] if r["condition"] == "paper" and r["baseline"] == "single-task")
    assert f"{row['difference']:+.1f}" in text
    assert summary["sentence"] in text
    held = json.loads((out / "digits" / "environment.json").read_text())
    assert f"{held['duration'] / 60:.1f} minutes on {held['machine']['cores']} cores" in text
    assert "<svg" in (tmp_path / "docs" / "figures" / "digits.svg").read_text()


def summary(values, verdicts):
    return {
        "metrics": {"t": "accuracy"},
        "seeds": [0, 1],
        "means": [
            {"regime": "r", "task": "t", "metric": "accuracy", "condition": name, "mean": value}
            for name, value in values.items()
        ],
        "verdicts": [
            {"condition": name, "baseline": "single-task", "verdict": verdict, "difference": number}
            for name, verdict, number in verdicts
        ],
    }


def test_ranks_and_harm_of_every_condition(benchmark):
    board = benchmark.board
    said = {
        "a": summary({"single-task": 0.5, "auto": 0.6, "paper": 0.4, "odd": 0.9},
                     [("auto", "superior", 10), ("paper", "inferior", -10), ("odd", "undecided", 1)]),
        "b": summary({"single-task": 0.5, "auto": 0.5, "paper": 0.7},
                     [("auto", "undecided", 0), ("paper", "superior", 20)]),
    }  # fmt: skip
    rows, about = board.table_of(said)
    by_name = {row["condition"]: row for row in rows}
    assert {name: row["rank"] for name, row in by_name.items()} == {
        "auto": 1.75, "paper": 2.0, "single-task": 2.25, "odd": None,
    }  # fmt: skip
    assert rows[-1]["condition"] == "odd", "it has not run everywhere"
    assert (by_name["paper"]["worse"], by_name["paper"]["better"], by_name["paper"]["lowest"]) == (1, 1, -10)
    assert about["blocks"] == 2
    assert "number 1 of 3" in board.standing(rows, about["critical"])
    ranks = {"x": 1.0, "auto": 2.0, "y": 2.5}
    behind = [{"condition": name, "rank": rank, "worse": 0} for name, rank in ranks.items()]
    assert "It is not first: `x` is, by 1.00, which is no more" in board.standing(behind, 3.0)
    assert "The next, `y`, is 0.50 behind, which is no more" in board.standing(behind[1:], 3.0)
    assert "The next, `y`, is 0.50 behind, which is more" in board.standing(behind[1:], 0.4)


def test_every_condition_is_asked_unless_said(benchmark, tmp_path, monkeypatch):
    board, asked = benchmark.board, []
    monkeypatch.setattr(board, "_allowed", lambda plan, names: (asked.extend(names) or ["single-task"], {}))
    options = SimpleNamespace(regimes=None, seeds=5, steps=None, conditions=None, out=tmp_path)
    for pack in board.ROWS:
        plan = board.plan_of(pack, options)
        assert [regime.name for regime in plan.regimes] == ["few-class", "few-label", "balanced"]
        assert plan.seeds == [0, 1, 2, 3, 4]
    left = set(condition_names()) - set(asked)
    assert left == {each.loss for recipe in cc.couplings.RECIPES.values() for each in recipe}
