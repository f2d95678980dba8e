"""Plans: what is refused, in one line, before anything is trained."""

from __future__ import annotations

import json

import pytest
from study_plans import TINY, tiny

from concord.errors import ConfigError, MissingDataError, StudyError, UnknownNameError
from concord.study.plan import Plan, as_plan, read_plan
from concord.study.problems.cases import case, case_names, digits
from concord.study.running.one_cell import setting_of
from concord.study.spec import Regime

REGIME = {"name": "a", "rows": {"digit": 10, "segments": 10}}


def test_a_condition_is_named_or_spelt_out():
    plan = tiny(
        conditions=["single-task", {"name": "matching-3", "use": "matching", "options": {"weight": 3}}]
    )
    assert [c.use for c in plan.conditions] == ["single-task", "matching"]
    assert plan.conditions[1].options == {"weight": 3}
    assert plan.baselines == ["single-task"]


def test_seeds_may_be_a_number():
    assert tiny(seeds=3).seeds == [0, 1, 2]
    assert tiny().with_seeds(4).seeds == [0, 1, 2, 3]


def test_quick_is_another_plan_with_the_same_comparison():
    plan, quick = tiny(), tiny().quick()
    assert quick.budget.steps == 3
    assert quick.conditions == plan.conditions
    assert quick.digest != plan.digest


WARM = {"schedule": "cosine", "warmup": 300}


def test_a_quick_look_has_its_share_of_the_warm_up():
    plan = tiny(budget={"steps": 400}, recipe=WARM)
    assert (plan.quick().budget.steps, plan.quick().recipe.warmup) == (100, 75)
    assert plan.quick().recipe.schedule == "cosine"
    for steps in range(1, 12):
        for warmup in range(steps):
            quick = tiny(budget={"steps": steps}, recipe={"warmup": warmup}).quick()
            assert quick.recipe.warmup < quick.budget.steps
    long = tiny(regimes=[{**REGIME, "steps": 1003}], recipe={"warmup": 1001}).quick()
    assert long.recipe.warmup < long.regimes[0].steps


def test_a_quick_look_without_a_warm_up_is_the_plan_that_it_was():
    assert tiny(recipe={"clip": 1.0}).quick().digest == "fc7e4891332afebe"
    assert tiny().quick().recipe is None


def test_a_regime_with_fewer_steps_than_the_budget_has_its_share_of_the_warm_up():
    regimes = [REGIME, *({**REGIME, "name": str(steps), "steps": steps} for steps in (40, 400, 4000))]
    plan = tiny(regimes=regimes, budget={"steps": 400}, recipe=WARM)
    assert [plan.recipe_of(regime).warmup for regime in plan.regimes] == [300, 30, 300, 300]
    settings = [setting_of(plan, digits.problem(), regime, 0, plan.budget) for regime in plan.regimes]
    assert [one.recipe.warmup for one in settings] == [300, 30, 300, 300]
    assert tiny().recipe_of(plan.regimes[1]) is None


@pytest.mark.parametrize("steps", [None, 40, 299, 300])
def test_a_warm_up_is_shorter_than_the_steps(steps):
    regimes = [{**REGIME, "steps": steps}, {**REGIME, "name": "long", "steps": 900}]
    with pytest.raises(StudyError, match=r"recipe\.warmup: the learning rate rises for 300 steps of 300"):
        tiny(regimes=regimes, budget={"steps": 300}, recipe=WARM)
    tiny(regimes=regimes, budget={"steps": 301}, recipe=WARM)
    tiny(regimes=regimes[1:], budget={"steps": 200}, recipe=WARM)


def sourced(**source):
    tasks = {"digit": {"classes": ["a", "b"]}, "segments": {"labels": ["x"]}}
    problem = {"sources": {"one": {"inputs": {"kind": "features", "file": "f.npy"}} | source}, "tasks": tasks}
    return tiny(problem=problem, folder=".")


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        (tiny(), "few"),
        (tiny(samples="all"), "all"),
        (sourced(manifest="a.parquet"), "few"),
        (sourced(reader="imagefolder", root="."), "few"),
        (sourced(reader="label_studio", root="."), "few"),
        (sourced(reader="affectnet", root="."), "none"),
        (sourced(reader="BP4D_plus", root="."), "none"),
    ],
)
def test_no_sample_of_a_data_set_with_terms_of_its_own_is_shown_unless_asked_for(plan, shown):
    assert plan.shown_samples == shown
    assert plan.with_samples("few").shown_samples == "few"
    assert "samples" not in plan.resolved()


