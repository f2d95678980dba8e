from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch import nn

import concord as cc
from asserts import raises
from concord.auto import combine, guard, splits, starts, teach
from concord.auto import selection as selecting
from concord.auto.combine import Choice
from concord.auto.cross_fitting import PARTS, cross_fitted_predictions, first_stage
from concord.auto.effort import EFFORTS, Effort
from concord.auto.families import Family, balance_soft, balance_weights
from concord.auto.posterior import posterior_targets
from concord.auto.selection import Automatic, select
from concord.auto.starts import Start
from concord.decoding import row_loss
from concord.errors import RangeError, ShapeError, UnknownNameError
from concord.estimation.check import check_observations
from concord.estimation.em import TableRule
from concord.estimation.shift import prior_shift, source_prior
from concord.fitting.rows import Rows
from concord.learners import EstimatorLearner, Kind, Learner
from concord.tasks import Task
from worlds import World, class_head, classes_world, label_head, labels_world

FAST = Effort(2, 0.25)
KINDS: tuple[Kind, ...] = ("single-task", "shared", "coupled")


class Told(nn.Module):
    """A network that was told what to say, by row number."""

    def __init__(self, kind: str, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.kind, self.names = kind, [task.name for task in tasks]


class FakeLearner(Learner):
    """Trains nothing: logits by kind of network, task and row."""

    kinds: Sequence[Kind] = KINDS

    def __init__(self, said: dict[str, dict[str, np.ndarray]]) -> None:
        self.said = said
        self.trained: list[tuple[str, tuple[str, ...], float, int]] = []
        self.soft: list[dict[str, np.ndarray]] = []
        self.weights: list[tuple[dict[str, float], dict[str, float]]] = []

    def train(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        kind: Kind,
        share: float,
        seed: int,
        task_weights: Any,
        soft_weights: Any,
        initial: Any = None,
    ) -> nn.Module:
        assert initial is None or (initial.kind, initial.names) == (kind, [task.name for task in tasks])
        assert (kind == "coupled") == bool(rows.soft)
        self.trained.append((kind, tuple(task.name for task in tasks), share, seed))
        self.soft.append({name: values.numpy() for name, values in rows.soft.items()})
        self.weights.append((dict(task_weights), dict(soft_weights)))
        return Told(kind, tasks)

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> np.ndarray:
        return np.zeros((len(rows), 1))  # inputs are numbers of rows, which are no features

    def predict(self, model: Any, rows: Rows) -> dict[str, np.ndarray]:
        number = np.asarray(rows.inputs).reshape(len(rows.inputs), -1)[:, 0].astype(int)
        return {name: self.said[model.kind][name][number] for name in model.names}

    @property
    def spent(self) -> float:
        """Training, with one single-task model of each of two tasks as 1."""
        return sum(share * (0.5 if kind == "single-task" else 1.0) for kind, _, share, _ in self.trained)


def noisy(logits: np.ndarray, worse: float, seed: int) -> np.ndarray:
    """Logits of a head that sees less: exact ones beside noise, shrunk to stay calibrated."""
    spread = logits.std()
    noise = np.random.default_rng(seed).normal(0, worse * spread, logits.shape)
    return (logits + noise) / (1 + worse**2)


def problem(
    world: World, quality: dict[str, tuple[float, float]] | None = None, classes: float = 0.5
) -> tuple[FakeLearner, Rows, list[Task]]:
    """A learner whose kinds of networks add noise to exact logits, by kind: (class noise, target noise)."""
    quality = {"single-task": (0.6, 0.6), "shared": (0.6, 0.6), "coupled": (0.6, 0.6)} | (quality or {})
    said = {
        kind: {
            world.source.name: noisy(world.class_logits, quality[kind][0], 1 + i),
            world.target.name: noisy(world.target_logits, quality[kind][1], 11 + i),
        }
        for i, kind in enumerate(KINDS)
    }
    seen = world.observations(classes=classes)
    n = len(world.y)
    tasks: list[Task] = [world.source, world.target]
    a = seen.targets.astype(int) if world.a.ndim == 1 else seen.targets
    rows = Rows.of(
        np.arange(n, dtype=np.float32)[:, None, None],  # no features, of which shifts are looked for
        {world.source.name: seen.classes, world.target.name: a},
        tasks,
    )
    return FakeLearner(said), rows, tasks


def chosen(outcome: Automatic) -> dict[str, set[str]]:
    return {name: set(choice.weights) for name, choice in outcome.choices.items()}


# -- what is chosen -------------------------------------------------------------------------------------


def test_a_learner_that_shares_nothing_has_no_shared_candidate() -> None:
    """Single-task models are what it starts from, judges relations by, and teaches by."""
    world = labels_world(0, n=640)
    learner, rows, tasks = problem(world, {"coupled": (0.1, 0.6)})
    learner.kinds = ("single-task", "coupled")
    said: list[str] = []
    outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=3, say=said.append)
    assert {kind for kind, *_ in learner.trained} == {"single-task", "coupled"}
    assert learner.spent == pytest.approx(outcome.cost)
    assert "2 folds x single-task and coupled models" in said[0]
    assert chosen(outcome)["kind"] == {"coupled"}
    assert "shared" not in {name.partition("/")[0] for c in outcome.choices.values() for name in c.losses}
    assert outcome.probabilities(learner, rows)["kind"].sum(axis=1) == pytest.approx(1.0)
    alone = select(learner, rows, tasks, [], effort=FAST, seed=3)
    assert chosen(alone) == {task.name: {"single-task"} for task in tasks}


