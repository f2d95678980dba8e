"""Effort `holdout`: no network judges, teaches or relates by a row whose annotation it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import concord as cc
from asserts import raises
from concord.auto import cross_fitting, selection, splits
from concord.auto.cross_fitting import first_stage
from concord.auto.effort import EFFORTS, IN_FOLDS
from concord.auto.selection import select
from concord.errors import ConcordWarning, RangeError, UnknownNameError
from concord.estimation.em import TableRule
from concord.estimation.relatedness import FoldPredictions, class_direction, class_skill, target_skill
from concord.fitting.rows import Rows
from concord.tasks import MulticlassTask, Task
from test_selection import FakeLearner, problem
from worlds import World, classes_world, labels_world

HOLDOUT = EFFORTS["holdout"]
TELLING = {"coupled": (0.1, 0.1)}


class Remembering(FakeLearner):
    """Remembers the rows that each network was trained on, by row number, and with which annotations.

    In `models` those that compete, in `going_on` those that go on with what was chosen.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.models: list[Any] = []
        self.going_on: list[Any] = []

    def train(self, rows: Rows, tasks: Sequence[Task], **options: Any) -> Any:
        model = super().train(rows, tasks, **options)
        number = rows.inputs[:, 0, 0].numpy().astype(int)
        model.number = number
        model.known = {task.name: set(number[rows.annotated(task).numpy()]) for task in tasks}
        model.taught = {
            name: set(number[~np.isnan(values.numpy()).any(axis=1)]) for name, values in rows.soft.items()
        }
        model.initial = options["initial"]
        (self.models if model.initial is None else self.going_on).append(model)
        return model


def overlapping(world: World, overlap: float, **quality: Any) -> tuple[Remembering, Rows, list[Task]]:
    """The world's rows, a share of which is annotated for both tasks."""
    learner, _, tasks = problem(world, quality or None)
    seen = world.observations(overlap=overlap)
    a = seen.targets.astype(int) if world.a.ndim == 1 else seen.targets
    given = {world.source.name: seen.classes, world.target.name: a}
    rows = Rows.of(np.arange(len(world.y), dtype=np.float32)[:, None, None], given, tasks)
    return Remembering(learner.said), rows, tasks


