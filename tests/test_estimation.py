from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.errors import ShapeError
from concord.estimation.agreement import agreement, cross_fitted, fit_exponent, halves
from concord.estimation.check import check_observations
from concord.estimation.contradictions import Contradiction, leave_one_label_out
from concord.estimation.em import TableRule, calibrate, free_estimate
from concord.estimation.observations import Observations
from concord.estimation.relatedness import class_direction
from concord.relations.evidence import CLIP, EvidenceTable
from strategies import batches
from worlds import World, classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", MAKE)


def with_table(world: World, table: np.ndarray) -> cc.Relation:
    return cc.Relation(world.source, world.target, table)


# -- what the data say ----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_em_recovers_the_table_whatever_the_overlap(kind: str, overlap: float) -> None:
    errors = []
    for seed in range(3):
        world = MAKE[kind](seed)
        errors.append(np.abs(free_estimate(world.observations(overlap=overlap)) - world.table).mean())
    assert np.mean(errors) <= 0.08, errors


@kinds
def test_a_right_table_is_kept(kind: str) -> None:
    for seed in range(2):
        world = MAKE[kind](seed)
        check = check_observations(world.observations(), world.relation)
        assert check.verdict == "kept"
        assert check.exponent > 0.3
        assert check.trust == pytest.approx(1.0, abs=0.1)
        assert check.contradictions == ()
        assert "fits the data" in check.sentences()[0]
        np.testing.assert_array_equal(check.relation.table, world.table)


@kinds
def test_a_shuffled_table_is_dropped_and_the_data_speak(kind: str) -> None:
    for seed in range(2):
        world = MAKE[kind](seed)
        wrong = with_table(world, np.roll(world.table, 1, axis=0))
        check = check_observations(world.observations(), wrong)
        assert check.verdict == "dropped"
        assert check.trust < 0.3
        assert np.abs(check.relation.table - world.table).mean() <= 0.08
        assert "contradict" in check.sentences()[0]


@kinds
def test_without_a_table_the_relation_is_estimated(kind: str) -> None:
    world = MAKE[kind](1)
    check = check_observations(world.observations(), None)
    assert check.verdict == "estimated"
    assert np.isnan(check.trust)
    assert check.evidence.agreement > 0.1
    assert check.reverse.agreement > 0.1
    assert "no table was supplied" in check.sentences()[0]
    assert check.relation.prior is not None
    assert check.relation.prior.sum() == pytest.approx(1)


def test_a_table_of_what_may_occur_is_calibrated() -> None:
    world = labels_world(2, n=1600)
    may = (world.table > 0.5).astype(float)
    rare = replace(world, table=0.1 + 0.35 * may)
    rng = np.random.default_rng(0)
    rare = replace(rare, a=(rng.random(world.a.shape) < rare.table[world.y]).astype(float))
    check = check_observations(rare.observations(), with_table(world, may))
    assert check.verdict == "calibrated"
    assert np.abs(check.relation.table - rare.table).mean() < 0.06
    assert "used calibrated" in check.sentences()[0]


def test_a_table_right_in_part_is_told_from_a_right_one_and_its_cells_are_named() -> None:
    flipped, named, right = 0, 0, 0
    for seed in range(2):
        world = labels_world(seed, n=1400, labels=12)
        rng = np.random.default_rng(seed)
        wrong = rng.random(world.table.shape) < 0.1
        table = np.where(wrong, 1 - world.table, world.table)
        check = check_observations(world.observations(), with_table(world, table))
        whole = check_observations(world.observations(), world.relation)
        assert check.trust < whole.trust
        assert whole.contradictions == ()
        cells = {(c.source, c.target) for c in check.contradictions}
        truth = {(f"c{c}", f"l{k}") for c, k in np.argwhere(wrong)}
        flipped, named, right = flipped + len(truth), named + len(cells), right + len(cells & truth)
        assert "the table says" in check.sentences()[1]
    assert right / named >= 0.8
    assert right / flipped >= 0.9


def test_a_table_with_a_part_of_its_rows_exchanged_is_partly_wrong() -> None:
    world = labels_world(0, n=1600, classes=6, labels=10)
    table = world.table.copy()
    table[[0, 1]] = table[[1, 0]]
    check = check_observations(world.observations(), with_table(world, table))
    assert 0.3 <= check.trust < 0.9
    assert check.verdict in ("partly wrong", "dropped")
    assert np.abs(check.relation.table - world.table).mean() < np.abs(table - world.table).mean()


