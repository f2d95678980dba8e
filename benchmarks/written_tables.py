"""What tables are worth that a language model wrote: examples/tables on every open pack, checked and used.

    python benchmarks/written_tables.py run --out runs/written-tables [--packs mushroom ...]   # resumable
    python benchmarks/written_tables.py check --out runs/written-tables       # verdicts alone: minutes
    python benchmarks/written_tables.py page --out runs/written-tables        # docs/howto/written-tables.md

`check` trains the first stage of `auto` on few rows of the class, once per pack, and asks it of the written table and of the
pack's own. For `run` each pack is two studies under the folder: with the written table (and without any), and with the pack's own. The
page is written of finished packs alone. CONCORD_DATA names the folder of the packs.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

import board
from concord import CoupledClassifier, __version__
from concord.study import (
    METRIC_WORDS,
    Plan,
    as_plan,
    compare,
    paired,
    problem_of,
    run,
    setting_of,
    write_json,
)
from page import LEFT_TO_OTHERS, table, write_section

TABLES = Path(__file__).parent.parent / "examples" / "tables"
PAGE = Path(__file__).parent.parent / "docs" / "howto" / "written-tables.md"
SEEDS = (900, 901, 902)
STEPS = 300
REGIMES = ("few-class", "few-label")
TARGETS = {
    "clinc150": "domain",
    "clothing_fmnist": "attributes",
    "goemotions": "emotions",
    "grocery81": "attributes",
    "mnist10k_shape": "attributes",
    "mushroom": "attributes",
}
"""Target task of the written table, by pack; a pack's other relations stay as they are."""

