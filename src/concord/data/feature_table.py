"""Feature tables: what each column means, kept from training and asked of every later table.

A number stays a number, a column of lists becomes as many features as the lists hold, text one 0/1 feature
for each value that training had. `Columns` says which column is what, in order; with it another table is read
the same way or refused by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.gap_words import GAPS, TEXT
from concord.data.parquet import scan_parquet
from concord.data.parsing import polars_errors
from concord.errors import ConcordWarning, DataFormatError, UnknownNameError

Columns = Mapping[str, Sequence[str] | int | None]
"""By column, in order: None for numbers, the width of lists, or the values that text is one-hot in."""

MOSTLY = 0.5
"""Share of numbers among the cells of a column from which the others are taken for mistakes in it."""

MANY = 20
"""Distinct texts from which a column that rarely repeats one is told to be more of a name than a feature."""


def read_features(path: Path) -> pl.DataFrame:
    """A table of features: of a CSV file all cells as text.

    Raises:
        DataFormatError: A file that cannot be read.
    """
    with polars_errors(path, "a table of features"):
        if path.suffix == ".parquet":
            return scan_parquet(path).collect()
        # Every line is a row, an empty one too: manifests count them.
        return pl.read_csv(path, infer_schema=False, glob=False)


def columns_of(
    frame: pl.DataFrame,
    owner: str,
    names: Sequence[str] | None = None,
    rows: Any = None,
    *,
    spelt: bool = False,
) -> dict[str, list[str] | int | None]:
    """What each column of a table is.

    Args:
        frame: The table.
        owner: Whose table, for messages.
        names: The feature columns, in order; None takes all.
        rows: Rows whose texts are the values to know; None takes all.
        spelt: Whether text that spells numbers throughout is numbers, as in a CSV file.

    Raises:
        UnknownNameError: No such column.
        DataFormatError: Something else than numbers, text or lists of one length.
    """
    out: dict[str, list[str] | int | None] = {}
    for name in frame.columns if names is None else names:
        if name not in frame.columns:
            raise UnknownNameError(f"{owner}: {UnknownNameError.of('feature column', name, frame.columns)}")
        series = frame[name]
        if isinstance(series.dtype, (pl.List, pl.Array)):
            out[name] = _width(series, owner)
        elif series.dtype not in TEXT or mostly_numbers(series, spelt=spelt):
            out[name] = None
        else:
            out[name] = _values(series if rows is None else series[rows], owner)
    return out


def joined_columns(known: Columns, own: Columns, owner: str) -> dict[str, Sequence[str] | int | None]:
    """Columns of several tables of one meaning: the same names and kinds, the values of all.

    Raises:
        UnknownNameError: A column that one lacks.
        DataFormatError: A column of another kind.
    """
    _check_names(own, known, owner)
    out: dict[str, Sequence[str] | int | None] = {}
    for name, values in known.items():
        if _kind(values) != _kind(own[name]):
            raise _other_kind(owner, name, _kind(values), _kind(own[name]))
        theirs = own[name]
        both = isinstance(values, Sequence) and isinstance(theirs, Sequence)
        out[name] = sorted({*values, *theirs}) if both else values  # type: ignore[misc]
    return out


def table_features(frame: pl.DataFrame, columns: Columns, owner: str) -> npt.NDArray[np.float32]:
    """Features (n, width) of a table as its columns are known from training, whatever their order here.

    A gap or a text among numbers is NaN; a text that is not among the known values is 0 everywhere and told.

    Raises:
        UnknownNameError: A column that is missing or new.
        DataFormatError: A column of another kind.
    """
    _check_names(frame.columns, columns, owner)
    parts: list[npt.NDArray[Any]] = []
    for name, known in columns.items():
        series = frame[name]
        if known is None:
            parts.append(_numbers(series, owner)[:, None])
        elif isinstance(known, int):
            parts.append(_lists(series, known, owner))
        else:
            parts += _one_hot(series, known, owner)
    return np.concatenate(parts, axis=1, dtype=np.float32) if parts else np.empty((0, 0), dtype=np.float32)


def columns_record(columns: Columns) -> dict[str, Any]:
    """Columns as JSON holds them."""
    return {name: list(known) if isinstance(known, Sequence) else known for name, known in columns.items()}


def width_of(known: Sequence[str] | int | None) -> int:
    """How many features a column becomes."""
    return 1 if known is None else known if isinstance(known, int) else len(known)


def _check_names(found: Iterable[str], known: Iterable[str], owner: str) -> None:
    there, wanted = list(found), list(known)
    for name in wanted:
        if name not in there:
            raise UnknownNameError(
                f"{owner}: no feature column {name!r}; {UnknownNameError.hint(name, there)}"
            )
    for name in there:
        if name not in wanted:
            raise UnknownNameError(
                f"{owner}: feature column {name!r} is none of training; {UnknownNameError.hint(name, wanted)}"
            )


def _kind(known: Any) -> str:
    return "numbers" if known is None else f"lists of {known}" if isinstance(known, int) else "text"


def _other_kind(owner: str, name: str, expected: str, found: str) -> DataFormatError:
    return DataFormatError(f"{owner}: feature column {name!r} held {expected} in training, found {found}")


def _parsed(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Text cells as numbers, and which of them are neither a number nor a gap."""
    texts = series.cast(pl.String).str.strip_chars()
    truth = texts.str.to_lowercase().replace({"true": "1", "false": "0"})
    numbers = truth.cast(pl.Float64, strict=False)
    gap = texts.is_null() | texts.is_in(list(GAPS)).fill_null(True)
    return numbers.set(gap, None), numbers.is_null() & ~gap


