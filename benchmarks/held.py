"""Measurements kept in a file, one JSON line each: a command that is started again measures what is missing.

Each line names the machine that measured it, since a command may go on on another one: times of two are not compared.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import origin

MACHINE = {"what": "machine"}
"""The key of a line that says where a command measures, and is no measurement."""


class Held:
    """Measurements by key.

    Args:
        path: Where they are kept; None keeps them for this process alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        self._places: dict[str, str] = {}
        for each in lines_of(path) if path and path.exists() else []:
            name = name_of(each["key"])
            self._found[name], self._places[name] = each["value"], each.get("machine", "")

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return name_of(key) in self._found

    def all(self) -> list[tuple[dict[str, Any], Any]]:
        """Every key with what was measured, in the order in which they were."""
        return [(json.loads(name), value) for name, value in self._found.items()]

    def once(self, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """What was measured under this key, now if never before: plain data, as JSON gives it back."""
        name = name_of(key)
        if name not in self._found:
            value, place = measure(), _machine()
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    # A line of its own even after one that was cut off.
                    file.write(f"\n{json.dumps({'key': dict(key), 'value': value, 'machine': place})}\n")
            self._found[name], self._places[name] = json.loads(json.dumps(value)), place
        return self._found[name]

    def place(self, *keys: Mapping[str, Any]) -> str:
        """The machine that measured these; several joined."""
        return " and ".join(dict.fromkeys(self._places.get(name_of(key), "") for key in keys))

    def several(self) -> str:
        """What a page adds to the machine that it names, where others measured, too; else nothing."""
        counts = Counter(place for name, place in self._places.items() if name != name_of(MACHINE))
        if len(counts) < 2:
            return ""
        told = "; ".join(f"{place or 'unknown'} ({count})" for place, count in counts.most_common())
        return f". Measured on several machines, which are not compared: {told}"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of measurements that are whole: one that a killed process had begun is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            each = json.loads(line)
            name_of(each["key"]), each["value"]
        except (ValueError, KeyError, TypeError):
            continue
        found.append(each)
    return found


@cache
def _machine() -> str:
    return f"{origin.processor()}, {os.cpu_count()} cores"


def name_of(key: Mapping[str, Any]) -> str:
    """A key as text: the same for the same key."""
    return json.dumps(dict(key), sort_keys=True)
