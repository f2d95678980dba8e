"""A small audit of an estimated relation: error and coverage of its intervals, before and after.

    python benchmarks/audit.py [--packs mushroom ...] [--seeds 5] [--out FILE] [--page]

By default the packs with real labels; `synthetic` are drawn faces whose relation is known. Rows annotated for one
task alone; heads by `CoupledClassifier.cross_fit`; the truth is the frequency over all rows of the pack. Audited
rows are drawn by `propose_audit`. Draws that --out holds are not made again.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

import concord as cc
import problems
from concord.files import write_text
from held import Held
from page import DOCS, machine, page_option, table

PACKS = ("mushroom", "mnist10k_shape", "goemotions")
REGIMES = ("few-class", "few-label")
SIZES = (50, 100, 200)
FIRST_SEED = 730
WORDS = (
    "Without an audit the intervals are conditional: they hold no error of the heads, and cover too little. After it",
    "the interval of an audited cell does not rest on the heads being right; the estimate makes it shorter, on",
    "average over cells, than that of the audit alone. Coverage below .95 may come of the draw: audited rows",
    "are drawn evenly over predicted classes, so that those of a class are not quite a random sample of it. Cells",
    "without an audited row rely on the others. What else was tried: [the research log](research-log.md).",
)


def observations(pack: str, regime: str, seed: int, steps: int):
    """Annotations without overlap, predictions, full annotations of the same rows, and the truth."""
    problem = getattr(problems, pack)()
    source, target = problem.tasks
    first, second = problems.regimes(pack)[regime]["rows"]
    y, a = (problem.targets[task.name] for task in problem.tasks)
    rng = np.random.default_rng(seed)
    pool = rng.permutation(problem.splits["train"])
    whole = pool[source.annotated(y[pool]) & target.annotated(a[pool])]
    rows = whole[: first + second]
    has_class = np.arange(len(rows)) < first
    classes = np.where(has_class, y[rows], -1)
    labels = np.where(has_class[:, None], np.nan, a[rows])
    model = cc.CoupledClassifier([source, target], effort="fast", steps=steps, random_state=seed)
    stage = model.cross_fit(problem.inputs[rows], {source.name: classes, target.name: labels})
    predicted = stage.predictions()
    every = np.concatenate(list(problem.splits.values()))
    every = every[source.annotated(y[every])]
    member = np.eye(source.width)[y[every]]
    seen = ~np.isnan(a[every])
    count = member.T @ seen
    truth = np.divide(
        member.T @ np.nan_to_num(a[every]), count, out=np.full(count.shape, np.nan), where=count > 0
    )
    return problem, classes, labels, (y[rows], a[rows]), predicted, truth


def one(pack: str, regime: str, seed: int, steps: int) -> list[dict]:
    """The estimate, audits of every size, and the audits alone, of one draw."""
    problem, classes, labels, (y, a), predicted, truth = observations(pack, regime, seed, steps)
    source, target = problem.tasks
    p, q = predicted[source.name], predicted[target.name]
    interior = (truth > 0.05) & (truth < 0.95)
    found = []

    def note(kind, n, relation):
        table, (low, high) = relation.table, relation.interval
        inside = (truth >= low) & (truth <= high)
        found.append(
            {
                "pack": pack, "regime": regime, "seed": seed, "kind": kind, "rows": n,
                "error": float(np.nanmean(np.abs(table - truth))),
                "coverage": float(inside[interior].mean()),
                "width": float((high - low)[interior].mean()),
            }
        )  # fmt: skip

    note("estimate", 0, cc.estimate_relation(source, target, classes, labels, class_proba=p, target_proba=q))
    for n in SIZES:
        which = cc.propose_audit(p, n, seed=seed)
        known, given = classes.copy(), labels.copy()
        known[which], given[which] = y[which], a[which]
        audit = cc.audit_relation(source, target, known, given, class_proba=p, target_proba=q, audited=which)
        note("audit", n, audit.relation)
        note("audit alone", n, alone(source, target, y[which], a[which]))
    return found


def alone(source, target, y, a):
    """The exact intervals (Clopper and Pearson) from the audited rows alone."""
    member = np.eye(source.width)[y]
    n, k = member.T @ ~np.isnan(a), member.T @ np.nan_to_num(a)
    low = np.where(k > 0, stats.beta.ppf(0.025, np.maximum(k, 1e-9), n - k + 1), 0.0)
    high = np.where(k < n, stats.beta.ppf(0.975, k + 1, np.maximum(n - k, 1e-9)), 1.0)
    return cc.Relation(
        source, target, np.clip((k + 0.5) / (n + 1), low, high), interval=np.stack([low, high])
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--regimes", nargs="+", default=REGIMES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, help="where draws are kept, so that none is made twice")
    page_option(parser, DOCS / "audit.md")
    args = parser.parse_args(arguments)
    held = Held(args.out)
    where = held.once({"what": "machine"}, machine)
    rows = [
        row
        for pack in args.packs
        for regime in args.regimes
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for row in held.once(
            {"pack": pack, "regime": regime, "seed": seed, "steps": args.steps},
            partial(one, pack, regime, seed, args.steps),
        )
    ]
    where += held.several()
    text = page(rows, args, where)
    print(text)
    if args.page:
        args.page.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.page, text)


def page(rows: list[dict], args, where: str) -> str:
    """The page, means over regimes and seeds."""
    lines = []
    for pack in args.packs:
        for n in (0, *SIZES):
            mine = [r for r in rows if r["pack"] == pack and r["rows"] == n and r["kind"] != "audit alone"]
            alone_ = [r for r in rows if r["pack"] == pack and r["rows"] == n and r["kind"] == "audit alone"]
            mean = {key: np.mean([r[key] for r in mine]) for key in ("error", "coverage", "width")}
            other = f"{np.mean([r['width'] for r in alone_]):.2f}" if alone_ else ""
            lines.append(
                [
                    pack,
                    str(n),
                    f"{mean['error']:.3f}",
                    f"{mean['coverage']:.2f}",
                    f"{mean['width']:.2f}",
                    other,
                ]
            )
    text = [
        "# A small audit of an estimated relation",
        "",
        f"Written by `python benchmarks/audit.py --packs {' '.join(args.packs)} --regimes {' '.join(args.regimes)} --seeds "
        f"{args.seeds} --first-seed {args.first_seed} --steps {args.steps} --page`: {where}. "
        f"{args.seeds} seeds from {args.first_seed}, {args.steps} steps, regimes {', '.join(args.regimes)}; no row "
        "is annotated for both tasks but the audited ones. Error: mean absolute difference of all cells to the "
        "frequency over all rows of the pack. Coverage and width: 95 % intervals of cells whose true value lies "
        "between .05 and .95. *Audit alone*: the exact interval (Clopper and Pearson) from the audited rows.",
        "",
        table(["pack", "rows", "error", "coverage", "width", "width, audit alone"], lines),
    ]
    return "\n".join([*text, "", *WORDS]) + "\n"


if __name__ == "__main__":
    main()
