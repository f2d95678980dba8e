"""The board: every open pack x three regimes x five seeds x all conditions and peers, in one table.

    python benchmarks/board.py run --out runs/board [--packs mushroom ...] [--processes 2]   # resumable
    python benchmarks/board.py page --out runs/board                                         # docs/board.md

Each pack is a study of its own under the folder; a condition that a pack's relations do not allow is tried for
one step, left out of that pack and named on the page. CONCORD_DATA names the folder of the packs. The page is
written of finished packs alone, and says which they are.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from concord import __version__
from concord.couplings import RECIPES
from concord.errors import ConcordError
from concord.study import (
    METRIC_WORDS,
    Plan,
    as_plan,
    compare,
    condition,
    condition_names,
    mean_ranks,
    problem_of,
    read_plan,
    run,
    setting_of,
    write_json,
)

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "board.md"
DATA = Path(os.environ.get("CONCORD_DATA", ROOT.parent / "shared" / "data"))
OURS = "auto"
GAP = "\N{EN DASH}"

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run cells, or write the page."""
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
        write_page(options.out, options.page)
        return
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
            continue
        compare(plan, options.out / pack)
        print(f"{pack}: done", flush=True)


def plan_of(pack: str, options: argparse.Namespace) -> Plan:
    """The board's study of a pack, with all conditions that its relations allow."""
    os.environ["CONCORD_DATA"] = str(DATA)
    if pack == "digits":
        values: dict[str, Any] = {"title": "Digits and seven segments", "problem": "digits"}
    elif pack == "mnist10k_shape":
        values = dict(MNIST)
    else:
        values = read_plan(ROOT / "configs" / "studies" / f"{pack}.yaml").model_dump()
    regimes = [name for name in ROWS[pack] if not options.regimes or name in options.regimes]
    values["regimes"] = [{"name": name, "rows": ROWS[pack][name]} for name in regimes]
    values["seeds"] = options.seeds
    if options.steps:
        values["budget"] = {**values.get("budget", {}), "steps": options.steps}
    asked = options.conditions or conditions()
    allowed, refused = _allowed(as_plan({**values, "conditions": ["single-task"]}), asked)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / f"{pack}-left-out.json", refused)
    return as_plan({**values, "conditions": allowed})


def conditions() -> list[str]:
    """All conditions but losses that a recipe asks for with settings of its own."""
    held = {each.loss for recipe in RECIPES.values() for each in recipe}
    return [name for name in condition_names() if name not in held]


