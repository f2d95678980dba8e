"""Sums and means over one process and over many."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import concord as cc
from concord.losses.population import Distributed, Local
from coupling_reference import CASES
from strategies import Batch

INFINITE = float("inf")


def test_a_value_without_weight_does_not_exist():
    values = torch.tensor([1.0, INFINITE, 5.0], requires_grad=True)
    mean = Local().mean(values, torch.tensor([1.0, 0.0, 3.0]))
    mean.backward()
    assert mean.item() == 4.0
    assert values.grad.tolist() == [0.25, 0.0, 0.75]


def test_where_nothing_weighs_the_mean_is_zero_and_in_the_graph():
    values = torch.tensor([1.0, INFINITE], requires_grad=True)
    mean = Local().mean(values, torch.zeros(2))
    mean.backward()
    assert mean.item() == 0.0
    assert values.grad.tolist() == [0.0, 0.0]


class Ranks:
    """Runs a function once a rank, as if all ranks ran at once.

    The collective calls of a rank are recorded in a first pass, and their sums handed out in a second.
    """

    def __init__(self, monkeypatch, world: int) -> None:
        self.world, self.calls = world, [[] for _ in range(world)]
        self.rank, self.position, self.replay = 0, 0, False
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: world)
        monkeypatch.setattr(torch.distributed, "all_reduce", self.all_reduce)

    def all_reduce(self, tensor, group=None):
        if self.replay:
            tensor.copy_(sum(calls[self.position] for calls in self.calls))
            self.position += 1
        else:
            self.calls[self.rank].append(tensor.clone())

    def run(self, function):
        for rank in range(self.world):
            self.rank = rank
            function(rank)
        self.replay = True
        results = []
        for rank in range(self.world):
            self.rank, self.position = rank, 0
            results.append(function(rank))
        return results


@pytest.mark.parametrize("class_to_class", [False, True])
def test_averaged_gradients_of_ranks_are_the_gradient_of_the_whole(monkeypatch, class_to_class):
    rng = np.random.default_rng(3)
    c, k, sizes = 3, 4, (5, 2)  # ranks of different size, the second without any class
    n = sum(sizes)
    source = cc.MulticlassTask("source", range(c))
    target = (cc.MulticlassTask if class_to_class else cc.MultilabelTask)("target", range(k))
    table = rng.dirichlet(np.ones(k), c) if class_to_class else rng.random((c, k)).round(1)
    labels = rng.choice([0.0, 1.0, np.nan], (n, k))
    batch = Batch(
        cc.Relation(source, target, table),
        rng.normal(size=(n, c)),
        rng.normal(size=(n, k)),
        np.asarray([0, 2, -1, -1, 1, -1, -1]),
        rng.integers(-1, k, n) if class_to_class else labels,
    )

    def objective(population):
        own = [copy.deepcopy(case) for case, _ in CASES.values()]  # other tests use these, too
        made = cc.CoupledObjective([source, target], [batch.relation], own)
        made.population = population
        return made

    whole = batch.logits(grad=True)
    expected = objective(Local())(whole, batch.targets())
    expected.loss.backward()

    ends = np.cumsum((0, *sizes))
    parts = [slice(*ends[i : i + 2]) for i in range(len(sizes))]
    own = [{name: z[part].detach().requires_grad_() for name, z in whole.items()} for part in parts]
    targets = [{name: t[part] for name, t in batch.targets().items()} for part in parts]
    over_ranks = objective(Distributed())
    losses = Ranks(monkeypatch, len(sizes)).run(lambda rank: over_ranks(own[rank], targets[rank]).loss)
    for loss in losses:
        torch.testing.assert_close(loss, expected.loss)
        loss.backward()
    for name, z in whole.items():
        # Data-parallel training averages over ranks; rows of other ranks have no part in a rank's gradient.
        averaged = torch.cat([mine[name].grad for mine in own]) / len(sizes)
        torch.testing.assert_close(averaged, z.grad)
