"""The method's board: packs x regimes x tables x conditions x paired seeds, each pack and regime a study.

    python benchmarks/method.py run [--processes 2]                  # resumable; as long as it must
    python benchmarks/method.py run --quick --out runs/quick         # a few packs, two seeds
    python benchmarks/method.py run --kind fast                      # what less effort costs in gain
    python benchmarks/method.py run --kind images                    # small residual nets
    python benchmarks/method.py run --kind controls                  # tasks that are not related
    python benchmarks/method.py page                                 # writes docs/method.md of what is done

CONCORD_DATA names the folder of the packs. Every finished study holds its `results.csv` and can be looked at
with `concord report`. Seeds 300.. are the reported ones. No threshold was set by their results, but they have been seen
while rules of the guard changed (`docs/research-log.md` says when), and the test rows of a pack are the same for all
seeds. Draws that nobody has looked at begin at seed 500.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import problems
from concord.auto import EFFORTS
from concord.study import Cell, Plan, Problem, as_plan, compare, run, write_json
from origin import commit
from page import LEFT_TO_OTHERS
from problems import CONTROLS, IMAGE_PROBLEMS, PROBLEMS, SCARCE

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "method.md"
FIRST_SEED = 300
TABLES = {"right": "given", "shuffled": "shuffled", "partly-wrong": "partly-wrong", "none": "none"}
FIXED = ("paper",)
STEPS = {"features": 600, "images": 350}
IMAGE_NETWORKS = {
    "digits_images": {"kind": "resnet", "width": 16, "stages": 2, "stem_stride": 1},
    "mnist_images": {"kind": "resnet", "width": 16, "stages": 2, "stem_stride": 2},
    "clothing_to_fmnist": {"kind": "resnet", "width": 16, "stages": 2, "stem_stride": 2},
}
QUICK = ("digits", "clothing10", "mnist10k_shape")
CONTROLLED = ("digits", "synthetic", "clothing10", "mushroom", "mnist10k_shape")
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "features": (tuple(PROBLEMS), tuple(problems.regimes("digits")), tuple(TABLES)),
    "fast": (tuple(PROBLEMS), SCARCE, ("right", "none")),
    "thorough": (("digits", "mnist10k_shape", "goemotions"), SCARCE, ("right", "none")),
    "images": (tuple(IMAGE_PROBLEMS), SCARCE, ("right", "shuffled", "none")),
    "controls": (
        (
            *(f"{name}_{kind}" for kind in ("shuffled", "nuisance") for name in CONTROLLED),
            *(f"{name}_entangled" for name in ("digits", "clothing10")),
        ),
        ("few-class",),
        ("none", "right"),
    ),
}
"""Packs, regimes and tables of each kind of run."""


def plan_of(kind: str, pack: str, regime: str, seeds: int, steps: int | None = None) -> Plan:
    """The study of one pack and regime."""
    problem: Problem = getattr(problems, pack)()
    first, second = (task.name for task in problem.tasks)
    sizes = problems.regimes(base(pack))[regime]
    images = kind == "images"
    shared = {"capacity": "shared" if images else "half-shared", "weighting": "rows"}
    conditions: list[Any] = [
        "single-task",
        {"name": "balanced-shared", "use": "uncoupled", "options": shared},
    ]
    effort = kind if kind in EFFORTS else "standard"
    conditions += [_with_table(f"auto-{effort}", "auto", table, effort=effort) for table in KINDS[kind][2]]
    if kind == "features" and regime in SCARCE:  # elsewhere they would only cost time
        conditions += [_with_table(name, name, table) for name in FIXED for table in ("right", "shuffled")]
    two_classes = problem.relations[0].class_to_class
    metrics = {first: "balanced_accuracy", second: "balanced_accuracy" if two_classes else "mean_f1"}
    steps = steps or STEPS["images" if images else "features"]
    return as_plan(
        {
            "title": f"{pack}, {regime}",
            "problem": f"problems:{pack}",
            "folder": str(HERE),
            "regimes": [
                {"name": regime, **sizes, "rows": dict(zip((first, second), sizes["rows"], strict=True))}
            ],
            "conditions": conditions,
            "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds)),
            "metrics": metrics,
            "budget": {"steps": steps, "log_every": steps},
            "resamples": 0,
            **({"network": IMAGE_NETWORKS[pack]} if images else {}),
        }
    )


def _with_table(name: str, use: str, table: str, **options: Any) -> dict[str, Any]:
    return {"name": f"{name}.{table}", "use": use, "options": {**options, "table": TABLES[table]}}


def base(pack: str) -> str:
    """The pack that a control is made of."""
    name, _, control = pack.rpartition("_")
    return name if control in CONTROLS else pack


def note_code(path: Path, cells: int, done: int) -> None:
    """Add the commit that runs, where it has anything to do, to those that made the studies beside."""
    if done == cells:
        return
    held = json.loads(path.read_text())["code"] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"code": list(dict.fromkeys([*held, commit()]))})


def run_all(args: argparse.Namespace) -> None:
    """Run what is missing, a study for each regime and pack."""
    packs, names, _ = KINDS[args.kind]
    if args.quick:
        packs = tuple(pack for pack in packs if base(pack) in QUICK) or packs[:1]
        names = tuple(name for name in names if name in SCARCE)
    packs, names = args.packs or packs, args.regimes or names
    seeds = 2 if args.quick else args.seeds
    plans = {
        f"{pack}.{regime}": plan_of(args.kind, pack, regime, seeds, args.steps)
        for regime in names
        for pack in packs
    }
    run_plans(plans, args.out / args.kind, args.processes)


def run_plans(plans: Mapping[str, Plan], folder: Path, processes: int) -> None:
    """Run what is missing of studies, each in the sub-folder of its name.

    Raises:
        SystemExit: 75, where other jobs are at the rest.
    """
    elsewhere = 0
    for name, plan in plans.items():
        out = folder / name
        trained: list[Cell] = []
        left = run(
            plan,
            out,
            processes=processes,
            on_start=partial(note_code, folder / "about.json"),
            on_done=trained.append,
        )
        if left:
            print(f"{out}: {left} cells are at other jobs", flush=True)
            elsewhere += left
            continue
        if trained or not (out / "summary.json").exists():
            compare(plan, out)
        print(f"{out}: done", flush=True)
    if elsewhere:
        raise SystemExit(LEFT_TO_OTHERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run cells, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--out", type=Path, default=Path("runs/method"))
    parser.add_argument("--kind", choices=sorted(KINDS), default="features")
    parser.add_argument("--quick", action="store_true", help="a few packs, scarce regimes, two seeds")
    parser.add_argument("--packs", nargs="+")
    parser.add_argument("--regimes", nargs="+", choices=tuple(problems.regimes("digits")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, help="of a final network; 600 of features, 350 of images unless given"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args(arguments)
    if args.what == "run":
        run_all(args)
    else:
        from method_page import write

        write(args.out, args.page)


if __name__ == "__main__":
    main()
