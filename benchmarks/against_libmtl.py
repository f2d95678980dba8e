"""LibMTL itself on the rows of a finished study, beside the study's own conditions.

    concord study benchmarks/libmtl.yaml --out runs/libmtl      # or benchmarks/peers.yaml, with all peers
    python benchmarks/against_libmtl.py --beside runs/libmtl [--page docs/libmtl.md]

LibMTL 1.1.5 is no dependency of anything here: `pip install --no-deps LibMTL==1.1.5`, with `--target FOLDER` and
that folder on PYTHONPATH to keep it apart. It trains through its own `Trainer`, with one loader a task
(`multi_input=True`: annotations that share no row) and hard parameter sharing, its weightings at the defaults of
its command line. The study's folder says the rest: problem, regimes, seeds, network, budget. Runs that --out holds
are not made again.

The same as in the study: the rows of a regime, the rows of every step and their order, initial weights, trunk and
heads, the loss of each task, AdamW with its rate and decay, the number of steps, final weights, the test rows and
the metrics. With dropout off its EW is our `uncoupled`; the command measures by how much they differ.

Not the same, for want of a way:

- Its trainer runs the trunk once a task, ours once a step, so that dropout draws other units.
- A row that is annotated for several tasks (an overlap) is used for the task that drew it, here for all of them.
- It counts in epochs, and DWA and GradNorm change their weights by them: an epoch is a walk through the richest
  task's rows, shortened where that is needed to make the number of steps whole epochs.

Worked around, without changing its files: its device is `cuda:0`, whatever there is (a property says CPU); it knows
no AdamW (the optimiser is given); it calls `.next()` on loaders, which torch's no longer have (ours do); it expects
`zero_grad` to leave zeros (the trunk's does); its `LibMTL.model` imports what torchvision gave up (left out); it
prints (to nowhere); it scores test rows after each epoch and reports the best epoch (it is shown validation rows,
and its report is not used). Global random states are seeded for it and put back.

Left out: CAGrad, which in this version is written for three tasks; GradDrop, which needs all tasks on one batch;
Nash-MTL, which this version does not have.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import importlib.metadata
import importlib.util
import io
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from concord import __version__
from concord.files import write_text
from concord.fitting import Balanced
from concord.metrics import evaluate, lower_is_better
from concord.objective import CoupledObjective
from concord.study import (
    METRIC_WORDS,
    POINTS,
    Outcome,
    Plan,
    Problem,
    Setting,
    as_plan,
    condition,
    paired,
    setting_of,
)
from concord.tasks import Task
from page import machine, plain
from page import table as markdown

VERSION = "1.1.5"
BASELINE = "single-task"
EARLY = 100
"""Steps after which rounding has not grown yet."""

WEIGHTINGS: dict[str, dict[str, Any]] = {
    "EW": {},
    "UW": {},
    "DWA": {"T": 2.0},
    "PCGrad": {},
    "MGDA": {"mgda_gn": "none"},
    "GradNorm": {"alpha": 1.5},
    "GradVac": {"beta": 0.5},
    "IMTL": {},
    "GLS": {},
    "RLW": {"dist": "Normal"},
}
"""Weightings of LibMTL with the defaults of its command line."""

TWINS = {"EW": "uncoupled", "UW": "uncertainty", "DWA": "dwa", "PCGrad": "pcgrad", "MGDA": "mgda"}
"""What a weighting is called here."""

HOW = (
    f"LibMTL {VERSION} is needed, which nothing here depends on: pip install --no-deps LibMTL=={VERSION} "
    "(or the same with --target FOLDER, and PYTHONPATH=FOLDER)"
)


class Row(NamedTuple):
    """A test metric of a run, as in a study's `results.csv`."""

    condition: str
    seed: int
    regime: str
    task: str
    metric: str
    value: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score, print the table, and write what is asked for.

    Raises:
        SystemExit: LibMTL is not installed, or the study is none that it can be set beside.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--beside", type=Path, default=Path("runs/libmtl"), help="folder of a finished study")
    parser.add_argument("--regimes", nargs="+", help="some of the study's regimes; all unless given")
    parser.add_argument("--weightings", nargs="+", choices=list(WEIGHTINGS), default=list(WEIGHTINGS))
    parser.add_argument("--out", type=Path, default=Path("runs/libmtl.csv"), help="its runs, row by row")
    parser.add_argument("--page", type=Path, help="Markdown file to write, such as docs/libmtl.md")
    options = parser.parse_args(arguments)
    library = libmtl()
    outcome = Outcome.read(options.beside)
    plan = plan_of(outcome, options.regimes)
    problem = _problem(plan)
    where = machine(f"torch {torch.__version__}", "one thread")
    digest = as_plan(dict(outcome.config)).digest
    held = read_rows(options.out, digest)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gaps = {
            steps: difference_without_dropout(library, plan, problem, steps)
            for steps in sorted({min(EARLY, plan.budget.steps), plan.budget.steps})
        }
        for regime, name, seed in product(plan.regimes, options.weightings, plan.seeds):
            key = (f"libmtl-{name}", seed, regime.name)
            if key in {row[:3] for row in held}:
                continue
            setting = setting_of(plan, problem, regime, seed, plan.budget)
            held += [Row(*key, *each) for each in scores(problem, train(library, name, setting))]
            write_rows(held, options.out, digest)
            print(*key, file=sys.stderr, flush=True)
    finally:
        torch.set_num_threads(threads)
    asked = [row for row in held if row.condition.removeprefix("libmtl-") in options.weightings]
    text = body(plan, outcome, asked, gaps)
    print(text)
    if options.page:
        command = "python benchmarks/against_libmtl.py"
        if options.regimes:
            command += f" --regimes {' '.join(options.regimes)}"
        head = f"# Beside LibMTL\n\nWritten by `{command} --page`, with the study's folder as `--beside`: {where}."
        options.page.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.page, f"{head}\n\n{text}\n")


