"""`torch.compile` of an objective computes what the objective computes, with each coupling."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

import concord as cc
from concord.couplings import Coupling, coupling_names, make_couplings

KIND = cc.MulticlassTask("kind", ["a", "b", "c"])
MARKS = cc.MultilabelTask("marks", ["p", "q"])
FINE = cc.MulticlassTask("fine", ["a1", "a2", "b1", "c1"])
TABLE = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.4]])
RELATIONS = {
    "labels": cc.Relation(KIND, MARKS, TABLE),
    "classes": cc.Relation(KIND, FINE, [[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "sparse": cc.Relation(KIND, MARKS, sparse.csr_array(TABLE)),
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of the way it compiles
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()


def loss_and_gradients(relation: cc.Relation, name: str, backend: str | None) -> list[torch.Tensor]:
    objective: Any = cc.CoupledObjective([relation.source, relation.target], [relation], make_couplings(name))
    if backend is not None:
        objective = torch.compile(objective, backend=backend)
    draw = torch.Generator().manual_seed(0)
    logits = {
        task.name: torch.randn(6, task.width, generator=draw).requires_grad_()
        for task in (relation.source, relation.target)
    }
    targets = {
        "kind": torch.tensor([0, 1, 2, -1, -1, -1]),
        "marks": torch.tensor([[torch.nan] * 2] * 3 + [[0.0, 1.0], [1.0, 0.0], [1.0, torch.nan]]),
        "fine": torch.tensor([-1, -1, -1, 0, 2, 3]),
    }
    loss = objective(logits, {name: targets[name] for name in logits}).loss
    return [loss, *torch.autograd.grad(loss, list(logits.values()))]


def supported(name: str, relation: cc.Relation) -> bool:
    return all(coupling.supports(relation) for coupling in make_couplings(name))


CASES = [
    (name, kind)
    for name in coupling_names()
    for kind, relation in RELATIONS.items()
    if supported(name, relation)
]


REPRESENTATIVES = {("posterior", "labels"), ("matching", "labels"), ("population", "labels")}
QUICK = [pytest.param(*case, marks=() if case in REPRESENTATIVES else pytest.mark.slow) for case in CASES]
"""One each that works row by row, on a batch, and with what it remembers; tracing takes a second a case."""


@pytest.mark.parametrize(("name", "kind"), QUICK)
def test_traced_as_it_is(name: str, kind: str) -> None:
    plain = loss_and_gradients(RELATIONS[kind], name, None)
    for ours, theirs in zip(plain, loss_and_gradients(RELATIONS[kind], name, "eager"), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_compiled_to_machine_code(name: str, kind: str) -> None:
    plain = loss_and_gradients(RELATIONS[kind], name, None)
    for ours, theirs in zip(plain, loss_and_gradients(RELATIONS[kind], name, "inductor"), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)


def test_every_coupling_is_among_the_cases() -> None:
    found = {type(coupling) for name, _ in CASES for coupling in make_couplings(name)}
    known = {
        getattr(cc.couplings, name)
        for name in cc.couplings.__all__
        if isinstance(getattr(cc.couplings, name), type) and issubclass(getattr(cc.couplings, name), Coupling)
    }
    assert found == known - {Coupling}
