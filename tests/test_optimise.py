from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from asserts import raises
from concord.errors import RangeError, UnknownNameError
from concord.fitting.optimise import Average, depths, freeze, parameter_groups, rate_factor


class Trunk(nn.Module):
    """A stem, three blocks and a token beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(2))
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3))


class Network(nn.Module):
    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(4, 2)


def test_rates_rise_and_fall() -> None:
    assert [rate_factor("constant", s, 10, 4) for s in (1, 2, 4, 5, 10)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert rate_factor("linear", 5, 10, 4) == 1.0
    assert rate_factor("linear", 10, 10, 4) == pytest.approx(1 / 6)
    cosine = [rate_factor("cosine", s, 20, 0) for s in range(1, 21)]
    assert cosine[0] == 1.0
    assert all(a > b > 0 for a, b in pairwise(cosine))
    assert cosine[10] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_depth_counts_from_the_input() -> None:
    depth = depths(Network(Trunk()))
    assert depth["trunk.token"] == 0
    assert depth["trunk.stem.weight"] == 0
    assert [depth[f"trunk.blocks.{i}.0.weight"] for i in range(3)] == [1, 2, 3]
    assert depth["trunk.blocks.2.1.bias"] == 3
    assert depth["head.weight"] == depth["head.bias"] == 4
    plain = depths(Network(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))))
    assert [plain[f"trunk.{i}.weight"] for i in (0, 2)] == [0, 1]
    assert depths(Network(nn.Linear(3, 4)))["trunk.weight"] == 0


def test_groups_by_depth_and_kind() -> None:
    network = Network(Trunk())
    groups = parameter_groups(network, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, decay="matrices")
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == len(list(network.parameters()))
    assert of[id(network.head.weight)]["lr"] == 1.0
    assert of[id(network.trunk.stem.weight)]["lr"] == pytest.approx(0.5**4)
    assert of[id(network.trunk.blocks[2][0].weight)]["lr"] == 0.5
    assert of[id(network.head.weight)]["weight_decay"] == 0.1
    assert of[id(network.head.bias)]["weight_decay"] == 0.0
    (everything,) = parameter_groups(network, learning_rate=0.3, weight_decay=0.1)
    assert everything["lr"] == everything["initial_lr"] == 0.3


def test_what_is_frozen_is_not_trained() -> None:
    network = Network(Trunk())
    frozen = freeze(network, ["trunk"])
    assert frozen == [network.trunk]
    (group,) = parameter_groups(network, learning_rate=1.0, weight_decay=0.0)
    assert len(group["params"]) == 2
    freeze(network, ["head"])
    with raises(RangeError, "nothing to train"):
        parameter_groups(network, learning_rate=1.0, weight_decay=0.0)
    for name in ("trunc", ""):
        with raises(UnknownNameError, "module to freeze"):
            freeze(network, [name])


def test_bad_settings_are_named() -> None:
    network = Network(Trunk())
    for value in (0.0, 1.5):
        with raises(RangeError, "layer_decay"):
            parameter_groups(network, learning_rate=1.0, weight_decay=0.0, layer_decay=value)
    with raises(UnknownNameError, "weight decay"):
        parameter_groups(network, learning_rate=1.0, weight_decay=0.0, decay="some")  # type: ignore[arg-type]
    with raises(RangeError, "average"):
        Average(network, 1.0)


def test_an_average_follows_the_weights_and_is_lent() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, 0.9)
    expected = network.weight.item()
    for step, value in enumerate((1.0, 2.0, 3.0), 1):
        network.weight.data.fill_(value)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.applied():
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 3.0
    other = Average(nn.Linear(1, 1, bias=False), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 3
    assert other.shadow[0].item() == pytest.approx(expected)


def test_a_wrapper_around_flat_layers_is_taken_apart():
    """As the layers of VGG lie: in one sequence, within a model, within what takes its classifier off."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    trunk = nn.Sequential(nn.ModuleDict({"features": layers}))
    found = depths(nn.ModuleDict({"trunk": trunk, "head": nn.Linear(4, 2)}))
    weights = [found[f"trunk.0.features.{k}.weight"] for k in (0, 2, 4)]
    assert weights == [0, 1, 2]
    assert found["head.weight"] == 3
