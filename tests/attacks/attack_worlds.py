"""A small world of files for the attacks, and commands on it."""

from __future__ import annotations

import numpy as np
import polars as pl

from concord import MulticlassTask, MultilabelTask, Relation
from concord.data import Manifest, write_manifest
from warm import run_warm

CONFIG = """
data: .
sources:
  first: {manifest: rows.parquet, inputs: {kind: features, file: features.npy}}
relations:
  - {source: kind, target: traits, table: table.csv}
couplings:
  - {name: posterior, weight: 1.0}
trunk: {name: "builtin:mlp", options: {hidden: [8], dropout: 0.0}}
training: {steps: 6, batch_size: 8, accelerator: cpu}
validation: {every: 3}
checkpoints: {every: 2, keep: 2}
watching: {every: 2, progress: false}
"""

PLAN = """
title: T
problem:
  manifest: rows.parquet
  features: features.npy
  relations: [{source: kind, target: traits, table: table.csv}]
regimes: [{name: few, rows: {kind: 20, traits: 30}}]
network: {hidden: [8]}
conditions: [single-task, uncoupled]
seeds: 2
budget: {steps: 2, rows_per_task: 8}
resamples: 20
"""


def make_world(folder):
    """Write the files of a small world into a folder."""
    rng = np.random.default_rng(0)
    kind, traits = MulticlassTask("kind", ["ant", "bee", "cat"]), MultilabelTask("traits", ["wings", "fur"])
    table = np.array([[0.1, 0.9], [0.9, 0.1], [0.1, 0.8]])
    y = rng.integers(0, 3, 120)
    labels = (rng.random((120, 2)) < table[y]).astype(int)
    np.save(folder / "features.npy", rng.normal(size=(120, 4)).astype(np.float32))
    frame = pl.DataFrame(
        {
            "row": range(120),
            "split": ["train"] * 72 + ["val"] * 24 + ["test"] * 24,
            "kind": [kind.classes[i] for i in y],
            "traits.wings": labels[:, 0],
            "traits.fur": labels[:, 1],
        }
    )
    manifest = Manifest(frame, (kind, traits), None, "rows")
    write_manifest(manifest, folder / "rows.parquet")
    write_manifest(manifest, folder / "rows.csv")
    Relation(kind, traits, table).to_csv(folder / "table.csv")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "plan.yaml").write_text(PLAN)


def command(folder, *arguments, before="", environment=None):
    """Run `concord` in a folder, in a process of its own; `before` is code that it runs first."""
    return run_warm(f"{before}\nfrom concord.cli import main\nmain()", arguments, folder, environment or {})


def told(done):
    """The lines on standard error without the page that explains them; none of them is a traceback's."""
    text = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if not line.startswith("more: ")]
