"""A table brought to tasks by name: order changes nothing, and other names are refused or unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from concord.errors import UnknownNameError
from concord.relations import aligned

MOODS, UNITS = ["calm", "glad", "sad"], ["AU1", "AU4", "AU12", "AU15"]
MOOD, UNIT = cc.MulticlassTask("mood", MOODS), cc.MultilabelTask("units", UNITS)
CELLS = {
    (mood, unit): (i * len(UNITS) + k) / 12 for i, mood in enumerate(MOODS) for k, unit in enumerate(UNITS)
}


def table(moods: list[str], units: list[str], name: str = "mood") -> cc.Relation:
    cells = [[CELLS.get((mood, unit), 0.5) for unit in units] for mood in moods]
    return cc.Relation(cc.MulticlassTask(name, moods), cc.MultilabelTask("labels", units), np.array(cells))


@given(st.permutations(MOODS), st.permutations(UNITS))
def test_order_and_the_names_of_tasks_change_nothing(moods: list[str], units: list[str]) -> None:
    found = aligned(table(moods, units, "kind"), MOOD, UNIT, "t.csv")
    assert (found.source, found.target) == (MOOD, UNIT)
    np.testing.assert_array_equal(found.table, table(MOODS, UNITS).table)


@given(st.sets(st.sampled_from(MOODS), min_size=2), st.sets(st.sampled_from(UNITS), min_size=1))
def test_what_a_table_lacks_is_unknown_and_what_it_has_further_is_ignored(
    moods: set[str], units: set[str]
) -> None:
    given_table = table([*sorted(moods), "bored"], ["AU99", *sorted(units)])
    found = aligned(given_table, MOOD, UNIT, "t.csv", extra="ignore").table
    for (mood, unit), value in CELLS.items():
        cell = found[MOODS.index(mood), UNITS.index(unit)]
        assert cell == value if mood in moods and unit in units else np.isnan(cell)
    with pytest.raises(UnknownNameError, match=r"t\.csv (lacks|also has) "):
        aligned(given_table, MOOD, UNIT, "t.csv")


def test_tables_of_no_use_are_named_for_what_they_are() -> None:
    turned = cc.Relation(cc.MulticlassTask("u", UNITS), cc.MultilabelTask("m", MOODS), np.full((4, 3), 0.5))
    with pytest.raises(UnknownNameError, match=r"is transposed: its rows are AU1, AU4, AU12, \.\.\."):
        aligned(turned, MOOD, UNIT, "t.csv", extra="ignore")
    with pytest.raises(UnknownNameError, match="in common with task 'units': it lists x, the task AU1"):
        aligned(table(MOODS, ["x"]), MOOD, UNIT, "t.csv", extra="ignore")
    with pytest.raises(UnknownNameError, match="has labels as columns, and task 'au' has classes"):
        aligned(table(MOODS, UNITS), MOOD, cc.MulticlassTask("au", UNITS), "t.csv", extra="ignore")
