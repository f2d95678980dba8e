"""Models that others load and predict with: a folder with a model card, the hub, and ONNX."""

from concord.deploy.earlier_formats import upgrade
from concord.deploy.hub import Pretrained, TrunkRecord, from_pretrained, save_pretrained
from concord.deploy.onnx import Exported, export_onnx
from concord.deploy.preprocessing import Preprocessing
from concord.deploy.sending import export_folder, feature_names, push_to_hub, takes_pixels
from concord.deploy.service import Service
from concord.hub import Card

__all__ = [
    "Card",
    "Exported",
    "Preprocessing",
    "Pretrained",
    "Service",
    "TrunkRecord",
    "export_folder",
    "export_onnx",
    "feature_names",
    "from_pretrained",
    "push_to_hub",
    "save_pretrained",
    "takes_pixels",
    "upgrade",
]
