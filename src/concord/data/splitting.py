"""New splits: whole groups, and every class and label in its share.

Groups and labels are balanced as in iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011):
the largest and rarest first, each to the split that needs it most.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from concord.data.manifest import SPLITS, Manifest, task_columns
from concord.errors import ConcordWarning, ConfigError, UnknownNameError
from concord.tasks import MulticlassTask

Array = npt.NDArray[Any]
GAP = -1

MOVES = 20
"""How many moves of units are tried for each class or label that a split lacks, at most."""

SHOWN = 5


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

    A group is never cut, and neither is a path that occurs in several rows, or a row of a feature file that
    occurs twice in one source. Groups that share a path stay together, and so does a row without a group with
    the group of its path. A name is one group in all sources, as in `group_codes`: two sources often annotate
    the same videos.

    Args:
        manifest: What to split.
        shares: Positive weight of each split, such as {"train": 0.8, "val": 0.1, "test": 0.1}; they need
            not sum to 1.
        by_group: Keep the rows of a group together (subject-exclusive splits). Rows without a group stand
            alone, unless their sample occurs in other rows.
        stratify: Tasks of which every class and label shall have its share in every split, and a row there if
            as many rows (groups) as splits have it, however small its share. Where no such split is found, a
            `ConcordWarning` names what is lacking.
        keep: Splits that stay as they are; only the rows of the others are drawn again.
        seed: Of the draw.

    Returns:
        The manifest with another column `split`; `split_shares` says what was reached.

    Raises:
        UnknownNameError: No such split or task.
        ConfigError: Shares that are not positive, fewer groups than splits, a kept split without rows, or a
            group that has rows both in a kept split and outside.
    """
    names, weights = _check_shares(shares)
    kept = _check_splits([keep] if isinstance(keep, str) else list(keep))
    there = set(manifest.frame["split"].drop_nulls().unique())
    for name in kept:
        if name not in there:
            raise ConfigError(f"no row is in split {name!r}, which was to be kept")
    tasks = [manifest.task(name) for name in ([stratify] if isinstance(stratify, str) else stratify)]
    free = (~manifest.frame["split"].is_in(list(kept)).fill_null(False)).to_numpy()
    if not free.any():
        raise ConfigError(f"all rows are in the kept splits {', '.join(kept)}; nothing is left to split")
    units = sample_keys(manifest, by_group)
    if kept:
        _check_uncut(units, free)
    columns = [column for task in tasks for column in task_columns(task)]
    signature, features, values = _signatures(manifest.frame, columns, free)
    chosen, lacking = _assign(units[free], signature, features, values != "", weights, seed)
    if lacking.any():
        _tell_lacking(names, values, lacking)
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
    """What must not be cut by a split: one number a row. Shape (n,).

    Rows are of one number where they are of one group, path or, without a path, row of a source's feature
    file; and where other rows join them: two groups that share a path are one.
    """
    frame = manifest.frame
    keys = [["group"]] if by_group else []
    if "path" in frame.columns:
        keys.append(["path"])
    if "row" in frame.columns:
        placed = pl.col("path").is_not_null() if "path" in frame.columns else pl.lit(False)
        frame = frame.with_columns(row=pl.when(~placed).then(pl.col("row")))
        keys.append(["row", *(["source"] if "source" in frame.columns else [])])
    used = [columns for columns in keys if frame[columns[0]].null_count() < frame.height]
    return _joined([_codes(frame, columns) for columns in used], frame.height)


