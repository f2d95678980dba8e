"""Every condition trains, and does what its name says."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from study_plans import tiny

from concord.errors import RangeError, StudyError, UnknownNameError
from concord.study.conditions import auto
from concord.study.conditions.coupled import task_weights
from concord.study.conditions.registry import condition, condition_names
from concord.study.conditions.tables import control
from concord.study.problems.cases.digits import problem
from concord.study.running.one_cell import setting_of
from concord.study.spec import TrunkNetwork

DIGITS = problem()


def setting(steps=6, kind="mlp", **regime):
    plan = tiny(
        budget={"steps": steps, "rows_per_task": 16, "log_every": 3},
        regimes=[{"name": "r", "rows": {"digit": 30, "segments": 120}, **regime}],
    )
    return setting_of(plan, DIGITS, plan.regimes[0], 0, plan.budget)


FEW = {
    "auto": {"effort": "fast"},
    "best-single-task": {"kinds": ["single-task", "extra-trees"]},
    "boosting": {"iterations": 4},
    "extra-trees": {"trees": 4},
    "two-stage": {"effort": "fast"},
}
"""Options by condition, with which they train in less time."""


@pytest.mark.parametrize("name", condition_names())
def test_every_condition_predicts_both_tasks_is_the_same_again_and_leaves_the_global_random_state_alone(
    name, monkeypatch
):
    monkeypatch.setattr(auto, "_made", OrderedDict())
    monkeypatch.setattr(auto, "KEPT", 0)
    inputs = torch.from_numpy(DIGITS.inputs[DIGITS.splits["test"][:9]])
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    given = {"network": TrunkNetwork(trunk="study_plans:pretrained")} if name == "merging" else {}
    one = replace(setting(steps=4), **given)
    first, second = (condition(name, **FEW.get(name, {})).train(one)(inputs) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert {k: tuple(v.shape) for k, v in first.items()} == {"digit": (9, 10), "segments": (9, 7)}
    for task, logits in first.items():
        assert torch.isfinite(logits).all()
        assert torch.equal(logits, second[task])


def test_learning_curves_hold_losses_and_validation_metrics():
    one = setting()
    condition("posterior").train(one)
    keys = {(p["task"], p["metric"]) for p in one.curves}
    assert ("digit", "accuracy") in keys
    assert ("segments", "mean_f1") in keys
    assert ("digit", "loss") in keys
    assert ("all", "loss") in keys
    assert ("all", "loss:posterior-coannotation:digit->segments") in keys
    assert sorted({p["step"] for p in one.curves}) == [3, 6]
    alone = setting()
    condition("single-task").train(alone)
    assert {(p["task"], p["metric"]) for p in alone.curves} == {
        ("digit", "loss"), ("digit", "accuracy"), ("segments", "loss"), ("segments", "mean_f1"),
    }  # fmt: skip


def test_a_coupling_of_weight_zero_is_no_coupling():
    inputs = torch.from_numpy(DIGITS.inputs[:5])
    none = condition("uncoupled").train(setting())(inputs)
    zero = condition("matching", weight=0.0).train(setting())(inputs)
    one = condition("matching").train(setting())(inputs)
    assert torch.allclose(none["digit"], zero["digit"], atol=1e-6)
    assert not torch.allclose(none["digit"], one["digit"], atol=1e-3)


@pytest.mark.parametrize("kind", ["shuffled", "partly-wrong"])
def test_a_coupling_may_be_shown_a_wrong_table_which_changes_with_the_seed(kind):
    one = setting()
    given = one.relations[0]
    tables = []
    for seed in (0, 1):
        [found] = condition("matching", table=kind).objective(replace(one, seed=seed)).relations.values()
        assert (found.table == control(given, kind, seed).table).all()
        tables.append(found.table)
    assert (tables[0] != tables[1]).any()
    assert list(condition("matching").objective(one).relations.values()) == [given]


def test_weights_by_rows():
    assert task_weights(setting(), "rows") == {"digit": 0.25, "segments": 1.0}
    assert task_weights(setting(rows={"digit": 5, "segments": 200}), "rows")["digit"] == 0.1
    assert task_weights(setting(), "equal") == {}
    assert task_weights(setting(), {"digit": 0.5}) == {"digit": 0.5}


def test_options_are_checked():
    with pytest.raises(UnknownNameError, match="unknown condition 'matchin'; did you mean"):
        condition("matchin")
    with pytest.raises(
        StudyError, match="these options: temperature; it takes weight, capacity, weighting, table"
    ):
        condition("matching", temperature=3)
    with pytest.raises(StudyError, match="does not take these options: weight; it takes none"):
        condition("single-task", weight=3)
    with pytest.raises(StudyError, match="does not take these options: weight "):
        condition("matching", weight="much")
    with pytest.raises(RangeError, match="weight is finite"):
        condition("matching", weight=-1)
    with pytest.raises(UnknownNameError, match="weighting"):
        condition("matching", weighting="row")
    with pytest.raises(UnknownNameError, match="unknown table of condition 'matching' 'wrong'; known: given"):
        condition("matching", table="wrong")


def test_a_capacity_keeps_tasks_apart():
    one = setting()
    shared, private = one.build(one.tasks), one.build(one.tasks, "private")
    assert sum(p.numel() for p in private.parameters()) > 1.5 * sum(p.numel() for p in shared.parameters())