def test_a_coupling_that_helps_is_chosen_and_taught_the_posterior() -> None:
    world = labels_world(0, n=900)
    learner, rows, tasks = problem(world, {"coupled": (0.1, 0.6)})
    said: list[str] = []
    outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=3, say=said.append)
    assert outcome.checks[0].verdict == "kept"
    assert chosen(outcome)["kind"] == {"coupled"}
    assert outcome.choices["kind"].z > 1.64
    # Rows with labels and no class are taught; the class they are taught is mostly theirs.
    kind, names, share, _ = (
        learner.trained[-1]
        if learner.trained[-1][0] == "coupled"
        else next(t for t in reversed(learner.trained) if t[0] == "coupled")
    )
    assert (kind, names, share) == ("coupled", ("kind", "marks"), 1.0)
    soft = next(s for s in reversed(learner.soft) if s)["kind"]
    with_class = rows.targets["kind"].numpy() >= 0
    assert np.isnan(soft[with_class]).all()
    assert (soft[~with_class].argmax(axis=1) == world.y[~with_class]).mean() > 0.85
    assert "folds" in said[0]
    assert said[1:] == outcome.sentences()
    assert any("kind: coupled" in sentence for sentence in said)


def test_labels_are_decoded_where_the_class_head_knows_more() -> None:
    world = labels_world(1, n=640)
    learner, rows, tasks = problem(world, dict.fromkeys(KINDS, (0.0, 2.0)))
    outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=0)
    (name,) = chosen(outcome)["marks"]
    assert name.endswith("/decoded")
    assert 0 < outcome.choices["marks"].strength[name] <= 1
    probabilities = outcome.probabilities(learner, rows)
    plain = Family("shared", [], {}).probabilities(world.target, learner.said["shared"]["marks"])
    hidden = np.isnan(rows.targets["marks"].numpy()).all(axis=1)  # nobody's training or judging rows
    truth = world.a[hidden]
    assert ((probabilities["marks"][hidden] > 0.5) == truth).mean() > ((plain[hidden] > 0.5) == truth).mean()


def test_a_better_single_task_model_is_chosen() -> None:
    world = labels_world(2, n=640)
    learner, rows, tasks = problem(world, {"single-task": (0.0, 0.0)})
    outcome = select(learner, rows, tasks, [], effort=FAST, seed=0)
    assert chosen(outcome) == {"kind": {"single-task"}, "marks": {"single-task"}}
    assert outcome.notes == ("no relation was given and none can be estimated; no coupling",)
    finals = [names for kind, names, share, _ in learner.trained if share == 1.0]
    assert finals == [("kind",), ("marks",)]
    assert learner.spent == pytest.approx(outcome.cost)


@pytest.mark.parametrize("artefact", ["distilled", "bagged"])
def test_what_is_no_better_stays_out(artefact: str) -> None:
    world = labels_world(3, n=640)
    worse = {"single-task": (1.5, 1.5), "shared": (0.3, 0.3), "coupled": (1.5, 1.5)}
    learner, rows, tasks = problem(world, worse)
    outcome = select(
        learner,
        rows,
        tasks,
        [world.relation],
        effort=FAST,
        seed=0,
        artefact=artefact,  # type: ignore[arg-type]
    )
    assert chosen(outcome)["kind"] == {"shared"}
    assert "no coupling" in outcome.choices["kind"].reason
    assert outcome.choices["kind"].gain == 0.0


def test_a_bag_averages_what_each_adds() -> None:
    world = labels_world(4, n=1600)
    learner, rows, tasks = problem(world, dict.fromkeys(KINDS, (1.2, 1.2)))
    outcome = select(learner, rows, tasks, [], effort=FAST, seed=0, artefact="bagged")
    assert chosen(outcome)["kind"] == {"shared", "single-task"}
    assert sum(outcome.choices["kind"].weights.values()) == pytest.approx(1)
    assert outcome.choices["kind"].gain > 0
    assert len(outcome.families["shared"].networks) == FAST.folds
    assert outcome.cost == FAST.folds * FAST.share * 2
    for task in tasks:
        found = outcome.probabilities(learner, rows)[task.name]
        assert found.shape == (len(rows), task.width)


def test_a_single_best_member_beats_an_average() -> None:
    world = labels_world(5, n=640)
    learner, rows, tasks = problem(world, {"single-task": (0.0, 0.6), "shared": (2.5, 0.6)})
    outcome = select(learner, rows, tasks, [], effort=FAST, seed=0, artefact="bagged")
    assert outcome.choices["kind"].weights == {"single-task": 1.0}


def test_too_few_rows_prove_nothing() -> None:
    world = labels_world(6, n=400)
    learner, rows, tasks = problem(world, {"single-task": (0.0, 0.0)}, classes=0.04)
    outcome = select(learner, rows, tasks, [], effort=FAST, seed=0)
    assert outcome.choices["kind"].weights == {"shared": 1.0}
    assert "16 annotated rows prove nothing" in outcome.choices["kind"].reason


def test_where_nothing_is_shown_the_start_is_half_of_each() -> None:
    """A class head that knows nothing confirms no table and contradicts none."""
    world = labels_world(8, n=600)
    quality = dict.fromkeys(KINDS, (30.0, 0.6))
    learner, rows, tasks = problem(world, quality, classes=0.1)
    outcome = select(learner, rows, tasks, [(world.source, world.target)], effort=FAST, seed=0)
    assert outcome.checks[0].verdict == "undecided"
    choice = outcome.choices["kind"]
    assert (choice.start, choice.pool) == ("average", "logits")
    assert choice.weights == {"single-task": 0.5, "shared": 0.5}
    assert "nothing is shown" in choice.reason
    assert learner.spent == pytest.approx(outcome.cost)
    parts = [
        np.log(outcome.families[name].probabilities(world.source, learner.said[name]["kind"]))
        for name in choice.weights
    ]
    found = outcome.probabilities(learner, rows)["kind"]
    assert found == pytest.approx(softmax(sum(parts) / 2, axis=1), abs=1e-9)

    better, *_ = problem(world, quality | {"single-task": (30.0, 0.0)}, classes=0.1)
    shown = select(better, rows, tasks, [(world.source, world.target)], effort=FAST, seed=0)
    assert shown.choices["marks"].start == "average"
    assert chosen(shown)["marks"] == {"single-task"}


class SeesSources(FakeLearner):
    """Sees of every row for which task it is annotated."""

    def looked_at(self, rows: Rows, tasks: Sequence[Task], seed: int) -> np.ndarray:
        index = np.asarray(rows.inputs).ravel()
        return np.stack([index % 7, (rows.targets["kind"] >= 0).numpy() * 5.0 + index % 3], axis=1)


