"""The board and the page of results: one tiny cell each, and what their tables say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import concord as cc
from concord.study.conditions.registry import condition_names


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    monkeypatch.setenv("CONCORD_DATA", "")  # the board sets it; this puts it back
    monkeypatch.delenv("CONCORD_DATA")
    import board
    import board_page
    import results

    yield SimpleNamespace(board=board, page=board_page, results=results)
    for name in ("board", "board_page", "results", "findings", "search_table", "held", "page", "origin"):
        sys.modules.pop(name, None)


TINY = ["run", "--packs", "digits", "--regimes", "few-class", "--seeds", "2", "--steps", "2",
        "--conditions", "single-task", "uncoupled", "paper", "logistic"]  # fmt: skip


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
    assert "| logistic |" in text
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

    import findings

    found = findings.facts_of("board", out, tmp_path / "docs")
    assert found == {
        "standing": ["`auto` has no rank here: it did not run on every pack."],
        "against": [], "blocks": 0, "behind": [], "metrics": ["accuracy", "mean F1"], "seeds": [2],
    }  # fmt: skip
    every = pl.read_parquet(tmp_path / "docs" / "tables" / "board.parquet")
    assert set(every["condition"]) == {"single-task", "uncoupled", "paper", "logistic"}
    assert findings.facts_of("study-digits", out, tmp_path / "docs") == {
        "auto": {},
        "controls": {},
        "untested": ["digits"],
    }
    assert "worse in 0" not in text
    assert "- `paper`: not tested: that takes 3 seeds; lowest " in text


def summary(values, verdicts, seeds=3):
    return {
        "metrics": {"t": "accuracy"},
        "seeds": list(range(seeds)),
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
    page = benchmark.page
    said = {
        "a": summary({"single-task": 0.5, "auto": 0.6, "paper": 0.4, "odd": 0.9},
                     [("auto", "superior", 10), ("paper", "inferior", -10), ("odd", "undecided", 1)]),
        "b": summary({"single-task": 0.5, "auto": 0.5, "paper": 0.7},
                     [("auto", "undecided", 0), ("paper", "superior", 20)]),
    }  # fmt: skip
    rows, about = page.table_of(said)
    by_name = {row["condition"]: row for row in rows}
    assert {name: row["rank"] for name, row in by_name.items()} == {
        "auto": 1.75, "paper": 2.0, "single-task": 2.25, "odd": None,
    }  # fmt: skip
    assert rows[-1]["condition"] == "odd", "it has not run everywhere"
    assert (by_name["paper"]["worse"], by_name["paper"]["better"], by_name["paper"]["lowest"]) == (1, 1, -10)
    few = page.table_of({"a": {**said["a"], "seeds": [0, 1]}})[0]
    few = next(row for row in few if row["condition"] == "paper")
    assert (few["comparisons"], few["worse"], few["lowest"]) == (0, 0, -10), "two seeds test nothing"
    assert about["blocks"] == about["packs"] == 2
    assert by_name["auto"]["interval"] == pytest.approx([1.0, 2.5])
    assert by_name["auto"]["cut"] == by_name["auto"]["rank"], "accuracy has no thresholds"


def test_a_pack_of_many_blocks_counts_once(benchmark):
    many = {("big", f"r{i}", "t"): {"auto": 60.0, "other": 50.0} for i in range(9)}
    blocks = {**many, ("small", "r", "t"): {"auto": 40.0, "other": 50.0}}
    names, by_pack = benchmark.page.ranks_by_pack(blocks)
    assert names == ["auto", "other"]
    np.testing.assert_array_equal(by_pack, [[1, 2], [2, 1]])
    found = benchmark.page.against(blocks, "other")
    assert (found["packs"], found["difference"]) == (2, 0.0)
    assert found["low"] < -100 < 100 < found["high"], "two packs tell nothing"
    belief = found["belief"]
    assert belief.better == pytest.approx(belief.worse, abs=0.02)
    assert benchmark.page.against({("a", "r", "t"): {"auto": 1.0}}, "other") is None


def test_the_standing_names_the_next_and_whether_they_are_told_apart(benchmark):
    def rows(**ranks):
        same = {"worse": 0, "first": 1.0, "comparisons": 4}
        found = [{"condition": name, "rank": rank, **same} for name, rank in ranks.items()]
        return sorted(found, key=lambda row: row["rank"])

    apart = {"drawn": {"auto": np.full(50, 1.0), "x": np.full(50, 2.5)}}
    said = " ".join(benchmark.page.standing(rows(auto=1.0, x=2.5), apart))
    assert "number 1 of 2" in said
    assert "`x`, is behind by 1.50 ranks" in said
    assert "excludes 0" in said
    assert "in 0 of 4 comparisons with single-task networks a negative transfer is significant" in said
    (untested,) = rows(auto=1.0)
    said = benchmark.page.standing([{**untested, "comparisons": 0}], apart)[0]
    assert "negative transfer was not tested: that takes 3 seeds" in said
    said = " ".join(
        benchmark.page.standing(
            rows(x=1.0, auto=2.5), {"drawn": {"auto": np.linspace(1, 4), "x": np.full(50, 2)}}
        )
    )
    assert "It is not first: `x` is, by 1.50 ranks" in said
    assert "holds 0" in said
    assert "has no rank" in benchmark.page.standing(rows(x=1.0), apart)[0]


def test_the_page_says_where_auto_is_not_first(benchmark):
    blocks = {
        ("a", "few", "t"): {"auto": 60.0, "x": 61.0, "y": 70.0},
        ("a", "rich", "t"): {"auto": 60.0, "x": 50.0},
        ("b", "few", "t"): {"auto": 60.0, "x": 62.0},
    }
    assert benchmark.page.behind(blocks) == [(("a", "few", "t"), "y", 10.0), (("b", "few", "t"), "x", 2.0)]
    text = "\n".join(benchmark.page._not_first(blocks))
    assert "In 2 of 3 blocks" in text
    assert "| a | few | t | y | 10.0 |" in text


def test_the_best_single_task_model_is_chosen_on_validation_rows_seed_by_seed(benchmark, tmp_path):
    folder = tmp_path / "a"
    (folder / "runs").mkdir(parents=True)
    validation = {"single-task": (0.5, 0.9), "logistic": (0.6, 0.1)}
    test = {"single-task": (0.3, 0.4), "logistic": (0.7, 0.8)}
    lines = ["condition,seed,regime,task,metric,value"]
    for name in test:
        for seed in (0, 1):
            record = {"validation": {"t": {"accuracy": validation[name][seed]}}}
            (folder / "runs" / f"r~{name}~{seed}.json").write_text(json.dumps(record))
            lines.append(f"{name},{seed},r,t,accuracy,{test[name][seed]}")
    (folder / "results.csv").write_text("\n".join(lines))
    said = {"a": summary({"single-task": 0.35, "logistic": 0.75, "auto": 0.5}, [], seeds=2)}
    blocks = benchmark.page.with_best_single(benchmark.page.blocks_of(said), tmp_path, said)
    assert blocks["a", "r", "t"][benchmark.page.BEST] == pytest.approx(100 * (0.7 + 0.4) / 2)


def test_at_thresholds_of_their_own_ranks_may_be_others(benchmark):
    said = {"a": summary({"single-task": 0.5, "auto": 0.4}, [])}
    said["a"]["thresholds"] = [{"regime": "r", "task": "t", "condition": "auto", "chosen": 60.0}]
    rows, _ = benchmark.page.table_of(said)
    assert {row["condition"]: (row["rank"], row["cut"]) for row in rows} == {
        "single-task": (1.0, 2.0), "auto": (2.0, 1.0),
    }  # fmt: skip


def test_every_condition_is_asked_unless_said(benchmark, tmp_path, monkeypatch):
    board, asked = benchmark.board, {}
    losses = {each.loss for recipe in cc.couplings.RECIPES.values() for each in recipe}

    def allowed(plan, names):
        asked[pack] = set(names)
        return ["single-task"], {}

    monkeypatch.setattr(board, "_allowed", allowed)
    options = SimpleNamespace(regimes=None, seeds=5, steps=None, conditions=None, out=tmp_path)
    for pack in board.ROWS:
        plan = board.plan_of(pack, options)
        assert [regime.name for regime in plan.regimes] == ["few-class", "few-label", "balanced"]
        assert plan.seeds == [0, 1, 2, 3, 4]
        left = set(condition_names()) - asked[pack] - losses
        assert left == {"best-single-task"} | ({"boosting"} if pack in ("clinc150", "grocery81") else set())
    assert {"logistic", "extra-trees", "boosting"} <= asked["mushroom"]
