"""Several manifests made one: stacked (other samples), or merged (other annotations of the same samples)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import RESERVED, Manifest, soft_columns, task_columns
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

    Tasks of one name become one task with the classes or labels of all, in the order of first appearance;
    a label that a manifest does not have is a gap in its rows. Where the roots differ, paths become
    relative to the folder that holds them all. `partition("source")` takes them apart again.

    Raises:
        EmptyDataError: No manifest.
        AnnotationError: One name for a multiclass and a multilabel task, or a further column of types that
            have nothing in common.
        ConfigError: Roots without a folder in common.
    """
    if not manifests:
        raise EmptyDataError("at least one manifest is needed, found none")
    named = [_with_source(manifest, i) for i, manifest in enumerate(manifests, 1)]
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

    Rows meet where the columns `on` are equal; a row that only one manifest has is kept.

    Args:
        manifests: Each with every key at most once.
        on: Column or columns that identify a sample, without gaps.
        conflict: What to do where two manifests say different things of one sample: raise, believe the
            first, or make it a gap.

    Raises:
        EmptyDataError: No manifest.
        UnknownNameError: A column of `on` is missing.
        DuplicateNameError: A key that occurs twice in a manifest.
        AnnotationError: A conflict, with the key and both values (`conflict="error"`).
    """
    if not manifests:
        raise EmptyDataError("at least one manifest is needed, found none")
    keys = [on] if isinstance(on, str) else list(on)
    rooted = _on_common_root(manifests) if "path" in keys else list(manifests)
    for manifest in rooted:
        _check_keys(manifest, keys)
    tasks = unite_tasks([manifest.tasks for manifest in rooted])
    own = {column for task in tasks for column in task_columns(task)}
    frames = [
        _as_text(_with_tasks(m.frame, tasks, fill=False), tasks) for m in rooted
    ]  # every manifest brings only what it has
    frame = reduce(lambda a, b: _merged(a, b, keys, conflict), frames)
    missing = [pl.lit(None).alias(column) for column in own if column not in frame.columns]
    name = "+".join(dict.fromkeys(m.name for m in rooted if m.name))
    return Manifest(frame.with_columns(missing), tasks, rooted[0].root, name, _origins(manifests))


def _origins(manifests: Sequence[Manifest]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(origin for manifest in manifests for origin in manifest.origins))


def _with_source(manifest: Manifest, number: int) -> Manifest:
    name = manifest.name or f"source{number}"
    if "source" in manifest.frame.columns:
        return replace(manifest, name=name)
    column = pl.lit(name, dtype=pl.String).alias("source")
    return replace(manifest, name=name, frame=manifest.frame.with_columns(column))


def _with_tasks(frame: pl.DataFrame, tasks: Sequence[Task], fill: bool = True) -> pl.DataFrame:
    """The frame with the column types of `tasks`; columns it lacks are gaps, or left out."""
    columns = []
    for task in tasks:
        dtype = pl.Enum(task.classes) if isinstance(task, MulticlassTask) else pl.Int8()
        for column in task_columns(task):
            if column not in frame.columns:
                if fill:
                    columns.append(pl.lit(None, dtype=dtype).alias(column))
            elif isinstance(dtype, pl.Enum) and frame.schema[column] != dtype:
                columns.append(pl.col(column).cast(pl.String).cast(dtype))
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


def _merged(a: pl.DataFrame, b: pl.DataFrame, keys: Sequence[str], conflict: Conflict) -> pl.DataFrame:
    joined = a.join(b, on=list(keys), how="full", coalesce=True, suffix="\0", maintain_order="left_right")
    shared = [column for column in b.columns if column not in keys and column in a.columns]
    out = []
    for column in shared:
        first, second = pl.col(column), pl.col(f"{column}\0")
        differ = (first != second) & first.is_not_null() & second.is_not_null()
        clash = joined.filter(differ)
        if clash.height and conflict == "error":
            row = clash.row(0, named=True)
            key = ", ".join(repr(row[k]) for k in keys)
            raise AnnotationError(
                f"{clash.height} samples are annotated differently, such as {key}: {column} is "
                f"{row[column]!r} and {row[column + chr(0)]!r}; choose whom to believe with conflict="
            )
        value = pl.coalesce(first, second)
        out.append(pl.when(differ).then(None).otherwise(value).alias(column) if conflict == "gap" else value)
    return joined.with_columns(out).drop([f"{column}\0" for column in shared])
