"""Many models at once: the objective vectorises, and gives what a loop gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import concord as cc
from coupling_reference import CASES, LABEL_CASES
from strategies import Batch, batches

MODELS = 3


def stacked(batch: Batch, seed: int) -> list[Batch]:
    """The batch with the logits of several models."""
    rng = np.random.default_rng(seed)
    return [
        replace(
            batch,
            source_logits=batch.source_logits + rng.normal(size=batch.source_logits.shape),
            target_logits=batch.target_logits + rng.normal(size=batch.target_logits.shape),
        )
        for _ in range(MODELS)
    ]


@pytest.mark.parametrize("class_to_class", [False, True])
@settings(max_examples=10)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_vmap_equals_a_loop(class_to_class, data, seed):
    batch = data.draw(batches(class_to_class=class_to_class))
    cases = CASES if class_to_class else CASES | LABEL_CASES
    relation, targets = batch.relation, batch.targets()
    objective = cc.CoupledObjective(
        [relation.source, relation.target],
        [relation],
        [coupling for coupling, _ in cases.values()],
        validate=False,
    )
    models = stacked(batch, seed)

    def loss(logits):
        result = objective(logits, targets)
        return result.loss, result.parts

    logits = {name: torch.stack([model.logits()[name] for model in models]) for name in ("source", "target")}
    gradients, (values, parts) = torch.func.vmap(
        lambda z: (torch.func.grad(lambda y: loss(y)[0])(z), loss(z))
    )(logits)
    for i, model in enumerate(models):
        own = model.logits(grad=True)
        expected = objective(own, targets)
        expected.loss.backward()
        torch.testing.assert_close(values[i], expected.loss.detach())
        for name, part in expected.parts.items():
            torch.testing.assert_close(parts[name][i], part)
        for name, z in own.items():
            torch.testing.assert_close(gradients[name][i], z.grad)


@settings(max_examples=10)
@given(batch=batches(class_to_class=False), seed=st.integers(0, 2**32 - 1))
def test_vmap_over_targets_too(batch, seed):
    relation = batch.relation
    objective = cc.CoupledObjective(
        [relation.source, relation.target], [relation], [c for c, _ in CASES.values()], validate=False
    )
    rng = np.random.default_rng(seed)
    models = [
        replace(batch, a=np.where(rng.random(batch.a.shape) < 0.3, np.nan, batch.a)) for _ in range(MODELS)
    ]
    logits = batch.logits()
    targets = {
        name: torch.stack([model.targets()[name] for model in models]) for name in ("source", "target")
    }
    values = torch.func.vmap(lambda t: objective(logits, t).loss)(targets)
    expected = torch.stack([objective(logits, model.targets()).loss for model in models])
    torch.testing.assert_close(values, expected)
