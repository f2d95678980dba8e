"""Measurements kept in a file, one JSON line each: a command that is started again measures what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Held:
    """Measurements by key.

    Args:
        path: Where they are kept; None keeps them for this process alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []:
            try:
                each = json.loads(line)
                self._found[_name(each["key"])] = each["value"]
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
            value = measure()
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    # A line of its own even after one that was cut off.
                    file.write(f"\n{json.dumps({'key': dict(key), 'value': value})}\n")
            self._found[name] = json.loads(json.dumps(value))
        return self._found[name]


def _name(key: Mapping[str, Any]) -> str:
    return json.dumps(dict(key), sort_keys=True)
