"""What the defaults reach with many rows, and what `auto` takes in time and memory: from 1,000 to 100,000 rows.

    python benchmarks/many_rows.py [--rows 500 5000 50000] [--seeds 1] [--forms logistic single auto]
                                   [--out runs/many_rows.jsonl] [--page]

Synthetic expressions and action units as those of the board, with less noise: `--rows` rows with a class and as
many others with labels, 64 features, 5,000 test rows, the right table. Every fit is a process of its own, on one
thread: seconds are of its processor, memory is the most that it held, without what Python and the libraries take.
`single x10` is the single-task models with ten times the steps. What --out holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import concord as cc
from held import Held
from page import PAGE, machine, page_option, table, write_section

NOISE, TEST_ROWS = 0.3, 5_000
MEASURED = {"class": 1, "labels": 1, "seconds": 1, "mebibytes": 0}
"""What a fit is measured by, and with how many digits it is printed."""
FORMS = ("logistic", "single", "single x10", "shared", "auto")


def faces(
    rows: int, seed: int
) -> tuple[cc.Relation, np.ndarray, dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """The table; training features and targets with gaps; test features, classes and labels."""
    relation = cc.tables.expressions()
    rng = np.random.default_rng([11, seed])
    w1, w2 = rng.normal(size=(17, 64)) / 4, rng.normal(size=(64, 64)) / 8
    n, k = 2 * rows + TEST_ROWS, 2 * rows
    y = rng.integers(0, 7, n)
    a = (rng.random((n, 17)) < 0.85 * relation.table[y] + 0.03).astype(np.float64)
    z = a * rng.uniform(0.5, 1.5, (n, 17)) + NOISE * rng.normal(size=(n, 17))
    x = np.tanh(np.tanh(z @ w1) @ w2) + 0.05 * rng.normal(size=(n, 64))
    known, labels = y[:k].copy(), a[:k].copy()
    known[rows:], labels[:rows] = -1, np.nan
    return relation, x[:k], {"expression": known, "action units": labels}, x[k:], y[k:], a[k:]


def fitted(
    form: str, relation: cc.Relation, x: np.ndarray, y: dict[str, Any], seed: int, steps: int | None = None
) -> tuple[Any, str]:
    """What predicts probabilities by task, and what is to be said of its training."""
    tasks = [relation.source, relation.target]
    given = dict(zip((task.name for task in tasks), y.values(), strict=True))
    if form == "logistic":
        return logistic(x, given), ""
    if form in ("shared", "auto"):
        model = cc.CoupledClassifier(
            tasks, [relation], None if form == "shared" else "auto", steps=steps, random_state=seed
        ).fit(x, given)
        return model.predict_proba, f"{model.steps_:,}"
    first = [single(task, x, given[task.name], seed, steps) for task in tasks]
    if form == "single x10":
        first = [
            single(task, x, given[task.name], seed, 10 * m.steps_)
            for task, m in zip(tasks, first, strict=True)
        ]
    return lambda x: {k: v for m in first for k, v in m.predict_proba(x).items()}, f"{first[0].steps_:,}"


def single(
    task: Any, x: np.ndarray, y: np.ndarray, seed: int, steps: int | None = None
) -> cc.CoupledClassifier:
    """The single-task model."""
    own = task.annotated(task.encode(y))
    return cc.CoupledClassifier([task], steps=steps, random_state=seed).fit(x[own], {task.name: y[own]})


def logistic(x: np.ndarray, y: dict[str, Any]) -> Any:
    """Logistic regression with scikit-learn's defaults, standardised features, one per class task and label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def one(x: np.ndarray, y: np.ndarray) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, y)

    (name, classes), (other, labels) = y.items()
    own = ~np.isnan(labels[:, 0])
    first = one(x[classes >= 0], classes[classes >= 0])
    rest = [one(x[own], labels[own, k]) for k in range(labels.shape[1])]
    return lambda x: {
        name: first.predict_proba(x),
        other: np.stack([m.predict_proba(x)[:, 1] for m in rest], axis=1),
    }


