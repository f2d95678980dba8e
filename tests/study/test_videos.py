"""A study of drawn videos, from its plan to its account: near-copies relate nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from concord.errors import ConcordWarning
from concord.study.conditions import auto
from concord.study.plan import Plan, as_plan
from concord.study.running import run

VIDEOS = '''
import numpy as np
import concord as cc
from concord.study import Problem

FRAMES, COUNT = 20, {"train": 200, "val": 10, "test": 20}


def problem(grouped=True):
    """Mood and units of a video have nothing to do with each other; its frames are near-copies."""
    rng, n = np.random.default_rng(5), sum(COUNT.values())
    mood, units = rng.integers(0, 3, n), rng.integers(0, 2, (n, 4)).astype(float)
    x = np.hstack([2.0 * np.eye(3)[mood], 2.0 * units]) + rng.normal(size=(n, 7))
    rows = np.repeat(np.arange(n), FRAMES)
    ends = np.cumsum([0, *COUNT.values()]) * FRAMES
    moods, actions = cc.MulticlassTask("mood", ["a", "b", "c"]), cc.MultilabelTask("units", list("wxyz"))
    return Problem(
        name="videos",
        tasks=(moods, actions),
        inputs=(x[rows] + rng.normal(0, 0.01, (len(rows), 7))).astype(np.float32),
        targets={"mood": mood[rows], "units": units[rows].astype(np.float32)},
        splits={s: np.arange(ends[i], ends[i + 1]) for i, s in enumerate(COUNT)},
        relations=(cc.Relation(moods, actions, np.full((3, 4), 0.5) + 0.3 * np.eye(3, 4)),),
        groups=rows if grouped else None,
    )


def ungrouped():
    return problem(grouped=False)
'''


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of one folder is not that of the next."""
    monkeypatch.delitem(sys.modules, "drawn_videos", raising=False)
    auto._made.clear()


def plan_of(folder: Path, function: str = "problem", **changes: object) -> Plan:
    (folder / "drawn_videos.py").write_text(VIDEOS)
    values = {
        "title": "videos",
        "problem": f"drawn_videos:{function}",
        "regimes": [{"name": "half", "rows": {"mood": 1600, "units": 1600}}],
        "conditions": ["single-task", {"name": "auto", "options": {"effort": "fast", "table": "none"}}],
        "seeds": 1,
        "network": {"hidden": [16]},
        "budget": {"steps": 100, "rows_per_task": 32, "log_every": 100},
    }
    return as_plan(values | {"folder": str(folder)} | changes)


def verdicts(out: Path) -> list[str]:
    records = [json.loads(path.read_text()) for path in out.rglob("*.json")]
    found = [record["account"] for record in records if isinstance(record, dict) and record.get("account")]
    return [relation["verdict"] for account in found for relation in account["relations"]]


def test_a_study_of_videos_relates_nothing_and_has_folds_between_them(tmp_path: Path) -> None:
    run(plan_of(tmp_path), tmp_path / "out", processes=1)
    assert len(found := verdicts(tmp_path / "out")) == 1
    assert set(found) <= {"unrelated", "undecided"}
    assert auto._made
    for made in auto._made.values():
        group, fold = made.stage.rows.group.numpy(), made.stage.fold
        assert len(np.unique(group)) < len(group) / 5
        assert all(len(np.unique(fold[group == video])) == 1 for video in np.unique(group))


def test_copies_without_a_group_are_told_when_a_study_begins(tmp_path: Path) -> None:
    quick = {"conditions": ["single-task"]}
    with pytest.warns(ConcordWarning, match=r"videos: .* features nearly equal .* and have no group"):
        run(plan_of(tmp_path, "ungrouped", **quick), tmp_path / "out", processes=1)
