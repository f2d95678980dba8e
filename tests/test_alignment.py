"""Sources whose inputs differ: each by its own mean and deviation, and sharing has to show that it helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import concord as cc
from concord.auto.alignment import Alignment, found_shifts
from concord.errors import NotFiniteError, SourceShiftWarning
from concord.estimation import input_shifts
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.learners.frozen import HEADS
from concord.networks import SmallResNet

KIND = cc.MulticlassTask("kind", ["a", "b", "c"])
MARKS = cc.MultilabelTask("marks", ["one", "two", "three"])
MORE = cc.MultilabelTask("more", ["four"])
TABLE = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])

PLAIN = TorchLearner(**HEADS)


def world(n=240, *, apart=True, seed=0):
    """Classes on one source and labels on another, whose features are shifted and stretched."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    a = (rng.random((n, 3)) < TABLE[y]).astype(float)
    x = np.concatenate([a + 0.6 * rng.normal(size=(n, 3)), rng.normal(size=(n, 3))], axis=1)
    first = np.arange(n) < n // 3
    if apart:
        x[first] = 5 * x[first] + np.array([20.0, -8.0, 3.0, 0.0, 9.0, 1.0])
    targets = {"kind": np.where(first, y, -1), "marks": np.where(first[:, None], np.nan, a)}
    return x.astype(np.float32), targets, y, a


def model(**options):
    given = {"effort": "fast", "steps": 24, "hidden": [16], "random_state": 0} | options
    return cc.CoupledClassifier([KIND, MARKS], [cc.Relation(KIND, MARKS, TABLE)], **given)


def test_sources_are_what_is_annotated_together():
    n = 60
    rng = np.random.default_rng(0)
    targets = {"kind": np.full(n, -1), "marks": np.full((n, 3), np.nan), "more": np.full((n, 1), np.nan)}
    targets["kind"][:20], targets["marks"][20:50], targets["more"][30:] = 1, 1.0, 0.0
    x = rng.normal(size=(n, 4)).astype(np.float32)
    x[:, 2] = 7.0  # constant: centred, not stretched
    tasks = [KIND, MARKS, MORE]
    rows = Rows.of(x, targets, tasks)
    found = Alignment.of(rows, tasks)
    assert sorted(map(sorted, found.sources())) == [["kind"], ["marks", "more"]]
    aligned = found.by_source(rows).inputs
    for part in (aligned[:20], aligned[20:]):
        assert part.mean(dim=0).abs().max() < 1e-5
        assert part[:, [0, 1, 3]].std(dim=0, correction=0) == pytest.approx(1.0, abs=1e-4)
    assert torch.equal(rows.inputs, torch.from_numpy(x))  # the rows themselves are left alone
    assert torch.allclose(found.of_source(rows, "kind").inputs[:20], aligned[:20])
    targets["kind"][25] = 1
    assert Alignment.of(Rows.of(x, targets, tasks), tasks) is None


@pytest.mark.parametrize("apart", [False, True])
def test_a_shift_is_found_in_features(apart):
    x, targets, *_ = world(apart=apart)
    rows = Rows.of(x, targets, [KIND, MARKS])
    found = found_shifts(PLAIN, rows, [KIND, MARKS], 0)
    assert [(s.first, s.second) for s in found] == ([("kind", "marks")] if apart else [])


@pytest.mark.filterwarnings("ignore::concord.errors.SourceShiftWarning")
@pytest.mark.parametrize("artefact", ["distilled", pytest.param("bagged", marks=pytest.mark.slow)])
def test_another_scale_of_a_source_changes_nothing(artefact, tmp_path):
    """Where a shift is found in either case, what is predicted depends on no source's mean and deviation."""
    x, targets, *_ = world()
    first = targets["kind"] >= 0
    moved = x.copy()
    moved[first] = 0.5 * x[first] - 3.0
    one, two = (model(artefact=artefact).fit(features, targets) for features in (x, moved))
    assert one.predict_proba(x)["kind"][first] == pytest.approx(
        two.predict_proba(moved)["kind"][first], abs=1e-3
    )
    others = one.predict_proba(x)["marks"][~first]
    assert others == pytest.approx(two.predict_proba(moved)["marks"][~first], abs=1e-3)
    for task, choice in one.choices_.items():
        assert choice.start == "single-task", task
        assert "has to show that it helps" in choice.reason
    assert any("differ in their inputs" in line for line in one.report_)
    one.save(tmp_path / "model")
    again = cc.CoupledClassifier.load(tmp_path / "model")
    for task, found in again.predict_proba(x).items():
        assert np.array_equal(found, one.predict_proba(x)[task])


def test_sources_alike_are_not_aligned():
    x, targets, *_ = world(apart=False)
    found = model().fit(x, targets)
    assert found._automatic.alignment is None
    assert not any("differ in their inputs" in line for line in found.report_)


