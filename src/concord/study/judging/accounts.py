"""What conditions that choose for themselves chose, over the seeds of a regime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from concord.study.judging.results import Results
from concord.study.running import Cell


def accounts(results: Results) -> list[dict[str, Any]]:
    """By regime and condition with an account: choices by task, verdicts by relation, cost and words.

    Each entry holds `choices` (task -> candidate -> mean share over seeds), `relations` (name -> verdict ->
    number of seeds), `cost` (mean, with the pair of single-task models as 1) and `sentences` of the first
    seed. The whole account of a seed stands in the record of its run.
    """
    out = []
    for regime, condition in product(results.plan.regimes, results.conditions):
        records = [
            results.records[Cell(regime.name, condition, seed)].get("account") or {}
            for seed in results.plan.seeds
        ]
        if not any(records):
            continue
        costs = [record["cost"] for record in records if record.get("cost") is not None]
        out.append(
            {
                "regime": regime.name,
                "condition": condition,
                "seeds": len(records),
                "choices": _choices(records),
                "relations": _verdicts(records),
                "cost": round(float(np.mean(costs)), 3) if costs else None,
                "sentences": records[0].get("sentences", []),
            }
        )
    return out


def _choices(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    shares: dict[str, Counter[str]] = {}
    for record in records:
        for choice in record.get("choices", []):
            shares.setdefault(choice["task"], Counter()).update(choice["weights"])
    return {
        task: {name: round(total / len(records), 4) for name, total in counted.most_common()}
        for task, counted in shares.items()
    }


def _verdicts(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for record in records:
        for relation in record.get("relations", []):
            found.setdefault(relation["name"], Counter())[relation["verdict"]] += 1
    return {name: dict(counted) for name, counted in found.items()}
