"""A sparse relation says what its dense form says: values, gradients, evidence, decoding; or an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import concord as cc
from asserts import raises
from concord import couplings
from concord.auto import posterior as staging
from concord.couplings.base import View, relation_tensors
from concord.couplings.cells import Cells
from concord.decoding import joint as decoding
from concord.errors import DenseOnlyError, DuplicateNameError, RangeError, ShapeError
from concord.estimation.check import check_observations
from concord.estimation.observations import observed
from coupling_reference import CASES, LABEL_CASES
from strategies import Batch, batches, relations

EVERY = {name: coupling for name, (coupling, _) in (CASES | LABEL_CASES).items()}


def sparsened(relation: cc.Relation) -> cc.Relation:
    """The same relation with a sparse table; from class to class without its zeros."""
    known = relation.known & ((relation.table > 0) | (not relation.class_to_class))
    row, column = np.nonzero(known)
    cells = (relation.table[row, column], (row, column))
    return relation.replace(table=sparse.coo_array(cells, shape=relation.table.shape))


def close(first, second) -> None:
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-10)


@given(relations())
def test_it_says_what_the_dense_one_says(relation):
    other = sparsened(relation)
    assert other.sparse
    assert not relation.sparse
    assert relation.dense() is relation
    np.testing.assert_array_equal(other.dense().table, relation.table)
    close(other.rates(), relation.rates())
    np.testing.assert_array_equal(other.neutral, relation.neutral)
    np.testing.assert_array_equal(other.known_rows, relation.known_rows)
    assert other.uninformative(0.1) == relation.uninformative(0.1)
    for c in range(relation.source.width):
        np.testing.assert_array_equal(other.row(c), relation.row(c))
    np.testing.assert_array_equal(other.shuffled(3).dense().table, relation.shuffled(3).table)
    if not relation.class_to_class:
        np.testing.assert_array_equal(other.known.toarray(), relation.known)
        np.testing.assert_array_equal(other.binary.dense().table, relation.binary.table)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=25)
@given(batch=batches())
def test_couplings_agree_in_value_and_gradient(name, batch: Batch):
    if not EVERY[name].supports(batch.relation):
        return
    found = []
    for relation in (batch.relation, sparsened(batch.relation)):
        logits = batch.logits(grad=True)
        loss = EVERY[name](logits, batch.targets(), relation)
        gradients = torch.autograd.grad(
            loss, list(logits.values()), allow_unused=True, materialize_grads=True
        )
        found.append((loss.detach(), *gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["matching bernoulli", "population", "posterior"])
def test_blocks_of_classes_add_up(name, monkeypatch):
    monkeypatch.setattr("concord.couplings.cells.BLOCK", 2)
    test_couplings_agree_in_value_and_gradient.hypothesis.inner_test(name, large_batch())


def large_batch():
    rng = np.random.default_rng(0)
    table = np.where(rng.random((7, 3)) < 0.4, np.nan, rng.random((7, 3)))
    table[4:6] = np.nan  # a block without a cell
    relation = cc.Relation(
        cc.MulticlassTask("source", map(str, range(7))), cc.MultilabelTask("target", list("abc")), table
    )
    a = np.where(rng.random((9, 3)) < 0.5, np.nan, 1.0)
    return Batch(relation, rng.normal(size=(9, 7)), rng.normal(size=(9, 3)), rng.integers(-1, 7, 9), a)


@given(batch=batches(), strength=st.floats(0, 1))
def test_evidence_and_decoding_agree(batch, strength):
    dense, other = batch.relation, sparsened(batch.relation)
    seen = observed_rows(batch)
    close(other.evidence().of_annotations(*seen), dense.evidence().of_annotations(*seen))
    p = torch.tensor(batch.source_logits).softmax(dim=1).numpy()
    z = torch.tensor(batch.target_logits)
    q = (z.softmax(dim=1) if dense.class_to_class else z.sigmoid()).numpy()
    for decode in (decoding.decode_classes, decoding.decode_targets):
        close(decode(p, q, other, strength), decode(p, q, dense, strength))
    close(staging.posterior_targets(p, batch.a, other), staging.posterior_targets(p, batch.a, dense))


def observed_rows(batch):
    view = View(batch.logits(), batch.targets(), batch.relation)
    return view.active.numpy(), view.seen.numpy()


def pair(c=3, k=2):
    return cc.MulticlassTask("pet", map(str, range(c))), cc.MultilabelTask("trait", map(str, range(k)))


def test_one_table_of_cells_serves_training_after_predicting():
    relation = cc.Relation(*pair(), sparse.csr_array(np.array([[0.2, 0.9], [0.7, 0.0], [0.0, 0.4]])))
    z = {"pet": torch.zeros(1, 3, requires_grad=True), "trait": torch.ones(1, 2, requires_grad=True)}
    targets = {"pet": torch.tensor([-1]), "trait": torch.full((1, 2), torch.nan)}
    for coupling in (couplings.PopulationMatching(), couplings.DistributionMatching()):
        with torch.inference_mode():
            before = coupling(z, targets, relation)
        loss = coupling(z, targets, relation)
        loss.backward()
        assert loss.item() == before.item()
    assert z["trait"].grad.abs().sum() > 0


def test_the_matrices_share_one_structure_as_large_as_the_stored_cells():
    relation = cc.Relation(*pair(50_000, 1000), sparse.random_array((50_000, 1000), density=1e-5, rng=0))
    tensors = relation_tensors(relation, torch.zeros(1))
    tables = [t for t in vars(tensors).values() if isinstance(t, Cells)]
    assert len(tables) == 5
    assert {id(t.structure) for t in tables} == {id(tables[0].structure)}
    assert all(t.values.shape == (500,) for t in tables)
    assert relation.known.nnz == 500


def test_a_stored_nan_is_unknown_and_strengths_may_be_sparse():
    table = sparse.csr_array(([0.5, np.nan, 0.0], ([0, 1, 2], [0, 0, 1])), shape=(3, 2))
    relation = cc.Relation(*pair(), table, strength=sparse.csr_array(([4.0], ([0], [0])), shape=(3, 2)))
    assert relation.table.nnz == 2
    assert table.nnz == 3
    assert relation.neutral.tolist() == [False, False, True]
    assert relation.dense().strength[0, 0] == 4
    with pytest.raises(ValueError, match="read-only"):
        relation.table.data[0] = 1


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (sparse.coo_array(([0.5, 0.2], ([0, 0], [1, 1])), shape=(3, 2)), DuplicateNameError, "cell twice"),
        (sparse.csr_array((2, 3)), ShapeError, "shape (3, 2), found (2, 3)"),
        (sparse.csr_array(([1.5], ([0], [0])), shape=(3, 2)), RangeError, "found 1.5"),
    ],
)
def test_a_bad_sparse_table_is_refused(table, error, message):
    with raises(error, message):
        cc.Relation(*pair(), table)
    with raises(RangeError, "strengths are counts"):
        cc.Relation(*pair(), sparse.csr_array((3, 2)), strength=sparse.csr_array(-np.ones((3, 2))))


def test_rows_from_class_to_class_sum_to_one():
    coarse = cc.MulticlassTask("kind", ["a", "b", "c"])
    table = sparse.csr_array(np.array([[0.5, 0.5, 0], [0, 0.9, 0], [0, 0, 0]]))
    with raises(RangeError, "class '1' must sum to 1, found 0.9"):
        cc.Relation(pair()[0], coarse, table)


def test_what_needs_every_cell_says_so(tmp_path):
    relation = cc.Relation(*pair(), sparse.csr_array(np.eye(3, 2)))
    rows = observed(*pair(), [0, -1], [[np.nan] * 2, [1, 0]], np.full((2, 3), 1 / 3))
    for needy in (
        relation.indistinguishable,
        lambda: relation.to_csv(tmp_path / "t.csv"),
        lambda: check_observations(rows, relation),
    ):
        with raises(DenseOnlyError, "needs all 3 x 2 cells, but the table is sparse; call dense()"):
            needy()
    assert check_observations(rows, relation.dense()).verdict == "undecided"


@pytest.mark.parametrize("coupling", ["posterior", "matching"])
def test_a_classifier_takes_it_and_learns_the_same(coupling):
    rng = np.random.default_rng(0)
    pet, trait = pair()
    table = np.array([[0.9, np.nan], [0.1, 0.8], [np.nan, 0.3]])
    x, y, a = rng.normal(size=(40, 3)), rng.integers(0, 3, 40), rng.integers(0, 2, (40, 2)).astype(float)
    y[20:], a[:20] = -1, np.nan
    dense = cc.Relation(pet, trait, table)
    said = [
        cc.CoupledClassifier([pet, trait], [relation], coupling, hidden=(8,), steps=5, random_state=0)
        .fit(x, {"pet": y, "trait": a})
        .predict_proba(x)
        for relation in (dense, sparsened(dense))
    ]
    for name in ("pet", "trait"):
        np.testing.assert_allclose(said[0][name], said[1][name], atol=1e-5)
    automatic = cc.CoupledClassifier([pet, trait], [sparsened(dense)], random_state=0)
    with raises(DenseOnlyError, 'coupling="auto"', "call dense()"):
        automatic.fit(x, {"pet": y, "trait": a})


def test_a_task_of_many_classes():
    task = cc.MulticlassTask("identity", map(str, range(100_000)))
    assert task.encode(["99999", None]).tolist() == [99_999, -1]
