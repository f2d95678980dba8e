"""Data as it lies on people's disks: manifests, readers, mixtures, images.

Public names load on first use, so that the command line's `--help` costs neither polars nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Manifest": "concord.data.manifest",
    "inspect": "concord.data.inspection",
    "read": "concord.data.registry",
    "reader_names": "concord.data.registry",
}

__all__ = ["Manifest", "inspect", "read", "reader_names"]

if TYPE_CHECKING:
    from concord.data.inspection import inspect as inspect
    from concord.data.manifest import Manifest as Manifest
    from concord.data.registry import read as read
    from concord.data.registry import reader_names as reader_names


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'concord.data' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
