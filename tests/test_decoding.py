from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

import concord as cc
from asserts import raises
from concord.decoding import Decoders
from concord.decoding.calibration import best_strength, row_loss, temperature
from concord.decoding.joint import (
    KNOWN_MASS,
    STRENGTHS,
    JointDecoder,
    decode_classes,
    decode_targets,
    implied,
)
from concord.errors import NoAnnotationError, NotFittedError, RangeError, ShapeError
from concord.relations.evidence import CLIP, FLOOR
from strategies import relations
from worlds import World, classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", MAKE)
strengths = st.sampled_from([0.0, 0.35, 1.0])
seeds = st.integers(0, 2**32 - 1)


def heads(relation: cc.Relation, seed: int, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(relation.source.width), n)
    k = relation.target.width
    return p, rng.dirichlet(np.ones(k), n) if relation.class_to_class else rng.random((n, k))


# -- plain loops ----------------------------------------------------------------------------------------


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def loop_targets(p: Any, q: Any, relation: cc.Relation, strength: float) -> np.ndarray:
    rates, out = relation.rates(), np.zeros_like(q)
    least = FLOOR / (relation.target.width if relation.class_to_class else 2)
    most = 1.0 if relation.class_to_class else 1 - least
    for i in range(len(q)):
        for k in range(relation.target.width):
            mass = value = 0.0
            for c in range(relation.source.width):
                if not np.isnan(relation.table[c, k]):
                    mass += p[i, c]
                    value += p[i, c] * relation.table[c, k]
            said = _clip(value / mass if mass > KNOWN_MASS else rates[k], least, most)
            rate = _clip(rates[k], least, most)
            if relation.class_to_class:
                out[i, k] = max(q[i, k], 1e-12) * exp(strength * mass * log(said / rate))
            else:
                mine = _clip(q[i, k], 1e-6, 1 - 1e-6)
                z = log(mine / (1 - mine))
                z += strength * mass * (log(said / (1 - said)) - log(rate / (1 - rate)))
                out[i, k] = 1 / (1 + exp(-z))
        if relation.class_to_class:
            out[i] /= out[i].sum()
    return out


def loop_classes(p: Any, q: Any, relation: cc.Relation, strength: float) -> np.ndarray:
    rates, out = relation.rates(), np.zeros_like(p)
    for i in range(len(p)):
        for c in range(relation.source.width):
            score, total = 0.0, 0.0
            for k in range(relation.target.width):
                cell = relation.table[c, k]
                if relation.class_to_class:
                    rate = max(
                        rates[k], CLIP / relation.source.width * np.nan_to_num(relation.table[:, k]).max()
                    )
                    ratio = 1.0 if np.isnan(cell) else max(cell / rate, CLIP) if cell else CLIP
                    total += q[i, k] * ratio
                elif not np.isnan(cell):
                    r, b = _clip(cell, CLIP, 1 - CLIP), _clip(rates[k], CLIP, 1 - CLIP)
                    score += log(q[i, k] * r / b + (1 - q[i, k]) * (1 - r) / (1 - b))
            if relation.class_to_class:
                score = log(max(total, 1e-12))
            out[i, c] = max(p[i, c], 1e-12) * exp(strength * score)
        out[i] /= out[i].sum()
    return out


@given(relations(), seeds, strengths)
def test_decoding_equals_plain_loops(relation: cc.Relation, seed: int, strength: float) -> None:
    p, q = heads(relation, seed)
    np.testing.assert_allclose(
        decode_targets(p, q, relation, strength), loop_targets(p, q, relation, strength), rtol=1e-6
    )
    np.testing.assert_allclose(
        decode_classes(p, q, relation, strength), loop_classes(p, q, relation, strength), rtol=1e-6
    )


