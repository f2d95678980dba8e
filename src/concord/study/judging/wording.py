"""A verdict that a person understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concord.study.judging.statistics import MIN_SEEDS

METRIC_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "mean_f1": "mean F1",
    "map": "average precision",
    "ece": "calibration error",
}

VERDICT_WORDS = {
    "superior": "better",
    "non-inferior": "not worse",
    "undecided": "undecided",
    "inferior": "worse",
}
"""Verdicts as tables say them, best first."""


def undecided(seeds: int) -> str:
    """What is said where there are too few seeds for a verdict."""
    return f"Undecided, {seeds} seed" + ("" if seeds == 1 else "s")


def sentence(summary: Mapping[str, Any]) -> str:
    """What helped, what hurt, and how sure that is; in two to four sentences."""
    rows: Sequence[Mapping[str, Any]] = summary["verdicts"]
    seeds = len(summary["seeds"])
    if not rows:
        return "Nothing was compared: the study has a baseline and no other condition."
    if seeds < MIN_SEEDS:
        return f"{undecided(seeds)}: a verdict takes at least {MIN_SEEDS}, better five."
    parts = [_best(rows), _harm(rows)]
    parts.append(
        f"Verdicts rest on {seeds} paired seeds at the {100 * (1 - summary['level']):.3g} % level, corrected "
        "within each regime."
    )
    return " ".join(parts)


def _best(rows: Sequence[Mapping[str, Any]]) -> str:
    tallies = {name: _tally(rows, name) for name in {row["condition"] for row in rows}}
    best = max(sorted(tallies), key=lambda name: (_gains(tallies[name]), _mean(rows, name)))
    won = {base: t["superior"] for base, t in tallies[best].items() if t["superior"]}
    if not won:
        return "No condition is shown to be better than a baseline."
    clauses = [
        f"{_words(base)} in {n} of {sum(tallies[best][base].values())} comparisons" for base, n in won.items()
    ]
    top = max(
        (row for row in rows if row["condition"] == best and row["verdict"] == "superior"),
        key=lambda row: row["difference"],
    )
    lost = sum(t["inferior"] for t in tallies[best].values())
    harm = "and is shown to lose in none" if not lost else f"and loses in {lost}"
    text = (
        f"{best} does best: it beats {' and '.join(clauses)} (tasks x regimes), {harm}; its largest gain is "
        f"{_effect(top)}."
    )
    # Who wins most often need not win by most.
    most = max((row for row in rows if row["verdict"] == "superior"), key=lambda row: row["difference"])
    if most["difference"] > top["difference"]:
        text += f" The largest gain shown is that of {most['condition']}: {_effect(most)}."
    return text


def _harm(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whoever is shown to lose against a baseline, and by how much at worst: all that cards count as harm."""
    parts, none = [], []
    for against in sorted({row["baseline"] for row in rows}, reverse=True):  # uncoupled first
        hurt: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["baseline"] == against and row["verdict"] == "inferior":
                hurt.setdefault(row["condition"], []).append(row)
        clauses = []
        for name, found in sorted(hurt.items(), key=lambda item: min(r["difference"] for r in item[1])):
            worst = min(found, key=lambda row: row["difference"])
            clauses.append(f"{name} (worst: {_effect(worst)})")
        if clauses:
            parts.append(f"Harm against {_words(against)}: {'; '.join(clauses)}.")
        else:
            none.append(_words(against))
    if none:
        parts.append(f"No condition is shown to do harm against {' or '.join(none)}.")
    return " ".join(parts)


def _tally(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["condition"] == name:
            counts = out.setdefault(
                row["baseline"], {"superior": 0, "inferior": 0, "non-inferior": 0, "undecided": 0}
            )
            counts[row["verdict"]] += 1
    return out


def _gains(tally: Mapping[str, Mapping[str, int]]) -> int:
    return sum(counts["superior"] - counts["inferior"] for counts in tally.values())


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [row["difference"] for row in rows if row["condition"] == name]
    return sum(values) / len(values)


def _effect(row: Mapping[str, Any]) -> str:
    metric = METRIC_WORDS.get(row["metric"], row["metric"])
    return (
        f"{row['difference']:+.1f} points of {metric} in {row['task']}, {row['regime']}, against "
        f"{_words(row['baseline'])} (interval {row['low']:+.1f} to {row['high']:+.1f})"
    )


def _words(baseline: str) -> str:
    return "single-task networks" if baseline == "single-task" else "the uncoupled network"
