"""Which shifts of inputs `auto` finds in open packs, one source or two, and what a look costs.

    python benchmarks/shifts.py [--packs clothing_to_fmnist mnist_images ...] [--seeds 500:520]

Rows annotated for one task alone, in both scarce regimes. Pictures are seen through a residual net of width 16
that was not trained, features as they are. Only `clothing_to_fmnist` has two sources: photos, which are grey, small
and inverted there, and thumbnails. A line for each pack and regime: in how many draws a shift is found, the areas
under the curve (0.5 to .75 are not told and not shown), and the seconds of a look, beside those of effort `fast`
at 350 steps, as far as rows that pass through the net go.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import problems
from concord.auto.alignment import found_shifts
from concord.auto.effort import EFFORTS
from concord.estimation.shift import MOST_ROWS
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.learners.frozen import HEADS, PASSES
from concord.networks.trunks import SmallResNet
from concord.tasks import Task

PACKS = (
    "clothing_to_fmnist", "mnist_images", "digits_images", "digits", "clothing10", "mnist10k_shape", "goemotions",
    "grocery81", "clinc150",
)  # fmt: skip
STEPS, ROWS = 350, 64


def share_of_fast() -> float:
    """Rows of two sources passed once through a trunk, as a share of what effort `fast` passes, backward too."""
    pair = STEPS * ROWS * 2 * PASSES
    return 2 * MOST_ROWS / (EFFORTS["fast"].for_steps(STEPS).cost() * pair)


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
    print(f"A look passes at most {share_of_fast():.2%} of the rows of effort fast through the trunk.\n")
    print("| pack | regime | draws | found | areas | seconds |\n|---|---|---|---|---|---|")
    for pack in given.packs:
        for regime in problems.SCARCE:
            areas, seconds, seeds = [], [], range(*map(int, given.seeds.split(":")))
            for seed in seeds:
                rows, tasks = drawn(pack, regime, seed)
                learner = TorchLearner(**{**HEADS, "trunk": None if rows.inputs.dim() == 2 else net})
                start = time.perf_counter()
                areas += [shift.area for shift in found_shifts(learner, rows, tasks, seed)]
                seconds.append(time.perf_counter() - start)
            told = f"{min(areas):.3f} to {max(areas):.3f}" if areas else "-"
            print(
                f"| {pack} | {regime} | {len(seeds)} | {len(areas)} | {told} | {max(seconds):.2f} |",
                flush=True,
            )


def net() -> torch.nn.Module:
    """A residual net for grey pictures, as the studies of pictures train it."""
    return SmallResNet(1, width=16)


if __name__ == "__main__":
    main()
