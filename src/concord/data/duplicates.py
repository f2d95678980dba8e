"""Rows that are nearly copies of each other, such as frames of a video, and belong to no group.

A split through such rows has nearly the same pictures in train and test, and whatever counts rows takes
copies for evidence. Three signs, from names to what files hold; each from a sample that is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.paths import DataRoot
from concord.errors import ConcordError

Array = npt.NDArray[Any]
Taker = Callable[[npt.NDArray[np.int64]], Array]
"""Features of rows, (m, ...), by the rows' numbers."""

GROUP_COLUMNS = (
    "video",
    "clip",
    "session",
    "subject",
    "person",
    "patient",
    "participant",
    "identity",
    "speaker",
    "user",
)
"""Columns that are probably what is missing."""

FEWEST_FRAMES = 10
"""Consecutive numbers in one folder from which on they look like frames."""

FEWEST_FOLDERS = 3
SHARE = 0.3
"""Of the looked at rows without a group, so many are near-copies before anything is said."""

SAMPLE, RUN = 2000, 50
JUMP = 10.0
"""A row is a near-copy if its next neighbour but some is so many times as far away as those before it."""

NEIGHBOURS = 256
"""Of each row that are looked at: more copies than that in a sample are not seen."""

FEWEST_CLUSTERS = 15
"""Of near-copies: a few tight ones may be classes."""

FEWEST_ROWS, MOST_COLUMNS = 50, 512
PICTURES, BLOCK = 128, 16
BITS = 3
"""Of 64 bits of a difference hash, how many may differ between near-copies."""

CORRELATION = 0.98
"""Of their thumbnails, at least."""

THUMBNAIL = 16
NUMBERED = r"^(?:(.*)/)?([^/]*?)(\d+)\.[A-Za-z0-9]+$"


def near_copies(
    manifest: Manifest, features: Taker | None = None, *, root: str | Path | None = None
) -> str | None:
    """One sentence on rows without a group that are near-copies of others; None without a sign of any.

    Args:
        manifest: Rows. Those that have a group are passed over.
        features: Gives features of its rows, where they are at hand.
        root: Where images are; the manifest's own root unless given. None looks at no file.
    """
    alone = np.flatnonzero(manifest.frame["group"].is_null().to_numpy())
    if not len(alone):
        return None
    frame = manifest.frame[alone]
    root = manifest.root if root is None else Path(root)
    signs = []
    if "path" in frame.columns:
        paths = frame["path"].drop_nulls().unique()
        signs.append(_like_frames(paths, _names(manifest)))
        signs.append(None if signs[0] or root is None else _like_pictures(paths.sort(), root))
    if features is not None:
        signs.append(_like_rows(features, alone))
    return _told(manifest.name or "the manifest", signs, frame.columns)


def near_copies_in_memory(features: Array, groups: Array | None, name: str) -> str | None:
    """The same of rows in memory, by their features.

    Args:
        features: (n, ...) numbers.
        groups: (n,) groups, a row that has none being one of its own; None where no row has one.
        name: Of the data.
    """
    if groups is None:
        alone = np.arange(len(features))
    else:
        _, index, count = np.unique(groups, return_inverse=True, return_counts=True)
        alone = np.flatnonzero(count[index] == 1)
    return _told(name, [_like_rows(lambda rows: features[rows], alone)], ())


def _told(name: str, signs: Iterable[str | None], columns: Iterable[str]) -> str | None:
    found = [sign for sign in signs if sign]
    if not found:
        return None
    known = {column.lower(): column for column in columns}
    group = next((known[each] for each in GROUP_COLUMNS if each in known), "COLUMN")
    return (
        f"{name}: {'; '.join(found)}, and have no group. If they are frames of videos or pictures of one "
        f"person, name the column that says which: concord data table ... --group {group}"
    )


# -- names of files --------------------------------------------------------------------------------------


def _names(manifest: Manifest) -> frozenset[str]:
    """Folders that are no videos: classes, labels, splits."""
    outputs = (name.lower() for task in manifest.tasks for name in task.outputs)
    return frozenset((*outputs, "train", "training", "val", "valid", "validation", "dev", "test", "testing"))


def _like_frames(paths: pl.Series, others: Iterable[str]) -> str | None:
    """Several folders (or beginnings of names), in each of which files are numbered from the start.

    Numbers that go on from folder to folder are those of one list in parts.
    """
    parts = pl.DataFrame(
        {"folder": paths.str.extract(NUMBERED, 1), "stem": paths.str.extract(NUMBERED, 2)}
    ).with_columns(
        paths.str.extract(NUMBERED, 3).cast(pl.Int64, strict=False).alias("number"),
        pl.col("folder").str.extract(r"([^/]*)$").str.to_lowercase().alias("last"),
    )
    numbered = parts.filter(
        pl.col("number").is_not_null() & ~pl.col("last").is_in(list(others)).fill_null(False)
    )
    runs = (
        numbered.group_by("folder", "stem")
        .agg(
            pl.len().alias("files"),
            pl.col("number").min().alias("first"),
            pl.col("number").max().alias("last"),
        )
        .filter(
            (pl.col("files") >= FEWEST_FRAMES)
            & (pl.col("last") - pl.col("first") < 2 * pl.col("files"))
            & (pl.col("first") < FEWEST_FRAMES)
        )
    )
    rows = int(runs["files"].sum())
    if runs.height < FEWEST_FOLDERS or rows < SHARE * len(paths):
        return None
    return f"{rows:,} rows are numbered files of {runs.height:,} folders or names, as frames of videos are"