def test_subjects_are_not_told_in_place_of_sources():
    """One population, many rows a subject: a subject is known again by its features, a source is not."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(40), 15)
        x = rng.normal(size=(40, 32))[group] + 0.3 * rng.normal(size=(600, 32))
        first = group < 20
        targets = {
            "kind": np.where(first, 0, -1),
            "marks": np.where(first[:, None], np.nan, np.zeros((600, 3))),
        }
        order = rng.permutation(600)
        rows = Rows.of(x[order].astype(np.float32), {k: v[order] for k, v in targets.items()}, [KIND, MARKS])
        assert found_shifts(PLAIN, rows, [KIND, MARKS], 0)  # without groups
        found += found_shifts(PLAIN, rows.in_groups(torch.from_numpy(group[order])), [KIND, MARKS], 0)
    assert not found


def test_rows_in_an_order_are_looked_at_from_beginning_to_end():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 8)).astype(np.float32)
    x[:2500] = x[:2500][np.argsort(x[:2500, 0])]
    first = np.arange(5000) < 2500
    targets = {"kind": np.where(first, 0, -1), "marks": np.where(first[:, None], np.nan, np.zeros((5000, 3)))}
    assert not found_shifts(PLAIN, Rows.of(x, targets, [KIND, MARKS]), [KIND, MARKS], 0)


def test_a_trunk_of_the_users_takes_inputs_as_they_are():
    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(40, 8)

        def forward(self, x):
            return self.table(x.long()).mean(dim=1)

    rng = np.random.default_rng(0)
    targets = world(120)[1]
    first = targets["kind"] >= 0
    # Even and odd words: of one range, so that only the trunk tells them apart.
    tokens = 2 * rng.integers(0, 20, (120, 6)) + ~first[:, None]
    with pytest.warns(SourceShiftWarning, match="differ in their inputs"):
        model(trunk=Tokens, steps=6).fit(tokens.astype(np.float32), targets)


# -- pictures ------------------------------------------------------------------------------------------


class Small(torch.nn.Module):
    """An untrained trunk for pictures, which counts the rows that pass through it."""

    passed = 0

    def __init__(self):
        super().__init__()
        layers = [torch.nn.Conv2d(1, 16, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3)]
        self.layers = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Flatten())

    def forward(self, x):
        Small.passed += len(x)
        return self.layers(x)


def pictures(first, second, change=lambda x: x, seed=0):
    """Digits in random order: so many of a source with classes, changed, and so many of one with labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = (found.images[:, None] / 16).astype(np.float32)
    index = np.random.default_rng(seed).permutation(len(x))[: first + second]
    x, has_class = x[index], np.arange(first + second) < first
    x[has_class] = change(x[has_class])
    classes = np.where(has_class, found.target[index] % 3, -1)
    labels = np.where(has_class[:, None], np.nan, np.eye(3)[found.target[index] % 3])
    return Rows.of(x, {"kind": classes, "marks": labels}, [KIND, MARKS])


LOOKING = TorchLearner(**{**HEADS, "trunk": Small})
RESIDUAL = TorchLearner(**{**HEADS, "trunk": SmallResNet(1, width=16)})


@pytest.mark.parametrize("learner", [LOOKING, RESIDUAL], ids=["plain", "residual"])
@pytest.mark.parametrize("draws", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_untrained_features_show_no_difference_that_is_not_there(learner, draws):
    found = []
    for seed in range(draws):
        for first in (40, 600):
            found += found_shifts(learner, pictures(first, 600, seed=seed), [KIND, MARKS], seed)
    assert not found


def negatives(x):
    return 1 - x


def darker(x):
    return 0.5 * x


@pytest.mark.parametrize(
    ("learner", "change"),
    [(LOOKING, negatives), (RESIDUAL, negatives), (LOOKING, darker)],  # a group norm takes brightness out
    ids=["plain-negatives", "residual-negatives", "plain-darker"],
)
@pytest.mark.parametrize("draws", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_untrained_features_show_negatives_and_dark_pictures(learner, change, draws):
    for seed in range(draws):
        for first in (40, 600):
            (shift,) = found_shifts(learner, pictures(first, 600, change, seed), [KIND, MARKS], seed)
            assert (shift.first, shift.second) == ("kind", "marks")
            assert shift.area > 0.9


def test_a_look_passes_at_most_500_rows_of_a_source_through_the_trunk():
    rows = pictures(30, 1700)
    Small.passed = 0
    found_shifts(LOOKING, rows, [KIND, MARKS], 0)
    assert 530 <= Small.passed < 540  # and the rows by which a network is built


def test_pairs_of_tasks_look_at_the_same_rows():
    asked = []
    first = np.arange(3000) < 1000
    annotated = {"kind": first, "marks": ~first, "more": ~first}
    x = np.random.default_rng(0).normal(size=(3000, 3))
    input_shifts(lambda rows: asked.append(rows) or x[rows], annotated, seed=3)
    (rows,) = asked
    assert len(rows) == 1000
    assert first[rows].sum() == 500


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "level"), [((20, 20), 0.05), ((20, 500), 0.03), ((40, 40), 0.01)])
def test_a_shift_is_seldom_found_where_there_is_none(rows, level):
    """Correlated features of one population, more of them than rows: shares of 200 draws."""
    found = 0
    first = np.arange(sum(rows)) < rows[0]
    for seed in range(200):
        rng = np.random.default_rng([seed, *rows])
        x = rng.normal(size=(sum(rows), 256)) @ rng.normal(size=(256, 256))
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        found += bool(input_shifts(x, {"kind": first, "marks": ~first}, seed=seed))
    print(f"{rows[0]} and {rows[1]} rows: {found / 200:.3f}")
    assert found / 200 <= level


def test_pictures_that_differ_put_the_burden_of_proof_on_sharing():
    rows = pictures(60, 240, lambda x: 1 - x)
    targets = {name: values.numpy() for name, values in rows.targets.items()}
    with pytest.warns(SourceShiftWarning, match="differ in their inputs"):
        found = model(trunk=Small, steps=4).fit(rows.inputs.numpy(), targets)
    for task, choice in found.choices_.items():
        assert choice.start == "single-task", task
    assert found._automatic.alignment is None  # a network on pictures knows their scale


def test_a_trunk_that_makes_no_numbers_is_named():
    class Broken(Small):
        def forward(self, x):
            return super().forward(x) / 0.0 * 0.0

    with pytest.raises(NotFiniteError, match="the trunk makes NaN or infinity"):
        found_shifts(TorchLearner(**{**HEADS, "trunk": Broken}), pictures(30, 30), [KIND, MARKS], 0)
