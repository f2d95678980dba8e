"""Folders of finished studies, made up: what a report reads, without training anything."""

from __future__ import annotations

import csv
import json
import random
from itertools import product
from pathlib import Path
from typing import Any

CONDITIONS = ("single-task", "uncoupled", "paper", "posterior")
NASTY = "<b>\"Größe\" & 'Maß'</b>"
"""A name that is no name: markup, quotes, an ampersand, letters beyond ASCII."""

EFFECTS = {"single-task": 0.0, "uncoupled": 0.02, "paper": -0.55, "posterior": 0.09}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5E"
    "rkJggg=="
)


def write_study(
    out: Path,
    *,
    tasks: tuple[str, str] = ("digit", "segments"),
    metrics: tuple[str, str] = ("accuracy", "mean_f1"),
    regimes: dict[str, tuple[int, int]] | None = None,
    conditions: tuple[str, ...] = CONDITIONS,
    seeds: int = 4,
    title: str = "A study",
    sentence: str = "posterior does best. Harm: paper (worst: -55.0 points). It rests on 4 seeds.",
    labels: int = 3,
    estimated: bool = True,
    steps: int = 500,
) -> Path:
    """Write all files of a study; numbers follow from the seeded generator alone."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    regimes = regimes or {"few-class": (50, 600), "balanced": (200, 200)}
    names = [f"c{i}" for i in range(4)], [f"l{i}" for i in range(labels)]
    main = dict(zip(tasks, metrics, strict=True))
    values: dict[tuple[str, str, str, int], float] = {}
    results = []
    for regime, condition, seed in product(regimes, conditions, range(seeds)):
        for task, metric in main.items():
            noise = rng.uniform(-0.01, 0.01)
            values[regime, condition, task, seed] = 0.8 + EFFECTS.get(condition, 0.01) + noise
            for name, value in ((metric, values[regime, condition, task, seed]), ("other", 0.5 + noise)):
                results.append([condition, seed, regime, task, name, repr(value), *regimes[regime]])
    sizes = [f"n_{task}" for task in tasks]
    table(out / "results.csv", ["condition", "seed", "regime", "task", "metric", "value", *sizes], results)
    logged = [
        [condition, seed, regime, task, name, step, 0.9 - 0.5 / (1 + step / 50) + rng.uniform(0, 0.02)]
        for condition, seed, regime, (task, metric) in product(
            conditions, range(seeds), regimes, main.items()
        )
        for name in (metric, "loss")
        for step in range(50, steps + 1, 50)
    ]
    table(out / "curves.csv", ["condition", "seed", "regime", "task", "metric", "step", "value"], logged)
    verdicts = _verdicts(values, regimes, conditions, main, seeds)
    triples = list(product(regimes, conditions[1:]))
    dump(
        out / "summary.json",
        {
            "title": title,
            "margin": 1.0,
            "level": 0.95,
            "metrics": main,
            "seeds": list(range(seeds)),
            "verdicts": verdicts,
            "means": _means(values, regimes, conditions, main, seeds),
            "worst_task": [
                {"regime": r, "condition": c, "baseline": "single-task", "task": tasks[0], "difference": -0.5,
                 "low": -1.0, "high": 0.0, "lowest": -2.0}
                for r, c in triples
            ],
            "negative_transfer": [
                {"regime": r, "condition": c, "rate": 0.25, "count": 2, "of": 8} for r, c in triples
            ],
            "delta_m": [
                {"regime": r, "condition": c, "mean": 1.5, "low": 0.5, "high": 2.5} for r, c in triples
            ],
            "ranks": {
                "mean": {c: float(i + 1) for i, c in enumerate(reversed(conditions))},
                "friedman_p": 0.01,
                "critical_difference": 1.5,
                "blocks": 4,
            },
            "cost": [{"condition": c, "seconds": 3.5} for c in conditions],
            "sentence": sentence,
        },
    )  # fmt: skip
    given = [[round(rng.random(), 3) for _ in names[1]] for _ in names[0]]
    given[0][0] = None
    learnt = [[0.5 for _ in names[1]] for _ in names[0]]
    dump(
        out / "relation.json",
        [
            {"name": f"{tasks[0]}->{tasks[1]}", "rows": names[0], "columns": names[1],
             "table": given, "given": True,
             "estimated": learnt if estimated else None,
             "interval": [[[0.1] * labels] * 4, [[0.9] * labels] * 4],
             "indistinguishable": [["c0", "c1"]], "uninformative": ["l0"]}
        ],
    )  # fmt: skip
    dump(
        out / "confusion.json",
        [
            {"regime": r, "condition": c, "task": tasks[0], "classes": names[0],
             "matrix": [[8, 1, 1, 0], [0, 10, 0, 0], [0, 2, 8, 0], [0, 0, 0, 0]]}
            for r, c in product(regimes, conditions)
        ],
    )  # fmt: skip
    dump(out / "gallery.json", [_sample(i, tasks, conditions, names) for i in range(12)])
    dump(
        out / "config.json",
        {
            "title": title,
            "problem": "made-up",
            "regimes": [
                {"name": r, "rows": dict(zip(tasks, n, strict=True)), "overlap": 0.0, "table": "given"}
                for r, n in regimes.items()
            ],
            "conditions": [
                {"name": c, "use": c, "options": {"weight": 0.3} if c == "paper" else {}} for c in conditions
            ],
            "seeds": list(range(seeds)),
            "budget": {"steps": steps, "learning_rate": 0.002},
            "tuning": {},
        },
    )  # fmt: skip
    dump(
        out / "environment.json",
        {
            "versions": {"concord": "0.1.0", "torch": "2.13.0"},
            "machine": {"cores": 2},
            "started": "2026-01-02T03:04:05+00:00",
            "duration": 61.0,
            "sessions": [
                {"started": "2026-01-02T03:04:05+00:00", "command": "concord study", "duration": 61.0}
            ],
        },
    )
    return out


def edit(path: Path, change: Any) -> None:
    """Read a JSON file, let `change` work on it, write it back."""
    held = json.loads(path.read_text(encoding="utf-8"))
    change(held)
    dump(path, held)


def dump(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def table(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _verdicts(values: Any, regimes: Any, conditions: Any, main: Any, seeds: int) -> list[dict[str, Any]]:
    out = []
    for regime, baseline, (task, metric), condition in product(
        regimes, ("single-task", "uncoupled"), main.items(), conditions
    ):
        if baseline not in conditions or condition in ("single-task", baseline):
            continue
        sign = -100 if metric == "ece" else 100
        pairs = [
            sign * (values[regime, condition, task, s] - values[regime, baseline, task, s])
            for s in range(seeds)
        ]
        mean = sum(pairs) / seeds
        verdict = (
            "superior"
            if mean > 4
            else "inferior"
            if mean < -4
            else "undecided"
            if mean < 0
            else "non-inferior"
        )
        spread = None if seeds == 1 else 1.5
        out.append(
            {"regime": regime, "task": task, "metric": metric, "condition": condition, "baseline": baseline,
             "n_seeds": seeds, "mean": 0.8, "difference": mean,
             "low": None if spread is None else mean - spread,
             "high": None if spread is None else mean + spread,
             "p": 0.01, "p_holm": 0.04, "verdict": verdict,
             "bootstrap_low": mean - 1.0, "bootstrap_high": mean + 1.0}
        )  # fmt: skip
    return out


def _means(values: Any, regimes: Any, conditions: Any, main: Any, seeds: int) -> list[dict[str, Any]]:
    out = []
    for regime, condition, (task, metric) in product(regimes, conditions, main.items()):
        held = [values[regime, condition, task, s] for s in range(seeds)]
        out.append(
            {"regime": regime, "condition": condition, "task": task, "metric": metric,
             "mean": sum(held) / seeds, "sd": 0.01 if seeds > 1 else None, "n": seeds}
        )  # fmt: skip
    return out


def _sample(i: int, tasks: tuple[str, str], conditions: tuple[str, ...], names: Any) -> dict[str, Any]:
    classes, labels = names
    said = {
        c: {
            tasks[0]: {"prediction": classes[(i + j) % 4], "probability": 0.9},
            tasks[1]: {"prediction": labels[: (i + j) % 3], "probability": dict.fromkeys(labels, 0.5)},
        }
        for j, c in enumerate(conditions)
    }
    truth = {tasks[0]: classes[i % 4], tasks[1]: labels[: i % 3]}
    return {"image": PIXEL, "truth": truth, "predictions": said, "agree": i % 2 == 0}
