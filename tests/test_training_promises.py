"""What a recipe, a resumed training and a second training with the same parts promise."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import concord as cc
from concord.fitting import Checkpoints, Recipe, Rows, Validation, fit
from concord.losses import Local
from concord.networks import MultiTaskNetwork, Standardize, mlp_network
from concord.runs import train
from concord.runs.building import build
from config_worlds import config_of, world

KIND = cc.MulticlassTask("kind", ["a", "b"])
INPUTS = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long()
ROWS = Rows(INPUTS, {"kind": CLASSES})
Batch = namedtuple("Batch", "inputs targets")


def network(dropout: float = 0.0) -> MultiTaskNetwork:
    generator = torch.Generator().manual_seed(1)
    return mlp_network(4, [KIND], hidden=(8,), dropout=dropout, generator=generator)


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_half_precision_is_clipped():
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.precision.amp import MixedPrecision
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

    # On a CPU Fabric takes bf16 in its place: the scale of an accelerator is given by hand.
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    strategy = SingleDeviceStrategy(torch.device("cpu"), precision=precision)
    fabric = Fabric(accelerator="cpu", strategy=strategy, plugins=[LightningEnvironment()])
    trained = network()
    before = trained.trunk[0].weight.clone()
    recipe = Recipe(precision="16-mixed", clip=1.0)
    fit(trained, cc.CoupledObjective([KIND]), ROWS, steps=4, rows_per_task=16, fabric=fabric, recipe=recipe)
    assert not torch.equal(before, trained.trunk[0].weight)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_layer_of_the_trunk_is_frozen_whatever_stands_before_it(tmp_path: Path, standardize: bool):
    config = config_of(
        world(tmp_path), trunk__freeze=["trunk.0"], trunk__standardize=standardize, training__steps=4
    )
    before = {name: value.clone() for name, value in build(config).network.named_parameters()}
    after = dict(train(config).network.named_parameters())
    moved = {name for name, value in after.items() if not torch.equal(before[name], value)}
    first = "trunk.1.0." if standardize else "trunk.0."
    assert {name for name in before if name.startswith(first)}
    assert moved == {name for name in before if not name.startswith(first)}


def test_what_one_training_freezes_the_next_one_trains():
    trained, kept = network(), network()
    kept.trunk[0].bias.requires_grad_(False)  # by hand: nobody's business
    for each in (trained, kept):
        before = {name: value.clone() for name, value in each.named_parameters()}
        fit(each, cc.CoupledObjective([KIND]), ROWS, steps=2, recipe=Recipe(frozen=("trunk",)))
        assert all(
            torch.equal(before[f"trunk.{name}"], value) for name, value in each.trunk.named_parameters()
        )
        fit(each, cc.CoupledObjective([KIND]), ROWS, steps=2)
        assert not torch.equal(before["trunk.0.weight"], each.trunk[0].weight)
        assert torch.equal(before["trunk.0.bias"], each.trunk[0].bias) == (each is kept)


@pytest.mark.parametrize("first", [4, 7, 9])
def test_more_steps_select_what_as_many_at_once_select(tmp_path: Path, first: int):
    held_out = Rows(-INPUTS[:40], {"kind": CLASSES[:40]})  # the longer, the worse: early weights are selected

    def trained(folder: str, steps: int) -> tuple[nn.Module, dict[str, int], list[float]]:
        each = network()
        history = fit(
            each, cc.CoupledObjective([KIND]), ROWS, steps=steps, rows_per_task=16, learning_rate=1e-2,
            validation=Validation(held_out, every=5, select="metric"),
            checkpoints=Checkpoints(tmp_path / folder, every=5),
        )  # fmt: skip
        looked = [record["step"] for record in history.validation]
        return each, {task: chosen.step for task, chosen in history.selected.items()}, looked

    trained("parts", first)
    assert trained("parts", first)[1]["kind"] in (first, 5), "again, it is its own result"
    in_parts, selected, looked = trained("parts", 20)
    at_once, wanted, steps = trained("once", 20)
    assert selected == wanted
    assert looked == steps
    assert same(in_parts, at_once)


def test_a_shuffled_loader_goes_on_in_its_own_order(tmp_path: Path):
    seen: list[int] = []

    def batch(rows: list[int]) -> Batch:
        seen.extend(rows)
        return Batch(INPUTS[rows], {"kind": CLASSES[rows]})

    def trained(folder: str, steps: int) -> nn.Module:
        each, rows = network(), DataLoader(range(80), batch_size=8, shuffle=True, collate_fn=batch)
        fit(
            each,
            cc.CoupledObjective([KIND]),
            rows,
            steps=steps,
            checkpoints=Checkpoints(tmp_path / folder, every=5),
        )
        return each

    at_once = trained("once", 10)
    whole = list(seen)
    seen.clear()
    trained("parts", 5)
    assert seen[:40] == whole[:40]
    seen.clear()
    in_parts = trained("parts", 10)
    assert same(in_parts, at_once)
    assert seen[:80] == whole[:80], "the first half is walked past, the second is learnt"


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e-10, 1e6])
def test_a_unit_of_measurement_changes_nothing(unit: float):
    values = INPUTS * unit
    layer = Standardize(values.mean(dim=0), values.std(dim=0))
    plain = Standardize(INPUTS.mean(dim=0), INPUTS.std(dim=0))
    torch.testing.assert_close(layer(values), plain(INPUTS), rtol=1e-4, atol=1e-5)
    constant = torch.full((80, 1), 3.0 * unit)
    assert (Standardize(constant.mean(dim=0), torch.zeros(1))(constant) == 0).all()


def test_no_class_is_ruled_out_by_what_nobody_knows():
    species, family = cc.MulticlassTask("s", ["cat", "dog", "x"]), cc.MulticlassTask("f", ["felid", "canid"])
    targets = {"s": torch.tensor([-1]), "f": torch.tensor([0])}
    for last, zero in ((np.nan, True), (0.0, False)):
        row = [last, last] if np.isnan(last) else [0.0, 1.0]
        logits = {"s": torch.zeros(1, 3, requires_grad=True), "f": torch.zeros(1, 2)}
        relation = cc.Relation(species, family, [[1, 0], [0, 1], row])
        cc.couplings.HardCoannotation()(logits, targets, relation).backward()
        assert bool((logits["s"].grad == 0).all()) == zero


def test_running_sums_are_those_of_one_training():
    labels = cc.MultilabelTask("l", ["p", "q"])
    relation = cc.Relation(KIND, labels, [[0.9, 0.1], [0.2, 0.8]])
    known = (torch.arange(80) % 2 == 0)[:, None]
    values = torch.where(known, torch.nan, (INPUTS[:, 1:3] > 0).float())
    rows = Rows(INPUTS, {"kind": torch.where(known[:, 0], CLASSES, -1), "l": values})

    def objective() -> cc.CoupledObjective:
        return cc.CoupledObjective(
            [KIND, labels], [relation], [cc.couplings.PopulationMatching(momentum=0.9)]
        )

    def trained(by: cc.CoupledObjective) -> nn.Module:
        each = mlp_network(4, [KIND, labels], hidden=(8,), generator=torch.Generator().manual_seed(1))
        fit(each, by, rows, steps=4, rows_per_task=16)
        return each

    used = objective()
    first, second = trained(used), trained(used)
    assert same(first, second)
    assert same(first, trained(objective()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_few_digits_are_summed_with_many(dtype: torch.dtype):
    values, weight = torch.full((256,), 0.7), torch.full((256,), 512.0, dtype=dtype)
    assert Local().mean(values, weight).item() == pytest.approx(0.7)
