"""Synthetic worlds for tests of estimation and selection: a known relation, and heads of known quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, softmax

import concord as cc
from concord.estimation.observations import Observations
from concord.tasks import Task


@dataclass(frozen=True)
class World:
    """Rows of which everything is known.

    Attributes:
        source: The class task.
        target: The label task, or second class task.
        table: (C, K), the truth.
        y: (n,) classes.
        a: (n, K) labels, or (n,) classes of the target.
        class_logits: (n, C), of an exact head.
        target_logits: (n, K), likewise.
    """

    source: cc.MulticlassTask
    target: Task
    table: np.ndarray
    y: np.ndarray
    a: np.ndarray
    class_logits: np.ndarray
    target_logits: np.ndarray

    @property
    def relation(self) -> cc.Relation:
        return cc.Relation(self.source, self.target, self.table)

    def observations(self, *, overlap: float = 0.0, classes: float = 0.5) -> Observations:
        """The first rows with classes, the last with targets, some in the middle with both."""
        n = len(self.y)
        first, last = np.arange(n) < (classes + overlap / 2) * n, np.arange(n) >= (classes - overlap / 2) * n
        gap = -1 if self.a.ndim == 1 else np.nan
        a = np.where(last if self.a.ndim == 1 else last[:, None], self.a, gap).astype(float)
        return Observations(
            self.source,
            self.target,
            np.where(first, self.y, -1),
            a,
            softmax(self.class_logits, axis=1),
            softmax(self.target_logits, axis=1) if self.a.ndim == 1 else expit(self.target_logits),
        )


def class_head(y: np.ndarray, width: int, rng: np.random.Generator, sharpness: float = 2.0) -> np.ndarray:
    """Logits of the exact posterior of y, each class alike: (n, C)."""
    z = sharpness * np.eye(width)[y] + rng.normal(size=(len(y), width))
    return sharpness * z


def label_head(a: np.ndarray, rng: np.random.Generator, sharpness: float = 1.5) -> np.ndarray:
    """Logits of the exact posterior of each label alone: (n, K)."""
    z = sharpness * (a - 0.5) + rng.normal(size=a.shape)
    return logit(np.clip(a.mean(axis=0), 0.01, 0.99)) + sharpness * z


def labels_world(
    seed: int, n: int = 1600, classes: int = 5, labels: int = 8, *, unrelated: bool = False
) -> World:
    """Labels that are mostly there or mostly not, by class; or no matter which class."""
    rng = np.random.default_rng(seed)
    source = cc.MulticlassTask("kind", [f"c{i}" for i in range(classes)])
    target = cc.MultilabelTask("marks", [f"l{i}" for i in range(labels)])
    while True:
        code = rng.integers(0, 2, (classes, labels))
        if len(np.unique(code, axis=0)) == classes and ((code.sum(axis=0) % classes) > 0).all():
            break
    table = np.where(code == 1, rng.uniform(0.75, 0.95, code.shape), rng.uniform(0.05, 0.25, code.shape))
    if unrelated:
        table = np.tile(table.mean(axis=0), (classes, 1))
    y = rng.integers(0, classes, n)
    a = (rng.random((n, labels)) < table[y]).astype(float)
    return World(source, target, table, y, a, class_head(y, classes, rng), label_head(a, rng))


def classes_world(seed: int, n: int = 1600, *, unrelated: bool = False) -> World:
    """A coarse task of 4 classes, and a finer one of 8."""
    rng = np.random.default_rng(seed)
    source = cc.MulticlassTask("coarse", [f"c{i}" for i in range(4)])
    target = cc.MulticlassTask("fine", [f"d{i}" for i in range(8)])
    table = 0.9 * np.kron(np.eye(4), [[0.7, 0.3]]) + 0.1 / 8
    if unrelated:
        table = np.full((4, 8), 1 / 8)
    y = rng.integers(0, 4, n)
    a = (rng.random(n)[:, None] > np.cumsum(table, axis=1)[y]).sum(axis=1).clip(max=7)
    return World(source, target, table, y, a, class_head(y, 4, rng), class_head(a, 8, rng))
