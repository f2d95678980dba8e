"""Readers of data sets, one file each: native layout in, manifest out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.data.readers._files import ElsewhereError, tell
    from concord.data.readers.pack import pack_relation

__all__ = ["ElsewhereError", "pack_relation", "tell"]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "ElsewhereError": "concord.data.readers._files",
        "tell": "concord.data.readers._files",
        "pack_relation": "concord.data.readers.pack",
    },
)
