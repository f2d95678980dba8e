"""`Relation.estimate`: known tables come back from full, partial and no overlap; intervals cover them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

import concord as cc
from asserts import raises
from concord.errors import NoAnnotationError, RangeError, ShapeError, UnknownNameError
from concord.estimation import calibrated
from concord.estimation.em import estimate_by_em
from concord.estimation.observations import observed

C, K = 4, 5
PET = cc.MulticlassTask("pet", [f"c{i}" for i in range(C)])
TRAIT = cc.MultilabelTask("trait", [f"l{k}" for k in range(K)])
KIND = cc.MulticlassTask("kind", [f"d{k}" for k in range(K)])


def world(seed, n=2000, overlap=0.0, sharpness=1.5, target=TRAIT):
    """Rows of classes with Gaussian features, whose exact class posterior is the head's prediction."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    if target is TRAIT:
        table = rng.uniform(0.05, 0.95, (C, K))
        a = (rng.random((n, K)) < table[y]).astype(float)
    else:
        table = rng.dirichlet(np.ones(K), C)
        a = np.array([rng.choice(K, p=table[c]) for c in y])
    x = sharpness * np.eye(C)[y] + rng.normal(size=(n, C))
    p = softmax(sharpness * x, axis=1)
    first, both = rng.random(n) < 0.5, rng.random(n) < overlap
    y = np.where(first | both, y, -1)
    gap = first & ~both
    a = np.where(gap, -1, a) if a.ndim == 1 else np.where(gap[:, None], np.nan, a)
    return table, y, a, p, p @ table


@pytest.mark.parametrize("target", [TRAIT, KIND])
@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_a_known_table_comes_back(target, overlap):
    table, y, a, p, q = world(0, overlap=overlap, target=target)
    found = cc.estimate_relation(PET, target, y, a, class_proba=p, target_proba=q)
    assert np.abs(found.table - table).mean() < 0.035
    assert np.abs(found.table - table).mean() < np.abs(found.rates() - table).mean() / 4
    assert found.prior == pytest.approx(np.full(C, 0.25), abs=0.05)


def test_intervals_cover_what_they_say():
    inside, wide = [], {0.5: [], 1.5: []}
    for sharpness, seeds in ((1.5, range(12)), (0.5, range(4))):
        for seed in seeds:
            table, y, a, p, q = world(seed, n=1000, sharpness=sharpness)
            low, high = cc.estimate_relation(
                PET, TRAIT, y, a, class_proba=p, target_proba=q, level=0.9
            ).interval
            wide[sharpness].append((high - low).mean())
            if sharpness == 1.5:
                inside.append((low <= table) & (table <= high))
    assert 0.84 < np.mean(inside) < 0.95
    assert np.mean(wide[0.5]) > 1.5 * np.mean(wide[1.5])  # a head that cannot tell classes apart


def test_predictions_tell_more_than_the_overlap_alone():
    errors = []
    for seed in range(4):
        table, y, a, p, q = world(seed, n=800, overlap=0.05)
        alone = cc.estimate_relation(PET, TRAIT, y, a)
        joined = cc.estimate_relation(PET, TRAIT, y, a, class_proba=p, target_proba=q)
        assert (joined.strength.sum(axis=0) > alone.strength.sum(axis=0)).all()
        errors.append([np.abs(found.table - table).mean() for found in (alone, joined)])
    alone, joined = np.mean(errors, axis=0)
    assert joined < 0.7 * alone


def test_without_predictions_it_is_the_co_annotated_estimate():
    _, y, a, _, _ = world(1, overlap=0.3)
    found = cc.estimate_relation(PET, TRAIT, y, a, pseudo_count=3, level=0.8)
    wanted = cc.Relation.from_annotations(PET, TRAIT, y, a, pseudo_count=3, level=0.8)
    np.testing.assert_array_equal(found.table, wanted.table)
    np.testing.assert_array_equal(found.interval, wanted.interval)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_with_every_row_co_annotated_both_ways_agree(seed):
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, C, 60), rng.integers(0, 2, (60, K)).astype(float)
    a[rng.random(a.shape) < 0.2] = np.nan
    a[0] = 1.0
    p = rng.dirichlet(np.ones(C), 60)
    weights = rng.integers(1, 4, 60)
    ways = [
        cc.estimate_relation(PET, TRAIT, y, a, class_proba=predicted, weights=weights, pseudo_count=2.0)
        for predicted in (None, p)
    ]
    np.testing.assert_allclose(ways[0].table, ways[1].table, atol=1e-9)
    repeated = np.repeat(np.arange(60), weights)
    again = cc.estimate_relation(PET, TRAIT, y[repeated], a[repeated], class_proba=p[repeated])
    np.testing.assert_allclose(again.table, ways[1].table, atol=1e-9)
    np.testing.assert_allclose(again.interval, ways[1].interval, atol=1e-9)


