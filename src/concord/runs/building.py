"""From a config to everything that a training needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from concord.arrays import moments
from concord.config import Config, TrainingLength, training_length
from concord.couplings import ingredients, make_couplings
from concord.data import (
    IMAGENET,
    FeatureRows,
    Manifest,
    Mixture,
    Source,
)
from concord.errors import (
    ConfigError,
    EmptyDataError,
    NoAnnotationError,
)
from concord.networks import MultiTaskNetwork, NamedTrunk, Standardize, seeded, usual_torch
from concord.objective import CoupledObjective
from concord.relations import Relation
from concord.runs.effects import check_effects
from concord.runs.inputs import (
    Preparation,
    column_features,
    trunk_kind,
)
from concord.runs.relations import relation_of
from concord.runs.run import network_of, trunk_of
from concord.runs.sources import (
    Sources,
    columns_across,
    mixture_of,
    named,
    open_sources,
    shape_across,
    sources_of,
    vocabulary_across,
)
from concord.tasks import Task

ROWS_FOR_MOMENTS = 100_000
"""Rows of each feature file that features are standardised by, at most: they are read one by one."""


@dataclass(frozen=True)
class Built:
    """Everything that a training needs.

    Attributes:
        config: What was asked for, with its steps.
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
        length: How long it trains, and why.
        sources: Rows of all splits, without their inputs.
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
    length: TrainingLength | None = None
    sources: Sources | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of a final network."""
        steps = self.config.training.steps
        assert steps is not None, "build() says them where the config does not"
        return steps

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

    def fresh_network(self, tasks: Sequence[Task], seed: int) -> MultiTaskNetwork:
        """Another network like this one for some of the tasks, with initial weights of a seed."""
        layer: Standardize | None = None
        if self.standardize:
            layers = self.network.trunk
            assert isinstance(layers, nn.Sequential)
            layer = deepcopy(layers[0])  # type: ignore[assignment]
        with usual_torch(), seeded(seed), named("trunk"):
            trunk = trunk_of(self.config.trunk, self.shape)
            return network_of(trunk, tasks, layer)

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


def build(config: Config, *, begun: bool = False) -> Built:
    """Build everything that a config asks for; nothing is trained and nothing written.

    Args:
        config: The config.
        begun: Whether its training has begun already: then keys that would change nothing are let through.

    Raises:
        ConfigError: Parts that do not fit together, or keys that would change nothing; names the key.
        ConcordError: What data, relations, trunks and couplings raise; the message names the source, or
            the key.
    """
    sources = open_sources(config)
    training = sources.split(config, "train")
    _check_training(config, sources, training)
    config, length = _with_length(config, sources.tasks, training)
    if not begun:
        check_effects(config, sources.tasks, length.steps)
    relations = tuple(relation_of(plan, sources, config) for plan in config.relations)
    objective = _objective(config, sources.tasks, relations)
    vocabulary = vocabulary_across(config, training)
    columns = columns_across(config, training)
    shape = shape_across(config, vocabulary, columns)
    with usual_torch(), seeded(config.training.seed):
        with named("trunk"):
            trunk = trunk_of(config.trunk, shape)
        _check_kind(config, trunk)
        preparation = Preparation(
            Path(config.data), trunk.normalization or IMAGENET, trunk.tokenize, vocabulary, columns
        )
        standardize = trunk.kind == "features" and config.trunk.standardize
        layer = _standardize(config, training, preparation) if standardize else None
        with named("trunk"):
            network = network_of(trunk, sources.tasks, layer)
    return Built(
        config,
        sources.tasks,
        relations,
        objective,
        network,
        trunk,
        shape,
        standardize,
        preparation,
        sources_of(config, training, preparation),
        sources_of(config, sources.split(config, "val"), preparation),
        sources.left_out,
        length,
        sources,
    )


def told_length(built: Built) -> dict[str, str]:
    """For the facts of a run: why it trains so long, where the config does not say."""
    return {"length": built.length.reason} if built.length is not None and built.length.reason else {}


FEWEST_STEPS = 600
"""Steps of a training unless its config says others, or there are many rows."""


def _with_length(
    config: Config, tasks: Sequence[Task], training: Mapping[str, Manifest]
) -> tuple[Config, TrainingLength]:
    """The config with its steps, by the rows where it says none."""
    asked = config.training
    rows_per_task = max(1, asked.batch_size // len(tasks))
    if asked.steps is not None:
        return config, TrainingLength(asked.steps, rows_per_task)
    counts = dict.fromkeys((task.name for task in tasks), 0)
    for manifest in training.values():
        for task in manifest.tasks:
            if task.name in counts:
                counts[task.name] += int(manifest.annotated(task.name).sum())
    length = training_length(counts, rows_per_task, FEWEST_STEPS)
    if config.stages.kind != "auto":  # whose steps hold rows by source, not by task
        rule = "as the rule counts rows, batch_size by the number of tasks; a step draws from all sources"
        length = replace(length, reason=f"{length.reason} ({rule})")
    steps = asked.model_copy(update={"steps": length.steps})
    return config.model_copy(update={"training": steps}), length


def _check_training(config: Config, sources: Sources, training: Mapping[str, Manifest]) -> None:
    for name in config.sources:
        if name not in training:
            raise EmptyDataError(f"sources.{name}: no training rows (split train, and train_where)")
    for task in sources.tasks:
        carrying = [m for m in training.values() if any(t.name == task.name for t in m.tasks)]
        if not any(manifest.annotated(task.name).any() for manifest in carrying):
            raise NoAnnotationError(f"task {task.name!r} has no annotation in the training rows")


def _check_kind(config: Config, trunk: NamedTrunk) -> None:
    name, plan = next(iter(config.sources.items()))
    if trunk.kind != trunk_kind(plan.inputs):
        raise ConfigError(
            f"trunk.name: {config.trunk.name} takes {trunk.kind}, but source {name} gives "
            f"{trunk_kind(plan.inputs)}"
        )


def _standardize(config: Config, training: Mapping[str, Manifest], preparation: Preparation) -> Standardize:
    parts, sampled = [], False
    for name, manifest in training.items():
        plan = config.sources[name].inputs
        if plan.kind == "columns":
            values = column_features(manifest, preparation.vocabulary)
        else:
            assert plan.file is not None
            rows = FeatureRows(preparation.data / plan.file, key=plan.key, columns=preparation.columns)
            with named(f"sources.{name}.inputs"):
                values = rows.load(rows.keys(manifest)(_spread(len(manifest)))).values.numpy()
            sampled = sampled or len(manifest) > ROWS_FOR_MOMENTS
        parts.append(values.astype(np.float64))
    mean, deviation = moments(np.concatenate(parts))
    if sampled:  # what some rows alone have may be in none of these: it stays as it is, and is not erased
        deviation = np.where(deviation == 0, 1.0, deviation)
    return Standardize(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())


def _spread(n: int) -> npt.NDArray[np.int64]:
    """Numbers of at most `ROWS_FOR_MOMENTS` rows, evenly over all: the first ones may be of one class."""
    return np.unique(np.linspace(0, n - 1, min(n, ROWS_FOR_MOMENTS)).round().astype(np.int64))


def _objective(config: Config, tasks: Sequence[Task], relations: Sequence[Relation]) -> CoupledObjective:
    chosen: dict[str, list[Any]] = {relation.name: [] for relation in relations}
    for number, plan in enumerate(config.couplings):
        with named(f"couplings.{number}"):
            meant = [relation for relation in relations if plan.relation in (None, relation.name)]
            fitting: set[str] = set()
            for relation in meant:  # each its own couplings: some keep running statistics
                for one in make_couplings(plan.name, plan.weight, plan.options):
                    if one.supports(relation):
                        chosen[relation.name].append(one)
                        fitting.add(one.name)
            for each in ingredients(plan.name):
                if each.loss not in fitting:
                    raise ConfigError(f"{each.loss} is not defined for any of the relations")
    return CoupledObjective(
        tasks,
        relations,
        {name: used for name, used in chosen.items() if used},
        task_weights={name: plan.weight for name, plan in config.tasks.items()},
        soft_weights={relation.source.name: config.stages.weight for relation in relations},
    )
