"""Trainings that a test runs in one process and, the same again, on several ranks.

As a program, under torchrun: `torchrun --nproc-per-node 2 rank_training.py FOLDER`.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import concord as cc
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.devices import launch
from concord.fitting.loop import fit
from concord.fitting.validation import Validation
from concord.fitting.watch import JsonLines
from concord.networks.multitask import MultiTaskNetwork, mlp_network
from concord.runs import train
from config_worlds import config_of, world
from coupling_reference import CASES, LABEL_CASES
from training_problem import FULL, MARKS, SHAPE, WIDTH, relation, rows

STEPS = 50
BATCHES = 24
"""Of each coupling: six rounds of the four kinds of uneven batches."""
QUICK_FORMS = (
    "none",
    "running",
    "labels matching class-mean",
    "labels posterior",
    "labels class-to-labels",
    "classes population",
)
"""One of each way to look at the rows of all ranks; the slow test under torchrun has all forms."""
KIND = cc.MulticlassTask("kind", ["k1", "k2", "k3", "k4"])


def class_relation() -> cc.Relation:
    return cc.Relation(SHAPE, KIND, np.random.default_rng(6).dirichlet(np.ones(KIND.width), SHAPE.width))


def couplings() -> dict[str, tuple[cc.Relation, Any]]:
    """Every coupling in every form, with a relation of each kind that it knows; and none."""
    labels, classes = relation(), class_relation()
    running = cc.couplings.PopulationMatching(momentum=0.7)
    cases: dict[str, tuple[cc.Relation, Any]] = {"none": (labels, None), "running": (labels, running)}
    for name, (coupling, _) in {**CASES, **LABEL_CASES}.items():
        cases[f"labels {name}"] = (labels, coupling)
    for name, (coupling, _) in CASES.items():
        cases[f"classes {name}"] = (classes, coupling)
    return cases


def uneven_batches(tasks: tuple[cc.MulticlassTask, Any], rank: int, world: int) -> list[Any]:
    """The rows of this rank of every global batch: of different number, most without one of the tasks.

    In turn rank 1 sees no class, no target, a few rows of everything; and in every fourth batch nobody sees
    a class.
    """
    rng = np.random.default_rng(11)
    batches = []
    for step in range(BATCHES):
        n = 24
        y = rng.integers(0, SHAPE.width, n)
        x = rng.normal(size=(n, WIDTH))
        x[:, : SHAPE.width] += 2 * np.eye(SHAPE.width)[y]
        t = rng.integers(0, KIND.width, n) if tasks[1] == KIND else rng.integers(0, 2, (n, MARKS.width))
        t = t.astype(float)
        t[:12] = np.nan
        if t.ndim == 2:
            t[rng.random(t.shape) < 0.3] = np.nan
        y[12:20] = -1  # rows 12 .. 19 have a target alone, 20 .. 23 both
        if step % 4 == 3:
            y[:] = -1
        mine = [slice(15, 20), slice(7, 12), slice(21, 23)][step % 3]  # of rank 1
        of_rank = np.zeros(n, dtype=int)
        of_rank[mine] = 1
        keep = torch.from_numpy(of_rank == rank) if world > 1 else torch.ones(n, dtype=torch.bool)
        targets = {
            task.name: torch.from_numpy(task.encode(values))[keep]
            for task, values in zip(tasks, (y, t), strict=True)
        }
        batches.append(SimpleNamespace(inputs=torch.from_numpy(x).float()[keep], targets=targets))
    return batches


def net_of(tasks: Any) -> MultiTaskNetwork:
    return mlp_network(WIDTH, tasks, hidden=(16, 16), dropout=0.0, generator=torch.Generator().manual_seed(3))


def train_coupled(name: str, fabric: Any = None) -> dict[str, torch.Tensor]:
    """Parameters after the steps of one case."""
    made, coupling = couplings()[name]
    tasks = (made.source, made.target)
    objective = cc.CoupledObjective(tasks, [made], [] if coupling is None else [copy.deepcopy(coupling)])
    rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    net = net_of(tasks)
    fit(net, objective, uneven_batches(tasks, rank, world), steps=BATCHES, fabric=fabric)
    return {key: value.detach() for key, value in net.state_dict().items()}


def train_rows(folder: Path, fabric: Any = None, stop: int | None = None) -> dict[str, torch.Tensor]:
    """Rows in memory with everything on: pieces, clipping, an average, selection, a checkpoint at step 20."""
    net = net_of((SHAPE, MARKS))
    objective = cc.CoupledObjective(
        [SHAPE, MARKS],
        [relation()],
        [cc.couplings.PopulationMatching(momentum=0.5), cc.couplings.DistributionMatching()],
    )

    def interrupted(record: dict[str, float]) -> None:
        if stop is not None and record["step"] >= stop:
            raise KeyboardInterrupt

    history = fit(
        net,
        objective,
        rows(),
        steps=STEPS,
        rows_per_task=15,
        log_every=5,
        on_log=interrupted,
        recipe=FULL,
        validation=Validation(rows(41, seed=1), every=10, select="metric"),
        checkpoints=Checkpoints(folder / "checkpoints", every=20),
        loggers=[JsonLines(folder / "log.jsonl")],
        fabric=fabric,
    )
    out = {key: value.detach() for key, value in net.state_dict().items()}
    out["scores"] = torch.tensor([history.selected[t].score for t in ("shape", "marks")])
    out["steps"] = torch.tensor([history.selected[t].step for t in ("shape", "marks")])
    return out


def run_on_ranks(folder: str, names: Iterable[str]) -> None:
    """Train these cases, and rows, on the ranks that the launcher started; rank 0 writes what came out."""
    torch.set_num_threads(1)
    fabric = launch("cpu")
    out = Path(folder)
    results = {name: train_coupled(name, fabric) for name in names}
    results["rows"] = train_rows(out / "unbroken", fabric)
    try:
        train_rows(out / "resumed", fabric, stop=30)
    except KeyboardInterrupt:
        results["resumed"] = train_rows(out / "resumed", fabric)
    if fabric.is_global_zero:
        for name, weights in results.items():
            save_file(weights, out / f"{name}.safetensors")
    torch.distributed.destroy_process_group()


def auto_config(folder: Path, output: Path) -> Any:
    """Data in a folder of its own, and a config of `auto` on them: without dropout, which each rank draws."""
    folder.mkdir()
    values = world(folder) | {"couplings": [], "output": str(output)}
    stages = {"kind": "auto", "effort": "fast"}
    return config_of(
        values, stages=stages, training__steps=30, trunk__options={"hidden": [16], "dropout": 0.0}
    )


def train_auto_as_rank(folder: str, rank: int, ranks: int, port: int) -> None:
    """`auto` from files on one rank, into `folder/ranks`."""
    launched(rank, ranks, port)
    torch.set_num_threads(1)
    train(auto_config(Path(folder) / f"data{rank}", Path(folder) / "ranks"))
    torch.distributed.destroy_process_group()


def run_as_rank(folder: str, rank: int, world: int, port: int) -> None:
    """One rank, with the environment that torchrun gives it."""
    launched(rank, world, port)
    run_on_ranks(folder, QUICK_FORMS)


def launched(rank: int, world: int, port: int) -> None:
    """The environment that torchrun gives a rank."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


if __name__ == "__main__":
    run_on_ranks(sys.argv[1], couplings())
