"""The method against the best single-task model: the packs, regimes, rows and seeds of `method.py`, other conditions.

    python benchmarks/method_rivals.py [--packs mushroom ...] [--processes 2]    # resumable; as long as it must
    python benchmarks/method_rivals.py --kind rivals-wrong                       # wrong tables, beside the others
    python benchmarks/method_rivals.py --quick --out runs/quick                  # a few packs, two seeds

`best-single-task` is what a careful user would have without the other task, and `auto-rivals` is `auto` with the same
estimators among its single-task models. A script of its own: what `method.py` measured does not rest on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import problems
from concord.study import Plan, as_plan
from method import QUICK, TABLES, run_plans
from method import plan_of as method_plan
from problems import PROBLEMS, SCARCE

RIVALS = ("logistic", "extra-trees")
"""What competes with networks in `auto`, and what the best single-task model is chosen from."""
BOOSTED = ("digits", "synthetic", "clothing10", "mushroom", "mnist10k_shape")
"""Packs where gradient boosting is among them.

It fits a tree for each class or label, iteration and penalty: with 28 labels and 300 features, or 80 classes, that
takes several times as long as `auto` does without rivals.
"""
SHOWN = {"rivals": ("right", "none"), "rivals-wrong": ("shuffled", "partly-wrong")}
"""Tables that `auto` is shown in each kind of run; what knows no table runs in the first alone."""


def plan_of(
    pack: str, regime: str, seeds: int, steps: int | None = None, kind: str = next(iter(SHOWN))
) -> Plan:
    """The study of one pack and regime."""
    rivals = [*RIVALS, *(("boosting",) if pack in BOOSTED else ())]
    conditions: list[Any] = ["single-task"]
    if kind == "rivals":
        options: dict[str, Any] = {"kinds": ["single-task", *rivals]}
        conditions.append({"name": "best-single-task", "use": "best-single-task", "options": options})
    for table in SHOWN[kind]:
        options = {"effort": "standard", "rivals": rivals, "table": TABLES[table]}
        conditions.append({"name": f"auto-rivals.{table}", "use": "auto", "options": options})
    plan = method_plan("features", pack, regime, seeds, steps)
    return as_plan({**plan.model_dump(), "conditions": conditions})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, a study for each regime and pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/method"))
    parser.add_argument("--kind", choices=tuple(SHOWN), default=next(iter(SHOWN)))
    parser.add_argument("--quick", action="store_true", help="a few packs, scarce regimes, two seeds")
    parser.add_argument("--packs", nargs="+", choices=tuple(PROBLEMS))
    parser.add_argument("--regimes", nargs="+", choices=tuple(problems.regimes("digits")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of a final network; 600 unless given")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    seeds = 2 if given.quick else given.seeds
    plans = {
        f"{pack}.{regime}": plan_of(pack, regime, seeds, given.steps, given.kind)
        for regime in given.regimes or (SCARCE if given.quick else tuple(problems.regimes("digits")))
        for pack in given.packs or (QUICK if given.quick else tuple(PROBLEMS))
    }
    run_plans(plans, given.out / given.kind, given.processes)


if __name__ == "__main__":
    main()
