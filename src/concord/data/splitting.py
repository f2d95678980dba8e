"""New splits: whole groups, and every class and label in its share.

Groups and labels are balanced as in iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011):
the largest and rarest first, each to the split that needs it most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import SPLITS, Manifest, task_columns
from concord.errors import ConfigError, UnknownNameError
from concord.tasks import MulticlassTask

Array = npt.NDArray[Any]
GAP = -1


def resplit(
    manifest: Manifest,
    shares: Mapping[str, float],
    *,
    by_group: bool = True,
    stratify: str | Iterable[str] = (),
    keep: str | Iterable[str] = (),
    seed: int = 0,
) -> Manifest:
    """Draw new splits, the same for the same seed.

    A group is never cut, and neither is a path that occurs in several rows. A name is one group in all
    sources, as in `group_codes`: two sources often annotate the same videos.

    Args:
        manifest: What to split.
        shares: Positive weight of each split, such as {"train": 0.8, "val": 0.1, "test": 0.1}; they need
            not sum to 1.
        by_group: Keep the rows of a group together (subject-exclusive splits). Rows without a group stand
            alone.
        stratify: Tasks of which every class and label shall have its share in every split, and a row there if
            as many rows (groups) as splits have it, however small its share.
        keep: Splits that stay as they are; only the rows of the others are drawn again.
        seed: Of the draw.

    Returns:
        The manifest with another column `split`; `split_shares` says what was reached.

    Raises:
        UnknownNameError: No such split or task.
        ConfigError: Shares that are not positive, fewer groups than splits, or a group that has rows both
            in a kept split and outside.
    """
    names, weights = _check_shares(shares)
    kept = _check_splits([keep] if isinstance(keep, str) else list(keep))
    tasks = [manifest.task(name) for name in ([stratify] if isinstance(stratify, str) else stratify)]
    free = (~manifest.frame["split"].is_in(list(kept)).fill_null(False)).to_numpy()
    if not free.any():
        raise ConfigError(f"all rows are in the kept splits {', '.join(kept)}; nothing is left to split")
    units = sample_keys(manifest, by_group)
    if kept:
        _check_uncut(units, free)
    columns = [column for task in tasks for column in task_columns(task)]
    chosen = _assign(units[free], *_signatures(manifest.frame, columns, free), weights, seed)
    codes = manifest.frame["split"].to_physical().cast(pl.Int64).fill_null(-1).to_numpy().copy()
    codes[free] = np.asarray([SPLITS.index(name) for name in names])[chosen]
    split = pl.Series("split", codes).replace_strict(
        {**dict(enumerate(SPLITS)), -1: None}, return_dtype=pl.Enum(SPLITS)
    )
    return replace(manifest, frame=manifest.frame.with_columns(split))


def split_shares(manifest: Manifest, tasks: Iterable[str] = ()) -> pl.DataFrame:
    """What share of the rows, groups, classes and labels every split has.

    Args:
        manifest: What was split.
        tasks: Names of the tasks whose classes and labels are counted.

    Returns:
        Columns `what` ("rows", "groups", "TASK = CLASS", "TASK.LABEL = 1"), `n` (how many there are) and one
        share in [0, 1] a split; rows without a split count in `n` only.
    """
    frame = manifest.frame
    lines = [_shares("rows", frame)]
    if frame["group"].null_count() < frame.height:
        first = frame.filter(pl.col("group").is_not_null()).unique(["group", "split"], maintain_order=True)
        lines.append(_shares("groups", first))
    for task in (manifest.task(name) for name in tasks):
        if isinstance(task, MulticlassTask):
            lines.extend(
                _shares(f"{task.name} = {name}", frame.filter(pl.col(task.name) == name))
                for name in task.classes
            )
        else:
            lines.extend(
                _shares(f"{column} = 1", frame.filter(pl.col(column) == 1)) for column in task_columns(task)
            )
    return pl.DataFrame(lines, schema={"what": pl.String, "n": pl.Int64, **dict.fromkeys(SPLITS, pl.Float64)})


def sample_keys(manifest: Manifest, by_group: bool = True) -> npt.NDArray[np.int64]:
    """What must not be cut by a split: one number a row, equal for rows of one group or path. Shape (n,)."""
    frame = manifest.frame
    grouped = pl.col("group").is_not_null() if by_group else pl.lit(False)
    placed = pl.col("path").is_not_null() & ~grouped if "path" in frame.columns else pl.lit(False)
    keys = [pl.when(~grouped & ~placed).then(pl.int_range(pl.len())).alias("row")]
    if by_group:
        keys.append(pl.col("group"))
    if "path" in frame.columns:
        keys.append(pl.when(placed).then(pl.col("path")).alias("path"))
    return _numbered(frame.select(keys))


def _numbered(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """A number for every distinct row, in the order of first appearance. Shape (n,)."""
    found = [column for column in frame.columns if frame[column].null_count() < frame.height]
    if not found:
        return np.zeros(frame.height, dtype=np.int64)
    groups = frame.select(found).with_row_index("\0").group_by(found, maintain_order=True).agg("\0")["\0"]
    out = np.empty(frame.height, dtype=np.int64)
    out[groups.explode().to_numpy()] = np.repeat(np.arange(len(groups)), groups.list.len().to_numpy())
    return out


# -- checks ------------------------------------------------------------------------------------------


def _check_splits(names: Iterable[str]) -> tuple[str, ...]:
    for name in names:
        if name not in SPLITS:
            raise UnknownNameError.of("split", name, SPLITS)
    return tuple(names)


def _check_shares(shares: Mapping[str, float]) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    names = _check_splits(tuple(shares))
    weights = np.asarray([float(shares[name]) for name in names])
    if not len(names) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ConfigError(f"every split needs a share above 0, found {dict(shares)}")
    return names, weights / weights.sum()


def _check_uncut(units: Array, free: npt.NDArray[np.bool_]) -> None:
    cut = np.intersect1d(units[free], units[~free])
    if len(cut):
        raise ConfigError(
            f"{len(cut)} groups have rows both in a kept split and outside; keep no split, or filter them out"
        )


# -- the draw ----------------------------------------------------------------------------------------


def _signatures(
    frame: pl.DataFrame, columns: Sequence[str], rows: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which combination of annotations a row has, and what counts in each combination.

    Returns:
        Shape (n,), an index of combinations; and (combinations, features): 1 for the row itself, then
        whether it has each value of each column.
    """
    part = frame.filter(pl.Series(rows))
    if not columns:
        return np.zeros(part.height, dtype=np.int64), np.ones((1, 1))
    codes = part.select(pl.col(columns).to_physical().cast(pl.Int32).fill_null(GAP))
    index = _numbered(codes)
    first = np.unique(index, return_index=True)[1]
    features = codes[first.tolist()].to_dummies().to_numpy().astype(np.float64)
    return index, np.hstack([np.ones((len(features), 1)), features])


