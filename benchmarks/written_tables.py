"""What tables are worth that a language model wrote: examples/tables on every open pack, checked and used.

    python benchmarks/written_tables.py run --out runs/written-tables [--packs mushroom ...]   # resumable
    python benchmarks/written_tables.py page --out runs/written-tables        # docs/howto/written-tables.md

Each pack is two studies under the folder: with the written table (and without any), and with the pack's own. The
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
from concord import __version__
from concord.study import METRIC_WORDS, Plan, as_plan, compare, paired, run
from page import table, write_section

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
    """Run the studies, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
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
    for pack in options.packs:
        run_pack(pack, options)


def run_pack(pack: str, options: argparse.Namespace) -> None:
    """Both studies of a pack, seed by seed, so that they share the networks that no table has a part in."""
    for last in range(len(options.seeds)):
        for kind in CONDITIONS:
            plan = plan_of(pack, kind, options.seeds[: last + 1], options.steps, options.regimes)
            left = run(plan, folder := options.out / f"{pack}-{kind}", processes=1)
            if last + 1 == len(options.seeds) and not left:
                compare(plan, folder)
                print(f"{pack}, {kind} table: done", flush=True)


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
    """Write the section of the finished packs.

    Raises:
        SystemExit: No pack is finished.
    """
    packs = [
        p for p in TARGETS if all((out / f"{p}-{kind}" / "summary.json").is_file() for kind in CONDITIONS)
    ]
    if not packs:
        raise SystemExit(f"no finished pack under {out}; run `python benchmarks/written_tables.py run` first")
    rows = [row for pack in packs for row in rows_of(out, pack)]
    config = json.loads((out / f"{packs[0]}-written" / "config.json").read_text(encoding="utf-8"))
    body = [
        f"`python benchmarks/written_tables.py run`, then `page`, {datetime.now(UTC):%Y-%m-%d}, version {__version__}: "
        f"`auto`, effort fast, {config['budget']['steps']} steps, seeds {', '.join(map(str, config['seeds']))}. "
        "Points of the scarce task on test rows, against single-task networks on the same rows; in brackets the half "
        "width of Student's 95 % interval over seeds. Verdict: what `auto` said of the table, by seed.",
        "",
        table(
            [
                "pack, regime",
                "task",
                "single task",
                "written table",
                "no table",
                "the pack's own",
                "verdict on the written",
                "on the pack's own",
            ],
            rows,
        ),
    ]
    if missing := [pack for pack in TARGETS if pack not in packs]:
        body += ["", f"Not run: {', '.join(missing)}."]
    write_section("written-tables", "What the tables of this repository bought", "\n".join(body), page)
    print(f"wrote {page}")


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
