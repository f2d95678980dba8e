"""What a large relation costs: CPU time and memory against the number of known cells.

    python benchmarks/relation_scale.py [--quick] [--only SERIES ...] [--out FILE] [--page]

Three series grow by doubling: `dense` in classes (to 10,000 x 400, every cell known, most of them 0 or 1),
`sparse` in classes (to 100,000 x 1,000 with 40 known cells each), and `filled` in known cells at 100,000 x 1,000.
Every size runs in a process of its own, on one thread. The slope is that of log cost on log known cells: 1 is
linear, less means that something else (such as the logits of a batch) still weighs more than the cells. Sizes that
--out holds are not measured again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import page
from held import Held

BATCH = 256
EVIDENCE_ROWS = 1000
REPEATS = 2
LABELS = {"dense": 400, "sparse": 1000, "filled": 1000}
SERIES = {  # name -> (classes, known cells a class), by size
    "dense": [(1250, 400), (2500, 400), (5000, 400), (10_000, 400)],
    "sparse": [(12_500, 40), (25_000, 40), (50_000, 40), (100_000, 40)],
    "filled": [(100_000, 10), (100_000, 20), (100_000, 40)],
}
# Beyond 32 MiB the C library asks the system for fresh pages at every allocation, and gives them back: that
# costs more than most of what is measured here, and only the larger sizes. So it keeps what it has.
KEEP_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
TITLES = {
    "dense": "Dense, growing in classes to 10,000 x 400",
    "sparse": "Sparse, growing in classes to 100,000 x 1,000",
    "filled": "Sparse, 100,000 x 1,000, growing in known cells",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the series, print their tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="two sizes of each series, an eighth of the classes"
    )
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--out", type=Path, help="where sizes are kept, so that none is measured twice")
    page.page_option(parser, page.DOCS / "relation-scale.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        print(json.dumps(measure(asked.one[0], int(asked.one[1]), int(asked.one[2]))))
        return
    held, parts = Held(asked.out), []
    where = held.once({"what": "machine"}, where_and_with_what)
    for name in asked.only:
        sizes = [(c // 8, k) for c, k in SERIES[name][:2]] if asked.quick else SERIES[name]
        rows = [held.once({"series": name, "size": size}, partial(_elsewhere, name, *size)) for size in sizes]
        parts.append(f"## {TITLES[name]}\n\n{table(rows)}")
        print(parts[-1] + "\n", flush=True)
    where += held.several()
    if asked.page:
        asked.page.parent.mkdir(parents=True, exist_ok=True)
        from concord.files import write_text

        write_text(asked.page, "\n\n".join([head(asked, where), *parts]) + "\n")
        print(f"wrote {asked.page}")


def _elsewhere(name: str, classes: int, each: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, str(classes), str(each)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | KEEP_PAGES
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    print(f"{name}: {classes:,} classes, {classes * each:,} known cells", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, classes: int, each: int) -> dict[str, Any]:
    """CPU seconds and peak memory (above what is held before) of every step: by its name."""
    import numpy as np
    import torch

    import concord as cc
    from concord import couplings
    from concord.couplings import relation_tensors

    torch.set_num_threads(1)
    rng, labels = np.random.default_rng(0), LABELS[name]
    steps: dict[str, tuple[float, float]] = {}

    def run(what: str, work: Callable[[], Any], repeats: int = REPEATS) -> Any:
        _forget_peak()
        before, seconds = _resident("VmRSS"), []
        for _ in range(repeats):
            start = time.process_time()
            result = work()
            seconds.append(time.process_time() - start)
        steps[what] = min(seconds), (_resident("VmHWM") - before) / 2**20
        return result

    source = run("task of names", lambda: cc.MulticlassTask("class", map(str, range(classes))))
    target = cc.MultilabelTask("labels", map(str, range(labels)))
    given = _table(rng, classes, labels, each, sparse=name != "dense")
    relation = run("build the relation", lambda: cc.Relation(source, target, given))
    run("tensors of it", lambda: relation_tensors(relation.replace(), torch.zeros(1)))
    y = torch.from_numpy(np.where(rng.random(BATCH) < 0.5, rng.integers(0, classes, BATCH), -1))
    a = np.where(rng.random((BATCH, labels)) < 0.1, rng.integers(0, 2, (BATCH, labels)), np.nan)
    targets = {"class": y, "labels": torch.from_numpy(a.astype(np.float32))}
    scores = {"class": torch.randn(BATCH, classes), "labels": torch.randn(BATCH, labels)}

    def step(coupling: couplings.Coupling) -> None:
        logits = {task: z.clone().requires_grad_() for task, z in scores.items()}
        coupling(logits, targets, relation).backward()

    for loss in couplings.LOSSES:
        (coupling,) = couplings.make_couplings(loss)
        step(coupling)  # what is made once, is
        run(loss, lambda coupling=coupling: step(coupling))
    active = (rng.random((EVIDENCE_ROWS, labels)) < 0.2).astype(np.float64)
    run(
        f"evidence of {EVIDENCE_ROWS:,} rows",
        lambda: relation.evidence().of_annotations(active, np.ones_like(active)),
        repeats=1,
    )
    return {"classes": classes, "labels": labels, "cells": classes * each, "steps": steps}


def _table(rng: Any, classes: int, labels: int, each: int, *, sparse: bool) -> Any:
    """Attributes of identities: mostly 0 or 1, some in between."""
    import numpy as np
    from scipy.sparse import csr_array

    values = np.where(rng.random(classes * each) < 0.9, rng.integers(0, 2, classes * each), 0.5)
    if not sparse:
        return values.reshape(classes, each)
    # 23 shares no factor with 1,000: distinct columns, from a random one on.
    columns = (rng.integers(0, labels, (classes, 1)) + 23 * np.arange(each)) % labels
    return csr_array((values, columns.ravel(), np.arange(classes + 1) * each), shape=(classes, labels))


def _resident(what: str) -> float:
    """`VmRSS` or `VmHWM` (its peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024.0 * int(line.split()[1])
    raise LookupError(what)


def _forget_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier step left would otherwise be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")


def slope(cells: list[int], costs: list[float]) -> float:
    """Least squares of log cost on log cells; NaN where a cost is too small to be read."""
    if min(costs) <= 0:
        return math.nan
    x, y = [math.log(c) for c in cells], [math.log(c) for c in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True)) / sum(
        (p - mean_x) ** 2 for p in x
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Seconds and MiB of each step at each size, with both slopes."""
    cells = [row["cells"] for row in rows]
    lines = []
    for what in rows[0]["steps"]:
        both = [row["steps"][what] for row in rows]
        seconds, mib = [s for s, _ in both], [m for _, m in both]
        numbers = [f"{s:.3f} s, {m:,.0f} MiB" for s, m in both]
        # Below 1 ms and 1 MiB a clock and an allocator tell of themselves.
        slopes = (
            f"{slope(cells, values):.2f}" if min(values) >= least else "-"
            for values, least in ((seconds, 1e-3), (mib, 1.0))
        )
        lines.append([what, *numbers, *slopes])
    return page.table(["known cells", *(f"{c:,}" for c in cells), "slope of time", "slope of memory"], lines)


def where_and_with_what() -> str:
    """The machine and the versions."""
    import numpy as np
    import scipy
    import torch

    versions = (f"torch {torch.__version__}", f"NumPy {np.__version__}", f"SciPy {scipy.__version__}")
    return page.machine("one thread of each process", *versions)


def head(asked: argparse.Namespace, where: str) -> str:
    """Title, how and where it was measured."""
    return f"""# What a large relation costs

Written by `python benchmarks/relation_scale.py --only {" ".join(asked.only)} --page`: {where}.

Time is CPU time of the process, the less of {REPEATS} runs; memory is the peak above what was held before. A
coupling's step is forward and backward at batch {BATCH}, its logits included: at 100,000 classes these are
{BATCH * 100_000 * 4 / 2**20:.0f} MiB a copy, and evidence of {EVIDENCE_ROWS:,} rows is {EVIDENCE_ROWS * 100_000 * 8 / 2**20:.0f} MiB by itself, however few cells are
known. The slope is that of log cost on log known cells, within this run: about 1 is linear. Freed memory stays
with the process ({" ".join(f"{name}={value}" for name, value in KEEP_PAGES.items())}): by default glibc
maps arrays beyond 32 MiB anew each time, which costs the larger sizes up to as much again."""


if __name__ == "__main__":
    main()