def test_data_of_sources_left_blank_are_beside_the_plan(tmp_path, monkeypatch):
    monkeypatch.delenv("CONCORD_DATA", raising=False)
    given = json.loads(json.dumps(sourced(manifest="a.parquet").problem.model_dump(exclude_defaults=True)))
    for data, found in ((None, tmp_path), (".", tmp_path), ("more", tmp_path / "more")):
        assert tiny(problem={**given, "data": data}, folder=str(tmp_path)).problem.data == str(found)
    with pytest.raises(
        ConfigError, match=r"the plan, problem, data: the name of a folder is needed, found 5"
    ):
        tiny(problem={**given, "data": 5}, folder=str(tmp_path))


def test_samples_are_none_few_or_all():
    with pytest.raises(StudyError, match="samples: Input should be 'none', 'few' or 'all'"):
        tiny(samples="some")


@pytest.mark.parametrize("share", ["0.00001 %", "5 %", "100%", "12.50 %", "33.3333333 %"])
def test_a_share_is_read_again_as_it_was_written(share):
    plan = tiny(regimes=[{"name": "r", "rows": {"digit": share, "segments": "all"}}])
    assert as_plan(plan.model_dump()).regimes[0].rows == plan.regimes[0].rows
    assert float(plan.regimes[0].rows["digit"].removesuffix("%")) == float(share.removesuffix("%"))


def test_a_regime_with_a_network_of_its_own_is_not_trained_on_others_by_name():
    own = {**REGIME, "network": {"hidden": [4]}}
    with pytest.raises(StudyError, match="regime a has a network of its own"):
        as_plan(
            {**tiny().model_dump(exclude={"network"}), "regimes": [own], "networks": {"n": {"hidden": [8]}}}
        )


def test_the_folder_of_a_plan_is_no_part_of_it():
    assert tiny(folder="/somewhere").digest == tiny().digest
    assert tiny(margin=2).digest != tiny().digest


