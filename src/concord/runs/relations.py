"""Relations of a config: tables from files, from the literature, or estimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from concord.config import Config, RelationPlan
from concord.data import (
    Manifest,
    group_codes,
    reader,
)
from concord.errors import (
    ConfigError,
    NoAnnotationError,
    UnknownNameError,
)
from concord.relations import Relation, aligned
from concord.runs.sources import Sources, named
from concord.tasks import MISSING_CLASS, Encoded, MulticlassTask, Task

WITH_TABLE = ("cub200",)
"""Readers that have a table of their data set."""


def relation_of(plan: RelationPlan, sources: Sources, config: Config) -> Relation:
    """The relation that a config names.

    Raises:
        UnknownNameError: An unknown task.
        ConfigError: A table of a task that is no class task.
        MissingDataError: No such file.
        NoAnnotationError: A table to be estimated, and no training row is annotated for both.
    """
    where = f"relations.{plan.source}->{plan.target}"
    by_name = {task.name: task for task in sources.tasks}
    with named(where, config.data):
        for name in (plan.source, plan.target):
            if name in sources.left_out:
                raise UnknownNameError(
                    f"task {name!r} is not learnt, since `tasks` does not list it; list it there, or leave "
                    "`tasks` out"
                )
            if name not in by_name:
                raise UnknownNameError.of("task", name, by_name)
        source, target = by_name[plan.source], by_name[plan.target]
        if not isinstance(source, MulticlassTask):
            raise ConfigError("its source must be a task of classes")
        return _relation(plan, source, target, sources, config)


def is_ready(table: str) -> bool:
    """Whether a table comes as it is: a built-in one, a pack's or a reader's."""
    from concord.relations import BUILTIN

    name, colon, _ = table.partition(":")
    return table in BUILTIN or (bool(colon) and name in ("pack", *WITH_TABLE))


def _relation(
    plan: RelationPlan, source: MulticlassTask, target: Task, sources: Sources, config: Config
) -> Relation:
    from concord.relations import BUILTIN

    data = Path(config.data)
    if plan.table == "estimate":
        return _estimated(source, target, sources.split(config, "train"))
    if plan.table in BUILTIN:
        return _fitting(BUILTIN[plan.table](), source, target, plan)
    name, colon, folder = plan.table.partition(":")
    if colon and name == "pack":
        from concord.data import pack_relation

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
        complete=plan.extra == "error",
    )


def _fitting(relation: Relation, source: MulticlassTask, target: Task, plan: RelationPlan) -> Relation:
    return aligned(relation, source, target, f"table {plan.table!r}", extra=plan.extra)


def _estimated(source: MulticlassTask, target: Task, training: Mapping[str, Manifest]) -> Relation:
    both = [
        manifest
        for manifest in training.values()
        if {source.name, target.name} <= {task.name for task in manifest.tasks}
    ]
    if not both:
        raise NoAnnotationError(
            f"no source has both {source.name!r} and {target.name!r}, so their table cannot be estimated; "
            "give a CSV file"
        )
    classes, targets = (
        Encoded(np.concatenate([_encoded(manifest, task) for manifest in both])) for task in (source, target)
    )
    return Relation.from_annotations(source, target, classes, targets, groups=group_codes(both))


def _encoded(manifest: Manifest, task: Task) -> Any:
    """A manifest's targets in the task's own order; a label that the manifest lacks is a gap."""
    own = manifest.task(task.name)
    targets, place = manifest.targets()[task.name], [task.outputs.index(name) for name in own.outputs]
    if isinstance(task, MulticlassTask):
        return np.asarray([*place, MISSING_CLASS])[targets]
    out = task.gaps(len(manifest))
    out[:, place] = targets
    return out
