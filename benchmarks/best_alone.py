"""`auto` with and without linear models among the single-task candidates, on the same rows and folds.

    python benchmarks/best_alone.py [--packs synthetic ...] [--seeds 5] [--steps 600] [--out runs/best_alone.jsonl]

Prints by pack, regime and table the mean paired difference in points, of balanced accuracy and of labels' F1 and
average precision, with its standard error over seeds. Every draw is kept in the file of `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from concord.auto import EFFORTS, first_stage, select, train_single
from concord.learners import TorchLearner, train_and_predict
from concord.metrics import probabilities, task_metrics
from efforts import drawn
from held import Held

PACKS = ("synthetic", "goemotions", "mnist10k_shape", "digits")
REGIMES = ("few-class", "few-label")
TABLES = ("right", "none", "uncoupled")
FIRST_SEED = 910
METRICS = ("balanced_accuracy", "mean_f1", "map")


@dataclass(frozen=True, kw_only=True)
class Remembering(TorchLearner):
    """Trains nothing twice: both ways of choosing share all of their networks but those of other kinds."""

    known: dict[Any, Any] = field(default_factory=dict)

    def train_all(self, trainings: Iterable[Any]) -> list[Any]:
        """Train what is not known."""
        return [self._once(each) for each in trainings]

    def _once(self, one: Any) -> Any:
        taught = {name: float(values.nansum()) for name, values in one.rows.soft.items()}
        key = (one.kind, tuple(t.name for t in one.tasks), one.share, one.seed, len(one.rows), str(taught))
        if key not in self.known:
            self.known[key] = train_and_predict(self, one)
        return self.known[key]


def measured(
    pack: str, regime: str, seed: int, steps: int, tables: list[str], effort_name: str
) -> Iterator[dict[str, Any]]:
    """What is chosen and reached with and without linear models, and by single-task models of either kind."""
    problem, rows, test, truth = drawn(pack, regime, seed)
    tasks, relation = problem.tasks, problem.relations[0]
    learner = Remembering(
        trunk=None, hidden=(128, 128), dropout=0.2, steps=steps, rows_per_task=64, learning_rate=2e-3,
        weight_decay=0.01, device="cpu", linear=True,
    )  # fmt: skip

    def record(way: str, table: str, predicted: dict[str, Any], **more: Any) -> dict[str, Any]:
        found = {task.name: task_metrics(task, truth[task.name], predicted[task.name]) for task in tasks}
        score = {
            name: {m: 100 * each[m] for m in METRICS if m in each and not np.isnan(each[m])}
            for name, each in found.items()
        }
        key = {"pack": pack, "regime": regime, "seed": seed, "table": table, "way": way}
        key |= {"steps": steps, "effort": effort_name}
        return key | {"score": score, "scarce": tasks[regime == "few-label"].name} | more

    effort = replace(EFFORTS[effort_name], share=1.0)  # as an estimator with rivals trains its folds
    first = first_stage(learner, rows, tasks, effort=effort, seed=seed)
    alone = {t.name: learner.predict(train_single(learner, rows, t, 1.0, seed), test)[t.name] for t in tasks}
    yield record("network", "", {t.name: probabilities(t, alone[t.name]) for t in tasks})
    for table in tables:
        shown: Any = {"right": [relation], "none": [tuple(tasks)], "uncoupled": []}[table]
        for way, stage in (("without", replace(first, alone={})), ("with", first)):
            outcome = select(learner, rows, tasks, shown, effort=effort, seed=seed, first=stage)
            yield record(
                way,
                table,
                outcome.probabilities(learner, test),
                choices={task: list(choice.weights) for task, choice in outcome.choices.items()},
                best=first.candidates()["single-task"].kinds,
            )


def show(records: list[dict[str, Any]]) -> None:
    """Print mean paired differences."""
    by_key = {(r["pack"], r["regime"], r["table"], r["seed"], r["way"]): r for r in records}
    blocks: dict[Any, list[tuple[float, float, bool]]] = {}
    for (pack, regime, table, seed, way), found in by_key.items():
        if way != "with" or (without := by_key.get((pack, regime, table, seed, "without"))) is None:
            continue
        network = by_key[pack, regime, "", seed, "network"]
        for task, scores in found["score"].items():
            part = "scarce" if task == found["scarce"] else "rich"
            for metric, value in scores.items():
                block = blocks.setdefault((table, part, pack, metric), [])
                linear = bool(found["best"].get(task)) and found["choices"][task] == ["single-task"]
                block.append(
                    (value - without["score"][task][metric], value - network["score"][task][metric], linear)
                )
    for (table, part, pack, metric), block in sorted(blocks.items()):
        change, gain, linear = (np.array(values, dtype=float) for values in zip(*block, strict=True))
        error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else float("nan")
        print(
            f"{table:6} {part:7} {pack:15} {metric:18} n={len(change)}  with - without {change.mean():+.2f} "
            f"({error:.2f})  with - network {gain.mean():+.2f}  linear chosen {linear.mean():.0%}"
        )


def main() -> None:
    """Measure what is not measured yet, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=list(PACKS))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--effort", choices=("fast", "standard", "thorough"), default="standard")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("runs/best_alone.jsonl"))
    options = parser.parse_args()
    held = Held(options.out)
    records: list[dict[str, Any]] = []
    for seed, pack, regime in product(range(FIRST_SEED, FIRST_SEED + options.seeds), options.packs, REGIMES):
        key = {"pack": pack, "regime": regime, "seed": seed, "steps": options.steps}
        key |= {"tables": options.tables, "effort_name": options.effort}
        records += held.once(key, lambda given=key: list(measured(**given)))
    show(records)


if __name__ == "__main__":
    main()
