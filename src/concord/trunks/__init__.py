"""Trunks: networks that turn an input into features. Any `nn.Module` will do; these are built in."""

from concord.trunks.mlp import mlp
from concord.trunks.resnet import SmallResNet

__all__ = ["SmallResNet", "mlp"]
