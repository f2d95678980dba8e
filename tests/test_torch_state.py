"""One `random_state`, one model: whatever the thread, the caller's modes of torch, and what else is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import concord as cc
from concord.estimator.classifier import CoupledClassifier
from concord.networks import seeded, usual_torch

KIND = cc.MulticlassTask("kind", ["a", "b", "c"])
MARKS = cc.MultilabelTask("marks", ["p", "q"])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
CLASSES = RNG.integers(0, 3, 60)
LABELS = RNG.integers(0, 2, (60, 2)).astype(float)
Y = {
    "kind": np.where(np.arange(60) < 30, CLASSES, -1),
    "marks": np.where(np.arange(60)[:, None] < 30, np.nan, LABELS),
}
RELATION = cc.Relation(KIND, MARKS, [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
SETTINGS: dict[str, Any] = {"steps": 12, "hidden": (8, 8), "rows_per_task": 16, "dropout": 0.3}


def fitted(seed: int, coupling: Any = "posterior") -> bytes:
    model = CoupledClassifier([KIND, MARKS], [RELATION], coupling=coupling, random_state=seed, **SETTINGS)
    found = model.fit(X, Y).predict_proba(X)
    return b"".join(found[name].tobytes() for name in sorted(found))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        assert torch.get_default_dtype() == dtype  # what the caller had is given back
        torch.set_default_dtype(before)


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "another default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


@given(seed=st.integers(0, 2**31), modes=st.sets(st.sampled_from(sorted(MODES)), min_size=1, max_size=3))
@settings(max_examples=8, deadline=None)
def test_modes_of_the_caller_change_no_model_and_no_generator(seed: int, modes: set[str]) -> None:
    from contextlib import ExitStack

    alone = fitted(seed)
    before = states()
    with ExitStack() as stack:
        for mode in sorted(modes):
            stack.enter_context(MODES[mode]())
        assert fitted(seed) == alone
    assert states() == before


@pytest.mark.parametrize("coupling", [pytest.param("auto", marks=pytest.mark.slow), "posterior"])
def test_fits_in_threads_are_those_of_one_thread(coupling: str) -> None:
    seeds = [0, 1, 2, 0, 1, 2]
    alone = [fitted(seed, coupling) for seed in seeds[:3]]
    before = states()
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda seed: fitted(seed, coupling), seeds))
    assert made == alone * 2
    assert states() == before


def test_a_model_loads_and_predicts_alike_in_every_mode(tmp_path: Any) -> None:
    model = CoupledClassifier([KIND, MARKS], coupling=None, random_state=0, **SETTINGS).fit(X, Y)
    model.save(tmp_path / "m")
    truth, before = model.predict_proba(X), states()
    for name, mode in MODES.items():
        with mode():
            again = CoupledClassifier.load(tmp_path / "m")
            for task, values in again.predict_proba(X).items():
                np.testing.assert_array_equal(values, truth[task], err_msg=name)
    assert states() == before


@given(seeds=st.lists(st.integers(0, 2**40), min_size=2, max_size=6))
@settings(max_examples=10, deadline=None)
def test_seeded_draws_take_turns(seeds: list[int]) -> None:
    def drawn(seed: int) -> list[float]:
        with seeded(seed):
            return [float(torch.rand(())) for _ in range(50)]

    alone = [drawn(seed) for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        assert list(pool.map(drawn, seeds)) == alone


def test_the_last_one_out_gives_the_default_dtype_back() -> None:
    with default_dtype(torch.float64):
        with usual_torch():
            with usual_torch():
                assert torch.get_default_dtype() == torch.float32
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64
