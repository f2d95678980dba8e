"""How fast LibMTL's own trainer is on the job of our `uncoupled` condition: rows a second, in pairs.

    python benchmarks/libmtl_throughput.py [--pairs 5] [--only mlp resnet] [--out FILE] [--page]

Both get a study's setting and return a trained network: the same rows of every step, initial weights, losses, AdamW
and number of steps, equal weights of tasks, one thread (`against_libmtl.py` says how, and by how little the results
differ). The setting up of both is included. Two validation rows are all that either looks at beside the training.
The clock is the processor time of this process, so that ratios hold on a busy machine, too. Pairs that --out holds
are not made again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from against_libmtl import VERSION, libmtl, train
from concord.study import Setting, as_plan, condition, setting_of
from held import Held
from page import PAGE, machine, page_option, table, write_section
from problems import digits, digits_images

GOAL = ">= 1.5"
"""Asked of the ratio."""


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        title: As the page names it.
        network: Of a study's plan.
        rows: Of each task in a step.
        steps: Of a training.
        images: Whether inputs are the digits as images, enlarged to 32 x 32; else their pixels are features.
    """

    title: str
    network: dict[str, Any]
    rows: int
    steps: int
    images: bool = False


CASES = {
    "default": Case("MLP 128-128, 64 features", {}, 64, 200),
    "mlp": Case("MLP 512-512, 64 features", {"hidden": [512, 512], "dropout": 0.0}, 256, 100),
    "resnet": Case("small residual net, 32 px", {"kind": "resnet"}, 32, 10, True),
}


def setting(case: Case) -> Setting:
    """Rows, network and budget of a job."""
    regime = {"name": "all", "rows": {"digit": 350, "segments": 350}}
    budget = {"steps": case.steps, "rows_per_task": case.rows, "log_every": case.steps}
    plan = as_plan(
        {
            "title": case.title,
            "problem": "digits",
            "regimes": [regime],
            "conditions": ["single-task", "uncoupled"],
            "seeds": [0],
            "network": case.network,
            "budget": budget,
        },
        "libmtl_throughput.py",
    )
    problem = digits()
    if case.images:
        problem = digits_images()
        problem = replace(problem, inputs=problem.inputs.repeat(4, axis=2).repeat(4, axis=3))
    given = setting_of(plan, problem, plan.regimes[0], 0, plan.budget)
    return replace(given, validation=given.validation.take(torch.arange(2)))


def pair(case: Case, number: int) -> list[float]:
    """Seconds of the processor of LibMTL's trainer and of ours; who begins alternates."""
    library, seconds = libmtl(), {}
    both = {
        "theirs": partial(train, library, "EW"),
        "ours": condition("uncoupled").train,
    }
    for name in sorted(both, reverse=bool(number % 2)):
        given = setting(case)
        start = time.process_time()
        both[name](given)
        seconds[name] = time.process_time() - start
    return [seconds["theirs"], seconds["ours"]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and with --page write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path, help="where pairs are kept, so that none is made twice")
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    held, lines = Held(options.out), []
    where = held.once({"what": "machine"}, machine)
    for name in options.only:
        case = CASES[name]
        # The pair before the first warms up and is not counted.
        keys = [{"case": name, "pair": number} for number in range(-1, options.pairs)]
        found = [held.once(key, partial(pair, case, key["pair"])) for key in keys][1:]
        rows = 2 * case.rows * case.steps
        ratios = sorted(theirs / ours for theirs, ours in found)
        lines.append(
            [
                f"{case.title}, 2 x {case.rows} rows, {case.steps} steps",
                *(f"{rows / statistics.median(each):,.0f}" for each in zip(*found, strict=True)),
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                GOAL,
            ]
        )
    where += held.several()
    body = (
        f"`python benchmarks/libmtl_throughput.py --pairs {options.pairs} --only {' '.join(options.only)} --page`\n\n"
        f"{where}, one thread, processor time.\n\n"
        f"Rows a second of LibMTL {VERSION}'s own trainer (equal weights, a loader a task) and of our `uncoupled`, the same "
        "job from a study's setting to a trained network: the same rows, weights, losses, optimiser and steps. Its trainer "
        "runs the trunk once a task, ours once a step on the rows of both.\n\n"
    ) + table(["network", "LibMTL", "uncoupled", "ratio", "range", "goal"], lines)
    print(body)
    if options.page:
        write_section("libmtl-throughput", "Throughput beside LibMTL", body, options.page)


if __name__ == "__main__":
    main()
