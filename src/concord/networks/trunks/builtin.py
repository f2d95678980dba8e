"""`builtin:` trunks: small, without further dependencies."""

from __future__ import annotations

import torch

from concord.errors import ConfigError, ShapeError, UnknownNameError
from concord.networks.trunks.bag import BagOfWords
from concord.networks.trunks.named import NamedTrunk, TrunkRequest, call_with_options, image_example
from concord.networks.trunks.perceptron import mlp
from concord.networks.trunks.resnet import SmallResNet

NAMES = ("mlp", "resnet", "bag-of-words")


def build(request: TrunkRequest) -> NamedTrunk:
    """Build a built-in trunk; see `concord.trunks.build_trunk`."""
    if request.name not in NAMES:
        raise UnknownNameError.of("built-in trunk", request.name, NAMES)
    if request.pretrained:
        raise ConfigError(f"builtin:{request.name} has no pretrained weights; set pretrained to false")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in request.options.items()}
    if request.name == "bag-of-words":
        bag = call_with_options("builtin:bag-of-words", BagOfWords, options)
        return NamedTrunk(bag, "texts", bag.tokenize(["a word"]), tokenize=bag.tokenize)
    if request.name == "resnet":
        example = image_example(request, 32)
        return NamedTrunk(
            call_with_options("builtin:resnet", SmallResNet, options, example.shape[1]), "images", example
        )
    if request.shape is None or len(request.shape) != 1:
        raise ShapeError(f"builtin:mlp takes feature rows of shape (width,), found {request.shape}")
    return NamedTrunk(
        call_with_options("builtin:mlp", mlp, options, request.shape[0]),
        "features",
        torch.zeros(1, *request.shape),
    )
