"""The method's board: its plans, its controls, and the page of what is finished."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from concord.study.judging.comparison import compare
from concord.study.plan import as_plan
from concord.study.running.running import run

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = ("problems", "method", "method_page", "findings", "held", "search_table", "page", "origin")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import method
    import method_page
    import problems

    yield SimpleNamespace(method=method, page=method_page, problems=problems)
    for name in MODULES:
        sys.modules.pop(name, None)


def test_regimes_differ_in_rows_alone(board: Any) -> None:
    plans = {
        name: board.method.plan_of("features", "digits", name, 2) for name in board.problems.regimes("digits")
    }
    rows = {name: (*plan.regimes[0].rows.values(), plan.regimes[0].overlap) for name, plan in plans.items()}
    assert rows["few-class"][:2] == rows["few-label"][1::-1]
    assert (rows["partial"][2], rows["full"][2]) == (0.25, 1)
    names = {name: {c.name for c in plan.conditions} for name, plan in plans.items()}
    assert names["balanced"] == {"single-task", "balanced-shared"} | {
        f"auto-standard.{t}" for t in board.method.TABLES
    }
    assert names["few-class"] - names["balanced"] == {
        "paper.right",
        "paper.shuffled",
    }
    for plan in plans.values():
        assert [str(seed) for seed in plan.seeds] == ["300", "301"]
        assert len({c.options.get("table") for c in plan.conditions if c.use == "auto"}) == 4


def test_labels_of_controls_say_nothing_of_the_class(board: Any) -> None:
    given = board.problems.digits()
    y, rows = given.targets["digit"], given.splits["train"]
    for kind in board.problems.CONTROLS:
        control = getattr(board.problems, f"digits_{kind}")()
        a = control.targets["segments"]
        means = np.stack([a[rows][y[rows] == c].mean(axis=0) for c in range(10)])
        error = np.sqrt(0.25 / (len(rows) / 10))
        assert np.abs(means - a[rows].mean(axis=0)).max() < 4.5 * error, kind
        np.testing.assert_array_equal(control.relations[0].table, given.relations[0].table)
    told = given.relations[0].table
    assert np.abs(told - told.mean(axis=0)).max() > 4.5 * error


def test_an_estimate_is_held_against_counts(board: Any) -> None:
    np.testing.assert_allclose(
        board.problems.observed(board.problems.digits()), board.problems.digits().relations[0].table
    )


def test_the_page_is_of_finished_studies(board: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished study"):
        board.page.write(tmp_path, tmp_path / "method.md")
    plan = board.method.plan_of("features", "digits", "few-class", 2)
    kept = ("single-task", "balanced-shared", "auto-standard.right", "auto-standard.partly-wrong")
    small = {
        "budget": {"steps": 4, "rows_per_task": 16},
        "network": {"hidden": [8]},
        "conditions": [c.model_dump() for c in plan.conditions if c.name in kept],
    }
    plan = as_plan({**plan.model_dump(), **small})
    out = tmp_path / "features" / "digits.few-class"
    run(plan, out, on_start=partial(board.method.note_code, out.parent / "about.json"))
    compare(plan, out)
    (tmp_path / "features" / "digits.balanced").mkdir()
    page = tmp_path / "docs" / "method.md"
    board.page.write(tmp_path, page)
    text = page.read_text()
    assert "1 packs (digits); few-class on all. Seeds 300 to 301 (2 paired)" in text
    assert "| auto-standard | right | single-task |" in text
    assert text.count("Not run.") == 2
    frame = board.page.load(tmp_path / "features")
    own = board.page.one_row_a_run(frame, "auto-standard")
    assert len(own) == 2 * 2
    wrong = own.filter(own["table"] == "partly-wrong")["wrong_cells"]
    assert (wrong > 0).all()
    assert (own.filter(own["table"] == "right")["wrong_cells"] == 0).all()
    assert (page.parent / "figures" / "method.svg").exists()

    import findings

    found = findings.facts_of("method", tmp_path, tmp_path / "docs")
    assert (found["seeds"], found["real"]) == (2, [])
    (gain,) = found["gains"]
    assert (gain["pack"], gain["task"], len(gain["points"])) == ("digits", "class", 3)
    mean, low, high = gain["points"]
    assert low < mean < high
    assert len(found["wrong"]) == found["significantly worse"][1] == 3, "class, label F1 and label AP"
    every = pl.read_parquet(tmp_path / "docs" / "tables" / "method.parquet")
    assert len(every) == len(frame)
    assert "auto-standard" in (tmp_path / "docs" / "tables" / "method.html").read_text()
