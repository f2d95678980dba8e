"""Lists that several files of a data set keep of the same images: read with their count, joined by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from concord.data.paths import is_clutter
from concord.data.readers._text import Lines, read_lines
from concord.errors import DataFormatError


@dataclass(frozen=True, eq=False)
class CountedList:
    """A list whose first line counts its entries and whose second line is a header.

    Args:
        count: How many entries the first line announces.
        header: Words of the second line.
        entries: The lines below.
    """

    count: int
    header: tuple[str, ...]
    entries: Lines

    def require_all(self) -> None:
        """Raise unless there are as many entries as announced: to be called when each line has been read.

        Raises:
            DataFormatError: More entries, or fewer: the file may be cut.
        """
        last = int(self.entries.number[-1]) if len(self.entries) else 2
        check_count(self.entries.path, self.count, len(self.entries), last)


def announced(lines: Lines) -> tuple[int, tuple[str, ...]]:
    """The count of the first line and the words of the second.

    Raises:
        DataFormatError: The first line is no count, or there is no second line.
    """
    if len(lines) < 2:
        raise DataFormatError(
            f"{lines.path}, line {len(lines) or 1}: expected a count, a header and entries, found the end"
        )
    count = lines.slice(0, 1).integers(lines.text.slice(0, 1), "the number of entries", low=1)[0]
    return int(count), tuple(str(lines.text[1]).split())


def check_count(path: Path, announced: int, found: int, last: int) -> None:
    """Raise unless a list has as many entries as its first line says; `last` is its last line's number.

    Raises:
        DataFormatError: More entries, or fewer: the file may be cut.
    """
    if found != announced:
        line = last if found < announced else 1
        raise DataFormatError(
            f"{path}, line {line}: expected {announced:,} entries as line 1 says, found {found:,}"
        )


def read_counted(path: Path, header: Sequence[str] | None = None) -> CountedList:
    """Read a list that begins with a count and a header.

    Args:
        path: The file.
        header: Words that the second line must have; None takes any.

    Raises:
        MissingDataError: No such file.
        DataFormatError: As `read_lines`; or no count, or another header than there should be.
    """
    lines = read_lines(path)
    count, words = announced(lines)
    if header is not None:
        check_header(path, words, header)
    return CountedList(count, words, lines.slice(2))


def check_header(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Raise unless the words of line 2 are the expected ones.

    Raises:
        DataFormatError: The header of another list, or of another release.
    """
    if tuple(found) == tuple(expected):
        return
    at = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        raise DataFormatError(f"{path}, line 2: expected {len(expected)} names, found {len(found)}")
    raise DataFormatError(f"{path}, line 2: expected the name {expected[at]!r}, found {found[at]!r}")


def positions(lines: Lines, names: pl.Series, wanted: pl.Series) -> pl.Series:
    """Where each of the `wanted` images is in a list, which must have exactly these, in any order.

    Args:
        lines: Lines of the list.
        names: The image of each line.
        wanted: Distinct images, of another list of the data set.

    Returns:
        Index into `names` for each of `wanted`.

    Raises:
        DataFormatError: An image that is listed twice, not wanted, or not listed.
    """
    lines.distinct(names, "image")
    lines.require(names.is_in(wanted.implode()), "an image that the other lists have", names)
    if len(names) < len(wanted):
        lost = wanted.filter(~wanted.is_in(names.implode()))[0]
        where = lines.number[-1] if len(lines) else 1
        raise DataFormatError(
            f"{lines.path}, line {where}: expected an entry for each of {len(wanted):,} images, "
            f"found the end after {len(names):,}, without {lost!r}"
        )
    table = pl.DataFrame({"image": names}).with_row_index("at")
    return pl.DataFrame({"image": wanted}).join(table, on="image", how="left", maintain_order="left")["at"]


def below(folder: str, names: pl.Series) -> pl.Series:
    """Paths of files below a folder, which is empty or ends in a slash: a column `path`."""
    return pl.select((pl.lit(folder) + names).alias("path")).to_series()


def images_below(root: Path, folder: Path, endings: tuple[str, ...] = (".jpg",)) -> Iterator[str]:
    """Those of `files_below` that are images by their endings."""
    return (path for path in files_below(root, folder) if path.lower().endswith(endings))


def files_below(root: Path, folder: Path) -> Iterator[str]:
    """Visible files in a folder and all below it, in order, as paths relative to root.

    Folders that are symbolic links are not entered.
    """
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not is_clutter(name))
        for name in sorted(files):
            if not is_clutter(name):
                yield (Path(place) / name).relative_to(root).as_posix()
