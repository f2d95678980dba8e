"""Without `steps`, training lasts as long as the rows ask for: in the estimator, a config and a study."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from concord.config import MOST_STEPS, PASSES, training_length
from concord.errors import ConfigError, RangeError
from concord.estimator import classifier
from concord.runs import building, train
from concord.runs.training import finished
from concord.study import as_plan
from concord.study.problems.cases.digits import problem
from concord.study.running.one_cell import setting_of
from config_worlds import config_of, world
from training_problem import MARKS, SHAPE, rows

COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**8), min_size=1).filter(
    lambda counts: any(counts.values())
)


@given(COUNTS, st.integers(1, 512), st.integers(1, 2000))
def test_length_grows_with_the_rows_of_the_task_that_has_most_within_limits(counts, batch, fewest):
    length = training_length(counts, batch, fewest)
    most = max(counts.values())
    assert fewest <= length.steps <= max(fewest, MOST_STEPS)
    assert length.steps == fewest or length.steps <= -(-PASSES * most // batch)
    if fewest < length.steps < MOST_STEPS:
        assert PASSES * most <= length.steps * batch < PASSES * most + batch
    more = training_length({**counts, "e": most + 1000}, batch, fewest)
    assert more.steps >= length.steps
    assert length.steps == training_length({**counts, "e": 1}, batch, fewest).steps
    assert f"{length.steps:,} steps of {batch} rows" in length.reason
    assert f"the {most:,} rows" in length.reason


def test_few_rows_train_as_long_as_ever():
    assert training_length({"a": 5_120, "b": 9}, 64, 800).steps == 800
    assert training_length({"a": 5_121}, 64, 800).steps == 801
    assert training_length({"a": 3_840}, 64, 600).steps == 600
    assert training_length({"a": 50_000}, 64, 800).steps == 7_813


@pytest.fixture
def short(monkeypatch):
    """Twenty steps at least: what is tested does not depend on how many they are."""
    assert (classifier.FEWEST_STEPS, building.FEWEST_STEPS) == (800, 600)
    monkeypatch.setattr(classifier, "FEWEST_STEPS", 20)
    monkeypatch.setattr(building, "FEWEST_STEPS", 20)


def fitted(n=160, **settings):
    given = rows(n)
    targets = {name: values.numpy() for name, values in given.targets.items()}
    model = cc.CoupledClassifier(
        [SHAPE, MARKS], coupling=None, hidden=(8, 8), rows_per_task=16, random_state=0, **settings
    )
    return model.fit(given.inputs.numpy(), targets), given.inputs.numpy()


def test_the_estimator_says_how_long_and_why(tmp_path, short):
    by_rows, x = fitted()
    assert by_rows.steps_ == 50  # ten passes over 80 rows
    assert by_rows.report_[0].startswith("training length: 50 steps of 16 rows of each task, 10 passes")
    assert fitted(n=20)[0].steps_ == 20
    asked, _ = fitted(steps=50)
    assert asked.steps_ == 50
    assert not [each for each in asked.report_ if each.startswith("training length")]
    p, q = by_rows.predict_proba(x), asked.predict_proba(x)
    assert all(np.array_equal(p[name], q[name]) for name in p)
    by_rows.save(tmp_path / "model")
    again = cc.CoupledClassifier.load(tmp_path / "model")
    assert (again.steps, again.steps_) == (None, 50)
    both = {"shape": np.arange(160) % 3, "marks": np.arange(640).reshape(160, 4) % 2}
    assert again.fit(x, both).steps_ == 100


def test_a_config_trains_as_long_as_its_rows_ask_for_and_resumes(tmp_path, short):
    values = world(tmp_path)
    del values["training"]["steps"]
    small = {"training__batch_size": 8, "output": str(tmp_path / "out")}
    config = config_of(values, **small)
    run = train(config)
    assert run.facts["steps"] == 100
    assert run.facts["length"].startswith("100 steps of 4 rows of each task, 10 passes over the 40 rows")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["training"]["steps"] == 100
    assert run.config.training.steps == 100
    assert finished(config)
    assert train(config).facts["steps"] == 100
    with pytest.raises(ConfigError, match=r"training\.steps was 100, here it is 99"):
        train(config_of(values, **small, training__steps=99))


PLAN = {
    "title": "digits",
    "problem": "digits",
    "conditions": ["single-task", "uncoupled"],
    "seeds": [0],
    "regimes": [
        {"name": "few", "rows": {"digit": 40, "segments": 120}},
        {"name": "many", "rows": {"digit": 40, "segments": 50_000}},
    ],
}


def test_a_study_fixes_its_steps_by_regime_once_for_all_conditions():
    plan = as_plan(PLAN)
    assert [regime.steps for regime in plan.regimes] == [None, 7_813]
    assert plan.budget.steps == 600
    assert as_plan({**PLAN, "budget": {"steps": None}}) == plan
    assert as_plan(json.loads(plan.model_dump_json())) == plan
    assert as_plan(plan.resolved()).digest == plan.digest
    before = as_plan({**PLAN, "budget": {"steps": 600}})
    assert [regime.steps for regime in before.regimes] == [None, None]
    assert before.digest_of("few", "uncoupled") == plan.digest_of("few", "uncoupled")
    assert before.digest_of("many", "uncoupled") != plan.digest_of("many", "uncoupled")
    assert [regime.steps for regime in plan.quick().regimes] == [None, 1_953]
    asked = as_plan({**PLAN, "regimes": [{**PLAN["regimes"][0], "steps": 5}]})
    setting = setting_of(asked, problem(), asked.regimes[0], 0, asked.budget)
    assert setting.budget.steps == 5


def test_steps_that_are_none_are_refused():
    with pytest.raises(RangeError, match="steps is a whole number >= 1, found 0"):
        fitted(steps=0)
