"""The memory of a study whose images lie in files does not grow with their number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = """
import sys
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from concord.data import Manifest, write_manifest
from concord.study.drawn_faces import databases

folder, n = Path(sys.argv[1]), int(sys.argv[2])
(folder / "images").mkdir(parents=True)
data = databases(40, 40, 1)
splits = np.resize(["train"] * 8 + ["val", "test"], n)
for k, task in enumerate(data.tasks):
    # The same faces again and again, each in a file of its own.
    own = np.resize(np.arange(40 * k, 40 * k + 40), n)
    for i, row in enumerate(own):
        path = folder / "images" / f"{task.name}{i:06}.png"
        Image.fromarray(data.images[row]).save(path, compress_level=0)
    frame = {"path": [f"images/{task.name}{i:06}.png" for i in range(n)], "split": splits}
    frame["group"] = [f"{task.name}{row}-{split}" for row, split in zip(own, splits)]
    y = data.targets[task.name][own]
    if y.ndim == 1:
        frame[task.name] = [task.classes[c] for c in y]
    else:
        frame |= {f"{task.name}.{label}": y[:, j].astype(int) for j, label in enumerate(task.labels)}
    write_manifest(Manifest(pl.DataFrame(frame), (task,), folder, task.name), folder / f"{task.name}.parquet")
"""

RUN = """
import json
import sys
from pathlib import Path

from concord.study import as_plan, run

folder, stream = Path(sys.argv[1]), sys.argv[2] == "stream"
inputs = {"kind": "images", "size": 48}
names = ("expression", "action_units")
plan = as_plan({
    "title": "faces", "folder": str(folder),
    "problem": {
        "data": ".", "stream": stream, "outputs": "present", "rows": {"val": 100, "test": 100},
        "sources": {name: {"manifest": f"{name}.parquet", "inputs": inputs} for name in names},
        "relations": [
            {"source": names[0], "target": names[1], "table": "expressions", "extra": "ignore"}
        ],
    },
    "regimes": [{"name": "whole", "rows": dict.fromkeys(names, "all")}],
    "conditions": ["uncoupled"], "seeds": 1, "resamples": 0,
    "network": {"trunk": "builtin:resnet", "options": {"width": 8, "stages": 2, "stem_stride": 2}},
    "budget": {"steps": 5, "rows_per_task": 16, "log_every": 5},
})
assert run(plan, folder / sys.argv[2]) == 0
record = json.loads(next((folder / sys.argv[2] / "runs").glob("*.json")).read_text())
print(record["memory"], record["total"])
"""


def peak(folder: Path, n: int, how: str) -> float:
    """MiB of one run over 2 n images."""
    if not folder.exists():
        subprocess.run([sys.executable, "-c", DRAW, str(folder), str(n)], check=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(folder), how],
        check=True,
        capture_output=True,
        text=True,
    )
    memory, total = json.loads(
        "[" + done.stdout.split("\n")[-2].replace(" ", ",").replace("None", "null") + "]"
    )
    assert total > n
    if memory is None:
        pytest.skip("this system does not say how much memory a process took at most")
    return memory


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """2,000 and 20,000 drawn faces: in memory 27 KiB each, streamed a hundredth of that."""
    small, large = 1_000, 10_000
    streamed = [peak(tmp_path / str(n), n, "stream") for n in (small, large)]
    held = [peak(tmp_path / str(n), n, "held") for n in (small, large)]
    pixels = (large - small) * 2 * 0.8 * 3 * 48 * 48 * 4 / 2**20  # of the training rows, in MiB
    assert held[1] - held[0] > 0.8 * pixels
    assert streamed[1] - streamed[0] < 0.05 * pixels, (streamed, held)
    print(f"MiB at {2 * small:,} and {2 * large:,} images: streamed {streamed}, in memory {held}")