def test_rows_of_a_regime():
    regime = Regime(name="half", rows={"digit": 40, "segments": 100}, overlap=0.5)
    assert regime.both == 20
    assert regime.total == 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1, 0]}, "seed 0 occurs twice"),
        ({"seeds": []}, "at least 1"),
        ({"seeds": [0, -1]}, "seeds.1: .*greater than or equal to 0"),
        ({"tuning": {"learning_rate": []}}, "tuning.learning_rate has no value"),
        ({"tuning": {"learning_rate": [1e-3, 0]}}, "tuning.learning_rate holds 0"),
        ({"tuning": {"weight_decay": [0, -0.1]}}, "tuning.weight_decay holds -0.1"),
        ({"budget": {"learning_rate": float("inf")}}, "budget.learning_rate: .*finite"),
        ({"conditions": ["posterior"]}, "baseline is needed"),
        ({"conditions": ["uncoupled", "uncoupled"]}, "condition uncoupled occurs twice"),
        ({"conditions": [{"name": "uncoupled", "use": "matching"}]}, "must be what its name says"),
        ({"regimes": []}, "at least 1"),
        ({"regimes": [REGIME, REGIME]}, "regime a occurs twice"),
        ({"regimes": [REGIME, {**REGIME, "name": "A"}]}, "regime a occurs twice"),
        ({"regimes": [REGIME, {"name": "b", "rows": {"digit": 1}}]}, "regime b has other tasks"),
        ({"regimes": [{**REGIME, "overlap": 1.5}]}, "regimes.0.overlap: .*less than or equal to 1"),
        ({"regimes": [{**REGIME, "name": "a/b"}]}, "regimes.0.name"),
        ({"budget": {"steps": 0}}, "budget.steps"),
        ({"budget": {"steps": True}}, "budget.steps: a whole number is needed, found true"),
        ({"budget": {"learning_rate": True}}, "budget.learning_rate: a number is needed, found true"),
        ({"recipe": {"flip": True}}, "recipe.flip: a number is needed, found true"),
        ({"recipe": {"shift": True}}, "recipe.shift: a whole number is needed, found true"),
        ({"network": {"hidden": [True]}}, "network.hidden.0: a whole number is needed, found true"),
        ({"tuning": {"weight_decay": [True]}}, "tuning.weight_decay.0: a number is needed, found true"),
        ({"regimes": [{**REGIME, "overlap": True}]}, "regimes.0.overlap: a number is needed, found true"),
        ({"regimes": [{**REGIME, "rows": {"digit": True}}]}, "rows.digit: a number >= 1, all, or a share"),
        ({"regimes": [{**REGIME, "rows": {"digit": 0}}]}, "regimes.0.rows.digit: Input should be greater"),
        ({"seeds": [True]}, "seeds.0: a whole number is needed, found true"),
        ({"resamples": False}, "resamples: a whole number is needed, found false"),
        ({"margin": True}, "margin: a number is needed, found true"),
        ({"level": 1.0}, "level"),
        ({"resamples": 1}, "resamples: one sample of the test rows has no spread"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(StudyError, match=message) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": 3}, "unknown key 'seedz'; did you mean 'seeds'"),
        ({"network": {"hiden": [3]}}, "unknown key 'network.hiden'; did you mean 'hidden'"),
        ({"netwroks": {}}, "did you mean 'networks'"),
        ({"budget": {"step": 3}, "level": 7}, "unknown key 'budget.step'; did you mean 'steps'"),
        ({"regimes": [{**REGIME, "overlp": 1}]}, "unknown key 'regimes.0.overlp'; did you mean 'overlap'"),
        ({"conditions": [{"name": "paper", "option": 1}]}, "'conditions.0.option'; did you mean 'options'"),
        ({"problem": {"manifst": "a.csv"}}, "unknown key 'problem.manifst'; did you mean 'manifest'"),
        (
            {"problem": {"manifest": "a", "features": "b", "relations": [{"tabel": "c"}]}},
            "unknown key 'problem.relations.0.tabel'; did you mean 'table'",
        ),
    ],
)
def test_an_unknown_key_gets_the_nearest_one(changes, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


def test_regimes_are_run_on_each_network():
    values = {k: v for k, v in TINY.items() if k != "network"}
    networks = {"small": {"hidden": [8]}, "wide": {"hidden": [32, 32], "dropout": 0}}
    plan = as_plan({**values, "regimes": [REGIME, {**REGIME, "name": "b"}], "networks": networks})
    assert [r.name for r in plan.regimes] == ["a.small", "a.wide", "b.small", "b.wide"]
    assert [r.network.hidden for r in plan.regimes] == [(8,), (32, 32)] * 2
    assert as_plan(plan.resolved()) == plan
    assert plan.quick().regimes == plan.regimes
    setting = setting_of(plan, case("digits").problem(), plan.regimes[1], 0, plan.budget)
    assert setting.network == plan.regimes[1].network
    for given, message in (
        ({"network": {}, "networks": networks}, "not both"),
        ({"networks": {}}, "mapping from names to networks"),
        ({"networks": networks, "regimes": 3}, "regimes: Input should be a valid list"),
        ({"networks": {"a/b": {}}}, "regimes.0.name"),
    ):
        with pytest.raises(StudyError, match=message):
            as_plan({**values, **given})


def test_an_overlap_may_be_a_percentage():
    shares = [tiny(regimes=[{**REGIME, "overlap": v}]).regimes[0].overlap for v in ("0 %", "50%", 1)]
    assert shares == [0, 0.5, 1]
    with pytest.raises(StudyError, match="overlap"):
        tiny(regimes=[{**REGIME, "overlap": "half %"}])


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(UnknownNameError, match="'posterior'"):
        tiny(conditions=["uncoupled", "posteriour"])
    with pytest.raises(UnknownNameError, match="'digits'"):
        tiny(problem="digit")
    with pytest.raises(UnknownNameError, match="'digits'"):
        case("digitz")


def test_plans_from_files(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: mine\nproblem: digits\nseeds: 2\nconditions: [uncoupled, matching]\n"
        "regimes:\n- {name: a, rows: {digit: 10, segments: 20}}\n"
    )
    plan = read_plan(path)
    assert plan.title == "mine"
    assert plan.folder == str(tmp_path)
    path.write_text("title: [")
    with pytest.raises(StudyError, match=r"mine.yaml: not readable as YAML"):
        read_plan(path)
    as_json = tmp_path / "mine.json"
    as_json.write_text(json.dumps(plan.resolved() | {"margin": 1e-05}, indent="\t"))
    assert read_plan(as_json) == plan.model_copy(update={"margin": 1e-05})
    as_json.write_text('{"title": "a", "title": "b"}')
    with pytest.raises(StudyError, match=r"mine.json: not readable as JSON \(key 'title' is given twice\)"):
        read_plan(as_json)
    path.write_text("- a")
    with pytest.raises(StudyError, match="a plan is a mapping"):
        read_plan(path)
    path.write_text("title: mine")
    with pytest.raises(StudyError, match=r"mine.yaml, problem: Field required"):
        read_plan(path)
    with pytest.raises(MissingDataError, match="no study plan"):
        read_plan(tmp_path / "none.yaml")


def test_every_case_with_a_study_has_a_plan_that_holds():
    assert "digits" in case_names()
    for name in case_names():
        if case(name).PLAN is not None:
            assert isinstance(as_plan(case(name).PLAN), Plan)


def test_the_resolved_plan_is_a_plan():
    assert as_plan(tiny().resolved()) == tiny()
    assert TINY["seeds"] == [0, 1]
