"""How much time of the clock `n_jobs` saves: `auto` with one process, then with several, on the same rows.

    python benchmarks/side_by_side.py [--jobs 2] [--pairs 3] [--rows 600] [--out FILE] [--page]

Processes are begun before the clock is read, as in a second fit of one program; results are compared bit by bit.
The ratio is what idle cores give: on a busy machine it says little. Pairs that --out holds are not made again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np

import concord as cc
from held import Held
from many_rows import faces
from page import PAGE, machine, page_option, table, write_section

GOAL = "<= 0.6"
"""Asked of the ratio, on two idle cores."""


def fit(rows: int, n_jobs: int) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of the clock of one `auto`, and what it predicts."""
    relation, x, y, x_test, _, _ = faces(rows, 900)
    tasks = [relation.source, relation.target]
    given = dict(zip((task.name for task in tasks), y.values(), strict=True))
    model = cc.CoupledClassifier(tasks, [relation], random_state=0, n_jobs=n_jobs)
    start = time.perf_counter()
    model.fit(x, given)
    return time.perf_counter() - start, model.predict_proba(x_test)


def pair(rows: int, jobs: int) -> list[float]:
    """Seconds of the clock with one process and with several, which have begun before.

    Raises:
        SystemExit: What they predict differs.
    """
    fit(60, jobs)  # begins the processes
    (one, p), (other, q) = fit(rows, 1), fit(rows, jobs)
    if not all(np.array_equal(p[name], q[name]) for name in p):
        raise SystemExit("the results differ: that is a defect, please report it")
    return [one, other]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and with --page write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=600, help="of each task")
    parser.add_argument("--out", type=Path, help="where pairs are kept, so that none is made twice")
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    held = Held(options.out)
    where = held.once({"what": "machine"}, machine)
    settings = {"rows": options.rows, "jobs": options.jobs}
    measured = [
        held.once({"pair": number, **settings}, partial(pair, options.rows, options.jobs))
        for number in range(options.pairs)
    ]
    ones, others = zip(*measured, strict=True)
    ratios = sorted(other / one for one, other in zip(ones, others, strict=True))
    rows = [
        f"{statistics.median(ones):.1f}",
        f"{statistics.median(others):.1f}",
        f"{statistics.median(ratios):.2f}",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    ]
    where += held.several()
    body = (
        f"`python benchmarks/side_by_side.py --jobs {options.jobs} --pairs {options.pairs} --rows {options.rows} "
        f"--page`\n\n{where}.\n\n`auto` by default on {options.rows} + {options.rows} rows, seconds of the clock; goal "
        "on two idle cores: a ratio of at most .6. The predictions are the same bit by bit.\n\n"
    ) + table(["n_jobs=1", f"n_jobs={options.jobs}", "ratio", "range"], [rows])
    print(body)
    if options.page:
        write_section("side-by-side", "Side by side", body, options.page)


if __name__ == "__main__":
    main()
