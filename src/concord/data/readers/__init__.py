"""Readers of data sets, one file each: native layout in, manifest out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.data.readers.pack import pack_relation

__all__ = ["pack_relation"]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "pack_relation": "concord.data.readers.pack",
    },
)
