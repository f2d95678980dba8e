"""The studies of configs/studies on open packs: each quick look runs in small from data to report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from concord.study.judging.comparison import compare
from concord.study.pages.report import write_report
from concord.study.plan import Plan, Sourced, as_plan, read_plan
from concord.study.running.running import run

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "configs" / "studies"
PACK_ROOT = Path(os.environ.get("CONCORD_DATA", ROOT.parent / "shared" / "data"))
RIVALS = ("clinc150", "clothing_pretrained", "goemotions", "grocery81", "grocery81_pretrained", "mushroom")
"""Studies of features, embeddings and columns, in which models without a network compete too."""
OPEN = (*RIVALS, "clothing_fmnist")


@pytest.fixture(autouse=True)
def _data(monkeypatch):
    monkeypatch.setenv("CONCORD_DATA", str(PACK_ROOT))


def tiny(name: str) -> Plan:
    """The quick look with few rows, three cheap conditions and three steps."""
    plan = read_plan(STUDIES / f"{name}.yaml", quick=True)
    assert isinstance(plan.problem, Sourced)
    values = plan.model_dump()
    values["conditions"] = ["single-task", "uncoupled", "paper"]
    values["budget"] = {"steps": 3, "rows_per_task": 8, "log_every": 3}
    values["network"] |= {"hidden": [8], "width": 8, "stages": 1}
    for source in plan.problem.sources.values():
        if not (PACK_ROOT / str(source.root)).is_dir():
            pytest.skip(f"no pack {source.root} in {PACK_ROOT}; CONCORD_DATA names the folder of the packs")
    return as_plan({**values, "resamples": 10})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "mushroom" else pytest.mark.slow) for name in OPEN]
)
def test_an_open_study_runs_from_packs_to_report(tmp_path, name):
    plan = tiny(name)
    assert run(plan, tmp_path / name) == 0
    summary = compare(plan, tmp_path / name)
    shuffled = [regime.name for regime in plan.regimes if regime.table == "shuffled"]
    assert shuffled
    tasks = set(plan.regimes[0].rows)
    for regime in plan.regimes:
        judged = {row["task"] for row in summary["verdicts"] if row["regime"] == regime.name}
        assert judged == tasks
    assert "paper" in write_report(tmp_path / name).read_text()
    held = json.loads((tmp_path / name / "config.json").read_text())
    assert str(PACK_ROOT) not in json.dumps(held), "results do not depend on where data are"


@pytest.mark.parametrize("name", RIVALS)
def test_what_one_fits_without_a_network_competes(name):
    names = {condition.name for condition in read_plan(STUDIES / f"{name}.yaml").conditions}
    assert {"logistic", "extra-trees"} <= names
    assert ("boosting" in names) == (name not in ("clinc150", "grocery81", "grocery81_pretrained"))
    assert "logistic" in {
        condition.name for condition in read_plan(STUDIES / f"{name}.yaml", True).conditions
    }


@pytest.mark.parametrize("name", OPEN)
def test_tables_and_conditions_stand_side_by_side(name):
    """Single task, balanced shared, the paper's losses and auto; right, shuffled and no table; five seeds."""
    for quick in (False, True):
        plan = read_plan(STUDIES / f"{name}.yaml", quick)
        assert {c.name for c in plan.conditions} >= {"single-task", "uncoupled", "paper", "auto"}
        assert any(c.use == "auto" and c.options.get("table") == "none" for c in plan.conditions)
        right = {json.dumps(r.rows) for r in plan.regimes if r.table == "given"}
        assert right == {json.dumps(r.rows) for r in plan.regimes if r.table == "shuffled"}
    assert read_plan(STUDIES / f"{name}.yaml").seeds == [0, 1, 2, 3, 4]