def _assign(units: Array, signature: Array, features: Array, weights: Array, seed: int) -> Array:
    """The split of every row: units of several rows one by one, single rows in bulk."""
    rng = np.random.default_rng(seed)
    _, units, sizes = np.unique(units, return_inverse=True, return_counts=True)
    if len(sizes) < len(weights):
        raise ConfigError(
            f"{len(sizes)} groups cannot be split into {len(weights)} parts without cutting one"
        )
    total = np.bincount(signature, minlength=len(features)) @ features
    balance = _Balance(np.outer(weights, total))
    of_unit = np.full(len(sizes), -1)
    large = sizes > 1
    order = np.flatnonzero(large)
    if len(order):
        position = np.full(len(sizes), -1)
        position[order] = np.arange(len(order))
        inside = large[units]
        counts = np.zeros((len(order), features.shape[1]))
        np.add.at(counts, position[units[inside]], features[signature[inside]])
        shuffled = rng.permutation(len(order))
        rarity = (counts / total).sum(axis=1)
        for u in shuffled[np.argsort(-rarity[shuffled], kind="stable")]:
            of_unit[order[u]] = balance.place(counts[u])
    row_of_unit = np.empty(len(sizes), dtype=np.int64)
    row_of_unit[units] = np.arange(len(units))
    _assign_single(
        of_unit,
        np.flatnonzero(~large),
        signature[row_of_unit],
        features=features,
        weights=weights,
        balance=balance,
        rng=rng,
    )
    _fill_empty(of_unit, sizes, len(weights))
    _spread_rare(of_unit, units, signature, features, len(weights))
    return of_unit[units]


