"""Merging of single-task networks against what it is said to be, by independent arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from study_plans import tiny
from torch import nn

from concord.errors import StudyError
from concord.metrics import evaluate
from concord.networks import MultiTaskNetwork, predict_logits
from concord.objective import CoupledObjective
from concord.study.conditions.base import Setting
from concord.study.conditions.registry import condition
from concord.study.peers.merging import FACTORS, merged, normalised
from concord.study.problems.cases.digits import problem
from concord.study.running.one_cell import setting_of
from concord.study.spec import Network, TrunkNetwork

DIGITS = problem()
TEST = torch.from_numpy(DIGITS.inputs[DIGITS.splits["test"][:60]])


def setting(steps: int = 12, **network: object) -> Setting:
    plan = tiny(budget={"steps": steps, "rows_per_task": 16, "log_every": 6})
    given = setting_of(plan, DIGITS, plan.regimes[0], 0, plan.budget)
    return replace(given, network=TrunkNetwork(trunk="study_plans:pretrained", **network))


def trained(one: Setting) -> dict[str, nn.Module]:
    return {task.name: one.train(one.build([task]), CoupledObjective([task])) for task in one.tasks}


def test_changes_of_the_trunk_are_added_up_and_heads_are_each_tasks_own():
    one = setting(options={"norm": False})
    start, single = one.build(one.tasks), trained(one)
    found = merged(one.build(one.tasks), start, single, 0.3)
    for name, value in start.trunk.state_dict().items():
        first, second = (each.trunk.state_dict()[name].double() for each in single.values())
        wanted = value.double() + 0.3 * (first - value.double()) + 0.3 * (second - value.double())
        torch.testing.assert_close(found.trunk.state_dict()[name].double(), wanted, rtol=0, atol=1e-6)
    for task, each in single.items():
        assert torch.equal(found.head(task).weight, each.head(task).weight)
    # One network added in full is that network.
    for task in one.tasks:
        alone = merged(one.build([task]), start, {task.name: single[task.name]}, 1.0)
        found, wanted = (predict_logits(network, TEST)[task.name] for network in (alone, single[task.name]))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_statistics_of_norms_are_those_of_the_rows():
    one = setting()
    start, single = one.build(one.tasks), trained(one)
    network = merged(one.build(one.tasks), start, single, 0.5)
    rows = TEST.numpy().astype(np.float64)
    normalised(network, start, TEST)
    norm = network.trunk[1]
    seen = rows @ network.trunk[0].weight.detach().numpy().T + network.trunk[0].bias.detach().numpy()
    np.testing.assert_allclose(norm.running_mean, seen.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, seen.var(axis=0, ddof=1), rtol=1e-4)
    assert norm.momentum == start.trunk[1].momentum
    assert not any(part.training for part in network.modules())


def test_a_norm_that_no_training_moved_keeps_its_statistics():
    one = setting(freeze=("trunk",))
    start, single = one.build(one.tasks), trained(one)
    network = normalised(merged(one.build(one.tasks), start, single, 0.5), start, TEST)
    for name, value in start.trunk.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[name], value), name


def test_validation_rows_choose_the_factor():
    one = setting(options={"norm": False})
    start, single = one.build(one.tasks), trained(one)
    inputs, targets = one.validation.inputs, one.validation.targets

    def score(factor: float) -> float:
        logits = predict_logits(merged(one.build(one.tasks), start, single, factor), inputs)
        digit, segments = (
            evaluate(task, targets[task.name].numpy(), logits[task.name].numpy())[metric]
            for task, metric in zip(one.tasks, ("accuracy", "mean_f1"), strict=True)
        )
        return (digit + segments) / 2

    wanted = max(FACTORS, key=score)
    assert len({score(factor) for factor in FACTORS}) > 3, "the choice matters"
    expected = predict_logits(merged(one.build(one.tasks), start, single, wanted), TEST)
    found = condition("merging").train(setting(options={"norm": False}))(TEST)
    for name, logits in expected.items():
        torch.testing.assert_close(found[name], logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("network", [Network(hidden=(8,)), TrunkNetwork(trunk="builtin:mlp")])
def test_networks_that_begin_with_random_weights_are_not_merged(network: object):
    with pytest.raises(StudyError, match="adds up what trainings changed of one pretrained trunk"):
        condition("merging").check(DIGITS.tasks, DIGITS.relations, network)


def test_a_network_of_the_same_start_is_the_same_trunk():
    one = setting()
    networks = [one.build(tasks) for tasks in (one.tasks, one.tasks[:1])]
    assert all(isinstance(each, MultiTaskNetwork) for each in networks)
    first, second = (network.trunk.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
