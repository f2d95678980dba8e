"""From a config to a folder with a finished training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from concord.archive import Claim
from concord.config import Config, as_config, read_config
from concord.data import FeatureRows, Images, near_copies
from concord.decoding import Decoders, Thresholds, temperature
from concord.errors import ConcordWarning, ConfigError
from concord.fitting import (
    Checkpoints,
    History,
    JsonLines,
    Logger,
    MLflow,
    Progress,
    Recipe,
    TensorBoard,
    Validation,
    WandB,
    collect,
    fit,
    launch,
    on_first,
    own_logger,
    scaled_log_loss,
    selected_network,
)
from concord.metrics import measured, probabilities
from concord.runs.automatic import decide_and_train
from concord.runs.building import Built, build, told_length
from concord.runs.contents import digests
from concord.runs.cuts import check_thresholds, thresholds_for
from concord.runs.folder import (
    AUTO,
    CHECKPOINTS,
    LOG_FILE,
    check_data,
    check_folder,
    check_place,
    claimed,
    finished,
    holds_training,
    lengthened,
)
from concord.runs.grouped import GROUP, GroupedBatches
from concord.runs.leaks import tell_leaks
from concord.runs.outputs import device_of
from concord.runs.result import assembled, scale_heads
from concord.runs.run import Run, load_run, save_run
from concord.runs.stages import teach
from concord.tasks import MulticlassTask, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    overwrite: bool = False,
    more_steps: int | None = None,
) -> Run:
    """Train as a config says, and write the result to its output folder.

    A folder that holds an unfinished training of the same config and data is resumed, to the same
    weights bit by bit; one of another config, of other rows, annotations or tables is refused. Inputs in
    files (images, feature rows) are not compared.

    Args:
        config: With an output folder: as `read_config` gives it, the plain data of one, or the path of its
            file (YAML, TOML or JSON).
        overwrite: Whether a training that the folder holds, finished or not, is removed first; other files
            in it stay. What is no training's is never removed.
        more_steps: Train a finished training of the same config further, by so many steps (>= 1); the
            weights are those of one that had all these steps from the beginning, bit by bit.

    Returns:
        The finished run; on every rank.

    Raises:
        ConfigError: Parts that do not fit together, a folder of another config or of other data, one that is
            no training's and whose files would be written over, or a training that is to go further and is
            not finished, has no checkpoints any more, or would be another one.
        RangeError: Fewer than one step more.
        CheckpointError: A folder that cannot be written, or a checkpoint that cannot be read.
        ConcordError: What data, trunks and couplings raise.
    """
    if isinstance(config, Mapping):
        config = as_config(config)
    elif not isinstance(config, Config):
        config = read_config(config)
    if config.output is None:
        raise ConfigError("output: a folder for the results is needed")
    folder = Path(config.output)
    if more_steps is not None:
        if overwrite:
            raise ConfigError("a training is overwritten or trained further, not both")
        config = lengthened(config, more_steps)
    training = config.training
    check_place(folder)
    begun = not overwrite and holds_training(folder)
    if not begun:
        _check_watched(config)
    if not overwrite:
        check_folder(folder, config, further=more_steps is not None)
    built = build(config, begun=begun)
    config = built.config
    content = digests(built)
    if not overwrite:
        check_folder(folder, config, further=more_steps is not None)
        check_data(folder, content)
    _check_selection(built)
    check_thresholds(built)
    _check_devices(config)
    if config.stages.kind == "auto" and finished(config) and not overwrite:
        return load_run(folder)
    fabric = launch(training.accelerator, training.devices, training.nodes, training.precision)
    if fabric.is_global_zero and built.left_out:
        warnings.warn(
            f"not learnt, since `tasks` does not list it: {', '.join(built.left_out)}",
            ConcordWarning,
            stacklevel=2,
        )
    if fabric.is_global_zero:
        _tell_copies(built)
        if built.sources is not None:
            tell_leaks(config, built.sources, ("val", "test"))
    owner = claimed(folder, config, content, fabric, overwrite=overwrite, further=more_steps is not None)
    try:
        return _train(built, fabric, folder, owner)
    finally:
        if owner is not None:
            owner.release()


def _tell_copies(built: Built) -> None:
    """Warn of training rows that are nearly copies of each other and have no group."""
    for source in built.training.values():
        inputs, keys = source.inputs, source.keys
        features = partial(_features, inputs, keys) if isinstance(inputs, FeatureRows) else None
        root = inputs.root if isinstance(inputs, Images) else None
        told = near_copies(replace(source.manifest, name=source.name), features, root=root)
        if told is not None:
            warnings.warn(told, ConcordWarning, stacklevel=3)


def _features(inputs: FeatureRows, keys: Any, rows: Any) -> Any:
    return inputs.take(keys(rows))


def _train(built: Built, fabric: Fabric, folder: Path, owner: Claim | None) -> Run:
    config, training = built.config, built.config.training
    options: dict[str, Any] = {
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "log_every": config.watching.every,
        "recipe": _recipe(config, built),
        "augment": _augment(built),
        "fabric": fabric,
    }
    if config.stages.kind == "auto":
        return decide_and_train(built, fabric, folder, options, owner)
    loggers = _loggers(config, folder) if fabric.is_global_zero else []
    try:  # they are made before the first stage, so that a misspelt one is told at once
        two_stage = config.stages.kind == "two-stage"
        soft_targets = teach(built, fabric, folder, options) if two_stage else None
        network = built.network.to(fabric.device)
        rank, world = fabric.global_rank, fabric.world_size
        validation, mixture = built.validation_rows(rank, world), built.mixture(rank, world)
        checkpoints = Checkpoints(
            folder / CHECKPOINTS, every=config.checkpoints.every, keep=config.checkpoints.keep
        )
    except BaseException:
        for logger in loggers:
            logger.close()
        raise
    if fabric.is_global_zero and config.watching.progress:  # its bar is drawn as soon as it is made
        loggers.append(Progress(built.steps))
    history = fit(
        network,
        built.objective,
        mixture,
        steps=built.steps,
        seed=training.seed,
        validation=None if validation is None else _validation(built, validation),
        checkpoints=checkpoints,
        loggers=loggers,
        soft=soft_targets,
        **options,
    )
    chosen = selected_network(network, history).float()  # whatever the precision it was trained in
    run = _run(built, chosen.to(fabric.device), history, fabric, folder)
    if soft_targets is not None:
        run = replace(run, facts={**run.facts, "first_stage": list(soft_targets.report)})
    on_first(fabric, lambda: save_run(run, owner), "the finished training")
    return run


# -- parts of a training -----------------------------------------------------------------------------


def _check_selection(built: Built) -> None:
    if built.config.validation.select == "final":
        return
    for task in built.tasks:
        manifests = [source.manifest for source in built.validation.values()]
        having = [m for m in manifests if any(known.name == task.name for known in m.tasks)]
        if not any(manifest.annotated(task.name).any() for manifest in having):
            raise ConfigError(
                f"validation.select: no row of split val is annotated for task {task.name!r}; "
                "select final, or `concord data split` draws validation rows"
            )


def _check_watched(config: Config) -> None:
    """Refuse what `auto` would pass over in silence."""
    if config.stages.kind != "auto":
        return
    watching = config.watching
    given = [name for name in ("tensorboard", "mlflow", "wandb", "loggers") if getattr(watching, name)]
    if given:
        raise ConfigError(
            f"stages: auto trains many networks, each with a log of its own in {AUTO}/; leave "
            f"watching.{given[0]} out"
        )
    judged = next((name for name, task in config.tasks.items() if task.metric is not None), None)
    if judged is not None:
        raise ConfigError(
            f"stages: auto judges by log-loss and a metric of its own; leave tasks.{judged}.metric out"
        )


def _check_devices(config: Config) -> None:
    devices, cores = config.training.devices, os.cpu_count() or 1
    if devices != "auto" and devices > cores and device_of(config.training.accelerator).type == "cpu":
        raise ConfigError(
            f"training.devices: on a CPU each is a process; this machine has {cores} cores, found {devices}"
        )


def _recipe(config: Config, built: Built) -> Recipe:
    training = config.training
    return Recipe(
        schedule=training.schedule,
        warmup=training.warmup,
        clip=training.clip,
        accumulate=training.accumulate,
        average=training.average,
        precision=training.precision,
        channels_last=training.channels_last,
        compile=training.compile,
        layer_decay=config.trunk.layer_decay,
        decay=training.decay,
        frozen=tuple(_place(name, built) for name in config.trunk.freeze),
    )


def _place(name: str, built: Built) -> str:
    """Where a module of the config's trunk is in the network: behind a layer that standardises, or not."""
    layer = name.removeprefix("trunk.")
    if built.standardize and layer != name and layer in dict(built.trunk.module.named_modules()):
        return f"trunk.1.{layer}"
    return name