# -- features ------------------------------------------------------------------------------------------------


def _like_rows(features: Taker, alone: npt.NDArray[np.int64]) -> str | None:
    """Rows whose nearest neighbours are far nearer than the ones after, whatever the scale and dimension.

    Equal rows count once: the same sample may be there for each of its annotations.
    """
    if len(alone) < FEWEST_ROWS:
        return None
    try:
        x = np.asarray(features(alone[_sampled(len(alone))]))
    except ConcordError:
        return None  # what is wrong with them is told where they are trained on
    x = x.reshape(len(x), -1)
    x = x[:, np.unique(np.linspace(0, x.shape[1] - 1, MOST_COLUMNS).astype(int))].astype(np.float64)
    x = np.unique(x[np.isfinite(x).all(axis=1)], axis=0)
    if len(x) < FEWEST_ROWS:
        return None
    x = x[:, x.std(axis=0) > 0]
    distance = _nearest((x - x.mean(axis=0)) / x.std(axis=0))
    jumps = distance[:, 1:] > JUMP * distance[:, :-1]
    copied = jumps.any(axis=1)
    copies, groups = int(copied.sum()), (1 / (jumps.argmax(axis=1) + 2))[copied].sum()
    if copies < SHARE * len(x) or groups < FEWEST_CLUSTERS:
        return None
    return f"{copies:,} of {len(x):,} rows looked at have features nearly equal to those of others"


def _nearest(x: Array) -> Array:
    """Distances to the nearest rows, in order; at least a millionth of the usual one: (n, some)."""
    some = min(NEIGHBOURS, len(x) // 2)
    square = (x**2).sum(axis=1)
    distance = square[:, None] + square - 2 * x @ x.T
    np.fill_diagonal(distance, np.inf)
    near = np.sqrt(np.maximum(np.sort(np.partition(distance, some, axis=1)[:, :some], axis=1), 0))
    return np.asarray(np.maximum(near, 1e-6 * np.median(near)))


def _sampled(n: int) -> npt.NDArray[np.int64]:
    """Row numbers: runs of neighbours, for copies often stand together, and rows from anywhere."""
    if n <= SAMPLE:
        return np.arange(n)
    starts = np.linspace(0, n - RUN, SAMPLE // (2 * RUN)).astype(np.int64)
    together = (starts[:, None] + np.arange(RUN)).ravel()
    anywhere = np.random.default_rng(0).choice(n, SAMPLE // 2, replace=False)
    return np.unique(np.concatenate([together, anywhere]))


# -- pictures ------------------------------------------------------------------------------------------------


def _like_pictures(paths: pl.Series, root: Path) -> str | None:
    """Files next to each other by name whose difference hashes and thumbnails are nearly equal."""
    starts = np.linspace(0, max(len(paths) - BLOCK, 0), min(PICTURES // BLOCK, max(len(paths) // BLOCK, 1)))
    looked = copies = 0
    for start in np.unique(starts.astype(int)):
        pictures = _thumbnails(paths[int(start) : int(start) + BLOCK], root)
        if pictures is None:
            return None
        looked += len(pictures)
        copies += int(_copies(pictures).sum()) if len(pictures) > 1 else 0
    if looked < BLOCK or copies < SHARE * looked:
        return None
    return f"{copies:,} of {looked:,} pictures looked at are nearly equal to others"


def _thumbnails(paths: Iterable[str], root: Path) -> Array | None:
    """Grey thumbnails: (n, THUMBNAIL, THUMBNAIL + 1); None where a file cannot be read."""
    from PIL import Image

    try:
        place, out = DataRoot(root), []
        for path in paths:
            with place.open(path) as file, Image.open(file) as image:
                image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
                small = image.convert("L").resize((THUMBNAIL + 1, THUMBNAIL), Image.Resampling.BOX)
                out.append(np.asarray(small, dtype=np.float64))
    except (ConcordError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # what cannot be read is told where it is trained on
    return np.stack(out)


def _copies(pictures: Array) -> Array:
    """Which pictures are nearly equal to another, but not the same: (n,)."""
    halves = pictures[:, :, :THUMBNAIL].reshape(len(pictures), 8, 2, 8, 2).mean(axis=(2, 4))
    bits = (np.diff(np.concatenate([halves, pictures[:, ::2, -1:]], axis=2), axis=2) > 0).reshape(
        len(pictures), -1
    )
    differ = (bits[:, None] != bits).sum(axis=2)
    flat = pictures.reshape(len(pictures), -1)
    same = (flat[:, None] == flat).all(axis=2)
    centred = flat - flat.mean(axis=1, keepdims=True)
    norm = np.maximum(np.sqrt((centred**2).sum(axis=1)), 1e-9)
    alike = (centred @ centred.T) / (norm[:, None] * norm) >= CORRELATION
    return np.asarray(((differ <= BITS) & alike & ~same).any(axis=1))
