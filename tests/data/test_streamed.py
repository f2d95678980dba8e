"""Rows that stay where they lie: the same rows, targets and trainings as in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from concord.data import FeatureRows, Images, Manifest, Source, StreamedInputs
from concord.data.batches import SkippedInputWarning
from concord.errors import CheckpointError, EmptyDataError, NoAnnotationError
from concord.fitting import Checkpoints, Rows, StreamedRowFeed, fit
from concord.networks import mlp_network
from concord.objective import CoupledObjective
from config_worlds import MARKS, SHAPE, classes_and_labels

TASKS = (SHAPE, MARKS)
N = 30


def sources(*, noise: bool = False) -> tuple[list[Source], np.ndarray]:
    """Three sources: classes, labels, both; and the inputs of all their rows."""
    found, every = [], []
    for seed, tasks in enumerate([(SHAPE,), (MARKS,), TASKS]):
        y, a = classes_and_labels(N, seed)
        x = np.random.default_rng(seed).normal(size=(N, 4)).astype(np.float32)
        frame: dict[str, Any] = {"row": range(N), "group": [None if i % 3 else f"g{i}" for i in range(N)]}
        if SHAPE in tasks:
            frame["shape"] = [SHAPE.classes[c] for c in y]
        if MARKS in tasks:
            frame |= {f"marks.{m}": a[:, k] for k, m in enumerate(MARKS.labels)}
        manifest = Manifest(pl.DataFrame(frame), tasks, Path(), f"s{seed}")
        jitter = (lambda v: v + torch.rand(v.shape)) if noise else None
        found.append(Source(manifest, FeatureRows(x), jitter))
        every.append(x)
    return found, np.concatenate(every)


@pytest.fixture
def both() -> tuple[Rows, Rows]:
    """The same rows in memory and in their sources, in an order that mixes the sources."""
    found, x = sources()
    streamed = Rows.streamed(StreamedInputs.of(found), TASKS)
    held = Rows(torch.from_numpy(x), streamed.targets)
    order = torch.from_numpy(np.random.default_rng(0).permutation(3 * N)[: 2 * N])
    return held.take(order), streamed.take(order)


def test_rows_are_what_the_sources_say(both: tuple[Rows, Rows]) -> None:
    held, streamed = both
    again = streamed.inputs.targets(TASKS)
    for task in TASKS:
        torch.testing.assert_close(again[task.name], held.targets[task.name], equal_nan=True)
    part, same = streamed.take(torch.tensor([5, 0, 5])), held.take(torch.tensor([5, 0, 5]))
    (batch, places), *more = part.batches(8)
    assert not more
    assert places.tolist() == [0, 1, 2]
    assert torch.equal(batch.inputs, same.inputs)
    pieces = [b.inputs for b, _ in streamed.batches(7)]
    assert max(map(len, pieces)) == 7
    assert torch.equal(torch.cat(pieces), held.inputs)


def test_taking_rows_reads_nothing(both: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureRows, "load", lambda *_: pytest.fail("an input was read"))
    part = both[1].take(torch.arange(10)).take(torch.tensor([3, 1]))
    assert len(part) == 2
    assert part.targets["shape"].tolist() == both[0].targets["shape"][[3, 1]].tolist()


def test_groups_span_sources_and_rows_without_one_stand_alone() -> None:
    found, _ = sources()
    group = StreamedInputs.of(found).group()
    assert group is not None
    names = [name for source in found for name in source.manifest.frame["group"]]
    assert len(set(group[[n is None for n in names]])) == sum(n is None for n in names)
    assert group[0] == group[N] == group[2 * N]
    assert len(set(group)) == len({name for name in names if name}) + sum(n is None for n in names)
    bare = replace(found[0].manifest, frame=found[0].manifest.frame.with_columns(group=pl.lit(None)))
    assert StreamedInputs.of([Source(bare, found[0].inputs)]).group() is None


def test_parts_hold_the_rows_in_the_order_of_their_source() -> None:
    found, _ = sources()
    part = StreamedInputs.of(found)[[70, 3, 1]].parts()
    assert list(part) == ["s0", "s2"]
    assert part["s0"].manifest.frame["row"].to_list() == [1, 3]
    assert part["s2"].manifest.frame["row"].to_list() == [10]


def trained(rows: Rows, workers: int = 0, **options: Any) -> Any:
    if workers:
        rows = replace(rows, inputs=replace(rows.inputs, workers=workers))
    network = mlp_network(
        4, TASKS, hidden=(8, 8), capacity="half-shared", generator=torch.Generator().manual_seed(1)
    )
    fit(network, CoupledObjective(TASKS), rows, rows_per_task=16, seed=3, **{"steps": 9} | options)
    return network.state_dict()


def equal(first: Any, second: Any) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_gives_the_weights_of_training_in_memory(both: tuple[Rows, Rows], workers: int) -> None:
    assert equal(trained(both[0]), trained(both[1], workers))


def test_a_training_that_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    found, _ = sources(noise=True)
    rows = Rows.streamed(StreamedInputs.of(found), TASKS)
    kept = Checkpoints(tmp_path / "kept", every=4)
    first = trained(rows, steps=5, checkpoints=kept)
    assert not equal(first, trained(rows, checkpoints=kept))
    assert equal(trained(rows, checkpoints=kept), trained(rows))
    fewer = rows.take(torch.arange(3 * N - 1))
    with pytest.raises(CheckpointError, match="annotated rows by task were"):
        trained(fewer, checkpoints=kept, steps=12)


def test_ranks_share_the_batches_of_one(both: tuple[Rows, Rows]) -> None:
    options: dict[str, Any] = {"seed": 2, "device": torch.device("cpu")}
    whole = StreamedRowFeed(both[1], TASKS, 5, **options)
    parts = [StreamedRowFeed(both[1], TASKS, 5, **options, rank=r, world=2) for r in range(2)]
    for _ in range(4):
        batch, mine = whole.next(), [part.next() for part in parts]
        for r in range(2):
            assert torch.equal(batch.inputs[r::2], mine[r].inputs)
            assert torch.equal(batch.targets["shape"][r::2], mine[r].targets["shape"])


def test_what_cannot_be_trained_on_is_refused(both: tuple[Rows, Rows]) -> None:
    with pytest.raises(EmptyDataError, match="one source or more"):
        StreamedInputs.of([])
    unlabelled = Rows.streamed(StreamedInputs.of(sources()[0][:1]), TASKS)
    with pytest.raises(NoAnnotationError, match="task 'marks' has no annotation in 30 rows"):
        trained(unlabelled)


def test_an_image_that_cannot_be_read_is_left_out_with_its_annotation(tmp_path: Path) -> None:
    for i in range(6):
        Image.fromarray(np.full((4, 4, 3), 40 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    frame = pl.DataFrame({"path": [f"{i}.png" for i in range(6)], "shape": ["circle", "star"] * 3})
    manifest = Manifest(frame, (SHAPE,), tmp_path, "faces")
    images = Images(size=4, on_error="skip", normalize=None)
    rows = Rows.streamed(StreamedInputs.of([Source(manifest, images)]), [SHAPE])
    with pytest.warns(SkippedInputWarning, match=r"source 'faces': row 2 is skipped, .*2\.png"):
        found = list(rows.take(torch.tensor([5, 2, 0])).batches(2))
    assert [places.tolist() for _, places in found] == [[0], [2]]
    assert [int(batch.inputs.max()) for batch, _ in found] == [200, 0]
    assert [batch.targets["shape"].tolist() for batch, _ in found] == [[2], [0]]
