"""Rows drawn for a regime: every class has one, in whatever order tasks are given."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask
from concord.study.problems import Problem, draw
from concord.study.problems.cases.digits import problem as digits
from concord.study.problems.every_class import apart, covering
from concord.study.spec import Regime

ROWS = 80
KIND, MAKER = (MulticlassTask(name, [f"{name} {i}" for i in range(9)]) for name in ("kind", "maker"))
MARKS = MultilabelTask("marks", ["a", "b"])


@st.composite
def worlds(draw: Any, tasks: tuple[Any, ...], order: bool = True) -> Problem:
    """Problems of 80 training rows; all classes have two of them, but the first, which has all others."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    targets: dict[str, np.ndarray] = {"marks": rng.integers(0, 2, (ROWS + 2, 2)).astype(np.float32)}
    for task in tasks:
        if isinstance(task, MulticlassTask):
            k = draw(st.integers(2, task.width))
            rare = rng.permutation(np.r_[np.repeat(np.arange(k), 2), np.zeros(ROWS - 2 * k, dtype=int)])
            targets[task.name] = np.r_[rare, 0, 0]
    return Problem(
        name="world",
        tasks=tuple(draw(st.permutations(tasks))) if order else tasks,
        inputs=np.zeros((ROWS + 2, 1), dtype=np.float32),
        targets={task.name: targets[task.name] for task in tasks},
        splits={"train": np.arange(ROWS), "val": np.array([ROWS]), "test": np.array([ROWS + 1])},
        groups=np.r_[np.arange(ROWS) // 5, -1, -2] if draw(st.booleans()) else None,
    )


def classes(world: Problem, name: str) -> int:
    """How many classes of a task the training rows have."""
    y = world.targets[name][world.splits["train"]]
    return len(np.unique(y[y >= 0]))


def shown(targets: dict[str, np.ndarray], name: str) -> tuple[int, int]:
    """Annotated rows of a class task, and the classes they have."""
    y = targets[name][targets[name] >= 0]
    return len(y), len(np.unique(y))


@settings(max_examples=150, deadline=None)
@given(worlds((KIND, MARKS)), st.integers(1, ROWS), st.data(), st.integers(0, 3))
def test_every_class_has_a_row_whether_the_class_task_is_first_or_not(world, n_kind, data, seed):
    overlap = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    most = ROWS if overlap == 1 else ROWS - n_kind
    assume(most > 0)
    n_marks = data.draw(st.integers(1, most) if overlap < 1 else st.integers(1, ROWS))
    rows: dict[str, Any] = {"kind": n_kind, "marks": n_marks}
    assume(n_kind + n_marks - round(overlap * min(n_kind, n_marks)) <= ROWS)
    if overlap == 0 and data.draw(st.booleans()):
        rows["kind"] = "all"
    _, targets = draw(world, Regime(name="r", rows=rows, overlap=overlap), seed)
    n, k = shown(targets, "kind")
    assert n == (ROWS - n_marks if rows["kind"] == "all" else n_kind)
    if n >= classes(world, "kind"):
        assert k == classes(world, "kind")


@settings(max_examples=150, deadline=None)
@given(worlds((KIND, MAKER, MARKS)), st.data(), st.integers(0, 3))
def test_every_class_of_two_class_tasks_has_a_row(world, data, seed):
    overlap = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    rows = {name: data.draw(st.integers(1, 40), label=name) for name in ("kind", "maker", "marks")}
    regime = Regime(name="r", rows=rows, overlap=overlap)
    assume(regime.total <= ROWS)
    own = {name: rows[name] - regime.both for name in ("kind", "maker")}
    # Where both need the rows they share for other classes each, the promise says as far as it can be.
    assume(sum(own[name] < classes(world, name) for name in own) < 2)
    _, targets = draw(world, regime, seed)
    for name in own:
        assert shown(targets, name)[0] == rows[name]
        if rows[name] >= classes(world, name):
            assert shown(targets, name)[1] == classes(world, name)


@settings(max_examples=60, deadline=None)
@given(worlds((KIND, MARKS), order=False), st.integers(0, 3), st.data())
def test_a_class_has_a_row_of_those_annotated_for_all_where_it_needs_one(world, seed, data):
    """Rows that are not annotated for the labels do not use up a class's turn."""
    unmarked = np.random.default_rng(seed).random(ROWS + 2) < 0.5
    y, marks = world.targets["kind"], world.targets["marks"].copy()
    unmarked[np.unique(y, return_index=True)[1]] = False
    marks[unmarked] = np.nan
    world = replace(world, targets={"kind": y, "marks": marks})
    n = data.draw(st.integers(classes(world, "kind"), max((~unmarked[:ROWS]).sum(), 9)))
    assume(n <= (~unmarked[:ROWS]).sum())
    _, targets = draw(world, Regime(name="r", rows={"kind": n, "marks": n}, overlap=1.0), seed)
    assert shown(targets, "kind") == (n, classes(world, "kind"))


@settings(max_examples=60, deadline=None)
@given(
    worlds((KIND, MARKS), order=False),
    st.integers(1, 30),
    st.integers(1, 50),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 3),
)
def test_a_draw_does_not_depend_on_the_place_of_the_class_task(world, n_kind, n_marks, overlap, seed):
    spots = MultilabelTask("spots", ["s", "t"])
    targets = {**world.targets, "spots": world.targets["marks"][::-1]}
    regime = Regime(name="r", rows={"kind": n_kind, "marks": n_marks, "spots": 10}, overlap=overlap)
    assume(regime.total <= ROWS)
    drawn = [
        draw(replace(world, tasks=tasks, targets=targets), regime, seed)
        for tasks in permutations((KIND, MARKS, spots))
        if tasks.index(MARKS) < tasks.index(spots)
    ]
    for rows, found in drawn[1:]:
        assert (rows == drawn[0][0]).all()
        for name in targets:
            assert np.array_equal(found[name], drawn[0][1][name], equal_nan=True)