def mostly_numbers(series: pl.Series, *, spelt: bool = False) -> bool:
    """Whether text is numbers but for gaps and a few mistakes; all of it only where they are `spelt`."""
    numbers, wrong = _parsed(series)
    count, mistakes = len(numbers) - numbers.null_count(), int(wrong.sum())
    other = mistakes or series.null_count() < numbers.null_count()  # gaps that are words
    return count > 0 and (spelt or bool(other)) and count >= MOSTLY * (count + mistakes)


def _values(series: pl.Series, owner: str) -> list[str]:
    texts = series.cast(pl.String).drop_nulls()
    values = sorted(text for text in texts.unique() if text.strip())
    if len(values) > max(MANY, len(texts) / 2):
        warnings.warn(
            f"{owner}: feature column {series.name!r} holds {len(values):,} different texts in "
            f"{len(texts):,} rows, each of which becomes a feature; leave a column of names, "
            "paths or dates out of the table",
            ConcordWarning,
            stacklevel=3,
        )
    return values


def _numbers(series: pl.Series, owner: str) -> npt.NDArray[Any]:
    if series.dtype in TEXT:
        numbers, wrong = _parsed(series)
        if wrong.sum() > MOSTLY * len(wrong):
            raise _other_kind(owner, series.name, "numbers", "text")
        return numbers.cast(pl.Float32).to_numpy()
    if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        return series.cast(pl.Float32).to_numpy()
    raise DataFormatError(
        f"{owner}: feature column {series.name!r}: numbers, text or lists of one length are needed, found "
        f"{series.dtype}"
    )


def _width(series: pl.Series, owner: str) -> int:
    lengths = {None if row is None else len(row) for row in series.to_list()}
    if len(lengths) != 1 or None in lengths:
        raise DataFormatError(
            f"{owner}: feature column {series.name!r}: numbers, text or lists of one length are needed, "
            "found lists of several"
        )
    return int(lengths.pop() or 0)


def _lists(series: pl.Series, width: int, owner: str) -> npt.NDArray[Any]:
    if not isinstance(series.dtype, (pl.List, pl.Array)):
        raise _other_kind(owner, series.name, f"lists of {width}", str(series.dtype))
    if _width(series, owner) != width:
        raise _other_kind(owner, series.name, f"lists of {width}", f"lists of {_width(series, owner)}")
    try:
        return np.stack([np.asarray(row, dtype=np.float32) for row in series.to_list()])
    except (ValueError, TypeError) as error:
        raise DataFormatError(
            f"{owner}: feature column {series.name!r}: lists of numbers are needed"
        ) from error


def _one_hot(series: pl.Series, known: Sequence[str], owner: str) -> list[npt.NDArray[Any]]:
    if series.dtype not in (*TEXT, pl.Null):
        raise _other_kind(owner, series.name, "text", str(series.dtype))
    texts = series.cast(pl.String)
    numbers, wrong = _parsed(series)
    spelt = len(numbers) - numbers.null_count()
    if known and spelt and not wrong.any() and not texts.is_in(list(known)).any():
        raise _other_kind(owner, series.name, "text", "numbers")
    tell_unknown(texts, known, owner)
    return [(texts == value).fill_null(False).to_numpy()[:, None] for value in known]


def tell_unknown(texts: pl.Series, known: Sequence[str], owner: str) -> None:
    """Tell and count the rows of a column of text that hold none of the known values."""
    strange = texts.is_not_null() & (texts.str.strip_chars() != "") & ~texts.is_in(list(known))
    count = int(strange.sum())
    if count:
        examples = ", ".join(map(repr, texts.filter(strange).unique(maintain_order=True).to_list()[:5]))
        warnings.warn(
            f"{owner}: feature column {texts.name!r}: {count:,} of {len(texts):,} rows hold a value that "
            f"training did not have ({examples}); none of its features is set there",
            ConcordWarning,
            stacklevel=4,
        )
