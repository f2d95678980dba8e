"""Rows that are annotated for both tasks relate them, whatever heads know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from concord.estimation import Observations, check_observations
from concord.estimation.agreement import Evidence
from concord.estimation.em import free_estimate
from concord.estimation.relatedness import together
from concord.relations import Relation
from concord.tasks import MISSING_CLASS
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