def _codes(frame: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number for what several rows have in some columns; `GAP` elsewhere, and without the first."""
    several = pl.struct(columns).is_duplicated() if len(columns) > 1 else pl.col(columns[0]).is_duplicated()
    there = frame.select(several & pl.col(columns[0]).is_not_null()).to_series()
    codes = np.full(frame.height, GAP, dtype=np.int64)
    if there.any():
        codes[there.to_numpy()] = _numbered(frame.select(columns).filter(there))
    return codes


def _joined(codes: Sequence[npt.NDArray[np.int64]], rows: int) -> npt.NDArray[np.int64]:
    """The connected component of every row, where equal codes connect; in the order of first appearance.

    Args:
        codes: Shape (n,) each, `GAP` for no code.
        rows: n.

    Returns:
        Shape (n,).
    """
    starts, ends, size = [], [], rows
    for of_row in codes:
        there = np.flatnonzero(of_row != GAP)
        starts.append(there)
        ends.append(size + of_row[there])
        size += int(of_row.max()) + 1
    start, end = np.concatenate([[], *starts]).astype(np.int64), np.concatenate([[], *ends]).astype(np.int64)
    graph = coo_array((np.ones(len(start), dtype=np.int8), (start, end)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][:rows]
    return _numbered(pl.DataFrame({"row": labels}))


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
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Which combination of annotations a row has, and what counts in each combination.

    Returns:
        Shape (n,), an index of combinations; (combinations, features): 1 for the row itself, then whether it
        has each value of each column; and (features,): "rows", then "COLUMN = CLASS" or "COLUMN = 1", empty
        for gaps and labels that are absent, which no split needs.
    """
    part = frame.filter(pl.Series(rows))
    if not columns:
        return np.zeros(part.height, dtype=np.int64), np.ones((1, 1)), np.asarray(["rows"])
    codes = part.select(pl.col(columns).to_physical().cast(pl.Int32).fill_null(GAP))
    index = _numbered(codes)
    first = np.unique(index, return_index=True)[1]
    dummies = codes[first.tolist()].to_dummies()
    values = ["rows", *(_value(frame, *name.rsplit("_", 1)) for name in dummies.columns)]
    features = dummies.to_numpy().astype(np.float64)
    return index, np.hstack([np.ones((len(features), 1)), features]), np.asarray(values)


def _value(frame: pl.DataFrame, column: str, code: str) -> str:
    """What `split_shares` calls a value of a column; empty for a gap, and for the 0 of a label."""
    dtype = frame.schema[column]
    if isinstance(dtype, pl.Enum):
        return "" if int(code) == GAP else f"{column} = {dtype.categories[int(code)]}"
    return f"{column} = 1" if int(code) == 1 else ""


def _assign(
    units: Array, signature: Array, features: Array, needed: Array, weights: Array, seed: int
) -> tuple[Array, Array]:
    """The split of every row: units of several rows one by one, single rows in bulk.

    Returns:
        Shape (n,); and (splits, features), which of the features `needed` (features,) a split lacks although
        there are units enough.
    """
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
    lacking = _Spread(of_unit, units, signature, features, len(weights)).complete(needed, rng)
    return of_unit[units], lacking


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


class _Spread:
    """How many rows with each feature every split has, while units move.

    Args:
        of_unit: Shape (units,), the split of each; `complete` changes it.
        units: Shape (n,), the unit of each row.
        signature: Shape (n,), the combination of annotations of each row.
        features: Shape (combinations, features).
        splits: How many there are.
    """

    def __init__(self, of_unit: Array, units: Array, signature: Array, features: Array, splits: int) -> None:
        self.of_unit, self.splits = of_unit, splits
        self.units, self.signature, self.features = units, signature, features
        place = of_unit[units] * len(features) + signature
        self.held = np.bincount(place, minlength=splits * len(features)).reshape(splits, -1) @ features
        self.moved = np.zeros(len(of_unit), dtype=np.int64)
        self.found: dict[int, Array] = {}

    @cached_property
    def combinations(self) -> csr_array:
        """How many rows of each combination a unit has: shape (units, combinations)."""
        shape = (len(self.of_unit), len(self.features))
        return csr_array((np.ones(len(self.units)), (self.units, self.signature)), shape=shape)

    def complete(self, needed: Array, rng: np.random.Generator) -> Array:
        """Move units until every split has each of the features `needed` that as many units as splits have.

        Where nothing is lacking, nothing moves and nothing is drawn.

        Returns:
            Shape (splits, features): what the best arrangement that was found lacks.
        """
        wanting = np.flatnonzero(needed & (self.held == 0).any(axis=0)).tolist()
        needed = needed.copy()
        needed[[f for f in wanting if len(self._holders(f)) < self.splits]] = False
        best, lacking = self.of_unit.copy(), (self.held == 0) & needed
        fewest = lacking
        for _ in range(MOVES * int(lacking.sum())):
            places = np.argwhere(lacking)
            split, feature = places[rng.integers(len(places))].tolist()
            self._bring(split, feature, needed)
            lacking = (self.held == 0) & needed
            if lacking.sum() < fewest.sum():
                best, fewest = self.of_unit.copy(), lacking
            if not lacking.any():
                break
        self.of_unit[:] = best
        return fewest

    def _holders(self, feature: int) -> Array:
        if feature not in self.found:
            self.found[feature] = np.unique(self.units[self.features[self.signature, feature] > 0])
        return self.found[feature]

    def _bring(self, split: int, feature: int, needed: Array) -> None:
        """Give a split that unit with a feature which brings it most, and which its own split can spare.

        A unit that was moved before is taken the less gladly, so that no two of them take turns for ever.
        """
        units = self._holders(feature)
        counts = self.combinations[units] @ self.features
        last = (counts > 0) & (self.held[self.of_unit[units]] == counts)
        brought = (counts > 0) & (self.held[split] == 0) & needed
        cost = (last & needed).sum(axis=1) - brought.sum(axis=1) + self.moved[units]
        # Never the last unit of a split; of equals one with fewer last gaps and zeros, then the smallest.
        chosen = np.lexsort((counts[:, 0], last.sum(axis=1), cost, last[:, 0]))[0]
        self.held[self.of_unit[units[chosen]]] -= counts[chosen]
        self.held[split] += counts[chosen]
        self.of_unit[units[chosen]] = split
        self.moved[units[chosen]] += 1


def _tell_lacking(splits: Sequence[str], values: Array, lacking: Array) -> None:
    """Warn of classes and labels that a split lacks: shape (splits, features)."""
    found = [f"{values[f]} in {splits[s]}" for f, s in np.argwhere(lacking.T)]
    more = ", ..." if len(found) > SHOWN else ""
    warnings.warn(
        f"no draw was found that gives every split a row of each class and label and cuts no group; "
        f"lacking: {', '.join(found[:SHOWN])}{more}; try another seed, or stratify by fewer tasks",
        ConcordWarning,
        stacklevel=3,
    )


def _shares(what: str, frame: pl.DataFrame) -> dict[str, Any]:
    n = frame.height
    counts = dict(frame["split"].value_counts().iter_rows())
    return {"what": what, "n": n, **{split: counts.get(split, 0) / n if n else None for split in SPLITS}}
