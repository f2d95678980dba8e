"""What rows count for in all that a fit decides: weights of 0, blank rows, few rows, the scale of weights."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import concord as cc
from concord.auto.combine import Choice, in_order, predict_in_order
from concord.auto.families import balance_soft
from concord.auto.level import critical_value
from concord.auto.splits import checked_folds, draw_folds
from concord.errors import NoAnnotationError, RangeError
from concord.fitting import Rows

A = cc.MulticlassTask("A", ["a", "b", "c"])
B = cc.MultilabelTask("B", ["x", "y", "z"])
TABLE = np.array([[0.95, 0.05, 0.05], [0.05, 0.95, 0.05], [0.05, 0.05, 0.95]])


def drawn(n: int, annotated: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features, and annotations: the first rows for A, the others for B."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 3, n)
    X = np.eye(3)[z] * 1.2 + rng.normal(size=(n, 3))
    labels = (rng.random((n, 3)) < TABLE[z]).astype(float)
    classes = np.where(np.arange(n) < annotated, z, -1)
    labels[:annotated] = np.nan
    return X.astype(np.float32), {"A": classes, "B": labels}


@pytest.mark.parametrize("base", [LogisticRegression(), None])
def test_a_row_of_weight_0_decides_nothing(base):
    X, y = drawn(400, 120)
    nothing = np.arange(400) % 4 == 0
    wrong = {"A": np.where(nothing & (y["A"] >= 0), (y["A"] + 1) % 3, y["A"]),
             "B": np.where(nothing[:, None], 1 - y["B"], y["B"])}  # fmt: skip
    gaps = {"A": np.where(nothing, -1, y["A"]), "B": np.where(nothing[:, None], np.nan, y["B"])}
    settings = {"effort": "fast", "random_state": 0, "thresholds": "f1", "base": base}
    if base is None:
        settings |= {"steps": 20, "hidden": (8,)}
    ignored = cc.CoupledClassifier([A, B], **settings)
    ignored.fit(X, wrong, sample_weight=np.where(nothing, 0.0, 1.0))
    absent = cc.CoupledClassifier([A, B], **settings).fit(X, gaps, sample_weight=np.ones(400))
    for name in ("A", "B"):
        assert np.array_equal(ignored.predict_proba(X)[name], absent.predict_proba(X)[name])
    assert ignored.report_ == absent.report_
    assert ignored.thresholds_.keys() == absent.thresholds_.keys()


def test_weights_of_0_alone_are_refused_by_task():
    X, y = drawn(60, 30)
    with pytest.raises(RangeError, match=r"all weights are zero in the annotated rows of task 'A'"):
        cc.CoupledClassifier([A, B]).fit(X, y, sample_weight={"A": np.zeros(60)})


@pytest.mark.parametrize("settings", [{}, {"class_weight": "balanced"}])
@pytest.mark.parametrize("weight", [None, np.ones(60), np.zeros(60)])
def test_a_task_without_annotations_is_told_as_such_whatever_the_weights(settings, weight):
    X, y = drawn(60, 60)
    with pytest.raises(NoAnnotationError, match=r"task 'B' has no annotation"):
        cc.CoupledClassifier([A, B], **settings).fit(
            X, y, sample_weight=None if weight is None else {"B": weight}
        )


def test_the_scale_of_weights_leaves_taught_rows_their_share():
    X, y = drawn(300, 60)
    relation = cc.Relation(A, B, TABLE)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)  # of weights it knows the ratios alone

    def taught(weight: float | None) -> np.ndarray:
        model = cc.CoupledClassifier(
            [A, B], [relation], "two-stage", base=tree, effort="fast", random_state=0
        )
        model.fit(X, y, sample_weight=None if weight is None else np.full(300, weight))
        return model.predict_proba(X)["A"]

    for weight in (0.25, 1.0, 64.0):
        np.testing.assert_allclose(taught(weight), taught(None), atol=1e-5)


def test_labels_that_no_row_shows_are_judged_by_their_loss():
    X, y = drawn(200, 80)
    y["B"] = np.where(np.isnan(y["B"]), np.nan, 0.0)
    model = cc.CoupledClassifier([A, B], base=LogisticRegression(), effort="fast", random_state=0).fit(X, y)
    assert (model.predict_proba(X)["B"] < 0.1).all()
    assert model.choices_["B"].scores
    assert set(model.choices_["B"].scores.values()) == {0.0}


def test_blank_rows_do_not_weigh_soft_targets():
    soft = torch.full((40, 3), torch.nan)
    soft[10:30] = 1 / 3
    targets = {"A": torch.full((40,), -1), "B": torch.full((40, 3), torch.nan)}
    targets["A"][:10], targets["B"][10:30] = 1, 1.0

    def weight(blank: int) -> float:
        rows = Rows(
            torch.zeros(40 + blank, 2),
            {"A": torch.cat([targets["A"], torch.full((blank,), -1)]),
             "B": torch.cat([targets["B"], torch.full((blank, 3), torch.nan)])},
            {"A": torch.cat([soft, torch.full((blank, 3), torch.nan)])},
        )  # fmt: skip
        return balance_soft(rows, [A, B], "A")

    assert weight(0) == weight(1000) == 1.0


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("few", "folds"), [(2, 2), (3, 2), (5, 5)])
def test_no_fold_holds_all_rows_of_a_task(few, folds, seed):
    rng = np.random.default_rng(seed)
    scarce = np.full(60, -1)
    scarce[rng.choice(60, few, replace=False)] = rng.integers(0, 3, few)
    labels = np.where(rng.random((60, 1)) < 0.7, rng.integers(0, 2, (60, 3)), np.nan)
    labels[:folds] = 1.0
    rows = Rows(torch.zeros(60, 2), {"A": torch.from_numpy(scarce), "B": torch.from_numpy(labels).float()})
    fold = checked_folds(rows, [A, B], folds, seed)
    for task in (A, B):
        assert len(np.unique(fold[rows.annotated(task).numpy()])) > 1
    counts = np.bincount(fold, minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_rows_of_each_of_many_tasks_are_spread_over_folds():
    tasks = [cc.MultilabelTask(f"t{k}", ["p", "q"]) for k in range(45)]
    targets = {}
    for k, task in enumerate(tasks):
        values = torch.full((45 * 8, 2), torch.nan)
        values[8 * k : 8 * k + 8] = 1.0
        targets[task.name] = values
    rows = Rows(torch.zeros(45 * 8, 1), targets)
    for seed in range(3):
        fold = draw_folds(rows, tasks, 4, seed)
        for task in tasks:
            assert np.bincount(fold[rows.annotated(task).numpy()], minlength=4).tolist() == [2] * 4


TASKS = [cc.MulticlassTask(name, ["0", "1"]) for name in "ABCDE"]


@given(
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda pair: pair[0] < pair[1])),
    st.randoms(),
)
def test_sources_come_before_their_targets(pairs, random):
    shuffled = random.sample(TASKS, 5)
    relations = [cc.Relation(shuffled[i], shuffled[j], np.eye(2)) for i, j in sorted(pairs)]
    order = [task.name for task in in_order(TASKS, relations)]
    assert sorted(order) == list("ABCDE")
    for relation in relations:
        assert order.index(relation.source.name) < order.index(relation.target.name)
    assert in_order(TASKS, []) == TASKS
    both = [cc.Relation(TASKS[0], TASKS[1], np.eye(2)), cc.Relation(TASKS[1], TASKS[0], np.eye(2))]
    assert [task.name for task in in_order(TASKS, both)] == ["C", "D", "E", "A", "B"]


def test_a_chain_is_decoded_alike_in_whatever_order_its_tasks_stand():
    first, second = TASKS[:2]
    third = cc.MultilabelTask("third", ["u"])
    relations = [
        cc.Relation(first, second, [[0.9, 0.1], [0.1, 0.9]]),
        cc.Relation(second, third, [[0.9], [0.1]]),
    ]
    decoded = {"shared/decoded": 1.0}
    choices = {
        "A": Choice("A", {"shared": 1.0}, {}, {}, {}, 0.0, 0.0, ""),
        "B": Choice("B", {"coupled": 1.0}, {}, {}, {}, 0.0, 0.0, ""),
        "third": Choice("third", decoded, decoded, {}, {}, 0.0, 0.0, ""),
    }
    said = {
        ("shared", "A"): [[0.9, 0.1]],
        ("shared", "B"): [[0.5, 0.5]],
        ("coupled", "B"): [[0.95, 0.05]],
        ("shared", "third"): [[0.5]],
    }
    found = [
        predict_in_order(order, choices, relations, lambda family, task: np.array(said[family, task.name]))
        for order in permutations((first, second, third))
    ]
    assert all(np.array_equal(each["third"], found[0]["third"]) for each in found)
    assert found[0]["third"][0, 0] > 0.8


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_level_that_no_draws_tell_is_held(candidates):
    gains = np.random.default_rng(0).normal(size=(2000, candidates))
    values = [critical_value(gains, None, alpha) for alpha in (0.05, 1e-2, 1e-4, 1e-6, 1e-12)]
    assert values == sorted(values)
    for alpha, value in zip((1e-4, 1e-6, 1e-12), values[2:], strict=True):
        assert value >= stats.norm.isf(alpha / candidates)
