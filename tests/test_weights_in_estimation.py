"""A weight is how many samples a row counts for: none at 0, and a share of every mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.errors import NoAnnotationError
from concord.estimation import (
    FoldPredictions,
    Observations,
    RelationCheck,
    calibrated,
    check_observations,
    estimate_by_em,
    fit_exponent,
)
from concord.estimation.agreement import FEWEST, Evidence, cross_fitted
from concord.estimation.contradictions import Judged, leave_one_label_out
from concord.estimation.relatedness import Skill, class_direction, class_skill, not_surpassed, target_skill
from concord.metrics import standard_error
from worlds import World, classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", list(MAKE))


def misled(world: World, seed: int) -> tuple[Observations, np.ndarray]:
    """The rows, and 200 copies of some that have other annotations than they should; which are which."""
    rng = np.random.default_rng([seed, 1])
    rows = world.observations(overlap=0.2)
    n = len(rows.classes)
    wrong = rows.take(rng.integers(0, n, 200))
    wrong = replace(
        wrong,
        classes=np.where(wrong.classes < 0, -1, rng.integers(0, world.source.width, 200)),
        targets=wrong.targets[::-1] if rows.class_to_class else 1 - wrong.targets,
    )
    names = ("classes", "targets", "class_proba", "target_proba")
    both = Observations(
        rows.source,
        rows.target,
        *(np.concatenate([getattr(part, name) for part in (rows, wrong)]) for name in names),
    )
    order = rng.permutation(n + 200)
    return both.take(order), order < n


def same(first: RelationCheck, second: RelationCheck) -> None:
    """Everything that a check says, to the bit."""
    assert (first.verdict, first.exponent) == (second.verdict, second.exponent)
    np.testing.assert_equal(first.trust, second.trust)
    for name in ("evidence", "reverse", "skill", "target_skill", "contradictions"):
        assert getattr(first, name) == getattr(second, name)
    for name in ("table", "base_rate", "prior"):
        np.testing.assert_array_equal(getattr(first.relation, name), getattr(second.relation, name))
    for name in ("table", "interval", "strength", "prior"):
        np.testing.assert_array_equal(getattr(first.estimate, name), getattr(second.estimate, name))


def arrays(rows: Observations, weights: np.ndarray | None, groups: np.ndarray | None = None) -> dict:
    return {
        "classes": rows.classes,
        "targets": rows.targets,
        "class_proba": rows.class_proba,
        "weights": weights,
        "groups": groups,
    }


@kinds
@pytest.mark.parametrize("supplied", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_rows_of_weight_0_are_as_good_as_dropped(kind: str, supplied: bool, grouped: bool) -> None:
    for seed in range(2):
        world = MAKE[kind](seed, n=260)
        rows, right = misled(world, seed)
        n = len(right)
        rng = np.random.default_rng(seed)
        weights = right * rng.choice([0.5, 1.0, 3.0], n)
        # In every group but a few there are rows that count, and such that do not.
        groups = rng.integers(0, 120, n) if grouped else None
        kept = None if groups is None else groups[right]
        about = world.relation if supplied else (world.source, world.target)
        for q in (None, rows.target_proba):
            at_0 = cc.check_relation(about, **arrays(rows, weights, groups), target_proba=q)
            some = arrays(rows.take(right), weights[right], kept)
            dropped = cc.check_relation(about, **some, target_proba=None if q is None else q[right])
            same(at_0, dropped)
            estimates = [
                cc.estimate_relation(world.source, world.target, **each, target_proba=p)
                for each, p in (
                    (arrays(rows, weights, groups), q),
                    (some, None if q is None else q[right]),
                )
            ]
            for name in ("table", "interval", "strength"):
                np.testing.assert_array_equal(*(getattr(found, name) for found in estimates))


@kinds
def test_rows_of_weight_0_judge_nothing_by_predictions_of_folds_either(kind: str) -> None:
    world = MAKE[kind](2, n=260)
    rows, right = misled(world, 2)
    n = len(right)
    rows = replace(rows, weight=right * 1.0, group=np.random.default_rng(0).integers(0, 150, n))
    p = np.stack([np.roll(rows.class_proba, k, axis=0) * 0.1 + rows.class_proba * 0.9 for k in range(3)])
    folds = FoldPredictions(np.arange(n) % 4 - 1, p, rows.target_proba)
    some = FoldPredictions(folds.fold[right], p[:, right], rows.target_proba[right])
    same(
        check_observations(calibrated(rows), world.relation, folds),
        check_observations(calibrated(rows.take(right)), world.relation, some),
    )
    assert fit_exponent(rows, world.table) == fit_exponent(rows.take(right), world.table)
    np.testing.assert_array_equal(estimate_by_em(rows).interval, estimate_by_em(rows.take(right)).interval)


def judged(
    rows: Observations, world: World, folds: FoldPredictions
) -> tuple[list[Evidence | Skill], list[bool]]:
    """What rows say of tables that are not made of them."""
    rates = world.observations().base_rates()
    turned = world.table[::-1]
    found: list[Evidence | Skill] = [
        fit_exponent(rows, world.table, rates),
        fit_exponent(rows, turned, rates),
        cross_fitted(rows, lambda _: world.table, rates),
        class_direction(rows, lambda _: world.table, rates),
        class_direction(rows, lambda _: world.table, rates, folds),
        class_skill(rows),
        class_skill(rows, folds),
        target_skill(rows),
        target_skill(rows, folds),
    ]
    right, wrong = (lambda _: world.table), (lambda _: turned)
    ahead = [
        not_surpassed(rows, one, [other], rates, folds) for one, other in ((right, wrong), (wrong, right))
    ]
    return found, ahead


@kinds
@pytest.mark.parametrize("grouped", [False, True])
def test_a_common_factor_on_all_weights_changes_nothing_of_what_is_judged(kind: str, grouped: bool) -> None:
    world = MAKE[kind](3, n=240)
    rng = np.random.default_rng(3)
    n = 240
    rows = replace(
        world.observations(overlap=0.3),
        weight=rng.choice([0.2, 1.0, 5.0], n),
        group=rng.integers(0, 90, n) if grouped else None,
    )
    p = rows.class_proba
    folds = FoldPredictions(np.arange(n) % 3, np.stack([p, p[::-1] * 0.1 + p * 0.9, p]), rows.target_proba)
    once, ahead = judged(rows, world, folds)
    for factor in (1e-3, 7.0):
        again, still = judged(replace(rows, weight=factor * rows.weights), world, folds)
        assert still == ahead
        for one, other in zip(once, again, strict=True):
            np.testing.assert_allclose(list(vars(one).values()), list(vars(other).values()), rtol=1e-9)
    even, _ = judged(replace(rows, weight=None), world, folds)
    alike, _ = judged(replace(rows, weight=np.full(n, 3.0)), world, folds)
    assert even == alike
    assert all(one != other for one, other in zip(once, even, strict=True) if isinstance(one, Skill))


@kinds
@pytest.mark.parametrize("grouped", [False, True])
def test_no_weights_are_weights_of_one(kind: str, grouped: bool) -> None:
    world = MAKE[kind](4, n=240)
    rows = world.observations(overlap=0.3)
    groups = np.arange(240) // 3 if grouped else None
    same(
        cc.check_relation(world.relation, **arrays(rows, None, groups), target_proba=rows.target_proba),
        cc.check_relation(
            world.relation, **arrays(rows, np.ones(240), groups), target_proba=rows.target_proba
        ),
    )


@kinds
def test_means_over_rows_are_weighted_and_noise_is_that_between_rows(kind: str) -> None:
    world = MAKE[kind](5, n=300)
    rows = world.observations()
    times = np.random.default_rng(5).integers(1, 5, 300)
    weighted = replace(rows, weight=times.astype(float))
    repeated = rows.take(np.repeat(np.arange(300), times))
    rates = rows.base_rates()
    by_weight, by_row = (
        [
            fit_exponent(each, world.table, rates),
            class_skill(each),
            target_skill(each),
        ]
        for each in (weighted, repeated)
    )
    for one, other in zip(by_weight, by_row, strict=True):
        first, second = (vars(found) for found in (one, other))
        np.testing.assert_allclose(
            [v for k, v in first.items() if k != "z"], [v for k, v in second.items() if k != "z"]
        )
        assert 0 < first["z"] < 0.8 * second["z"]  # copies are no draws of their own
    grouped = replace(repeated, group=np.repeat(np.arange(300), times))
    assert class_skill(grouped).z == pytest.approx(class_skill(weighted).z)
    lone = class_skill(weighted)
    has_class = rows.classes >= 0
    p, w, y = rows.class_proba[has_class], weighted.weights[has_class], rows.classes[has_class]
    lifts = (p - np.average(p, axis=0, weights=w))[np.arange(len(y)), y]
    assert lone.lift == pytest.approx(np.average(lifts, weights=w))
    assert lone.z == pytest.approx(lone.lift / standard_error(lifts, weights=w))


@kinds
def test_few_rows_that_count_say_nothing(kind: str) -> None:
    world = MAKE[kind](6, n=200)
    rows = world.observations()
    few = np.r_[np.arange(FEWEST - 1), 199 - np.arange(FEWEST - 1)]
    check = cc.check_relation(
        (world.source, world.target),
        **arrays(rows, np.isin(np.arange(200), few) * 1.0),
        target_proba=rows.target_proba,
    )
    assert check.verdict == "undecided"
    for found in (check.evidence, check.reverse, check.skill, check.target_skill):
        assert found.z == 0


@given(st.integers(0, 10_000), st.sampled_from(list(MAKE)), st.booleans())
def test_cells_are_judged_by_rows_as_often_as_they_weigh(seed: int, kind: str, grouped: bool) -> None:
    world = MAKE[kind](seed % 5, n=60)
    rng = np.random.default_rng(seed)
    times, rates = rng.integers(0, 5, 60), rng.uniform(0.1, 0.9, world.target.width)
    rows = world.observations(overlap=0.3)
    if not rows.class_to_class:
        rows = replace(rows, targets=np.where(rng.random(rows.targets.shape) < 0.2, np.nan, rows.targets))
    rows = replace(rows, group=rng.integers(0, 20, 60) if grouped else None)
    weighted = replace(rows, weight=times.astype(float))
    repeated = rows.take(np.repeat(np.arange(60), times))
    dropped = weighted.take(times > 0)

    def judged(each: Observations) -> Judged:
        return leave_one_label_out(each, world.table, 0.8, rates)

    found = judged(weighted)
    for other in (judged(repeated), judged(dropped)):
        for name in ("estimate", "count", "error"):
            np.testing.assert_allclose(getattr(found, name), getattr(other, name), atol=1e-12)
    doubled = judged(replace(weighted, weight=2.0 * times)).count
    assert (doubled <= 2 * found.count + 1e-9).all()
    if not grouped:  # groups bound the count, and are no more for weighing twice
        np.testing.assert_allclose(doubled, 2 * found.count)


def test_contradicted_cells_are_no_surer_for_rows_of_weight_0_and_for_rows_said_twice() -> None:
    world = labels_world(9, n=400)
    wrong = world.table.copy()
    wrong[:, 2] = 1 - wrong[:, 2]
    relation = cc.Relation(world.source, world.target, wrong)
    rows = world.observations()
    times = np.random.default_rng(9).integers(0, 4, 400)

    def found(each: Observations) -> dict[tuple[str, str], tuple[float, float]]:
        cells = check_observations(each, relation).contradictions
        return {(cell.source, cell.target): (cell.error, cell.count) for cell in cells}

    weighted = found(replace(rows, weight=times.astype(float)))
    repeated = found(rows.take(np.repeat(np.arange(400), times)))
    assert len(weighted) >= 3
    assert weighted.keys() == repeated.keys()
    for cell, values in weighted.items():
        assert values == pytest.approx(repeated[cell])
    assert all(count <= times.sum() for _, count in weighted.values())


def test_annotations_of_weight_0_are_none() -> None:
    world = labels_world(7, n=60)
    rows = world.observations()
    with raises(NoAnnotationError, "'kind'", "weight 0"):
        cc.check_relation(world.relation, **arrays(rows, (rows.classes < 0) * 1.0))


def test_audited_rows_count_once_whatever_their_weight() -> None:
    world = labels_world(8, n=300)
    rows = world.observations(overlap=0.2)
    both = np.flatnonzero((rows.classes >= 0) & rows.seen.any(axis=1))
    weights = np.ones(300)
    plain = cc.audit_relation(world.source, world.target, **arrays(rows, weights), audited=both)
    weights[both] = 0
    spared = cc.audit_relation(world.source, world.target, **arrays(rows, weights), audited=both)
    np.testing.assert_array_equal(plain.relation.interval, spared.relation.interval)
    assert plain.rows == spared.rows == len(both)
    weights[:40] = 0  # and rows of weight 0 make no estimate
    fewer, dropped = (
        cc.audit_relation(world.source, world.target, **some, audited=both - start)
        for start, some in ((0, arrays(rows, weights)), (40, arrays(rows.take(slice(40, None)), None)))
    )
    np.testing.assert_array_equal(fewer.relation.interval, dropped.relation.interval)
