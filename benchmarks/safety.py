"""What `auto` costs where sharing may harm: sources that look different, and tasks that are not related.

    python benchmarks/safety.py [--worlds shift-60 ...] [--seeds 340:348] [--rows val|test] [--table given]
                                [--out FILE] [--page]

Differences to the single-task networks, in points: mean over paired seeds and its standard error. `auto` has
two folds (`fast`), networks 300 steps of 64 rows of each task. Worlds:

- `shift-60`, `shift-200`: garments on photos (so many rows), attributes on grey thumbnails (450 rows, or 600 where
  test rows judge), features of EfficientNet-Lite0;
- `nuisance-60`, `nuisance-200`: the same pictures, and labels of what has nothing to do with garments (450 or 600
  rows beside 60 photos, 60 beside 200);
- `faces-60`, `faces-250`: drawn faces of 20 people, who are groups; expressions (so many rows) and, on 250 or 60
  rows, pose, light and glasses, which have nothing to do with them; judged on ten other people;
- `PACK/few-class`, `PACK/few-label`: a pack of the board in a regime, `PACK_nuisance` a control.

Rows that judge are training rows of the pack that no task had seen (`val`), or its test rows. Draws that --out
holds are not made again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import problems
from concord import MulticlassTask, MultilabelTask, Relation, metrics
from concord.auto import EFFORTS, select, train_shared, train_single
from concord.fitting import Rows
from concord.learners import TorchLearner
from concord.study import control, identities
from held import Held
from page import HARM, machine, page_option, table, write_section

STEPS = 300
WORLDS = (
    "shift-60", "shift-200", "nuisance-60", "nuisance-200", "faces-60", "faces-250",
    "digits_nuisance/few-label", "goemotions_nuisance/few-label", "digits/few-class", "mnist10k_shape/few-class",
    "mnist10k_shape/few-label", "goemotions/few-label",
)  # fmt: skip


def odd(world: str) -> bool:
    """Whether sources look different there, or tasks are not related; else it is a pack of related tasks."""
    return "/" not in world or "_nuisance" in world


CONTROL = (250, 60)
"""Rows of a control: many of the class, few with labels."""
MOST = 1500
"""Rows that judge, where training rows do."""


class World:
    """Rows of two tasks that share none, features on one scale, and the rows that judge each task."""

    def __init__(
        self, relation: Relation | None, tasks: Any, x: Any, y: Any, a: Any, judged: Any, group: Any = None
    ):
        self.relation, self.tasks, self.group = relation, tasks, group
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        deviation = np.where(deviation > 1e-6, deviation, 1.0)

        def scaled(values: Any) -> Any:
            return ((values - mean) / deviation).astype(np.float32)

        self.rows = Rows.of(
            scaled(x), dict(zip([t.name for t in tasks], (y, a), strict=True)), tasks
        ).in_groups(group)
        self.judged = [(scaled(inputs), truth) for inputs, truth in judged]

    def scores(self, predict: Any) -> dict[str, float]:
        """Metrics in points, by task, of a function of a task's number and rows to probabilities."""
        out = {}
        for k, task in enumerate(self.tasks):
            x, truth = self.judged[k]
            found = metrics.task_metrics(task, truth, predict(task, Rows(torch.from_numpy(x), {})))
            names = ("balanced_accuracy",) if isinstance(task, MulticlassTask) else ("mean_f1", "map")
            out |= {name: 100 * found[name] for name in names}
        return out


