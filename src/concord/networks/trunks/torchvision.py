"""`torchvision:NAME`: classification models of torchvision without their last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concord.errors import ConfigError, MissingDataError, UnknownNameError
from concord.networks.trunks.library import imported
from concord.networks.trunks.named import NamedTrunk, TrunkRequest, image_example

AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
"""Models with classifiers on layers in between, for a loss of their own."""

OF_WEIGHTS = ("transform_input", "image_size")
"""Options that pretrained weights bring: a scale of their own (GoogLeNet, Inception), a size (ViT)."""


class Headless(nn.Module):
    """A classifier whose last linear layer is gone: images to features.

    Args:
        model: The classifier; changed in place.

    Raises:
        UnknownNameError: A model without a linear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise UnknownNameError(
                f"{type(model).__name__} has no linear layer to take off; use another model"
            )
        parent, _, last = linear[-1].rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Identity())
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, width); of a model with auxiliary outputs, the main one."""
        out = self.model(x)
        return out if isinstance(out, Tensor) else out[0]


def build(request: TrunkRequest) -> NamedTrunk:
    """Build a torchvision model; see `concord.trunks.build_trunk`."""
    models = imported("torchvision", f"torchvision:{request.name}", "concord-mtl[timm]").models
    if request.name not in models.list_models():
        raise UnknownNameError.of("torchvision model", request.name, models.list_models())
    options = dict(request.options)
    bare = request.name in AUXILIARY and "aux_logits" not in options  # nobody would train those heads
    weights = None
    if request.pretrained:
        weights = models.get_model_weights(request.name).DEFAULT
        _check_cached(request, weights)
    elif bare:
        options["aux_logits"] = False
    options = {name: request.resolved[name] for name in OF_WEIGHTS if name in request.resolved} | options
    try:
        module = models.get_model(request.name, weights=weights, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trunk torchvision:{request.name}: {error}") from error
    except OSError as error:
        raise MissingDataError(
            f"the weights of torchvision:{request.name} cannot be fetched: {error}; copy them to "
            f"{_cache()} yourself"
        ) from error
    if bare and weights is not None:  # which come with these heads, and are refused without
        module.aux_logits = False
        for name in AUXILIARY[request.name]:
            setattr(module, name, None)
    noted = {name: request.resolved[name] for name in OF_WEIGHTS if name in request.resolved}
    if weights is not None:
        noted = {name: getattr(module, name) for name in OF_WEIGHTS if hasattr(module, name)}
    return NamedTrunk(
        Headless(module),
        "images",
        image_example(request, 224),
        normalization=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        resolved=noted,
    )


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _check_cached(request: TrunkRequest, weights: Any) -> None:
    file = _cache() / str(weights.url).rsplit("/", 1)[-1]
    if not request.download and not file.is_file():
        raise MissingDataError(
            f"the weights of torchvision:{request.name} are not at {file}, and nothing is fetched unasked: "
            "set download to true, or copy them there"
        )
