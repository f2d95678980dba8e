"""Studies of videos: regimes, folds and test intervals between groups."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asserts import raises
from concord.errors import ShapeError
from concord.study.conditions import auto, condition
from concord.study.judging import comparison
from concord.study.judging.comparison import _row_variance, compare
from concord.study.judging.statistics import bootstrap_weights, paired
from concord.study.pages.report import write_report
from concord.study.plan import as_plan
from concord.study.problems import Problem, draw
from concord.study.problems.cases import digits
from concord.study.running.cells import all_cells, open_folder, save
from concord.study.running.environment import note_session
from concord.study.running.one_cell import setting_of

FRAMES = 10


@pytest.fixture(scope="module")
def videos() -> Problem:
    """Digits as videos: each row in ten near-copies, with features and targets of its own picture."""
    still = digits.problem()
    chosen = np.concatenate([still.splits[s][:n] for s, n in (("train", 120), ("val", 60), ("test", 60))])
    rows = np.repeat(chosen, FRAMES)
    noise = np.random.default_rng(0).normal(0, 0.01, (len(rows), still.inputs.shape[1]))
    ends = np.array([0, 120, 180, 240]) * FRAMES
    return Problem(
        name="videos",
        tasks=still.tasks,
        inputs=(still.inputs[rows] + noise).astype(np.float32),
        targets={name: values[rows] for name, values in still.targets.items()},
        splits={s: np.arange(ends[i], ends[i + 1]) for i, s in enumerate(("train", "val", "test"))},
        relations=still.relations,
        groups=np.repeat(np.arange(240), FRAMES),
    )


PLAN = as_plan(
    {
        "title": "videos",
        "problem": "digits",
        "regimes": [{"name": "few", "rows": {"digit": 205, "segments": 400}}],
        "conditions": ["single-task", {"name": "auto", "options": {"effort": "fast"}}],
        "seeds": 3,
        "network": {"hidden": [8]},
        "budget": {"steps": 4, "rows_per_task": 8, "log_every": 4},
    }
)


def test_a_group_lies_in_one_split(videos: Problem) -> None:
    groups = videos.groups.copy()
    groups[videos.splits["test"][0]] = groups[0]
    with raises(ShapeError, "1 groups have rows in both train and test"):
        replace(videos, groups=groups)
    with raises(ShapeError, "groups have shape (2400,)"):
        replace(videos, groups=groups[1:])


def test_rows_of_a_regime_are_drawn_video_by_video(videos: Problem) -> None:
    rows, targets = draw(videos, PLAN.regimes[0], 0)
    labelled = rows[videos.task("segments").annotated(targets["segments"])]
    classed = rows[videos.task("digit").annotated(targets["digit"])]
    assert (len(classed), len(labelled)) == (205, 400)
    assert set(videos.targets["digit"][classed]) == set(range(10))
    # Ten frames of a class each may come from anywhere; all other rows are whole videos but the last.
    assert len(np.unique(videos.groups[labelled])) <= 400 / FRAMES + 20
    assert len(np.unique(videos.groups[classed])) <= 205 / FRAMES + 1 + 10
    alone, _ = draw(replace(videos, groups=None), PLAN.regimes[0], 0)
    assert len(np.unique(videos.groups[alone])) > 100


def test_folds_of_auto_are_between_videos(videos: Problem) -> None:
    setting = setting_of(PLAN, videos, PLAN.regimes[0], 0, PLAN.budget)
    group = setting.rows.group.numpy()
    assert len(np.unique(group)) < len(group) / 4
    condition("auto", effort="fast").train(setting)
    stage = next(reversed(auto._made.values())).stage
    assert len(stage.fold) == len(group)
    for each in np.unique(group):
        assert len(np.unique(stage.fold[group == each])) == 1
    other = replace(setting, rows=setting.rows.in_groups(np.arange(len(group))))
    effort = auto.EFFORTS["fast"]
    keys = [auto._key(each, auto.StudyLearner(each), effort) for each in (setting, other)]
    assert keys[0] != keys[1]


def judged(problem: Problem, out: Path) -> dict[str, Any]:
    """The verdict of one cell each of two conditions, whose predictions are drawn, on three seeds."""
    plan = PLAN.model_copy(update={"conditions": PLAN.conditions[:1], "resamples": 400})
    plan = as_plan({**plan.model_dump(), "conditions": ["single-task", "uncoupled"]})
    open_folder(out, plan)
    rng = np.random.default_rng(3)
    for cell in all_cells(plan):
        logits = {
            task.name: rng.normal(size=(len(problem.splits["test"]), task.width)).astype(np.float32)
            for task in problem.tasks
        }
        record = {
            "plan": plan.digest_of(cell.regime, cell.condition),
            **asdict(cell),
            "rows": {"digit": 1, "segments": 1},
            "total": 2,
            "budget": {},
            "validation": {},
            "thresholds": {},
            "curves": [],
            "account": {},
            "relations": {},
            "seconds": 1.0,
            "memory": 1.0,
        }
        save(out, cell, record, logits)
    with note_session(out, 1):
        return compare(plan, out)


def test_a_single_group_says_nothing_of_how_another_would_come_out(
    videos: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, widths = videos.splits["test"], {}
    for count in (1, 2, 40):
        groups = videos.groups.copy()
        groups[test] = 1000 + np.arange(len(test)) * count // len(test)
        found = replace(videos, groups=groups)
        monkeypatch.setattr(comparison, "problem_of", lambda plan, found=found: found)
        summary = judged(found, tmp_path / str(count))
        for row in summary["verdicts"]:
            widths.setdefault(count, []).append(None if row["low"] is None else row["high"] - row["low"])
            if count == 1:
                assert (row["verdict"], row["p"], row["bootstrap_low"]) == ("undecided", 1, None)
        if count == 1:
            page = write_report(tmp_path / "1").read_text(encoding="utf-8")
            assert "digit is annotated in a single test row or group" in page
    assert widths[1] == [None, None]
    assert all(few > many for few, many in zip(widths[2], widths[40], strict=True))


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_few_groups_of_test_rows_are_judged_wrongly_at_most_as_often_as_stated(count: int) -> None:
    """The noise of groups alone, as resamples of them see it."""
    rng, rounds, size = np.random.default_rng(count), 2000, 10
    names = [("kind", "b")]
    wrong = 0
    for _ in range(rounds):
        by_row = np.repeat(rng.normal(size=count), size)
        weights = bootstrap_weights(count * size, 200, groups=np.repeat(np.arange(count), size))
        samples = {
            ("r", "b", "kind"): weights @ by_row / weights.sum(axis=1),
            ("r", "a", "kind"): np.zeros(200),
        }
        noise = _row_variance(samples, "r", "a", names, np.array([count]))
        seeds = 100 * by_row.mean() + np.array([[-1e-6, 0, 1e-6]])
        wrong += paired(seeds, row_variance=noise, row_units=np.array([count])).p[0] < 0.05
    assert wrong / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)


def test_resamples_of_test_rows_are_of_whole_videos(videos: Problem) -> None:
    groups = videos.groups[videos.splits["test"]]
    weights = bootstrap_weights(len(groups), 200, groups=groups)
    by_video = weights.reshape(200, -1, FRAMES)
    assert (by_video == by_video[..., :1]).all()
    assert (weights.sum(axis=1) == len(groups)).all()
    value = np.repeat(np.random.default_rng(1).normal(size=60), FRAMES)
    by_row = bootstrap_weights(len(groups), 200) @ value
    assert (weights @ value).std() == pytest.approx(np.sqrt(FRAMES) * by_row.std(), rel=0.25)
