"""Several manifests made one: stacked (other samples), or merged (other annotations of the same samples)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import RESERVED, Manifest, class_names, class_type, soft_columns, task_columns
from concord.errors import (
    AnnotationError,
    ConfigError,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    UnknownNameError,
)
from concord.tasks import MulticlassTask, Task, unite_tasks

Conflict = Literal["error", "first", "gap"]


def stack(manifests: Sequence[Manifest]) -> Manifest:
    """Several manifests one under another; a column `source` says which one a row came from.

    A source is called as its manifest; of equal names the second becomes `NAME-2`, since rows of two feature
    files must not be taken for the same. A manifest that has a column `source` keeps it.
    Tasks of one name become one task with the classes or labels of all, in the order of first appearance;
    a label that a manifest does not have is a gap in its rows. Where the roots differ, paths become
    relative to the folder that holds them all. `partition("source")` takes them apart again.

    Raises:
        EmptyDataError: No manifest.
        AnnotationError: One name for a multiclass and a multilabel task, a further column of types that have
            nothing in common, or one that is called as another manifest's task and holds no class of it.
        ConfigError: Roots without a folder in common.
    """
    if not manifests:
        raise EmptyDataError("at least one manifest is needed, found none")
    named = _with_sources(manifests)
    tasks = unite_tasks([manifest.tasks for manifest in named])
    rooted = _on_common_root(named)
    frames = [_with_tasks(manifest.frame, tasks) for manifest in rooted]
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise AnnotationError(
            f"columns of one name and different types: {str(error).splitlines()[0]}"
        ) from error
    name = "+".join(dict.fromkeys(m.name for m in named))
    return Manifest(frame, tasks, rooted[0].root, name, _origins(manifests))


def merge(
    manifests: Sequence[Manifest], on: str | Sequence[str] = "path", conflict: Conflict = "error"
) -> Manifest:
    """Several manifests of the same samples side by side: what is annotated in any of them.

    Rows meet where the columns `on` are equal; a row that only one manifest has is kept. A class and its soft
    targets are one annotation: both are of those who agree on them, or of the first, or gaps.

    Args:
        manifests: Each with every key at most once.
        on: Column or columns that identify a sample, without gaps.
        conflict: What to do where two manifests say different things of one sample: raise, believe the
            first, or make it a gap, whatever the others say. A group never becomes a gap: its rows would
            stand alone, and a split could cut it.

    Raises:
        EmptyDataError: No manifest.
        UnknownNameError: A column of `on` is missing.
        DuplicateNameError: A key that occurs twice in a manifest.
        AnnotationError: A conflict, with the key and both values (`conflict="error"`, and of groups
            `conflict="gap"`); or a column of types that cannot be compared.
    """
    if not manifests:
        raise EmptyDataError("at least one manifest is needed, found none")
    keys = [on] if isinstance(on, str) else list(on)
    rooted = _on_common_root(manifests) if "path" in keys else list(manifests)
    for manifest in rooted:
        _check_keys(manifest, keys)
    tasks = unite_tasks([manifest.tasks for manifest in rooted])
    own = {column for task in tasks for column in task_columns(task)}
    # Every manifest brings only what it has.
    frames = [_as_text(_with_tasks(m.frame, tasks, fill=False), tasks) for m in rooted]
    joining = _Joining(keys, conflict, {c: task.name for task in tasks for c in soft_columns(task)})
    frame = frames[0]
    for manifest, further in zip(rooted[1:], frames[1:], strict=True):
        _check_types(frame, further, keys, manifest.name)
        frame = joining.add(frame, further)
    frame = joining.finished(frame)
    missing = [pl.lit(None).alias(column) for column in own if column not in frame.columns]
    name = "+".join(dict.fromkeys(m.name for m in rooted if m.name))
    return Manifest(frame.with_columns(missing), tasks, rooted[0].root, name, _origins(manifests))


def _origins(manifests: Sequence[Manifest]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(origin for manifest in manifests for origin in manifest.origins))


def _with_sources(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The manifests with a name and a column `source`, in which no two of them share a name given here."""
    given = [m.frame["source"].cast(pl.String) for m in manifests if "source" in m.frame.columns]
    taken = {name for column in given for name in column.unique()}
    out = []
    for number, manifest in enumerate(manifests, 1):
        name = manifest.name or f"source{number}"
        if "source" in manifest.frame.columns:
            out.append(replace(manifest, name=name))
            continue
        name = _distinct(name, taken)
        taken.add(name)
        column = pl.lit(name, dtype=pl.String).alias("source")
        out.append(replace(manifest, name=name, frame=manifest.frame.with_columns(column)))
    return out