def measure(form: str, rows: int, seed: int, steps: int | None = None) -> dict[str, Any]:
    """One fit in this process."""
    import torch
    from sklearn.metrics import balanced_accuracy_score, f1_score

    torch.set_num_threads(1)
    relation, x, y, x_test, y_test, a_test = faces(rows, seed)
    before, start = held(), time.process_time()
    predict, trained = fitted(form, relation, x, y, seed, steps)
    seconds, most = time.process_time() - start, held() - before
    classes, labels = predict(x_test).values()
    return {
        "steps": trained,
        "class": 100 * balanced_accuracy_score(y_test, classes.argmax(axis=1)),
        "labels": 100 * f1_score(a_test, labels >= 0.5, average="macro"),
        "seconds": seconds,
        "mebibytes": most,
    }


def held() -> float:
    """The most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(form: str, rows: int, seed: int, steps: int | None) -> dict[str, Any]:
    """One fit in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--one", form, str(rows), str(seed)]
    command += [] if steps is None else ["--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(form, rows, seed, found, file=sys.stderr, flush=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and with --page write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5_000, 50_000], help="of each task")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--steps", type=int, help="of a network, in place of the default")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--one", nargs=3, metavar=("FORM", "ROWS", "SEED"), help="a single fit, as JSON")
    parser.add_argument("--measured", action="store_true", help="only what --out holds; the rest is left out")
    parser.add_argument("--out", type=Path, help="where fits are kept, so that none is made twice")
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), int(options.one[2]), options.steps)))
        return
    held, lines = Held(options.out), []
    where = held.once({"what": "machine"}, lambda: machine("one thread"))
    costs: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for rows in options.rows:
        for form in options.forms:
            keys = [
                {"form": form, "rows": rows, "seed": seed, "steps": options.steps}
                for seed in range(options.first_seed, options.first_seed + options.seeds)
            ]
            if options.measured and not all(key in held for key in keys):
                continue
            found = [held.once(key, partial(apart, form, rows, key["seed"], options.steps)) for key in keys]
            mean = {key: float(np.mean([each[key] for each in found])) for key in MEASURED}
            costs.setdefault((form, held.place(*keys)), {})[rows] = mean
            values = [f"{mean[key]:.{digits}f}" for key, digits in MEASURED.items()]
            lines.append([f"{rows:,} + {rows:,}", form, found[0]["steps"], *values])
    where += held.several()
    body = page_body(where, options, lines) + slopes(costs)
    print(body)
    if options.page:
        write_section("many-rows", "Many rows", body, options.page)


def slopes(costs: dict[tuple[str, str], dict[int, dict[str, float]]]) -> str:
    """By how much more rows cost more: the slope of log cost on log rows, between the least and the most rows.

    Args:
        costs: By what is fitted and on which machine, and rows: times of two machines give no slope.
    """
    said, several = [], len({place for _, place in costs}) > 1
    for (form, place), by_rows in costs.items():
        few, many = min(by_rows), max(by_rows)
        if few < many:
            of = {
                key: math.log(by_rows[many][key] / by_rows[few][key]) / math.log(many / few)
                for key in ("seconds", "mebibytes")
                if min(by_rows[few][key], by_rows[many][key]) > 0
            }
            on = f"on {place} " if several else ""
            said.append(f"{form} {on}" + ", ".join(f"{key} {value:.2f}" for key, value in of.items()))
    if not said:
        return ""
    return f"\n\nSlope of log cost on log rows, from the least rows to the most (1 is linear): {'; '.join(said)}."


def page_body(where: str, options: argparse.Namespace, lines: list[list[str]]) -> str:
    """The section in Markdown."""
    command = " ".join(
        ["python benchmarks/many_rows.py --rows", *map(str, options.rows), "--forms"]
        + [f"'{form}'" if " " in form else form for form in options.forms]
        + [f"--seeds {options.seeds} --first-seed {options.first_seed}"]
        + ([f"--steps {options.steps}"] if options.steps else [])
        + ["--page"]
    )
    what = f"{options.steps} steps of a network" if options.steps else "Everything by default"
    head = ["rows", "what is fitted", "steps", "class", "labels", "processor seconds", "MiB on top"]
    return (
        f"`{command}`\n\n{where}.\n\n{what}: balanced accuracy of the class, macro-F1 of the labels "
        f"(x100; the mean of the seeds, {options.seeds} in number), time and memory of a fit.\n\n"
    ) + table(head, lines)


if __name__ == "__main__":
    main()
