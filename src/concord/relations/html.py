"""A relation as a small table of HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

MOST = 24
"""Rows and columns that are shown; a note counts the others."""


def relation_html(relation: Any) -> str:
    """P(target | class) with a row for each class, names escaped; an unknown cell is blank."""
    rows, columns = relation.source.classes[:MOST], relation.target.outputs[:MOST]
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>{_cells(relation.row(i)[: len(columns)])}</tr>"
        for i, name in enumerate(rows)
    )
    title = f"P({escape(relation.target.name)} | {escape(relation.source.name)})"
    return (
        f"<table><caption>{title}{_left_out(relation, rows, columns)}</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(values: Sequence[float]) -> str:
    return "".join(f"<td>{'' if np.isnan(value) else f'{value:.2f}'}</td>" for value in values)


def _left_out(relation: Any, rows: Sequence[str], columns: Sequence[str]) -> str:
    found = (relation.source.width, relation.target.width)
    if found == (len(rows), len(columns)):
        return ""
    return f", {len(rows)} of {found[0]} rows and {len(columns)} of {found[1]} columns"
