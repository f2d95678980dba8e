"""Data as it lies on people's disks: manifests, readers, mixtures, images.

Public names load on first use, so that the command line's `--help` costs neither polars nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Augment": "concord.data.augment",
    "Batch": "concord.data.batches",
    "FeatureRows": "concord.data.features",
    "Images": "concord.data.images",
    "Manifest": "concord.data.manifest",
    "Mixture": "concord.data.mixture",
    "Source": "concord.data.source",
    "Texts": "concord.data.inputs",
    "inspect": "concord.data.inspection",
    "merge": "concord.data.joining",
    "read": "concord.data.registry",
    "reader_names": "concord.data.registry",
    "resplit": "concord.data.splitting",
    "split_shares": "concord.data.splitting",
    "stack": "concord.data.joining",
}

__all__ = [
    "Augment",
    "Batch",
    "FeatureRows",
    "Images",
    "Manifest",
    "Mixture",
    "Source",
    "Texts",
    "inspect",
    "merge",
    "read",
    "reader_names",
    "resplit",
    "split_shares",
    "stack",
]

if TYPE_CHECKING:
    from concord.data.augment import Augment as Augment
    from concord.data.batches import Batch as Batch
    from concord.data.features import FeatureRows as FeatureRows
    from concord.data.images import Images as Images
    from concord.data.inputs import Texts as Texts
    from concord.data.inspection import inspect as inspect
    from concord.data.joining import merge as merge
    from concord.data.joining import stack as stack
    from concord.data.manifest import Manifest as Manifest
    from concord.data.mixture import Mixture as Mixture
    from concord.data.registry import read as read
    from concord.data.registry import reader_names as reader_names
    from concord.data.source import Source as Source
    from concord.data.splitting import resplit as resplit
    from concord.data.splitting import split_shares as split_shares


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'concord.data' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