def _distinct(name: str, taken: Collection[str]) -> str:
    """The name, or `NAME-2`, `NAME-3`, ... where it is taken."""
    if name not in taken:
        return name
    return next(other for i in count(2) if (other := f"{name}-{i}") not in taken)


def _with_tasks(frame: pl.DataFrame, tasks: Sequence[Task], fill: bool = True) -> pl.DataFrame:
    """The frame with the column types of `tasks`; columns it lacks are gaps, or left out."""
    columns: list[pl.Expr | pl.Series] = []
    for task in tasks:
        dtype = class_type(task) if isinstance(task, MulticlassTask) else pl.Int8()
        for column in task_columns(task):
            if column not in frame.columns:
                if fill:
                    columns.append(pl.lit(None, dtype=dtype).alias(column))
            elif isinstance(dtype, pl.Enum) and frame.schema[column] != dtype:
                columns.append(class_names(frame[column], column, dtype, "class"))
        columns.extend(_further_shares(frame, task))
    return frame.with_columns(columns)


def _further_shares(frame: pl.DataFrame, task: Task) -> list[pl.Expr]:
    """Soft targets of classes that a table does not know: none of the votes where there are any."""
    there = [column for column in soft_columns(task) if column in frame.columns]
    if not there:
        return []
    none = pl.when(pl.col(there[0]).is_not_null()).then(pl.lit(0.0, dtype=pl.Float32))
    return [none.alias(column) for column in soft_columns(task) if column not in there]


# -- roots -------------------------------------------------------------------------------------------


def _on_common_root(manifests: Sequence[Manifest]) -> list[Manifest]:
    roots = [manifest.root for manifest in manifests]
    if all(root == roots[0] for root in roots):
        return list(manifests)
    with_paths = [m for m in manifests if "path" in m.frame.columns]
    if any(manifest.root is None for manifest in with_paths):
        lacking = next(m.name for m in with_paths if m.root is None)
        raise ConfigError(
            f"manifest {lacking!r} has paths but no root, while others have one; give it a root"
        )
    folders = [os.path.abspath(root) for root in roots if root is not None]
    same_drive = len({Path(folder).anchor for folder in folders}) == 1
    common = Path(os.path.commonpath(folders)) if same_drive else Path(Path(folders[0]).anchor)
    if common == Path(common.anchor):
        raise ConfigError(
            f"the roots {', '.join(folders)} have no folder in common; use them as sources of a mixture"
        )
    return [_rebased(manifest, common) for manifest in manifests]


def _rebased(manifest: Manifest, root: Path) -> Manifest:
    if manifest.root is None or "path" not in manifest.frame.columns:
        return replace(manifest, root=root)
    prefix = Path(os.path.abspath(manifest.root)).relative_to(root).as_posix()
    if prefix == ".":
        return replace(manifest, root=root)
    return replace(manifest, root=root, frame=manifest.frame.with_columns(path=f"{prefix}/" + pl.col("path")))


# -- merging -----------------------------------------------------------------------------------------


def _check_keys(manifest: Manifest, keys: Sequence[str]) -> None:
    for key in keys:
        if key not in manifest.frame.columns:
            raise UnknownNameError.of("column", key, manifest.frame.columns)
        if manifest.frame[key].null_count():
            raise NoAnnotationError(
                f"{manifest.name or 'a manifest'}: {key!r} is empty in some rows; it is a key"
            )
    twice = manifest.frame.select(keys).is_duplicated()
    if twice.any():
        first = manifest.frame.select(keys).filter(twice).row(0)
        raise DuplicateNameError(
            f"{manifest.name or 'a manifest'}: {', '.join(map(repr, first))} occurs more than once; "
            f"name all columns that identify a sample, now {', '.join(keys)}"
        )


def _as_text(frame: pl.DataFrame, tasks: Sequence[Task]) -> pl.DataFrame:
    """Enumerations other than those of the tasks as text, so that columns of all manifests compare."""
    classes = {task.name for task in tasks}
    odd = [
        name
        for name, dtype in frame.schema.items()
        if isinstance(dtype, (pl.Enum, pl.Categorical)) and name not in classes and name not in RESERVED
    ]
    return frame.with_columns(pl.col(odd).cast(pl.String)) if odd else frame


