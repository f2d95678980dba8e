"""Evidence is one table of ratios, right for few and for 100,000 target classes, dense and sparse."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import concord as cc
from concord.couplings import PopulationMatching, View, relation_tensors
from concord.decoding import decode_classes, decode_targets
from concord.deploy.onnx import JointDecoding
from concord.estimation import Observations
from concord.estimation.em import free_estimate
from concord.relations.evidence import CLIP, EvidenceTable

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, classes: int, outputs: int, to_classes: bool) -> cc.Relation:
    """A relation with unknown cells, zeros, and a prior of which some class may have nothing."""
    rng = np.random.default_rng(seed)
    if to_classes:
        table = rng.dirichlet(np.full(outputs, 0.5), classes)
        table[(rng.random(table.shape) < 0.4) & (table < table.max(axis=1, keepdims=True))] = 0
        table /= table.sum(axis=1, keepdims=True)
        table[1:][rng.random(classes - 1) < 0.3] = np.nan
    else:
        table = np.where(
            rng.random((classes, outputs)) < 0.3, np.nan, rng.random((classes, outputs)).round(1)
        )
    prior = rng.dirichlet(np.ones(classes))
    if classes > 2 and rng.random() < 0.3:
        prior = np.append(0.0, prior[1:] / prior[1:].sum())
    return related(table, to_classes, prior)


def related(table, to_classes: bool = True, prior: np.ndarray | None = None) -> cc.Relation:
    return cc.Relation(
        cc.MulticlassTask("source", range(table.shape[0])),
        target_of(table.shape[1], to_classes),
        table,
        prior=prior,
    )


@cache
def target_of(width: int, to_classes: bool) -> cc.MulticlassTask | cc.MultilabelTask:
    return (cc.MulticlassTask if to_classes else cc.MultilabelTask)("target", range(width))


def stored(relation: cc.Relation) -> cc.Relation:
    """The same with a sparse table; from class to class without its zeros."""
    cells = np.nonzero(relation.known & ((relation.table > 0) | (not relation.class_to_class)))
    return relation.replace(
        table=sparse.csr_array((relation.table[cells], cells), shape=relation.table.shape)
    )


def annotated(seed: int, n: int, width: int, to_classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Present and annotated targets."""
    rng = np.random.default_rng(seed)
    if to_classes:
        seen = np.repeat(rng.random((n, 1)) < 0.8, width, axis=1).astype(float)
        return np.eye(width)[rng.integers(0, width, n)] * seen, seen
    seen = (rng.random((n, width)) < 0.7).astype(float)
    return seen * rng.integers(0, 2, (n, width)), seen


def predicted(seed: int, n: int, width: int, to_classes: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(width, 0.3), n) if to_classes else rng.random((n, width))


# -- what a ratio is ------------------------------------------------------------------------------------


def loop_ratio(relation: cc.Relation, c: int, k: int, present: bool) -> float:
    """Log-likelihood ratio of a target by the formulas, number by number."""
    cell, rate = relation.table[c, k], relation.rates()[k]
    if np.isnan(cell):
        return 0.0
    if not relation.class_to_class:
        r, pi = (min(max(v, 0.03), 0.97) for v in (cell, rate))
        return float(np.log(r / pi if present else (1 - r) / (1 - pi)))
    if not present:
        return 0.0
    others = [relation.table[i, k] for i in range(relation.source.width) if relation.known_rows[i]]
    rate = max(rate, 0.03 / relation.source.width * max(others))
    return float(np.log(max(cell / rate, 0.03) if rate > 0 else 0.03))


@settings(max_examples=60)
@given(seeds, st.integers(2, 5), st.integers(2, 6), st.booleans())
def test_annotations_are_worth_the_sum_of_their_ratios(seed, classes, outputs, to_classes):
    relation = drawn(seed, classes, outputs, to_classes)
    active, seen = annotated(seed, 4, outputs, to_classes)
    expected = [
        [
            sum(loop_ratio(relation, c, k, bool(active[i, k])) for k in range(outputs) if seen[i, k])
            for c in range(classes)
        ]
        for i in range(4)
    ]
    np.testing.assert_allclose(relation.evidence().of_annotations(active, seen), expected, atol=1e-12)


@given(seeds, st.integers(2, 5), st.integers(2, 6), st.booleans(), st.booleans())
def test_certain_predictions_are_worth_what_annotations_are(seed, classes, outputs, to_classes, thin):
    relation = drawn(seed, classes, outputs, to_classes)
    evidence = (stored(relation) if thin else relation).evidence()
    active, _ = annotated(seed, 6, outputs, to_classes)
    if to_classes:
        active[active.sum(axis=1) == 0, 0] = 1
    found = evidence.of_predictions(active)
    np.testing.assert_allclose(found, evidence.of_annotations(active, np.ones_like(active)), atol=1e-9)