def _validation(built: Built, rows: Any) -> Validation:
    plan = built.config.validation
    metrics = {name: task.metric for name, task in built.config.tasks.items() if task.metric is not None}
    return Validation(rows, plan.every, plan.select, metrics, plan.batch_size)


def _augment(built: Built) -> Any:
    plan = built.config.augmentation
    if not (plan.flip or plan.shift):
        return None
    if built.trunk.kind != "images":
        raise ConfigError(f"augmentation is for images, but the sources give {built.trunk.kind}")
    from concord.data import Augment

    return Augment(flip=plan.flip, shift=plan.shift)


def _loggers(config: Config, folder: Path) -> list[Logger]:
    watching = config.watching
    loggers: list[Logger] = [JsonLines(folder / LOG_FILE)]
    if watching.tensorboard:
        loggers.append(TensorBoard(folder / "tensorboard"))
    if watching.mlflow is not None:
        loggers.append(MLflow(watching.mlflow, run_name=folder.name))
    if watching.wandb is not None:
        loggers.append(WandB(watching.wandb, folder, run_name=folder.name))
    return loggers + [own_logger(each.use, each.options) for each in watching.loggers]


# -- the result --------------------------------------------------------------------------------------


def _run(built: Built, network: nn.Module, history: History, fabric: Fabric, folder: Path) -> Run:
    decoder = Decoders(built.relations)
    rows = built.validation_rows(fabric.global_rank, fabric.world_size)
    scales: dict[str, float] = {}
    kept: dict[str, float] = {}
    thresholds: Thresholds | None = None
    if rows is not None:
        gathered = collect(
            network,
            network,
            GroupedBatches(rows, list(built.validation.values())),
            device=fabric.device,
            batch_size=built.config.validation.batch_size,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        targets, logits = ({name: np.asarray(v) for name, v in part.items()} for part in gathered)
        groups = targets.pop(GROUP, None)
        if built.config.validation.calibrate:
            scales = _scales(built.tasks, targets, logits)
            scale_heads(network, scales)
        predicted = {
            task.name: probabilities(task, logits[task.name].astype(np.float64) * scales.get(task.name, 1.0))
            for task in built.tasks
        }
        decoder.fit(predicted, targets, groups)
        kept = _kept_figures(built.tasks, targets, logits, predicted)
        thresholds = thresholds_for(built, targets, decoder.decode(predicted), groups)
    facts = _facts(built, history, kept) | {"scales": scales}
    return assembled(built, network, built.relations, decoder, folder, facts, thresholds)


def _kept_figures(
    tasks: Sequence[Task], targets: Mapping[str, Any], logits: Mapping[str, Any], predicted: Mapping[str, Any]
) -> dict[str, float]:
    """Metrics of validation rows by the network that is kept: the selected weights, calibrated."""
    out: dict[str, float] = {}
    for task in tasks:
        y = targets[task.name]
        if task.annotated(y).any():
            found = measured(task, y, predicted[task.name])
            found["log-loss"] = scaled_log_loss(task, y, logits[task.name].astype(np.float64))
            out |= {f"val/{task.name}/{metric}": value for metric, value in found.items()}
    return out


def _scales(tasks: Sequence[Task], targets: Mapping[str, Any], logits: Mapping[str, Any]) -> dict[str, float]:
    """By task with annotated rows, the inverse temperature of the least log-loss."""
    out = {}
    for task in tasks:
        known = task.annotated(targets[task.name])
        if known.any():
            values = logits[task.name][known].astype(np.float64)
            out[task.name] = temperature(values, targets[task.name][known], isinstance(task, MulticlassTask))
    return out


def _facts(built: Built, history: History, kept: Mapping[str, float]) -> dict[str, Any]:
    return {
        "steps": built.steps,
        **told_length(built),
        "rows": {name: len(source) for name, source in built.training.items()},
        "validation_rows": {name: len(source) for name, source in built.validation.items()},
        "validation": dict(kept),
        "selected_steps": {task: chosen.step for task, chosen in history.selected.items()},
    }