@given(relations(), seeds)
def test_the_decoder_equals_plain_loops(relation: cc.Relation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = heads(relation, seed)
    decoder = JointDecoder(relation)
    decoder.target_strength, decoder.class_strength = rng.choice(STRENGTHS, 2)
    found_p, found_q = decoder.decode(p.tolist(), q.tolist())
    expected_p = loop_classes(p, q, relation, decoder.class_strength) if decoder.class_strength else p
    expected_q = loop_targets(p, q, relation, decoder.target_strength) if decoder.target_strength else q
    np.testing.assert_allclose(found_p, expected_p, rtol=1e-6)
    np.testing.assert_allclose(found_q, expected_q, rtol=1e-6)


# -- invariants -----------------------------------------------------------------------------------------


@given(relations(), seeds)
def test_permuting_classes_targets_and_rows_changes_nothing_but_order(
    relation: cc.Relation, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    p, q = heads(relation, seed)
    rows, classes = rng.permutation(len(p)), rng.permutation(relation.source.width)
    targets = rng.permutation(relation.target.width)
    moved = cc.Relation(
        cc.MulticlassTask(relation.source.name, [relation.source.outputs[c] for c in classes]),
        type(relation.target)(relation.target.name, [relation.target.outputs[k] for k in targets]),
        relation.table[classes][:, targets],
    )
    p2, q2 = p[rows][:, classes], q[rows][:, targets]
    np.testing.assert_allclose(
        decode_targets(p, q, relation)[rows][:, targets], decode_targets(p2, q2, moved), rtol=1e-7
    )
    np.testing.assert_allclose(
        decode_classes(p, q, relation)[rows][:, classes], decode_classes(p2, q2, moved), rtol=1e-7
    )


@given(relations(), seeds)
def test_an_unknown_table_moves_nothing_and_identical_rows_move_no_class(
    relation: cc.Relation, seed: int
) -> None:
    p, q = heads(relation, seed)
    blank = cc.Relation(relation.source, relation.target, np.full_like(relation.table, np.nan))
    np.testing.assert_allclose(decode_classes(p, q, blank), p, atol=1e-9)
    np.testing.assert_allclose(decode_targets(p, q, blank), np.clip(q, 1e-6, 1 - 1e-6), atol=1e-5)
    assert (implied(p, blank)[1] == 0).all()
    row = np.random.default_rng(seed).dirichlet(np.ones(relation.target.width))
    same = cc.Relation(relation.source, relation.target, np.tile(row, (relation.source.width, 1)))
    np.testing.assert_allclose(decode_classes(p, q, same), p, atol=1e-9)


# -- fitting --------------------------------------------------------------------------------------------


def _heads(world: World) -> tuple[np.ndarray, np.ndarray]:
    p = softmax(world.class_logits, axis=1)
    return p, softmax(world.target_logits, axis=1) if world.a.ndim == 1 else expit(world.target_logits)


@kinds
def test_a_right_relation_makes_both_heads_better_on_fresh_rows(kind: str) -> None:
    world = MAKE[kind](0, n=2000)
    relation = world.relation
    p, q = _heads(world)
    fit, held = slice(0, 1000), slice(1000, 2000)
    names = np.array(world.source.outputs, dtype=object)[world.y]
    decoder = JointDecoder(relation).fit(p[fit], q[fit], names[fit], world.a[fit])
    assert decoder.target_strength > 0
    assert decoder.class_strength > 0
    better_p, better_q = decoder.decode(p[held], q[held])
    is_class = relation.class_to_class
    assert row_loss(better_p, world.y[held], True).mean() < row_loss(p[held], world.y[held], True).mean()
    assert (
        row_loss(better_q, world.a[held], is_class).mean() < row_loss(q[held], world.a[held], is_class).mean()
    )
    np.testing.assert_allclose(better_p.sum(axis=1), 1.0)


@kinds
def test_a_relation_that_says_nothing_is_not_used(kind: str) -> None:
    world = MAKE[kind](1, n=1000, unrelated=True)
    p, q = _heads(world)
    wrong = cc.Relation(world.source, world.target, MAKE[kind](1).table)
    decoder = JointDecoder(wrong).fit(p, q, world.y, world.a)
    assert (decoder.target_strength, decoder.class_strength) == (0.0, 0.0)
    same_p, same_q = decoder.decode(p, q)
    np.testing.assert_array_equal(same_p, p)
    np.testing.assert_array_equal(same_q, q)


@kinds
def test_one_direction_is_fitted_where_only_one_task_is_annotated(kind: str) -> None:
    world = MAKE[kind](2, n=800)
    p, q = _heads(world)
    decoder = JointDecoder(world.relation).fit(p, q, y=world.y)
    assert decoder.class_strength > 0
    assert decoder.target_strength == 0
    decoder = JointDecoder(world.relation).fit(p, q, a=world.a)
    assert decoder.class_strength == 0
    assert decoder.target_strength > 0


def test_bad_probabilities_are_named() -> None:
    world = labels_world(0, n=20)
    p, q = _heads(world)
    decoder = JointDecoder(world.relation)
    with raises(NoAnnotationError, "annotated validation rows"):
        decoder.fit(p, q)
    with raises(ShapeError, "'kind'", "found (20, 4)"):
        decoder.decode(p[:, 1:], q)
    with raises(ShapeError, "'marks'"):
        decoder.decode(p, q[:3])
    for bad in (-0.1, 1.1, np.nan):
        with raises(RangeError, "'marks'", "[0, 1]"):
            decoder.decode(p, np.full_like(q, bad))
    with raises(RangeError, "'kind'", "each row sums to 1, found 0.5 in row 0"):
        decoder.decode(p / 2, q)
    with raises(ShapeError, "20 rows of predictions, but 5 of 'kind'"):
        decoder.fit(p, q, world.y[:5])
    with raises(ShapeError, "20 rows of predictions, but 5 of 'marks'"):
        decoder.fit(p, q, world.y, world.a[:5])
    with raises(NoAnnotationError, "annotated validation rows"):
        decoder.fit(p[:0], q[:0], world.y[:0])
    with raises(ShapeError, "(n, 5)"):
        decoder.decode(0.5, q)
    with raises(ShapeError, "needs a Relation, found ndarray"):
        JointDecoder(world.table)  # type: ignore[arg-type]


def test_nothing_is_decoded_before_a_fit_or_a_strength() -> None:
    world = labels_world(0, n=20)
    p, q = _heads(world)
    decoder = JointDecoder(world.relation)
    assert (decoder.target_strength, decoder.class_strength) == (0.0, 0.0)
    with raises(NotFittedError, "not fitted", "target_strength"):
        decoder.decode(p, q)
    decoder.class_strength = 0.0  # on purpose
    np.testing.assert_array_equal(decoder.decode(p, q)[0], p)
    for none, width in zip(decoder.decode(p[:0], q[:0]), (p.shape[1], q.shape[1]), strict=True):
        assert none.shape == (0, width)
    for bad in (-0.1, 7, np.nan):
        with raises(RangeError, "class_strength lies in [0, 1]"):
            decoder.class_strength = bad
        with raises(RangeError, "target_strength lies in [0, 1]"):
            decoder.target_strength = bad


def test_named_predictions_are_decoded_by_name() -> None:
    world = labels_world(0, n=20)
    p, q = _heads(world)
    decoder = JointDecoder(world.relation)
    decoder.target_strength = decoder.class_strength = 0.5
    named = pd.DataFrame(p, columns=world.source.outputs)[list(world.source.outputs[::-1])]
    for found, expected in zip(decoder.decode(named, q), decoder.decode(p, q), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_strength_must_gain_more_than_noise() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(50)
    assert best_strength({0.0: base, 0.5: base - 0.1, 1.0: base - 0.05}) == 0.5
    assert best_strength({0.0: base, 0.5: base + 0.1}) == 0.0
    assert best_strength({0.0: base, 0.5: base - rng.normal(0.01, 1.0, 50)}) == 0.0
    assert best_strength({0.0: base[:1], 0.5: base[:1] - 1}) == 0.0


@given(st.floats(-1.2, 1.2), seeds)
def test_temperature_is_found_again(log_scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (1500, 3))
    y = (rng.random(1500)[:, None] > np.cumsum(softmax(z, axis=1), axis=1)).sum(axis=1).clip(max=2)
    a = np.where(rng.random(z.shape) < 0.3, np.nan, (rng.random(z.shape) < expit(z)).astype(float))
    assert temperature(z / np.exp(log_scale), y, True) == pytest.approx(np.exp(log_scale), rel=0.2)
    assert temperature(z / np.exp(log_scale), a, False) == pytest.approx(np.exp(log_scale), rel=0.2)


def test_row_loss_ignores_gaps() -> None:
    q = np.array([[0.5, 0.9], [0.2, 0.4]])
    a = np.array([[1.0, np.nan], [0.0, 1.0]])
    expected = [-log(0.5), (-log(0.8) - log(0.4)) / 2]
    np.testing.assert_allclose(row_loss(q, a, False), expected)


@kinds
def test_strengths_count_groups(kind: str) -> None:
    """Twenty copies of a row are one row; groups of one row each change nothing."""
    fitted = []
    for seed in range(8):
        world = MAKE[kind](seed, n=30, unrelated=True)
        relation = cc.Relation(world.source, world.target, MAKE[kind](1).table)
        p, q = _heads(world)
        alone = JointDecoder(relation).fit(p, q, world.y, world.a)
        single = JointDecoder(relation).fit(p, q, world.y, world.a, groups=np.arange(len(p)))
        copies = np.repeat(np.arange(len(p)), 20)
        rows = (p[copies], q[copies], world.y[copies], world.a[copies])
        grouped = JointDecoder(relation).fit(*rows, groups=copies)
        counted = JointDecoder(relation).fit(*rows)
        strengths = [(d.target_strength, d.class_strength) for d in (alone, single, grouped, counted)]
        assert strengths[0] == strengths[1] == strengths[2]
        fitted.append(strengths[3] != strengths[0])
    assert any(fitted)  # counted row by row, copies prove what their rows do not


def test_groups_of_another_number_are_refused() -> None:
    world = labels_world(0, n=20)
    p, q = _heads(world)
    with raises(ShapeError, "groups has shape (20,), found (3,)"):
        JointDecoder(world.relation).fit(p, q, world.y, groups=[0, 1, 2])


@kinds
def test_a_fit_forgets_the_one_before(kind: str) -> None:
    world = MAKE[kind](2, n=300)
    p, q = _heads(world)
    both = JointDecoder(world.relation).fit(p, q, world.y, world.a)
    assert both.target_strength > 0 or both.class_strength > 0
    one, other = JointDecoder(world.relation), JointDecoder(world.relation)
    one.fit(p, q, world.y)
    other.fit(p, q, None, world.a)
    assert (one.target_strength, other.class_strength) == (0, 0)
    for fitted, truth in ((one, (world.y, None)), (other, (None, world.a))):
        again = JointDecoder(world.relation).fit(p, q, world.y, world.a).fit(p, q, *truth)
        strengths = (again.target_strength, again.class_strength)
        assert strengths == (fitted.target_strength, fitted.class_strength)
    with raises(ShapeError, "groups"):
        both.fit(p, q, world.y, groups=[0])
    assert both.target_strength > 0 or both.class_strength > 0  # a fit that is refused changes nothing


@kinds
def test_decoders_forget_the_fit_before(kind: str) -> None:
    world = MAKE[kind](2, n=300)
    source, target = world.source.name, world.target.name
    heads = dict(zip((source, target), _heads(world), strict=True))
    truth = {source: world.y, target: world.a}
    made = Decoders([world.relation]).fit(heads, truth)
    for name in truth:
        task = world.source if name == source else world.target
        less = {**truth, name: task.gaps(len(world.y))}
        assert made.fit(heads, less).strengths() == Decoders([world.relation]).fit(heads, less).strengths()
    before = made.fit(heads, truth).strengths()
    with raises(ShapeError, "groups"):
        made.fit(heads, truth, groups=[0])
    with pytest.raises(KeyError):
        made.fit({source: heads[source]}, truth)
    assert made.strengths() == before  # a fit that fails changes nothing
