"""What holds of every coupling: equivariance, indifference to gaps, finiteness, silence of unknown tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import concord as cc
from asserts import raises
from concord import couplings
from concord.couplings.base import View
from concord.couplings.posterior import class_posterior
from concord.errors import RangeError, UnknownNameError
from coupling_reference import CASES, LABEL_CASES
from strategies import Batch, batches

EVERY = {name: coupling for name, (coupling, _) in (CASES | LABEL_CASES).items()}
CO_ANNOTATION = [name for name in EVERY if not name.startswith(("matching", "population"))]
"""Couplings that read annotations; the others compare the two heads on every sample."""


def values_and_gradients(coupling, batch: Batch, dtype: str = "float64"):
    logits = batch.logits(dtype, grad=True)
    loss = coupling(logits, batch.targets(), batch.relation)
    gradients = torch.autograd.grad(loss, list(logits.values()), allow_unused=True, materialize_grads=True)
    return loss.detach(), *gradients


def same(first, second) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def reordered(batch: Batch, classes=None, labels=None, rows=None) -> Batch:
    """The same batch with its classes, labels (or target classes) and rows in another order."""
    relation, n = batch.relation, len(batch.y)
    classes = np.arange(relation.source.width) if classes is None else np.asarray(classes)
    labels = np.arange(relation.target.width) if labels is None else np.asarray(labels)
    rows = np.arange(n) if rows is None else np.asarray(rows)
    source = cc.MulticlassTask("source", [relation.source.classes[i] for i in classes])
    target = type(relation.target)("target", [relation.target.outputs[i] for i in labels])

    def index(targets, order):
        return np.append(np.argsort(order), -1)[targets]  # a gap (-1) stays one

    a = index(batch.a, labels) if relation.class_to_class else batch.a[:, labels]
    return Batch(
        cc.Relation(
            source,
            target,
            relation.table[classes][:, labels],
            prior=None if relation.prior is None else relation.prior[classes],
        ),
        batch.source_logits[rows][:, classes],
        batch.target_logits[rows][:, labels],
        index(batch.y, classes)[rows],
        a[rows],
    )


@pytest.mark.parametrize("name", EVERY)
@given(batch=batches(), data=st.data())
def test_equivariant_to_the_order_of_classes_labels_and_rows(name, batch, data):
    c, k = batch.relation.table.shape
    classes, labels, rows = (
        data.draw(st.permutations(range(size)), label=what)
        for what, size in (("classes", c), ("labels", k), ("rows", len(batch.y)))
    )
    loss, dz, dt = values_and_gradients(EVERY[name], batch)
    moved = values_and_gradients(EVERY[name], reordered(batch, classes, labels, rows))
    same(moved, (loss, dz[rows][:, classes], dt[rows][:, labels]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", EVERY)
@given(batch=batches(), seed=st.integers(0, 2**32 - 1), logit=st.sampled_from([80.0, 5.0, 0.0]))
def test_finite_for_certain_tables_and_sure_heads(name, dtype, batch, seed, logit):
    rng = np.random.default_rng(seed)
    batch = replace(
        batch,
        relation=batch.relation if batch.relation.class_to_class else certain(batch.relation),
        source_logits=rng.choice([-logit, logit], batch.source_logits.shape),
        target_logits=rng.choice([-logit, logit], batch.target_logits.shape),
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        loss, *gradients = values_and_gradients(EVERY[name], batch, dtype)
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(value).all() for value in (loss, *gradients))


def certain(relation: cc.Relation) -> cc.Relation:
    return relation.replace(table=np.round(relation.table))


@given(batch=batches(), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", CO_ANNOTATION)
def test_rows_without_annotation_move_no_co_annotation(name, batch, seed):
    target_known = batch.a != -1 if batch.relation.class_to_class else ~np.isnan(batch.a).all(axis=1)
    empty = (batch.y == -1) & ~target_known
    assume(empty.any())
    rng = np.random.default_rng(seed)
    other = replace(
        batch,
        source_logits=np.where(
            empty[:, None], rng.uniform(-80, 80, batch.source_logits.shape), batch.source_logits
        ),
        target_logits=np.where(
            empty[:, None], rng.uniform(-80, 80, batch.target_logits.shape), batch.target_logits
        ),
    )
    loss, dz, dt = values_and_gradients(EVERY[name], batch)
    moved = values_and_gradients(EVERY[name], other)
    assert all(torch.equal(one, two) for one, two in zip((loss, dz, dt), moved, strict=True))
    assert not dz[empty].any()
    assert not dt[empty].any()


@given(batch=batches())
@pytest.mark.parametrize("name", ["posterior", "marginal", "coannotation soft-target absent-share"])
def test_targets_of_the_class_head_move_no_label_head(name, batch):
    _, _, dt = values_and_gradients(EVERY[name], batch)
    assert not dt.any()


@pytest.mark.parametrize("name", CO_ANNOTATION)
@pytest.mark.parametrize("class_to_class", [False, True])
@given(data=st.data())
def test_no_annotation_is_exactly_nothing_with_both_heads_in_the_graph(name, class_to_class, data):
    batch = data.draw(batches(class_to_class=class_to_class))
    batch = replace(
        batch,
        y=np.full_like(batch.y, -1),
        a=np.full_like(batch.a, -1 if class_to_class else np.nan),
    )
    logits = batch.logits(grad=True)
    objective = cc.CoupledObjective(
        [batch.relation.source, batch.relation.target], [batch.relation], [EVERY[name]]
    )
    objective(logits, batch.targets()).loss.backward()
    loss = objective(logits, batch.targets()).loss
    assert loss.item() == 0.0
    for z in logits.values():
        assert z.grad is not None
        assert not z.grad.any()


@pytest.mark.parametrize("name", EVERY)
@given(batch=batches())
def test_a_table_that_nobody_knows_says_nothing(name, batch):
    table = np.full(batch.relation.table.shape, np.nan)
    batch = replace(batch, relation=batch.relation.replace(table=table))
    loss, dz, dt = values_and_gradients(EVERY[name], batch)
    assert abs(loss.item()) < 1e-12
    assert dz.abs().max() < 1e-12
    assert not dt.any()


@pytest.mark.parametrize("name", [n for n in EVERY if n.startswith("matching")])
@given(batch=batches(unknown=False), data=st.data())
def test_the_class_head_gains_nothing_by_fleeing_into_an_unknown_class(name, batch, data):
    table = batch.relation.table.copy()
    unknown = data.draw(st.integers(0, len(table) - 1))
    table[unknown] = np.nan
    batch = replace(batch, relation=batch.relation.replace(table=table))
    _, dz, _ = values_and_gradients(EVERY[name], batch)
    assert dz[:, unknown].abs().max() < 1e-9


@given(batch=batches(unknown=False), data=st.data())
def test_equal_rows_change_no_class_posterior(batch, data):
    row = data.draw(st.integers(0, batch.relation.source.width - 1))
    table = np.broadcast_to(batch.relation.table[row], batch.relation.table.shape)
    batch = replace(batch, relation=batch.relation.replace(table=table))
    view = View(batch.logits(), batch.targets(), batch.relation)
    prior = torch.tensor(np.maximum(batch.relation.class_prior(), 1e-6))
    torch.testing.assert_close(
        class_posterior(view), (prior / prior.sum()).expand(len(batch.y), -1), rtol=1e-6, atol=1e-9
    )
    _, dz, _ = values_and_gradients(couplings.MarginalLikelihood(), batch)
    assert dz.abs().max() < 1e-9


@given(batch=batches())
def test_evidence_exponent_zero_leaves_the_prior(batch):
    view = View(batch.logits(), batch.targets(), batch.relation)
    torch.testing.assert_close(
        class_posterior(view, 0.0), view.tensors.log_prior.exp().expand(len(batch.y), -1)
    )


@pytest.mark.parametrize("name", [n for n in EVERY if n != "population"])
@given(batch=batches(), times=st.integers(2, 3))
def test_every_row_many_times_is_the_batch_itself(name, batch, times):
    many = reordered(batch, rows=np.tile(np.arange(len(batch.y)), times))
    loss, *_ = values_and_gradients(EVERY[name], batch)
    again, *_ = values_and_gradients(EVERY[name], many)
    same([loss], [again])


@pytest.mark.parametrize("form", ["paper", "bernoulli", "class-mean", "both", "jensen-shannon"])
@given(batch=batches())
def test_detached_heads_get_no_gradient_and_change_no_value(form, batch):
    free, dz, dt = values_and_gradients(couplings.DistributionMatching(form), batch)
    held, no_dz, same_dt = values_and_gradients(couplings.DistributionMatching(form, detach="source"), batch)
    also, same_dz, no_dt = values_and_gradients(couplings.DistributionMatching(form, detach="target"), batch)
    same((held, also, same_dz, same_dt), (free, free, dz, dt))
    assert not no_dz.any()
    assert not no_dt.any()


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return out


@pytest.mark.parametrize("class_to_class", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_no_tensor_over_rows_classes_and_labels_at_once(name, class_to_class):
    n, c, k = 11, 13, 17
    rng = np.random.default_rng(0)
    source = cc.MulticlassTask("source", range(c))
    table = rng.dirichlet(np.ones(k), c) if class_to_class else rng.random((c, k))
    target = (cc.MulticlassTask if class_to_class else cc.MultilabelTask)("target", range(k))
    batch = Batch(
        cc.Relation(source, target, table),
        rng.normal(size=(n, c)),
        rng.normal(size=(n, k)),
        rng.integers(-1, c, n),
        rng.integers(-1, k, n) if class_to_class else rng.integers(0, 2, (n, k)).astype(float),
    )
    with Largest() as largest:
        values_and_gradients(EVERY[name], batch)
    assert c * k <= largest.elements <= 2 * c * k < n * c * k


@pytest.mark.parametrize("name", EVERY)
def test_heads_of_different_precision_meet_in_the_wider_one(name):
    relation = cc.tables.expressions()
    logits = {"expression": torch.randn(3, 7), "action_units": torch.randn(3, 17, dtype=torch.float64)}
    targets = {
        "expression": torch.tensor([1, -1, -1]),
        "action_units": torch.tensor([[float("nan")] * 17, [1.0] * 17, [0.0] * 17]),
    }
    loss = EVERY[name](logits, targets, relation)
    assert loss.dtype == torch.float64
    wide = {name: z.double() for name, z in logits.items()}
    torch.testing.assert_close(loss, EVERY[name](wide, targets, relation))


def test_a_relation_first_used_for_prediction_serves_in_training():
    relation = cc.tables.expressions()
    logits = {"expression": torch.zeros(1, 7, requires_grad=True), "action_units": torch.zeros(1, 17)}
    targets = {"expression": torch.tensor([-1]), "action_units": torch.ones(1, 17)}
    with torch.inference_mode():
        couplings.DistributionMatching()(logits, targets, relation)
    couplings.DistributionMatching()(logits, targets, relation).backward()
    assert logits["expression"].grad is not None


def test_running_sums_are_part_of_the_state():
    relation = cc.tables.expressions()
    logits = {"expression": torch.randn(5, 7), "action_units": torch.randn(5, 17)}
    targets = {"expression": torch.full((5,), -1), "action_units": torch.full((5, 17), float("nan"))}
    first = couplings.PopulationMatching(momentum=0.9)
    for _ in range(3):
        first(logits, targets, relation)
    second = couplings.PopulationMatching(momentum=0.9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(logits, targets, relation), second(logits, targets, relation))
    kept = {name: (a.double(), b.double()) for name, (a, b) in first.get_extra_state().items()}
    second.set_extra_state(kept)  # of a training in another precision, or on another device
    assert second(logits, targets, relation).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: couplings.DistributionMatching("bernouli"), UnknownNameError, "'bernoulli'"),
        (lambda: couplings.DistributionMatching(cells="binari"), UnknownNameError, "'binary'"),
        (lambda: couplings.DistributionMatching(detach="sourc"), UnknownNameError, "'source'"),
        (lambda: couplings.SoftCoannotation("soft"), UnknownNameError, "soft-target"),
        (lambda: couplings.SoftCoannotation(neutral="naiv"), UnknownNameError, "'naive'"),
        (lambda: couplings.SoftCoannotation(temperature=0), RangeError, ">= 1e-06"),
        (lambda: couplings.SoftCoannotation(temperature=1e-40), RangeError, "1e-40"),
        (lambda: couplings.SoftCoannotation(temperature=float("inf")), RangeError, "finite"),
        (lambda: couplings.ClassToLabels(weight="1"), RangeError, "a weight is finite"),
        (lambda: couplings.make_couplings("posterior", "2"), RangeError, "a weight is a number"),
        (lambda: couplings.SoftCoannotation(temperature=float("nan")), RangeError, "nan"),
        (lambda: couplings.PosteriorCoannotation(1.5), RangeError, "1.5"),
        (lambda: couplings.MarginalLikelihood(-0.1), RangeError, "-0.1"),
        (lambda: couplings.PopulationMatching(momentum=1.0), RangeError, "[0, 1)"),
        (lambda: couplings.ClassToLabels(weight=-1), RangeError, "-1"),
        (lambda: couplings.HardCoannotation(weight=float("inf")), RangeError, "inf"),
    ],
)
def test_options_out_of_range_are_named(make, kind, said):
    with raises(kind, said):
        make()


@pytest.mark.parametrize("kind", ["logits", "targets"])
@pytest.mark.parametrize("name", ["expression", "action_units"])
def test_a_coupling_names_the_task_it_misses(kind, name):
    given = {
        "logits": {"expression": torch.zeros(1, 7), "action_units": torch.zeros(1, 17)},
        "targets": {"expression": torch.tensor([0]), "action_units": torch.zeros(1, 17)},
    }
    del given[kind][name]
    with raises(UnknownNameError, kind, name):
        couplings.PosteriorCoannotation()(given["logits"], given["targets"], cc.tables.expressions())


def test_options_are_printed():
    printed = {repr(coupling) for coupling in EVERY.values()}
    assert len(printed) == len(EVERY)
    assert "DistributionMatching(form='paper', cells='weighted', detach=None, weight=1)" in printed
