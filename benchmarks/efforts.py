"""Efforts of `auto` side by side on the same rows: choices, gain and harm beside `standard`.

    python benchmarks/efforts.py [--packs digits ...] [--seeds 5] [--out runs/efforts.jsonl]
                                 [--page docs/efforts.md]

Each draw has rows annotated for one task alone. Each effort is shown the right table, two wrong ones and none.
Every draw that is measured is kept in the file of `--out`, and is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import problems
from concord.auto import EFFORTS, first_stage, select, train_shared, train_single
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.metrics import probabilities, task_metrics
from concord.study import control
from held import Held
from page import machine

PACKS = ("mnist10k_shape", "goemotions", "digits", "clothing10", "synthetic")
REGIMES = ("few-class", "few-label")
TABLES = ("right", "shuffled", "partly-wrong", "none")
WRONG = ("shuffled", "partly-wrong")
COMPARED = ("standard", "holdout")
FIRST_SEED = 820
HARM = 0.5
"""Points below the better of single task and balanced shared from which a decision is called harmful."""


def drawn(pack: str, regime: str, seed: int) -> tuple[Any, Rows, Rows, dict[str, Any]]:
    """A problem, training rows without overlap, and its test rows with their targets."""
    problem = getattr(problems, pack)()
    source, target = problem.tasks
    first, second = problems.regimes(pack)[regime]["rows"]
    y, a = (problem.targets[task.name] for task in problem.tasks)
    pool = np.random.default_rng(seed).permutation(problem.splits["train"])
    rows = pool[source.annotated(y[pool]) & target.annotated(a[pool])][: first + second]
    has_class = np.arange(len(rows)) < first
    labels = a[rows].astype(float)
    labels[has_class] = np.nan
    given = {source.name: np.where(has_class, y[rows], -1), target.name: labels}
    test = problem.splits["test"]
    truth = {source.name: y[test], target.name: a[test]}
    return (
        problem,
        Rows.of(problem.inputs[rows], given, problem.tasks),
        Rows.of(problem.inputs[test], {}, ()),
        truth,
    )


def measured(pack: str, regime: str, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """What each effort chooses and reaches with each table, beside uncoupled networks on all rows."""
    problem, rows, test, truth = drawn(pack, regime, seed)
    tasks, relation = problem.tasks, problem.relations[0]
    learner = TorchLearner(
        trunk=None, hidden=(128, 128), dropout=0.2, steps=steps, rows_per_task=64, learning_rate=2e-3,
        weight_decay=0.01, device="cpu",
    )  # fmt: skip

    def record(effort: str, table: str, predicted: dict[str, Any], **more: Any) -> dict[str, Any]:
        score = {}
        for task in tasks:
            found = task_metrics(task, truth[task.name], predicted[task.name])
            score[task.name] = 100 * found["balanced_accuracy" if "balanced_accuracy" in found else "mean_f1"]
        key = {"pack": pack, "regime": regime, "seed": seed, "effort": effort, "table": table, "steps": steps}
        return key | {"score": score, "scarce": tasks[regime == "few-label"].name} | more

    shared = learner.predict(train_shared(learner, rows, tasks, 1.0, seed), test)
    alone = {t.name: learner.predict(train_single(learner, rows, t, 1.0, seed), test)[t.name] for t in tasks}
    for name, logits in (("shared", shared), ("single-task", alone)):
        yield record(name, "", {t.name: probabilities(t, logits[t.name]) for t in tasks})
    for name in COMPARED:
        effort = EFFORTS[name].for_steps(steps)
        first = first_stage(learner, rows, tasks, effort=effort, seed=seed)
        for table in TABLES:
            known = {"right": relation, "none": tuple(tasks)}
            shown: Any = known.get(table) or control(relation, table, seed)
            outcome = select(learner, rows, tasks, [shown], effort=effort, seed=seed, first=first)
            yield record(
                name,
                table,
                outcome.probabilities(learner, test),
                choices={task: list(choice.weights) for task, choice in outcome.choices.items()},
                verdict=outcome.checks[0].verdict,
                cost=outcome.cost,
            )


def points(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By decision of a task: its score less that of the references and of `standard`, and its choice."""
    by_key = {(r["pack"], r["regime"], r["seed"], r["effort"], r["table"]): r for r in records}
    out = []
    for (pack, regime, seed, effort, table), found in by_key.items():
        if not table or (pack, regime, seed, COMPARED[-1], TABLES[-1]) not in by_key:
            continue
        shared, alone = (by_key[pack, regime, seed, name, ""]["score"] for name in ("shared", "single-task"))
        standard = by_key[pack, regime, seed, "standard", table]
        for task, score in found["score"].items():
            out.append(
                {
                    "pack": pack, "regime": regime, "seed": seed, "effort": effort, "table": table,
                    "scarce": task == found["scarce"],
                    "gain": score - alone[task],
                    "beside": score - standard["score"][task],
                    "harm": score < max(shared[task], alone[task]) - HARM,
                    "worse": score < alone[task] - HARM,
                    "loss": max(max(shared[task], alone[task]) - score, 0.0),
                    "same": kind(found["choices"][task]) == kind(standard["choices"][task]),
                    "cost": found["cost"],
                }
            )  # fmt: skip
    return out