def _assign_single(
    of_unit: Array,
    single: Array,
    signature: Array,
    *,
    features: Array,
    weights: Array,
    balance: _Balance,
    rng: np.random.Generator,
) -> None:
    """Of equal rows every split gets its share, rounded down; the rest go where they are needed most."""
    shuffled = rng.permutation(single)
    shuffled = shuffled[np.argsort(signature[shuffled], kind="stable")]
    which, starts, counts = np.unique(signature[shuffled], return_index=True, return_counts=True)
    floors = np.floor(np.outer(counts, weights) + 1e-9).astype(np.int64)
    left = []
    for s, start, count, floor in zip(which, starts, counts, floors, strict=True):
        rows = shuffled[start : start + count]
        bulk = int(floor.sum())
        of_unit[rows[:bulk]] = np.repeat(np.arange(len(weights)), floor)
        balance.have += np.outer(floor, features[s])
        left.append(rows[bulk:])
    rest = rng.permutation(np.concatenate(left)) if left else np.empty(0, dtype=np.int64)
    rarity = (features / balance.want.sum(axis=0)).sum(axis=1)[signature[rest]]
    for row in rest[np.argsort(-rarity, kind="stable")]:
        of_unit[row] = balance.place(features[signature[row]])


class _Balance:
    """How much of each feature every split has and wants: shape (splits, features)."""

    def __init__(self, want: Array) -> None:
        self.want = want
        self.have = np.zeros_like(want)
        self.scale = np.divide(1.0, want, out=np.zeros_like(want), where=want > 0)

    def place(self, counts: Array) -> int:
        """Give `counts` to the split where the squared deviations, relative to the wants, grow least."""
        growth = ((2 * (self.have - self.want) + counts) * counts * self.scale).sum(axis=1)
        split = int(growth.argmin())
        self.have[split] += counts
        return split


def _fill_empty(of_unit: Array, sizes: Array, splits: int) -> None:
    """Give a split without any unit the smallest unit of the split that has most of them."""
    for split in range(splits):
        if (of_unit == split).any():
            continue
        richest = int(np.bincount(of_unit, minlength=splits).argmax())
        members = np.flatnonzero(of_unit == richest)
        of_unit[members[sizes[members].argmin()]] = split


def _spread_rare(of_unit: Array, units: Array, signature: Array, features: Array, splits: int) -> None:
    """Give every split a unit of each class and label that as many units as splits have; rarest first."""
    place = of_unit[units] * len(features) + signature
    held = np.bincount(place, minlength=splits * len(features)).reshape(splits, -1) @ features
    lacking = np.flatnonzero((held == 0).any(axis=0))
    for f in lacking[np.argsort(held[:, lacking].sum(axis=0), kind="stable")]:
        holders = np.unique(units[features[signature, f] > 0])
        if len(holders) < splits:
            continue
        for split in range(splits):
            counts = np.bincount(of_unit[holders], minlength=splits)
            if counts[split] == 0:
                of_unit[holders[of_unit[holders] == counts.argmax()][0]] = split


def _shares(what: str, frame: pl.DataFrame) -> dict[str, Any]:
    n = frame.height
    counts = dict(frame["split"].value_counts().iter_rows())
    return {"what": what, "n": n, **{split: counts.get(split, 0) / n if n else None for split in SPLITS}}
