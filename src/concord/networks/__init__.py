"""Networks: a trunk with one head per task, and how its predictions are taken."""

from concord.networks.batches import length, moved, owned, pieces
from concord.networks.multitask import (
    Capacity,
    MultiTaskNetwork,
    TaskwiseNetwork,
    dry_features,
    initialise,
    mlp_network,
    tasks_of_part,
)
from concord.networks.predict import predict_logits, rows_at_a_time
from concord.networks.standardize import Standardize
from concord.networks.torch_state import one_thread, reseed, seeded, usual_torch
from concord.networks.trunks import (
    TRUNK_SOURCES,
    NamedTrunk,
    SmallResNet,
    VisionTrunk,
    build_trunk,
    mlp,
    unfit,
)

__all__ = [
    "TRUNK_SOURCES",
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
    "owned",
    "pieces",
    "predict_logits",
    "reseed",
    "rows_at_a_time",
    "seeded",
    "tasks_of_part",
    "unfit",
    "usual_torch",
]
