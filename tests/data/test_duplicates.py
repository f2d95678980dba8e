"""Near-copies without a group are told, by each sign; ordinary data are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from concord import MulticlassTask
from concord.data import inspect, near_copies, near_copies_in_memory
from concord.data.manifest import Manifest
from concord.errors import ConcordWarning
from concord.runs.training import train
from concord.study.problems.cases import digits
from config_worlds import config_of, world

PET = MulticlassTask("pet", ["cat", "dog"])


def of_paths(paths: list[str], **columns: list[object]) -> Manifest:
    return Manifest(pl.DataFrame({"path": paths, **columns}), (), name="faces")


def frames(videos: int, each: int, form: str = "v{v}/{i:05}.jpg") -> list[str]:
    return [form.format(v=v, i=i) for v in range(videos) for i in range(1, each + 1)]


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v{v}/{i:05}.jpg", "a/v{v}/frame_{i}.png", "all/v{v}_{i:03}.jpg"])
def test_numbered_files_of_several_folders_look_like_videos(form: str) -> None:
    found = near_copies(of_paths(frames(4, 30, form)))
    assert found is not None
    assert found.startswith("faces: 120 rows are numbered files of 4 folders or names")
    assert "concord data table ... --group COLUMN" in found
    assert "\n" not in found
    assert found in inspect(of_paths(frames(4, 30, form))).problems()


def test_the_mend_names_the_likely_column() -> None:
    paths = frames(4, 30)
    found = near_copies(of_paths(paths, Subject=[path.partition("/")[0] for path in paths]))
    assert found is not None
    assert found.endswith("--group Subject")


@pytest.mark.parametrize(
    "paths",
    [
        [f"{i:06}.jpg" for i in range(500)],
        [
            f"{part}/{name}/{i:04}.jpg"
            for part in ("train", "test")
            for name in ("cat", "dog")
            for i in range(99)
        ],
        [f"{i // 100:03}/{i:05}.png" for i in range(1000)],  # one list in parts
        [f"{v}/{i}.jpg" for v in range(30) for i in range(1, 4)],  # three pictures of each
        [f"p{v}/{i * 7919 % 100_003}.jpg" for v in range(5) for i in range(v * 50, v * 50 + 50)],
        [f"{name}.jpg" for name in ("anna", "bob", "carl")],
    ],
    ids=["one-list", "classes", "parts", "few-each", "random", "words"],
)
def test_ordinary_names_are_not_told(paths: list[str]) -> None:
    manifest = Manifest(
        pl.DataFrame(
            {"path": paths, "pet": ["cat", "dog", None] * (len(paths) // 3) + ["cat"] * (len(paths) % 3)}
        ),
        (PET,),
    )
    assert near_copies(manifest) is None


def test_rows_with_a_group_are_never_told() -> None:
    paths = frames(4, 30)
    group = [path.partition("/")[0] for path in paths]
    assert near_copies(of_paths(paths, group=group)) is None
    x = copies(50)
    assert (
        near_copies(of_paths([f"{i}" for i in range(len(x))], group=["g"] * len(x)), lambda rows: x[rows])
        is None
    )
    assert near_copies_in_memory(x, np.repeat(np.arange(50), 20), "x") is None


# -- features ---------------------------------------------------------------------------------------------


def copies(groups: int, width: int = 16, noise: float = 0.01, each: int = 20, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(groups, width)), each, axis=0)
    return rng.permutation(rows + noise * rng.normal(size=rows.shape)) * rng.uniform(0.01, 100, width)


@pytest.mark.parametrize("width", [5, 16, 200])
@pytest.mark.parametrize("groups", [30, 300])
def test_near_equal_features_are_told(width: int, groups: int) -> None:
    x = copies(groups, width)
    found = near_copies_in_memory(x, None, "videos")
    assert found is not None
    assert "rows looked at have features nearly equal to those of others, and have no group" in found
    assert found == near_copies_in_memory(x, None, "videos")
    manifest = Manifest(pl.DataFrame({"row": range(len(x))}), (), name="videos")
    assert near_copies(manifest, lambda rows: x[rows]) == found
    some = manifest.frame.with_columns(group=pl.when(pl.col("row") > 40).then(pl.lit("g")))
    assert near_copies(replace(manifest, frame=some), lambda rows: x[rows]) is None


@pytest.mark.parametrize("width", [1, 2, 5, 16, 200])
@pytest.mark.parametrize("n", [60, 400, 4000])
@pytest.mark.parametrize("kind", ["normal", "heavy", "bits", "classes", "twice"])
def test_ordinary_features_are_not_told(width: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(n + width)
    x = rng.normal(size=(n, width))
    if kind == "heavy":
        x = rng.standard_t(2, size=(n, width))
    elif kind == "bits":
        x = (x > 0).astype(float)
    elif kind == "classes":
        x = 0.1 * x + rng.normal(size=(10, width))[rng.integers(0, 10, n)]
    elif kind == "twice":  # one row for each of two tasks
        x = np.concatenate([x, x])
    assert near_copies_in_memory(x, None, "x") is None


def test_digits_are_no_copies_of_each_other() -> None:
    assert near_copies_in_memory(digits.problem().inputs, None, "digits") is None


# -- pictures ---------------------------------------------------------------------------------------------


def write(root: Path, pictures: list[np.ndarray]) -> Manifest:
    names = [f"{i:04}-x.png" for i in range(len(pictures))]
    for name, pixels in zip(names, pictures, strict=True):
        Image.fromarray(pixels).save(root / name)
    return Manifest(pl.DataFrame({"path": names}), (), root, "photos")


def scenes(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((64, 64)))
        for _ in range(n)
    ]


def test_pictures_that_differ_by_noise_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noisy = [
        np.clip(scene.astype(int) + rng.integers(-4, 5, scene.shape), 0, 255).astype(np.uint8)
        for scene in scenes(8)
        for _ in range(10)
    ]
    manifest = write(tmp_path, noisy)
    found = near_copies(manifest)
    assert found is not None
    assert "pictures looked at are nearly equal to others, and have no group" in found
    assert found in inspect(manifest).problems()
    assert near_copies(replace(manifest, root=None)) is None
    (tmp_path / "0000-x.png").write_bytes(b"no picture")
    assert near_copies(manifest) is None  # who trains on it is told of the file


@pytest.mark.parametrize("kind", ["scenes", "same", "plain"])
def test_other_pictures_are_not_told(kind: str, tmp_path: Path) -> None:
    if kind == "scenes":
        pictures = scenes(80)
    elif kind == "same":  # found by `inspect(content=True)`
        pictures = [scene for scene in scenes(8) for _ in range(10)]
    else:
        pictures = [np.full((32, 32, 3), i, dtype=np.uint8) for i in range(80)]
    assert near_copies(write(tmp_path, pictures)) is None


def test_a_training_on_copies_says_so(tmp_path: Path) -> None:
    values = world(tmp_path, n=600)
    for seed in (0, 1):
        np.savez(tmp_path / f"features{seed}.npz", x=copies(30, 6, seed=seed).astype(np.float32))
    with pytest.warns(ConcordWarning) as told:
        train(config_of(values))
    said = [str(each.message) for each in told if "have no group" in str(each.message)]
    assert [each.partition(":")[0] for each in said] == ["classed", "labelled"]
