"""Rows that are annotated for both tasks relate them, whatever heads know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from concord.estimation import Observations, check_observations
from concord.estimation.agreement import Evidence
from concord.estimation.em import free_estimate
from concord.estimation.relatedness import together
from concord.relations import Relation
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask
from worlds import World, classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", list(MAKE))
seeds = pytest.mark.parametrize("seed", range(3))
NOTHING = Evidence(0.0, 0.0, 0.0)


def blind(rows: Observations) -> Observations:
    """The same annotations beside heads that say the same of every row."""
    flat = np.full_like(rows.class_proba, 1 / rows.source.width)
    return replace(rows, class_proba=flat, target_proba=np.tile(rows.base_rates(), (len(flat), 1)))


def told(world: World, overlap: float = 0.3) -> Observations:
    return blind(world.observations(overlap=overlap))


@kinds
@seeds
def test_a_relation_is_found_where_no_head_knows_anything(kind: str, seed: int) -> None:
    world = MAKE[kind](seed)
    for relation, verdict in ((None, "estimated"), (world.relation, "kept")):
        found = check_observations(told(world), relation)
        assert found.verdict == verdict
        assert found.exponent > 0
        assert np.abs(found.relation.table - world.table).mean() < 0.06
        assert any("annotated for both tasks" in sentence for sentence in found.sentences())
    assert check_observations(told(world, overlap=0.0), world.relation).exponent == 0


@kinds
@seeds
def test_a_wrong_table_is_replaced_by_what_these_rows_say(kind: str, seed: int) -> None:
    world = MAKE[kind](seed)
    wrong = Relation(world.source, world.target, np.roll(world.table, 1, axis=0))
    found = check_observations(told(world), wrong)
    assert found.verdict == "dropped"
    assert np.abs(found.relation.table - world.table).mean() < 0.06


@kinds
@seeds
def test_nothing_is_found_where_there_is_nothing(kind: str, seed: int) -> None:
    world = MAKE[kind](seed, unrelated=True)
    for relation in (None, MAKE[kind](seed).relation):
        assert check_observations(told(world, overlap=1.0), relation).exponent == 0


@kinds
@seeds
def test_copies_of_a_row_relate_nothing(kind: str, seed: int) -> None:
    rows = told(MAKE[kind](seed, n=40, unrelated=True), overlap=1.0)
    index = np.repeat(np.arange(len(rows.classes)), 20)
    copies = replace(rows.take(index), group=index)
    rates = rows.base_rates()
    assert not together(copies, free_estimate, rates).shown
    assert together(replace(copies, group=None), free_estimate, rates).shown  # what the groups are for


@kinds
def test_each_half_is_judged_by_a_relation_of_the_other_half_alone(kind: str) -> None:
    world = MAKE[kind](0, n=200)
    rows = replace(world.observations(overlap=0.4), group=np.arange(200) // 2)
    both = (rows.classes != MISSING_CLASS) & rows.seen.any(axis=1)
    built: list[set[int]] = []

    def build(some: Observations) -> np.ndarray:
        built.append(set(np.asarray(some.group).tolist()))
        assert (some.classes != MISSING_CLASS).all()
        assert some.seen.any(axis=1).all()
        return free_estimate(some)

    assert together(rows, build, rows.base_rates()).shown
    first, second = built
    assert not first & second
    assert first | second == set(np.asarray(rows.group)[both].tolist())


@seeds
def test_a_table_that_these_rows_fit_is_told_of_no_cell_that_they_do_not_contradict(seed: int) -> None:
    """Heads that know nothing say of cells what they like."""
    world = labels_world(seed, n=3300)
    rows = world.observations(overlap=0.2, classes=0.2)
    found = check_observations(blind(rows), world.relation)
    assert found.verdict == "kept"
    assert not found.contradictions


@kinds
def test_without_such_rows_nothing_is_said(kind: str) -> None:
    rows = MAKE[kind](0, n=200).observations()
    assert together(rows, free_estimate, rows.base_rates()) == NOTHING
    assert check_observations(rows, None).together == NOTHING


@kinds
def test_what_heads_show_is_not_weighed_again(kind: str) -> None:
    found = check_observations(MAKE[kind](0).observations(overlap=0.3), None)
    assert found.exponent > 0
    assert found.together == NOTHING


def by_turns(n: int = 400, width: int = 2) -> Observations:
    """Classes one after the other, labels that follow from them, and heads that know nothing."""
    source = MulticlassTask("kind", [f"c{k}" for k in range(width)])
    target = MultilabelTask("marks", [f"l{k}" for k in range(width)])
    y = np.arange(n) % width
    flat = np.full((n, width), 1 / width)
    return Observations(source, target, y, np.eye(width)[y], flat, flat)


@pytest.mark.parametrize("width", [2, 5])
def test_the_order_of_rows_hides_no_relation(width: int) -> None:
    rows = by_turns(width=width)
    order = np.random.default_rng(0).permutation(len(rows.classes))
    for some in (rows, rows.take(order)):
        found = check_observations(some, None)
        assert found.verdict == "estimated"
        assert found.together.agreement > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_rows_with_a_label_alone_lead_nothing_astray(seed: int) -> None:
    """Labels go together for a reason of their own; EM through a blind head would take it for the class."""
    rng = np.random.default_rng(seed)
    table = np.array([[0.7, 0.3, 0.5, 0.4], [0.4, 0.6, 0.3, 0.6], [0.5, 0.5, 0.7, 0.3]]).repeat(2, axis=1)
    source = MulticlassTask("kind", ["a", "b", "c"])
    target = MultilabelTask("marks", [f"l{k}" for k in range(8)])
    y = rng.integers(0, 3, 3300)
    common = np.where(rng.random((3300, 1)) < 0.5, 1.5, -1.5)
    a = (rng.random((3300, 8)) < expit(logit(table[y]) + common)).astype(float)
    classes = np.where(np.arange(3300) < 300, y, MISSING_CLASS)
    rows = blind(Observations(source, target, classes, a, np.full((3300, 3), 1 / 3), np.zeros_like(a)))
    found = check_observations(rows, None)
    alone = check_observations(rows.take(np.arange(300)), None)
    assert found.exponent > 0
    np.testing.assert_allclose(found.relation.table, alone.relation.table, atol=1e-12)
    np.testing.assert_allclose(found.estimate.table, alone.estimate.table, atol=0.03)  # by other base rates
    hidden = rows.take(np.arange(3300))
    hidden.targets[:300] = np.nan
    assert np.ptp(found.rule(hidden), axis=0).max() < 1e-9, "without rows of both no class is told"


def test_predictions_that_are_the_same_for_every_row_are_named() -> None:
    rows = MAKE["labels"](0, n=900).observations()
    flat = replace(rows, target_proba=np.tile(rows.base_rates(), (900, 1)))
    found = check_observations(flat, None)
    assert found.verdict == "undecided"
    assert "Predictions of marks are the same for every row" in found.sentences()[0]
