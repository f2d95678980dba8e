"""Hypothesis strategies shared by the tests: tasks, targets with gaps, relation tables, manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask, Relation
from concord.data.manifest import SPLITS, Manifest, task_columns
from concord.names import is_number, spelling
from concord.tasks import Task

PLAIN = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="/\\")
"""Characters of a name: no blanks, no control characters."""

names = st.text(PLAIN, min_size=1, max_size=8).filter(lambda name: not is_number(name))
"""Names of tasks, classes and labels; none is a number, so that numbers are indices."""

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
"""Any text that UTF-8 can hold, line ends and quotes among it."""

paths = st.lists(
    st.text(PLAIN, min_size=1, max_size=6).filter(lambda part: part not in (".", "..") and ":" not in part),
    min_size=1,
    max_size=3,
).map("/".join)
"""Relative paths with forward slashes."""


@st.composite
def multiclass_tasks(draw: Any, name: st.SearchStrategy[str] = names, most: int = 6) -> MulticlassTask:
    """Multiclass tasks of 2 to `most` classes."""
    return MulticlassTask(draw(name), draw(st.lists(names, min_size=2, max_size=most, unique_by=spelling)))


@st.composite
def multilabel_tasks(draw: Any, name: st.SearchStrategy[str] = names, most: int = 6) -> MultilabelTask:
    """Multilabel tasks of 1 to `most` labels."""
    return MultilabelTask(draw(name), draw(st.lists(names, min_size=1, max_size=most, unique_by=spelling)))


def tasks() -> st.SearchStrategy[Task]:
    """Tasks of either kind."""
    return st.one_of(multiclass_tasks(), multilabel_tasks())


@st.composite
def targets(draw: Any, task: Task, rows: int) -> np.ndarray:
    """Encoded targets of a task with gaps: int64 (rows,) with -1, or float32 (rows, K) with NaN."""
    if isinstance(task, MulticlassTask):
        cells = draw(st.lists(st.integers(-1, task.width - 1), min_size=rows, max_size=rows))
        return np.asarray(cells, dtype=np.int64)
    cell = st.sampled_from([0.0, 1.0, np.nan])
    flat = draw(st.lists(cell, min_size=rows * task.width, max_size=rows * task.width))
    return np.asarray(flat, dtype=np.float32).reshape(rows, task.width)


@st.composite
def relation_tables(draw: Any, source: MulticlassTask, target: Task, unknown: bool = True) -> np.ndarray:
    """Tables of P(target | class), float64 (C, K), with unknown cells (class to class: rows)."""
    shape = (source.width, target.width)
    number = st.floats(0, 1, allow_nan=False)
    if isinstance(target, MulticlassTask):
        rows = []
        for _ in range(source.width):
            mass = np.asarray(
                draw(st.lists(st.integers(0, 9), min_size=shape[1], max_size=shape[1])), dtype=float
            )
            known = mass.sum() > 0 and not (unknown and draw(st.booleans()))
            uniform = np.full(shape[1], 1 / shape[1])
            rows.append(mass / mass.sum() if known else np.full(shape[1], np.nan) if unknown else uniform)
        return np.asarray(rows)
    cell = st.one_of(number, st.just(np.nan)) if unknown else number
    return np.asarray(
        draw(st.lists(cell, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    ).reshape(shape)


@st.composite
def relations(draw: Any, class_to_class: bool | None = None) -> Relation:
    """Relations between two tasks of different names, with unknown cells."""
    if class_to_class is None:
        class_to_class = draw(st.booleans())
    source = draw(multiclass_tasks(name=st.just("source")))
    make = multiclass_tasks if class_to_class else multilabel_tasks
    target = draw(make(name=st.just("target")))
    return Relation(source, target, draw(relation_tables(source, target)))


def _gappy(values: st.SearchStrategy[Any], rows: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows)


@st.composite
def manifests(draw: Any, most_rows: int = 12, with_extras: bool = True) -> Manifest:
    """Manifests of one multiclass and one multilabel task, with gaps everywhere that allows them."""
    rows = draw(st.integers(1, most_rows))
    own: tuple[Task, ...] = (
        draw(multiclass_tasks(name=st.just("kind"))),
        draw(multilabel_tasks(name=st.just("traits"))),
    )
    columns: dict[str, Any] = {
        "path": draw(st.lists(paths, min_size=rows, max_size=rows, unique=True)),
        "split": draw(_gappy(st.sampled_from(SPLITS), rows)),
        "group": draw(_gappy(st.sampled_from(["anna", "ben", "cleo"]), rows)),
    }
    if with_extras:
        columns["text"] = draw(_gappy(texts, rows))
        columns["weight"] = draw(_gappy(st.floats(0, 10, allow_nan=False), rows))
        columns["landmarks"] = pl.Series(
            draw(_gappy(st.lists(st.integers(-8, 8), max_size=3), rows)), dtype=pl.List(pl.Float32)
        )
    for task in own:
        encoded = draw(targets(task, rows))
        if isinstance(task, MulticlassTask):
            columns[task.name] = pl.Series(task.decode(encoded).tolist(), dtype=pl.String)
        else:
            columns |= {c: pl.Series(encoded[:, k]) for k, c in enumerate(task_columns(task))}
    return Manifest(pl.DataFrame(columns), own, name=draw(st.sampled_from(["", "faces"])))


@dataclass(frozen=True)
class Batch:
    """A relation with logits and targets of its two tasks, as float64 arrays."""

    relation: Relation
    source_logits: np.ndarray
    target_logits: np.ndarray
    y: np.ndarray
    a: np.ndarray

    def logits(self, dtype: str = "float64", grad: bool = False) -> dict[str, Any]:
        """Tensors of the logits, by task."""
        import torch

        kind = getattr(torch, dtype)
        pairs = zip(self._names, (self.source_logits, self.target_logits), strict=True)
        return {name: torch.tensor(z, dtype=kind, requires_grad=grad) for name, z in pairs}

    def targets(self) -> dict[str, Any]:
        """Tensors of the targets, by task: int64 classes, float32 labels."""
        import torch

        pairs = zip(self._names, (self.y, self.a), strict=True)
        return {
            name: torch.tensor(t, dtype=torch.float32 if t.ndim == 2 else torch.int64) for name, t in pairs
        }

    @property
    def _names(self) -> tuple[str, str]:
        return self.relation.source.name, self.relation.target.name


@st.composite
def batches(
    draw: Any,
    class_to_class: bool | None = None,
    *,
    unknown: bool = True,
    most_rows: int = 6,
    extreme: bool = True,
) -> Batch:
    """Batches of a random relation: cells of 0, 1, in between and unknown, gaps, logits of up to +-80.

    Sizes and shares are drawn one by one, the numbers from a drawn seed: that keeps an example cheap.
    """
    if class_to_class is None:
        class_to_class = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, c, k = draw(st.integers(1, most_rows)), draw(st.integers(2, 5)), draw(st.integers(2, 5))
    gap, blank = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])), draw(st.sampled_from([0.0, 0.3, 0.8]))
    sharp = draw(st.sampled_from([0.0, 0.3])) if extreme else 0.0
    source = MulticlassTask("source", [f"c{i}" for i in range(c)])
    mixed = np.where(rng.random((c, k)) < 0.4, rng.integers(0, 2, (c, k)), rng.uniform(0.001, 0.999, (c, k)))
    target: Task
    if class_to_class:
        target = MulticlassTask("target", [f"d{i}" for i in range(k)])
        mixed[mixed.sum(axis=1) == 0, 0] = 1
        table = mixed / mixed.sum(axis=1, keepdims=True)
        table[rng.random(c) < blank * unknown] = np.nan
        a = np.where(rng.random(n) < gap, -1, rng.integers(0, k, n))
    else:
        target = MultilabelTask("target", [f"l{i}" for i in range(k)])
        mixed[rng.random(c) < 0.2] = 0  # a neutral class
        table = np.where(rng.random((c, k)) < blank * unknown, np.nan, mixed)
        a = np.where(rng.random((n, k)) < gap, np.nan, rng.integers(0, 2, (n, k)))
    y = np.where(rng.random(n) < gap, -1, rng.integers(0, c, n))
    prior = rng.dirichlet(np.ones(c)) if draw(st.booleans()) else None
    scores = (
        np.where(rng.random((n, w)) < sharp, rng.choice([-80, 80], (n, w)), rng.uniform(-5, 5, (n, w)))
        for w in (c, k)
    )
    return Batch(Relation(source, target, table, prior=prior), *scores, y, a)