def libmtl() -> ModuleType:
    """LibMTL, without its collection of residual nets.

    Raises:
        SystemExit: It is not installed, or another version is.
    """
    if importlib.util.find_spec("LibMTL") is None:
        raise SystemExit(HOW)
    found = importlib.metadata.version("LibMTL")
    if found != VERSION:
        raise SystemExit(f"{HOW}; found {found}, whose trainer is another")
    # An empty module in its place: the real one imports a part of torchvision that is no more.
    sys.modules.setdefault("LibMTL.model", ModuleType("LibMTL.model"))
    return importlib.import_module("LibMTL")


def plan_of(outcome: Outcome, regimes: Sequence[str] | None) -> Plan:
    """The plan of a finished study, of some of its regimes.

    Raises:
        SystemExit: A regime that it does not have, data that are not built in, a learning rate that was
            searched for, fewer than two tasks or seeds, or no single-task networks to compare with.
    """
    plan = as_plan(dict(outcome.config), str(outcome.folder))
    unknown = set(regimes or ()) - set(outcome.regimes)
    if unknown:
        raise SystemExit(f"{outcome.folder}: no regime {min(unknown)!r}; it has {', '.join(outcome.regimes)}")
    if not isinstance(plan.problem, str):
        raise SystemExit(f"{outcome.folder}: a study of a built-in problem is needed")
    if plan.tuning:
        raise SystemExit(f"{outcome.folder}: a study without `tuning` is needed, which LibMTL does not get")
    if len(plan.seeds) < 2 or BASELINE not in outcome.conditions:
        raise SystemExit(f"{outcome.folder}: two seeds and the condition {BASELINE} are needed")
    kept = [regime for regime in plan.regimes if not regimes or regime.name in regimes]
    # LibMTL is shown no table, so none is estimated for it.
    return plan.model_copy(update={"regimes": [r.model_copy(update={"table": "given"}) for r in kept]})


def _problem(plan: Plan) -> Problem:
    from concord.study import check_problem, problem_of

    problem = problem_of(plan)
    check_problem(problem, plan)
    return problem


# -- what its trainer is given -------------------------------------------------------------------------


class Batches:
    """A task's part of the steps, as its trainer takes them: endless, with an epoch's number of batches.

    Args:
        inputs: (n, ...).
        targets: (n,) or (n, K) of the task.
        steps: Row indices of each step; after the last the first comes again.
        epoch: Batches of an epoch.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, steps: Sequence[Tensor], epoch: int) -> None:
        self.inputs, self.targets, self.steps, self.epoch = inputs, targets, list(steps), epoch
        self._taken = 0

    def __len__(self) -> int:
        return self.epoch

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        index = self.steps[self._taken % len(self.steps)]
        self._taken += 1
        return self.inputs[index], self.targets[index]

    next = __next__  # its trainer calls iterators by this name


def batches(setting: Setting) -> dict[str, Batches]:
    """The rows of each step by task, as the study's own conditions are given them."""
    budget = setting.budget
    groups = [setting.rows.annotated(task) for task in setting.tasks]
    order = Balanced(groups, budget.rows_per_task, torch.Generator().manual_seed(setting.seed))
    steps = [torch.split(next(order), budget.rows_per_task) for _ in range(budget.steps)]
    epoch = epoch_length(budget.steps, max(map(len, groups)), budget.rows_per_task)
    return {
        task.name: Batches(setting.rows.inputs, setting.rows.targets[task.name], [s[i] for s in steps], epoch)
        for i, task in enumerate(setting.tasks)
    }


