"""The learner of streamed rows: what a learner in memory trains, kept in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from concord.auto import EFFORTS, select
from concord.auto.alignment import found_shifts
from concord.data import FeatureRows, Manifest, Source, StreamedInputs
from concord.errors import CheckpointError, ConfigError
from concord.fitting import Recipe, Rows, launch
from concord.learners import StreamLearner, TorchLearner
from concord.networks import mlp_network
from concord.relations import Relation
from config_worlds import MARKS, SHAPE, TABLE, classes_and_labels

TASKS = [SHAPE, MARKS]
N = 80
RECIPE = {"learning_rate": 2e-3, "weight_decay": 0.01, "recipe": Recipe(schedule="cosine")}


def rows() -> tuple[Rows, Rows]:
    """The same rows, in memory and in two sources."""
    sources, every = [], []
    for seed, task in enumerate(TASKS):
        y, a = classes_and_labels(N, seed)
        x = np.random.default_rng(seed).normal(size=(N, 6)).astype(np.float32)
        x[:, :3] += 2 * np.eye(3)[y]
        x[:, 3:5] += 2 * a
        frame: dict[str, Any] = {"row": range(N)}
        if task is SHAPE:
            frame["shape"] = [SHAPE.classes[c] for c in y]
        else:
            frame |= {f"marks.{m}": a[:, k] for k, m in enumerate(MARKS.labels)}
        sources.append(Source(Manifest(pl.DataFrame(frame), (task,), Path(), task.name), FeatureRows(x)))
        every.append(x)
    streamed = Rows.streamed(StreamedInputs.of(sources), TASKS)
    return Rows(torch.from_numpy(np.concatenate(every)), streamed.targets), streamed


def in_memory() -> TorchLearner:
    return TorchLearner(
        trunk=None,
        hidden=(8,),
        dropout=0.2,
        steps=12,
        rows_per_task=8,
        learning_rate=2e-3,
        weight_decay=0.01,
        device="cpu",
    )


def build(tasks: Any, seed: int) -> nn.Module:
    capacity = "shared" if len(tasks) == 1 else "half-shared"
    generator = torch.Generator().manual_seed(seed)
    return mlp_network(6, tasks, hidden=(8,), dropout=0.2, capacity=capacity, generator=generator)  # type: ignore[arg-type]


def streaming(folder: Path, **changes: Any) -> StreamLearner:
    given = {"build": build, "steps": 12, "rows_per_task": 8, "options": RECIPE, "every": 4} | changes
    return StreamLearner(folder=folder, fabric=launch("cpu", 1), **given)


def pictures() -> tuple[Rows, Rows]:
    """Pictures in memory and in two sources; those of the second one are their negatives."""
    held, streamed = rows()
    shape, marks = streamed.inputs.sources
    x = held.inputs.numpy().repeat(6, axis=1).reshape(2 * N, 1, 6, 6)
    x[N:] *= -1
    parts = [Source(each.manifest, FeatureRows(of)) for each, of in ((shape, x[:N]), (marks, x[N:]))]
    return Rows(torch.from_numpy(x), held.targets), Rows.streamed(StreamedInputs.of(parts), TASKS)


def trunk() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())


def build_on_pictures(tasks: Any, seed: int) -> nn.Module:
    return replace(in_memory(), trunk=trunk).build(tasks, (1, 6, 6), "shared", seed)


@pytest.mark.parametrize("kind", ["vectors", "pictures"])
def test_shifts_are_the_same_in_memory_and_in_sources(tmp_path: Path, kind: str) -> None:
    held, streamed = pictures() if kind == "pictures" else rows()
    if kind == "vectors":
        (held.inputs)[N:] += 2.0
        first, second = streamed.inputs.sources
        moved = Source(second.manifest, FeatureRows(held.inputs[N:].numpy()))
        streamed = Rows.streamed(StreamedInputs.of([first, moved]), TASKS)
    one = in_memory() if kind == "vectors" else replace(in_memory(), trunk=trunk)
    other = streaming(tmp_path, **({} if kind == "vectors" else {"build": build_on_pictures}))
    found = found_shifts(one, held, TASKS, 1)
    assert [(shift.first, shift.second) for shift in found] == [("shape", "marks")]
    assert found == found_shifts(other, streamed, TASKS, 1)


def chosen(learner: Any, given: Rows, effort: str = "fast") -> Any:
    outcome = select(
        learner, given, TASKS, [Relation(SHAPE, MARKS, np.array(TABLE))], effort=EFFORTS[effort], seed=1
    )
    return outcome, outcome.probabilities(learner, given)


@pytest.mark.parametrize("effort", ["fast", "holdout"])
def test_auto_chooses_and_predicts_as_in_memory_bit_by_bit(tmp_path: Path, effort: str) -> None:
    held, streamed = rows()
    learner = streaming(tmp_path, batch_size=4096)
    (first, p), (second, q) = chosen(in_memory(), held, effort), chosen(learner, streamed, effort)
    assert first.sentences() == second.sentences()
    assert first.cost == second.cost
    for task in TASKS:
        np.testing.assert_array_equal(p[task.name], q[task.name])


def test_what_was_trained_and_predicted_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, streamed = rows()
    first, p = chosen(streaming(tmp_path), streamed)
    monkeypatch.setattr(StreamLearner, "_fitted", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(StreamLearner, "_predicted", lambda *_: pytest.fail("predicted again"))
    second, q = chosen(streaming(tmp_path), streamed)
    assert first.sentences() == second.sentences()
    np.testing.assert_array_equal(p["shape"], q["shape"])
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="is of another training"):
        chosen(streaming(tmp_path), streamed.take(torch.arange(2 * N - 2)))


@pytest.mark.parametrize("streams", [False, True])
def test_a_training_begins_with_the_weights_of_the_network_that_it_goes_on_from(
    tmp_path: Path, streams: bool
) -> None:
    """At a rate of nothing they stay what they are."""
    still = RECIPE | {"learning_rate": 0.0}
    learner: Any = streaming(tmp_path, options=still) if streams else replace(in_memory(), learning_rate=0.0)
    given, options = rows()[streams], {"kind": "shared", "share": 0.5, "task_weights": {}, "soft_weights": {}}
    first = learner.train(given, TASKS, seed=0, **options)
    other = learner.train(given, TASKS, seed=1, **options)
    goes_on = learner.train(given, TASKS, seed=1, **options, initial=first)
    before, fresh, after = (learner.predict(one, given)["shape"] for one in (first, other, goes_on))
    np.testing.assert_array_equal(after, before)
    assert not np.array_equal(after, fresh)
    if streams:  # started again, the third is not taken for one that began anew
        again = streaming(tmp_path, options=still)
        for seed in (0, 1):
            again.train(given, TASKS, seed=seed, **options)
        with pytest.raises(CheckpointError, match="is of another training"):
            again.train(given, TASKS, seed=1, **options)


def test_predictions_do_not_depend_on_how_many_are_made_at_a_time(tmp_path: Path) -> None:
    _, streamed = rows()
    options: Any = {"kind": "shared", "share": 1.0, "seed": 0, "task_weights": {}, "soft_weights": {}}
    found = []
    for size in (7, 512):
        learner = streaming(tmp_path / str(size), batch_size=size)
        found.append(learner.predict(learner.train(streamed, TASKS, **options), streamed))
    np.testing.assert_allclose(found[0]["shape"], found[1]["shape"], atol=1e-6)
    assert found[0]["shape"].dtype == np.float64


def test_half_precision_trains_and_leaves_no_trace_in_the_next_training(tmp_path: Path) -> None:
    _, streamed = rows()
    options: Any = {"kind": "shared", "share": 1.0, "seed": 0, "task_weights": {}, "soft_weights": {}}
    recipe = RECIPE | {"recipe": Recipe(precision="bf16-mixed")}
    learner = StreamLearner(
        build=build, folder=tmp_path, fabric=launch("cpu", 1, precision="bf16-mixed"), steps=6, options=recipe
    )
    one, two = (learner.predict(learner.train(streamed, TASKS, **options), streamed) for _ in range(2))
    np.testing.assert_array_equal(one["marks"], two["marks"])
    full = streaming(tmp_path / "full", steps=6, rows_per_task=64)
    exact = full.predict(full.train(streamed, TASKS, **options), streamed)
    assert not np.array_equal(one["marks"], exact["marks"])


class Lossy(FeatureRows):
    """Feature rows of which one cannot be read."""

    def load(self, keys: Any) -> Any:
        from concord.data.inputs import Failure

        loaded = super().load(keys)
        lost = np.flatnonzero(np.asarray(keys) == 3)
        kept = torch.from_numpy(np.delete(np.arange(len(keys)), lost))
        failures = tuple(Failure(int(i), "3.png", "broken") for i in lost)
        return replace(loaded, values=loaded.values[kept], failures=failures)


@pytest.mark.filterwarnings("ignore:source 'shape'")
def test_every_row_is_predicted_or_it_is_an_error(tmp_path: Path) -> None:
    held, streamed = rows()
    first, second = streamed.inputs.sources
    lossy = Source(first.manifest, Lossy(held.inputs[:N].numpy()))
    broken = Rows.streamed(StreamedInputs.of([lossy, second]), TASKS)
    with pytest.raises(ConfigError, match="the inputs of 1 training rows cannot be read"):
        chosen(streaming(tmp_path), broken)
