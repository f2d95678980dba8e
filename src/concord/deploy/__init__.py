"""Models that others load: a folder with a model card, and ONNX with the joint decoding in the graph."""

from concord.deploy.earlier_formats import upgrade
from concord.deploy.hub import Card, Pretrained, TrunkRecord, from_pretrained, save_pretrained
from concord.deploy.onnx import Exported, export_onnx

__all__ = [
    "Card",
    "Exported",
    "Pretrained",
    "TrunkRecord",
    "export_onnx",
    "from_pretrained",
    "save_pretrained",
    "upgrade",
]
