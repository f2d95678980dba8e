"""What systems leave in folders is no image to predict."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from attack_worlds import command
from PIL import Image

LEFT = [
    "._a.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    "@eaDir/a.png",
    "__MACOSX/a.png",
    "Thumbs.db",
    ".DS_Store",
]


@pytest.fixture
def world(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype("uint8")).save(tmp_path / f"{i}.png")
    rows = {"path": [f"{i}.png" for i in range(12)], "kind": ["x", "y"] * 6}
    pl.DataFrame(rows).write_csv(tmp_path / "m.csv")
    (tmp_path / "c.yaml").write_text(
        "sources: {s: {manifest: m.csv, root: ., inputs: {kind: images, size: 8}}}\n"
        'trunk: {name: "builtin:resnet", options: {width: 8, stages: 1}}\n'
        "training: {steps: 1, batch_size: 4, accelerator: cpu}\nvalidation: {select: final}\n"
        "watching: {progress: false}\noutput: run\n"
    )
    return tmp_path


def test_a_folder_from_a_mac_or_a_notebook_is_predicted_without_what_they_left(world):
    trained = command(world, "train", "c.yaml")
    assert trained.returncode == 0, trained.stderr
    photos = world / "photos"
    (photos / "inner").mkdir(parents=True)
    shutil.copy(world / "0.png", photos / "a.png")
    shutil.copy(world / "1.png", photos / "inner" / "b.png")
    for name in LEFT:
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"\0\5\26\7 resource fork")
    done = command(world, "predict", "run", "photos")
    assert done.returncode == 0, done.stderr
    assert pl.read_csv(world / "predictions.csv")["path"].to_list() == ["a.png", "inner/b.png"]
