"""The state of a training, as a checkpoint holds it, and how a training takes it up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from concord.errors import CheckpointError
from concord.fitting.checkpoints import random_state, set_random_state
from concord.fitting.recipe import Selected
from concord.fitting.step import Stepper
from concord.networks import reseed

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def network_state(stepper: Stepper) -> dict[str, Any]:
    """All that a step changes, and the random states of all ranks."""
    return {
        "network": dict(stepper.network.state_dict()),
        "optimiser": stepper.optimiser.state_dict(),
        "objective": dict(stepper.objective.state_dict()),
        "average": None if stepper.average is None else stepper.average.state_dict(),
        "precision": stepper.fabric.strategy.precision.state_dict(),
        "random": _random_states(stepper.fabric),
    }


def restore_network(stepper: Stepper, state: Mapping[str, Any], place: str) -> None:
    """Take up what `network_state` gave.

    Raises:
        CheckpointError: The state of another network; `place` names where it came from.
    """
    try:
        stepper.network.load_state_dict(state["network"])
        stepper.objective.load_state_dict(_on(stepper.device, state["objective"]))
        stepper.optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{place} is of another network: {reason}") from error
    if stepper.average is not None:
        stepper.average.load_state_dict(state["average"])
    stepper.fabric.strategy.precision.load_state_dict(state["precision"])
    states, rank = state["random"], stepper.fabric.global_rank
    if len(states) == stepper.fabric.world_size:
        set_random_state(states[rank], stepper.device)
    else:  # another number of processes: the same training, but no longer bit by bit
        reseed(rank_seed(stepper.seed + state["step"], rank), stepper.device)


def check_same_training(
    state: Mapping[str, Any], identity: Mapping[str, Any], steps: int, place: str
) -> None:
    """Check that a checkpoint is of the training that is to resume.

    Raises:
        CheckpointError: Another training, or a step beyond the last one.
    """
    known = state["training"]
    for key, mine in identity.items():
        # Checkpoints are older than the key validation.
        if known.get(key) != mine and (key != "validation" or key in known):
            raise CheckpointError(
                f"{place} is of another training: {key} was {known.get(key)}, here it is {mine}; train into "
                "another folder"
            )
    if state["step"] > steps:
        raise CheckpointError(f"{place} is at step {state['step']}, beyond the {steps} asked for")


def selection_state(selected: Mapping[str, Selected]) -> dict[str, Any]:
    """Selected weights by task; tasks that chose the same step share its weights."""
    weights = {str(chosen.step): chosen.weights for chosen in selected.values()}
    tasks = {task: {"step": chosen.step, "score": chosen.score} for task, chosen in selected.items()}
    return {"tasks": tasks, "weights": weights}


def restored_selection(state: Mapping[str, Any]) -> dict[str, Selected]:
    """What `selection_state` was given."""
    return {
        task: Selected(chosen["step"], chosen["score"], state["weights"][str(chosen["step"])])
        for task, chosen in state["tasks"].items()
    }


def rank_seed(seed: int, rank: int) -> int:
    """The seed of a rank. Ranks drop different units; rank 0 drops what a single process would."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def _random_states(fabric: Fabric) -> list[dict[str, Tensor]]:
    mine = {name: state.cpu() for name, state in random_state(fabric.device).items()}
    if fabric.world_size == 1:
        return [mine]
    out: list[dict[str, Tensor]] = [{} for _ in range(fabric.world_size)]
    for name, state in mine.items():
        gathered = fabric.all_gather(state.to(fabric.device))
        for rank, row in enumerate(gathered):
            out[rank][name] = row.cpu()
    return out


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _on(device, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on(device, part) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value
