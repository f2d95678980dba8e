"""`stages: {kind: auto}`: which coupling, if any, each task gets, on any trunk and inputs, in one folder.

The decision is that of `concord.auto.select` over the training rows of all sources. Networks and their
predictions are kept in `auto/` of the run's folder until the run is there, so that a killed training resumes
bit by bit.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from concord.archive import Claim
from concord.auto import EFFORTS, Automatic, in_order, possible_pairs, select
from concord.decoding import Decoders, Thresholds
from concord.errors import ConcordWarning, ConfigError, SourceShiftWarning
from concord.fitting import Rows, Validation, collect, on_first
from concord.learners import StreamLearner
from concord.networks import TaskwiseNetwork
from concord.runs.building import Built, told_length
from concord.runs.cuts import thresholds_for
from concord.runs.folder import AUTO, OF_AUTO
from concord.runs.result import assembled, scale_heads
from concord.runs.run import Run, save_run
from concord.runs.sources import named
from concord.runs.stages import stream_learner, training_rows

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def decide_and_train(
    built: Built, fabric: Fabric, folder: Path, options: Mapping[str, Any], owner: Claim | None = None
) -> Run:
    """Choose for every task, train what was chosen, and write the run.

    Args:
        built: Whose config asks for it.
        fabric: Launched.
        folder: Of the run.
        options: Of `fit`, for all networks alike.
        owner: The claim on the folder, of the process that writes.

    Raises:
        ConfigError: One task alone, or a row whose input cannot be read.
        CheckpointError: A folder that cannot be written, or that is of other rows.
        RangeError: Fewer annotated rows of a task, or groups with any, than folds or a hold-out take.
    """
    config = built.config
    effort = EFFORTS[config.stages.effort].for_steps(built.steps)
    if len(built.tasks) < 2:
        raise ConfigError("stages: auto couples tasks, and there is one; train it in a single stage")
    if effort.caution and fabric.is_global_zero:
        warnings.warn(effort.caution, ConcordWarning, stacklevel=2)
    learner = stream_learner(built, fabric, folder / AUTO, options)
    rows = training_rows(built)
    with named("stages"):
        outcome = select(
            learner,
            rows,
            built.tasks,
            list(built.relations) or possible_pairs(built.tasks),
            effort=effort,
            seed=config.training.seed,
            alpha=config.stages.alpha,
        )
    for shift in outcome.source_shifts() if fabric.is_global_zero else ():
        warnings.warn(shift, SourceShiftWarning, stacklevel=2)
    network, scales = _network(learner, outcome)
    run = assembled(
        built,
        network,
        outcome.relations,
        _decoder(outcome),
        folder,
        {
            "steps": built.steps,
            **told_length(built),
            "rows": {name: len(source) for name, source in built.training.items()},
            "validation_rows": {name: len(source) for name, source in built.validation.items()},
            "validation": _validated(built, network, fabric),
            "selected_steps": {},
            "scales": scales,
            "auto": account(outcome, config.stages.effort),
        },
        _thresholds(built, rows, outcome),
    )

    def keep() -> None:
        save_run(run, owner)
        for what in OF_AUTO:
            for place in (folder / AUTO).glob(f"{what}/"):
                shutil.rmtree(place, ignore_errors=True)

    on_first(fabric, keep, "the run")
    return run


def _thresholds(built: Built, rows: Rows, outcome: Automatic) -> Thresholds | None:
    """By out-of-sample predictions: validation rows have no part in what is chosen."""
    of = outcome.judges
    targets = {task.name: rows.targets[task.name].numpy()[of] for task in built.tasks}
    return thresholds_for(
        built, targets, outcome.held_out, None if rows.group is None else rows.group.numpy()[of]
    )


KEPT_OF_A_CHOICE = ("weights", "pool", "strength", "scores", "losses", "start", "alpha")


def account(outcome: Automatic, effort: str) -> dict[str, Any]:
    """What was found and chosen, as plain data."""
    return {
        "effort": effort,
        "cost": float(outcome.cost),
        "sentences": [*outcome.sentences(), *outcome.source_shifts()],
        "choices": {
            name: {key: asdict(choice)[key] for key in KEPT_OF_A_CHOICE}
            for name, choice in outcome.choices.items()
        },
        "verdicts": {check.relation.name: check.verdict for check in outcome.checks},
        "zero_shot": {name: list(classes) for name, classes in outcome.zero_shot.items()},
    }


def _network(
    learner: StreamLearner, outcome: Automatic
) -> tuple[nn.Module, dict[str, float | dict[str, float]]]:
    """The chosen networks as one, with logits at their temperatures; and the factors, by task.

    A task that takes the mean of several networks' logits has a factor for each of them, by family.
    """
    stored: dict[str, dict[str, tuple[Any, float]]] = {}
    for task in outcome.tasks:
        families = [outcome.families[form.partition("/")[0]] for form in outcome.choices[task.name].weights]
        stored[task.name] = {
            one.name: (one.networks[0][task.name], float(one.scale[task.name])) for one in families
        }
    loaded: dict[str, nn.Module] = {}
    for task_name, members in stored.items():
        for one, scale in members.values():
            if one.name not in loaded:
                loaded[one.name] = learner.network(one)
            scale_heads(loaded[one.name], {task_name: scale})
    network: nn.Module = next(iter(loaded.values()))
    if len(loaded) > 1:
        network = TaskwiseNetwork(
            {task: [loaded[one.name] for one, _ in each.values()] for task, each in stored.items()}
        )
    scales: dict[str, float | dict[str, float]] = {}
    for task_name, each in stored.items():
        factors = {family: scale for family, (_, scale) in each.items()}
        scales[task_name] = next(iter(factors.values())) if len(factors) == 1 else factors
    return network, scales


def _decoder(outcome: Automatic) -> Decoders:
    """Relations move the targets of tasks whose decoded form was chosen, as much as helped unseen rows.

    In the order in which the guard judged: what leads to a source comes before what it leads to.
    """
    order = [task.name for task in in_order(outcome.tasks, outcome.relations)]
    decoder = Decoders(sorted(outcome.relations, key=lambda relation: order.index(relation.target.name)))
    moved = {
        task: choice.strength[form]
        for task, choice in outcome.choices.items()
        for form in choice.weights
        if "/" in form
    }
    decoder.set_strengths(
        {
            relation.name: {"target": float(moved.get(relation.target.name, 0.0)), "class": 0.0}
            for relation in outcome.relations
        }
    )
    return decoder


def _validated(built: Built, network: nn.Module, fabric: Fabric) -> dict[str, float]:
    """Metrics of the validation rows, which had no part in any choice."""
    rank, world = fabric.global_rank, fabric.world_size
    rows = built.validation_rows(rank, world)
    if rows is None:
        return {}
    network.to(fabric.device)
    targets, logits = collect(
        network,
        network,
        rows,
        device=fabric.device,
        batch_size=built.config.validation.batch_size,
        rank=rank,
        world=world,
    )
    validation = Validation(rows)
    return {
        f"val/{task.name}/{metric}": value
        for task in built.tasks
        for metric, value in validation.score(task, targets[task.name], logits[task.name])[1].items()
    }
