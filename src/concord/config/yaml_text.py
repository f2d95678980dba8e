"""YAML in which no key is given twice, nothing unfolds to more than it may, and mistakes name their line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

LONGEST = 2**24
"""Characters of the longest text that is read."""

MOST = 10**6
"""Values that a text may unfold to, each alias counted with all that it stands for."""


def parsed_yaml(text: str) -> Any:
    """The plain data that a text in YAML holds.

    Raises:
        ValueError: Not YAML, or a key that a mapping has twice; names key and line. Or a text that is
            too long, nested too deeply, or unfolds to more than a million values through its aliases.
    """
    if len(text) > LONGEST:
        raise ValueError(f"at most {LONGEST:,} characters of YAML are read, found {len(text):,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _unfolded(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to."""
    key = id(node)
    if key in known:
        if not known[key]:
            raise ValueError(f"line {node.start_mark.line + 1}: holds itself")
        return known[key]
    known[key] = 0
    total = 1 + sum(_unfolded(child, known) for child in _children(node))
    if total > MOST:
        raise ValueError(
            f"line {node.start_mark.line + 1}: unfolds to more than {MOST:,} values through its aliases"
        )
    known[key] = total
    return total


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        if isinstance(child, tuple):
            yield from child
        else:
            yield child


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

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            shown = f"{node.value!r:.40}" if isinstance(node, yaml.ScalarNode) else "this"
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: {shown} is no {node.tag.rpartition(':')[2]}"
            ) from error
