"""`concord embed`: features of every row, once, resumable, and taken by a config as any feature file is."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from concord.archive import own
from concord.cli import app
from concord.config import InputPlan, TrunkPlan
from concord.data import BOX, StreamedInputs, read_manifest, write_manifest
from concord.errors import CheckpointError, ConfigError, EmptyDataError, MissingDataError
from concord.networks import seeded
from concord.runs import build, embed, train
from concord.runs import embedding as room
from concord.runs.inputs import Pixels
from concord.runs.run import trunk_of
from config_worlds import SIDE, config_of, world

TRUNK = TrunkPlan(name="builtin:resnet", options={"width": 8, "stages": 1})
IMAGES = InputPlan(kind="images", size=SIDE)


def made(tmp_path: Path, name: str = "out", **options: Any) -> Any:
    return embed(
        tmp_path / "classed.parquet",
        tmp_path / name,
        TRUNK,
        IMAGES,
        accelerator="cpu",
        batch_size=7,
        **options,
    )


def test_features_are_what_the_trunk_says_of_each_row(tmp_path: Path) -> None:
    world(tmp_path, "images", 24)
    found = made(tmp_path)
    assert (found.rows, found.width, found.skipped) == (24, 8, 0)
    x = np.load(tmp_path / "out" / "features.npy")
    manifest = read_manifest(tmp_path / "out" / "manifest.parquet")
    before = read_manifest(tmp_path / "classed.parquet")
    assert manifest.frame["row"].to_list() == list(range(24))
    assert manifest.tasks == before.tasks
    assert manifest.frame["shape"].equals(before.frame["shape"])
    from PIL import Image

    pixels = np.stack(
        [np.asarray(Image.open(tmp_path / path).convert("RGB")) for path in before.frame["path"]]
    )
    with seeded(0):
        trunk = trunk_of(TRUNK, (3, SIDE, SIDE))
    values = Pixels(SIDE, trunk.normalization or room.IMAGENET)(torch.from_numpy(pixels))
    with torch.no_grad():
        expected = trunk.module.eval()(values)
    np.testing.assert_allclose(x, expected.numpy(), atol=1e-5)


def test_a_config_trains_on_what_was_written(tmp_path: Path) -> None:
    values = world(tmp_path, "images", 24) | {"couplings": [], "trunk": {"options": {"hidden": [8]}}}
    for name in ("classed", "labelled"):
        embed(tmp_path / f"{name}.parquet", tmp_path / name, TRUNK, IMAGES, accelerator="cpu")
        values["sources"][name] = {
            "manifest": f"{name}/manifest.parquet",
            "inputs": {"kind": "features", "file": f"{name}/features.npy"},
        }
    run = train(config_of(values))
    assert run.shape == (8,)
    assert len(build(config_of(values)).training["classed"]) == 16


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_stopped_it_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    world(tmp_path, "images", 24)
    monkeypatch.setattr(room, "EVERY", 1)
    whole = made(tmp_path, "whole")

    def stopping(done: int, rows: int) -> None:
        assert rows == 24
        if done >= 7 * stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, progress=stopping)
    assert not (tmp_path / "out" / "features.npy").exists()
    seen: list[int] = []
    again = made(tmp_path, progress=lambda done, rows: seen.append(done))
    assert seen[0] > 7 * stop
    assert again.rows == whole.rows
    assert (tmp_path / "out/features.npy").read_bytes() == (tmp_path / "whole/features.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "embedding.json", "features.npy", "manifest.parquet",
    ]  # fmt: skip
    monkeypatch.setattr(room, "_features", lambda *_: pytest.fail("made again"))
    assert made(tmp_path) == again


def test_killed_twice_it_leaves_no_row_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First when all rows are done and the record is not written, then after a batch of the new file."""
    world(tmp_path, "images", 24)
    made(tmp_path, "whole")
    written, load = room.write_text, StreamedInputs.load

    def none_of_the_record(path: Path, text: str) -> None:
        if path.name == "embedding.json":
            raise KeyboardInterrupt
        written(path, text)

    def one_batch(*args: Any, **options: Any) -> Iterator[Any]:
        yield next(load(*args, **options))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "write_text", none_of_the_record)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(StreamedInputs, "load", one_batch)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path)
    made(tmp_path)
    assert (tmp_path / "out/features.npy").read_bytes() == (tmp_path / "whole/features.npy").read_bytes()


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    world(tmp_path, "images", 24)
    (tmp_path / "out").mkdir()
    with own(tmp_path / "out"), pytest.raises(CheckpointError, match="is in use by process"):
        made(tmp_path)
    made(tmp_path)


def test_a_folder_of_another_embedding_is_refused(tmp_path: Path) -> None:
    world(tmp_path, "images", 24)
    made(tmp_path)
    with pytest.raises(CheckpointError, match="features of another embedding: inputs differs"):
        embed(
            tmp_path / "classed.parquet",
            tmp_path / "out",
            TRUNK,
            InputPlan(kind="images", size=8),
            batch_size=7,
        )
    with pytest.raises(CheckpointError, match="features of another embedding: data differs"):
        embed(tmp_path / "images0", tmp_path / "out", TRUNK, IMAGES, batch_size=7)
    with pytest.raises(ConfigError, match="takes texts, and these are images"):
        embed(tmp_path / "images0", tmp_path / "x", TrunkPlan(name="builtin:bag-of-words"), IMAGES)
    with pytest.raises(MissingDataError, match="expected a manifest or a folder of images"):
        embed(tmp_path / "none", tmp_path / "x", TRUNK, IMAGES)


