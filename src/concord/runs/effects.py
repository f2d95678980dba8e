"""Keys of a config that would change nothing: refused before a training begins, let through afterwards.

A training that has begun goes on by the config that it began with, and a finished one is evaluated, whatever
later versions think of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from concord.config import Config
from concord.errors import ConfigError, UnknownNameError
from concord.metrics import metric_names
from concord.runs.relations import is_ready
from concord.tasks import Task

OF_TABLES = {"estimate": ("transpose", "normalize", "extra"), "ready": ("transpose", "normalize")}
"""Keys of a relation that change nothing of a table that is estimated, or of one that comes as it is."""


def check_effects(config: Config, tasks: Sequence[Task], steps: int) -> None:
    """Refuse what would change nothing.

    Args:
        config: Of a training that is to begin.
        tasks: What is learnt.
        steps: How many steps it is to have.

    Raises:
        ConfigError: A key without effect, or a warm-up that does not end; names it.
        UnknownNameError: A metric that a task does not have.
    """
    _of_sources(config)
    _of_tasks(config, tasks)
    _of_relations(config)
    if config.training.warmup >= steps:
        raise ConfigError(
            f"training.warmup: the learning rate rises for {config.training.warmup} steps of {steps}; it "
            "must be fewer than the steps"
        )


def _of_sources(config: Config) -> None:
    for name, source in config.sources.items():
        plan = source.splits
        if plan is None or plan.shares:
            continue
        for key, given in (("keep", plan.keep), ("stratify", plan.stratify)):
            if given:
                raise ConfigError(
                    f"sources.{name}: splits.{key} says how shares are drawn: give splits.shares, or leave "
                    "it out"
                )


def _of_tasks(config: Config, tasks: Sequence[Task]) -> None:
    for task in tasks:
        metric = None if task.name not in config.tasks else config.tasks[task.name].metric
        known = metric_names(task)
        if metric is not None and metric not in known:
            raise UnknownNameError(f"tasks.{task.name}: {UnknownNameError.of('metric', metric, known)}")


def _of_relations(config: Config) -> None:
    for plan in config.relations:
        kind = "estimate" if plan.table == "estimate" else "ready" if is_ready(plan.table) else ""
        for key in OF_TABLES.get(kind, ()):
            if getattr(plan, key) != type(plan).model_fields[key].default:
                raise ConfigError(
                    f"relations.{plan.source}->{plan.target}: {key} changes nothing of table {plan.table!r}; "
                    "leave it out"
                )
