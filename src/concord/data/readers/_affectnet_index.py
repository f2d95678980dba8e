"""The index of AffectNet's tiny files: read once, kept as one Parquet file, opened in a moment.

The release of 2021 has up to four `.npy` files an image. The index holds their values, and for which rows
there is an image. It is made again when a file comes or goes in one of the folders (their modification
times say so), when it is damaged, or on request.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.files import write_frame
from concord.data.parquet import parquet_metadata, scan_parquet
from concord.data.paths import is_clutter
from concord.errors import ConcordWarning, DataFormatError, MissingDataError, OutputError

_VERSION = 1
_KEY = "concord.affectnet"
_THREADS = 8  # reading a tiny file over a network is waiting
_BATCH = 2000
_LANDMARKS = 136
_HEADER = re.compile(
    rb"\x93NUMPY[\x01\x02]\x00(?s:..|....)\{'descr': '(?P<type>[<>|=]?[USiuf][0-9]{1,3})', "
    rb"'fortran_order': (False|True), 'shape': \((?P<shape>[0-9, ]*)\), \} *\n?"
)


def index(
    root: Path, sets: Mapping[str, str], landmarks: bool, cache: Path | None, refresh: bool
) -> pl.DataFrame:
    """Annotations of all images.

    Args:
        root: Folder of the data set.
        sets: Folder below root by split.
        landmarks: Whether to read the landmarks as well.
        cache: File of the index; None keeps one a data set in the user's cache folder.
        refresh: Whether to read all files again.

    Returns:
        Columns `path`, `split`, `expression` (the code, null without annotation), `valence`, `arousal`,
        `landmarks` if asked for, and `present` (whether there is an image).

    Raises:
        DataFormatError: A file that is not in the format.
        MissingDataError: An image with some of its annotation files only.
    """
    file = cache or _default_file(root, landmarks)
    key = _key(root, sets, landmarks)  # before the files are read: what comes later makes the index old
    if not refresh:
        kept = _load(file, key)
        if kept is not None:
            return kept
    frame = pl.concat([_set_frame(root, name, split, landmarks) for split, name in sets.items()])
    _store(frame, file, key)
    return frame


def _default_file(root: Path, landmarks: bool) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    mark = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return Path(home) / "concord" / f"affectnet-{mark}{'-landmarks' * landmarks}.parquet"


def _key(root: Path, sets: Mapping[str, str], landmarks: bool) -> str:
    folders = [root / name / inner for name in sets.values() for inner in ("annotations", "images")]
    times = [folder.stat().st_mtime_ns if folder.is_dir() else None for folder in folders]
    return json.dumps([_VERSION, str(root.resolve()), landmarks, times])


def _load(file: Path, key: str) -> pl.DataFrame | None:
    if not file.is_file():
        return None
    try:
        if parquet_metadata(file).get(_KEY) != key:
            return None
        return scan_parquet(file).collect()
    except (pl.exceptions.PolarsError, OSError, DataFormatError):
        return None  # a damaged index is made again


def _store(frame: pl.DataFrame, file: Path, key: str) -> None:
    try:
        write_frame(frame, file, {_KEY: key})
    except OutputError as error:
        warnings.warn(
            f"AffectNet: the index is not kept ({error}); the next opening reads all files again, "
            f"unless cache= names a file that can be written",
            ConcordWarning,
            stacklevel=2,
        )


def _set_frame(root: Path, name: str, split: str, landmarks: bool) -> pl.DataFrame:
    folder = root / name / "annotations"
    ids = _ids(folder)
    kinds = ("exp", "val", "aro", "lnd") if landmarks else ("exp", "val", "aro")
    images = _stems(root / name / "images", ".jpg")
    annotated = sorted(ids, key=_natural)
    with ThreadPoolExecutor(_THREADS) as pool:
        batches = pool.map(lambda some: [_annotation(folder, i, kinds) for i in some], _batches(annotated))
        rows = [row for batch in batches for row in batch]
    bare = sorted(images - ids, key=_natural)
    rows += [(None,) * len(kinds)] * len(bare)
    schema = {"expression": pl.Int8, "valence": pl.Float32, "arousal": pl.Float32}
    values = pl.DataFrame([row[:3] for row in rows], schema=schema, orient="row")
    names = pl.Series("id", annotated + bare, dtype=pl.String)
    frame = values.select(
        pl.concat_str(pl.lit(f"{name}/images/"), names, pl.lit(".jpg")).alias("path"),
        pl.lit(split).alias("split"),
        pl.all(),
        present=names.is_in(pl.Series(list(images), dtype=pl.String).implode()),
    )
    if landmarks:
        points = pl.Series("landmarks", [row[3] for row in rows], dtype=pl.List(pl.Float32))
        frame = frame.with_columns(points)
    return frame


def _ids(folder: Path) -> set[str]:
    """Images with annotation files, all three of which must be there."""
    kinds = {kind: _stems(folder, f"_{kind}.npy") for kind in ("exp", "val", "aro")}
    every = set[str]().union(*kinds.values())
    for kind, ids in kinds.items():
        if lost := every - ids:
            raise MissingDataError(
                f"{folder}: expected _exp, _val and _aro files for each image, found {len(lost)} without "
                f"_{kind}.npy, the first {min(lost, key=_natural)!r}; is the data set complete?"
            )
    return every


def _stems(folder: Path, suffix: str) -> set[str]:
    if not folder.is_dir():
        return set()
    return {n.removesuffix(suffix) for n in os.listdir(folder) if n.endswith(suffix) and not is_clutter(n)}


def _batches(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]


def _natural(name: str) -> tuple[int, str]:
    return (int(name) if name.isascii() and name.isdigit() else -1, name)


# -- one image -------------------------------------------------------------------------------------


def _annotation(folder: Path, name: str, kinds: Iterable[str]) -> tuple[Any, ...]:
    return tuple(_READERS[kind](folder / f"{name}_{kind}.npy") for kind in kinds)


def _expression(path: Path) -> int:
    text = _scalar(path)
    if not re.fullmatch(r"[0-9]|10", text):
        raise DataFormatError(f"{path}: expected an expression code, 0 to 10, found {text!r}")
    return int(text)


def _affect(path: Path) -> float | None:
    text = _scalar(path)
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (value == -2 or -1 <= value <= 1):
        raise DataFormatError(f"{path}: expected a number, -1 to 1, or -2 where unusable, found {text!r}")
    return None if value == -2 else value


def _points(path: Path) -> list[float]:
    values = _array(path)
    if values.size != _LANDMARKS or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataFormatError(
            f"{path}: expected {_LANDMARKS} finite numbers, found {values.dtype} of shape {values.shape}"
        )
    return values.reshape(-1).astype(np.float32).tolist()


_READERS = {"exp": _expression, "val": _affect, "aro": _affect, "lnd": _points}


def _scalar(path: Path) -> str:
    """The one value of a file as text: releases hold strings or numbers."""
    values = _array(path)
    if values.size != 1:
        raise DataFormatError(f"{path}: expected one value, found shape {values.shape}")
    if values.dtype.kind in "US":
        # Decoded here: NumPy fails with a SystemError on numbers that are no character.
        wide = "utf-32-be" if values.dtype.byteorder == ">" else "utf-32-le"
        text = values.tobytes().decode("latin-1" if values.dtype.kind == "S" else wide, "replace")
        return text.rstrip("\0").strip()
    return str(values.reshape(-1)[0])


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path}: expected an annotation, found no file; is the data set complete?"
        ) from error
    wide = data[6:7] != b"\x01"  # the second version of the format has a longer field for the header's length
    start = 12 + int.from_bytes(data[8:12], "little") if wide else 10 + int.from_bytes(data[8:10], "little")
    try:
        dtype, shape = _header(data[:start])
        if len(data) - start != dtype.itemsize * int(np.prod(shape)):
            raise ValueError(f"{len(data) - start} bytes of values for {dtype} of shape {shape}")
        return np.frombuffer(data, dtype, offset=start).reshape(shape)
    except (ValueError, TypeError) as error:
        raise DataFormatError(f"{path}: expected a NumPy file of text or numbers, found {error}") from error


@lru_cache(maxsize=256)
def _header(head: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape; the files of one data set have a handful of different headers.

    They are matched, not evaluated, and hold no objects, so that no file can run code.
    """
    match = _HEADER.fullmatch(head)
    if match is None:
        raise ValueError(f"the header {head[:90]!r}")
    shape = tuple(int(size) for size in match["shape"].split(b",") if size.strip())
    return np.dtype(match["type"].decode()), shape