def test_a_table_that_is_right_in_most_rows_is_the_starting_point() -> None:
    world = labels_world(3, n=600, classes=8, labels=16)
    table = world.table.copy()
    table[[0, 1]] = table[[1, 0]]
    check = check_observations(world.observations(), with_table(world, table))
    assert check.verdict == "partly wrong"
    assert "right in part" in check.sentences()[0]


@kinds
def test_unrelated_tasks_are_called_so(kind: str) -> None:
    for seed in range(2):
        world = MAKE[kind](seed, unrelated=True)
        for relation in (None, with_table(world, MAKE[kind](seed).table)):
            check = check_observations(world.observations(), relation)
            assert check.verdict == "unrelated"
            assert check.exponent == 0.0
            assert "no coupling" in check.sentences()[0]


def test_a_contradiction_reads_as_a_sentence() -> None:
    said = str(Contradiction("sadness", "AU12", 0.0, 0.31, 0.04, 120.0))
    assert said == (
        "the table says sadness shows AU12 with probability 0.00; rows whose class is told without AU12 say "
        "0.31 +- 0.04"
    )


def test_a_kept_table_is_said_to_be_used_as_it_is_used() -> None:
    world = labels_world(0)
    found = check_observations(world.observations(), world.relation)
    assert found.sentences()[0].endswith("; it is used as supplied.")
    cell = Contradiction("c0", "l0", 0.0, 0.9, 0.1, 5.0)
    whole = replace(found, contradictions=(cell,)).sentences()[0]
    assert whole.endswith("; it is used whole, with the one cell that the data contradict.")
    given = world.table.copy()
    given[0, 0] = np.nan
    table = np.where(np.isnan(given), 0.5, given)
    table[1, 2] += 0.25 if table[1, 2] < 0.5 else -0.25
    held = replace(found, relation=found.relation.replace(table=table), rule=TableRule(given, strength=200.0))
    assert held.sentences()[0].endswith("it is used, moved by what the data say (a cell by 0.25 at most).")
    assert "as supplied" not in replace(held, contradictions=(cell,)).sentences()[0]


def test_a_calibrated_table_that_the_data_moved_further_says_so() -> None:
    world = labels_world(0)
    found = check_observations(world.observations(), world.relation)
    scaled, anchored = (
        replace(found, verdict="calibrated", rule=TableRule(world.table, scaled=True, strength=strength))
        for strength in (np.inf, 50.0)
    )
    assert scaled.sentences()[0].endswith("it is used calibrated.")
    assert anchored.sentences()[0].endswith("it is used calibrated, and moved further by what the data say.")


# -- invariants -----------------------------------------------------------------------------------------


def _permuted(obs: Observations, rows: np.ndarray, classes: np.ndarray, targets: np.ndarray) -> Observations:
    """The same observations; new class i is old class `classes[i]`, new target likewise."""
    source = cc.MulticlassTask(obs.source.name, [obs.source.outputs[c] for c in classes])
    target = type(obs.target)(obs.target.name, [obs.target.outputs[k] for k in targets])
    new_class, new_target = np.argsort(classes), np.argsort(targets)
    y = np.where(obs.classes < 0, -1, new_class[obs.classes])
    a = (
        np.where(obs.targets < 0, -1, new_target[obs.targets.astype(int)])
        if obs.class_to_class
        else obs.targets[:, targets]
    )
    return Observations(
        source,
        target,
        y[rows],
        a[rows],
        obs.class_proba[rows][:, classes],
        obs.target_proba[rows][:, targets],
    )


@kinds
def test_permuting_rows_classes_and_labels_changes_nothing_but_order(kind: str) -> None:
    world = MAKE[kind](5, n=500)
    obs = world.observations(overlap=0.2)
    rng = np.random.default_rng(0)
    classes, targets = rng.permutation(obs.source.width), rng.permutation(obs.target.width)
    moved = _permuted(obs, rng.permutation(len(obs.classes)), classes, targets)
    flawed = world.table.copy()
    flawed[0] = flawed[0][::-1]
    pairs = [None, with_table(world, flawed)]
    for relation in pairs:
        other = None
        if relation is not None:
            other = cc.Relation(moved.source, moved.target, relation.table[classes][:, targets])
        first, second = check_observations(obs, relation), check_observations(moved, other)
        assert first.verdict == second.verdict
        assert first.exponent == second.exponent
        np.testing.assert_allclose(first.trust, second.trust, rtol=1e-6)
        for a, b in (
            (first.relation.table, second.relation.table),
            (first.estimate.table, second.estimate.table),
            (first.estimate.strength, second.estimate.strength),
        ):
            assert a is not None
            assert b is not None
            np.testing.assert_allclose(a[classes][:, targets], b, rtol=1e-5, atol=1e-8)
        assert {(c.source, c.target) for c in first.contradictions} == {
            (c.source, c.target) for c in second.contradictions
        }


