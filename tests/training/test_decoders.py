"""Joint decoding through several relations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

import concord as cc
from concord.decoding.decoders import Decoders
from concord.errors import CheckpointError

A = cc.MulticlassTask("a", ["a0", "a1", "a2"])
B = cc.MulticlassTask("b", ["b0", "b1"])
L = cc.MultilabelTask("l", ["l0", "l1", "l2"])
TO_LABELS = cc.Relation(A, L, [[0.95, 0.05, np.nan], [0.05, 0.95, np.nan], [0.9, 0.9, np.nan]])
TO_CLASSES = cc.Relation(A, B, [[1, 0], [1, 0], [0, 1]])


def world(n=400, seed=0):
    """Truth, and heads of which each knows something that the others do not."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    b = (y == 2).astype(int)
    labels = (rng.random((n, 3)) < np.nan_to_num(TO_LABELS.table[y], nan=0.5)).astype(float)
    heads = {
        "a": softmax(1.5 * np.eye(3)[y] + rng.normal(size=(n, 3)), axis=1),
        "b": softmax(1.0 * np.eye(2)[b] + rng.normal(size=(n, 2)), axis=1),
        "l": 1 / (1 + np.exp(-(3 * labels - 1.5 + rng.normal(size=(n, 3))))),
    }
    return {"a": y, "b": b, "l": labels}, heads


def accuracy(y, p):
    return (p.argmax(axis=1) == y).mean()


def test_every_task_gains_from_what_the_others_know():
    decoders = Decoders([TO_LABELS, TO_CLASSES]).fit(*reversed(world()))
    targets, heads = world(seed=1)
    joint = decoders.decode(heads)
    assert accuracy(targets["a"], joint["a"]) > accuracy(targets["a"], heads["a"]) + 0.02
    assert accuracy(targets["b"], joint["b"]) > accuracy(targets["b"], heads["b"]) + 0.02
    for task in ("a", "b"):
        np.testing.assert_allclose(joint[task].sum(axis=1), 1)
    strengths = decoders.strengths()
    assert set(strengths) == {"a->l", "a->b"}
    assert all(0 <= s <= 1 for each in strengths.values() for s in each.values())


def test_one_relation_is_the_joint_decoder_itself():
    targets, heads = world()
    decoders = Decoders([TO_LABELS]).fit(heads, targets)
    alone = cc.JointDecoder(TO_LABELS).fit(heads["a"], heads["l"], targets["a"], targets["l"])
    assert decoders.strengths()["a->l"] == {"target": alone.target_strength, "class": alone.class_strength}
    joint, (p, q) = decoders.decode(heads), alone.decode(heads["a"], heads["l"])
    np.testing.assert_allclose(joint["a"], p)
    np.testing.assert_allclose(joint["l"], q)
    np.testing.assert_array_equal(joint["b"], heads["b"])


def test_a_direction_without_annotated_rows_is_left_out():
    targets, heads = world()
    targets["l"][:] = np.nan
    strengths = Decoders([TO_LABELS]).fit(heads, targets).strengths()["a->l"]
    assert strengths["target"] == 0
    assert strengths["class"] > 0
    targets["a"][:] = -1
    assert Decoders([TO_LABELS]).fit(heads, targets).strengths() == {"a->l": {"target": 0, "class": 0}}


def test_strengths_can_be_kept():
    targets, heads = world()
    fitted = Decoders([TO_LABELS, TO_CLASSES]).fit(heads, targets)
    again = Decoders([TO_LABELS, TO_CLASSES])
    again.set_strengths(fitted.strengths())
    for task, p in fitted.decode(heads).items():
        np.testing.assert_array_equal(again.decode(heads)[task], p)
    with pytest.raises(CheckpointError, match="strengths of relations a->l, a->b, not of a->l"):
        Decoders([TO_LABELS]).set_strengths(fitted.strengths())


def test_disagreement_is_none_where_the_heads_agree_and_large_where_they_do_not():
    p = np.array([[1.0, 0, 0], [1.0, 0, 0]])
    heads = {"a": p, "l": np.array([[0.95, 0.05, 0.3], [0.05, 0.95, 0.3]]), "b": np.array([[1.0, 0], [0, 1]])}
    found = Decoders([TO_LABELS, TO_CLASSES]).disagreement(heads)
    np.testing.assert_allclose(found["a->l"], [0, 0.9])
    np.testing.assert_allclose(found["a->b"], [0, 1], atol=2e-3)


def test_a_relation_that_knows_nothing_disagrees_with_nothing():
    blank = cc.Relation(A, L, np.full((3, 3), np.nan))
    _, heads = world(5)
    assert Decoders([blank]).disagreement(heads)["a->l"].tolist() == [0] * 5