def test_order_of_rows_and_classes_changes_nothing_but_order():
    _, y, a, p, q = world(2, n=300)
    order, rows = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(300)
    other = cc.MulticlassTask("pet", [PET.classes[i] for i in order])
    found = cc.estimate_relation(PET, TRAIT, y, a, class_proba=p, target_proba=q)
    names = PET.decode(y)
    moved = cc.estimate_relation(
        other, TRAIT, names[rows], a[rows], class_proba=p[rows][:, order], target_proba=q[rows]
    )
    np.testing.assert_allclose(moved.table, found.table[order], atol=1e-9)
    np.testing.assert_allclose(moved.interval, found.interval[:, order], atol=1e-7)


def test_a_label_that_nobody_annotated_is_unknown():
    _, y, a, p, q = world(3, n=300)
    a[:, 2] = np.nan
    found = cc.estimate_relation(PET, TRAIT, y, a, class_proba=p, target_proba=q)
    assert found.known.all(axis=0).tolist() == [True, True, False, True, True]
    assert np.isnan(found.interval[:, :, 2]).all()


def test_neither_overlap_nor_predictions():
    _, y, a, p, q = world(4, n=50)
    with raises(
        NoAnnotationError,
        "no sample is annotated for both 'pet' and 'trait'",
        "class_proba and target_proba",
        "--features",
    ):
        cc.estimate_relation(PET, TRAIT, y, a)
    with raises(RangeError, "only together with class_proba"):
        cc.estimate_relation(PET, TRAIT, y, a, target_proba=q)
    with raises(NoAnnotationError, "no row is annotated for 'trait'"):
        cc.estimate_relation(PET, TRAIT, y, np.full_like(a, np.nan), class_proba=p)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"classes": [0]}, ShapeError, "1 rows of 'pet', but 50 of 'trait'"),
        ({"class_proba": np.ones((50, 3))}, ShapeError, "(50, 4), found (50, 3)"),
        (
            {"class_proba": np.full((50, 4), np.nan)},
            RangeError,
            "predictions of 'pet' are probabilities, all in [0, 1]",
        ),
        ({"class_proba": np.full((50, 4), 0.5)}, RangeError, "each row sums to 1"),
        ({"weights": np.zeros(50)}, RangeError, "not all 0"),
        ({"source": TRAIT, "target": PET}, ShapeError, "source and target are swapped"),
        ({"level": 1.0}, RangeError, "level"),
        ({"pseudo_count": 0.0}, RangeError, "weight of the prior"),
    ],
)
def test_bad_input_is_named(changes, error, said):
    _, y, a, p, q = world(5, n=50)
    with raises(error, said):
        cc.estimate_relation(
            **(
                {
                    "source": PET,
                    "target": TRAIT,
                    "classes": y,
                    "targets": a,
                    "class_proba": p,
                    "target_proba": q,
                }
                | changes
            )
        )


def test_named_predictions_are_taken_by_name():
    _, y, a, p, q = world(5, n=50)
    named = pd.DataFrame(p, columns=PET.classes)[list(PET.classes[::-1])]
    labels = pl.DataFrame(q, schema=list(TRAIT.labels)).select(TRAIT.labels[::-1])
    found = cc.estimate_relation(PET, TRAIT, y, a, class_proba=named, target_proba=labels)
    np.testing.assert_array_equal(
        found.table, cc.estimate_relation(PET, TRAIT, y, a, class_proba=p, target_proba=q).table
    )
    with raises(UnknownNameError, "predictions of 'pet'", "unknown column 'cow'"):
        cc.estimate_relation(PET, TRAIT, y, a, class_proba=named.rename(columns={"c0": "cow"}))


def test_estimation_knows_its_observations():
    _, y, a, p, _ = world(6, n=200)
    rows = observed(PET, TRAIT, y, a, p)
    np.testing.assert_array_equal(rows.target_proba[0], rows.base_rates())
    np.testing.assert_array_equal(
        estimate_by_em(calibrated(rows)).table, cc.estimate_relation(PET, TRAIT, y, a, class_proba=p).table
    )
