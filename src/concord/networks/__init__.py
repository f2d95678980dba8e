"""Networks: a trunk with one head per task, and how its predictions are taken."""

from concord.networks.batches import length, moved, pieces
from concord.networks.multitask import (
    Capacity,
    MultiTaskNetwork,
    TaskwiseNetwork,
    dry_features,
    initialise,
    mlp_network,
    tasks_of_part,
)
from concord.networks.predict import predict_logits
from concord.networks.standardize import Standardize
from concord.networks.torch_state import one_thread, reseed, seeded, usual_torch
from concord.networks.trunks import NamedTrunk, SmallResNet, VisionTrunk, build_trunk, mlp

__all__ = [
    "Capacity",
    "MultiTaskNetwork",
    "NamedTrunk",
    "SmallResNet",
    "Standardize",
    "TaskwiseNetwork",
    "VisionTrunk",
    "build_trunk",
    "dry_features",
    "initialise",
    "length",
    "mlp",
    "mlp_network",
    "moved",
    "one_thread",
    "pieces",
    "predict_logits",
    "reseed",
    "seeded",
    "tasks_of_part",
    "usual_torch",
]