def test_annotations_that_changed_are_written_and_nothing_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path, "images", 24)
    (tmp_path / read_manifest(tmp_path / "classed.parquet").frame["path"][3]).write_bytes(b"no image")
    skip = InputPlan(kind="images", size=SIDE, on_error="skip")

    def once() -> pl.DataFrame:
        embed(tmp_path / "classed.parquet", tmp_path / "out", TRUNK, skip, accelerator="cpu", batch_size=7)
        return read_manifest(tmp_path / "out" / "manifest.parquet").frame

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = once()
    manifest = read_manifest(tmp_path / "classed.parquet")
    moved = manifest.frame.with_columns(pl.col("shape").reverse(), pl.lit("val").alias("split"))
    write_manifest(replace(manifest, frame=moved), tmp_path / "classed.parquet")
    monkeypatch.setattr(room, "_features", lambda *_: pytest.fail("made again"))
    after = once()
    assert after["row"].equals(before["row"])
    assert after["shape"].equals(moved["shape"].gather(before["row"]))
    assert set(after["split"]) == {"val"}


def test_other_pictures_of_the_same_names_or_other_boxes_are_another_embedding(tmp_path: Path) -> None:
    world(tmp_path, "images", 24)
    manifest = read_manifest(tmp_path / "classed.parquet")
    boxed = manifest.frame.with_columns(
        *(pl.lit(float(side)).alias(name) for name, side in zip(BOX, (0, 0, 6, 6), strict=True))
    )
    write_manifest(replace(manifest, frame=boxed), tmp_path / "classed.parquet")
    plan = InputPlan(kind="images", size=SIDE, region="box")

    def at(root: Path, progress: Any = lambda done, rows: None) -> None:
        embed(
            tmp_path / "classed.parquet", tmp_path / "out", TRUNK, plan,
            root=root, accelerator="cpu", batch_size=1, progress=progress,
        )  # fmt: skip

    other = tmp_path / "other"
    for path in boxed["path"]:
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((SIDE, SIDE), 90).convert("RGB").save(other / path)
    with pytest.raises(ZeroDivisionError):
        at(tmp_path, lambda done, rows: 1 // (done - 20))
    with pytest.raises(CheckpointError, match="files differs"):
        at(other)
    at(tmp_path)
    with pytest.raises(CheckpointError, match="files differs"):
        at(other)
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "images0", copied / "images0")
    at(copied)  # the same pictures elsewhere
    wider = boxed.with_columns(pl.lit(8.0).alias("box_width"))
    write_manifest(replace(manifest, frame=wider), tmp_path / "classed.parquet")
    with pytest.raises(CheckpointError, match="data differs"):
        at(tmp_path)


@pytest.mark.filterwarnings("ignore:source ")
def test_an_image_that_cannot_be_read_may_be_left_out(tmp_path: Path) -> None:
    world(tmp_path, "images", 24)
    before = read_manifest(tmp_path / "classed.parquet").frame["path"]
    (tmp_path / before[9]).write_bytes(b"no image")
    skip = InputPlan(kind="images", size=SIDE, on_error="skip")
    found = embed(
        tmp_path / "classed.parquet", tmp_path / "out", TRUNK, skip, accelerator="cpu", batch_size=7
    )
    assert (found.rows, found.skipped) == (23, 1)
    frame = read_manifest(tmp_path / "out" / "manifest.parquet").frame
    assert frame["row"].to_list() == [i for i in range(24) if i != 9]
    assert np.load(tmp_path / "out" / "features.npy").shape == (24, 8)
    for path in (tmp_path / "images0").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(EmptyDataError, match="none of the 24 inputs"):
        embed(tmp_path / "images0", tmp_path / "x", TRUNK, skip, accelerator="cpu")


def test_the_command_writes_texts_and_images(tmp_path: Path) -> None:
    world(tmp_path, "texts", 24)
    words = ["embed", str(tmp_path / "classed.parquet"), "--trunk", "builtin:bag-of-words", "--random"]
    found = CliRunner().invoke(app, [*words, "--texts", "--out", str(tmp_path / "words")])
    assert found.exit_code == 0, found.output
    assert "24 rows of" in found.output
    assert np.load(tmp_path / "words" / "features.npy").shape[0] == 24
    refused = CliRunner().invoke(app, [*words, "--fit", "squeeze", "--out", str(tmp_path / "x")])
    assert "value of --fit" in str(refused.exception)


@pytest.mark.parametrize("name", ["features.npy", "manifest.parquet"])
def test_files_of_no_embedding_are_not_written_over(tmp_path: Path, name: str) -> None:
    world(tmp_path, "images", 24)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    (tmp_path / "out" / "notes.txt").write_text("mine, too")
    with pytest.raises(CheckpointError, match=f"{name} is of no embedding"):
        made(tmp_path)
    assert (tmp_path / "out" / name).read_bytes() == b"mine"
    (tmp_path / "out" / name).unlink()
    assert made(tmp_path).rows > 0


def test_an_embedding_killed_at_any_moment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world(tmp_path, "images", 24)
    made(tmp_path, "whole")
    made(tmp_path)
    out = tmp_path / "out"
    (out / "embedding.json").rename(out / "progress.json")  # killed before the record was there ...
    note = json.loads((out / "progress.json").read_text())
    (out / "progress.json").write_text(json.dumps(note | {"done": 24, "skipped": []}))
    monkeypatch.setattr(np.lib.format, "open_memmap", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # ... and again before the new file of features was
        made(tmp_path)
    monkeypatch.undo()
    made(tmp_path)
    np.testing.assert_array_equal(np.load(out / "features.npy"), np.load(tmp_path / "whole" / "features.npy"))
