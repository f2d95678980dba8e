"""Text in cells of CSV files: no spreadsheet takes it for a formula, and it reads back equal."""

from __future__ import annotations

import re

FORMULA = r"^('*)([=@+\t\r-])"
"""How a cell begins that a spreadsheet would calculate; with apostrophes, so that the guard can be undone."""

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_FORMULA, _NUMBER = re.compile(FORMULA), re.compile(NUMBER)


def guarded(text: str) -> str:
    """The text with an apostrophe in front where it begins like a formula and is no number."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.match(text) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