def sources(quality: dict[str, tuple[float, float]], classes: float = 0.5) -> Automatic:
    """What is chosen for two tasks whose rows differ, with a table that is right."""
    world = labels_world(8, n=600)
    known, rows, tasks = problem(world, quality, classes=classes)
    learner = SeesSources(known.said)
    outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=0)
    assert len(outcome.input_shifts) == 1
    assert {choice.start for choice in outcome.choices.values()} == {"single-task"}
    assert learner.spent == pytest.approx(outcome.cost)
    return outcome


HALF = {"single-task": 0.5, "shared": 0.5}


def test_where_sources_differ_and_nothing_is_shown_the_average_is_taken_where_it_is_ahead() -> None:
    seen = set()
    for choice in sources(dict.fromkeys(KINDS, (30.0, 30.0))).choices.values():
        alone, half = choice.losses["single-task"], choice.losses["average"]
        ahead = half < alone and choice.scores["average"] >= choice.scores["single-task"]
        assert choice.weights == (HALF if ahead else {"single-task": 1.0})
        assert choice.pool == ("logits" if ahead else "probabilities")
        assert ("the average is ahead of single-task" in choice.reason) == ahead
        assert "none is shown to be better" in choice.reason
        seen.add(ahead)
    assert seen == {True, False}


def test_where_sources_differ_what_is_shown_to_be_better_than_single_task_is_taken_whole() -> None:
    outcome = sources({"single-task": (6.0, 6.0), "shared": (0.0, 0.0), "coupled": (6.0, 6.0)})
    assert chosen(outcome) == {"kind": {"shared"}, "marks": {"shared"}}
    assert "it is shown to be better" in outcome.choices["kind"].reason


def test_where_sources_differ_a_better_single_task_network_shares_nothing() -> None:
    outcome = sources({"single-task": (0.0, 0.0), "shared": (6.0, 6.0), "coupled": (6.0, 6.0)})
    assert chosen(outcome) == {"kind": {"single-task"}, "marks": {"single-task"}}
    assert "none is shown to be better at level" in outcome.choices["kind"].reason


def test_where_sources_differ_too_few_rows_that_judge_share_nothing() -> None:
    world = labels_world(8, n=600)
    known, rows, tasks = problem(world, {"shared": (0.0, 0.0)}, classes=0.05)
    found = select(SeesSources(known.said), rows, tasks, [], effort=EFFORTS["holdout"], seed=0)
    choice = found.choices["kind"]
    assert (choice.start, choice.weights) == ("single-task", {"single-task": 1.0})
    assert "6 annotated rows prove nothing" in choice.reason


def test_unrelated_tasks_are_not_coupled() -> None:
    world = labels_world(7, n=640, unrelated=True)
    learner, rows, tasks = problem(world, {"coupled": (0.0, 0.0)})
    outcome = select(learner, rows, tasks, [(world.source, world.target)], effort=FAST, seed=0)
    assert outcome.checks[0].verdict == "unrelated"
    assert outcome.relations == ()
    assert {kind for kind, *_ in learner.trained} == {"single-task", "shared"}
    assert chosen(outcome) == {"kind": {"single-task"}, "marks": {"single-task"}}
    assert "has to show that it helps" in outcome.choices["kind"].reason


def test_folds_take_enough_steps_to_learn_something() -> None:
    fast = EFFORTS["fast"]
    assert fast.for_steps(800) == fast
    assert fast.for_steps(300).share == pytest.approx(0.5)
    assert fast.for_steps(100).share == 1.0
    assert EFFORTS["thorough"].for_steps(10) == EFFORTS["thorough"]


def test_unrelated_tasks_share_where_that_is_shown_to_help() -> None:
    world = labels_world(7, n=640, unrelated=True)
    learner, rows, tasks = problem(world, {"single-task": (2.0, 2.0), "shared": (0.0, 0.0)})
    outcome = select(learner, rows, tasks, [(world.source, world.target)], effort=FAST, seed=0)
    assert outcome.checks[0].verdict == "unrelated"
    assert chosen(outcome) == {"kind": {"shared"}, "marks": {"shared"}}


@pytest.mark.parametrize("artefact", ["distilled", pytest.param("bagged", marks=pytest.mark.slow)])
def test_a_scarce_class_whose_table_is_beyond_doubt_is_coupled_unless_that_harms(artefact: Any) -> None:
    world = labels_world(7, n=2400)
    for classes, coupled, expected in ((0.1, 0.65, "coupled"), (0.1, 2.0, "shared"), (0.6, 0.65, "shared")):
        quality = {"shared": (0.6, 0.6), "coupled": (coupled, 0.6), "single-task": (0.9, 0.9)}
        learner, rows, tasks = problem(world, quality, classes)
        outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=0, artefact=artefact)
        assert outcome.checks[0].reverse.z > starts.PROVEN_Z
        assert expected in outcome.choices["kind"].weights  # a bag may average
        assert (outcome.choices["kind"].start == "coupled") == (classes < 0.5)
        assert ("beyond doubt" in outcome.choices["kind"].reason) == (classes < 0.5)
        if expected != "coupled":
            continue
        pair = [(world.source, world.target)]
        own = select(learner, rows, tasks, pair, effort=FAST, seed=0, artefact=artefact)
        assert own.checks[0].verdict == "estimated"
        assert "shared" in own.choices["kind"].weights  # its cells come from the same few rows


def test_a_bag_gives_up_a_coupled_start_only_for_what_is_shown_to_be_better_than_it() -> None:
    """An average may be better than the shared network and no better than the coupled one beyond noise."""
    world = labels_world(7, n=2400)
    kept = 0
    for seed in range(2):
        quality = {"shared": (0.8, 0.6), "coupled": (0.6, 0.6), "single-task": (0.9, 0.9)}
        learner, rows, tasks = problem(world, quality, classes=0.1)
        found = select(learner, rows, tasks, [world.relation], effort=FAST, seed=seed, artefact="bagged")
        choice = found.choices["kind"]
        assert choice.start == "coupled"
        if choice.weights == {"coupled": 1.0}:
            kept += 1
        else:
            assert "than the shared network" not in choice.reason
    assert kept


