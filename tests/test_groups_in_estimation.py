"""Rows that come in groups are no more evidence than their groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from concord.estimation import Observations, check_observations, estimate_by_em, prior_shift
from concord.estimation.agreement import EXPONENTS, agreement, cross_fitted, halves
from concord.estimation.em import free_estimate
from concord.estimation.relatedness import class_direction, class_skill, target_skill
from concord.metrics import z_score
from worlds import classes_world, labels_world

MAKE = {"labels": labels_world, "classes": classes_world}
kinds = pytest.mark.parametrize("kind", list(MAKE))
COPIES = 20


def copied(rows: Observations, times: int = COPIES) -> Observations:
    """Each row so many times, as one group."""
    index = np.repeat(np.arange(len(rows.classes)), times)
    return replace(rows.take(index), group=index)


def false_and_true_alarms(kind: str, n: int, seeds: range) -> tuple[int, int, int]:
    """Relations found between unrelated tasks in copies, and between related ones in copies and alone."""
    false = true = alone = 0
    for seed in seeds:
        false += (
            check_observations(copied(MAKE[kind](seed, n=n, unrelated=True).observations()), None).exponent
            > 0
        )
        related = MAKE[kind](seed, n=n).observations()
        true += check_observations(copied(related), None).exponent > 0
        alone += check_observations(related, None).exponent > 0
    return false, true, alone


@kinds
def test_copies_of_rows_relate_nothing_and_hide_nothing(kind: str) -> None:
    false, true, alone = false_and_true_alarms(kind, 100, range(5))
    assert false == 0
    assert true >= alone - 1 >= 3


@pytest.mark.slow
@kinds
def test_false_relations_in_copies_are_at_most_five_percent(kind: str) -> None:
    false, true, alone = false_and_true_alarms(kind, 100, range(100, 200))
    assert false <= 5
    assert true >= alone - 5


@kinds
def test_without_groups_the_same_copies_would_be_taken_for_evidence(kind: str) -> None:
    """What the groups are for: the standard error of copies is sqrt(20) times too small."""
    rows = MAKE[kind](1, n=100, unrelated=True).observations()
    table, rates = free_estimate(rows), rows.base_rates()
    gains = agreement(copied(rows), table, EXPONENTS[-1], rates)
    groups = np.repeat(np.arange(len(gains) // COPIES), COPIES)
    assert z_score(gains) == pytest.approx(np.sqrt(COPIES) * z_score(gains, groups), rel=0.05)
    assert z_score(gains, groups) == pytest.approx(z_score(agreement(rows, table, EXPONENTS[-1], rates)))


@kinds
def test_skills_of_copies_are_those_of_the_rows(kind: str) -> None:
    rows = MAKE[kind](2, n=120).observations()
    for skill in (class_skill, target_skill):
        assert skill(copied(rows)).z == pytest.approx(skill(rows).z)
        assert skill(replace(copied(rows), group=None)).z > 4 * skill(rows).z


@kinds
def test_halves_are_between_groups_and_those_of_rows_that_stand_alone(kind: str) -> None:
    rows = copied(MAKE[kind](3, n=90).observations(), 7)
    first, second = halves(rows)
    assert not set(rows.group[first]) & set(rows.group[second])
    assert abs(int(first.sum()) - int(second.sum())) <= 7
    np.testing.assert_array_equal(first | second, rows.seen.any(axis=1))
    plain = MAKE[kind](4, n=90).observations()
    alone = replace(plain, group=np.random.default_rng(0).permutation(90))
    for one, other in zip(halves(plain), halves(alone), strict=True):
        np.testing.assert_array_equal(one, other)


@kinds
def test_a_check_of_rows_that_stand_alone_is_that_without_groups(kind: str) -> None:
    world = MAKE[kind](5, n=300)
    plain, alone = (replace(world.observations(), group=g) for g in (None, np.arange(300)[::-1]))
    first, second = check_observations(plain, world.relation), check_observations(alone, world.relation)
    assert first.verdict == second.verdict
    assert second.evidence.z == pytest.approx(first.evidence.z)
    assert second.reverse.z == pytest.approx(first.reverse.z)
    assert first.contradictions == second.contradictions


@kinds
def test_one_group_decides_nothing(kind: str) -> None:
    world = MAKE[kind](6, n=400)
    rows = replace(world.observations(), group=np.zeros(400))
    check = check_observations(rows, world.relation)
    assert (check.verdict, check.exponent) == ("undecided", 0.0)
    assert check.evidence.z == check.reverse.z == check.skill.z == check.target_skill.z == 0.0
    assert not check.contradictions
    assert cross_fitted(rows, free_estimate, rows.base_rates()).z == 0.0
    assert class_direction(rows, free_estimate, rows.base_rates()).z == 0.0
    np.testing.assert_array_equal(estimate_by_em(rows).strength, 0.0)


@kinds
def test_intervals_of_copies_are_as_wide_as_those_of_the_rows(kind: str) -> None:
    rows = MAKE[kind](7, n=400).observations()

    def width(observations: Observations) -> np.ndarray:
        low, high = estimate_by_em(observations).interval
        return high - low

    table = estimate_by_em(rows).table
    inner = (table > 0.1) & (table < 0.9)  # elsewhere the prior's two rows weigh less in copies
    ratio = (width(copied(rows)) / width(rows))[inner]
    assert 0.8 < np.median(ratio) < 1.25
    assert np.median((width(replace(copied(rows), group=None)) / width(rows))[inner]) < 0.4
    alone = replace(rows, group=np.arange(400))
    assert (estimate_by_em(alone).strength <= estimate_by_em(rows).strength + 1e-9).all()
    assert np.median(width(alone) / width(rows)) < 1.1


def test_one_video_contradicts_no_table() -> None:
    """All rows of a class in one video, whose labels happen to be off: nothing is known of the class."""
    world = labels_world(8, n=600, classes=3)
    rows = world.observations(overlap=1.0)
    of_class = rows.classes == 0
    targets = np.where(of_class[:, None], 1 - np.round(world.table[0]), rows.targets)
    group = np.where(of_class, -1, np.arange(600))
    one, many = (replace(rows, targets=targets, group=g) for g in (group, np.arange(600)))
    assert {c.source for c in check_observations(many, world.relation).contradictions} == {"c0"}
    assert not check_observations(one, world.relation).contradictions


def test_a_shift_of_priors_has_to_be_beyond_that_of_as_many_groups() -> None:
    world = labels_world(9, n=60)
    proba = world.observations().class_proba
    own, other = np.repeat(proba[:40], 30, axis=0), np.repeat(proba[40:], 30, axis=0)
    groups = np.repeat(np.arange(40), 30), np.repeat(np.arange(20), 30)
    by_row = prior_shift(world.source, "marks", own, other, np.random.default_rng(0))
    by_group = prior_shift(world.source, "marks", own, other, np.random.default_rng(0), groups)
    assert by_row is not None
    assert by_group is not None
    assert by_group.distance == by_row.distance
    assert by_group.noise > 2 * by_row.noise
    assert not by_group.real
    single = np.zeros(1200), groups[1]
    assert prior_shift(world.source, "marks", own, other, np.random.default_rng(0), single) is None