@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("make", [labels_world, classes_world])
def test_nothing_speaks_of_an_annotation_that_it_was_trained_on(
    make: Any, overlap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows annotated for both tasks have no part in the relation, nor are they taught, unless held out."""
    world = make(3, n=900)
    learner, rows, tasks = overlapping(world, overlap, **TELLING)
    source, target = tasks
    stages: list[Any] = []
    seen: list[tuple[Any, FoldPredictions]] = []
    checked, trained = cross_fitting.check_observations, selection.first_stage
    monkeypatch.setattr(
        cross_fitting, "check_observations", lambda o, r, f: seen.append((o, f)) or checked(o, r, f)
    )
    monkeypatch.setattr(
        selection, "first_stage", lambda *a, **o: stages.append(trained(*a, **o)) or stages[-1]
    )
    select(learner, rows, tasks, [world.relation], effort=HOLDOUT, seed=0)
    held = set(np.flatnonzero(stages[0].fold == 0))
    assert 0.15 < len(held) / len(rows) < 0.25
    for model in learner.models:
        assert held.isdisjoint(model.number)
    known = {task.name: set(rows.annotated(task).tolist()) for task in tasks}
    both = (known[source.name] & known[target.name]) - held
    (observations, by_fold), (model, *_) = seen[0], learner.models
    some = np.flatnonzero(stages[0].untaught(source, target))
    assert len(some) == len(observations.classes) == len(by_fold.fold)
    assert both.isdisjoint(some)
    assert (both | set(some)) == set(range(len(rows)))  # nothing else is left out
    # A class head speaks of labelled rows, the other one of rows with a class: neither was trained on them.
    labelled, classed = (set(some) & known[task.name] for task in (target, source))
    assert model.known.keys() == {source.name}
    assert labelled.isdisjoint(model.known[source.name])
    assert classed.isdisjoint(learner.models[1].known[target.name])
    for model in learner.models:
        for name, numbers in model.taught.items():
            assert numbers.isdisjoint(known[name])
            assert numbers.isdisjoint(both)
            assert numbers.isdisjoint(held)
    if overlap < 1:
        assert any(model.taught for model in learner.models)
    for model in learner.going_on:  # nothing is judged by these
        assert set(model.number) == set(range(len(rows)))
        for name, numbers in model.taught.items():
            assert numbers.isdisjoint(known[name])


def test_the_held_out_rows_alone_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    world = labels_world(0, n=900)
    learner, rows, tasks = overlapping(world, 0.2, **TELLING)
    judged: list[Any] = []
    real = selection.guard

    def spy(task: Any, families: Any, given: Any, *rest: Any, **options: Any) -> Any:
        judged.append(given.inputs[:, 0, 0].numpy().astype(int))
        assert all(z.shape[1] == len(given) for f in families.values() for z in f.logits.values())
        return real(task, families, given, *rest, **options)

    monkeypatch.setattr(selection, "guard", spy)
    outcome = select(learner, rows, tasks, [world.relation], effort=HOLDOUT, seed=0)
    held = np.flatnonzero(splits.hold_out(rows, tasks, 0, learnt_later=True))
    for each in judged:
        np.testing.assert_array_equal(each, held)
    assert f"{len(held)} of 900 rows were held out" in " ".join(outcome.notes)


def test_annotations_of_both_tasks_relate_them_without_a_network() -> None:
    """No network has a part in it, so rows that networks were trained on count as well."""
    learner, rows, tasks = overlapping(labels_world(0, n=600), 1.0)
    first = first_stage(learner, rows, tasks, effort=HOLDOUT, seed=0)
    check = first.check((tasks[0], tasks[1]))
    by_both = replace(check, rule=TableRule(of_both=True))
    parts = first.parts(tasks[1])
    for found in (first.without(0, by_both), *first.without_labels(parts, by_both)):
        assert np.ptp(np.asarray(found.table), axis=0).min() > 0.3


def test_rows_that_networks_were_trained_on_calibrate_nothing() -> None:
    """What networks say of annotations that they learnt from can be anything."""
    world = labels_world(2, n=600)
    learner, rows, tasks = overlapping(world, 0.2, **TELLING)
    source, target = tasks
    stage = first_stage(learner, rows, tasks, effort=HOLDOUT, seed=0)
    y = rows.targets[source.name].numpy()
    learnt = (stage.fold == splits.TRAINED_ON) & (y >= 0)
    logits = stage.base.logits[source.name].copy()
    logits[:, learnt] = 30 * np.eye(source.width)[y[learnt]]
    sure = replace(stage.base, logits={**stage.base.logits, source.name: logits})
    known = ~learnt[stage.untaught(source, target)]
    found, wanted = (
        replace(stage, families={**stage.families, sure.name: base}).observations(source, target)
        for base in (sure, stage.base)
    )
    np.testing.assert_array_equal(found.class_proba[known], wanted.class_proba[known])


def test_annotations_of_other_rows_than_those_in_folds_judge_nothing() -> None:
    """What negative folds say of their own tasks can be anything."""
    world = labels_world(1, n=600)
    seen = world.observations(overlap=0.2)
    fold = np.where(np.arange(600) % 3 == 0, 0, splits.TRAINED_ON)
    some = FoldPredictions(fold, seen.class_proba[None], seen.target_proba)
    out = fold < 0
    y, a = np.asarray(seen.classes), np.asarray(seen.targets)
    p, q = seen.class_proba.copy(), seen.target_proba.copy()
    p[out & (y >= 0)] = np.eye(seen.source.width)[y[out & (y >= 0)]]
    labelled = ~np.isnan(a).any(axis=1)
    q[out & labelled] = a[out & labelled]
    told = FoldPredictions(fold, p[None], q)
    assert class_skill(seen, some) == class_skill(seen, told)
    assert target_skill(seen, some) == target_skill(seen, told)

    def build(_: Any) -> Any:
        return world.table

    rates = seen.base_rates()
    assert class_direction(seen, build, rates, some) == class_direction(seen, build, rates, told)
    every = class_direction(seen, build, rates, some.everywhere())
    assert every.z > class_direction(seen, build, rates, some).z  # three times the rows of the same world


def test_what_was_chosen_goes_on_with_all_rows_and_costs_three_pairs_at_most() -> None:
    world = labels_world(0, n=600)
    for quality in (TELLING, {"single-task": (0.1, 0.1)}, {}):
        learner, rows, tasks = overlapping(world, 0.0, **quality)
        outcome = select(learner, rows, tasks, [world.relation], effort=HOLDOUT, seed=0)
        assert learner.spent == pytest.approx(outcome.cost)
        assert outcome.cost <= HOLDOUT.cost() == 3.0
        count, rest = len(learner.models), 1 - HOLDOUT.share
        shares = [share for _, _, share, _ in learner.trained]
        assert shares == [HOLDOUT.share] * count + [rest] * (len(shares) - count)
        kinds = [kind for kind, *_ in learner.trained[:count]]
        assert kinds == ["single-task", "single-task", "shared", "coupled"][:count]
        for family in outcome.families.values():
            (networks,) = family.networks
            assert set(map(id, networks.values())) <= set(map(id, learner.going_on))
        for network in learner.going_on:
            assert network.initial in learner.models
    p = outcome.probabilities(learner, rows)
    assert p["kind"].shape == (600, 5)


def test_a_share_of_one_leaves_nothing_to_go_on_with() -> None:
    """As with estimators, which have no steps."""
    world = labels_world(0, n=600)
    learner, rows, tasks = overlapping(world, 0.0, **TELLING)
    outcome = select(learner, rows, tasks, [world.relation], effort=replace(HOLDOUT, share=1.0), seed=0)
    assert not learner.going_on
    assert learner.spent == pytest.approx(outcome.cost)
    assert set(map(id, outcome.families["coupled"].networks[0].values())) <= set(map(id, learner.models))
    assert "120 of 600 rows were held out of all training and judged" in " ".join(outcome.notes)
    assert "what was chosen is kept as it is" in " ".join(outcome.notes)


@pytest.mark.parametrize(("known", "held"), [(10, 2), (38, 8), (44, 22), (90, 45), (400, 80)])
def test_no_more_is_held_out_than_what_can_judge(known: int, held: int) -> None:
    kind, marks = cc.MulticlassTask("kind", ["a", "b"]), cc.MultilabelTask("marks", ["x"])
    y = np.r_[np.arange(known) % 2, np.full(400, -1)]
    a = np.r_[np.full(known, np.nan), np.arange(400) % 2][:, None]
    rows = Rows.of(np.zeros((known + 400, 1), np.float32), {"kind": y, "marks": a}, [kind, marks])
    out = splits.hold_out(rows, [kind, marks], 0, learnt_later=True)
    assert abs(out[:known].sum() - held) <= 1
    assert out[known:].sum() == 80


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_held_out_leaves_a_row_of_everything(seed: int, later: bool) -> None:
    rng = np.random.default_rng(seed)
    kind, marks = cc.MulticlassTask("kind", list("abcdefgh")), cc.MultilabelTask("marks", ["x", "y"])
    y = rng.choice(8, 60, p=[0.6, 0.3, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01])
    a = (rng.random((60, 2)) < [0.5, 0.03]).astype(float)
    part = rng.random(60) < 0.5
    given = {"kind": np.where(part, y, -1), "marks": np.where(part[:, None], np.nan, a)}
    rows = Rows.of(np.zeros((60, 1)), given, [kind, marks]).in_groups(rng.integers(0, 30, 60))
    held = splits.hold_out(rows, [kind, marks], seed, learnt_later=later)
    assert np.array_equal(held, splits.hold_out(rows, [kind, marks], seed, learnt_later=later))
    group = rows.group
    assert group is not None
    assert set(group.numpy()[held]).isdisjoint(group.numpy()[~held])
    for task in (kind, marks):
        values = rows.targets[task.name].numpy()
        known = task.annotated(values)
        assert known[held].any()
        if isinstance(task, MulticlassTask):
            assert set(values[known]) == set(values[known & ~held])
        else:
            for k in range(2):
                assert set(values[known, k]) == set(values[known & ~held, k])


@pytest.mark.parametrize(("n", "judges"), [(40, 20), (100, 50), (160, 53), (600, 120)])
@pytest.mark.parametrize("size", [1, 2])
def test_a_scarce_task_has_up_to_half_of_its_rows_held_out(n: int, judges: int, size: int) -> None:
    """Rows that networks learn later; of those that they never learn it is a fifth."""
    kind, marks = cc.MulticlassTask("kind", ["a", "b"]), cc.MultilabelTask("marks", ["x"])
    alternately, scarce = np.arange(1600) % 2, np.arange(1600) < n
    given = {
        "kind": np.where(scarce, alternately, -1),
        "marks": np.where(scarce[:, None], np.nan, alternately[:, None]),
    }
    rows = Rows.of(np.zeros((1600, 1)), given, [kind, marks]).in_groups(np.arange(1600) // size)
    later, never = (splits.hold_out(rows, [kind, marks], 0, learnt_later=each) for each in (True, False))
    assert abs(later[scarce].sum() - judges) <= size
    assert abs(never[scarce].sum() - n / 5) <= size
    for held in (later, never):
        assert abs(held[~scarce].sum() - (1600 - n) / 5) <= 2 * size
        np.testing.assert_array_equal(held[::2], held[size - 1 :: 2])  # groups stay whole


def test_too_few_rows_or_groups_are_an_error() -> None:
    world = labels_world(0, n=300)
    learner, rows, tasks = overlapping(world, 0.0)
    few = rows.in_groups(np.where(np.arange(300) < 150, "a", "b"))
    with raises(RangeError, "cannot be divided into rows to train on and rows to judge by"):
        select(learner, few, tasks, [], effort=HOLDOUT, seed=0)


def test_predictions_of_all_rows_take_folds() -> None:
    world = labels_world(0, n=300)
    learner, rows, tasks = overlapping(world, 0.0)
    stage = first_stage(learner, rows, tasks, effort=HOLDOUT, seed=0)
    with raises(RangeError, "take folds, found a hold-out"):
        stage.predictions()
    judging = stage.judging()
    assert set(judging.predictions()["kind"].shape) == {len(judging.rows), 5}
    grouped = replace(stage, rows=rows.in_groups(np.arange(300) // 2))
    assert grouped.observations(*tasks).group is not None  # type: ignore[arg-type]
    folds = first_stage(learner, rows, tasks, effort=EFFORTS["fast"], seed=0)
    assert folds.judging() is folds
    assert folds.untaught(*tasks).all()


X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


def model(**options: Any) -> cc.CoupledClassifier:
    pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs", "barks"])
    table = cc.Relation(pet, trait, [[0.9, 0.1], [0.1, 0.9]])
    small = {"effort": "holdout", "steps": 20, "hidden": (8, 8), "random_state": 0}
    return cc.CoupledClassifier([pet, trait], [table], **{**small, **options})


def targets() -> dict[str, Any]:
    y = (X[:, 0] > 0).astype(int)
    a = np.stack([1 - y, y], axis=1).astype(float)
    first = np.arange(200) < 100
    return {"pet": np.where(first, y, -1), "trait": np.where(first[:, None], np.nan, a)}


@pytest.mark.parametrize("artefact", ["distilled", "bagged"])
def test_the_estimator_says_so_keeps_it_and_loads_it(tmp_path: Any, artefact: str) -> None:
    with pytest.warns(ConcordWarning, match="effort holdout: experimental"):
        fitted = model(artefact=artefact).fit(X, targets(), groups=np.arange(200) // 2)
    assert fitted.cost_ <= 3.0
    assert any("held out at first and judged" in line for line in fitted.report_)
    fitted.save(tmp_path / "model")
    again = cc.CoupledClassifier.load(tmp_path / "model")
    for name, p in fitted.predict_proba(X).items():
        np.testing.assert_array_equal(p, again.predict_proba(X)[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcordWarning)
        twin = model(artefact=artefact).fit(X, targets(), groups=np.arange(200) // 2)
    assert twin.report_ == fitted.report_
    torch.testing.assert_close(
        twin.predict_proba(X)["trait"], fitted.predict_proba(X)["trait"], atol=0, rtol=0
    )


def test_cross_fitting_and_two_stages_take_folds() -> None:
    assert set(IN_FOLDS) == {"fast", "standard", "thorough"}
    with raises(UnknownNameError, "effort of cross-fitting"):
        model().cross_fit(X, targets())
    with raises(UnknownNameError, "two-stage"):
        model(coupling="two-stage").fit(X, targets())
    with raises(UnknownNameError, "effort of thresholds"):
        model(coupling=None, thresholds="f1").fit(X, targets())


@pytest.mark.filterwarnings("ignore:effort holdout:concord.errors.ConcordWarning")
def test_thresholds_and_estimators_go_with_a_holdout() -> None:
    from sklearn.linear_model import LogisticRegression

    cut = model(thresholds="f1").fit(X, targets())
    assert cut.thresholds_ is not None
    plain = model().fit(X, targets())
    np.testing.assert_array_equal(cut.predict_proba(X)["pet"], plain.predict_proba(X)["pet"])
    linear = model(base=LogisticRegression(), thresholds="f1", steps=None, hidden=(128, 128)).fit(
        X, targets()
    )
    assert linear.cost_ <= 2.0
    assert "single-task and coupled models, each trained once" in linear.report_[0]
