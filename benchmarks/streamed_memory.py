"""Whether memory grows with the number of images: drawn faces in their files, streamed, and held for comparison.

    python benchmarks/streamed_memory.py [--images 2000 20000] [--steps 20] [--out FILE] [--page]

Each training is a study of one run in a process of its own, on one thread: memory is the most that it held, without
what Python and the libraries take. `auto` is with `effort: holdout`. What --out holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from faces_networks import SIZE, draw
from held import Held
from many_rows import held as most_held
from page import PAGE, machine, page_option, table, write_section

WAYS: dict[str, tuple[bool, Any]] = {
    "single-task, streamed": (True, "single-task"),
    "auto, streamed": (True, {"name": "auto", "options": {"effort": "holdout"}}),
    "single-task, held": (False, "single-task"),
}
"""Whether images stay in their files, and the condition."""
GOAL = "<= 1.1"
"""Asked of the memory of streamed trainings with the most images, as a multiple of that with the fewest."""


def measure(folder: Path, way: str, steps: int) -> float:
    """MiB that one training takes on top of the libraries, in this process."""
    import torch

    from concord.study import as_plan, run

    torch.set_num_threads(1)
    os.environ.pop("CONCORD_DATA", None)  # it would come in the place of the folder
    stream, condition = WAYS[way]
    source = {"manifest": "faces.parquet", "inputs": {"kind": "images", "size": SIZE}}
    relation = {"source": "expression", "target": "action_units", "table": "expressions"}
    conditions = [condition] if condition == "single-task" else ["single-task", condition]
    plan = as_plan(
        {
            "title": way,
            "problem": {
                "data": str(folder), "sources": {"faces": source}, "relations": [relation], "stream": stream,
            },
            "regimes": [{"name": "all", "rows": {"expression": "all", "action_units": "all"}}],
            "conditions": conditions,
            "seeds": 1,
            "network": {"kind": "resnet", "width": 8, "stages": 4, "stem_stride": 2},
            "budget": {"steps": steps, "rows_per_task": 32, "log_every": steps},
            "resamples": 0,
        }
    )  # fmt: skip
    before = most_held()
    with tempfile.TemporaryDirectory() as out:
        run(plan, out)
    return most_held() - before


def apart(images: int, way: str, steps: int, files: Path) -> float:
    """The same in a process of its own, on so many images, of which each database has half."""
    folder, script = files / str(images), [sys.executable, str(Path(__file__))]
    # By others, too: a new process begins with the most that the one which begins it has held.
    subprocess.run([*script, "--draw", str(folder), str(images)], check=True)
    command = [*script, "--one", str(folder), way, str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = float(json.loads(done.stdout.splitlines()[-1]))
    print(f"{way}, {images:,} images: {found:.0f} MiB", file=sys.stderr, flush=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and with --page write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where figures are kept, so that none is made twice")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    if options.draw:
        folder, images = options.draw
        draw(Path(folder), {"train": int(images) // 2 - 400, "val": 200, "test": 200})
        return
    if options.one:
        folder, way, steps = options.one
        print(json.dumps(measure(Path(folder), way, int(steps))))
        return
    kept = Held(options.out)
    where = kept.once({"what": "machine"}, machine)
    with tempfile.TemporaryDirectory() as files:
        found = {
            (way, images): kept.once(
                {"way": way, "images": images, "steps": options.steps},
                partial(apart, images, way, options.steps, Path(files)),
            )
            for images in options.images
            for way in WAYS
        }
    few, many = min(options.images), max(options.images)
    rows = [
        [
            way,
            *(f"{found[way, images]:,.0f}" for images in options.images),
            f"{found[way, many] / found[way, few]:.2f}",
            GOAL if WAYS[way][0] else "",
        ]
        for way in WAYS
    ]
    body = (
        f"`python benchmarks/streamed_memory.py --images {' '.join(map(str, options.images))} --steps {options.steps} --page`\n\n"
        f"{where}{kept.several()}.\n\nDrawn faces of {SIZE} pixels, a small residual net, {options.steps} steps: MiB that a training takes on top of "
        "Python and the libraries.\n\n"
    ) + table(["", *(f"{images:,} images" for images in options.images), "ratio", "asked"], rows)
    print(body)
    if options.page:
        write_section("streamed-memory", "Memory and the number of images", body, options.page)


if __name__ == "__main__":
    main()
