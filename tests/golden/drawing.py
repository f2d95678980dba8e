"""Relations, rows and worlds, drawn: they depend on NumPy's seeds alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse
from scipy.special import expit, logit, softmax

from golden import api

RELATIONS = 24
"""Every kind of table (dense, sparse; to labels, to classes) comes with every kind of supplied table."""

SUPPLIED = ("right", "shuffled", "switch", "none", "partly wrong", "right, crossed and weighted")
ROWS = 240


@dataclass(frozen=True)
class Drawn:
    """A relation with rows that follow it.

    Attributes:
        relation: The truth; unknown cells are NaN, or not stored.
        supplied: The table that is weighed against the rows, dense; None for none.
        y: (n,) classes with -1.
        a: (n, K) labels with NaN, or (n,) classes of the target with -1.
        source_logits: (n, C), of a head that knows something.
        target_logits: (n, K), likewise.
        folds: (3, n, C) logits of other class heads.
        weight: (n,), or None.
    """

    relation: api.Relation
    supplied: api.Relation | None
    y: np.ndarray
    a: np.ndarray
    source_logits: np.ndarray
    target_logits: np.ndarray
    folds: np.ndarray | None
    weight: np.ndarray | None


def drawn(index: int) -> Drawn:
    """The relation of a number in 0 .. 23, and its rows."""
    rng = np.random.default_rng([20, index])
    stored, to_classes, supplied = index % 2 == 1, index // 2 % 2 == 1, SUPPLIED[index // 4]
    width, outputs = int(rng.integers(3, 6)), int(rng.integers(4, 8))
    source = api.MulticlassTask("kind", [f"c{i}" for i in range(width)])
    names = [f"o{i}" for i in range(outputs)]
    target = (api.MulticlassTask if to_classes else api.MultilabelTask)("outcome", names)
    truth = _distributions(rng, width, outputs) if to_classes else _probabilities(rng, width, outputs)
    table = truth.copy()
    blank = (0.0, 0.15, 0.4)[int(rng.integers(3))]
    if to_classes:
        table[1:][rng.random(width - 1) < blank] = np.nan
    else:
        table[rng.random(table.shape) < blank] = np.nan
        table[0, 0] = truth[0, 0]  # something is known
    prior = _shares(rng, width) if rng.random() < 0.5 else None
    rate = None
    if rng.random() < 0.4:
        rate = _shares(rng, outputs) if to_classes else rng.uniform(0.1, 0.9, outputs)
    relation = api.Relation(source, target, _stored(table) if stored else table, prior=prior, base_rate=rate)

    y = _draw(rng, np.tile(np.full(width, 1 / width) if prior is None else prior, (ROWS, 1)))
    a = _draw(rng, truth[y]) if to_classes else (rng.random((ROWS, outputs)) < truth[y]).astype(float)
    source_logits = class_head(rng, y, width, 1.6)
    target_logits = class_head(rng, a, outputs, 1.4) if to_classes else label_head(rng, a, 1.4)
    crossed = supplied.endswith("weighted")
    folds = np.stack([class_head(rng, y, width, 1.5) for _ in range(3)]) if crossed else None
    weight = rng.integers(0, 3, ROWS).astype(float) if crossed else None
    place = np.arange(ROWS)
    with_class, with_outcome = place < 0.55 * ROWS, place >= 0.45 * ROWS
    y = np.where(with_class, y, -1)
    if to_classes:
        a = np.where(with_outcome, a, -1)
    else:
        a = np.where(with_outcome[:, None] & (rng.random(a.shape) > 0.1), a, np.nan)
    weighed = _supplied(supplied, api.Relation(source, target, table, prior=prior, base_rate=rate))
    return Drawn(relation, weighed, y, a, source_logits, target_logits, folds, weight)


def _supplied(kind: str, relation: api.Relation) -> api.Relation | None:
    table = np.array(relation.table)
    if kind == "none":
        return None
    if kind == "shuffled":
        table = np.roll(table, 1, axis=0)
    if kind == "switch":  # of what may occur
        table = np.where(np.isnan(table), np.nan, (table > 0.3).astype(float))
        if relation.class_to_class:
            table = (table + 0.01) / (table + 0.01).sum(axis=1, keepdims=True)
    if kind == "partly wrong":
        table[:2] = table[1::-1]
    return api.Relation(relation.source, relation.target, table, prior=relation.prior)


def _stored(table: np.ndarray) -> Any:
    known = ~np.isnan(table)
    if np.allclose(table[known.all(axis=1)].sum(axis=1), 1):  # distributions: zeros need no place
        known &= np.nan_to_num(table) > 0
    row, column = np.nonzero(known)
    return sparse.csr_array((table[row, column], (row, column)), shape=table.shape)


def _shares(rng: np.random.Generator, n: int) -> np.ndarray:
    mass = 0.3 - np.log(1 - rng.random(n))
    return mass / mass.sum()


def _probabilities(rng: np.random.Generator, width: int, outputs: int) -> np.ndarray:
    """(C, K) cells near 0 or near 1, some of them exactly; a class without any label now and then."""
    high = rng.integers(0, 2, (width, outputs)) == 1
    cells = np.where(high, rng.uniform(0.7, 0.97, high.shape), rng.uniform(0.03, 0.3, high.shape))
    cells = np.where(rng.random(high.shape) < 0.15, high.astype(float), cells)
    if rng.random() < 0.3:
        cells[-1] = 0.0
    return cells


def _distributions(rng: np.random.Generator, width: int, outputs: int) -> np.ndarray:
    """(C, K) rows that sum to 1, with cells of 0."""
    mass = (-np.log(1 - rng.random((width, outputs)))) ** 2.5
    mass[rng.random(mass.shape) < 0.3] = 0.0
    mass[np.arange(width), np.arange(width) % outputs] += 2.0
    return mass / mass.sum(axis=1, keepdims=True)


def _draw(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """One outcome of each row of shares: (n,)."""
    above = rng.random(len(shares))[:, None] > np.cumsum(shares, axis=1)
    return above.sum(axis=1).clip(max=shares.shape[1] - 1)


def class_head(rng: np.random.Generator, y: np.ndarray, width: int, sharpness: float) -> np.ndarray:
    """Logits of a head that knows something of y: (n, C)."""
    return sharpness * (sharpness * np.eye(width)[y] + rng.normal(size=(len(y), width)))


def label_head(rng: np.random.Generator, a: np.ndarray, sharpness: float) -> np.ndarray:
    """Logits of a head that knows something of each label: (n, K)."""
    z = sharpness * (a - 0.5) + rng.normal(size=a.shape)
    return logit(np.clip(a.mean(axis=0), 0.02, 0.98)) + sharpness * z


def said(logits: np.ndarray, of_classes: bool) -> np.ndarray:
    """Probabilities of logits."""
    return softmax(logits, axis=-1) if of_classes else expit(logits)


# -- worlds: what an estimator is fitted on -------------------------------------------------------------

KIND = api.MulticlassTask("kind", [f"c{i}" for i in range(4)])
MARKS = api.MultilabelTask("marks", [f"l{i}" for i in range(6)])
FINE = api.MulticlassTask("fine", [f"d{i}" for i in range(8)])
CODES = np.array([[1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]])
TABLE = np.where(CODES == 1, 0.92, 0.08)
FINER = np.kron(np.eye(4), [[0.5, 0.5]])


@dataclass(frozen=True)
class World:
    """Rows for an estimator, each annotated for one task.

    Attributes:
        tasks: The tasks.
        relations: Supplied relations.
        x: (n, 12) features.
        y: Targets with gaps, by task.
        new: (6, 12) features to predict.
        fit: What else `fit` is given.
    """

    tasks: list[Any]
    relations: list[Any]
    x: np.ndarray
    y: dict[str, np.ndarray]
    new: np.ndarray
    fit: dict[str, Any] = field(default_factory=dict)


WORLDS = ("labels", "classes", "three tasks")


def world(name: str) -> World:
    """Classes with labels; classes with finer ones; all three tasks, a class without rows, a wrong table."""
    of_labels, of_finer = api.Relation(KIND, MARKS, TABLE), api.Relation(KIND, FINE, FINER)
    if name == "labels":
        return _world(31, [KIND, MARKS], [of_labels], 160)
    if name == "classes":
        return _world(32, [KIND, FINE], [of_finer], 160)
    wrong = api.Relation(KIND, FINE, np.roll(FINER, 1, axis=0))
    made = _world(33, [KIND, MARKS, FINE], [of_labels, wrong], 240)
    y = made.y["kind"]
    made.y["kind"] = np.where(y == 3, -1, y)
    made.fit["groups"] = np.arange(240) // 2
    return made


def _world(seed: int, tasks: list[Any], relations: list[Any], n: int) -> World:
    rng = np.random.default_rng(seed)
    more = n + 6
    y = rng.integers(0, 4, more)
    a = (rng.random((more, 6)) < TABLE[y]).astype(float)
    d = 2 * y + rng.integers(0, 2, more)
    x = rng.normal(size=(more, 12))
    x[:, :4] += 1.5 * np.eye(4)[y]
    x[:, 4:10] += 1.5 * a
    x[:, 10] += d % 2
    turn = np.arange(more) % len(tasks)
    truth, given = {"kind": y, "marks": a, "fine": d}, {}
    for i, task in enumerate(tasks):
        mine = turn == i
        values = truth[task.name]
        values = np.where(mine[:, None], values, np.nan) if values.ndim == 2 else np.where(mine, values, -1)
        given[task.name] = values[:n]
    return World(tasks, relations, x[:n], given, x[n:])


# -- data on disk: what a config names ------------------------------------------------------------------

SHAPE = api.MulticlassTask("shape", ["circle", "square", "star"])
DOTS = api.MultilabelTask("dots", ["one", "two"])


def data_on_disk(folder: Path, n: int = 60) -> None:
    """Two sources of feature rows, one with classes and one with labels, and a table."""
    splits = (["train"] * 4 + ["val", "test"]) * (n // 6)
    cells = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.8]])
    for seed, (name, task) in enumerate({"classed": SHAPE, "labelled": DOTS}.items()):
        rng = np.random.default_rng([40, seed])
        y = rng.integers(0, 3, n)
        a = (rng.random((n, 2)) < cells[y]).astype(int)
        x = rng.normal(size=(n, 6))
        x[:, :3] += 2 * np.eye(3)[y]
        x[:, 3:5] += 2 * a
        np.save(folder / f"{name}.npy", x.astype(np.float32))
        columns: dict[str, Any] = {"row": range(n), "split": splits}
        if task is SHAPE:
            columns["shape"] = [SHAPE.classes[c] for c in y]
        else:
            columns |= {f"dots.{label}": a[:, k] for k, label in enumerate(DOTS.labels)}
        api.write_manifest(
            api.Manifest(pl.DataFrame(columns), (task,), folder, name), folder / f"{name}.parquet"
        )
    (folder / "table.csv").write_text("shape,one,two\ncircle,.9,.1\nsquare,.1,.9\nstar,.8,.8\n")


def config(**changes: Any) -> dict[str, Any]:
    """Plain data of a config for these sources, in the current folder; top-level keys can be changed."""
    inputs = {
        name: {"manifest": f"{name}.parquet", "inputs": {"kind": "features", "file": f"{name}.npy"}}
        for name in ("classed", "labelled")
    }
    return {
        "data": ".",
        "output": "out",
        "sources": inputs,
        "tasks": {"shape": {}, "dots": {}},
        "relations": [{"source": "shape", "target": "dots", "table": "table.csv"}],
        "couplings": [{"name": "posterior-coannotation", "weight": 0.5}],
        "trunk": {"options": {"hidden": [4]}},
        "training": {"steps": 20, "batch_size": 16, "learning_rate": 0.01, "accelerator": "cpu"},
        "validation": {"every": 10},
        "checkpoints": {"every": 10},
        "watching": {"every": 10, "progress": False},
        **changes,
    }


PLAN = {
    "title": "golden",
    "problem": "digits",
    "regimes": [{"name": "few-class", "rows": {"digit": 40, "segments": 120}}],
    "conditions": ["single-task", "uncoupled", "paper", "posterior", "two-stage", "auto"],
    "seeds": [0, 1],
    "network": {"hidden": [16], "dropout": 0.1},
    "budget": {"steps": 12, "rows_per_task": 16, "log_every": 6},
    "resamples": 50,
}
"""A study of digits, tiny."""