def shifted(n: int, seed: int, test: bool, nuisance: bool = False) -> World:
    """Garments on photos; on grey thumbnails attributes, or what sixteen features of its own say (`nuisance`)."""
    _, relation, y, splits = problems._clothing_index()
    root = problems.ROOT
    photos, thumbs = (
        np.load(root / pack / "features_efficientnet_lite0.npz")["x"] for pack in ("clothing10", "fmnist900")
    )
    data = np.load(root / "fmnist900/data.npz")
    article = MulticlassTask("article", [str(name) for name in data["class_names"]])
    table = Relation.from_csv(article, relation.target, root / "fmnist900/class_attribute.csv").table
    cell = table[data["y"].astype(int)]
    a = np.where(cell >= 0.9, 1.0, np.where(cell <= 0.1, 0.0, np.nan))
    if nuisance:
        extra = np.random.default_rng(32)
        own = [extra.normal(size=(len(x), 16)).astype(np.float32) for x in (photos, thumbs)]
        photos, thumbs = (np.concatenate(each, axis=1) for each in ((photos, own[0]), (thumbs, own[1])))
        a = (own[1] @ extra.normal(size=(16, a.shape[1])) > 0).astype(float)
    rng = np.random.default_rng(seed)
    first, second = (
        rng.permutation(splits["train"]),
        rng.permutation(np.flatnonzero(data["split"] == "train")),
    )
    m = CONTROL[1] if nuisance and n > CONTROL[1] else 600 if test else 450
    judge = (splits["test"], np.flatnonzero(data["split"] == "test"))
    if not test:
        judge = (first[n : n + 1000], second[m:])
    first, second = first[:n], second[:m]
    return World(
        relation,
        (relation.source, relation.target),
        np.concatenate([photos[first], thumbs[second]]),
        np.concatenate([y[first], np.full(m, -1)]),
        np.concatenate([np.full((n, a.shape[1]), np.nan), a[second]]),
        [(photos[judge[0]], y[judge[0]]), (thumbs[judge[1]], a[judge[1]])],
    )


def faces(n: int, seed: int) -> World:
    """Expressions, and what has nothing to do with them; people are groups."""
    drawn = identities(30, 25, 1000 + seed, size=32)
    grey = drawn.images.astype(np.float32).mean(3).reshape(len(drawn), 16, 2, 16, 2).mean((2, 4))
    x, seen = grey.reshape(len(drawn), -1), drawn.faces
    y = np.unique(seen.expression.astype(int), return_inverse=True)[1]
    a = np.column_stack([seen.pose > 0, seen.light[:, 0] > 0, seen.people.glasses == 1]).astype(float)
    rng = np.random.default_rng(seed)
    people = rng.permutation(30)
    pool = rng.permutation(np.flatnonzero(np.isin(seen.person, people[:20])))[:310]
    judge = np.flatnonzero(np.isin(seen.person, people[20:]))
    has_class = np.arange(310) < n
    tasks = (
        MulticlassTask("expression", [f"e{k}" for k in range(y.max() + 1)]),
        MultilabelTask("view", ["yaw", "pitch", "roll", "light", "glasses"]),
    )
    return World(
        None,
        tasks,
        x[pool],
        np.where(has_class, y[pool], -1),
        np.where(has_class[:, None], np.nan, a[pool]),
        [(x[judge], y[judge]), (x[judge], a[judge])],
        seen.person[pool],
    )


def of_pack(name: str, regime: str, seed: int, test: bool) -> World:
    """A pack of the board, or a control."""
    problem = getattr(problems, name)()
    first, second = (
        CONTROL if "_" in name.replace("mnist10k_shape", "") else problems.regimes(name)[regime]["rows"]
    )
    source, target = problem.tasks
    y, a = (problem.targets[task.name] for task in problem.tasks)
    rng = np.random.default_rng(seed)
    pool = rng.permutation(np.concatenate([problem.splits["train"], problem.splits["val"]]))
    whole = pool[source.annotated(y[pool]) & target.annotated(a[pool])]
    rows, judge = whole[: first + second], whole[first + second :][:MOST]
    if test:
        judge = problem.splits["test"]
        judge = judge[source.annotated(y[judge]) & target.annotated(a[judge])]
    has_class = np.arange(len(rows)) < first
    labels = np.where(
        has_class if a.ndim == 1 else has_class[:, None], -1 if a.ndim == 1 else np.nan, a[rows]
    )
    x = problem.inputs
    return World(
        problem.relations[0],
        (source, target),
        x[rows],
        np.where(has_class, y[rows], -1),
        labels,
        [(x[judge], y[judge]), (x[judge], a[judge])],
    )


def drawn(world: str, seed: int, test: bool) -> World:
    """A world by its name."""
    if "/" in world:
        return of_pack(*world.split("/"), seed, test)
    kind, _, n = world.partition("-")
    if kind == "faces":
        return faces(int(n), seed)
    return shifted(int(n), seed, test, nuisance=kind == "nuisance")


