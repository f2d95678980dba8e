"""Networks trained in several processes are those of one, and what happens there reaches this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import concord as cc
from concord.errors import ConcordWarning, NotFiniteError, ProcessError, RangeError
from concord.fitting import Rows
from concord.learners import EstimatorLearner, Learner, Trained, Training
from concord.learners.side_by_side import train_side_by_side
from training_problem import MARKS, SHAPE, relation, rows

ROWS = rows(160)
TARGETS = {name: values.numpy() for name, values in ROWS.targets.items()}


def fitted(n_jobs: int | None, **settings: Any) -> cc.CoupledClassifier:
    model = cc.CoupledClassifier(
        [SHAPE, MARKS], effort="fast", steps=4, hidden=(8, 8), random_state=3, n_jobs=n_jobs, **settings
    )
    return model.fit(ROWS.inputs.numpy(), TARGETS)


def weights(model: cc.CoupledClassifier) -> list[torch.Tensor]:
    """Of all networks that a model keeps."""
    networks: list[nn.Module] = []
    if model._automatic is None:
        networks = [model._network]
    else:
        families = [family for _, family in sorted(model._automatic.families.items())]
        networks = [net for family in families for nets in family.networks for net in nets.values()]
    return [value for network in networks for value in network.state_dict().values()]


def account(model: cc.CoupledClassifier) -> Any:
    return model.report_, model.cost_, [str(choice) for choice in model.choices_.values()]


@pytest.mark.parametrize(
    ("artefact", "given"),
    [
        ("distilled", "table"),
        pytest.param("distilled", None, marks=pytest.mark.slow),
        pytest.param("bagged", "table", marks=pytest.mark.slow),
    ],
)
def test_two_processes_give_the_bits_of_one(artefact, given):
    settings = {"relations": None if given is None else [relation()], "artefact": artefact}
    one, two = (fitted(n_jobs, **settings) for n_jobs in (None, 2))
    assert len(weights(one)) > 0
    for mine, other in zip(weights(one), weights(two), strict=True):
        assert torch.equal(mine, other)
    assert account(one) == account(two)
    p, q = (model.predict_proba(ROWS.inputs.numpy()) for model in (one, two))
    assert all(np.array_equal(p[name], q[name]) for name in p)


def test_progress_is_that_of_all_networks(capsys):
    fitted(2, verbose=True)
    assert "steps" in capsys.readouterr().err


@pytest.mark.slow
def test_the_folds_of_two_stages_and_of_cross_fitting_too():
    one, two = (fitted(n, coupling="two-stage", relations=[relation()]) for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    first = [
        cc.CoupledClassifier([SHAPE, MARKS], effort="fast", steps=4, random_state=0, n_jobs=n).cross_fit(
            ROWS.inputs.numpy(), TARGETS
        )
        for n in (1, 2)
    ]
    p, q = (each.predictions() for each in first)
    assert all(np.array_equal(p[name], q[name]) for name in p)


def test_threads_of_the_caller_have_no_part_in_it_and_stay_as_they_were():
    before = torch.get_num_threads()
    try:
        models = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            models.append(fitted(None))
            assert torch.get_num_threads() == threads
        assert all(torch.equal(a, b) for a, b in zip(*map(weights, models), strict=True))
    finally:
        torch.set_num_threads(before)


def test_estimators_of_scikit_learn_are_the_same_in_two_processes():
    from sklearn.tree import ExtraTreeClassifier

    def logits(n_jobs: int) -> list[dict[str, np.ndarray]]:
        learner = EstimatorLearner(ExtraTreeClassifier(max_depth=3), n_jobs)
        asked = (
            Training(ROWS, [task], "single-task", 1.0, seed, predicted=ROWS)
            for seed in (0, 1)
            for task in (SHAPE, MARKS)
        )
        return [each.logits for each in learner.train_all(asked)]

    for one, two in zip(logits(1), logits(2), strict=True):
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)


class Odd(Learner):
    """Does what a seed says instead of training."""

    kinds = ("single-task",)

    def train(self, rows: Rows, tasks: Any, *, seed: int, **others: Any) -> int:
        del rows, tasks, others
        if seed == 1:
            raise NotFiniteError("the loss became nan at step 3")
        if seed == 2:
            os._exit(9)
        if seed == 3:
            warnings.warn("something that a user should know", ConcordWarning, stacklevel=2)
        return os.getpid() if seed == 4 else seed

    def predict(self, model: int, rows: Rows) -> dict[str, np.ndarray]:
        return {"shape": np.full((len(rows), SHAPE.width), float(model))}


def trained(*seeds: int, learner: Any = None, **options: Any) -> list[Trained]:
    asked = (Training(ROWS, [SHAPE], "single-task", 0.5, seed, predicted=ROWS) for seed in seeds)
    return train_side_by_side(learner or Odd(), asked, 2, **options)


def test_results_are_in_the_order_of_what_was_asked_and_each_is_told_of():
    told: list[tuple[str, float]] = []
    found = trained(7, 8, 9, 10, 11, done=lambda *each: told.append(each))
    assert [each.model for each in found] == [7, 8, 9, 10, 11]
    assert [each.logits["shape"][0, 0] for each in found] == [7, 8, 9, 10, 11]
    assert told == [("single-task", 0.5)] * 5
    assert {each.model for each in trained(4, 4)}.isdisjoint({os.getpid()})


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "two", True])
def test_a_number_of_processes_that_is_none_is_refused(n_jobs):
    with pytest.raises(RangeError, match="n_jobs"):
        fitted(n_jobs)


def test_a_warning_and_an_error_reach_this_process():
    with pytest.warns(ConcordWarning, match="something that a user should know"):
        trained(3, 7)
    with pytest.raises(NotFiniteError, match="the loss became nan at step 3"):
        trained(7, 1, 8)


@pytest.mark.slow
def test_a_death_and_what_cannot_go_to_another_process_are_told():
    class Holding(Odd):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(ProcessError, match="ended from outside"):
        trained(7, 2)
    with pytest.raises(ProcessError, match="n_jobs=1"):
        trained(7, 8, learner=Holding())
    assert [each.model for each in trained(7, 8)] == [7, 8]  # what comes after it has processes of its own


INTERRUPTED = """
import sys, numpy as np, concord as cc
pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
X = np.random.default_rng(0).normal(size=(40, 3))
y = {"pet": [0, 1] * 10 + [-1] * 20, "trait": [[np.nan]] * 20 + [[0.0], [1.0]] * 10}
print("begun", flush=True)
cc.CoupledClassifier([pet, trait], steps=1_000_000, random_state=0, n_jobs=2).fit(X, y)
"""


@pytest.mark.slow
def test_an_interrupt_ends_all_processes():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    group = process.pid
    while sum(_parent(pid) == group for pid in _processes()) < 2:
        assert process.poll() is None
    os.killpg(group, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert told.strip().endswith("KeyboardInterrupt")
    assert process.returncode != 0
    assert not [pid for pid in _processes() if _group(pid) == group]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return ["", "0", "0"]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _group(pid: int) -> int:
    return int(_stat(pid)[2]) if _stat(pid)[0] != "Z" else 0
