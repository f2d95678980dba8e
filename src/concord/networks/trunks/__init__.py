"""Trunks: networks that turn an input into features. Any `nn.Module` will do; these have names."""

from concord.networks.trunks.bag import BagOfWords
from concord.networks.trunks.library import unfit
from concord.networks.trunks.named import TRUNK_SOURCES, NamedTrunk, build_trunk
from concord.networks.trunks.perceptron import mlp
from concord.networks.trunks.resnet import SmallResNet
from concord.networks.trunks.transformers import VisionTrunk

__all__ = ["BagOfWords", "NamedTrunk", "SmallResNet", "VisionTrunk", "build_trunk", "mlp"]
