"""Whether the variables of a MATLAB file are whole: SciPy's parser reads past its memory where they are not.

Versions 5 to 7.2 are checked as MathWorks describes them ("MAT-File Format", 2024): numbers, text and cells
of these. Version 4 is checked by its sizes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod

from concord.errors import DataFormatError
from concord.files import check_unpacked

ITEM = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
"""Bytes of an item, by the type of a data element."""

MATRIX, COMPRESSED = 14, 15
CELL, CHARS, NUMBERS = 1, 4, range(6, 16)
DEEPEST, MOST_DIMENSIONS = 32, 32


def check_mat(content: bytes, names: tuple[str, ...]) -> None:
    """Refuse a file in which a variable of these names is damaged, or is neither numbers, text nor cells.

    Raises:
        DataFormatError: What is wrong, without the file's name.
    """
    mark = content[126:128]
    if mark in (b"IM", b"MI"):
        _Version5(content, "<" if mark == b"IM" else ">", names).check()
    else:
        _check_version_4(content)


class _Version5:
    def __init__(self, content: bytes, order: str, names: tuple[str, ...]) -> None:
        self.content, self.order, self.names = content, order, names
        self.unpacked = 0

    def check(self) -> None:
        for kind, data in self._elements(self.content[128:]):
            inner = [(kind, data)]
            if kind == COMPRESSED:
                inner = list(self._elements(self._unpack(data)))
            if len(inner) != 1 or inner[0][0] != MATRIX:
                raise DataFormatError("a variable is no matrix")
            self._matrix(inner[0][1], 0)

    def _unpack(self, data: bytes) -> bytes:
        """What is compressed, piece by piece, so that a small file does not fill the memory."""
        unpack, out = zlib.decompressobj(), bytearray()
        try:
            while data and not unpack.eof:
                piece = unpack.decompress(data, 2**24)
                out += piece
                data = unpack.unconsumed_tail
                check_unpacked("it", len(self.content), self.unpacked + len(out))
        except zlib.error as error:
            raise DataFormatError(str(error)) from error
        self.unpacked += len(out)
        return bytes(out)

    def _elements(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Type and content of every data element; a small one has both in its tag."""
        at = 0
        while at < len(data):
            if len(data) - at < 8:
                raise DataFormatError("it ends within a tag")
            kind, size = struct.unpack_from(f"{self.order}II", data, at)
            if kind >> 16:
                kind, size = kind & 0xFFFF, kind >> 16
                if size > 4:
                    raise DataFormatError(f"a small element of {size} bytes")
                yield kind, data[at + 4 : at + 4 + size]
                at += 8
                continue
            if size > len(data) - at - 8:
                raise DataFormatError(
                    f"an element of {size:,} bytes, of which {len(data) - at - 8:,} are there"
                )
            yield kind, data[at + 8 : at + 8 + size]
            at += 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)

    def _matrix(self, data: bytes, depth: int) -> None:
        if not data and depth:
            return  # an empty cell
        if depth > DEEPEST:
            raise DataFormatError("cells in cells without end")
        parts = self._elements(data)
        flags, shape, name = (self._next(parts, kind) for kind in (6, 5, 1))
        if len(flags) != 8 or len(shape) % 4 or not 2 <= len(shape) // 4 <= MOST_DIMENSIONS:
            raise DataFormatError("a matrix without flags or dimensions")
        if not depth and name.decode("latin-1") not in self.names:
            return  # not read
        (flag,) = struct.unpack_from(f"{self.order}I", flags)
        lengths = struct.unpack(f"{self.order}{len(shape) // 4}i", shape)
        if min(lengths) < 0:
            raise DataFormatError(f"dimensions of {lengths}")
        kind, count = flag & 0xFF, prod(lengths)
        if kind == CELL:
            self._cells(parts, count, depth)
        elif kind == CHARS or kind in NUMBERS:
            for _ in range(2 if flag & 0x800 else 1):  # a complex matrix has two parts
                self._items(parts, count, text=kind == CHARS)
        else:
            raise DataFormatError("structures, objects and sparse matrices are not read")

    def _cells(self, parts: Iterator[tuple[int, bytes]], count: int, depth: int) -> None:
        for _ in range(count):
            self._matrix(self._next(parts, MATRIX), depth + 1)

    def _items(self, parts: Iterator[tuple[int, bytes]], count: int, text: bool) -> None:
        kind, data = next(parts, (0, b""))
        if kind not in ITEM and (kind or count):
            raise DataFormatError(f"items of type {kind}")
        least = count if text and kind == 16 else count * ITEM.get(kind, 0)
        if len(data) < least or (not text and len(data) != least):
            raise DataFormatError(f"{count:,} items are said to be there, found {len(data):,} bytes")

    def _next(self, parts: Iterator[tuple[int, bytes]], wanted: int) -> bytes:
        kind, data = next(parts, (0, b""))
        if kind != wanted:
            raise DataFormatError(f"an element of type {wanted} is missing")
        return data


def _check_version_4(content: bytes) -> None:
    at = 0
    while at < len(content):
        if len(content) - at < 20:
            raise DataFormatError("it ends within a header")
        header = struct.unpack_from("<5i", content, at)
        if not 0 <= header[0] <= 5000:
            header = struct.unpack_from(">5i", content, at)
        kind, rows, columns, complexes, length = header
        size = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}.get(kind // 10 % 10)
        if not 0 <= kind <= 5000 or size is None or min(rows, columns, length) < 0 or complexes not in (0, 1):
            raise DataFormatError("it is of no version of MATLAB files")
        if kind % 10 > 1:
            raise DataFormatError("structures, objects and sparse matrices are not read")
        at += 20 + length + size * rows * columns * (1 + complexes)
        if at > len(content):
            raise DataFormatError("a matrix is longer than the file")
