"""The board: every open pack x three regimes x five seeds x all conditions and peers, in one table.

    python benchmarks/board.py run --out runs/board [--packs mushroom ...] [--processes 2]   # resumable
    python benchmarks/board.py page --out runs/board                                         # docs/board.md

Each pack is a study of its own under the folder; a condition that a pack's relations do not allow is tried for
one step, left out of that pack and named on the page. CONCORD_DATA names the folder of the packs. The page is
written of finished packs alone, and says which they are.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from board_page import write_page
from concord.couplings import RECIPES
from concord.errors import ConcordError
from concord.study import (
    Plan,
    as_plan,
    compare,
    condition,
    condition_names,
    problem_of,
    read_plan,
    run,
    setting_of,
    write_json,
)
from page import LEFT_TO_OTHERS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "board.md"
DATA = Path(os.environ.get("CONCORD_DATA", ROOT.parent / "shared" / "data"))

ROWS: dict[str, dict[str, dict[str, int]]] = {
    "clinc150": {
        "few-class": {"intent": 450, "domain": 5000},
        "few-label": {"intent": 5000, "domain": 50},
        "balanced": {"intent": 1500, "domain": 1500},
    },
    "clothing_fmnist": {
        "few-class": {"garment": 60, "attributes": 400},
        "few-label": {"garment": 2500, "attributes": 60},
        "balanced": {"garment": 300, "attributes": 300},
    },
    "digits": {
        "few-class": {"digit": 50, "segments": 600},
        "few-label": {"digit": 600, "segments": 50},
        "balanced": {"digit": 200, "segments": 200},
    },
    "goemotions": {
        "few-class": {"ekman": 350, "emotions": 7000},
        "few-label": {"ekman": 7000, "emotions": 350},
        "balanced": {"ekman": 2000, "emotions": 2000},
    },
    "grocery81": {
        "few-class": {"fine": 240, "coarse": 1000, "attributes": 1000},
        "few-label": {"fine": 1600, "coarse": 130, "attributes": 130},
        "balanced": {"fine": 600, "coarse": 600, "attributes": 600},
    },
    "mnist10k_shape": {
        "few-class": {"digit": 50, "attributes": 2000},
        "few-label": {"digit": 2000, "attributes": 50},
        "balanced": {"digit": 300, "attributes": 300},
    },
    "mushroom": {
        "few-class": {"family": 115, "attributes": 3000},
        "few-label": {"family": 3000, "attributes": 100},
        "balanced": {"family": 400, "attributes": 400},
    },
}
"""Annotated rows of each task, by pack and regime."""

MNIST: dict[str, Any] = {
    "title": "Digits and the measured shape of each",
    "problem": {
        "sources": {
            "digits": {
                "reader": "pack",
                "root": "mnist10k_shape",
                "inputs": {"kind": "arrays", "file": "mnist10k_shape/data.npz", "size": 28},
            }
        },
        "relations": [{"source": "digit", "target": "attributes", "table": "pack:mnist10k_shape"}],
        "rows": {"train": 5000},
    },
    "network": {"kind": "resnet", "width": 8, "stages": 2, "stem_stride": 2},
    "budget": {"steps": 200, "rows_per_task": 32},
}


MANY_CLASSES = ("clinc150", "grocery81")
"""Packs on which boosting is left out: it fits a tree for each of 81 or 150 classes, iteration and penalty, which takes
several times as long as `auto` does."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run cells, or write the page.

    Raises:
        SystemExit: 75, where other jobs are at the rest.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--out", type=Path, default=Path("runs/board"))
    parser.add_argument("--packs", nargs="+", choices=sorted(ROWS), default=sorted(ROWS))
    parser.add_argument("--regimes", nargs="+", choices=("few-class", "few-label", "balanced"))
    parser.add_argument("--conditions", nargs="+", help="some of them, single-task among them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="optimiser steps of a network; the study's unless given")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if options.what == "page":
        write_page(options.out, options.page, list(ROWS))
        return
    elsewhere = 0
    for pack in options.packs:
        plan = plan_of(pack, options)
        left = run(
            plan,
            options.out / pack,
            processes=options.processes,
            on_done=lambda cell, pack=pack: print(f"{pack} {cell.id}", flush=True),
        )
        if left:
            print(f"{pack}: {left} cells are at other jobs")
            elsewhere += left
            continue
        compare(plan, options.out / pack)
        print(f"{pack}: done", flush=True)
    if elsewhere:
        raise SystemExit(LEFT_TO_OTHERS)


def values_of(pack: str, options: argparse.Namespace) -> dict[str, Any]:
    """Plain data of the board's study of a pack, without its conditions."""
    os.environ["CONCORD_DATA"] = str(DATA)
    if pack == "digits":
        values: dict[str, Any] = {"title": "Digits and seven segments", "problem": "digits"}
    elif pack == "mnist10k_shape":
        values = {
            **MNIST,
            "problem": {**MNIST["problem"], "relations": [dict(r) for r in MNIST["problem"]["relations"]]},
        }
    else:
        values = read_plan(ROOT / "configs" / "studies" / f"{pack}.yaml").model_dump()
    regimes = [name for name in ROWS[pack] if not options.regimes or name in options.regimes]
    values["regimes"] = [{"name": name, "rows": ROWS[pack][name]} for name in regimes]
    values["seeds"] = options.seeds
    if options.steps:
        values["budget"] = {**values.get("budget", {}), "steps": options.steps}
    return values


def plan_of(pack: str, options: argparse.Namespace) -> Plan:
    """The board's study of a pack, with all conditions that its relations allow."""
    values = values_of(pack, options)
    asked = options.conditions or conditions(pack)
    allowed, refused = _allowed(as_plan({**values, "conditions": ["single-task"]}), asked)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / f"{pack}-left-out.json", refused)
    return as_plan({**values, "conditions": allowed})


def conditions(pack: str) -> list[str]:
    """All conditions of a pack but losses that a recipe asks for with settings of its own.

    The best single-task model is chosen by the page, from the runs of those that it is one of.
    """
    held = {each.loss for recipe in RECIPES.values() for each in recipe} | {"best-single-task"}
    if pack in MANY_CLASSES:
        held.add("boosting")
    return [name for name in condition_names() if name not in held]


def _allowed(plan: Plan, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Conditions that train for a step on the plan's first regime, and why the others do not."""
    import torch

    torch.set_num_threads(1)
    problem, regime = problem_of(plan), plan.regimes[0]
    budget = plan.budget.model_copy(update={"steps": 1})
    allowed, refused = [], {}
    for name in names:
        try:
            made = condition(name)
            made.check(problem.tasks, problem.relations, regime.network or plan.network)
            made.train(setting_of(plan, problem, regime, 0, budget))
        except ConcordError as error:
            refused[name] = str(error)
        else:
            allowed.append(name)
    return allowed, refused


if __name__ == "__main__":
    main()
