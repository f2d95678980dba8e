"""Doors that open name by name: a folder's public names load on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_door(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names load on first use.

    Args:
        package: The package's `__name__`.
        homes: Public name -> the module that defines it.
        modules: Public name -> the module that it stands for.
    """
    whole = modules or {}

    def load(name: str) -> Any:
        if name in whole:
            value: Any = import_module(whole[name])
        elif name in homes:
            value = getattr(import_module(homes[name]), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({**homes, **whole})
