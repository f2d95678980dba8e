"""Drawn faces as files, and the study of real networks on them: `faces_networks.yaml`.

    python benchmarks/faces_networks.py [--quick] [--processes 2]   # resumable
    python benchmarks/faces_networks.py --draw-only                 # the files: pictures and a manifest

The faces are those of `concord study faces`, with more pixels.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from concord.cli import main as concord
from concord.data import Manifest, write_manifest
from concord.study import case, databases

PLAN = Path(__file__).with_suffix(".yaml")
FILES = Path("runs/drawn_faces")
SIZE = 64


def draw(folder: Path, rows: Mapping[str, int]) -> None:
    """Write pictures and `faces.parquet`, which is last: where it is, all is. `rows` are of each database, by split."""
    if (folder / "faces.parquet").exists():
        return
    n = sum(rows.values())
    data = databases(n, n, case("faces").SEED, size=SIZE)
    expression, units = data.tasks
    names = [f"images/{number:06d}.png" for number in range(len(data))]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, data.images, strict=True):
        Image.fromarray(image).save(folder / name)
    place = np.tile(np.digitize(np.arange(n), np.cumsum(list(rows.values()))), 2)
    shown = data.targets["expression"]
    active = data.targets["action_units"]
    frame = pl.DataFrame(
        {
            "path": names,
            "split": [list(rows)[k] for k in place],
            expression.name: [expression.classes[c] if c >= 0 else None for c in shown],
            **{
                f"{units.name}.{label}": pl.Series(active[:, k]).fill_nan(None).cast(pl.Int8)
                for k, label in enumerate(units.labels)
            },
        }
    )
    write_manifest(Manifest(frame, data.tasks, folder, "faces"), folder / "faces.parquet")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is missing, and run what is missing of the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/faces_networks"))
    parser.add_argument("--files", type=Path, default=FILES, help="where the pictures are, or are drawn")
    parser.add_argument("--draw-only", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    draw(given.files, case("faces").ROWS)
    if not given.draw_only:
        os.environ["CONCORD_DATA"] = str(given.files.absolute())  # in the place of the plan's folder
        sys.argv = [
            "concord",
            "study",
            str(PLAN),
            "--out",
            str(given.out),
            "--processes",
            str(given.processes),
        ]
        sys.argv += ["--quick"] if given.quick else []
        concord()


if __name__ == "__main__":
    main()