def epoch_length(steps: int, rows: int, rows_per_task: int) -> int:
    """Steps of an epoch: enough to walk through the rows, or the next fewer that divide all steps evenly."""
    longest = min(steps, -(-rows // rows_per_task))
    return next(length for length in range(longest, 0, -1) if steps % length == 0)


class Trunk(nn.Module):
    """A trunk that keeps zeros where gradients are cleared: its gradient methods write into them."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        """Features: (n, width)."""
        return self.trunk(x)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set gradients to zero; `set_to_none` is False unless given."""
        super().zero_grad(set_to_none)


class NoScore:
    """A metric that its meter may print and compare: nothing here is chosen by it."""

    def update_fun(self, pred: Tensor, gt: Tensor) -> None:
        """Nothing."""

    def score_fun(self) -> list[float]:
        """One score, always the same."""
        return [1.0]

    def reinit(self) -> None:
        """Nothing."""


def train(library: ModuleType, weighting: str, setting: Setting) -> Any:
    """Train by LibMTL's trainer on a study's setting; returns a network: input -> logits by task."""
    budget, names = setting.budget, [task.name for task in setting.tasks]
    network = setting.build(setting.tasks)

    class OnCPU(library.trainer.Trainer):  # type: ignore[name-defined]
        device = property(lambda _: torch.device("cpu"), lambda _, value: None)  # it assigns cuda:0

        def _prepare_optimizer(self, optim_param: Any, scheduler_param: Any) -> None:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), **optim_param)
            self.scheduler = None

    class Loss(library.loss.AbsLoss):  # type: ignore[name-defined]
        def __init__(self, task: Task) -> None:
            super().__init__()
            self.task, self.objective = task, CoupledObjective([task])

        def compute_loss(self, pred: Tensor, gt: Tensor) -> Tensor:
            return self.objective({self.task.name: pred}, {self.task.name: gt}).loss

    held = setting.validation
    shown = {
        task.name: Batches(held.inputs, held.targets[task.name], [held.annotated(task)], 1)
        for task in setting.tasks
    }
    given = batches(setting)
    state = random.getstate()
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        random.seed(setting.seed)
        torch.manual_seed(setting.seed)
        try:
            trainer = OnCPU(
                task_dict={
                    task.name: {
                        "metrics": ["-"],
                        "metrics_fn": NoScore(),
                        "loss_fn": Loss(task),
                        "weight": [1],
                    }
                    for task in setting.tasks
                },
                weighting=getattr(library.weighting, weighting),
                architecture=library.architecture.HPS,
                encoder_class=lambda: Trunk(network.trunk),
                decoders=nn.ModuleDict({name: network.head(name) for name in names}),
                rep_grad=False,
                multi_input=True,
                optim_param={"lr": budget.learning_rate, "weight_decay": budget.weight_decay},
                scheduler_param=None,
                weight_args=dict(WEIGHTINGS[weighting]),
                arch_args={},
            )
            trainer.train(given, shown, budget.steps // len(given[names[0]]))
        finally:
            random.setstate(state)
    return trainer.model.eval()


# -- what comes of it ----------------------------------------------------------------------------------


@torch.no_grad()
def scores(problem: Problem, network: Any) -> list[tuple[str, str, float]]:
    """Task, metric and value of all metrics of the test rows.

    Raises:
        SystemExit: Logits that are not finite.
    """
    inputs, targets = problem.of("test")
    logits = network(torch.from_numpy(inputs))
    out = []
    for task in problem.tasks:
        if not torch.isfinite(logits[task.name]).all():
            raise SystemExit(f"a training of LibMTL ended in logits of {task.name!r} that are not finite")
        found = evaluate(task, targets[task.name], logits[task.name].numpy())
        out += [(task.name, metric, value) for metric, value in found.items()]
    return out


@torch.no_grad()
def difference_without_dropout(library: ModuleType, plan: Plan, problem: Problem, steps: int) -> float:
    """Largest difference of test logits between its EW and our `uncoupled` after some steps without dropout."""
    first = plan.regimes[0]
    network = (first.network or plan.network).model_copy(update={"dropout": 0.0})
    regime = first.model_copy(update={"network": network})
    budget = plan.budget.model_copy(update={"steps": steps})
    setting = setting_of(plan, problem, regime, plan.seeds[0], budget)
    inputs = torch.from_numpy(problem.of("test")[0])
    with torch.enable_grad():
        theirs, ours = train(library, "EW", setting), condition("uncoupled").train(setting)
    found, wanted = theirs(inputs), ours(inputs)
    return max(float((found[name] - wanted[name]).abs().max()) for name in wanted)


COLUMNS = ["condition", "seed", "regime", "task", "metric", "value", "plan"]


def write_rows(rows: Iterable[Row], path: Path, digest: str) -> None:
    """Write every test metric of every run, in the columns of a study's `results.csv`, and the plan's digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*row[:-1], repr(row.value), digest] for row in rows)


def read_rows(path: Path, digest: str) -> list[Row]:
    """Runs that were made before: they are not made again.

    Raises:
        SystemExit: They are of another study.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        held = list(csv.DictReader(file))
    if any(list(row) != COLUMNS or row["plan"] != digest for row in held):
        raise SystemExit(f"{path} holds runs beside another study; choose another --out")
    return [
        Row(
            each["condition"],
            int(each["seed"]),
            each["regime"],
            each["task"],
            each["metric"],
            float(each["value"]),
        )
        for each in held
    ]


def body(plan: Plan, outcome: Outcome, rows: Sequence[Row], gaps: Mapping[int, float]) -> str:
    """The tables of all regimes in Markdown, with what they rest on."""
    level, budget = float(outcome.summary["level"]), plan.budget
    tasks = [(task, outcome.metric(task)) for task in outcome.tasks]
    parts = [
        f"LibMTL {VERSION} and this package, version {__version__}, on the study *{outcome.title}*: the same rows, "
        f"{len(plan.seeds)} seeds, initial networks, {budget.steps} steps of {budget.rows_per_task} rows a task, AdamW at "
        f"{budget.learning_rate:g}, final weights, test rows and metrics. Means over seeds x 100; in brackets the "
        f"difference to {BASELINE} networks, paired over seeds, with its {level:.0%} interval, uncorrected.",
        "LibMTL weighs tasks and does not relate them, so it is shown no table. What it is to be compared with is the "
        "condition in its parentheses: the same method, written here independently.",
        "Without dropout, the test logits of its EW and of `uncoupled` differ by at most "
        + " and by ".join(f"{gap:.1g} after {steps} steps" for steps, gap in gaps.items())
        + " (first regime, first seed): rounding, which grows along a training. With dropout other units are dropped, "
        "since LibMTL runs the trunk once a task.",
    ]
    for regime in plan.regimes:
        parts += [
            f"## {regime.name}: {outcome.described(regime.name)}",
            regime_table(values_of(outcome, rows, regime.name, tasks), tasks, level),
        ]
    sessions = outcome.environment.get("sessions") or [outcome.environment]
    parts.append(
        f"The study's own conditions: `{plain(sessions[0].get('command') or '')}`, {sessions[0].get('started', '')[:10]}."
    )
    return "\n\n".join(parts)


Values = dict[str, dict[str, dict[int, float]]]
"""By method and task, a test metric by seed."""


def values_of(outcome: Outcome, rows: Iterable[Row], regime: str, tasks: Sequence[tuple[str, str]]) -> Values:
    """The main metrics of a regime: the study's conditions, and after them LibMTL's weightings."""
    out: Values = {
        name: {task: outcome.values(regime, task, metric, name) for task, metric in tasks}
        for name in outcome.conditions
    }
    for row in rows:
        if row.regime == regime and (row.task, row.metric) in tasks:
            out.setdefault(row.condition, {}).setdefault(row.task, {})[row.seed] = row.value
    return out


def regime_table(values: Values, tasks: Sequence[tuple[str, str]], level: float) -> str:
    """A row a method, a column a task."""
    head = ["method", *(f"{task}, {METRIC_WORDS.get(metric, metric)}" for task, metric in tasks)]
    lines = [
        [_label(name), *(_cell(values, name, task, metric, level) for task, metric in tasks)]
        for name in values
    ]
    return markdown(head, lines)


def _label(name: str) -> str:
    if not name.startswith("libmtl-"):
        return f"`{name}`"
    weighting = name.removeprefix("libmtl-")
    return f"LibMTL {weighting}" + (f" (`{TWINS[weighting]}`)" if weighting in TWINS else "")


def _cell(values: Mapping[str, Any], name: str, task: str, metric: str, level: float) -> str:
    own, base = values[name][task], values[BASELINE][task]
    text = f"{POINTS * float(np.mean(list(own.values()))):.1f}"
    if name == BASELINE:
        return text
    sign = -POINTS if lower_is_better(metric) else POINTS
    found = paired([sign * (own[seed] - base[seed]) for seed in base], level=level)
    return f"{text} ({float(found.mean):+.1f}; {float(found.low):+.1f} to {float(found.high):+.1f})"


if __name__ == "__main__":
    main()
