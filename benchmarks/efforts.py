"""Efforts of `auto` side by side on the same rows: choices, gain and harm beside `standard`.

    python benchmarks/efforts.py [--packs digits ...] [--seeds 5] [--first-seed 820] [--rows test|val]
                                 [--out runs/efforts.jsonl] [--page docs/efforts.md]
    python benchmarks/efforts.py --packs identities --efforts standard probe --tables right shuffled none

Each draw has rows annotated for one task alone. Each effort is shown the right table, two wrong ones and none. On
`identities`, drawn pictures of people, the trunk is a small residual network that was trained on pictures of another
kind, drawn faces with expressions and action units.
Every effort that is measured on a draw is kept in the file of `--out`, and is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import problems
from concord.auto import EFFORTS, first_stage, select, train_shared, train_single
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.metrics import probabilities, task_metrics
from concord.networks import SmallResNet
from concord.study import case, control
from held import Held
from page import machine

PACKS = ("mnist10k_shape", "goemotions", "digits", "clothing10", "synthetic")
REGIMES = ("few-class", "few-label")
TABLES = ("right", "shuffled", "partly-wrong", "none")
WRONG = ("shuffled", "partly-wrong")
COMPARED = ("standard", "holdout")
REFERENCES = "references"
"""Under this name: balanced shared and single-task networks on all rows, without a table."""
FIRST_SEED = 820
HARM = 0.5
"""Points below the better of single task and balanced shared from which a decision is called harmful."""
PICTURES = {"identities": (72, 1440)}
"""Packs of drawn pictures: rows of the scarce and of the rich task."""
OTHER_PICTURES = "faces"
"""What the trunk of drawn pictures was trained on."""
OTHER_STEPS = 600


def drawn(pack: str, regime: str, seed: int, judging: str = "test") -> tuple[Any, Rows, Rows, dict[str, Any]]:
    """A problem, training rows without overlap, and the rows that judge with their targets."""
    problem = case(pack).problem() if pack in PICTURES else getattr(problems, pack)()
    source, target = problem.tasks
    first, second = _sizes(pack, regime)
    y, a = (problem.targets[task.name] for task in problem.tasks)
    pool = np.random.default_rng(seed).permutation(problem.splits["train"])
    rows = pool[source.annotated(y[pool]) & target.annotated(a[pool])][: first + second]
    has_class = np.arange(len(rows)) < first
    labels = a[rows].astype(float)
    labels[has_class] = np.nan
    given = {source.name: np.where(has_class, y[rows], -1), target.name: labels}
    judge = problem.splits[judging]
    return (
        problem,
        Rows.of(problem.inputs[rows], given, problem.tasks),
        Rows.of(problem.inputs[judge], {}, ()),
        {source.name: y[judge], target.name: a[judge]},
    )


class Draw:
    """Rows for training, each annotated for one task alone, and what judges predictions.

    Args:
        pack: Of `problems`, or of drawn pictures.
        regime: Which task has few rows.
        seed: Of the draw, and of whatever is trained.
        steps: Of a network.
        judging: Rows that judge, `test` or `val`.
    """

    def __init__(self, pack: str, regime: str, seed: int, steps: int, judging: str) -> None:
        problem, self.rows, self.judge, self.truth = drawn(pack, regime, seed, judging)
        self.tasks, self.relation, self.seed = problem.tasks, problem.relations[0], seed
        self.scarce = self.tasks[regime == "few-label"].name
        self.learner = learner_of(pack, steps)

    def record(self, effort: str, table: str, predicted: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Points of every task by its predicted probabilities, and what else is known."""
        score = {}
        for task in self.tasks:
            found = task_metrics(task, self.truth[task.name], predicted[task.name])
            score[task.name] = 100 * found["balanced_accuracy" if "balanced_accuracy" in found else "mean_f1"]
        return {"effort": effort, "table": table, "score": score, "scarce": self.scarce, **more}

    def references(self) -> Iterator[dict[str, Any]]:
        """The uncoupled networks, trained on all rows."""
        model = train_shared(self.learner, self.rows, self.tasks, 1.0, self.seed)
        shared, alone = self.learner.predict(model, self.judge), {}
        for task in self.tasks:
            model = train_single(self.learner, self.rows, task, 1.0, self.seed)
            alone[task.name] = self.learner.predict(model, self.judge)[task.name]
        for name, logits in (("shared", shared), ("single-task", alone)):
            yield self.record(name, "", {t.name: probabilities(t, logits[t.name]) for t in self.tasks})

    def decided(self, name: str, tables: list[str]) -> Iterator[dict[str, Any]]:
        """What an effort chooses and reaches with each table."""
        effort = EFFORTS[name].for_steps(self.learner.steps)
        options: dict[str, Any] = {"effort": effort, "seed": self.seed}
        first = None if effort.on_features else first_stage(self.learner, self.rows, self.tasks, **options)
        for table in tables:
            known = {"right": self.relation, "none": tuple(self.tasks)}
            shown: Any = known.get(table) or control(self.relation, table, self.seed)
            outcome = select(self.learner, self.rows, self.tasks, [shown], first=first, **options)
            yield self.record(
                name,
                table,
                outcome.probabilities(self.learner, self.judge),
                choices={task: list(choice.weights) for task, choice in outcome.choices.items()},
                verdict=outcome.checks[0].verdict,
                cost=outcome.cost,
            )


