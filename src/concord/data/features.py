"""Feature rows: `.npy`, `.npz`, Parquet, CSV, or an array in memory."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from concord.data.feature_table import Columns, columns_of, read_features, table_features, width_of
from concord.data.inputs import Inputs, Keyer, Loaded, Rows, column
from concord.data.manifest import Manifest
from concord.errors import (
    ConcordWarning,
    DataFormatError,
    MissingDataError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
)
from concord.files import UNREADABLE, bytes_of, read_arrays, read_header

USUAL = "x"
"""Name of the array in a `.npz` file unless another is given; a file of one array may call it otherwise."""

LOCAL_HEADER = 30
"""Bytes of a zip member's local header before its name."""


class FeatureRows(Inputs):
    """Rows of a feature array, found by the manifest's column `row`.

    Files are read without pickle. A `.npy` file, and a `.npz` file written without compression, are
    memory-mapped: nothing is read before it is used. In a `.parquet` or `.csv` file every column is a
    feature: numbers and booleans as they are, a column of lists as many features as the lists hold, and
    text as one 0/1 feature for each distinct value (sorted; null and empty text are 0 everywhere). What a
    column is, `known_columns` says; given to another table, it is read the same way.

    Args:
        values: Shape (n, ...): an array, a tensor, a polars frame, or the path of a `.npy`, `.npz`,
            `.parquet` or `.csv` file.
        key: Name of the array in a `.npz` file; not needed where there is one alone.
        columns: The feature columns of a table, in order; None takes all. Or what they are, from another
            table's `known_columns`: then columns are taken by name, in any order, and one that is missing,
            new or of another kind is refused; values that are not known are told.
        known_rows: Rows of a table whose texts are the values to know; None takes all.
        dtype: What the values become, a floating type.

    Raises:
        MissingDataError: No such file.
        DataFormatError: A file that cannot be read as features.
        UnknownNameError: No such array or column; a manifest without the column `row`.
        ShapeError: No rows, or a manifest's row beyond the last one.

    Example:
        >>> from concord.data.manifest import Manifest
        >>> rows = FeatureRows([[0.0, 1.0], [2.0, 3.0]])
        >>> keys = rows.keys(Manifest(pl.DataFrame({"row": [1, 0]}), ()))
        >>> rows.load(keys(np.array([0]))).values
        tensor([[2., 3.]])
    """

    def __init__(
        self,
        values: Any,
        *,
        key: str = USUAL,
        columns: Sequence[str] | Columns | None = None,
        known_rows: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.path = Path(values).resolve() if isinstance(values, (str, Path)) else None
        self.key = key
        self.columns = columns if columns is None or isinstance(columns, Mapping) else tuple(columns)
        self.known_rows = known_rows
        self.known_columns: Columns | None = None
        self.dtype = dtype
        self._array = self._open() if self.path else self._given(values)
        if self._array.ndim < 2 or not self._array.size:
            raise ShapeError(
                f"{self._owner}: features have shape (n, ...), not empty, found {self._array.shape}"
            )
        if self._array.dtype.kind not in "fiub":
            raise DataFormatError(f"{self._owner}: features are numbers, found {self._array.dtype}")

    @property
    def _owner(self) -> str:
        return str(self.path) if self.path else "features"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array: (n, ...)."""
        return self._array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        return f"FeatureRows({self._owner}, shape={self.shape})"

    def __getstate__(self) -> dict[str, Any]:
        # A file is opened again in a worker; pickling a memory map would copy the file's content.
        return {**self.__dict__, "_array": None if self.path else self._array}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path:
            self._array = self._open()

    def _open(self) -> npt.NDArray[Any]:
        assert self.path is not None
        if not self.path.is_file():
            raise MissingDataError(f"no feature file at {self.path}")
        if self.path.suffix in {".parquet", ".csv"}:
            return self._table(read_features(self.path), self.path.suffix == ".csv")
        try:
            if self.path.suffix == ".npz":
                return _npz(self.path, self.key)
            return _mapped(self.path, 0)
        except UnknownNameError:
            raise
        except UNREADABLE as error:
            raise DataFormatError(
                f"{self.path}: expected a .npy, .npz, .parquet or .csv file of numbers; {error}"
            ) from error

    def _given(self, values: Any) -> npt.NDArray[Any]:
        if isinstance(values, pl.DataFrame):
            return self._table(values, False)
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)

    def _table(self, frame: pl.DataFrame, spelt: bool) -> npt.NDArray[np.float32]:
        columns = self.known_columns
        if columns is None and isinstance(self.columns, Mapping):
            columns = self.columns
        if columns is None:
            names = None if self.columns is None else list(self.columns)
            columns = columns_of(frame, self._owner, names, self.known_rows, spelt=spelt)
            frame = frame.select(list(columns))
        self.known_columns = columns
        return table_features(frame, columns, self._owner)

    def keys(self, manifest: Manifest) -> Keyer:
        """The rows that the manifest points to, checked to lie in the array.

        Raises:
            ShapeError: A row beyond the array.
            ConcordWarning: Two sources of the manifest have rows of the same numbers: two feature files, of
                which this is one, are counted from 0 each.
        """
        rows = column(manifest, "row", "feature rows").to_numpy()
        self._warn_of_two_counts(manifest)
        if rows.max() >= len(self):
            raise ShapeError(
                f"manifest {manifest.name!r} names row {rows.max()}, but {self._owner} has rows "
                f"0 .. {len(self) - 1}"
            )
        return lambda chosen: rows[chosen]

    def _warn_of_two_counts(self, manifest: Manifest) -> None:
        if "source" not in manifest.frame.columns or manifest.frame["source"].n_unique() == 1:
            return
        pairs = manifest.frame.select("row", "source").unique()
        several = pairs.filter(pl.col("row").is_duplicated()).sort("row", "source")
        if several.height:
            row = several["row"][0]
            sources = several.filter(pl.col("row") == row)["source"]
            warnings.warn(
                f"{several['row'].n_unique()} rows of {self._owner} belong to more than one source of "
                f"manifest {manifest.name!r}, row {row} to {', '.join(map(str, sources))}: right where "
                "these are the same samples; where each source has a feature file of its own, its rows "
                "get features of others: make one file of the joined manifest (`concord embed` does), or "
                "count its rows on",
                ConcordWarning,
                stacklevel=4,
            )

    def load(self, keys: Rows) -> Loaded:
        """Tensor of shape (len(keys), ...).

        Raises:
            NotFiniteError: NaN or infinity among the values; names the row.
        """
        values = torch.from_numpy(self._taken(keys)).to(self.dtype)
        self._check_finite(torch.isfinite(values).flatten(1).all(dim=1).numpy(), keys)
        return Loaded(values)

    def take(self, keys: Rows) -> npt.NDArray[Any]:
        """Some rows as the array holds them, of its own type.

        Args:
            keys: Their numbers.

        Raises:
            NotFiniteError: NaN or infinity among the values; names the row.
        """
        taken = self._taken(keys)
        self._check_finite(np.isfinite(taken).reshape(len(taken), -1).all(axis=1), keys)
        return taken

    def _taken(self, keys: Rows) -> npt.NDArray[Any]:
        taken = self._array.take(keys, axis=0)
        return taken.astype(taken.dtype.newbyteorder("="), copy=False)

    def _check_finite(self, finite: npt.NDArray[np.bool_], keys: Rows) -> None:
        if finite.all():
            return
        row = int(keys[finite.argmin()])
        place = f"row {row} (line {row + 2})" if self._owner.endswith(".csv") else f"row {row}"
        if self.known_columns is None:
            raise NotFiniteError(f"{self._owner}: features must be finite, found NaN or infinity in {place}")
        wrong = int(np.argmax(~np.isfinite(self._array[row])))
        widths = [width_of(known) for known in self.known_columns.values()]
        name = list(self.known_columns)[int(np.searchsorted(np.cumsum(widths), wrong, side="right"))]
        cell = read_features(self.path)[name][row] if self.path else None
        found = f"found {cell!r}" if isinstance(cell, str) else "found NaN, infinity or a gap"
        raise NotFiniteError(
            f"{self._owner}: column {name!r} needs a finite number in every row, {found} in {place}"
        )


def _npz(path: Path, key: str) -> npt.NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if key == USUAL and len(names) == 1:  # whatever it is called, it can only be meant
            key = names[0]
        if key not in names:
            raise UnknownNameError.of(f"array in {path}", key, names)
        member = archive.getinfo(f"{key}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        return read_arrays(path, key)[key]
    with path.open("rb") as file:
        file.seek(member.header_offset + LOCAL_HEADER - 4)
        name_length, extra_length = np.frombuffer(file.read(4), dtype="<u2")
    return _mapped(path, member.header_offset + LOCAL_HEADER + int(name_length) + int(extra_length))


def _mapped(path: Path, start: int) -> npt.NDArray[Any]:
    """The array whose .npy header begins at a byte of a file: in the file's own memory, nothing is read."""
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran, dtype = read_header(file)
        offset = file.tell()
    size, there = bytes_of(shape, dtype), path.stat().st_size - offset
    if size > there:
        raise DataFormatError(f"{path}: an array of shape {shape} takes {size:,} bytes, found {there:,}")
    if not size:
        return np.empty(shape, dtype)
    values: npt.NDArray[Any] = np.memmap(
        path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )
    return np.asarray(values)
