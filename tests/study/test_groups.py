"""Studies of videos: regimes, folds and test intervals between groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asserts import raises
from concord.errors import ShapeError
from concord.study.conditions import auto, condition
from concord.study.judging.statistics import bootstrap_weights
from concord.study.plan import as_plan
from concord.study.problems import Problem, draw
from concord.study.problems.cases import digits
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


def test_resamples_of_test_rows_are_of_whole_videos(videos: Problem) -> None:
    groups = videos.groups[videos.splits["test"]]
    weights = bootstrap_weights(len(groups), 200, groups=groups)
    by_video = weights.reshape(200, -1, FRAMES)
    assert (by_video == by_video[..., :1]).all()
    assert (weights.sum(axis=1) == len(groups)).all()
    value = np.repeat(np.random.default_rng(1).normal(size=60), FRAMES)
    by_row = bootstrap_weights(len(groups), 200) @ value
    assert (weights @ value).std() == pytest.approx(np.sqrt(FRAMES) * by_row.std(), rel=0.25)