def test_a_learner_without_another_candidate_says_so() -> None:
    world = labels_world(7, n=400)
    learner, rows, tasks = problem(world)
    learner.kinds = ("single-task",)
    found = select(learner, rows, tasks, [], effort=FAST, seed=0)
    for choice in found.choices.values():
        assert choice.weights == {"single-task": 1.0}
        assert "there is no other candidate" in choice.reason


def test_two_class_tasks_are_coupled() -> None:
    world = classes_world(0, n=640)
    learner, rows, tasks = problem(world, {"coupled": (0.1, 0.1)})
    outcome = select(learner, rows, tasks, [world.relation], effort=FAST, seed=0)
    assert outcome.checks[0].verdict == "kept"
    assert chosen(outcome)["coarse"] == {"coupled"}
    assert outcome.probabilities(learner, rows)["fine"].sum(axis=1) == pytest.approx(1.0)


# -- what it costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("effort", [name for name, each in EFFORTS.items() if not each.on_features])
def test_the_cost_is_what_is_trained_and_within_what_is_said(effort: str) -> None:
    world = labels_world(0, n=600)
    learner, rows, tasks = problem(world, {"coupled": (0.1, 0.1), "single-task": (0.3, 0.3)})
    outcome = select(learner, rows, tasks, [world.relation], effort=EFFORTS[effort], seed=0)
    each = EFFORTS[effort]
    spent = sum(share * (0.5 if kind == "single-task" else 1.0) for kind, _, share, _ in learner.trained)
    assert outcome.cost == pytest.approx(spent)
    assert outcome.cost <= each.cost() + 1e-9
    assert each.cost() <= {"fast": 4, "standard": 8, "thorough": 27, "holdout": 3}[effort]


def test_every_fold_is_its_own_seed_and_leaves_rows_out() -> None:
    world = labels_world(0, n=600)
    learner, rows, tasks = problem(world)
    select(learner, rows, tasks, [], effort=Effort(3, 0.25), seed=7)
    numbers = {number for kind, _, share, number in learner.trained if share < 1 and kind == "shared"}
    assert numbers == {7001, 7002, 7003}


# -- folds and weights ----------------------------------------------------------------------------------