@given(seeds, st.integers(2, 6), st.sampled_from([2, 5, 700, 5000]), st.booleans())
@settings(max_examples=30)
def test_stored_cells_say_what_all_cells_say(seed, classes, outputs, to_classes):
    relation = drawn(seed, classes, outputs, to_classes)
    dense, thin = relation.evidence(), stored(relation).evidence()
    marks, q = annotated(seed, 3, outputs, to_classes), predicted(seed, 3, outputs, to_classes)
    np.testing.assert_allclose(
        thin.of_annotations(*marks), dense.of_annotations(*marks), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(thin.of_predictions(q), dense.of_predictions(q), rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(2, 5), st.integers(2, 6), st.booleans(), st.booleans())
def test_the_order_of_classes_and_targets_does_not_matter(seed, classes, outputs, to_classes, thin):
    relation, rng = drawn(seed, classes, outputs, to_classes), np.random.default_rng(seed)
    rows, columns = rng.permutation(classes), rng.permutation(outputs)
    moved = related(relation.table[rows][:, columns], to_classes, relation.class_prior()[rows])
    if thin:
        relation, moved = stored(relation), stored(moved)
    active, seen = annotated(seed, 3, outputs, to_classes)
    q = predicted(seed, 3, outputs, to_classes)
    np.testing.assert_allclose(
        moved.evidence().of_annotations(active[:, columns], seen[:, columns]),
        relation.evidence().of_annotations(active, seen)[:, rows],
        atol=1e-9,
    )
    np.testing.assert_allclose(
        moved.evidence().of_predictions(q[:, columns]),
        relation.evidence().of_predictions(q)[:, rows],
        atol=1e-9,
    )


@given(seeds, st.sampled_from([2, 5, 5000]))
def test_a_row_that_repeats_the_base_rates_says_nothing_however_rare_a_class(seed, outputs):
    rates = np.random.default_rng(seed).dirichlet(np.full(outputs, 0.05))  # most of them next to 0
    relation = related(np.stack([rates, np.full(outputs, np.nan)]))
    evidence = relation.evidence().of_annotations(np.eye(outputs)[:50], np.ones((min(outputs, 50), outputs)))
    np.testing.assert_allclose(evidence[rates[:50] > 0], 0.0, atol=1e-12)


def test_a_rate_of_zero_next_to_a_cell_above_it_stays_bounded():
    relation = related(np.array([[0.2, 0.8], [0.0, 1.0], [0.0, 1.0]]), prior=np.array([0.0, 0.5, 0.5]))
    on = relation.evidence().on
    assert on[0, 0] == pytest.approx(np.log(3 / CLIP))
    np.testing.assert_allclose(on[1:, 0], np.log(CLIP))


# -- many target classes --------------------------------------------------------------------------------


def halves(width: int, thin: bool) -> cc.Relation:
    """Three classes: two that show one half each of all targets (or of the first 40), and one unknown."""
    some = 40 if thin else width
    values, columns = np.full(some, 2 / some), np.arange(some)
    table = sparse.csr_array((values, (columns // (some // 2), columns)), shape=(3, width))
    return related(table) if thin else related(table).dense()


MANY = [(8, False), (5000, False), (5000, True), (100_000, True)]


@pytest.mark.parametrize(("width", "thin"), MANY)
def test_a_class_without_a_known_row_keeps_its_share_among_many_targets(width, thin):
    relation = halves(width, thin)
    rates, p = relation.rates()[None], np.full((1, 3), 1 / 3)
    evidence = relation.evidence()
    one_hot = np.zeros((2, width))
    one_hot[[0, 1], [0, 39 if thin else width - 1]] = 1
    found = evidence.of_annotations(one_hot, np.ones_like(one_hot))
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found[:, :2], np.log([[2, CLIP], [CLIP, 2]]), atol=1e-9)
    # Predictions that say no more than the base rates move no class; clipped cells add half of CLIP at most.
    assert evidence.of_predictions(rates)[0, 2] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(decode_classes(p, rates, relation), p, atol=CLIP / 4)
    posterior = decode_classes(p, one_hot, relation)
    np.testing.assert_allclose(posterior, np.array([[2, CLIP, 1], [CLIP, 2, 1]]) / (3 + CLIP), atol=1e-6)


@pytest.mark.parametrize(("width", "thin"), MANY)
def test_classes_move_targets_among_many_as_among_few(width, thin):
    relation = halves(width, thin)
    p, q = np.array([[0.9, 0.0, 0.1]]), np.full((1, width), 1 / width)
    q = relation.rates()[None] if thin else q
    moved = decode_targets(p, q, relation)
    some = 40 if thin else width
    first, second = moved[0, : some // 2].sum(), moved[0, some // 2 : some].sum()
    least = 0.002 / width * (some if thin else width)
    assert first / second == pytest.approx((2 / least) ** 0.9, rel=1e-6)


@given(seeds, st.integers(2, 4), st.integers(2, 4), st.sampled_from([3, 1250]), st.booleans())
@settings(max_examples=25)
def test_target_classes_split_into_equal_parts_are_decoded_as_before(seed, classes, outputs, parts, thin):
    whole = drawn(seed, classes, outputs, True)
    split = related(np.repeat(whole.table, parts, axis=1) / parts, prior=whole.prior)
    if thin:
        whole, split = stored(whole), stored(split)
    p, q = predicted(seed, 3, classes, True), predicted(seed + 1, 3, outputs, True)
    fine = np.repeat(q, parts, axis=1) / parts
    np.testing.assert_allclose(decode_classes(p, fine, split), decode_classes(p, q, whole), atol=1e-9)
    summed = decode_targets(p, fine, split).reshape(3, outputs, parts).sum(axis=2)
    np.testing.assert_allclose(summed, decode_targets(p, q, whole), atol=1e-7)


# -- where it is multiplied -----------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "thin"), MANY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_couplings_multiply_by_the_same_numbers(width, thin, dtype):
    relation, a = halves(width, thin), np.array([0, width - 1, -1, 39 if thin else 3])
    logits = {"source": torch.zeros(4, 3, dtype=dtype), "target": torch.zeros(4, width, dtype=dtype)}
    view = View(logits, {"source": torch.full((4,), -1), "target": torch.from_numpy(a)}, relation)
    active = view.active.double().numpy()
    expected = relation.evidence().of_annotations(active, view.seen.double().numpy())
    np.testing.assert_allclose(view.evidence(), expected, rtol=1e-6, atol=1e-6)
    # What the class head implies stays a distribution: a clip that adds up would be one of its own.
    assert view.mixed()[0].sum(dim=1).numpy() == pytest.approx(np.ones(4), abs=0.003)


@given(seeds, st.integers(2, 4), st.integers(2, 5), st.booleans(), st.booleans())
def test_tensors_in_float32_say_what_numpy_says(seed, classes, outputs, to_classes, thin):
    relation = drawn(seed, classes, outputs, to_classes)
    relation = stored(relation) if thin else relation
    tensors = relation_tensors(relation, torch.zeros((), dtype=torch.float32))
    active, seen = annotated(seed, 4, outputs, to_classes)
    on, silent = torch.from_numpy(active).float(), torch.from_numpy(seen - active).float()
    found = on @ tensors.weight_present.T + silent @ tensors.weight_absent.T
    np.testing.assert_allclose(found, relation.evidence().of_annotations(active, seen), rtol=1e-5, atol=1e-5)


def test_population_matching_raises_target_classes_however_rare():
    width = 100_000  # a share of 1e-5 each, of which the head gives one half less than a millionth
    relation = related(sparse.csr_array(np.full((2, width), 1 / width)))
    z = torch.zeros(2, width, dtype=torch.float64)
    z[:, : width // 2] = -5.0
    z.requires_grad_()
    logits = {"source": torch.zeros(2, 2, dtype=torch.float64), "target": z}
    targets = {"source": torch.tensor([0, 1]), "target": torch.tensor([-1, -1])}
    PopulationMatching()(logits, targets, relation).backward()
    assert (z.grad[:, : width // 2] < 0).all()


@pytest.mark.parametrize(("width", "thin"), MANY)
def test_the_graph_decodes_as_the_decoder_does(width, thin):
    relation = halves(width, thin)
    decoder = cc.JointDecoder(relation)
    decoder.target_strength, decoder.class_strength = 0.5, 1.0
    p, q = predicted(0, 3, 3, True), np.concatenate([predicted(1, 2, width, True), relation.rates()[None]])
    heads = {"source": torch.from_numpy(p).float(), "target": torch.from_numpy(q).float()}
    found = JointDecoding(decoder)(heads, heads, heads)[0]
    for name, expected in zip(heads, decoder.decode(p, q), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)


# -- estimation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [4, 3000])
def test_a_head_that_repeats_the_base_rates_teaches_no_cell(width):
    rng = np.random.default_rng(0)
    n, hidden = 60, 200
    y = np.append(rng.integers(0, 2, n), rng.integers(0, 2, hidden))
    a = np.append(np.where(y[:n] == 0, 0, width - 1), np.full(hidden, -1))
    p = np.full((n + hidden, 2), 0.5)
    tasks = cc.MulticlassTask("source", range(2)), target_of(width, True)
    blank = Observations(*tasks, y, a, p, np.zeros((n + hidden, width)))
    told = Observations(*tasks, y, a, p, np.tile(blank.base_rates(), (n + hidden, 1)))
    alone = free_estimate(told.take(np.arange(n)))
    np.testing.assert_allclose(free_estimate(told), alone, atol=1e-3)


def test_evidence_of_an_unknown_table_is_nothing():
    table = np.full((3, 5000), np.nan)
    rates = np.full(5000, 1 / 5000)
    evidence = EvidenceTable.of(table, rates, True)
    assert not evidence.on.any()
    np.testing.assert_allclose(evidence.of_predictions(rates[None]), 0.0, atol=1e-12)