def _check_types(a: pl.DataFrame, b: pl.DataFrame, keys: Sequence[str], name: str) -> None:
    """Refuse a column of both tables whose types polars does not compare, or not join on."""
    for column in b.columns:
        if column not in a.columns or a.schema[column] == b.schema[column]:
            continue
        first, second = a.select(column).clear(), b.select(column).clear()
        try:
            if column in keys:
                first.join(second, on=column, how="full", coalesce=True)
            else:
                both = first.hstack(second.rename({column: "\0"}))
                both.select(pl.col(column) != pl.col("\0"), pl.coalesce(column, "\0").alias("\0\0"))
        except pl.exceptions.PolarsError as error:
            raise AnnotationError(
                f"column {column!r} holds {a.schema[column]} in one manifest and {b.schema[column]} in "
                f"{name or 'another'}; give it one type in all of them"
            ) from error


@dataclass(frozen=True)
class _Joining:
    r"""How tables meet, one after the other, and what becomes of conflicts.

    What the tables so far agree on stays, and so does what the first of them said; a column `\0NAME` marks
    the rows in which two of them differed, so that nothing fills them again.

    Args:
        keys: Columns that identify a row.
        conflict: As of `merge`.
        of_task: The class column that a column of soft targets is decided with.
    """

    keys: Sequence[str]
    conflict: Conflict
    of_task: Mapping[str, str]

    def add(self, a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
        """The rows of both tables, with what `a` says where they differ."""
        joined = a.join(
            b, on=list(self.keys), how="full", coalesce=True, suffix="\0", maintain_order="left_right"
        )
        units: dict[str, list[str]] = {}
        for column in b.columns:
            if column not in self.keys:
                units.setdefault(self.of_task.get(column, column), []).append(column)
        for unit, columns in units.items():
            shared = [column for column in columns if column in a.columns]
            if shared:
                joined = self._decided(joined, unit, columns, shared)
        return joined

    def _decided(
        self, joined: pl.DataFrame, unit: str, columns: Sequence[str], shared: Sequence[str]
    ) -> pl.DataFrame:
        """One annotation of a joined table: `columns` of the second, of which the first has `shared`."""
        # A gap contradicts nothing.
        unequal = [(pl.col(c) != pl.col(f"{c}\0")).fill_null(False) for c in shared]
        differ = joined.select(pl.any_horizontal(unequal)).to_series()
        mark = f"\0{unit}"
        if differ.any():
            self._check(joined.filter(differ), unit, shared)
            before = pl.col(mark).fill_null(False) if mark in joined.columns else pl.lit(False)
            joined = joined.with_columns((before | differ).alias(mark))
        filled = [
            pl.when(differ).then(pl.col(c)).otherwise(pl.coalesce(c, f"{c}\0")).alias(c)
            if c in shared
            else pl.when(~differ).then(pl.col(c)).alias(c)
            for c in columns
        ]
        return joined.with_columns(filled).drop(f"{c}\0" for c in shared)

    def _check(self, clash: pl.DataFrame, unit: str, shared: Sequence[str]) -> None:
        """Refuse rows in which two tables differ, where that is asked for, and groups that would be lost."""
        if self.conflict == "first" or (self.conflict == "gap" and unit != "group"):
            return
        row = clash.row(0, named=True)
        key = ", ".join(repr(row[k]) for k in self.keys)
        column = next(c for c in shared if None not in (row[c], row[c + "\0"]) and row[c] != row[c + "\0"])
        advice = "choose whom to believe with conflict="
        if self.conflict == "gap":
            advice = (
                "a gap would let a split cut the group: give a person or video one name in all manifests, "
                "or believe the first (conflict='first')"
            )
        raise AnnotationError(
            f"{clash.height} samples are annotated differently, such as {key}: {column} is "
            f"{row[column]!r} and {row[column + chr(0)]!r}; {advice}"
        )

    def finished(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The table without marks; what they mark is a gap if conflicts are to be."""
        marks = [column for column in frame.columns if column.startswith("\0")]
        units = {column: self.of_task.get(column, column) for column in frame.columns}
        gaps = [
            pl.when(~pl.col(f"\0{unit}").fill_null(False)).then(pl.col(column)).alias(column)
            for column, unit in units.items()
            if f"\0{unit}" in marks and self.conflict == "gap"
        ]
        return frame.with_columns(gaps).drop(marks)
