"""`auto` and `two-stage` as conditions: the study's own networks, and an account of what was chosen."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from study_plans import tiny

from concord.auto.effort import EFFORTS
from concord.auto.families import train_shared
from concord.errors import ShapeError, StudyError, UnknownNameError
from concord.estimation.check import check_observations
from concord.estimation.contradictions import Contradiction
from concord.estimation.observations import Observations
from concord.fitting import Rows
from concord.learners import EstimatorLearner
from concord.learners.frozen import HEADS
from concord.metrics import probabilities
from concord.networks.predict import predict_logits
from concord.relations.relation import Relation
from concord.study.conditions import auto
from concord.study.conditions import two_stage as staged
from concord.study.conditions.learner import StudyLearner
from concord.study.conditions.registry import condition
from concord.study.conditions.tables import control
from concord.study.judging.comparison import compare
from concord.study.problems.cases.digits import problem
from concord.study.running.cells import Cell, all_cells, load
from concord.study.running.one_cell import setting_of
from concord.study.running.running import run
from concord.study.spec import Network

DIGITS = problem()
TEST = torch.from_numpy(DIGITS.inputs[DIGITS.splits["test"][:50]])


def setting(steps=12, digit=40, segments=120):
    plan = tiny(
        budget={"steps": steps, "rows_per_task": 16, "log_every": 6},
        regimes=[{"name": "r", "rows": {"digit": digit, "segments": segments}}],
    )
    return setting_of(plan, DIGITS, plan.regimes[0], 0, plan.budget)


def test_a_learner_trains_as_the_study_does():
    one = setting()
    learner = StudyLearner(one)
    half = train_shared(learner, one.rows, one.tasks, 0.5, 3)
    assert {p["step"] for p in learner.curves[id(half)]} == {6}
    whole = train_shared(learner, one.rows, one.tasks, 1.0, 3)
    assert sorted({p["step"] for p in learner.curves[id(whole)]}) == [6, 12]
    assert one.curves == []
    inputs = one.rows.inputs[:4]
    assert not torch.equal(predict_logits(half, inputs)["digit"], predict_logits(whole, inputs)["digit"])
    assert learner.predict(whole, Rows(inputs, {}))["digit"].dtype == np.float64


def test_a_training_that_goes_on_has_the_learning_curve_from_the_beginning():
    one = setting()
    learner = StudyLearner(one)
    options = {"kind": "shared", "share": 0.5, "seed": 3, "task_weights": {}, "soft_weights": {}}
    half = learner.train(one.rows, one.tasks, **options)
    before = {name: value.clone() for name, value in half.state_dict().items()}
    whole = learner.train(one.rows, one.tasks, **options, initial=half)
    assert sorted({p["step"] for p in learner.curves[id(whole)]}) == [6, 12]
    assert [p for p in learner.curves[id(whole)] if p["step"] == 6] == learner.curves[id(half)]
    for name, value in half.state_dict().items():
        assert torch.equal(value, before[name])
        assert not torch.equal(value, whole.state_dict()[name])


def test_where_nothing_is_to_be_coupled_auto_is_the_balanced_shared_network():
    """15 rows of a task prove nothing: both tasks stay with the network that the guard starts from."""
    one = replace(setting(digit=15, segments=15), relations=())
    found = condition("auto", effort="fast").train(one)(TEST)
    assert {c["task"]: c["weights"] for c in one.account["choices"]} == {
        "digit": {"shared": 1.0}, "segments": {"shared": 1.0},
    }  # fmt: skip
    learner = StudyLearner(one)
    network = train_shared(learner, one.rows, one.tasks, 1.0, one.seed)
    plain = predict_logits(network, TEST)
    for task in one.tasks:
        # The guard's temperature changes probabilities, never the order of the outputs.
        p, q = (probabilities(task, z[task.name].numpy()) for z in (found, plain))
        if task.name == "digit":
            assert (p.argmax(axis=1) == q.argmax(axis=1)).all()
        else:
            assert ((p > 0.5) == (q > 0.5)).all()


def test_logits_give_the_probabilities_that_auto_predicts():
    one = setting(digit=60, segments=200)
    predict = condition("auto", effort="fast", artefact="bagged").train(one)
    found = predict(TEST)
    assert found["digit"].dtype == torch.float32
    p = probabilities(one.tasks[0], found["digit"].numpy())
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(np.exp(found["digit"].numpy()), p, atol=1e-5)
    verdicts = {r["verdict"] for r in one.account["relations"]}
    assert verdicts <= {"kept", "calibrated", "partly wrong", "dropped", "unrelated", "undecided"}
    assert json.loads(json.dumps(one.account, allow_nan=False)) == one.account


def test_without_the_table_auto_is_not_shown_it():
    one, shuffled = setting(digit=60, segments=200), setting(digit=60, segments=200)
    shuffled = replace(shuffled, relations=tuple(r.shuffled(1) for r in shuffled.relations))
    blind = [condition("auto", effort="fast", table="none").train(s)(TEST) for s in (one, shuffled)]
    assert torch.equal(blind[0]["digit"], blind[1]["digit"])
    assert one.account["relations"][0]["verdict"] in ("estimated", "unrelated", "undecided")


@pytest.mark.parametrize("kind", ["shuffled", "partly-wrong"])
@pytest.mark.parametrize(
    ("name", "home", "taker"), [("auto", auto, "select"), ("two-stage", staged, "two_stage")]
)
def test_a_wrong_table_is_the_control_of_the_seed(name, home, taker, kind, monkeypatch):
    class Taken(Exception):
        pass

    def take(learner, rows, tasks, relations, **_):
        raise Taken(relations)

    monkeypatch.setattr(auto, "first_stage", lambda *_, **__: None)
    monkeypatch.setattr(auto, "_made", OrderedDict())
    monkeypatch.setattr(home, taker, take)
    for seed in (0, 3):
        one = replace(setting(), seed=seed)
        with pytest.raises(Taken) as caught:
            condition(name, table=kind).train(one)
        [found] = caught.value.args[0]
        assert (found.table == control(one.relations[0], kind, seed).table).all()
        assert (found.table != one.relations[0].table).any()


def test_two_stages_use_the_table_as_it_is():
    one = setting(steps=30)
    wrong = replace(setting(steps=30), relations=tuple(r.shuffled(1) for r in one.relations))
    right, other = (condition("two-stage", effort="fast").train(s)(TEST) for s in (one, wrong))
    assert not torch.allclose(right["digit"], other["digit"], atol=1e-3)
    assert "no guard" in one.account["sentences"][0]
    assert {p["metric"] for p in one.curves} >= {"accuracy", "mean_f1", "loss", "loss:digit/soft"}


def test_a_sparse_relation_is_accounted_for_cell_by_cell():
    from scipy import sparse

    from concord.study.conditions.auto import _dense

    given = DIGITS.relations[0]
    loose = Relation(given.source, given.target, sparse.csr_array(given.table))
    np.testing.assert_array_equal(_dense(loose), np.where(given.table > 0, given.table, np.nan))


def test_options_of_auto_are_checked():
    with pytest.raises(UnknownNameError, match="unknown effort of condition 'auto' 'quick'"):
        condition("auto", effort="quick")
    with pytest.raises(UnknownNameError, match="artefact"):
        condition("auto", artefact="bag")
    with pytest.raises(UnknownNameError, match="unknown table of condition 'auto' 'shuffle'; did you mean"):
        condition("auto", table="shuffle")
    with pytest.raises(UnknownNameError, match="table of condition 'two-stage' 'none'"):
        condition("two-stage", table="none")
    with pytest.raises(UnknownNameError, match="effort"):
        condition("two-stage", effort="quick")
    with pytest.raises(StudyError, match="does not take these options: folds"):
        condition("two-stage", folds=3)
    assert set(EFFORTS) == {"fast", "standard", "thorough", "holdout", "probe"}


def test_a_residual_net_gives_each_task_a_layer_of_its_own():
    images = replace(setting(), network=Network(kind="resnet", width=8, stages=1))
    images = replace(images, rows=replace(images.rows, inputs=images.rows.inputs.reshape(-1, 1, 8, 8)))
    before = torch.get_rng_state()
    network = images.build(images.tasks, "half-shared")
    assert torch.equal(torch.get_rng_state(), before)
    assert len(network.private) == 2
    assert {name: tuple(z.shape) for name, z in network(images.rows.inputs[:3]).items()} == {
        "digit": (3, 10), "segments": (3, 7),
    }  # fmt: skip
    assert len(images.build(images.tasks, "shared+private").private) == 2
    assert len(images.build(images.tasks).private) == 0
    with pytest.raises(UnknownNameError, match="capacity of a residual net"):
        images.build(images.tasks, "private")


def test_auto_shares_a_residual_net_as_a_whole():
    images = replace(setting(steps=2), network=Network(kind="resnet", width=8, stages=1))
    images = replace(images, rows=replace(images.rows, inputs=images.rows.inputs.reshape(-1, 1, 8, 8)))
    images = replace(images, validation=images.rows)
    assert len(train_shared(StudyLearner(images), images.rows, images.tasks, 1.0, 3).private) == 0


def test_the_account_stands_in_the_record_and_the_summary(tmp_path):
    auto = {"name": "auto", "options": {"effort": "fast"}}
    plan = tiny(conditions=["uncoupled", auto], seeds=2)
    run(plan, tmp_path)
    found = compare(plan, tmp_path)
    [entry] = found["accounts"]
    assert (entry["regime"], entry["condition"], entry["seeds"]) == ("few-class", "auto", 2)
    for task in ("digit", "segments"):
        assert sum(entry["choices"][task].values()) == pytest.approx(1)
    assert sum(entry["relations"]["digit->segments"].values()) == 2
    held = [load(tmp_path, plan, Cell("few-class", "auto", seed))["account"] for seed in (0, 1)]
    assert entry["cost"] == pytest.approx(np.mean([a["cost"] for a in held]), abs=1e-3)
    assert entry["sentences"] == held[0]["sentences"]
    assert load(tmp_path, plan, Cell("few-class", "uncoupled", 0))["account"] == {}


@pytest.fixture
def first_stages(monkeypatch):
    """Seeds of the first stages that are trained, beginning with none kept."""
    trained, train = [], auto.first_stage

    def count(*arguments, **options):
        trained.append(options["seed"])
        return train(*arguments, **options)

    monkeypatch.setattr(auto, "first_stage", count)
    monkeypatch.setattr(auto, "_made", OrderedDict())
    return trained


def test_the_first_stage_is_trained_once_for_all_conditions_and_that_changes_nothing(
    tmp_path, first_stages, monkeypatch
):
    fast = {"effort": "fast", "artefact": "bagged"}  # the folds' own networks are kept, with their curves
    conditions = [
        "uncoupled",
        {"name": "auto", "options": fast},
        {"name": "auto-no-table", "use": "auto", "options": {**fast, "table": "none"}},
    ]
    plan = tiny(conditions=conditions, seeds=1, budget={"steps": 2, "rows_per_task": 8, "log_every": 2})
    held, results = {}, {}
    for kept in (8, 0):
        monkeypatch.setattr(auto, "KEPT", kept)
        auto._made.clear()
        out = tmp_path / str(kept)
        run(plan, out)
        compare(plan, out)
        results[kept] = (out / "results.csv").read_bytes(), (out / "curves.csv").read_bytes()
        held[kept] = [load(out, plan, cell) for cell in all_cells(plan)]
    assert first_stages == [0, 0, 0]  # once, then for each
    assert results[8] == results[0]
    for with_it, without in zip(held[8], held[0], strict=True):
        assert with_it | {"seconds": 0, "memory": 0} == without | {"seconds": 0, "memory": 0}
    assert held[8][1]["account"]["cost"] > 0


def test_seconds_of_a_first_stage_count_wherever_it_is_used(first_stages, monkeypatch):
    monkeypatch.setattr(auto, "first_stage", lambda *_, **__: None)
    one, again = setting(), setting()
    for each in (one, again):
        auto._first_stage(each, StudyLearner(each), EFFORTS["fast"])
    assert one.spared == []
    assert again.spared == [made.seconds for made in auto._made.values()]


def test_other_rows_seeds_or_budgets_have_a_first_stage_of_their_own(first_stages, monkeypatch):
    monkeypatch.setattr(auto, "first_stage", lambda *_, **__: None)
    one = setting()
    other = replace(one.rows, targets={n: v.flip(0) for n, v in one.rows.targets.items()})
    settings = [
        one,
        replace(one, seed=1),
        replace(one, rows=other),
        replace(one, rows=replace(one.rows, inputs=one.rows.inputs + 1)),
        replace(one, budget=one.budget.model_copy(update={"learning_rate": 1.0})),
        replace(one, network=Network(hidden=(3,))),
        replace(one, metrics={"digit": "macro_f1"}),
    ]

    def key(one, effort="fast", **rivals):
        return auto._key(one, StudyLearner(one, rivals), EFFORTS[effort])

    keys = [key(each) for each in settings]
    keys += [key(one, "standard"), key(one, trees=EstimatorLearner(ExtraTreesClassifier(3)))]
    assert len(set(keys)) == len(keys)
    assert key(replace(one, relations=())) == keys[0]
    for seed in range(10):
        auto._first_stage(replace(one, seed=seed), StudyLearner(one), EFFORTS["fast"])
    assert list(auto._made) == [key(replace(one, seed=s)) for s in range(10 - auto.KEPT, 10)]


def test_the_account_of_a_relation_has_its_estimate_and_the_cells_that_are_contradicted():
    relation = DIGITS.relations[0]
    y, a = DIGITS.targets["digit"][:300], DIGITS.targets["segments"][:300]
    p, q = np.eye(10)[y] * 0.9 + 0.01, np.clip(a, 0.05, 0.95)
    found = check_observations(Observations(relation.source, relation.target, y, a, p, q), relation)
    cell = Contradiction("1", "a", 1.0, 0.02, 0.01, 30.0)
    said = auto._relation(replace(found, contradictions=(cell,)))
    np.testing.assert_allclose(np.array(said["estimate"], float), found.estimate.table, atol=1e-6)
    assert said["contradicted"] == [["1", "a"]]
    assert said["contradictions"] == [str(cell)]


@pytest.mark.filterwarnings("ignore:effort:concord.errors.ConcordWarning")
def test_a_holdout_and_a_probe_are_conditions(monkeypatch):
    monkeypatch.setitem(HEADS, "steps", 8)
    one = setting(digit=60, segments=120)
    condition("auto", effort="holdout").train(one)(TEST)
    assert one.account["cost"] <= 3.0
    assert "held out at first and judged" in " ".join(one.account["sentences"])
    with pytest.raises(ShapeError, match="these models have none; give a trunk"):
        condition("auto", effort="probe").train(one)
    images = replace(setting(steps=4), network=Network(kind="resnet", width=8, stages=1))
    images = replace(
        images,
        rows=replace(images.rows, inputs=images.rows.inputs.reshape(-1, 1, 8, 8)),
        validation=replace(images.validation, inputs=images.validation.inputs.reshape(-1, 1, 8, 8)),
    )
    found = condition("auto", effort="probe").train(images)(TEST.reshape(-1, 1, 8, 8))
    assert found["digit"].shape == (50, 10)
    assert "frozen features of the trunk" in " ".join(images.account["sentences"])
    with pytest.raises(UnknownNameError, match="effort"):
        condition("two-stage", effort="holdout")