FAST = {"effort": "fast"}
CONDITIONS: dict[str, list[Any]] = {
    "written": [
        "single-task",
        {"name": "auto", "options": FAST},
        {"name": "auto-no-table", "use": "auto", "options": {**FAST, "table": "none"}},
    ],
    "own": ["single-task", {"name": "auto", "options": FAST}],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the studies, or write the page.

    Raises:
        SystemExit: 75, where other jobs are at the rest.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "check", "page"))
    parser.add_argument("--out", type=Path, default=Path("runs/written-tables"))
    parser.add_argument("--packs", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if options.what == "page":
        write_page(options.out, options.page)
        return
    elsewhere = 0
    for pack in options.packs:
        if options.what == "check":
            check_pack(pack, options)
        else:
            elsewhere += run_pack(pack, options)
    if elsewhere:
        raise SystemExit(LEFT_TO_OTHERS)


def run_pack(pack: str, options: argparse.Namespace) -> int:
    """Both studies of a pack, seed by seed, so that they share the networks that no table has a part in.

    Returns:
        How many cells other jobs are at.
    """
    elsewhere = 0
    for last in range(len(options.seeds)):
        for kind in CONDITIONS:
            plan = plan_of(pack, kind, options.seeds[: last + 1], options.steps, options.regimes)
            left = run(plan, folder := options.out / f"{pack}-{kind}", processes=1)
            elsewhere += left
            if last + 1 == len(options.seeds) and not left:
                compare(plan, folder)
                print(f"{pack}, {kind} table: done", flush=True)
    return elsewhere


def check_pack(pack: str, options: argparse.Namespace) -> None:
    """What the first stage of `auto`, on features or pixels as they are, says of both tables of a pack."""
    regime, seed = options.regimes[0], options.seeds[0]
    plans = {kind: plan_of(pack, kind, [seed], options.steps, [regime]) for kind in CONDITIONS}
    problems = {kind: problem_of(plan) for kind, plan in plans.items()}
    plan = plans["own"]
    setting = setting_of(plan, problems["own"], plan.regimes[0], seed, plan.budget)
    model = CoupledClassifier(setting.tasks, effort="fast", steps=options.steps, random_state=seed)
    inputs = setting.rows.inputs.flatten(start_dim=1).numpy()
    first = model.cross_fit(inputs, {name: y.numpy() for name, y in setting.rows.targets.items()})
    found: dict[str, Any] = {"regime": regime, "seed": seed, "steps": options.steps}
    for kind, problem in problems.items():
        relation = next(r for r in problem.relations if r.target.name == TARGETS[pack])
        said = first.check(relation)
        found[kind] = {
            "verdict": said.verdict,
            "trust": float(said.trust),
            "contradicted": [str(each) for each in said.told_contradictions],
            "cells": int(relation.source.width * relation.target.width),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / f"{pack}-check.json", found)
    print(f"{pack}: written {found['written']['verdict']}, own {found['own']['verdict']}", flush=True)


def plan_of(pack: str, kind: str, seeds: Sequence[int], steps: int, regimes: Sequence[str] = REGIMES) -> Plan:
    """The study of a pack with one kind of table."""
    own = SimpleNamespace(regimes=regimes, seeds=1, steps=None, conditions=["single-task"], out=Path("."))
    values = board.values_of(pack, own)
    values["seeds"], values["conditions"], values["resamples"] = list(seeds), CONDITIONS[kind], 200
    values["budget"] = {**values.get("budget", {}), "steps": steps, "log_every": steps}
    if kind == "written":
        for relation in values["problem"]["relations"]:
            if relation["target"] == TARGETS[pack]:
                relation.update(table=str(TABLES / f"{pack}.csv"), extra="ignore", transpose=False)
                relation["normalize"] = pack == "clinc150"
    return as_plan(values)


# -- the page ------------------------------------------------------------------------------------------


def write_page(out: Path, page: Path) -> None:
    """Write the sections of the packs that are done.

    Raises:
        SystemExit: No pack is finished.
    """
    checked = [pack for pack in TARGETS if (out / f"{pack}-check.json").is_file()]
    packs = [
        p for p in TARGETS if all((out / f"{p}-{kind}" / "summary.json").is_file() for kind in CONDITIONS)
    ]
    if not (packs or checked):
        raise SystemExit(f"no finished pack under {out}; run `python benchmarks/written_tables.py run` first")
    made = f"{datetime.now(UTC):%Y-%m-%d}, version {__version__}"
    if checked:
        title = "What the check said of the tables of this repository"
        write_section("written-tables-check", title, "\n".join(_checked(out, checked, made)), page)
    if packs:
        title = "What the tables of this repository bought"
        write_section("written-tables", title, "\n".join(_bought(out, packs, made)), page)
    print(f"wrote {page}")


def _checked(out: Path, packs: Sequence[str], made: str) -> list[str]:
    found = {pack: json.loads((out / f"{pack}-check.json").read_text(encoding="utf-8")) for pack in packs}
    first = found[packs[0]]
    lines = [
        f"`python benchmarks/written_tables.py check`, then `page`, {made}: regime {first['regime']} of the board, seed "
        f"{first['seed']}, {first['steps']} steps, effort fast. Trust: about 1 for a right table, about 0 for a wrong one.",
        "",
        table(
            ["pack", "written table", "trust", "cells contradicted", "the pack's own", "trust", "cells contradicted"],
            [
                [pack, *(
                    text
                    for kind in CONDITIONS
                    for text in (each[kind]["verdict"], f"{each[kind]['trust']:.2f}",
                                 f"{len(each[kind]['contradicted'])} of {each[kind]['cells']:,}")
                )]
                for pack, each in found.items()
            ],
        ),
    ]  # fmt: skip
    return [*lines, *_not_run(packs)]


def _bought(out: Path, packs: Sequence[str], made: str) -> list[str]:
    rows = [row for pack in packs for row in rows_of(out, pack)]
    config = json.loads((out / f"{packs[0]}-written" / "config.json").read_text(encoding="utf-8"))
    regimes = dict.fromkeys(row[0].partition(", ")[2] for row in rows)
    lines = [
        f"`python benchmarks/written_tables.py run --packs {' '.join(packs)} --regimes {' '.join(regimes)}`, then `page`, {made}: `auto`, effort fast, {config['budget']['steps']} "
        f"steps, seeds {', '.join(map(str, config['seeds']))}. Points of the scarce task on test rows, against single-task "
        "networks on the same rows; in brackets the half width of Student's 95 % interval over seeds. Verdict: what `auto` "
        "said of the table, by seed.",
        "",
        table(
            ["pack, regime", "task", "single task", "written table", "no table", "the pack's own",
             "verdict on the written", "on the pack's own"],
            rows,
        ),
    ]  # fmt: skip
    return [*lines, *_not_run(packs)]


def _not_run(packs: Sequence[str]) -> list[str]:
    missing = [pack for pack in TARGETS if pack not in packs]
    return ["", f"Not run: {', '.join(missing)}."] if missing else []


def rows_of(out: Path, pack: str) -> list[list[str]]:
    """A row for each regime of a pack: its scarcest task of the relation."""
    found = {kind: _values(out / f"{pack}-{kind}" / "results.csv") for kind in CONDITIONS}
    said = {kind: json.loads((out / f"{pack}-{kind}" / "summary.json").read_text()) for kind in CONDITIONS}
    lines = []
    for regime, sizes in board.ROWS[pack].items():
        if not any(row["regime"] == regime for row in said["written"]["means"]):
            continue
        source = next(iter(sizes))
        task = min((source, TARGETS[pack]), key=lambda name: sizes[name])
        metric = said["written"]["metrics"][task]
        key = (regime, task, metric)
        alone = found["written"]["single-task", *key]
        gains = [
            found[kind][condition, *key] - found[kind]["single-task", *key]
            for kind, condition in (("written", "auto"), ("written", "auto-no-table"), ("own", "auto"))
        ]
        relation = f"{source}->{TARGETS[pack]}"
        lines.append(
            [f"{pack}, {regime}", f"{task}, {METRIC_WORDS[metric]}", f"{alone.mean():.1f}", *map(_gain, gains),
             *(_verdict(said[kind], regime, relation) for kind in CONDITIONS)]
        )  # fmt: skip
    return lines


def _values(path: Path) -> dict[tuple[str, ...], npt.NDArray[np.float64]]:
    """By condition, regime, task and metric: points over seeds."""
    out: dict[tuple[str, ...], list[float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (row["condition"], row["regime"], row["task"], row["metric"])
            out.setdefault(key, []).append(100 * float(row["value"]))
    return {key: np.array(values) for key, values in out.items()}


def _gain(differences: npt.NDArray[np.float64]) -> str:
    found = paired(differences)
    return f"{found.mean:+.1f} ({found.high - found.mean:.1f})"


def _verdict(summary: Mapping[str, Any], regime: str, relation: str) -> str:
    counts: Counter[str] = Counter()
    for account in summary["accounts"]:
        if account["regime"] == regime and account["condition"] == "auto":
            counts.update(account["relations"][relation])
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    main()
