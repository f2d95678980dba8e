"""`concord.check_relation`: a table weighed against arrays as people have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit, softmax

import concord as cc
from asserts import raises
from concord.errors import DenseOnlyError, RangeError, ShapeError
from concord.estimation import calibrated, check_observations
from concord.estimation.check import MIN_REVERSE_Z, _rules_of, _stands
from concord.estimation.contradictions import ANCHOR
from concord.estimation.em import TableRule
from concord.estimation.relatedness import class_direction
from worlds import World, class_head, classes_world, label_head, labels_world

KINDS = {"labels": labels_world, "classes": classes_world}


def arrays(world: World) -> dict[str, object]:
    rows = world.observations()
    return {
        "classes": [world.source.classes[c] if c >= 0 else None for c in rows.classes],
        "targets": rows.targets,
        "class_proba": rows.class_proba,
        "target_proba": rows.target_proba,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_check_of_the_rows_that_the_arrays_describe(kind):
    world = KINDS[kind](0, n=900)
    found = cc.check_relation(world.relation, **arrays(world))
    wanted = check_observations(calibrated(world.observations()), world.relation)
    assert found.sentences() == wanted.sentences()
    assert found.verdict == "kept"
    assert (found.exponent, found.trust) == (wanted.exponent, wanted.trust)
    np.testing.assert_array_equal(found.relation.table, wanted.relation.table)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_are_off_their_scale_are_read_as_if_they_were_on_it(kind):
    world = KINDS[kind](0, n=900)
    given = arrays(world)
    p, q = (np.asarray(given[name]) for name in ("class_proba", "target_proba"))
    leaning = 4 * np.log(p) + 2 * np.eye(p.shape[1])[0]  # much too sure, and drawn to the first class
    off = {**given, "class_proba": softmax(leaning, axis=1)}
    if kind == "labels":
        off["target_proba"] = expit(2 * logit(q) + 1)
    found, wanted = (cc.check_relation(world.relation, **each) for each in (off, given))
    assert found.verdict == wanted.verdict
    assert found.trust == pytest.approx(wanted.trust, abs=0.05)
    assert found.evidence.agreement == pytest.approx(wanted.evidence.agreement, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_two_tasks_without_a_table_get_an_estimate(kind):
    world = KINDS[kind](0, n=900)
    found = cc.check_relation((world.source, world.target), **arrays(world))
    assert found.verdict == "estimated"
    assert np.abs(found.relation.table - world.table).mean() < 0.1


def test_columns_of_a_table_are_taken_by_name_and_weights_and_groups_reach_the_check():
    world = labels_world(0, n=600)
    given, rows = arrays(world), world.observations()
    order = list(reversed(range(world.source.width)))
    names = [world.source.classes[c] for c in order]
    by_name = {**given, "class_proba": pd.DataFrame(rows.class_proba[:, order], columns=names)}
    plain = cc.check_relation(world.relation, **given)
    assert cc.check_relation(world.relation, **by_name).trust == plain.trust
    n = len(rows.classes)
    weight, group = np.arange(n) % 3 + 0.5, np.arange(n) // 4
    found = cc.check_relation(world.relation, **given, weights=weight, groups=group)
    wanted = check_observations(calibrated(replace(rows, weight=weight, group=group)), world.relation)
    assert found.evidence == wanted.evidence
    assert found.evidence != plain.evidence


def test_mistakes_are_named():
    world = labels_world(0)
    given = arrays(world)
    with raises(ShapeError, world.source.name):
        cc.check_relation(world.relation, **{**given, "class_proba": np.ones((len(given["classes"]), 1))})
    with raises(RangeError, "sums to 1"):
        cc.check_relation(world.relation, **{**given, "class_proba": given["class_proba"] / 2})
    table = sparse.csr_array(world.table)
    with raises(DenseOnlyError, "weighing it against data"):
        cc.check_relation(cc.Relation(world.source, world.target, table), **given)


@pytest.mark.parametrize("seed", range(3))
def test_a_right_table_stands_whatever_its_trust_and_a_wrong_one_does_not(seed):
    world = labels_world(seed)
    rows = world.observations()
    rates = rows.base_rates()
    wrong = world.table.copy()
    wrong[:2] = wrong[[1, 0]]
    for table, stands in ((world.table, True), (wrong, False), (np.roll(world.table, 1, axis=0), False)):
        assert _stands(rows, TableRule(table, scaled=True, strength=ANCHOR), rates, None) is stands


def test_a_table_of_low_trust_is_kept_where_it_stands():
    table = labels_world(0).table
    for trust in (0.5, 0.1):
        for stands in (True, False):
            assert ("kept" in _rules_of(table, trust, lambda _, answer=stands: answer)) is stands
    assert "kept" in _rules_of(table, 0.95, lambda _: False)


def may_occur(seed: int, n: int = 1000, p: float = 0.3, sharp: float = 0.5) -> tuple[World, cc.Relation]:
    """Labels that occur in three of ten rows of one class and hardly elsewhere, and a table of where."""
    rng = np.random.default_rng(seed)
    plain = labels_world(0, classes=4, labels=12)
    own = np.arange(12) % 4 == np.arange(4)[:, None]
    table = np.where(own, p, 0.02)
    y = rng.integers(0, 4, n)
    a = (rng.random((n, 12)) < table[y]).astype(float)
    world = World(plain.source, plain.target, table, y, a, class_head(y, 4, rng), label_head(a, rng, sharp))
    return world, cc.Relation(world.source, world.target, own.astype(float))


def test_a_table_through_which_no_class_is_told_is_read_on_the_scale_of_the_data():
    world, table = may_occur(0)
    rows = world.observations()
    rates, as_it_is = rows.base_rates(), TableRule(np.asarray(table.table), strength=np.inf)
    assert class_direction(rows, as_it_is, rates).z < MIN_REVERSE_Z
    found = check_observations(rows, table)
    assert found.verdict == "calibrated"
    assert found.exponent > 0
    assert found.reverse == class_direction(rows, found.rule, rates)


def test_a_table_hides_nothing_that_the_data_show_without_it():
    shown = closed = 0
    for seed in range(8):
        world, table = may_occur(seed, n=800, p=0.2, sharp=0.7)
        rows = world.observations()
        wrong = cc.Relation(world.source, world.target, np.roll(np.asarray(table.table), 1, axis=0))
        without = check_observations(rows, None).exponent
        shown += without > 0
        as_it_is = TableRule(np.asarray(table.table), strength=np.inf)
        closed += class_direction(rows, as_it_is, rows.base_rates()).z < MIN_REVERSE_Z
        for given in (table, wrong):
            assert check_observations(rows, given).exponent > 0 or without == 0
    assert shown >= 3
    assert closed >= 3