def kind(forms: list[str]) -> set[str]:
    """Families of a choice, whether or not they are decoded."""
    return {form.partition("/")[0] for form in forms}


def table_of(decisions: list[dict[str, Any]], by: tuple[str, ...]) -> list[str]:
    """Lines of means over decisions, in groups; the error is that of means of draws."""
    lines = []
    keys = list(dict.fromkeys(tuple(d[name] for name in by) for d in decisions))
    for key in keys:
        mine = [d for d in decisions if tuple(d[name] for name in by) == key]
        seeds: dict[Any, list[float]] = {}
        for d in mine:
            seeds.setdefault((d["pack"], d["regime"], d["seed"]), []).append(d["beside"])
        means = [float(np.mean(each)) for each in seeds.values()]
        error = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
        scarce, rich = (np.mean([d["gain"] for d in mine if d["scarce"] == s]) for s in (True, False))
        same = "" if "standard" in key else f"{np.mean([d['same'] for d in mine]):.0%}"
        beside = "" if "standard" in key else f"{np.mean(means):+.1f} ± {error:.1f}"
        lines.append(
            f"| {' | '.join(map(str, key))} | {len(means)} | {np.mean([d['cost'] for d in mine]):.1f} | {same} | "
            f"{scarce:+.1f} | {rich:+.1f} | {beside} | {np.mean([d['harm'] for d in mine]):.0%} | "
            f"{np.mean([d['worse'] for d in mine]):.0%} | {np.mean([d['loss'] for d in mine]):.1f} | "
            f"{min(d['gain'] for d in mine):+.1f} |"
        )
    return lines


def page(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """The page of everything that is measured."""
    decisions = points(records)
    head = "draws | cost | same choice | scarce | rich | beside `standard` | harm | below single task | mean loss | worst |"
    order = {name: i for i, name in enumerate((*COMPARED, *TABLES))}
    decisions.sort(key=lambda d: (order[d["table"]], order[d["effort"]]))
    wrong = [{**d, "table": "both wrong"} for d in decisions if d["table"] in WRONG]
    lines = [
        "# Efforts side by side",
        "",
        f"Written by `python benchmarks/efforts.py --packs {' '.join(args.packs)} --regimes "
        f"{' '.join(args.regimes)} --seeds {args.seeds} --steps {args.steps} --page docs/efforts.md`: {machine()}. "
        f"Seeds from {FIRST_SEED}, {args.steps} steps, rows annotated for one task alone, packs "
        f"{', '.join(dict.fromkeys(d['pack'] for d in decisions))}; a draw is a pack, a regime and a seed.",
        "",
        "Points of balanced accuracy (classes) and mean F1 (labels) on test rows. *Cost*: with a pair of single-task "
        "models as 1. *Same choice*: of task decisions, the family (single-task, shared, coupled) that `standard` "
        "chose on the same rows. *Scarce*, *rich*: above single task, for the task with few and with many rows. "
        "*Beside `standard`*: mean difference of both tasks, with its standard error over draws. *Harm*: decisions "
        f"more than {HARM} points below the better of single task and balanced shared, both trained on all rows; "
        "*mean loss*: how far below it, 0 where above.",
        "",
        f"| table | effort | {head}",
        "|---|---|" + "---|" * 10,
        *table_of(wrong + decisions, ("table", "effort")),
        "",
        f"| pack | table | effort | {head}",
        "|---|---|---|" + "---|" * 10,
    ]
    for pack in dict.fromkeys(d["pack"] for d in decisions):
        lines += table_of([d for d in wrong + decisions if d["pack"] == pack], ("pack", "table", "effort"))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, print, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--regimes", nargs="+", default=REGIMES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/efforts.jsonl"))
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    held = Held(args.out)
    records: list[dict[str, Any]] = []
    for seed, pack, regime in product(range(FIRST_SEED, FIRST_SEED + args.seeds), args.packs, args.regimes):
        key = {"pack": pack, "regime": regime, "seed": seed, "steps": args.steps}
        records += held.once(key, lambda given=key: list(measured(**given)))
        print(pack, regime, seed, flush=True)
    text = page(records, args)
    print(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
