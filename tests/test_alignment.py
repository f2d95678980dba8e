"""Sources whose inputs differ: each by its own mean and deviation, and sharing has to show that it helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import concord as cc
from concord.auto.alignment import Alignment, found_shifts
from concord.errors import SourceShiftWarning
from concord.fitting import Rows

KIND = cc.MulticlassTask("kind", ["a", "b", "c"])
MARKS = cc.MultilabelTask("marks", ["one", "two", "three"])
MORE = cc.MultilabelTask("more", ["four"])
TABLE = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])


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
    given = {"effort": "fast", "steps": 60, "hidden": [16], "random_state": 0} | options
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
def test_a_shift_is_found_in_features_alone(apart):
    x, targets, *_ = world(apart=apart)
    rows = Rows.of(x, targets, [KIND, MARKS])
    found = found_shifts(rows, [KIND, MARKS])
    assert [(s.first, s.second) for s in found] == ([("kind", "marks")] if apart else [])
    assert found_shifts(Rows.of(x[:, :, None], targets, [KIND, MARKS]), [KIND, MARKS]) == ()


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
        assert found_shifts(rows, [KIND, MARKS])  # without groups
        found += found_shifts(rows.in_groups(torch.from_numpy(group[order])), [KIND, MARKS])
    assert not found


def test_rows_in_an_order_are_looked_at_from_beginning_to_end():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 8)).astype(np.float32)
    x[:2500] = x[:2500][np.argsort(x[:2500, 0])]
    first = np.arange(5000) < 2500
    targets = {"kind": np.where(first, 0, -1), "marks": np.where(first[:, None], np.nan, np.zeros((5000, 3)))}
    assert not found_shifts(Rows.of(x, targets, [KIND, MARKS]), [KIND, MARKS])


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
    tokens = np.where(first[:, None], rng.integers(0, 20, (120, 6)), rng.integers(20, 40, (120, 6)))
    with pytest.warns(SourceShiftWarning):
        model(trunk=Tokens, steps=6).fit(tokens.astype(np.float32), targets)