@kinds
def test_an_all_unknown_table_equals_an_absent_one(kind: str) -> None:
    world = MAKE[kind](6, n=500)
    obs = world.observations()
    blank, absent = check_observations(obs, with_table(world, np.full_like(world.table, np.nan))), None
    absent = check_observations(obs, None)
    assert blank.verdict == absent.verdict == "estimated"
    assert (blank.exponent, blank.evidence, blank.reverse) == (
        absent.exponent,
        absent.evidence,
        absent.reverse,
    )
    np.testing.assert_array_equal(blank.relation.table, absent.relation.table)
    unknown = np.full_like(world.table, np.nan)
    np.testing.assert_array_equal(
        EvidenceTable.of(unknown, obs.base_rates(), obs.class_to_class).of_annotations(obs.active, obs.seen),
        0.0,
    )


@kinds
def test_a_table_of_identical_rows_says_nothing_of_classes(kind: str) -> None:
    world = MAKE[kind](7, n=500)
    obs = world.observations()
    table = np.tile(world.table.mean(axis=0), (len(world.table), 1))
    ll = EvidenceTable.of(table, obs.base_rates(), obs.class_to_class).of_annotations(obs.active, obs.seen)
    np.testing.assert_allclose(ll - ll[:, :1], 0.0, atol=1e-12)
    np.testing.assert_allclose(agreement(obs, table, 1.0, obs.base_rates()), 0.0, atol=1e-9)
    found = fit_exponent(obs, table)
    assert found.exponent == 0.0
    assert check_observations(obs, with_table(world, table)).verdict == "dropped"


@kinds
def test_duplicated_rows_and_weights_agree(kind: str) -> None:
    world = MAKE[kind](8, n=300)
    obs = world.observations(overlap=0.3)
    times = np.random.default_rng(0).integers(0, 4, len(obs.classes))
    twice = obs.take(np.repeat(np.arange(len(obs.classes)), times))
    weighted = Observations(
        obs.source,
        obs.target,
        obs.classes,
        obs.targets,
        obs.class_proba,
        obs.target_proba,
        weight=times.astype(float),
    )
    np.testing.assert_allclose(twice.base_rates(), weighted.base_rates())
    np.testing.assert_allclose(
        free_estimate(twice, world.table, 5.0), free_estimate(weighted, world.table, 5.0), atol=1e-9
    )
    rates = twice.base_rates()
    first = leave_one_label_out(twice, world.table, 1.0, rates).estimate
    second = leave_one_label_out(weighted, world.table, 1.0, rates).estimate
    np.testing.assert_allclose(first, second, atol=1e-9)
    some = weighted.seen.any(axis=1)
    gains = agreement(weighted, world.table, 0.5, rates)
    np.testing.assert_allclose(
        np.repeat(gains, times[some]), agreement(twice, world.table, 0.5, rates), atol=1e-9
    )


@given(batches(extreme=False))
def test_evidence_equals_plain_loops(batch: object) -> None:
    relation, y, a = batch.relation, batch.y, batch.a  # type: ignore[attr-defined]
    n = len(y)
    obs = Observations(
        relation.source,
        relation.target,
        y,
        a.astype(float),
        np.full((n, relation.source.width), 1 / relation.source.width),
        np.full((n, relation.target.width), 0.5),
    )
    rates = relation.rates()
    if relation.class_to_class:
        rates = np.maximum(rates, 1e-3)
    found = EvidenceTable.of(relation.table, rates, relation.class_to_class).of_annotations(
        obs.active, obs.seen
    )
    for i in range(n):
        for c in range(relation.source.width):
            expected = 0.0
            for k in range(relation.target.width):
                cell = relation.table[c, k]
                if np.isnan(cell):
                    continue
                if relation.class_to_class:
                    if a[i] == k:
                        expected += np.log(max(cell, CLIP * rates[k]) / rates[k])
                elif not np.isnan(a[i, k]):
                    r, b = np.clip(cell, CLIP, 1 - CLIP), np.clip(rates[k], CLIP, 1 - CLIP)
                    expected += np.log(r / b) if a[i, k] else np.log((1 - r) / (1 - b))
            assert found[i, c] == pytest.approx(expected, abs=1e-9)


# -- pieces ---------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(1, 5))
def test_calibration_keeps_order_and_range(seed: int, c: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    table, estimate, mass = rng.random((c, k)), rng.random((c, k)), rng.random(c) + 0.1
    table[rng.random((c, k)) < 0.3] = np.nan
    found = calibrate(table, estimate, mass)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(table))
    known = ~np.isnan(table)
    assert ((found[known] >= 0) & (found[known] <= 1)).all()
    for j in range(k):
        rows = np.flatnonzero(known[:, j])
        order = rows[np.argsort(table[rows, j], kind="stable")]
        assert (np.diff(found[order, j]) >= -1e-12).all()


