"""The method's board: its plans, its controls, and the page of what is finished."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from concord.study.judging.comparison import compare
from concord.study.plan import as_plan
from concord.study.running.running import run

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = (
    "problems", "method", "method_rivals", "method_page", "findings", "held", "search_table", "page",
    "origin", "evidence_page", "marks",
)  # fmt: skip


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


def findings_of(folder: Path, page: str = "method") -> Any:
    import findings

    return findings.facts_of(page, folder, folder / "docs")


def frame_of(rows: list[tuple[str, str, str, float, float]], seeds: int = 3) -> pl.DataFrame:
    """Results of one metric: condition, table, pack and the value of each seed, which grows a little."""
    return pl.DataFrame(
        [
            (pack, "few-class", seed, "balanced_accuracy", value + seed * slope, "class", condition, table)
            for condition, table, pack, value, slope in rows
            for seed in range(seeds)
        ],
        schema=["pack", "regime", "seed", "metric", "value", "role", "condition", "table"],
        orient="row",
    )


def test_what_the_table_gives_is_apart_from_what_sharing_gives(board: Any) -> None:
    frame = frame_of(
        [("single-task", "none", "a", 0.5, 0), ("balanced-shared", "none", "a", 0.6, 0),
         ("auto-standard", "right", "a", 0.7, 0.01), ("auto-standard", "none", "a", 0.65, 0)]
    )  # fmt: skip
    means = [
        round(found["difference"].mean(), 2)
        for found in (
            *(
                board.page.differences(frame, "auto-standard", "right", other)
                for other in ("single-task", "balanced-shared")
            ),
            board.page.gain_of_table(frame, "auto-standard"),
        )
    ]
    assert means == [21.0, 11.0, 6.0]
    other = frame_of([("single-task", "none", "b", 0.5, 0)], 5)
    assert board.page.seeds_of(pl.concat([frame, other])) == "3 to 5"


def test_harm_is_said_of_what_was_tested(board: Any) -> None:
    def seen(seeds: int) -> Any:
        frame = frame_of(
            [("single-task", "none", "a", 0.5, 0), ("x", "right", "a", 0.4, 0.001),
             ("single-task", "none", "b", 0.5, 0), ("x", "right", "b", 0.6, 0.001)], seeds,
        )  # fmt: skip
        return board.page.harm(board.page.differences(frame, "x", "right", "single-task"))

    assert seen(3)[:4] == (2, 2, 1, 1)
    assert (seen(3).said(), seen(2).said()) == ("1 of 2", "not tested")
    assert seen(2).where == "a/few-class/class/balanced_accuracy"
    where = "a/few-class/class/balanced_accuracy"
    assert [(cell, round(mean, 1)) for cell, mean in seen(3).low] == [(where, -9.9)]
    error = 0.1 / np.sqrt(3)  # differences of both cells are 0, .1 and .2 of a point beside their mean
    assert seen(3).shows == pytest.approx(error * stats.t.isf(0.025, 2))
    assert np.isnan(seen(2).shows)
    one = board.page.differences(
        frame_of([("single-task", "none", "a", 0.5, 0), ("x", "right", "a", 0.4, 0)], 1),
        "x",
        "right",
        "single-task",
    )
    assert np.isnan(board.page.simulated_worst(one)).all()


def test_the_worst_cell_by_chance_is_of_cells_without_a_gain(board: Any) -> None:
    """Noise is largest where much is gained: it would make every loss look like chance."""
    level = [("single-task", "none", pack, 0.5, 0) for pack in "ab"]
    quiet, loud = ("x", "right", "a", 0.498, 0.001), ("x", "right", "b", 0.7, 0.02)
    both, alone = (
        board.page.simulated_worst(
            board.page.differences(frame_of([*level, *rows], 5), "x", "right", "single-task")
        )
        for rows in ([quiet, loud], [quiet])
    )
    assert both == alone
    assert both[0] < 0


def test_rivals_are_compared_with_the_best_single_task_model_of_the_same_cells(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import method_rivals

    plan, usual = (
        method_rivals.plan_of("digits", "full", 3),
        board.method.plan_of("features", "digits", "full", 3),
    )
    left = {"title", "conditions"}
    assert plan.model_dump(exclude=left) == usual.model_dump(exclude=left), "the same rows, seeds and steps"
    best, right = plan.conditions[1:3]
    assert best.options["kinds"] == ["single-task", *right.options["rivals"]]
    assert "boosting" in right.options["rivals"]
    monkeypatch.setattr(method_rivals, "BOOSTED", ())
    cheaper = method_rivals.plan_of("digits", "full", 3).conditions[-1]
    assert "boosting" not in cheaper.options["rivals"]
    wrong = method_rivals.plan_of("digits", "full", 3, kind="rivals-wrong")
    assert wrong.model_dump(exclude=left) == usual.model_dump(exclude=left)
    assert [each.name for each in wrong.conditions] == [
        "single-task", "auto-rivals.shuffled", "auto-rivals.partly-wrong",
    ]  # fmt: skip
    assert {**wrong.conditions[1].options, "table": "given"} == cheaper.options | {"table": "given"}
    worlds = [
        ("best-single-task", "none", "a", 0.6, 0.0), ("best-single-task", "none", "b", 0.6, 0.0),
        ("auto-rivals", "right", "a", 0.7, 0.01), ("auto-rivals", "right", "b", 0.5, 0.001),
    ]  # fmt: skip
    plain = [("auto-standard", "right", pack, 0.65, 0.01) for pack in "ab"]
    frames = {
        "rivals": frame_of(worlds),
        "rivals-wrong": frame_of(
            [("auto-rivals", "shuffled", "a", 0.55, 0), ("single-task", "none", "a", 0.5, 0)], 5
        ),
        "features": frame_of([*plain, ("single-task", "none", "a", 0.5, 0)], 5),
    }
    monkeypatch.setattr(board.page, "load", lambda out: frames[out.name])
    monkeypatch.setattr(board.page, "ran", lambda out: "by hand")
    text = "\n".join(board.page.rivals_section(tmp_path))
    assert "| auto-rivals | right | few-class | +0.6 (10.4) | - | - |" in text
    assert "| auto-rivals | shuffled | few-class | -5.0 | - | - |" in text
    assert (
        "| auto-rivals | right | 1 of 2 | 1 of 2 | 1.4 | -9.9 (b/few-class/class/balanced_accuracy) |" in text
    )
    assert "| a | few-class | +11.0 [+8.5, +13.5] | - | +6.0 [+3.5, +8.5] | - |" in text, (
        "three seeds of five"
    )
    facts = findings_of(tmp_path, "method-rivals")
    assert [(each["condition"], each["worse"], each["tested"]) for each in facts["harm"]] == [
        ("auto-rivals", 1, 2),
        ("auto-rivals", 1, 1),
        ("auto-standard", 0, 2),
    ]
    assert [each["points"][-1][0] for each in facts["against"]] == [-9.9, -5.0, 6.0]
    import evidence_page

    lines = "\n".join(evidence_page._best_single(facts))
    assert "| `auto` with rivals | right | +0.5; above in 1, below in 1 of 2 | not run |" in lines
    frames["rivals"] = pl.DataFrame()
    assert board.page.rivals_section(tmp_path) == board.page.NOT_RUN
    assert findings_of(tmp_path, "method-rivals") == {}


def test_fresh_draws_are_those_of_other_seeds_and_of_the_scarce_task(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evidence_page
    import method_fresh

    plan = method_fresh.plan_of("digits", "few-class", 3)
    usual = board.method.plan_of("features", "digits", "few-class", 3)
    left = {"conditions", "seeds"}
    assert plan.model_dump(exclude=left) == usual.model_dump(exclude=left), "the same rows and steps"
    assert not set(plan.seeds) & set(range(board.method.FIRST_SEED, board.method.FIRST_SEED + 100))
    assert [each.name for each in plan.conditions] == list(method_fresh.CONDITIONS)
    frame = frame_of(
        [("single-task", "none", "a", 0.5, 0), ("auto-standard", "right", "a", 0.7, 0.01),
         ("single-task", "none", "b", 0.5, 0), ("auto-standard", "right", "b", 0.4, 0.001)]
    )  # fmt: skip
    monkeypatch.setattr(board.page, "load", lambda out: frame)
    monkeypatch.setattr(board.page, "ran", lambda out: "by hand")
    text = "\n".join(board.page.fresh_section(tmp_path))
    assert "| a | +21.0 [+18.5, +23.5] | - |" in text
    assert "| mean (standard error over packs) | +5.5 (15.4) | - |" in text
    assert "| right | 1 of 2 | 1 of 2 | 1.4 | -9.9 (b/few-class/class/balanced_accuracy) |" in text
    facts = findings_of(tmp_path, "method-fresh")
    assert facts["gains"][0]["points"][0] == [21.0, 18.52, 23.48]
    assert "| right | scarce classes | +5.5; above in 1, below in 1 of 2 |" in "\n".join(
        evidence_page._fresh(facts)
    )
    monkeypatch.setattr(board.page, "load", lambda out: pl.DataFrame())
    assert board.page.fresh_section(tmp_path) == board.page.NOT_RUN
    assert findings_of(tmp_path, "method-fresh") == {}


def test_thresholds_are_chosen_on_both_sides_of_studies_with_the_same_seeds(
    board: Any, tmp_path: Path
) -> None:
    def study(folder: str, seeds: list[int], **found: tuple[float, float]) -> None:
        cuts = [
            {"regime": "full", "condition": name.replace("__", ".").replace("_", "-"), "task": task,
             "metric": "any", "half": half, "chosen": chosen + (task == "b"), "against": {}}
            for name, (half, chosen) in found.items() for task in ("a", "b")
        ]  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
        summary = {"seeds": seeds, "metrics": {"a": "any", "b": "any"}, "thresholds": cuts}
        (tmp_path / folder / "summary.json").write_text(json.dumps(summary))

    study("rivals/digits.full", [1, 2], best_single_task=(50, 60), auto_rivals__right=(40, 59))
    study("rivals-wrong/digits.full", [1, 2], auto_rivals__shuffled=(45, 62), single_task=(1, 2))
    study("features/digits.full", [1, 2, 3], auto_standard__none=(10, 20))
    found = board.page.with_thresholds(tmp_path).filter(pl.col("condition") == "auto-rivals")
    rows = found.sort("table", "role").select("pack", "role", "table", "half", "chosen").rows()
    assert rows == [
        ("digits", "class", "right", -10, -1), ("digits", "label", "right", -10, -1),
        ("digits", "class", "shuffled", -5, 2), ("digits", "label", "shuffled", -5, 2),
    ]  # fmt: skip
    assert set(board.page.with_thresholds(tmp_path)["condition"]) == {
        "best-single-task", "auto-rivals", "single-task",
    }, "other seeds are no pair"  # fmt: skip


def test_the_page_is_of_finished_studies(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no finished study"):
        board.page.write(tmp_path, tmp_path / "method.md")
    assert findings_of(tmp_path) == {}
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
    assert text.count("Not run.") == 4
    frame = board.page.load(tmp_path / "features")
    own = board.page.one_row_a_run(frame, "auto-standard")
    assert len(own) == 2 * 2
    wrong = own.filter(own["table"] == "partly-wrong")["wrong_cells"]
    assert (wrong > 0).all()
    assert (own.filter(own["table"] == "right")["wrong_cells"] == 0).all()
    assert (page.parent / "figures" / "method.svg").exists()

    assert "| auto-standard | right | single-task | not tested |" in text, "two seeds test nothing"
    found = findings_of(tmp_path)
    assert (found["seeds"], found["real"]) == ("2", [])
    (gain,) = found["gains"]
    assert (gain["pack"], gain["task"], set(gain)) == (
        "digits",
        "class",
        {"pack", "task", "single-task", "balanced-shared"},
    )
    assert gain["single-task"][1:] == [None, None]
    assert len(found["wrong"]) == 3, "class, label F1 and label AP"
    told = {(each["table"], each["against"]): (each["cells"], each["tested"]) for each in found["harm"]}
    tables = ("right", "partly-wrong")
    assert told == {
        (table, other): (3, 0) for table in tables for other in ("single-task", "balanced-shared")
    }
    every = pl.read_parquet(tmp_path / "docs" / "tables" / "method.parquet")
    assert len(every) == len(frame)
    assert "auto-standard" in (tmp_path / "docs" / "tables" / "method.html").read_text()

    def absent(_: str) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(board.page, "problem", absent)
    board.page.observed.cache_clear()
    board.page.write(tmp_path, page)
    without = board.page.one_row_a_run(board.page.load(tmp_path / "features"), "auto-standard")
    assert without["estimate_error"].null_count() == len(without) == 4, "the pack is not at hand"
    (tmp_path / "features").rename(tmp_path / "images")
    board.page.write(tmp_path, page)
    text = page.read_text()
    assert "## `auto-standard` on features\n\nNot run." in text
    assert "| digits | few-class | right |" in text
    assert findings_of(tmp_path) == {}
