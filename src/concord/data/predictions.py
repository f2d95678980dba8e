"""Predictions of other networks, and features, for the rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.features import FeatureRows
from concord.data.files import unguarded_frame
from concord.data.manifest import Manifest
from concord.data.parquet import scan_parquet
from concord.data.parsing import polars_errors
from concord.errors import ConfigError, DataFormatError, MissingDataError, ShapeError, UnknownNameError
from concord.files import read_arrays
from concord.tasks import Task

Array = npt.NDArray[np.float64]


def read_predictions(path: str | Path, manifest: Manifest, tasks: Sequence[Task]) -> dict[str, Array]:
    """Probabilities of each task for every row of a manifest: by task, (n, C) or (n, K).

    A .csv or .parquet file has a column `TASK.NAME` for every class and label, or `TASK.head.NAME` as
    `concord predict` writes it; an .npz file an array for every task. Rows are found by the column `path`
    where both have one, else they are in the manifest's order.

    Args:
        path: The file.
        manifest: Whose rows.
        tasks: Of which tasks.

    Raises:
        MissingDataError: No such file.
        ConfigError: Another kind of file.
        DataFormatError: A file that cannot be read, or a column that holds no numbers.
        UnknownNameError: A task without a column or array, or a path without predictions.
        ShapeError: Another number of rows than the manifest, or of columns than the task.
    """
    file = _existing(path, (".csv", ".parquet", ".npz"))
    if file.suffix == ".npz":
        arrays = read_arrays(file)
        for task in tasks:
            if task.name not in arrays:
                raise UnknownNameError.of(f"array in {file}", task.name, arrays)
        out = {task.name: _numbers(arrays[task.name], task, file) for task in tasks}
    else:
        with polars_errors(file, "a table of predictions"):
            csv = file.suffix == ".csv"
            frame = unguarded_frame(pl.read_csv(file, glob=False)) if csv else scan_parquet(file).collect()
        frame = _in_order(frame, manifest, file)
        out = {task.name: _columns(frame, task, file) for task in tasks}
    for task in tasks:
        if out[task.name].shape != (len(manifest), task.width):
            raise ShapeError(
                f"{file}: predictions of {task.name!r} have shape ({len(manifest)}, {task.width}), found "
                f"{out[task.name].shape}"
            )
    return out


def read_features(path: str | Path, manifest: Manifest, key: str = "x") -> npt.NDArray[Any]:
    """Features of every row of a manifest: (n, d).

    Args:
        path: An .npy file, or an .npz file with an array `key` or with one array alone.
        manifest: Whose rows; its column `row` counts those of the file, where it has one.
        key: Name of the array.

    Raises:
        MissingDataError: No such file.
        ConfigError: Another kind of file.
        DataFormatError: A file that cannot be read, or that holds no numbers.
        UnknownNameError: No such array.
        ShapeError: Other than two dimensions, or another number of rows than the manifest.
        NotFiniteError: NaN or infinity among them; names the row.
    """
    rows = FeatureRows(_existing(path, (".npy", ".npz")), key=key)
    numbered = "row" in manifest.frame.columns and not manifest.frame["row"].has_nulls()
    if len(rows.shape) != 2 or not (numbered or len(rows) == len(manifest)):
        raise ShapeError(f"{path}: features have shape ({len(manifest)}, d), found {rows.shape}")
    chosen = np.arange(len(manifest))
    return rows.take(rows.keys(manifest)(chosen) if numbered else chosen)


def _existing(path: str | Path, kinds: Sequence[str]) -> Path:
    file = Path(path)
    if file.suffix not in kinds:
        raise ConfigError(f"{', '.join(kinds)} is read here, found {str(path)!r}")
    if not file.is_file():
        raise MissingDataError(f"expected a file at {file}, found none")
    return file


def _numbers(values: npt.NDArray[Any], task: Task, file: Path) -> Array:
    if values.dtype.kind not in "fiub":
        raise DataFormatError(f"{file}: predictions of {task.name!r} are numbers, found {values.dtype}")
    return values.astype(np.float64)


def _in_order(frame: pl.DataFrame, manifest: Manifest, file: Path) -> pl.DataFrame:
    if "path" not in frame.columns or "path" not in manifest.frame.columns:
        return frame
    wanted = manifest.frame.select("path")
    missing = wanted.join(frame, on="path", how="anti")
    if missing.height:
        raise UnknownNameError(
            f"{file} has no predictions of {missing.height} of {wanted.height} rows, the first is "
            f"{missing['path'][0]!r}"
        )
    return wanted.join(frame.unique("path", keep="first"), on="path", how="left", maintain_order="left")


def _columns(frame: pl.DataFrame, task: Task, file: Path) -> Array:
    out = np.empty((frame.height, task.width))
    for k, name in enumerate(task.outputs):
        choices = [f"{task.name}.head.{name}", f"{task.name}.{name}"]
        found = next((column for column in choices if column in frame.columns), None)
        if found is None:
            raise UnknownNameError.of(f"column in {file}", choices[-1], frame.columns)
        try:
            out[:, k] = frame[found].cast(pl.Float64).fill_null(np.nan).to_numpy()
        except pl.exceptions.PolarsError as error:
            raise DataFormatError(f"{file}: column {found!r} holds something that is no number") from error
    return out
