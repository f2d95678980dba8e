"""Names of coupling losses in trainings of format 1: a loss is named by its class since."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LOSSES = {
    "coannotation": "soft-coannotation",
    "marginal": "marginal-likelihood",
    "matching": "distribution-matching",
    "population": "population-matching",
    "posterior": "posterior-coannotation",
}
"""What a loss was called in a config, and its name today. The old names are those of recipes now."""

_PART = re.compile(rf"({'|'.join(LOSSES)})(-[0-9]+)?:(.+->.+)")


def renamed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with today's names of its losses."""
    couplings = [{**each, "name": LOSSES.get(each["name"], each["name"])} for each in config["couplings"]]
    return {**config, "couplings": couplings}


def renamed_parts(values: Any) -> Any:
    """Plain data with today's names wherever a part of a loss is named: as a key, or as a `part`."""
    if isinstance(values, dict):
        return {
            _part(key): _part(value) if key == "part" else renamed_parts(value)
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [renamed_parts(value) for value in values]
    return values


def renamed_log(lines: bytes) -> bytes:
    """A log of JSON lines with today's names of parts; a line that was cut short stays as it is."""
    return b"".join(map(_renamed_line, lines.splitlines(keepends=True)))


def _renamed_line(line: bytes) -> bytes:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    renamed = renamed_parts(record)
    return line if renamed == record else json.dumps(renamed).encode() + b"\n"


def _part(name: Any) -> Any:
    """`posterior:kind->traits` is `posterior-coannotation:kind->traits`; a second loss has `-2` there."""
    found = _PART.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        return name
    loss, number, relation = found.groups()
    return f"{LOSSES[loss]}{number or ''}:{relation}"
