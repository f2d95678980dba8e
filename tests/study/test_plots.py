"""Drawing: nothing is lost, misplaced, or taken for markup."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.study.pages.heat import heat_map
from concord.study.pages.plots import Effect, Line, curves, differences, glyph, mean_ranks, points, reach
from concord.study.pages.svg import Scale, fitted, path, spread, tag, ticks

NAN = float("nan")
numbers = st.floats(-100, 100, allow_nan=False)
texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=40)


def tree(markup):
    return ET.fromstring(str(markup))


def drawn(markup, look):
    return [e for e in tree(markup).iter() if look in e.get("class", "").split()]


def place(element):
    """Middle of an element, horizontally."""
    if element.tag == "circle":
        return float(element.get("cx"))
    ends = [float(pair.split(",")[0]) for pair in element.get("d").strip("MZ").split("L")]
    return (min(ends) + max(ends)) / 2


class TestSvg:
    @given(texts, texts)
    def test_text_and_attributes_come_back_as_they_were(self, text, value):
        found = tree(tag("text", text, class_=value, data={"task": value}))
        assert found.text == text
        assert found.get("class") == value
        assert found.get("data-task") == value

    def test_markup_of_others_is_text(self):
        assert tree(tag("text", "<script>alert(1)</script>")).text == "<script>alert(1)</script>"

    @given(st.lists(numbers, max_size=20), st.floats(0.5, 20))
    def test_spread_keeps_order_and_distance(self, wanted, gap):
        placed = spread(wanted, gap, -200.0, 800.0)
        order = sorted(range(len(wanted)), key=lambda i: wanted[i])
        for first, second in pairwise(order):
            assert placed[second] - placed[first] >= gap - 1e-6
        assert all(p >= -200 - 1e-6 for p in placed)

    def test_spread_moves_nothing_that_has_room(self):
        assert spread([50.0, 10.0, 90.0], 13, 0, 100) == [50.0, 10.0, 90.0]

    def test_spread_stays_inside(self):
        assert spread([98.0, 99.0, 100.0], 10, 0, 100) == [80.0, 90.0, 100.0]

    @given(numbers, numbers)
    def test_ticks_are_few_and_within(self, a, b):
        low, high = min(a, b), max(a, b)
        found = ticks(low, high)
        assert len(found) <= 6
        slack = 1e-6 * max(1.0, high - low)
        assert all(low - slack <= t <= high + slack for t in found)

    def test_scales(self):
        assert Scale(0, 10, 100, 200)(5) == 150
        assert Scale(1, 100, 0, 2, log=True)(10) == pytest.approx(1)
        assert Scale(3, 3, 0, 10)(3) == 5

    def test_paths_and_cut_text(self):
        assert path([(0, 0), (1.25, 2)], closed=True) == "M0,0L1.25,2Z"
        assert fitted("abc", 1000) == "abc"
        assert fitted("condition-1", 50, 10) == "cond…n-1"


class TestPoints:
    def test_signs(self):
        assert points(1.25, 2) == "+1.25"
        assert points(-1.26) == "\N{MINUS SIGN}1.3"
        assert points(-0.001) == "0.0"


def effect(value, verdict="undecided", half=1.0, **more):
    return Effect("a", value, value - half, value + half, verdict, **more)


class TestDifferences:
    @given(st.lists(st.floats(-60, 60, allow_nan=False), min_size=1, max_size=12))
    def test_every_effect_is_drawn_inside_and_on_its_side_of_zero(self, values):
        effects = [effect(v, data={"condition": str(i)}, seeds=(v,)) for i, v in enumerate(values)]
        picture = differences(effects, reach(effects, 1.0), 1.0, "picture")
        zero = float(drawn(picture, "zero")[0].get("x1"))
        rows = drawn(picture, "effect")
        assert len(rows) == len(values)
        for value, row in zip(values, rows, strict=True):
            marks = [place(e) for e in row.iter() if e.get("class") == "mark"]
            assert marks
            assert all(0 <= at <= 352 for at in marks)
            assert all((at - zero) * value >= -1e-6 or abs(at - zero) < 0.02 for at in marks)
            said = [e.text for e in row.iter() if e.get("class") == "value"]
            assert said == [points(value)]

    def test_order_of_values_is_order_on_the_axis(self):
        effects = [effect(v) for v in (-3.0, 0.0, 2.0, 5.0)]
        picture = differences(effects, reach(effects, 1.0), 1.0, "picture")
        at = [place(mark) for mark in drawn(picture, "mark")]
        assert at == sorted(at)

    def test_an_outlier_is_cut_and_its_number_stays(self):
        effects = [*(effect(v) for v in (1.0, -1.0, 2.0, 0.5, 1.5)), effect(-55.0, "inferior")]
        limits = reach(effects, 1.0)
        assert limits[0] > -20
        row = drawn(differences(effects, limits, 1.0, "picture"), "v-inferior")[0]
        assert len([e for e in row.iter() if e.get("class") == "mark"]) == 2
        assert "\N{MINUS SIGN}55.0" in [e.text for e in row.iter()]

    def test_an_interval_beyond_the_panel_has_an_arrow(self):
        picture = differences([effect(1.0, half=9.0)], (-5.0, 5.0), 1.0, "picture")
        assert len(drawn(picture, "cut")) == 2

    def test_one_seed_has_no_interval(self):
        one = Effect("a", 1.0, None, None, "undecided", seeds=(1.0,))
        picture = differences([one], reach([one], 1.0), 0.0, "picture")
        assert not drawn(picture, "interval")
        assert not drawn(picture, "margin")
        assert "single seed" in str(picture)

    def test_verdicts_differ_in_shape_as_well_as_colour(self):
        shapes = {
            v: next(iter(tree(glyph(v)))) for v in ("superior", "inferior", "non-inferior", "undecided")
        }
        assert shapes["superior"].get("d") != shapes["inferior"].get("d")
        assert shapes["superior"].tag != shapes["non-inferior"].tag


class TestCurves:
    def test_lines_end_labels_and_bands(self):
        lines = [
            Line("first", 0, [(1, 10, 9, 11), (10, 20, 19, 21), (100, 30, 29, 31)]),
            Line("second", 12, [(1, 12, 9, 13), (100, 30, 29, 31)]),
        ]
        picture = curves(lines, "picture", x_title="rows", log=True, marks=True, x_ticks=[1, 10, 100])
        assert {e.text for e in drawn(picture, "end")} == {"first", "second"}
        assert len(drawn(picture, "dot")) == 5
        first, second = drawn(picture, "line")
        assert first.get("stroke-dasharray") != second.get("stroke-dasharray")
        ends = sorted(float(e.get("y")) for e in drawn(picture, "end"))
        assert ends[1] - ends[0] >= 12.9

    def test_the_beginning_does_not_stretch_the_axis(self):
        line = Line("a", 0, [(0, 0, 0, 0), (50, 90, 90, 90), (100, 91, 91, 91)])
        labels = [float(e.text) for e in drawn(curves([line], "p", x_title="steps", settled=0.2), "tick")[:3]]
        assert min(labels) > 80

    def test_a_gap_is_a_gap(self):
        gap = (20.0, NAN, NAN, NAN)
        whole = [(10.0, 1, 0, 2), (20.0, 2, 1, 3), (30.0, 3, 2, 4), (40.0, 4, 3, 5)]
        line = Line("a", 0, [gap if p[0] == 20 else p for p in whole])
        picture = curves([line], "picture", x_title="steps")
        assert drawn(picture, "line")[0].get("d").count("M") == 2
        assert drawn(picture, "band")[0].get("d").count("M") == 2
        assert len(drawn(picture, "dot")) == 3
        assert "no value at 20" in str(picture)
        assert "nan" not in str(picture).lower()

    def test_a_single_constant_point(self):
        picture = curves([Line("a", 0, [(5, 1, 1, 1)])], "picture", x_title="steps")
        assert len(drawn(picture, "dot")) == 1


class TestHeatMap:
    def test_unknown_cells_are_hatched_and_the_rest_is_as_strong_as_likely(self):
        picture = heat_map([[None, 0.25], [1.0, 0.0]], ["a", "b"], ["x", "y"], "picture", kind="probability")
        assert len(drawn(picture, "unknown")) == 1
        assert [float(e.get("fill-opacity")) for e in drawn(picture, "p")] == [0.25, 1.0, 0.0]
        assert [e.text for e in drawn(picture, "cell")] == [".25", "1", "0"]

    def test_signs_have_colours_and_large_ones_frames(self):
        picture = heat_map(
            [[0.5, -0.2]], ["a"], ["x", "y"], "picture", kind="difference", outlined=lambda _i, j: j == 0
        )
        assert len(drawn(picture, "plus")) == len(drawn(picture, "minus")) == 1
        assert len(drawn(picture, "framed")) == 1

    def test_confusions_are_shares_of_their_row(self):
        picture = heat_map([[9, 1], [0, 0]], ["a", "b"], ["a", "b"], "picture", kind="confusion")
        assert [e.text for e in drawn(picture, "cell")] == ["90", "10"]
        assert "9 of 10 (90.0%)" in str(picture)
        assert len(drawn(picture, "unknown")) == 2
        assert "no row of this class" in str(picture)

    def test_a_wide_table_grows_and_turns_its_heads(self):
        columns = [f"label {i}" for i in range(60)]
        picture = heat_map([[0.5] * 60], ["a"], columns, "picture", kind="probability")
        assert float(tree(picture).get("width")) > 700
        assert "fixed" in tree(picture).get("class")
        assert all("rotate" in e.get("transform") for e in drawn(picture, "side")[1:])

    def test_a_table_of_very_many_cells_stays_light(self):
        names = [f"class {i}" for i in range(200)]
        table = [[float(9 * (i == j) + (j == 3)) for j in range(200)] for i in range(200)]
        table[0][5] = None
        picture = heat_map(table, names, names, "picture", kind="confusion")
        assert len(str(picture)) < 100_000
        assert sum(e.get("d").count("M") for e in drawn(picture, "wrong")) == 199
        assert sum(e.get("d").count("M") for e in drawn(picture, "right")) == 200
        assert sum(e.get("d").count("M") for e in drawn(picture, "unknown")) == 1


class TestMeanRanks:
    def test_best_first_and_the_band_starts_there(self):
        picture = mean_ranks({"a": 3.0, "b": 1.0, "c": 2.0}, 1.5, "picture")
        assert [e.text for e in drawn(picture, "name")] == ["b", "c", "a"]
        assert float(drawn(picture, "alike")[0].get("x")) == pytest.approx(place(drawn(picture, "rank")[0]))
        assert not drawn(mean_ranks({"a": 1.0, "b": 2.0}, None, "picture"), "alike")
