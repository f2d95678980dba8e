"""Where two pieces of plain data differ, and how a message shows a value of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two pieces of plain data differ: the path and both values, None for a missing one.

    Elements of a list are compared one by one where the lists name the same things in the same order, or have
    one length and no names; an element's path is its name, or its number. Where two lists name other things,
    the names are the values.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys((*first, *second)):
            yield from differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
        return
    if isinstance(first, list) and isinstance(second, list):
        names, others = _names(first), _names(second)
        if names == others and len(first) == len(second):
            for place, one, other in zip(names or range(len(first)), first, second, strict=True):
                yield from differences(one, other, f"{path}.{place}" if path else str(place))
            return
        if names and others:
            first, second = names, others
    if first != second:
        yield path, first, second


def shown(value: Any) -> str:
    """A value in a message: as JSON, at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _names(values: list[Any]) -> list[str]:
    """Names of named things; empty where one has none."""
    named = all(isinstance(value, dict) and "name" in value for value in values)
    return [str(value["name"]) for value in values] if named else []
