"""Small data on disk, of every kind that a config can name, with a config for it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from PIL import Image

import concord as cc
from concord.config.load import as_config
from concord.config.schema import Config
from concord.data import write_manifest
from concord.data.manifest import Manifest

SHAPE = cc.MulticlassTask("shape", ["circle", "square", "star"])
MARKS = cc.MultilabelTask("marks", ["m1", "m2"])
TABLE = [[0.9, 0.1], [0.1, 0.9], [0.8, 0.8]]
SIDE = 12
WORDS = ("round", "boxy", "spiky")


def classes_and_labels(n: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return y, (rng.random((n, 2)) < np.asarray(TABLE)[y]).astype(int)


def columns(kind: str, n: int, seed: int, folder: Path) -> dict[str, Any]:
    """Where the inputs of the rows are, after writing them."""
    rng = np.random.default_rng(seed)
    y, a = classes_and_labels(n, seed)
    if kind == "texts":
        return {
            "text": [
                # Texts differ in length.
                f"a {WORDS[c]} thing{' m1' * l1}{' m2' * l2}{' more' * rng.integers(4)}"
                for c, (l1, l2) in zip(y, a, strict=True)
            ]
        }
    if kind == "columns":
        size, word = 10 * y + rng.normal(size=n), [WORDS[c] for c in y]
        return {"row": range(n), "size": size, "word": word, "one": a[:, 0], "two": a[:, 1].astype(bool)}
    if kind == "features":
        x = rng.normal(size=(n, 6)).astype(np.float32)
        x[:, :3] += 3 * np.eye(3)[y]
        x[:, 3:5] += 3 * a
        np.savez(folder / f"features{seed}.npz", x=100 + 10 * x)
        return {"row": range(n)}
    pixels = np.full((n, SIDE, SIDE), 40, dtype=np.uint8)
    for i, (c, (l1, l2)) in enumerate(zip(y, a, strict=True)):
        pixels[i, :, 2 * c : 2 * c + 3] = 200
        pixels[i, :3, 8:10], pixels[i, :3, 10:] = 250 * l1, 250 * l2
    if kind == "arrays":
        np.save(folder / f"pixels{seed}.npy", pixels)
        return {"row": range(n)}
    (folder / f"images{seed}").mkdir(exist_ok=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"images{seed}" / f"{i:03}.png")
    return {"path": [f"images{seed}/{i:03}.png" for i in range(n)]}


INPUTS = {
    "texts": {"kind": "texts"},
    "columns": {"kind": "columns", "columns": ["size", "word", "one", "two"]},
    "features": {"kind": "features", "file": "features{}.npz"},
    "arrays": {"kind": "arrays", "file": "pixels{}.npy", "size": SIDE},
    "images": {"kind": "images", "size": SIDE},
}
TRUNKS = {
    "texts": {"name": "builtin:bag-of-words", "options": {"buckets": 512, "width": 16}},
    "columns": {"options": {"hidden": [16]}},
    "features": {"options": {"hidden": [16]}},
    "arrays": {"name": "builtin:resnet", "options": {"width": 8, "stages": 1}},
    "images": {"name": "builtin:resnet", "options": {"width": 8, "stages": 1}},
}


def world(folder: Path, kind: str = "features", n: int = 60) -> dict[str, Any]:
    """Write two sources: one with classes, one with labels; the plain data of a config for them."""
    splits = (["train"] * 4 + ["val", "test"]) * (n // 6)
    sources = {}
    for seed, (name, task) in enumerate({"classed": SHAPE, "labelled": MARKS}.items()):
        y, a = classes_and_labels(n, seed)
        frame = pl.DataFrame({**columns(kind, n, seed, folder), "split": splits})
        if task is SHAPE:
            frame = frame.with_columns(pl.Series("shape", [SHAPE.classes[c] for c in y]))
        else:
            frame = frame.with_columns(pl.Series(f"marks.{m}", a[:, k]) for k, m in enumerate(MARKS.labels))
        write_manifest(Manifest(frame, (task,), folder, name), folder / f"{name}.parquet")
        inputs = {key: str(v).format(seed) if key == "file" else v for key, v in INPUTS[kind].items()}
        sources[name] = {"manifest": f"{name}.parquet", "inputs": inputs}
    (folder / "table.csv").write_text("shape,m1,m2\ncircle,.9,.1\nsquare,.1,.9\nstar,.8,.8\n")
    return {
        "data": str(folder),
        "output": str(folder / "out"),
        "sources": sources,
        "tasks": {"shape": {}, "marks": {}},
        "relations": [{"source": "shape", "target": "marks", "table": "table.csv"}],
        "couplings": [{"name": "posterior-coannotation", "weight": 0.5}],
        "trunk": TRUNKS[kind],
        "training": {"steps": 6, "batch_size": 16, "accelerator": "cpu"},
        "validation": {"every": 3},
        "checkpoints": {"every": 3},
        "watching": {"every": 2, "progress": False},
    }


def config_of(values: dict[str, Any], **changes: Any) -> Config:
    """A config of plain data with some keys changed: `training__steps=3`."""
    values = deepcopy(values)
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = values
        for part in path:
            inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
        inner[int(last) if isinstance(inner, list) else last] = value
    return as_config(values)


def write(values: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path
