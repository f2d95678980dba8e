"""A table brought to tasks by name: order changes nothing, and other names are refused or unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import concord as cc
from concord.errors import DenseOnlyError, UnknownNameError
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


@given(st.permutations(range(2)), st.permutations(range(3)))
def test_what_is_known_of_a_table_comes_along(rows: list[int], columns: list[int]) -> None:
    cells = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    a, b = cc.MulticlassTask("a", list("xy")), cc.MulticlassTask("b", list("uvw"))
    known = {"strength": cells * 10, "interval": np.stack([cells, cells]), "prior": [0.9, 0.1]}
    own = cc.Relation(a, b, cells, base_rate=[0.5, 0.3, 0.2], **known)
    source = cc.MulticlassTask("a", [a.classes[i] for i in rows])
    target = cc.MulticlassTask("b", [b.classes[i] for i in columns])
    found = aligned(own, source, target, "t.csv")
    places = np.ix_(rows, columns)
    np.testing.assert_array_equal(found.table, cells[places])
    np.testing.assert_array_equal(found.strength, own.strength[places])
    np.testing.assert_array_equal(found.interval, np.stack([cells[places]] * 2))
    np.testing.assert_array_equal(found.prior, own.prior[rows])
    np.testing.assert_array_equal(found.base_rate, own.base_rate[columns])


def test_of_some_target_classes_a_row_says_how_they_are_shared_out() -> None:
    a, b = cc.MulticlassTask("a", list("xyz")), cc.MulticlassTask("b", list("uvw"))
    own = cc.Relation(a, b, np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0, 0, 1.0]]))
    found = aligned(own, a, cc.MulticlassTask("b", ["v", "u"]), "t.csv", extra="ignore")
    np.testing.assert_allclose(found.table, [[0.375, 0.625], [0.5, 0.5], [np.nan, np.nan]])


def test_a_sparse_table_of_the_same_names_stays_as_it_is() -> None:
    cells = sparse.csr_array(np.eye(3, 4))
    cells.data[0] = 0.0  # known to be 0, and not unknown as what is not stored
    own = cc.Relation(MOOD, UNIT, cells)
    assert (aligned(own, MOOD, UNIT, "t.csv").table != own.table).nnz == 0
    turned = aligned(own, cc.MulticlassTask("mood", MOODS[::-1]), UNIT, "t.csv")
    np.testing.assert_array_equal(turned.dense().table, own.dense().table[::-1])
    with pytest.raises(DenseOnlyError, match="the table is sparse"):
        aligned(own, cc.MulticlassTask("mood", MOODS[:2]), UNIT, "t.csv", extra="ignore")