def _sizes(pack: str, regime: str) -> tuple[int, int]:
    """Rows annotated for the class task, and for the other one."""
    if pack not in PICTURES:
        first, second = problems.regimes(pack)[regime]["rows"]
        return first, second
    scarce, rich = PICTURES[pack]
    return (scarce, rich) if regime == "few-class" else (rich, scarce)


def learner_of(pack: str, steps: int) -> TorchLearner:
    """Perceptrons on features; on drawn pictures a residual network that has seen others."""
    pictures = pack in PICTURES
    return TorchLearner(
        trunk=trained_trunk() if pictures else None, hidden=(128, 128), dropout=0.2, steps=steps,
        rows_per_task=32 if pictures else 64, learning_rate=2e-3, weight_decay=0.01, device="cpu",
    )  # fmt: skip


@cache
def trained_trunk() -> nn.Module:
    """The trunk of a shared network that was trained on the other pictures, all annotated for both tasks."""
    other = case(OTHER_PICTURES).problem()
    train = other.splits["train"]
    rows = Rows.of(other.inputs[train], {name: y[train] for name, y in other.targets.items()}, other.tasks)
    learner = TorchLearner(
        trunk=lambda: SmallResNet(3, 8, 4, 2), hidden=(), dropout=0.0, steps=OTHER_STEPS, rows_per_task=32,
        learning_rate=2e-3, weight_decay=0.01, device="cpu",
    )  # fmt: skip
    network: nn.Module = train_shared(learner, rows, other.tasks, 1.0, 0).trunk
    return network


def points(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By decision of a task: its score less that of the references and of `standard`, and its choice."""
    by_key = {(r["pack"], r["regime"], r["seed"], r["effort"], r["table"]): r for r in records}
    out = []
    for (pack, regime, seed, effort, table), found in by_key.items():
        if not table:
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
    order = {name: i for i, name in enumerate((*args.efforts, *TABLES))}
    decisions.sort(key=lambda d: (order[d["table"]], order[d["effort"]]))
    wrong = [{**d, "table": "both wrong"} for d in decisions if d["table"] in WRONG]
    lines = [
        "# Efforts side by side",
        "",
        f"Written by `python benchmarks/efforts.py --packs {' '.join(args.packs)} --regimes "
        f"{' '.join(args.regimes)} --seeds {args.seeds} --first-seed {args.first_seed} --efforts "
        f"{' '.join(args.efforts)} --tables {' '.join(args.tables)} --rows {args.rows} --steps {args.steps} "
        f"--page docs/efforts.md`: {machine()}. "
        f"Seeds from {args.first_seed}, {args.steps} steps, rows annotated for one task alone, packs "
        f"{', '.join(dict.fromkeys(d['pack'] for d in decisions))}; a draw is a pack, a regime and a seed.",
        "",
        f"Points of balanced accuracy (classes) and mean F1 (labels) on {args.rows} rows. *Cost*: with a pair of single-task "
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
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument(
        "--efforts", nargs="+", default=COMPARED, choices=tuple(EFFORTS), help="standard first"
    )
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--rows", choices=("test", "val"), default="test", help="which rows judge")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/efforts.jsonl"))
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    held = Held(args.out)
    records: list[dict[str, Any]] = []
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for seed, pack, regime in product(seeds, args.packs, args.regimes):
        draw = cache(partial(Draw, pack, regime, seed, args.steps, args.rows))
        known = {"pack": pack, "regime": regime, "seed": seed}
        for effort in (REFERENCES, *args.efforts):
            key = {**known, "steps": args.steps, "rows": args.rows, "effort": effort}
            if effort == REFERENCES:
                found = held.once(key, lambda of=draw: list(of().references()))
            else:
                key["tables"] = list(args.tables)
                found = held.once(key, lambda of=draw, name=effort: list(of().decided(name, args.tables)))
            records += [{**known, **each} for each in found]
        print(pack, regime, seed, flush=True)
    text = page(records, args)
    print(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
