"""YAML in which no key is given twice: else the last one would win unseen."""

from __future__ import annotations

from typing import Any

import yaml


def parsed_yaml(text: str) -> Any:
    """The plain data that a text in YAML holds.

    Raises:
        ValueError: Not YAML, or a key that a mapping has twice; names key and line.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    # Composed, not constructed: merging (<<) puts keys of other mappings among a mapping's own.
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, known = key.start_mark.line + 1, (key.tag, key.value)
            if known in lines:
                raise yaml.YAMLError(
                    f"line {line}: key {key.value!r} is given twice, first in line {lines[known]}"
                )
            lines[known] = line
        return node