def test_calibration_of_a_table_by_itself_keeps_it_and_upside_down_gives_the_mean() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.2, 0.8, (6, 4))
    np.testing.assert_allclose(calibrate(table, table, np.ones((6, 4))), table, atol=1e-3)
    upside_down = calibrate(table, 1 - table, np.ones(6))
    np.testing.assert_allclose(upside_down, np.tile((1 - table).mean(axis=0), (6, 1)), atol=1e-9)


def test_halves_are_of_label_rows_and_alike() -> None:
    obs = labels_world(0, n=400).observations(overlap=0.2)
    first, second = halves(obs)
    np.testing.assert_array_equal(first | second, obs.seen.any(axis=1))
    assert not (first & second).any()
    assert abs(int(first.sum()) - int(second.sum())) <= 1


@kinds
def test_too_few_rows_prove_nothing(kind: str) -> None:
    world = MAKE[kind](0, n=40)
    obs = world.observations()
    no_labels = obs.take(slice(0, 10))
    assert cross_fitted(no_labels, free_estimate, obs.base_rates()).exponent == 0.0
    assert fit_exponent(no_labels, world.table).exponent == 0.0
    no_classes = obs.take(slice(25, 40))
    assert class_direction(no_classes, free_estimate, obs.base_rates()).agreement == 0.0
    assert check_observations(no_labels, world.relation).verdict == "undecided"
    assert check_observations(no_classes, world.relation).verdict == "undecided"


@kinds
def test_a_head_that_knows_nothing_decides_nothing(kind: str) -> None:
    obs = MAKE[kind](0).observations()
    blank = replace(obs, class_proba=np.full_like(obs.class_proba, 1 / obs.class_proba.shape[1]))
    check = check_observations(blank, None)
    assert (check.verdict, check.exponent) == ("undecided", 0.0)
    assert "cannot be told" in check.sentences()[0]


@kinds
def test_a_table_is_weighed_by_the_other_head_where_that_of_the_classes_knows_nothing(kind: str) -> None:
    world = MAKE[kind](0)
    obs = world.observations()
    blank = replace(obs, class_proba=np.full_like(obs.class_proba, 1 / obs.class_proba.shape[1]))
    check = check_observations(blank, world.relation)
    assert check.verdict == "kept"
    np.testing.assert_array_equal(check.relation.table, world.table)
    assert check.exponent > 0
    assert "knows too little to weigh the table" in check.sentences()[0]
    rng = np.random.default_rng(1)
    for _ in range(4):
        order = rng.permutation(len(world.table))
        if (order != np.arange(len(order))).mean() > 0.7:
            other = check_observations(blank, world.relation.replace(table=world.table[order]))
            assert (other.verdict, other.exponent) == ("undecided", 0.0)


@kinds
def test_annotations_that_fit_are_no_proof_against_where_nobody_can_predict_them(kind: str) -> None:
    obs = MAKE[kind](0).observations()
    flat = np.tile(
        obs.base_rates() if obs.target_proba.ndim == 2 else obs.target_proba.mean(0),
        (len(obs.target_proba), 1),
    )
    check = check_observations(replace(obs, target_proba=flat), None)
    assert check.verdict == "undecided"
    assert check.skill.z > 3 > check.target_skill.z


def test_wrong_shapes_are_named() -> None:
    obs = labels_world(0, n=10).observations()
    with raises(ShapeError, "class_proba has shape (10, 5)"):
        Observations(
            obs.source, obs.target, obs.classes, obs.targets, obs.class_proba[:, 1:], obs.target_proba
        )
    with raises(ShapeError, "targets has shape (10, 8)"):
        Observations(obs.source, obs.target, obs.classes, obs.targets[:4], obs.class_proba, obs.target_proba)


def test_a_class_to_class_table_on_the_scale_of_the_data_stays_a_distribution() -> None:
    world = classes_world(3, n=900)
    smooth = with_table(world, 0.9 * world.table + 0.1 / world.table.shape[1])
    check = check_observations(world.observations(), smooth)
    assert check.verdict in ("kept", "calibrated")
    for strength in (np.inf, 20.0):
        table = TableRule(smooth.table, scaled=True, strength=strength)(world.observations())
        np.testing.assert_allclose(table.sum(axis=1), 1)
        assert np.abs(table - world.table).mean() < np.abs(smooth.table - world.table).mean()
