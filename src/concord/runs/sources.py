"""Sources of a config: manifests, tasks, mixtures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from concord.config import Config, SourcePlan, SplitPlan, origin_of
from concord.data import (
    SPLITS,
    Collate,
    Columns,
    FeatureRows,
    Manifest,
    Mixture,
    Source,
    concatenate,
    joined_columns,
    read,
    read_manifest,
    resplit,
    task_columns,
)
from concord.errors import (
    ConcordError,
    ConfigError,
    EmptyDataError,
    MissingDataError,
    ShapeError,
    UnknownNameError,
)
from concord.runs.inputs import (
    Preparation,
    Vocabulary,
    prepared,
    shape_of,
    trunk_kind,
    vocabulary_of,
)
from concord.tasks import MulticlassTask, MultilabelTask, Task, unite_tasks

TABLES = (".csv", ".parquet")
"""Endings of feature files whose columns have names."""


@dataclass(frozen=True)
class Sources:
    """The sources of a config: manifests with the chosen rows and tasks.

    Attributes:
        manifests: By source, rows of all splits.
        tasks: The tasks, in the order of the config or of appearance.
        left_out: Tasks of the sources that the config's `tasks` does not list.
    """

    manifests: dict[str, Manifest]
    tasks: tuple[Task, ...]
    left_out: tuple[str, ...] = ()

    def split(self, config: Config, name: str) -> dict[str, Manifest]:
        """Rows of a split, by source; sources without any are left out.

        A source whose manifest has no splits has training rows only.

        Raises:
            ConfigError: A condition that cannot be applied.
        """
        out = {}
        for source, manifest in self.manifests.items():
            has_splits = manifest.frame["split"].null_count() < len(manifest)
            condition = pl.col("split") == name
            try:
                part = manifest.filter(condition) if has_splits else manifest if name == "train" else None
                where = config.sources[source].train_where
                if part is not None and name == "train" and where is not None:
                    part = part.filter(where)
            except EmptyDataError:
                continue
            if part is not None:
                out[source] = part
        return out


def open_sources(config: Config) -> Sources:
    """Read the manifests of a config, with its choice of rows and tasks.

    Raises:
        MissingDataError: A manifest or folder that is not there.
        UnknownNameError: An unknown task, reader or column.
        ConfigError: A condition that cannot be applied, or an unknown option of a reader.
    """
    manifests = {}
    for name, plan in config.sources.items():
        with named(f"sources.{name}", config.data):
            manifests[name] = _read_source(plan, Path(config.data), name)
    tasks = _tasks(config, manifests)
    learnt = {task.name for task in tasks}
    there = dict.fromkeys(task.name for manifest in manifests.values() for task in manifest.tasks)
    return Sources(manifests, tasks, tuple(name for name in there if name not in learnt))


def _read_source(plan: SourcePlan, data: Path, name: str) -> Manifest:
    root = None if plan.root is None else data / plan.root
    if plan.reader is not None:
        assert root is not None
        manifest = read(plan.reader, root, **plan.options)
    else:
        manifest = read_manifest(data / str(plan.manifest), root=root)
    if plan.splits is not None:
        manifest = _resplit(manifest, plan.splits)
    if plan.tasks is not None:
        manifest = manifest.select(*plan.tasks)
    if plan.where is not None:
        manifest = manifest.filter(plan.where)
    return replace(manifest, name=name)


def _resplit(manifest: Manifest, plan: SplitPlan) -> Manifest:
    """The manifest with splits renamed and drawn: the same for all sources of the same data."""
    if plan.rename:
        frame = manifest.frame.with_columns(
            pl.col("split").cast(pl.String).replace(dict(plan.rename)).cast(pl.Enum(SPLITS))
        )
        manifest = replace(manifest, frame=frame)
    shares = {str(split): share for split, share in plan.shares.items()}
    if not shares:
        return manifest
    there = set(manifest.frame["split"].drop_nulls().unique())  # a source need not have all that are kept
    return resplit(manifest, shares, stratify=plan.stratify, keep=[s for s in plan.keep if s in there])


def _tasks(config: Config, manifests: Mapping[str, Manifest]) -> tuple[Task, ...]:
    found = {task.name: task for task in unite_tasks(manifest.tasks for manifest in manifests.values())}
    for name, plan in config.tasks.items():
        if name not in found:
            raise UnknownNameError(f"tasks: {UnknownNameError.of('task', name, found)}")
        given = plan.classes if plan.classes is not None else plan.labels
        if given is None:
            continue
        is_class = isinstance(found[name], MulticlassTask)
        if is_class != (plan.classes is not None):
            raise ConfigError(
                f"tasks.{name}: the sources have {'classes' if is_class else 'labels'} of this task"
            )
        for output in found[name].outputs:
            if output not in given:
                raise UnknownNameError(
                    f"tasks.{name}: {UnknownNameError.of('class or label of the sources', output, given)}"
                )
        found[name] = _task(name, is_class, given)
    return tuple(
        found[name]
        for name in dict.fromkeys((*config.tasks, *found))
        if not config.tasks or name in config.tasks
    )


def _task(name: str, is_class: bool, outputs: Sequence[str]) -> Task:
    return MulticlassTask(name, outputs) if is_class else MultilabelTask(name, outputs)


def vocabulary_across(config: Config, training: Mapping[str, Manifest]) -> Vocabulary:
    """How columns of all sources become features; empty where no source has inputs of kind columns.

    Raises:
        ConfigError: Sources with other columns, or a column of text here and of numbers there.
        ConcordError: See `vocabulary_of`.
    """
    out: Vocabulary = {}
    for name, plan in config.sources.items():
        if plan.inputs.kind != "columns":
            continue
        with named(f"sources.{name}"):
            own = vocabulary_of(training[name], plan.inputs.columns or [])
        if out and list(own) != list(out):
            raise ConfigError(
                f"sources.{name}.inputs.columns: all sources need the same columns in one order"
            )
        for column, values in own.items():
            known = out.get(column, values)
            if (known is None) != (values is None):
                raise ConfigError(f"sources.{name}: column {column!r} is text here and numbers elsewhere")
            out[column] = None if values is None or known is None else sorted({*known, *values})
    return out


def columns_across(config: Config, training: Mapping[str, Manifest]) -> Columns | None:
    """What the columns of all sources' feature tables are; None where no source has such a table.

    Raises:
        ConfigError: A source with a table and one with an array, whose columns have no names.
        UnknownNameError: A column that one table lacks.
        DataFormatError: A column of numbers here and of text there, or one that is neither.
        ConcordError: What reading a table raises; the message names the source.
    """
    out: Columns | None = None
    plans = {name: plan.inputs for name, plan in config.sources.items() if plan.inputs.kind == "features"}
    paths = {name: Path(config.data) / str(plan.file) for name, plan in plans.items()}
    tables = {name: path for name, path in paths.items() if path.suffix in TABLES}
    if tables and len(tables) < len(plans):
        array = next(name for name in plans if name not in tables)
        raise ConfigError(
            f"sources.{array}.inputs.file: an array has no names of columns, but other sources have tables; "
            "give all as tables, or all as arrays"
        )
    for name, path in tables.items():
        if name in training:
            with named(f"sources.{name}.inputs", config.data):
                frame = training[name].frame
                rows = frame["row"].drop_nulls().unique() if "row" in frame.columns else None
                own = FeatureRows(path, known_rows=rows).known_columns
                assert own is not None
                out = own if out is None else joined_columns(out, own, str(path))
    return out


def shape_across(
    config: Config, vocabulary: Vocabulary, columns: Columns | None = None
) -> tuple[int, ...] | None:
    """Shape of one input of any source, without the row; None for texts.

    Raises:
        ShapeError: Sources that differ in shape or kind.
        ConcordError: See `shape_of`.
    """
    shapes: dict[str, Any] = {}
    for name, plan in config.sources.items():
        with named(f"sources.{name}.inputs", config.data):
            shapes[name] = (
                trunk_kind(plan.inputs),
                shape_of(plan.inputs, Path(config.data), vocabulary, columns),
            )
    first = next(iter(shapes))
    for name, found in shapes.items():
        if found != shapes[first]:
            raise ShapeError(
                f"sources.{name}.inputs: all sources feed one trunk; {first} gives "
                f"{_described(shapes[first])}, {name} gives {_described(found)}"
            )
    shape: tuple[int, ...] | None = shapes[first][1]
    return shape


def _described(found: tuple[str, tuple[int, ...] | None]) -> str:
    kind, shape = found
    return kind if shape is None else f"{kind} of shape ({', '.join(map(str, shape))})"


def sources_of(
    config: Config, manifests: Mapping[str, Manifest], preparation: Preparation
) -> dict[str, Source]:
    """Manifests with the inputs that the config says, by source.

    Raises:
        ConcordError: What inputs raise; the message names the source.
    """
    out = {}
    for name, manifest in manifests.items():
        with named(f"sources.{name}"):
            out[name] = Source(*prepared(config.sources[name].inputs, manifest, preparation), name=name)
    return out


def mixture_of(
    sources: Mapping[str, Source],
    tasks: Sequence[Task],
    batch_size: int,
    collate: Collate = concatenate,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Mixture:
    """Batches that hold every row of some sources once, in order; a task that none of them has is a gap."""
    first, *others = sources.values()
    present = {task.name for source in sources.values() for task in source.manifest.tasks}
    lacking = [task for task in tasks if task.name not in present]
    if lacking:
        gaps = [
            pl.lit(None, dtype=_column_type(task)).alias(c) for task in lacking for c in task_columns(task)
        ]
        manifest = replace(
            first.manifest,
            frame=first.manifest.frame.with_columns(gaps),
            tasks=(*first.manifest.tasks, *lacking),
        )
        first = Source(manifest, first.inputs, first.transform, first.name)
    return Mixture(
        [first, *others],
        tasks,
        batch_size=batch_size,
        share="size",
        epoch="sum",
        shuffle=False,
        rank=rank,
        world_size=world_size,
        collate=collate,
    )


def _column_type(task: Task) -> Any:
    return pl.Int8 if isinstance(task, MultilabelTask) else pl.Enum(task.outputs)


@contextmanager
def named(where: str, data: str | None = None) -> Iterator[None]:
    """Errors inside say which key of the config they are about; of a missing file, who chose its folder."""
    try:
        yield
    except ConcordError as error:
        origin = origin_of(data) if data is not None and isinstance(error, MissingDataError) else ""
        error.args = (f"{where}: {error}{origin}",)
        raise
