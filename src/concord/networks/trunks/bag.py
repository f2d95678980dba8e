"""A bag of words for texts: hashed words, embedded, averaged."""

from __future__ import annotations

import re
import zlib
from itertools import pairwise

import torch
from torch import Tensor, nn

from concord.arrays import share, whole_number
from concord.errors import RangeError

_WORD = re.compile(r"\w+|[^\w\s]")
PADDING = 0


class BagOfWords(nn.Module):
    """Mean of hashed words' vectors, then a hidden layer: (n, words) int64 -> (n, width).

    Words are hashed (CRC-32), so there is no vocabulary to keep: two words may share a vector.

    Args:
        buckets: Number of vectors, >= 2.
        width: Width of vectors and features.
        words: Most words of a text that count, >= 1; later ones are cut off.
        pairs: Whether pairs of neighbouring words are hashed, too.
        dropout: Probability of dropping a feature, in [0, 1).

    Raises:
        RangeError: Buckets, a width or words that are no whole number in their range, pairs that are neither
            true nor false, or dropout that is no number in [0, 1).
    """

    def __init__(
        self,
        buckets: int = 2**15,
        width: int = 128,
        words: int = 256,
        pairs: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.buckets = whole_number("a bag's number of buckets", buckets, 2)
        width = whole_number("a bag's width", width)
        self.words = whole_number("a bag's number of words", words)
        if not isinstance(pairs, bool):
            raise RangeError(f"a bag's pairs are true or false, found {pairs!r}")
        dropout = share("a bag's dropout", dropout)
        self.pairs = pairs
        self.vectors = nn.Embedding(self.buckets, width, padding_idx=PADDING)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, width) of hashed words (n, words), 0 where a text has none."""
        known = (x != PADDING).unsqueeze(-1).to(self.vectors.weight.dtype)
        mean = (self.vectors(x) * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        return self.body(mean)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Hashed words of texts: (n, most words of any of them) int64, padded with 0."""
        rows = [self._hashed(text) for text in texts]
        out = torch.full((len(rows), max([1, *map(len, rows)])), PADDING, dtype=torch.int64)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return out

    def _hashed(self, text: str) -> list[int]:
        words = _WORD.findall(text.lower())[: self.words]
        if self.pairs:
            words += [f"{a} {b}" for a, b in pairwise(words)]
        return [1 + zlib.crc32(word.encode()) % (self.buckets - 1) for word in words]