def test_folds_are_alike_in_classes_and_what_is_annotated() -> None:
    world = labels_world(0, n=600)
    _, rows, tasks = problem(world)
    fold = splits.draw_folds(rows, tasks, 4, 0)
    y = rows.targets["kind"].numpy()
    for c in range(-1, 5):
        counts = np.bincount(fold[y == c], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_groups_are_never_divided_and_folds_stay_alike() -> None:
    world = labels_world(0, n=600)
    learner, rows, tasks = problem(world)
    groups = np.array([f"s{i % 40}" for i in range(600)])
    grouped = rows.in_groups(groups)
    fold = splits.checked_folds(grouped, tasks, 4, 0)
    for name in np.unique(groups):
        assert len(np.unique(fold[groups == name])) == 1
    select(learner, grouped, tasks, [], effort=FAST, seed=0)
    with raises(ShapeError, "groups have shape (600,)"):
        rows.in_groups(groups[:3])
    few = rows.in_groups(np.where(np.arange(600) < 300, "a", "b"))  # whole tasks in one group each
    with raises(RangeError, "annotated rows in 1 groups, fewer than the 2 folds"):
        select(learner, few, tasks, [], effort=FAST, seed=0)
    two = rows.in_groups(np.arange(600) % 2)
    with raises(RangeError, "annotated rows in 2 groups, fewer than the 4 folds"):
        splits.checked_folds(two, tasks, 4, 0)
    assert sorted(np.bincount(splits.checked_folds(two, tasks, 2, 0))) == [300, 300]


def test_folds_between_groups_share_out_rare_classes() -> None:
    world = labels_world(0, n=1200)
    _, rows, tasks = problem(world)
    y = rows.targets["kind"].numpy()
    groups = np.where(
        y == 0, 1000 + np.arange(1200) // 60, np.arange(1200) // 20
    )  # class 0 in groups of its own
    fold = splits.draw_folds(rows.in_groups(groups), tasks, 4, 0)
    assert set(fold[y == 0]) == {0, 1, 2, 3}
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 60


def test_groups_of_one_row_change_nothing() -> None:
    _, rows, tasks = problem(labels_world(0, n=300))
    alone = rows.in_groups(np.arange(300)[::-1])
    np.testing.assert_array_equal(splits.draw_folds(alone, tasks, 4, 3), splits.draw_folds(rows, tasks, 4, 3))


def test_bad_input_is_named() -> None:
    world = labels_world(0, n=600)
    learner, rows, tasks = problem(world, classes=0.005)
    with raises(RangeError, "'kind' has 3 annotated rows, fewer than the 4 folds"):
        select(learner, rows, tasks, [], effort=EFFORTS["standard"], seed=0)
    with raises(UnknownNameError, "artefact", "distilled"):
        select(learner, rows, tasks, [], effort=FAST, seed=0, artefact="distiled")  # type: ignore[arg-type]
    with raises(ShapeError, "give relations"):
        teach.two_stage(learner, rows, tasks, [], effort=FAST, seed=0)


def test_weights_balance_scarce_tasks() -> None:
    world = labels_world(0, n=600)
    _, rows, tasks = problem(world, classes=0.25)
    assert balance_weights(rows, tasks) == {"kind": pytest.approx(1 / 3), "marks": 1.0}
    soft = torch.full((600, 5), float("nan"))
    soft[:300] = 0.2
    assert balance_soft(Rows(rows.inputs, rows.targets, {"kind": soft}), tasks, "kind") == 1.0
    soft[6:] = float("nan")
    assert balance_soft(Rows(rows.inputs, rows.targets, {"kind": soft}), tasks, "kind") == 0.1


# -- invariants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("artefact", ["distilled", pytest.param("bagged", marks=pytest.mark.slow)])
def test_the_order_of_rows_tasks_and_relations_changes_nothing_but_order(artefact: str) -> None:
    world = labels_world(8, n=640)
    fine = classes_world(8, n=640)
    third = cc.MulticlassTask("third", [f"d{i}" for i in range(4)])
    rng = np.random.default_rng(0)
    z = world.y % 4
    table = np.full((5, 4), 0.02)
    table[np.arange(5), np.arange(5) % 4] = 0.94
    part = np.arange(640) % 3
    targets = {
        "kind": np.where(part == 0, world.y, -1),
        "marks": np.where((part == 1)[:, None], world.a, np.nan),
        "third": np.where(part == 2, z, -1),
    }
    exact = {
        "kind": world.class_logits,
        "marks": world.target_logits,
        "third": class_head(z, 4, rng, 1.5),
    }
    worse = {"single-task": 0.8, "shared": 0.6, "coupled": 0.2}
    said = {
        kind: {name: noisy(values, worse[kind], i) for i, (name, values) in enumerate(exact.items())}
        for kind in KINDS
    }
    tasks: list[Task] = [world.source, world.target, third]
    relations = [world.relation, cc.Relation(world.source, third, table)]
    assert fine.y.shape == world.y.shape

    def run(rows: np.ndarray, order: list[int], turn: int) -> tuple[Automatic, dict[str, np.ndarray]]:
        given = Rows.of(
            rows.astype(np.float32)[:, None], {name: v[rows] for name, v in targets.items()}, tasks
        )
        learner = FakeLearner(said)
        outcome = select(
            learner,
            given,
            [tasks[i] for i in order],
            relations[::turn],
            effort=FAST,
            seed=0,
            artefact=artefact,  # type: ignore[arg-type]
        )
        return outcome, outcome.probabilities(learner, Rows(torch.arange(640)[:, None], {}))

    first, p = run(np.arange(640), [0, 1, 2], 1)
    second, q = run(rng.permutation(640), [2, 0, 1], -1)
    assert {c.verdict for c in first.checks} == {"kept"}
    for name in targets:
        assert first.choices[name].weights == second.choices[name].weights
        assert first.choices[name].strength == second.choices[name].strength
        np.testing.assert_allclose(p[name], q[name], rtol=1e-4, atol=1e-7)


def changed(rows: Rows, tasks: Sequence[Task], where: np.ndarray, hide: bool = False) -> Rows:
    """The rows with the annotations of some of them dealt out anew, or hidden."""
    targets = dict(rows.targets)
    for task in tasks:
        y, gap = targets[task.name], -1 if isinstance(task, cc.MulticlassTask) else torch.nan
        mine = torch.from_numpy(np.flatnonzero(where & task.annotated(y.numpy())))
        targets[task.name] = y.clone()
        targets[task.name][mine] = gap if hide else y[mine.roll(1)]
    return replace(rows, targets=targets)


RULES = {
    "free": TableRule(),
    "prior": TableRule(strength=20.0),
    "calibrated": TableRule(scaled=True, strength=np.inf),
}


@pytest.mark.parametrize("way", RULES)
@pytest.mark.parametrize("make", [labels_world, classes_world])
def test_no_class_of_a_fold_has_a_say_in_what_judges_it(make: Any, way: str) -> None:
    world = make(9, n=600)
    learner, rows, tasks = problem(world)
    # One class has all its rows in the first fold: its network has never heard of it.
    y = rows.targets[tasks[0].name]
    fold = first_stage(learner, rows, tasks, effort=FAST, seed=0).fold
    y[torch.from_numpy(fold == 1) & (y == 3)] = -1
    first = replace(first_stage(learner, rows, tasks, effort=FAST, seed=0), fold=fold)
    table = None if way == "free" else world.table
    check = replace(first.check((tasks[0], tasks[1])), rule=replace(RULES[way], table=table))

    def judging(rows: Rows) -> np.ndarray:
        return np.asarray(replace(first, rows=rows).without(0, check).table)

    before, hidden = judging(rows), tasks if make is classes_world else tasks[:1]
    np.testing.assert_array_equal(before, judging(changed(rows, hidden, fold == 0)))
    np.testing.assert_array_equal(before, judging(changed(rows, hidden, fold == 0, hide=True)))
    assert not np.array_equal(before, judging(changed(rows, hidden, fold == 1)))

    heard: list[np.ndarray] = []

    class Spy(TableRule):
        def __call__(self, observations: Any) -> Any:
            heard.append(observations.class_proba)
            return super().__call__(observations)

    first.without(0, replace(check, rule=Spy(world.table)))
    np.testing.assert_allclose(heard[0][:, 3], 1 / heard[0].shape[1])


@pytest.mark.parametrize("groups", [None, 40])
@pytest.mark.parametrize("way", RULES)
def test_no_label_of_a_part_has_a_say_in_what_judges_it(way: str, groups: int | None) -> None:
    world = labels_world(9, n=600)
    learner, rows, tasks = problem(world)
    rows = rows if groups is None else rows.in_groups(np.arange(600) % groups)
    first = first_stage(learner, rows, tasks, effort=FAST, seed=0)
    table = None if way == "free" else world.table
    check = replace(first.check((tasks[0], tasks[1])), rule=replace(RULES[way], table=table))
    part = first.parts(tasks[1])
    known = tasks[1].annotated(rows.targets["marks"].numpy())
    counts = np.bincount(part[known], minlength=PARTS)
    assert counts.min() > 0
    assert counts.max() <= 2 * counts.min()
    for group in range(groups or 0):
        assert len(np.unique(part[np.arange(600) % groups == group])) == 1

    def judging(rows: Rows) -> np.ndarray:
        return np.asarray(replace(first, rows=rows).without_labels(part, check)[3].table)

    before = judging(rows)
    for hide in (False, True):
        np.testing.assert_array_equal(before, judging(changed(rows, tasks[1:], part == 3, hide)))
    assert not np.array_equal(before, judging(changed(rows, tasks[1:], part == 4)))
    np.testing.assert_allclose(before, check.rule(first.observations(tasks[0], tasks[1])), atol=0.2)


@pytest.mark.parametrize("make", [labels_world, classes_world])
def test_what_trains_and_judges_a_fold_has_not_seen_its_annotations(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(9, n=600)
    taught: list[np.ndarray] = []
    moved: list[tuple[np.ndarray, int]] = []
    inner = teach.class_targets, combine.decoded_targets

    def targets(p: Any, rows: Any, active: Any, *rest: Any) -> Any:
        taught.append(active[0].relation.table)
        return inner[0](p, rows, active, *rest)

    def decoded(q: Any, task: Any, relations: Any, *rest: Any) -> Any:
        moved.append((relations[0].table, len(q)))
        return inner[1](q, task, relations, *rest)

    monkeypatch.setattr(selecting, "class_targets", targets)
    monkeypatch.setattr(combine, "decoded_targets", decoded)
    learner, rows, tasks = problem(world, {"coupled": (0.2, 0.2)})
    fold = first_stage(learner, rows, tasks, effort=FAST, seed=0).fold
    first = first_stage(learner, rows, tasks, effort=FAST, seed=0)

    def seen(given: Rows) -> tuple[list[np.ndarray], list[np.ndarray]]:
        taught.clear()
        moved.clear()
        stage = replace(first, rows=given)
        outcome = select(learner, given, tasks, [(tasks[0], tasks[1])], effort=FAST, seed=0, first=stage)
        assert outcome.checks[0].exponent > 0, "nothing is taught where nothing is found"
        return taught[:2], [table for table, n in moved if n == (fold == 0).sum()][:1]

    before, judged = seen(rows)
    assert len(judged) == (make is classes_world)
    assert not np.array_equal(moved[0][0], moved[1][0]), "each part by a relation of its own"
    assert not np.array_equal(before[0], before[1])
    after, judged_after = seen(changed(rows, tasks if make is classes_world else tasks[:1], fold == 0))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])
    for one, other in zip(judged, judged_after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_first_stage_of_other_folds_is_refused() -> None:
    learner, rows, tasks = problem(labels_world(9, n=300))
    first = first_stage(learner, rows, tasks, effort=Effort(3, 0.25), seed=0)
    with raises(RangeError, "3 folds, the effort 2"):
        select(learner, rows, tasks, [], effort=FAST, seed=0, first=first)


def test_an_all_unknown_table_equals_an_absent_one() -> None:
    world = labels_world(9, n=800)
    blank = cc.Relation(world.source, world.target, np.full_like(world.table, np.nan))
    found = []
    for relation in (blank, (world.source, world.target)):
        learner, rows, tasks = problem(world, {"coupled": (0.2, 0.2)})
        outcome = select(learner, rows, tasks, [relation], effort=FAST, seed=0)  # type: ignore[list-item]
        found.append(outcome.probabilities(learner, rows))
        assert outcome.checks[0].verdict == "estimated"
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_a_table_of_identical_rows_changes_no_class_posterior() -> None:
    world = labels_world(10, n=300)
    _, rows, _ = problem(world)
    obs = world.observations()
    check = check_observations(obs, world.relation)
    same = cc.Relation(
        world.source,
        world.target,
        np.tile(world.table.mean(axis=0), (5, 1)),
        base_rate=obs.base_rates(),
    )
    p = softmax(world.class_logits, axis=1)
    blind = np.zeros(5, dtype=bool)
    flat = replace(check, relation=same, exponent=1.0)
    found, some = teach._posterior(p, rows, [flat], world.source, blind)
    np.testing.assert_allclose(found, p, atol=1e-9)
    moved, _ = teach._posterior(p, rows, [check], world.source, blind)
    assert not np.allclose(moved[some], p[some], atol=1e-2)
    np.testing.assert_allclose(moved[~some], p[~some], atol=1e-9)


# -- a class without an annotated row -------------------------------------------------------------------


def unseen_problem(
    seed: int, table: np.ndarray | None = None, coupled: float = 0.3
) -> tuple[World, FakeLearner, Rows, list[Task], cc.Relation]:
    """Class 4 is never annotated: the heads have never heard of it."""
    world = labels_world(seed, n=640)
    learner, rows, tasks = problem(world, {"coupled": (coupled, 0.6)})
    y = rows.targets["kind"]
    y[y == 4] = -1
    for kind in KINDS:
        learner.said[kind]["kind"][:, 4] = -6.0
    relation = cc.Relation(world.source, world.target, world.table if table is None else table)
    return world, learner, rows, tasks, relation


@pytest.mark.parametrize("artefact", ["distilled", "bagged"])
def test_a_class_without_a_row_is_taught_through_the_table(artefact: str) -> None:
    world, learner, rows, tasks, relation = unseen_problem(0)
    outcome = select(
        learner,
        rows,
        tasks,
        [relation],
        effort=FAST,
        seed=0,
        artefact=artefact,  # type: ignore[arg-type]
    )
    assert outcome.checks[0].verdict == "kept"
    assert outcome.zero_shot == {"kind": ("c4",)}
    assert chosen(outcome)["kind"] == {"coupled"}
    assert "no row is annotated with c4" in outcome.choices["kind"].reason
    soft = next(s for s in reversed(learner.soft) if s)["kind"]
    taught = ~np.isnan(soft).any(axis=1)
    y = world.y if artefact == "distilled" else world.y[_last_fold(rows, tasks)]
    hit = soft[taught].argmax(axis=1) == 4
    assert hit[y[taught] == 4].mean() > 0.8
    assert hit[y[taught] != 4].mean() < 0.1


def _last_fold(rows: Rows, tasks: Sequence[Task]) -> np.ndarray:
    return np.flatnonzero(splits.draw_folds(rows, tasks, FAST.folds, 0) != FAST.folds - 1)


def test_a_class_that_no_table_knows_stays_unpredicted() -> None:
    world, learner, rows, tasks, _ = unseen_problem(1)
    blank = world.table.copy()
    blank[4] = np.nan
    for relation in (cc.Relation(world.source, world.target, blank), (world.source, world.target)):
        outcome = select(learner, rows, tasks, [relation], effort=FAST, seed=0)
        assert outcome.zero_shot == {}
        assert outcome.checks[0].exponent > 0


def test_a_wrong_table_teaches_no_unseen_class() -> None:
    world, learner, rows, tasks, relation = unseen_problem(2, labels_world(2).table[[1, 2, 3, 0, 4]])
    outcome = select(learner, rows, tasks, [relation], effort=FAST, seed=0)
    assert outcome.checks[0].verdict == "dropped"
    assert outcome.checks[0].trust < 0.3
    assert outcome.zero_shot == {}
    soft = next(s for s in reversed(learner.soft) if s)["kind"]
    taught = ~np.isnan(soft).any(axis=1)
    assert (soft[taught].argmax(axis=1) == 4).mean() < 0.05
    assert world.source.width == 5


def test_harm_to_the_other_classes_outweighs_an_unseen_one() -> None:
    world, learner, rows, tasks, relation = unseen_problem(3, coupled=3.0)
    outcome = select(learner, rows, tasks, [relation], effort=FAST, seed=0)
    assert chosen(outcome)["kind"] == {"shared"}
    assert outcome.zero_shot == {}
    assert world.source.width == 5


# -- two stages without a guard -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["labels", "classes"])
def test_two_stages_teach_the_posterior(kind: str) -> None:
    world = (labels_world if kind == "labels" else classes_world)(0, n=1000)
    learner, rows, tasks = problem(world)
    said: list[str] = []
    network = teach.two_stage(learner, rows, tasks, [world.relation], effort=FAST, seed=0, say=said.append)
    assert isinstance(network, Told)
    assert network.kind == "coupled"
    assert [(k, share) for k, _, share, _ in learner.trained] == [
        ("shared", 0.25),
        ("shared", 0.25),
        ("coupled", 1.0),
    ]
    soft = learner.soft[-1][world.source.name]
    taught = ~np.isnan(soft).any(axis=1)
    np.testing.assert_array_equal(taught, rows.targets[world.source.name].numpy() < 0)
    right = (soft[taught].argmax(axis=1) == world.y[taught]).mean()
    plain = learner.said["shared"][world.source.name][taught].argmax(axis=1)
    assert right > (plain == world.y[taught]).mean() + 0.03
    assert "evidence exponent" in said[0]


def test_two_stages_use_a_wrong_table_all_the_same() -> None:
    world = labels_world(1, n=600)
    learner, rows, tasks = problem(world)
    wrong = world.relation.shuffled(0)
    said: list[str] = []
    teach.two_stage(learner, rows, tasks, [wrong], effort=FAST, seed=0, say=said.append)
    assert "evidence exponent 0.05" in said[0]


# -- class priors of sources ----------------------------------------------------------------------------


def test_the_prior_of_another_source_is_found() -> None:
    rng = np.random.default_rng(0)
    prior = np.array([0.6, 0.3, 0.1])
    y = rng.choice(3, 4000, p=prior)
    p = softmax(class_head(y, 3, rng), axis=1)
    np.testing.assert_allclose(source_prior(p, np.full(3, 1 / 3)), prior, atol=0.03)
    assert abs(p.mean(axis=0) - prior).max() > 0.03  # the mean prediction is no estimate of it


def test_a_shift_of_priors_is_told_from_none() -> None:
    rng = np.random.default_rng(1)
    task = cc.MulticlassTask("kind", ["a", "b", "c"])

    def rows(n: int, prior: list[float]) -> np.ndarray:
        return softmax(class_head(rng.choice(3, n, p=prior), 3, rng), axis=1)

    flat = [1 / 3] * 3
    for n in (60, 600):
        same = prior_shift(task, "marks", rows(n, flat), rows(600, flat), np.random.default_rng(0))
        assert same is not None
        assert not same.real
    other = prior_shift(task, "marks", rows(300, flat), rows(600, [0.7, 0.2, 0.1]), np.random.default_rng(0))
    assert other is not None
    assert other.real
    assert other.distance == pytest.approx(0.37, abs=0.08)
    assert "total variation" in str(other)
    assert prior_shift(task, "marks", rows(10, flat), rows(600, flat), rng) is None


def test_shifts_are_measured_for_every_pair_with_rows_of_its_own() -> None:
    world = labels_world(0, n=800)
    learner, rows, tasks = problem(world)
    outcome = select(learner, rows, tasks, [], effort=FAST, seed=0)
    assert [(s.task, s.source, s.real) for s in outcome.shifts] == [("kind", "marks", False)]


def test_label_heads_speak_for_labels() -> None:
    rng = np.random.default_rng(0)
    a = (rng.random((50, 2)) < 0.5).astype(float)
    family = Family("shared", [], {"marks": np.stack([label_head(a, rng)] * 2)})
    task = cc.MultilabelTask("marks", ["l0", "l1"])
    fold = np.arange(50) % 2
    np.testing.assert_allclose(family.held_out(task, fold), family.averaged(task))


def test_a_source_that_is_decided_later_speaks_by_its_shared_network() -> None:
    one = cc.MulticlassTask("one", ["c0", "c1"])
    other = cc.MulticlassTask("other", ["f0", "f1"])
    relations = (cc.Relation(one, other, np.eye(2)), cc.Relation(other, one, [[0.9, 0.1], [0.1, 0.9]]))
    tasks = (one, other)  # each is a source of the other: in a circle the first begins

    def choice(task: str, name: str) -> Choice:
        return Choice(task, {name: 1.0}, {name: 1.0} if "/" in name else {}, {}, {}, 0.0, 0.0, task)

    choices = {"one": choice("one", "single-task/decoded"), "other": choice("other", "single-task")}
    assert selecting._families_in_use(choices, relations, tasks, "shared") == ["shared", "single-task"]
    logits = {"one": np.zeros((1, 2)), "other": np.array([[4.0, -4.0]])}
    learner = FakeLearner({"shared": logits, "single-task": {**logits, "other": -logits["other"]}})
    alone, shared = Told("single-task", tasks), Told("shared", tasks)
    names = [task.name for task in tasks]
    families = {
        "single-task": Family("single-task", [dict.fromkeys(names, alone)], {}),
        "shared": Family("shared", [dict.fromkeys(names, shared)], {}),
    }
    outcome = Automatic(tasks, (), choices, families, 1.0, relations=relations)
    found = outcome.probabilities(learner, Rows(torch.zeros(1, 1), {}))
    assert found["other"][0, 0] < 0.5  # its own choice
    assert found["one"][0, 0] > 0.5 > found["one"][0, 1]  # through the shared network's class


@pytest.mark.parametrize("world", [labels_world(9, n=40), classes_world(9, n=40)])
def test_pooled_logits_are_those_of_one_network(world: World) -> None:
    for task, logits in ((world.source, world.class_logits), (world.target, world.target_logits)):
        family = Family("", [], {})
        other = noisy(logits, 0.5, 0)
        p = [(share, family.probabilities(task, z)) for share, z in ((0.5, logits), (0.5, other))]
        expected = family.probabilities(task, (logits + other) / 2)
        assert combine.pooled(task, p) == pytest.approx(expected, abs=1e-6)
        same = combine.pooled(task, [(0.5, p[0][1]), (0.5, p[0][1])])
        assert same == pytest.approx(p[0][1], abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_labels_are_not_told_what_they_are_by_a_relation_of_their_own(seed: int) -> None:
    """Few label rows to a class, and most labels of other inputs: new rows are as good as the guard says."""
    rng = np.random.default_rng(seed)
    classes, labels, n_class, n_label = 30, 12, 300, 150
    source = cc.MulticlassTask("kind", [f"c{i}" for i in range(classes)])
    target = cc.MultilabelTask("marks", [f"l{i}" for i in range(labels)])
    shown, centres = rng.integers(0, 2, (classes, 2)), 3 * rng.normal(size=(classes, 12))

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.permutation(np.arange(n) % classes)
        x = np.hstack([centres[y] + rng.normal(size=(n, 12)), rng.normal(size=(n, 10))])
        a = (np.hstack([np.zeros((n, 2)), x[:, 12:]]) + 1.2 * rng.logistic(size=(n, labels)) > 0).astype(
            float
        )
        a[:, :2] = rng.random((n, 2)) < np.where(shown[y] == 1, 0.97, 0.03)
        return x, y, a

    x, y, a = draw(n_class + n_label)
    y[n_class:], a[:n_class] = -1, np.nan
    new, _, truth = draw(2000)
    base = LogisticRegression(max_iter=300)
    model = cc.CoupledClassifier([source, target], coupling="auto", base=base, random_state=seed)
    model.fit(x, {"kind": y, "marks": a})
    found = row_loss(model.predict_proba(new)["marks"], truth, False).mean()
    choice = model._automatic.choices["marks"]
    assert found <= choice.losses[next(iter(choice.weights))] + 0.03


def test_a_row_that_a_table_has_no_cell_for_teaches_nothing() -> None:
    source, target = (
        cc.MulticlassTask("pet", ["cat", "dog"]),
        cc.MultilabelTask("traits", ["purrs", "collar"]),
    )
    relation = cc.Relation(source, target, [[0.9, np.nan], [0.05, np.nan]])
    p, y = [[0.7, 0.3]] * 3, [[np.nan, 1.0], [1.0, 1.0], [np.nan, np.nan]]
    found = posterior_targets(p, y, relation)
    assert np.isnan(found).all(axis=1).tolist() == [True, False, True]
    rows = Rows.of(
        np.zeros((3, 1), np.float32), {"pet": np.full(3, -1), "traits": np.array(y)}, [source, target]
    )
    check = SimpleNamespace(relation=relation, exponent=1.0)
    taught = teach.class_targets(np.array(p), rows, [check], source, np.zeros(2, bool))  # type: ignore[list-item]
    np.testing.assert_allclose(taught, found)
    whole = cc.Relation(cc.MulticlassTask("a", ["x", "y"]), source, [[1.0, 0.0], [np.nan, np.nan]])
    thin = cc.Relation(whole.source, source, sparse.csr_array(np.array([[1.0, 0.0], [0.0, 0.0]])))
    for each in (whole, thin):  # a known row is 0 where it stores nothing: evidence against its class
        assert np.isnan(posterior_targets(p, [0, 1, -1], each)).all(axis=1).tolist() == [False, False, True]


def test_an_average_never_lowers_the_metric_of_the_start() -> None:
    """Here the average of a surer and a calibrated network has the lower log-loss, and next to no recall."""
    n, task, other = 400, cc.MulticlassTask("a", ["x", "y"]), cc.MultilabelTask("l", ["m"])
    rng = np.random.default_rng(131)
    y = (rng.random(n) < 0.12).astype(int)
    sign, base = 2 * y - 1, rng.normal(size=n)

    def family(name: str, mean: float, scale: float, offset: float) -> Family:
        z = scale * (mean * sign + 0.2 * base + rng.normal(size=n)) + offset
        logits = np.stack([-z / 2, z / 2], axis=1)
        return Family(name, [{}] * 2, {"a": np.stack([logits, logits])}, {"a": 1.0})

    families = {
        "single-task": family("single-task", 0.8, 1.0, -2.0),
        "shared": family("shared", 0.8, 1.0, -2.0),
        "coupled": family("coupled", 1.0, 2.5, 0.0),
    }
    rows = Rows.of(np.zeros((n, 1), np.float32), {"a": y, "l": np.full((n, 1), np.nan)}, [task, other])
    choice, p = guard.guard(
        task, families, rows, np.arange(n) % 2, [[], []], np.arange(n) % 2, lambda t: p, np.zeros(2, bool),
        average=True, start=Start("coupled", "the table is beyond doubt"), alpha=0.05,
    )  # fmt: skip
    recall = np.mean([(p.argmax(axis=1) == y)[y == c].mean() for c in (0, 1)])
    assert recall >= choice.scores["coupled"] - 1e-9


def test_models_that_share_nothing_are_cross_fitted_too() -> None:
    world = labels_world(0, n=200)
    _, rows, tasks = problem(world)
    learner = EstimatorLearner(LogisticRegression())
    found = cross_fitted_predictions(learner, rows, tasks, effort=FAST, seed=0)
    assert {name: p.shape for name, p in found.items()} == {t.name: (200, t.width) for t in tasks}
