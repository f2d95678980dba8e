"""Networks of timm, torchvision, transformers and packages: built, trained, frozen, saved, loaded, exported.

They need builds of torch and torchvision that fit each other: `make test-trunks` makes such an environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import concord as cc
from concord.data.images import IMAGENET
from concord.deploy import onnx
from concord.errors import ConfigError
from concord.fitting.optimise import depths
from concord.networks.multitask import dry_features
from concord.networks.predict import predict_logits
from concord.networks.trunks.named import NamedTrunk, build_trunk
from concord.runs.building import build
from concord.runs.run import load_run
from concord.runs.training import train
from config_worlds import config_of, world

pytestmark = [
    pytest.mark.trunks,
    # What libraries say of their own next releases is nothing of ours.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

SIDE = 64
FAMILIES: dict[str, dict[str, Any]] = {
    "timm:resnet18": {},
    "timm:densenet121": {},
    "timm:swin_tiny_patch4_window7_224": {"img_size": SIDE},
    "timm:vit_tiny_patch16_224": {"img_size": SIDE},
    "timm:convnext_atto": {},
    "timm:efficientnet_b0": {},
    "torchvision:resnet18": {},
    "torchvision:vgg11": {},
    "torchvision:swin_t": {},
    "torchvision:vit_b_32": {"image_size": SIDE},
    "torchvision:mobilenet_v3_small": {},
    "torchvision:googlenet": {"init_weights": False},
    "torchvision:inception_v3": {"init_weights": False},
    "package:efficientnet-lite0": {},
}
"""Options by family; the smallest of each."""

TASK = cc.MulticlassTask("kind", ["a", "b"])
LARGER = {"torchvision:inception_v3": 96}
"""Sides of those that take no pictures of 64 pixels."""


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Any]:
    values = world(tmp_path, "images", n=18)
    for source in values["sources"].values():
        source["inputs"]["size"] = SIDE
    values["training"] |= {"steps": 2, "batch_size": 8, "learning_rate": 1e-3}
    values["validation"]["every"] = 2
    return values


def first_layer(module: nn.Module) -> str:
    """Name of the first layer that has weights."""
    leaves = ((name, part) for name, part in module.named_modules() if not list(part.children()))
    return next(name for name, part in leaves if list(part.parameters()))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_freezes_decays_saves_and_loads(name: str, pictures: dict[str, Any], tmp_path: Path):
    side, options = LARGER.get(name, SIDE), FAMILIES[name]
    for source in pictures["sources"].values():
        source["inputs"]["size"] = side
    frozen = f"trunk.{first_layer(build_trunk(name, shape=(3, side, side), options=options).module)}"
    config = config_of(
        pictures, trunk={"name": name, "options": options, "freeze": [frozen], "layer_decay": 0.8}
    )
    before = {key: value.clone() for key, value in build(config).network.state_dict().items()}
    run = train(config)
    after = run.network.state_dict()
    assert len(set(depths(run.network).values())) > 3, "the trunk is told apart into layers"
    assert torch.equal(after[f"{frozen}.weight"], before[f"{frozen}.weight"])
    trained = [key for key, p in run.network.named_parameters() if p.dim() > 1 and not key.startswith(frozen)]
    same = [key for key in trained if torch.equal(after[key], before[key])]
    assert same == [], "every other matrix was trained"

    x = torch.randn(3, 3, side, side)
    again = predict_logits(load_run(tmp_path / "out").network, x)
    mine = predict_logits(run.network, x)
    assert all(torch.equal(again[task], mine[task]) for task in mine)


EXPORTED = (
    "timm:vit_tiny_patch16_224",
    "torchvision:swin_t",
    "torchvision:mobilenet_v3_small",
    "package:efficientnet-lite0",
)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_family_exports_what_it_computes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trunk = build_trunk(name, shape=(3, SIDE, SIDE), options=FAMILIES[name])
    network = cc.MultiTaskNetwork(trunk.module, [TASK], trunk.example)
    monkeypatch.setattr(onnx, "ROWS", 10)
    made = onnx.export_onnx(tmp_path / "model.onnx", network, [TASK], example=trunk.example, tolerance=1e-4)
    assert made.rows == 10
    assert made.path.stat().st_size > 100_000, "the weights are in the file"


def test_switches_of_a_training(pictures: dict[str, Any], tmp_path: Path):
    """bf16, channels last, accumulation, clipping, an average: all at once on a real network."""
    run = train(
        config_of(
            pictures,
            trunk={"name": "timm:resnet18"},
            training__precision="bf16-mixed",
            training__channels_last=True,
            training__accumulate=2,
            training__clip=1.0,
            training__average=0.9,
            augmentation={"flip": 0.5, "shift": 4},
        )
    )
    logits = predict_logits(run.network, torch.randn(2, 3, SIDE, SIDE))
    assert all(torch.isfinite(z).all() for z in logits.values())


def gradients(trunk: NamedTrunk, x: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(0)
    net = cc.MultiTaskNetwork(trunk.module, [TASK], trunk.example).eval()
    net(x)["kind"].square().sum().backward()
    return [p.grad for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_timm_computes_activations_again_with_the_same_gradients(name: str):
    options = {"img_size": SIDE} if name.startswith("vit") else {}
    x = torch.randn(2, 3, SIDE, SIDE)
    found = []
    for again in (False, True):
        torch.manual_seed(1)
        built = build_trunk(
            f"timm:{name}", shape=(3, SIDE, SIDE), options={**options, "grad_checkpointing": again}
        )
        assert built.module.grad_checkpointing == again
        found.append(gradients(built, x))
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_timm_names_an_option_that_the_architecture_does_not_have():
    with pytest.raises(ConfigError, match="widht"):
        build_trunk("timm:resnet18", options={"widht": 2})


def test_pretrained_weights_of_a_package_are_the_same_every_time():
    sides = []
    for pretrained in (False, True):
        torch.manual_seed(0)
        trunk = build_trunk("package:efficientnet-lite0", shape=(3, SIDE, SIDE), pretrained=pretrained)
        assert trunk.normalization is not None
        assert trunk.normalization != IMAGENET
        x = torch.randn(2, 3, SIDE, SIDE)
        features = dry_features(trunk.module, x)
        assert features.shape == (2, 1280)
        sides.append(features)
    again = build_trunk("package:efficientnet-lite0", shape=(3, SIDE, SIDE), pretrained=True)
    assert torch.equal(dry_features(again.module, x), dry_features(trunk.module, x)), "the same every time"
    assert not torch.allclose(sides[0], sides[1])
