"""A small problem that tests of training share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import concord as cc
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.loop import fit
from concord.fitting.recipe import History, Recipe
from concord.fitting.rows import Rows
from concord.fitting.validation import Validation
from concord.fitting.watch import JsonLines
from concord.networks.multitask import MultiTaskNetwork, mlp_network

SHAPE = cc.MulticlassTask("shape", ["circle", "square", "star"])
MARKS = cc.MultilabelTask("marks", ["m1", "m2", "m3", "m4"])
WIDTH = 12


def relation() -> cc.Relation:
    table = np.random.default_rng(5).random((SHAPE.width, MARKS.width))
    return cc.Relation(SHAPE, MARKS, table)


def rows(n: int = 240, seed: int = 0) -> Rows:
    """Every second row has a class, the others have labels, with gaps among these."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, SHAPE.width, n)
    a = (rng.random((n, MARKS.width)) < relation().table[y]).astype(float)
    x = rng.normal(size=(n, WIDTH)).astype(np.float32)
    x[:, : SHAPE.width] += 2 * np.eye(SHAPE.width)[y]
    x[:, SHAPE.width : SHAPE.width + MARKS.width] += 2 * a
    a[rng.random(a.shape) < 0.2] = np.nan
    a[::2], y[1::2] = np.nan, -1
    return Rows.of(x, {"shape": y, "marks": a}, [SHAPE, MARKS])


def network(dropout: float = 0.2) -> MultiTaskNetwork:
    return mlp_network(
        WIDTH, [SHAPE, MARKS], hidden=(16, 16), dropout=dropout, generator=torch.Generator().manual_seed(3)
    )


def objective(momentum: float = 0.5) -> cc.CoupledObjective:
    return cc.CoupledObjective(
        [SHAPE, MARKS],
        [relation()],
        [cc.couplings.PopulationMatching(momentum=momentum), cc.couplings.DistributionMatching()],
    )


FULL = Recipe(
    schedule="cosine", warmup=5, clip=1.0, accumulate=2, average=0.9, layer_decay=0.7, decay="matrices"
)


def survive(
    folder: Path, steps: int = 60, every: int = 7, **options: Any
) -> tuple[MultiTaskNetwork, History]:
    """Train with everything on, resuming what lies in `folder`."""
    net = network()
    history = fit(
        net,
        objective(),
        rows(),
        steps=steps,
        rows_per_task=16,
        log_every=5,
        recipe=FULL,
        validation=Validation(rows(60, seed=1), every=20, select="log-loss"),
        checkpoints=Checkpoints(folder / "checkpoints", every=every),
        loggers=[JsonLines(folder / "log.jsonl")],
        **options,
    )
    return net, history


def survive_to_14(folder: Path) -> None:
    """Train, and stop behind the checkpoint of step 14."""

    def stop(record: dict[str, float]) -> None:
        if record["step"] > 14:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        survive(folder, on_log=stop)


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two networks are alike, bit by bit."""
    mine, other = first.state_dict(), second.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[k], other[k]) for k in mine)


def survive_until(folder: str, event: int) -> None:
    """Train, and be killed at the `event`-th of: a batch drawn, a file flushed, a name changed or removed."""
    import os
    import shutil
    import signal

    from concord.fitting.rows import RowFeed

    torch.set_num_threads(1)
    seen = 0

    def hooked(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync, os.rename, os.replace = hooked(os.fsync), hooked(os.rename), hooked(os.replace)
    shutil.rmtree = hooked(shutil.rmtree)
    RowFeed.next = hooked(RowFeed.next)  # type: ignore[method-assign]
    survive(Path(folder))


def survive_until_half_a_file(folder: str, file: str, step: int, share: float) -> None:
    """Train, and be killed within the writing of one file of the checkpoint of a step."""
    import os
    import signal

    from concord.archive import folders

    torch.set_num_threads(1)
    saved, write = Checkpoints.save, folders.write_flushed
    now = 0

    def save(self: Checkpoints, done: int, *arguments: Any) -> Path:
        nonlocal now
        now = done
        return saved(self, done, *arguments)

    def half(path: Path, content: bytes) -> None:
        if now != step or path.name != file:
            return write(path, content)
        with path.open("wb") as opened:
            opened.write(content[: int(share * len(content))])
            opened.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return None

    Checkpoints.save, folders.write_flushed = save, half  # type: ignore[method-assign]
    survive(Path(folder))


def survive_plainly(folder: str) -> None:
    """Train, saving at every second step."""
    torch.set_num_threads(1)
    survive(Path(folder), every=2)


def survive_in_limits(folder: str, steps: int, bytes_a_file: int) -> None:
    """Train where no file may grow beyond a size; say how it ended."""
    import resource
    import sys

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True  # or modules that are first imported here stay cut off for all
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))
    _say(folder, steps)


def survive_as_nobody(folder: str, steps: int) -> None:
    """Train as a user who may not write; say how it ended."""
    import os

    torch.set_num_threads(1)
    os.setuid(65534)
    _say(folder, steps)


def _say(folder: str, steps: int) -> None:
    import sys

    from concord.errors import CheckpointError

    try:
        survive(Path(folder), steps=steps)
    except CheckpointError as error:
        print(f"one line: {error}", flush=True)
        sys.exit(2)