@pytest.mark.parametrize(
    ("rows", "overlap", "digest"),
    [
        ((50, 600), 0.0, "f61a08d85e2d4fd7"),
        ((600, 50), 0.0, "6a1d317cc8411ec6"),
        ((200, 200), 0.25, "160cacf2dd82eb81"),
        ((600, 600), 1.0, "eb9df1a58a52183e"),
        ((12, "all"), 0.0, "6a02cc9d3269d105"),
    ],
)
def test_draws_in_which_no_class_is_missing_stay_as_studies_measured_them(rows, overlap, digest):
    regime = Regime(name="r", rows=dict(zip(("digit", "segments"), rows, strict=True)), overlap=overlap)
    found = hashlib.sha256()
    for seed in (0, 210, 211):
        index, targets = draw(digits(), regime, seed)
        found.update(index.astype("<i8").tobytes() + (targets["digit"] >= 0).tobytes())
        found.update(np.isnan(targets["segments"]).tobytes())
    assert found.hexdigest()[:16] == digest


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
@example([(0, 0), (0, 1), (1, 0), (2, 1), (2, 2), (1, 2)])
def test_rows_apart_serve_as_many_classes_as_can_be(pairs):
    """Each row serves one task: a part of the classes that rows connect lacks one where they form a tree."""
    y, z = np.array(pairs).T
    rows = list(range(len(pairs)))
    found = apart({"y": rows, "z": rows}, {"y": y, "z": z}, [])
    every = found["y"] + found["z"]
    assert len(set(every)) == len(every)
    assert len({int(y[row]) for row in found["y"]}) == len(found["y"])
    assert len({int(z[row]) for row in found["z"]}) == len(found["z"])
    part = {("y", c): {("y", c)} for c in y} | {("z", c): {("z", c)} for c in z}
    for a, b in pairs:
        joined = part["y", a] | part["z", b]
        part.update(dict.fromkeys(joined, joined))
    parts = {id(each): each for each in part.values()}.values()
    edges = [sum(("y", a) in each for a, _ in pairs) for each in parts]
    assert len(every) == sum(min(len(each), n) for each, n in zip(parts, edges, strict=True))


def test_rows_that_serve_two_tasks_are_chosen_before_those_of_one():
    y, z = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1])
    assert covering([0, 1, 2, 3], {"y": y, "z": z}, {"y": 3, "z": 2}) == [0, 3, 2]
    assert covering([0, 1, 2, 3], {"y": y, "z": z}, {"y": 1, "z": -4}) == [0]
    assert covering([], {"y": y}, {"y": 2}) == []
