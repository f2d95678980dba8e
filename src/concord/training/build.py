"""From a config to everything that a training needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from concord import couplings as coupling_room
from concord.config import Config, RelationPlan, SourcePlan, SplitPlan
from concord.config.load import origin_of
from concord.data.features import FeatureRows
from concord.data.images import IMAGENET
from concord.data.inputs import concatenate
from concord.data.loading import Collate
from concord.data.manifest import SPLITS, Manifest, task_columns
from concord.data.mixture import Mixture
from concord.data.registry import read, reader
from concord.data.source import Source
from concord.data.splitting import resplit
from concord.errors import (
    ConcordError,
    ConfigError,
    EmptyDataError,
    MissingDataError,
    NoAnnotationError,
    ShapeError,
    UnknownNameError,
)
from concord.network import MultiTaskNetwork
from concord.objective import CoupledObjective
from concord.relation import Relation
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task
from concord.training.inputs import (
    Preparation,
    Vocabulary,
    column_features,
    prepared,
    shape_of,
    trunk_kind,
    vocabulary_of,
)
from concord.training.layers import Standardize
from concord.training.run import network_of, trunk_of
from concord.trunks import NamedTrunk

__all__ = [
    "Built",
    "Opened",
    "build",
    "mixture_of",
    "named",
    "open_sources",
    "relation_of",
    "shape_across",
    "sources_of",
    "vocabulary_across",
]

COUPLING_CLASSES: Mapping[str, Any] = {
    coupling.name: coupling
    for coupling in (getattr(coupling_room, name) for name in coupling_room.__all__)
    if isinstance(coupling, type)
    and issubclass(coupling, coupling_room.Coupling)
    and coupling is not coupling_room.Coupling
}
WITH_TABLE = ("cub200",)
"""Readers that have a table of their data set."""

ROWS_FOR_MOMENTS = 100_000
"""Rows of each source that features are standardised by, at most."""


@dataclass(frozen=True)
class Opened:
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

        A source whose manifest says nothing of splits has training rows only.

        Raises:
            ConfigError: A condition that cannot be applied.
        """
        out = {}
        for source, manifest in self.manifests.items():
            said = manifest.frame["split"].null_count() < len(manifest)
            condition = pl.col("split") == name
            try:
                part = manifest.filter(condition) if said else manifest if name == "train" else None
                where = config.sources[source].train_where
                if part is not None and name == "train" and where is not None:
                    part = part.filter(where)
            except EmptyDataError:
                continue
            if part is not None:
                out[source] = part
        return out


@dataclass(frozen=True)
class Built:
    """Everything that a training needs.

    Attributes:
        config: What was asked for.
        tasks: The tasks.
        relations: The relations between them.
        objective: The loss.
        network: Input to logits by task, with initial weights, on the CPU.
        trunk: Its trunk, as it was built by name.
        shape: Shape of one input without the row; None for texts.
        standardize: Whether the network standardises feature rows.
        preparation: How inputs are made.
        training: By source, its training rows.
        validation: By source, its validation rows; may be empty.
        left_out: Tasks of the sources that are not learnt, since the config's `tasks` does not list them.
    """

    config: Config
    tasks: tuple[Task, ...]
    relations: tuple[Relation, ...]
    objective: CoupledObjective
    network: MultiTaskNetwork
    trunk: NamedTrunk
    shape: tuple[int, ...] | None
    standardize: bool
    preparation: Preparation
    training: dict[str, Source]
    validation: dict[str, Source]
    left_out: tuple[str, ...] = ()

    def mixture(
        self,
        rank: int = 0,
        world_size: int = 1,
        *,
        sources: Mapping[str, Source] | None = None,
        seed: int | None = None,
    ) -> Mixture:
        """The training batches of a rank; of some of the rows, or in another order, where asked for."""
        mixing, training = self.config.mixing, self.config.training
        sources = self.training if sources is None else sources
        shares = {name: source.share for name, source in self.config.sources.items()}
        share: Any = mixing.share
        if all(value is not None for value in shares.values()):
            share = {name: shares[name] for name in sources}
        return Mixture(
            list(sources.values()),
            self.tasks,
            batch_size=training.batch_size,
            share=share,
            temperature=mixing.temperature,
            seed=training.seed if seed is None else seed,
            last_batch="carry",
            rank=rank,
            world_size=world_size,
            workers=mixing.workers,
            collate=self.preparation.collate,
        )

    def fresh_network(self, seed: int) -> MultiTaskNetwork:
        """Another network like this one, with initial weights of another seed."""
        layer: Standardize | None = None
        if self.standardize:
            layers = self.network.trunk
            assert isinstance(layers, nn.Sequential)
            layer = deepcopy(layers[0])  # type: ignore[assignment]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with named("trunk"):
                trunk = trunk_of(self.config.trunk, self.shape)
                return network_of(trunk, self.tasks, layer)

    def validation_rows(self, rank: int = 0, world_size: int = 1) -> Mixture | None:
        """The validation batches of a rank, or None where there are no validation rows."""
        if not self.validation:
            return None
        return mixture_of(
            self.validation,
            self.tasks,
            self.config.validation.batch_size,
            self.preparation.collate,
            rank=rank,
            world_size=world_size,
        )


