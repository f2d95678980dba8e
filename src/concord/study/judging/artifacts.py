"""What a report shows besides numbers: relations, confusions, samples with both heads' predictions."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.relations import Relation
from concord.study.judging.results import Results
from concord.study.running import Cell
from concord.tasks import MISSING_CLASS, MulticlassTask, Task

FEW = 24
"""Samples that are shown unless a plan says otherwise."""


def relation_tables(results: Results) -> list[dict[str, Any]]:
    """Every relation as given, and as runs estimated it (a mean over them), where any did."""
    out = []
    for relation in results.problem.relations:
        estimates = [
            np.array(record["relations"][relation.name], dtype=np.float64)
            for cell, record in results.records.items()
            if relation.name in record["relations"] and _estimates(results, cell)
        ]
        out.append(
            {
                "name": relation.name,
                "source": relation.source.name,
                "target": relation.target.name,
                "rows": list(relation.source.outputs),
                "columns": list(relation.target.outputs),
                "table": _plain(relation.table),
                "given": True,
                "estimated": _plain(np.mean(estimates, axis=0)) if estimates else None,
                "interval": None if relation.interval is None else [_plain(b) for b in relation.interval],
                "indistinguishable": [list(group) for group in relation.indistinguishable()],
                "uninformative": list(relation.uninformative()),
            }
        )
    return out


def _estimates(results: Results, cell: Cell) -> bool:
    return any(r.name == cell.regime and r.table == "estimated" for r in results.plan.regimes)


def confusion(results: Results) -> list[dict[str, Any]]:
    """Rows: the annotated class, columns: the predicted one; test rows summed over seeds."""
    targets = results.problem.targets_of("test")
    out = []
    for task in results.problem.tasks:
        if not isinstance(task, MulticlassTask):
            continue
        y = targets[task.name]
        for regime, condition in product(results.plan.regimes, results.conditions):
            matrix = np.zeros((task.width, task.width), dtype=np.int64)
            for seed in results.plan.seeds:
                guess = results.logits[Cell(regime.name, condition, seed)][task.name].argmax(axis=1)
                np.add.at(matrix, (y[y != MISSING_CLASS], guess[y != MISSING_CLASS]), 1)
            out.append(
                {
                    "regime": regime.name,
                    "condition": condition,
                    "task": task.name,
                    "classes": list(task.classes),
                    "matrix": matrix.tolist(),
                }
            )
    return out


def _shown(results: Results) -> str:
    """Which samples: as the plan asks; else none of a data set with terms of its own, however it was read."""
    return results.plan.samples or ("none" if results.problem.origins else results.plan.shown_samples)


def gallery(results: Results) -> list[dict[str, Any]]:
    """Test samples with the predictions of every condition: where heads agree, and who is right.

    None, few or all annotated ones, as the plan says.

    Samples are of the first regime and seed. Whether the heads agree is asked of the last condition: do its
    predicted labels, read through the relation, name the class that its class head names?
    """
    picture, regime, seed = results.problem.picture, results.plan.regimes[0].name, results.plan.seeds[0]
    shown = _shown(results)
    if shown == "none" or picture is None or not results.problem.relations:
        return []
    relation = results.problem.relations[0]
    last = results.logits[Cell(regime, results.conditions[-1], seed)]
    agree = agreement(relation, last[relation.source.name], last[relation.target.name])
    rows, targets = results.problem.splits["test"], results.problem.targets_of("test")
    right = np.stack(
        [
            results.logits[Cell(regime, condition, seed)][relation.source.name].argmax(axis=1)
            == targets[relation.source.name]
            for condition in results.conditions
        ]
    )
    annotated = targets[relation.source.name] != MISSING_CLASS
    return [
        {
            "image": f"data:image/png;base64,{b64encode(picture(int(rows[i]))).decode()}",
            "row": int(rows[i]),
            "regime": regime,
            "seed": seed,
            "truth": {t.name: _names(t, targets[t.name][i]) for t in results.problem.tasks},
            **_unknown(results.problem.tasks, targets, i),
            "predictions": {
                condition: {
                    t.name: _predicted(t, results.probabilities(Cell(regime, condition, seed), t.name)[i])
                    for t in results.problem.tasks
                }
                for condition in results.conditions
            },
            "agree": bool(agree[i]),
        }
        for i in _chosen(right, agree, annotated, FEW if shown == "few" else 2 * len(right[0]))
    ]


def agreement(relation: Relation, source_logits: Any, target_logits: Any) -> npt.NDArray[np.bool_]:
    """Whether the class head names a class that fits the predicted labels best: (n,)."""
    guess = np.asarray(source_logits).argmax(axis=1)
    if relation.class_to_class:
        table = np.nan_to_num(relation.table)
        return table[guess, np.asarray(target_logits).argmax(axis=1)] >= table[guess].max(axis=1)
    active = (np.asarray(target_logits) > 0).astype(np.float64)
    fit = relation.evidence().of_annotations(active, np.ones_like(active))
    return fit[np.arange(len(guess)), guess] >= fit.max(axis=1) - 1e-9


def _chosen(
    right: npt.NDArray[np.bool_],
    agree: npt.NDArray[np.bool_],
    annotated: npt.NDArray[np.bool_],
    most: int,
) -> Sequence[int]:
    """At most so many samples; those on which conditions differ most come first; both kinds of agreement."""
    share = right.mean(axis=0)
    order = np.argsort(-share * (1 - share), kind="stable")
    order = order[annotated[order]]
    apart, together = order[~agree[order]], order[agree[order]]
    # As many of both; where one kind has fewer, the other takes what is left.
    half = min(len(apart), max(most // 2, most - len(together)))
    return [int(i) for i in (*apart[:half], *together[: most - half])]


def _names(task: Task, target: Any) -> Any:
    if isinstance(task, MulticlassTask):
        return None if target == MISSING_CLASS else task.classes[int(target)]
    if np.isnan(target).all():
        return None
    return [name for name, value in zip(task.outputs, target, strict=True) if value == 1]


def _unknown(tasks: Sequence[Task], targets: Mapping[str, Any], row: int) -> dict[str, dict[str, list[str]]]:
    """By task the labels that nobody annotated, where a row is annotated in part."""
    gaps = {t.name: np.isnan(targets[t.name][row]) for t in tasks if not isinstance(t, MulticlassTask)}
    names = {t.name: t.outputs for t in tasks}
    found = {
        task: [name for name, gap in zip(names[task], each, strict=True) if gap]
        for task, each in gaps.items()
        if each.any() and not each.all()
    }
    return {"unknown": found} if found else {}


def _predicted(task: Task, p: npt.NDArray[np.float64]) -> dict[str, Any]:
    if isinstance(task, MulticlassTask):
        return {"prediction": task.classes[int(p.argmax())], "probability": round(float(p.max()), 4)}
    present = [name for name, value in zip(task.outputs, p, strict=True) if value >= 0.5]
    values = {name: round(float(value), 4) for name, value in zip(task.outputs, p, strict=True)}
    return {"prediction": present, "probability": values}


def _plain(table: npt.NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(v) else round(float(v), 6) for v in row] for row in table]
