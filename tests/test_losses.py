"""Supervised losses equal plain loops, and what lies under a gap does not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concord.losses.supervised import (
    multiclass_loss,
    multilabel_loss,
    soft_multiclass_loss,
    soft_multilabel_loss,
)
from coupling_reference import log_sigmoid, log_softmax, mean
from strategies import batches


def weighted(values: list[tuple[float, float]]) -> float:
    """Mean of (value, weight) pairs; 0 where nothing weighs."""
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total else 0.0


def plain_multiclass(z, y, weight) -> float:
    return weighted([(-log_softmax(z[i])[y[i]], weight[i]) for i in range(len(y)) if y[i] != -1])


def plain_multilabel(z, a, weight) -> float:
    rows = []
    for i in range(len(a)):
        seen = [k for k in range(a.shape[1]) if not math.isnan(a[i, k])]
        if seen:
            each = [-a[i, k] * log_sigmoid(z[i, k]) - (1 - a[i, k]) * log_sigmoid(-z[i, k]) for k in seen]
            rows.append((mean(each), weight[i]))
    return weighted(rows)


def plain_soft_multiclass(z, q, weight) -> float:
    return weighted(
        [
            (-sum(w * v for w, v in zip(q[i], log_softmax(z[i]), strict=True)), weight[i])
            for i in range(len(q))
            if not np.isnan(q[i]).any()
        ]
    )


@given(batch=batches(), seed=st.integers(0, 2**32 - 1), weigh=st.booleans())
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "soft multiclass", "soft multilabel"])
def test_equal_to_plain_loops(kind, batch, seed, weigh):
    rng, (n, c) = np.random.default_rng(seed), batch.source_logits.shape
    gap = rng.random(n) < 0.3
    loss, plain, z, targets = {
        "multiclass": (multiclass_loss, plain_multiclass, batch.source_logits, batch.y),
        "multilabel": (
            multilabel_loss,
            plain_multilabel,
            batch.target_logits,
            np.where(rng.random(batch.target_logits.shape) < 0.3, np.nan, rng.integers(0, 2, (n, 1))),
        ),
        "soft multiclass": (
            soft_multiclass_loss,
            plain_soft_multiclass,
            batch.source_logits,
            np.where(gap[:, None], np.nan, rng.dirichlet(np.ones(c), n)),
        ),
        "soft multilabel": (
            soft_multilabel_loss,
            plain_multilabel,
            batch.target_logits,
            np.where(gap[:, None], np.nan, rng.random(batch.target_logits.shape)),
        ),
    }[kind]
    weight = rng.choice([0.0, 0.5, 2.0], n) if weigh else np.ones(n)
    expected = plain(z, targets, weight)
    for dtype, relative in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        value = loss(
            torch.tensor(z, dtype=dtype),
            torch.tensor(targets) if targets.dtype == np.int64 else torch.tensor(targets, dtype=dtype),
            sample_weight=torch.tensor(weight, dtype=dtype) if weigh else None,
        )
        assert value.item() == pytest.approx(expected, rel=relative, abs=1e-7)


@given(batch=batches())
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "soft multiclass"])
def test_gaps_have_exactly_no_gradient(task, batch):
    z = torch.tensor(batch.target_logits, dtype=torch.float32, requires_grad=True)
    n, k = z.shape
    rng = np.random.default_rng(n * k)
    if task == "multilabel":
        targets = torch.tensor(np.where(rng.random((n, k)) < 0.5, np.nan, rng.integers(0, 2, (n, k))))
        gaps, loss = torch.isnan(targets), multilabel_loss
    elif task == "multiclass":
        targets = torch.tensor(np.where(rng.random(n) < 0.5, -1, rng.integers(0, k, n)))
        gaps, loss = (targets == -1)[:, None].expand(n, k), multiclass_loss
    else:
        targets = torch.tensor(np.where(rng.random(n) < 0.5, np.nan, 1 / k))[:, None].expand(n, k)
        gaps, loss = torch.isnan(targets), soft_multiclass_loss
    value = loss(z, targets)
    value.backward()
    assert torch.isfinite(z.grad).all()
    assert not z.grad[gaps].any()
    moved = torch.where(gaps, torch.tensor(rng.uniform(-80, 80, (n, k)), dtype=z.dtype), z.detach())
    # A row's gap changes nothing; inside an annotated multiclass row there are no gaps.
    assert torch.equal(loss(moved, targets), value.detach())
    if gaps.all():
        assert value.item() == 0.0


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_sure_heads_cost_a_finite_amount(sign):
    z = torch.full((3, 2), 80.0 * sign, requires_grad=True)
    value = multilabel_loss(z, torch.tensor([[0.0, 1.0]] * 3))
    value.backward()
    assert value.item() == pytest.approx(40.0)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("extreme", [math.inf, -math.inf])
def test_what_lies_under_a_gap_may_be_infinite(extreme):
    z = torch.tensor([[0.0, extreme], [extreme, extreme]], requires_grad=True)
    value = multilabel_loss(z, torch.tensor([[1.0, math.nan], [math.nan, math.nan]]))
    value.backward()
    assert value.item() == pytest.approx(math.log(2))
    assert z.grad.tolist() == [[-0.5, 0.0], [0.0, 0.0]]