def build(config: Config) -> Built:
    """Build everything that a config asks for; nothing is trained and nothing written.

    Raises:
        ConfigError: Parts that do not fit together; names the key.
        ConcordError: What data, relations, trunks and couplings raise; the message names the source, or
            the key.
    """
    opened = open_sources(config)
    training = opened.split(config, "train")
    _check_training(config, opened, training)
    relations = tuple(relation_of(plan, opened, config) for plan in config.relations)
    objective = _objective(config, opened.tasks, relations)
    vocabulary = vocabulary_across(config, training)
    shape = shape_across(config, vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        with named("trunk"):
            trunk = trunk_of(config.trunk, shape)
        _check_kind(config, trunk)
        preparation = Preparation(
            Path(config.data), trunk.normalization or IMAGENET, trunk.tokenize, vocabulary
        )
        standardize = trunk.kind == "features" and config.trunk.standardize
        layer = _standardize(config, training, preparation) if standardize else None
        with named("trunk"):
            network = network_of(trunk, opened.tasks, layer)
    return Built(
        config,
        opened.tasks,
        relations,
        objective,
        network,
        trunk,
        shape,
        standardize,
        preparation,
        sources_of(config, training, preparation),
        sources_of(config, opened.split(config, "val"), preparation),
        opened.left_out,
    )


# -- data --------------------------------------------------------------------------------------------


def open_sources(config: Config) -> Opened:
    """Read the manifests of a config, with its choice of rows and tasks.

    Raises:
        MissingDataError: A manifest or folder that is not there.
        UnknownNameError: A task, reader or column that there is not.
        ConfigError: A condition that cannot be applied, or a reader's option that there is not.
    """
    manifests = {}
    for name, plan in config.sources.items():
        with named(f"sources.{name}", config.data):
            manifests[name] = _opened(plan, Path(config.data), name)
    tasks = _tasks(config, manifests)
    learnt = {task.name for task in tasks}
    there = dict.fromkeys(task.name for manifest in manifests.values() for task in manifest.tasks)
    return Opened(manifests, tasks, tuple(name for name in there if name not in learnt))


def _opened(plan: SourcePlan, data: Path, name: str) -> Manifest:
    root = None if plan.root is None else data / plan.root
    if plan.reader is not None:
        assert root is not None
        manifest = read(plan.reader, root, **plan.options)
    else:
        manifest = Manifest.read(data / str(plan.manifest), root=root)
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
    return resplit(manifest, shares, stratify=plan.stratify, keep=plan.keep)


def _tasks(config: Config, manifests: Mapping[str, Manifest]) -> tuple[Task, ...]:
    found: dict[str, Task] = {}
    for task in (task for manifest in manifests.values() for task in manifest.tasks):
        known = found.get(task.name, task)
        if type(known) is not type(task):
            raise ConfigError(
                f"task {task.name!r} has classes in one source and labels in another; choose with "
                "sources.NAME.tasks"
            )
        outputs = list(dict.fromkeys((*known.outputs, *task.outputs)))
        found[task.name] = _task(task.name, isinstance(task, MulticlassTask), outputs)
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


def _check_training(config: Config, opened: Opened, training: Mapping[str, Manifest]) -> None:
    for name in config.sources:
        if name not in training:
            raise EmptyDataError(f"sources.{name}: no training rows (split train, and train_where)")
    for task in opened.tasks:
        carrying = [m for m in training.values() if any(t.name == task.name for t in m.tasks)]
        if not any(manifest.annotated(task.name).any() for manifest in carrying):
            raise NoAnnotationError(f"task {task.name!r} has no annotation in the training rows")


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


def shape_across(config: Config, vocabulary: Vocabulary) -> tuple[int, ...] | None:
    """Shape of one input of any source, without the row; None for texts.

    Raises:
        ShapeError: Sources that differ in shape or kind.
        ConcordError: See `shape_of`.
    """
    shapes: dict[str, Any] = {}
    for name, plan in config.sources.items():
        with named(f"sources.{name}.inputs", config.data):
            shapes[name] = trunk_kind(plan.inputs), shape_of(plan.inputs, Path(config.data), vocabulary)
    first = next(iter(shapes))
    for name, found in shapes.items():
        if found != shapes[first]:
            raise ShapeError(
                f"sources.{name}.inputs: all sources feed one trunk; {first} gives {_told(shapes[first])}, "
                f"{name} gives {_told(found)}"
            )
    shape: tuple[int, ...] | None = shapes[first][1]
    return shape


def _told(found: tuple[str, tuple[int, ...] | None]) -> str:
    kind, shape = found
    return kind if shape is None else f"{kind} of shape ({', '.join(map(str, shape))})"


def _check_kind(config: Config, trunk: NamedTrunk) -> None:
    name, plan = next(iter(config.sources.items()))
    if trunk.kind != trunk_kind(plan.inputs):
        raise ConfigError(
            f"trunk.name: {config.trunk.name} takes {trunk.kind}, but source {name} gives "
            f"{trunk_kind(plan.inputs)}"
        )


def _standardize(config: Config, training: Mapping[str, Manifest], preparation: Preparation) -> Standardize:
    parts = []
    for name, manifest in training.items():
        plan = config.sources[name].inputs
        if plan.kind == "columns":
            values = column_features(manifest, preparation.vocabulary)
        else:
            assert plan.file is not None
            rows = FeatureRows(preparation.data / plan.file, key=plan.key)
            with named(f"sources.{name}.inputs"):
                keys = rows.keys(manifest)(np.arange(min(len(manifest), ROWS_FOR_MOMENTS)))
                values = rows.load(keys).values.numpy()
        parts.append(torch.from_numpy(values[:ROWS_FOR_MOMENTS]).double())
    joined = torch.cat(parts)
    return Standardize(joined.mean(dim=0).float(), joined.std(dim=0, correction=0).float())


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


# -- relations and loss ------------------------------------------------------------------------------


def relation_of(plan: RelationPlan, opened: Opened, config: Config) -> Relation:
    """The relation that a config names.

    Raises:
        UnknownNameError: A task that there is not.
        ConfigError: A table of other classes or labels, or of a task that is no class task.
        MissingDataError: No such file.
        NoAnnotationError: A table to be estimated, and no training row is annotated for both.
    """
    where = f"relations.{plan.source}->{plan.target}"
    by_name = {task.name: task for task in opened.tasks}
    with named(where, config.data):
        for name in (plan.source, plan.target):
            if name in opened.left_out:
                raise UnknownNameError(
                    f"task {name!r} is not learnt, since `tasks` does not list it; list it there, or leave "
                    "`tasks` out"
                )
            if name not in by_name:
                raise UnknownNameError.of("task", name, by_name)
        source, target = by_name[plan.source], by_name[plan.target]
        if not isinstance(source, MulticlassTask):
            raise ConfigError("its source must be a task of classes")
        return _relation(plan, source, target, opened, config)


def _relation(
    plan: RelationPlan, source: MulticlassTask, target: Task, opened: Opened, config: Config
) -> Relation:
    from concord.tables import BUILTIN

    data = Path(config.data)
    if plan.table == "estimate":
        return _estimated(source, target, opened.split(config, "train"))
    if plan.table in BUILTIN:
        return _fitting(BUILTIN[plan.table](), source, target, plan)
    name, colon, folder = plan.table.partition(":")
    if colon and name == "pack":
        from concord.data.readers.pack import pack_relation

        return _fitting(pack_relation(data / folder, f"{source.name}->{target.name}"), source, target, plan)
    if colon and name in WITH_TABLE:
        return _fitting(reader(name).relation(data / folder), source, target, plan)
    return Relation.from_csv(
        source,
        target,
        data / plan.table,
        transpose=plan.transpose,
        normalize=plan.normalize,
        extra=plan.extra,
    )


def _fitting(relation: Relation, source: MulticlassTask, target: Task, plan: RelationPlan) -> Relation:
    """A ready table, its rows and columns in the order of the tasks; what it lacks is unknown if allowed."""
    for task, own in ((source, relation.source), (target, relation.target)):
        same = set(task.outputs) == set(own.outputs)
        if type(task) is not type(own) or not (same or plan.extra == "ignore"):
            raise ConfigError(
                f"table {plan.table!r} speaks of other classes or labels than task {task.name!r}; "
                "extra: ignore takes what both have, or write it to CSV with `concord relation show`"
            )
    rows, own_rows = _in_both(source, relation.source, plan)
    columns, own_columns = _in_both(target, relation.target, plan)
    cells = np.full((source.width, target.width), np.nan)
    cells[np.ix_(rows, columns)] = relation.table[np.ix_(own_rows, own_columns)]
    return Relation(source, target, cells)


def _in_both(task: Task, own: Task, plan: RelationPlan) -> tuple[list[int], list[int]]:
    """Places of the classes or labels that a task and a table have in common, in both."""
    names = [name for name in task.outputs if name in own.outputs]
    if not names:
        raise ConfigError(f"table {plan.table!r} has no class or label in common with task {task.name!r}")
    return [task.outputs.index(name) for name in names], [own.outputs.index(name) for name in names]


def _estimated(source: MulticlassTask, target: Task, training: Mapping[str, Manifest]) -> Relation:
    classes, targets = [], []
    for manifest in training.values():
        own = {task.name for task in manifest.tasks}
        if {source.name, target.name} <= own:
            classes.append(_encoded(manifest, source))
            targets.append(_encoded(manifest, target))
    if not classes:
        raise NoAnnotationError(
            f"no source has both {source.name!r} and {target.name!r}, so their table cannot be estimated; "
            "give a CSV file"
        )
    return Relation.from_annotations(source, target, np.concatenate(classes), np.concatenate(targets))


def _encoded(manifest: Manifest, task: Task) -> Any:
    """A manifest's targets in the task's own order; a label that the manifest lacks is a gap."""
    own = manifest.task(task.name)
    targets, place = manifest.targets()[task.name], [task.outputs.index(name) for name in own.outputs]
    if isinstance(task, MulticlassTask):
        return np.asarray([*place, MISSING_CLASS])[targets]
    out = task.gaps(len(manifest))
    out[:, place] = targets
    return out


def _objective(config: Config, tasks: Sequence[Task], relations: Sequence[Relation]) -> CoupledObjective:
    chosen: dict[str, list[Any]] = {relation.name: [] for relation in relations}
    for number, plan in enumerate(config.couplings):
        with named(f"couplings.{number}"):
            one = _coupling(plan.name, plan.weight, plan.options)
            fitting = [
                relation
                for relation in relations
                if plan.relation in (None, relation.name) and one.supports(relation)
            ]
            if not fitting:
                raise ConfigError(f"{plan.name} is not defined for any of the relations")
            for relation in fitting:  # each its own: some keep running statistics
                chosen[relation.name].append(_coupling(plan.name, plan.weight, plan.options))
    return CoupledObjective(
        tasks,
        relations,
        {name: used for name, used in chosen.items() if used},
        task_weights={name: plan.weight for name, plan in config.tasks.items()},
        soft_weights={relation.source.name: config.stages.weight for relation in relations},
    )


def _coupling(name: str, weight: float, options: Mapping[str, Any]) -> Any:
    from inspect import signature

    kind = COUPLING_CLASSES[name]
    known = [option for option in signature(kind).parameters if option != "weight"]
    for option in options:
        if option not in known:
            raise UnknownNameError.of(f"option of {name}", option, known or ["(none)"])
    try:
        return kind(weight=weight, **options)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error


@contextmanager
def named(where: str, data: str | None = None) -> Iterator[None]:
    """Errors inside say which key of the config they are about; of a missing file, who chose its folder."""
    try:
        yield
    except ConcordError as error:
        origin = origin_of(data) if data is not None and isinstance(error, MissingDataError) else ""
        error.args = (f"{where}: {error}{origin}",)
        raise