def shown(world: World, table: str, seed: int) -> Any:
    """The relation as it is shown to `auto`, or the pair of tasks."""
    given = world.relation
    if given is None or table == "none":
        return tuple(world.tasks)
    return given if table == "given" else control(given, table, seed)  # type: ignore[arg-type]


def one(name: str, seed: int, test: bool, table: str) -> dict[str, Any]:
    """Scores of single-task and shared networks and of `auto` in a world, and what `auto` said."""
    world = drawn(name, seed, test)
    learner = TorchLearner(
        trunk=None, hidden=(128, 128), dropout=0.2, steps=STEPS, rows_per_task=64, learning_rate=2e-3,
        weight_decay=0.01, device="cpu",
    )  # fmt: skip
    rows, tasks = world.rows, world.tasks
    alone = {task.name: train_single(learner, rows, task, 1.0, seed) for task in tasks}
    shared = train_shared(learner, rows, tasks, 1.0, seed)

    def of(task: Any, model: Any, inputs: Rows) -> Any:
        return metrics.probabilities(task, learner.predict(model, inputs)[task.name])

    effort = EFFORTS["fast"].for_steps(STEPS)
    found = select(learner, rows, tasks, [shown(world, table, seed)], effort=effort, seed=seed)
    return {
        "single-task": world.scores(lambda task, inputs: of(task, alone[task.name], inputs)),
        "shared": world.scores(lambda task, inputs: of(task, shared, inputs)),
        "auto": world.scores(lambda task, inputs: found.probabilities(learner, inputs)[task.name]),
        "verdict": found.checks[0].verdict,
        "chosen": [" + ".join(found.choices[task.name].weights) for task in tasks],
    }


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--seeds", default="340:348")
    parser.add_argument("--rows", choices=("val", "test"), default="val")
    parser.add_argument("--table", choices=("given", "none", "shuffled", "partly-wrong"), default="given")
    parser.add_argument("--out", type=Path, help="where draws are kept, so that none is made twice")
    page_option(parser, HARM)
    given = parser.parse_args(arguments)
    held, lines, test = Held(given.out), [], given.rows == "test"
    where = held.once({"what": "machine"}, machine)
    for name in given.worlds:
        found = [
            held.once(
                {"world": name, "seed": seed, "rows": given.rows, "table": given.table, "steps": STEPS},
                partial(one, name, seed, test, given.table),
            )
            for seed in range(*map(int, given.seeds.split(":")))
        ]
        lines += rows_of(name, found)
        print("\n".join(" | ".join(line) for line in lines[-2:]), flush=True)
    where += held.several()
    body = (
        f"`python benchmarks/safety.py --worlds {' '.join(given.worlds)} --seeds {given.seeds} --rows {given.rows} --table {given.table} --page`: {where}.\n\n"
        "Sources that look different, tasks that are not related, and packs of the board: differences to single-task "
        "networks in points, the mean over seeds, in brackets its standard error. `auto` has two folds, networks "
        f"{STEPS} steps of 64 rows of each task. The worlds: `python benchmarks/safety.py --help`.\n\n"
    ) + table(
        ["world", "model", "balanced accuracy", "label F1", "average precision", "verdicts", "chosen"], lines
    )
    if given.page:
        write_section("safety", "Where sharing may harm", body, given.page)


def rows_of(name: str, found: list[dict[str, Any]]) -> list[list[str]]:
    """A line for the shared networks and one for `auto`, with what it said."""
    lines = []
    for model in ("shared", "auto"):
        cells = []
        for metric in found[0][model]:
            d = np.array([each[model][metric] - each["single-task"][metric] for each in found])
            spread = f" ({metrics.standard_error(d):.1f})" if len(d) > 1 else ""
            cells.append(f"{d.mean():+.1f}{spread}")
        said = ["", ""]
        if model == "auto":
            counts = Counter(e["verdict"] for e in found), Counter(" / ".join(e["chosen"]) for e in found)
            said = [", ".join(f"{value} {n}" for value, n in each.most_common()) for each in counts]
        lines.append([name, model, *cells, *said])
    return lines


if __name__ == "__main__":
    main()
