"""Thresholds of a study: every condition chooses its own on validation rows, and both cuts are shown."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score
from study_plans import tiny

from asserts import raises
from concord.decoding import choose_thresholds
from concord.errors import StudyError
from concord.metrics import probabilities
from concord.study.judging.comparison import compare
from concord.study.judging.results import collect
from concord.study.pages.report import write_report
from concord.study.problems.cases.digits import problem
from concord.study.running.cells import Cell, all_cells, load, open_folder, save
from concord.study.running.one_cell import run_cell

DIGITS = problem()
PLAN = tiny(conditions=["single-task", "logistic", "uncoupled"], seeds=3, metrics={"digit": "macro_f1"})
SHIFT = {"single-task": 0.0, "logistic": -4.0, "uncoupled": -2.0}
"""How far the logits of labels are moved: what is predicted at .5 suffers, ranks do not."""


def made_up(condition, seed, split):
    rng = np.random.default_rng([seed, len(split)])
    targets = DIGITS.of(split)[1]
    digit = 2 * np.eye(10)[targets["digit"]] + rng.normal(size=(len(targets["digit"]), 10))
    segments = 3 * targets["segments"] + rng.normal(size=targets["segments"].shape) + SHIFT[condition]
    return {"digit": digit, "segments": segments}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    open_folder(folder, PLAN)
    for cell in all_cells(PLAN):
        val = {
            task.name: probabilities(task, made_up(cell.condition, cell.seed, "val")[task.name])
            for task in DIGITS.tasks
        }
        cuts = choose_thresholds("f1", DIGITS.tasks, DIGITS.of("val")[1], val)
        record = {
            "plan": PLAN.digest_of(cell.regime, cell.condition),
            "rows": {"digit": 40, "segments": 120},
            "validation": {},
            "thresholds": cuts.record()["values"],
            "curves": [],
            "relations": {},
            "seconds": 1.5,
        }
        test = made_up(cell.condition, cell.seed, "test")
        save(folder, cell, record, {name: z.astype(np.float32) for name, z in test.items()})
    compare(PLAN, folder)
    return folder


def row_of(out, **wanted):
    rows = json.loads((out / "summary.json").read_text())["thresholds"]
    [row] = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_both_cuts_stand_next_to_each_other(out):
    row = row_of(out, condition="logistic", task="segments")
    a, half, chosen = DIGITS.of("test")[1]["segments"], [], []
    for seed in PLAN.seeds:
        p = 1 / (1 + np.exp(-made_up("logistic", seed, "test")["segments"].astype(np.float32).astype(float)))
        cut = np.array(load(out, PLAN, Cell("few-class", "logistic", seed))["thresholds"]["segments"])
        half.append(f1_score(a, p >= 0.5, average="macro"))
        chosen.append(f1_score(a, p >= cut, average="macro"))
    assert row["half"] == pytest.approx(100 * np.mean(half))
    assert row["chosen"] == pytest.approx(100 * np.mean(chosen))
    assert row["chosen"] > row["half"] + 10


def test_differences_are_between_conditions_at_thresholds_of_their_own(out):
    verdicts = json.loads((out / "summary.json").read_text())["verdicts"]
    [at_half] = [
        row["difference"]
        for row in verdicts
        if (row["condition"], row["task"], row["baseline"]) == ("logistic", "segments", "single-task")
    ]
    found = row_of(out, condition="logistic", task="segments")["against"]
    assert at_half < -10
    # The logits differ by a shift alone, so that thresholds of its own take it out to the last row.
    assert found["single-task"]["difference"] == pytest.approx(0, abs=0.2)
    assert set(found) == {"single-task", "uncoupled"}
    assert row_of(out, condition="single-task", task="segments")["against"] == {}


def test_the_report_has_a_table_of_them(out):
    (out / "environment.json").write_text("{}")
    text = write_report(out).read_text()
    assert "At thresholds of their own" in text
    own = text.split('id="table-thresholds"')[1].split("</figure>")[0]
    assert "<tr" in own
    assert "data-condition" not in own, "results.csv does not hold what its numbers are made of"


def test_a_record_of_other_thresholds_is_refused(out, tmp_path):
    results = collect(PLAN, DIGITS, out)
    cell = Cell("few-class", "logistic", 0)
    for cut in ([0.5], [2.0] * 7, "high", None):
        results.records[cell]["thresholds"] = {"segments": cut}
        if cut is None:
            assert results.at_thresholds("few-class", "logistic", "segments") is None
        else:
            with raises(StudyError, cell.id, "thresholds"):
                results.at_thresholds("few-class", "logistic", "segments")


def test_a_cell_chooses_on_validation_rows(tmp_path):
    plan = tiny(conditions=["single-task"], seeds=1)
    open_folder(tmp_path, plan)
    (cell,) = all_cells(plan)
    run_cell(plan, DIGITS, cell, tmp_path)
    record = load(tmp_path, plan, cell)
    assert list(record["thresholds"]) == ["segments"]  # accuracy is best without
    other = DIGITS.targets["segments"].copy()
    other[DIGITS.splits["test"]] = 1 - other[DIGITS.splits["test"]]

    run_cell(plan, replace(DIGITS, targets={**DIGITS.targets, "segments": other}), cell, tmp_path)
    assert load(tmp_path, plan, cell)["thresholds"] == record["thresholds"]
