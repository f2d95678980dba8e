"""Which shifts of inputs `auto` finds in open packs, one source or two, and what a look costs.

    python benchmarks/shifts.py [--packs clothing_to_fmnist mnist_images ...] [--seeds 500:520]

Rows annotated for one task alone, in both scarce regimes. Pictures are seen through a residual net of width 16
that was not trained, features as they are. Only `clothing_to_fmnist` has two sources: photos, which are grey, small
and inverted there, and thumbnails. A line for each pack and regime: in how many draws a shift is found, the areas
under the curve (.75 and less are not told and not shown), and what the dearest look cost: rows that pass through the
net, as a share of those of effort `fast` at 350 steps, and seconds.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import problems
from concord.auto import EFFORTS, found_shifts
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.networks import SmallResNet
from concord.tasks import Task

PACKS = (
    "clothing_to_fmnist", "mnist_images", "digits_images", "digits", "clothing10", "mnist10k_shape", "goemotions",
    "grocery81", "clinc150",
)  # fmt: skip
STEPS, ROWS, PASSES = 350, 64, 3
"""Of a training: steps, rows of each task, and what a step of a row costs, forward alone as 1."""

passed: list[int] = []
"""Rows of pictures that passed through the net, batch by batch."""


def drawn(pack: str, regime: str, seed: int) -> tuple[Rows, tuple[Task, ...]]:
    """Rows of a scarce and of a rich task, none annotated for both."""
    problem = getattr(problems, pack)()
    counts = problems.regimes(pack)[regime]["rows"]
    pool = np.random.default_rng(seed).permutation(problem.splits["train"])
    inputs, targets = [], {task.name: [] for task in problem.tasks}
    for task, count in zip(problem.tasks, counts, strict=True):
        some = pool[task.annotated(problem.targets[task.name][pool])][:count]
        pool = np.setdiff1d(pool, some, assume_unique=True)
        inputs.append(problem.inputs[some])
        for each in problem.tasks:
            own = each.name == task.name
            targets[each.name].append(problem.targets[each.name][some] if own else each.gaps(len(some)))
    joined = {name: np.concatenate(parts) for name, parts in targets.items()}
    return Rows.of(np.concatenate(inputs), joined, problem.tasks), problem.tasks


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", nargs="+", choices=PACKS, default=list(PACKS))
    parser.add_argument("--seeds", default="500:520")
    given = parser.parse_args()
    torch.set_num_threads(1)
    of_fast = EFFORTS["fast"].for_steps(STEPS).cost() * STEPS * ROWS * 2 * PASSES
    print(
        "| pack | regime | draws | found | areas | of effort fast | seconds |\n|---|---|---|---|---|---|---|"
    )
    for pack in given.packs:
        for regime in problems.SCARCE:
            areas, seconds, shares, seeds = [], [], [], range(*map(int, given.seeds.split(":")))
            for seed in seeds:
                rows, tasks = drawn(pack, regime, seed)
                learner = TorchLearner(
                    trunk=None if rows.inputs.dim() == 2 else net, hidden=(128, 128), dropout=0.2, steps=STEPS,
                    rows_per_task=ROWS, learning_rate=2e-3, weight_decay=0.01, device="cpu",
                )  # fmt: skip
                passed.clear()
                start = time.perf_counter()
                areas += [shift.area for shift in found_shifts(learner, rows, tasks, seed)]
                seconds.append(time.perf_counter() - start)
                shares.append(sum(passed) / of_fast)
            told = f"{min(areas):.3f} to {max(areas):.3f}" if areas else "-"
            cost = f"{max(shares):.2%} | {max(seconds):.2f}"
            print(f"| {pack} | {regime} | {len(seeds)} | {len(areas)} | {told} | {cost} |", flush=True)


def net() -> torch.nn.Module:
    """A residual net for grey pictures, as the studies of pictures train it."""
    made = SmallResNet(1, width=16)
    made.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    return made


if __name__ == "__main__":
    main()