def _allowed(plan: Plan, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Conditions that train for a step on the plan's first regime, and why the others do not."""
    import torch

    torch.set_num_threads(1)
    problem = problem_of(plan)
    budget = plan.budget.model_copy(update={"steps": 1})
    allowed, refused = [], {}
    for name in names:
        try:
            condition(name).train(setting_of(plan, problem, plan.regimes[0], 0, budget))
        except ConcordError as error:
            refused[name] = str(error)
        else:
            allowed.append(name)
    return allowed, refused


# -- the page ------------------------------------------------------------------------------------------


def finished(out: Path) -> dict[str, dict[str, Any]]:
    """Summaries of the packs that are done, by pack."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(out.glob("*/summary.json"))
    }


def blocks_of(summaries: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Mean of each condition by (pack, regime, task), greater is better."""
    blocks: dict[tuple[str, str, str], dict[str, float]] = {}
    for pack, summary in summaries.items():
        for row in summary["means"]:
            if row["metric"] == summary["metrics"][row["task"]]:
                block = blocks.setdefault((pack, row["regime"], row["task"]), {})
                block[row["condition"]] = float(row["mean"])
    return blocks


def table_of(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a condition, the best mean rank first, and what holds for all of them.

    Ranks are over the blocks (pack, regime, task) of the conditions that ran on every pack; significant
    negative transfers are verdicts "worse than single task" after Holm's correction.
    """
    blocks = blocks_of(summaries)
    everywhere = [name for name in next(iter(blocks.values())) if all(name in b for b in blocks.values())]
    ranks = mean_ranks([[block[name] for name in everywhere] for block in blocks.values()])
    rank = dict(zip(everywhere, ranks.mean.tolist(), strict=True))
    names = list(dict.fromkeys(name for block in blocks.values() for name in block))
    rows = []
    for name in names:
        own = [
            row
            for summary in summaries.values()
            for row in summary["verdicts"]
            if row["condition"] == name and row["baseline"] == "single-task"
        ]
        said = [row["verdict"] for row in own]
        rows.append(
            {
                "condition": name,
                "rank": rank.get(name),
                "comparisons": len(own),
                "worse": said.count("inferior"),
                "better": said.count("superior"),
                "lowest": min((float(row["difference"]) for row in own), default=None),
            }
        )
    rows.sort(key=lambda row: np.inf if row["rank"] is None else row["rank"])
    return rows, {"critical": ranks.critical, "p": ranks.p, "blocks": len(blocks), "ranked": len(everywhere)}


def write_page(out: Path, page: Path) -> None:
    """Write the board of the finished packs.

    Raises:
        SystemExit: No pack is finished.
    """
    summaries = finished(out)
    if not summaries:
        raise SystemExit(
            f"no finished pack under {out}; run `python benchmarks/board.py run --out {out}` first"
        )
    rows, about = table_of(summaries)
    seeds = sorted({len(summary["seeds"]) for summary in summaries.values()})
    missing = [pack for pack in ROWS if pack not in summaries]
    lines = [
        "# The board",
        "",
        f"`python benchmarks/board.py page`, {datetime.now(UTC):%Y-%m-%d}, version {__version__}, of `python "
        f"benchmarks/board.py run`, regimes {', '.join(_regimes(summaries))}, `--steps` {_steps(out, summaries)}.",
        "",
        f"{len(summaries)} open packs ({', '.join(summaries)}), {about['blocks']} blocks of pack, regime and task, "
        f"{' or '.join(map(str, seeds))} seeds each. Mean rank: 1 is the best; two conditions whose ranks differ "
        f"by less than {about['critical']:.2f} (Nemenyi, 5 %) are not told apart; Friedman's p is "
        f"{about['p']:.2g}. Worse and better: verdicts against single-task networks, after Holm's correction; "
        "a worse is a significant negative transfer.",
        "",
        standing(rows, about["critical"]),
        "",
        "| condition | mean rank | negative transfers | better | comparisons | lowest difference, points |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        rank = GAP if row["rank"] is None else f"{row['rank']:.2f}"
        lowest = GAP if row["lowest"] is None else f"{row['lowest']:+.1f}"
        counts = [str(row[key]) if row["comparisons"] else GAP for key in ("worse", "better", "comparisons")]
        lines.append("| " + " | ".join([row["condition"], rank, *counts, lowest]) + " |")
    lines += ["", "Metrics: " + "; ".join(_metrics(summaries)) + "."]
    if missing:
        lines += ["", f"Packs that have not run: {', '.join(missing)}."]
    lines += _left_out(out, summaries)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {page}")


def standing(rows: Sequence[Mapping[str, Any]], critical: float) -> str:
    """Where the package's own choice stands, in a sentence or two: first or not."""
    ranked = [row for row in rows if row["rank"] is not None]
    names = [row["condition"] for row in ranked]
    if OURS not in names:
        return f"`{OURS}` has no rank here: it did not run on every pack."
    place = names.index(OURS) + 1
    worse = ranked[place - 1]["worse"]
    said = f"`{OURS}` is number {place} of {len(ranked)} by mean rank, with {worse} significant negative transfers."
    other = ranked[1 if place == 1 else 0]
    gap = abs(ranked[place - 1]["rank"] - other["rank"])
    apart = "more" if gap > critical else "no more"
    if place > 1:
        return f"{said} It is not first: `{other['condition']}` is, by {gap:.2f}, which is {apart} than the critical difference."
    return f"{said} The next, `{other['condition']}`, is {gap:.2f} behind, which is {apart} than the critical difference."


def _regimes(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["regime"] for summary in summaries.values() for row in summary["means"]))


def _steps(out: Path, summaries: Mapping[str, Any]) -> str:
    plans = (json.loads((out / pack / "config.json").read_text(encoding="utf-8")) for pack in summaries)
    return " or ".join(map(str, sorted({plan["budget"]["steps"] for plan in plans})))


def _metrics(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{pack} " + ", ".join(f"{task} {METRIC_WORDS.get(m, m)}" for task, m in summary["metrics"].items())
        for pack, summary in summaries.items()
    ]


def _left_out(out: Path, summaries: Mapping[str, Any]) -> list[str]:
    lines = []
    for pack in summaries:
        path = out / f"{pack}-left-out.json"
        held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        lines += [f"- {pack}, `{name}`: {reason}" for name, reason in held.items()]
    return ["", "Conditions that a pack does not allow:", "", *lines] if lines else []


if __name__ == "__main__":
    main()
