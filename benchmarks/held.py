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


class Held:
    """Measurements by key.

    Args:
        path: Where they are kept; None keeps them for this process alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        self._places: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []:
            try:
                each = json.loads(line)
                self._found[_name(each["key"])] = each["value"]
                self._places[_name(each["key"])] = each.get("machine", "")
            except (ValueError, KeyError, TypeError):
                continue  # the line that a killed process had begun

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return _name(key) in self._found

    def all(self) -> list[tuple[dict[str, Any], Any]]:
        """Every key with what was measured, in the order in which they were."""
        return [(json.loads(name), value) for name, value in self._found.items()]

    def once(self, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """What was measured under this key, now if never before: plain data, as JSON gives it back."""
        name = _name(key)
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
        return " and ".join(dict.fromkeys(self._places.get(_name(key), "") for key in keys))

    def several(self) -> str:
        """What a page adds to the machine that it names, where others measured, too; else nothing."""
        counts = Counter(place for name, place in self._places.items() if name != _name({"what": "machine"}))
        if len(counts) < 2:
            return ""
        told = "; ".join(f"{place or 'unknown'} ({count})" for place, count in counts.most_common())
        return f". Measured on several machines, which are not compared: {told}"


@cache
def _machine() -> str:
    return f"{origin.processor()}, {os.cpu_count()} cores"


def _name(key: Mapping[str, Any]) -> str:
    return json.dumps(dict(key), sort_keys=True)
