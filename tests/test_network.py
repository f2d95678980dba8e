from __future__ import annotations

import pytest
import torch
from torch import nn

import concord as cc
from asserts import raises
from concord.errors import ShapeError, UnknownNameError
from concord.networks.multitask import (
    MultiTaskNetwork,
    TaskwiseNetwork,
    dry_features,
    initialise,
    mlp_network,
)

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("a.trait", ["purrs", "barks"])
CAPACITIES = ("shared", "half-shared", "shared+private", "private")


def made(capacity: str, hidden: tuple[int, ...] = (8, 6), seed: int = 0) -> MultiTaskNetwork:
    return mlp_network(
        5,
        [PET, TRAIT],
        hidden=hidden,
        dropout=0.0,
        capacity=capacity,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(seed),
    )


def touched(network: MultiTaskNetwork, task: str) -> set[str]:
    """Parameters that the loss of a task reaches."""
    network.zero_grad()
    network(torch.randn(4, 5))[task].square().sum().backward()
    return {name for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("hidden", [(8, 6), (8,)])
def test_capacities_share_what_they_say(capacity: str, hidden: tuple[int, ...]) -> None:
    network = made(capacity, hidden)
    logits = network(torch.zeros(7, 5))
    assert {name: tuple(z.shape) for name, z in logits.items()} == {"pet": (7, 3), "a.trait": (7, 2)}
    both = touched(network, "pet") & touched(network, "a.trait")
    layers = {name.split(".")[0] for name in both}
    assert layers == (
        {"trunk"} if capacity != "private" and (capacity, len(hidden)) != ("half-shared", 1) else set()
    )
    own = touched(network, "pet") - both
    assert any(name.startswith("heads") for name in own)
    assert any(name.startswith("private") for name in own) == (capacity != "shared")


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = made("half-shared", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, third = made("half-shared", seed=3), made("half-shared", seed=4)
    pairs = list(zip(first.parameters(), second.parameters(), third.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs)
    torch.manual_seed(5)
    fourth = mlp_network(5, [PET])
    torch.manual_seed(5)
    assert torch.equal(fourth.heads["task_pet"].weight, mlp_network(5, [PET]).heads["task_pet"].weight)


def test_convolutions_are_drawn_too() -> None:
    trunk = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten())
    network = MultiTaskNetwork(trunk, [PET], torch.zeros(1, 1, 4, 4))
    initialise(network, torch.Generator().manual_seed(0))
    weight = trunk[0].weight.detach().clone()
    assert weight.abs().max() <= 1 / 3
    initialise(network, torch.Generator().manual_seed(0))
    assert torch.equal(trunk[0].weight, weight)


def test_a_dry_forward_leaves_modes_as_they_were() -> None:
    trunk = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    trunk[1].eval()
    assert dry_features(trunk, torch.zeros(1, 5)).shape == (1, 4)
    assert trunk[0].training
    assert not trunk[1].training


def test_trunks_that_do_not_fit_are_named() -> None:
    with raises(ShapeError, "(n, width)", "(2, 3, 4)"):
        MultiTaskNetwork(nn.Identity(), [PET], torch.zeros(2, 3, 4))

    small = nn.Sequential(nn.GroupNorm(8, 8), nn.Flatten())
    with raises(ShapeError, "does not take inputs of shape (1, 8, 1, 1): Expected more than 1 value"):
        MultiTaskNetwork(small, [PET], torch.zeros(1, 8, 1, 1))

    class Tuples(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x,)

    with raises(ShapeError, "tuple"):
        MultiTaskNetwork(Tuples(), [PET], torch.zeros(2, 3))
    with raises(UnknownNameError, "'pot'"):
        MultiTaskNetwork(nn.Identity(), [PET], torch.zeros(2, 3), private={"pot": nn.Identity()})
    with raises(ShapeError, "width 4", "3"):
        MultiTaskNetwork(
            nn.Identity(), [PET], torch.zeros(2, 3), private={"pet": nn.Linear(3, 4)}, parallel=True
        )
    with raises(UnknownNameError, "capacity"):
        made("half")


def test_each_task_asks_its_own_network() -> None:
    first, second = made("shared", seed=1), made("shared", seed=2)
    both = TaskwiseNetwork({"pet": first, "a.trait": second})
    x = torch.randn(3, 5)
    found = both(x)
    assert torch.equal(found["pet"], first(x)["pet"])
    assert torch.equal(found["a.trait"], second(x)["a.trait"])
    assert len(TaskwiseNetwork({"pet": first, "a.trait": first}).networks) == 1


def test_a_task_may_take_the_mean_of_several_networks() -> None:
    first, second = made("shared", seed=1), made("shared", seed=2)
    both = TaskwiseNetwork({"pet": [first, second], "a.trait": second})
    x = torch.randn(3, 5)
    found = both(x)
    torch.testing.assert_close(found["pet"], (first(x)["pet"] + second(x)["pet"]) / 2)
    assert torch.equal(found["a.trait"], second(x)["a.trait"])
    assert both.chosen == {"pet": [0, 1], "a.trait": 1}
    assert both.members("pet") == [first, second]
    again = TaskwiseNetwork.restored(both.chosen, lambda number: made("shared", seed=7 + number))
    again.load_state_dict(both.state_dict())
    assert torch.equal(again(x)["pet"], found["pet"])
