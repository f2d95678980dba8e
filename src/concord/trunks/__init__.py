"""Trunks: networks that turn an input into features. Any `nn.Module` will do; these have names."""

from concord.trunks.bag import BagOfWords
from concord.trunks.mlp import mlp
from concord.trunks.named import NamedTrunk, build_trunk
from concord.trunks.resnet import SmallResNet

__all__ = ["BagOfWords", "NamedTrunk", "SmallResNet", "build_trunk", "mlp"]
