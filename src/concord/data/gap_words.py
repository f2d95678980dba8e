"""Words that stand for a gap in anyone's table, and what is said where one may have been meant as a name."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from concord.errors import ConcordWarning

GAPS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "null", "NULL", "None")
"""Spellings that mean a gap in every user's table, unless a class is called so."""

TEXT = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class ReadColumns:
    """Columns that serve one purpose, and the words that are names there.

    Attributes:
        purpose: "class", "labels", "group" or "split".
        columns: As they came.
        names: Words that are declared to be names.
    """

    purpose: str
    columns: Sequence[pl.Series]
    names: frozenset[str] = frozenset()

    def sentences(self, words: frozenset[str]) -> list[str]:
        """How many cells hold each of the words, in the order of the words."""
        counts: Counter[str] = Counter()
        for column in self.columns:
            if column.dtype in TEXT:  # in a column of numbers, NaN is no word
                texts = column.cast(pl.String).str.strip_chars()
                found = texts.filter(texts.is_in(list(words - self.names)).fill_null(False))
                counts.update(dict(found.value_counts().iter_rows()))
        return [f"{n:,} cell{'s' * (n > 1)} {word!r} {self._where()}" for word, n in sorted(counts.items())]

    def _where(self) -> str:
        first, *others = (repr(column.name) for column in self.columns)
        more = f" and {len(others)} more" if others else ""
        alone = ", where each such row is now a group of its own" if self.purpose == "group" else ""
        return f"of {self.purpose} column {first}{more}{alone}"


def tell_gap_words(owner: str, read: Iterable[ReadColumns], declared: Iterable[str]) -> None:
    """Tell and count the words that were read as gaps though nobody declared what they are.

    Args:
        owner: Whose table, for the message.
        read: The columns, by purpose.
        declared: Words that the user named, as gaps or as names.
    """
    words = frozenset(GAPS) - {""} - frozenset(declared)
    found = [sentence for columns in read for sentence in columns.sentences(words)]
    if found:
        warnings.warn(
            f"{owner}: read as gaps: {'; '.join(found)}. --no-gap WORD of concord data table (not_gaps) "
            "keeps a word as a name, --gap WORD (gaps) says that it is a gap",
            ConcordWarning,
            stacklevel=4,
        )
