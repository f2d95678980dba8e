"""The method on draws that nobody had looked at: packs, rows and steps of `method.py`, other seeds.

    python benchmarks/method_fresh.py [--packs mushroom ...] [--processes 2]     # resumable
    python benchmarks/method_fresh.py --quick --out runs/quick                   # two seeds of a few packs

Rules of the guard changed while seeds 300 to 304 of the method's page were looked at (`docs/research-log.md`). These
seeds show whether what is said there holds elsewhere. After a change of the method take the next ones: `FIRST_SEED`.
The test rows of a pack are the same for all seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from concord.study import Plan, as_plan
from method import QUICK, run_plans
from method import plan_of as method_plan
from problems import PROBLEMS, SCARCE

FIRST_SEED = 500
"""Whoever moves it moves `method_page.UNSEEN_UNTIL`, too: the day on which these draws were looked at."""
SEEDS = 5
CONDITIONS = ("single-task", "auto-standard.right", "auto-standard.shuffled", "auto-standard.none")


def plan_of(pack: str, regime: str, seeds: int, steps: int | None = None) -> Plan:
    """The study of one pack and regime."""
    plan = method_plan("features", pack, regime, seeds, steps).model_dump()
    asked = [each for each in plan["conditions"] if each["name"] in CONDITIONS]
    return as_plan({**plan, "conditions": asked, "seeds": [*range(FIRST_SEED, FIRST_SEED + seeds)]})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, a study for each regime and pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/method"))
    parser.add_argument("--quick", action="store_true", help="a few packs, two seeds")
    parser.add_argument("--packs", nargs="+", choices=tuple(PROBLEMS))
    parser.add_argument("--regimes", nargs="+", choices=SCARCE, default=SCARCE)
    parser.add_argument("--steps", type=int, help="of a final network; 600 unless given")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    plans = {
        f"{pack}.{regime}": plan_of(pack, regime, 2 if given.quick else SEEDS, given.steps)
        for regime in given.regimes
        for pack in given.packs or (QUICK if given.quick else tuple(PROBLEMS))
    }
    run_plans(plans, given.out / "fresh", given.processes)


if __name__ == "__main__":
    main()
