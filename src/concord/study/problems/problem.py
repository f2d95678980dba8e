"""The data of a study: inputs, targets, splits, relations. A condition sees training and validation only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.data import StreamedInputs
from concord.errors import (
    ConcordError,
    EmptyDataError,
    NotFiniteError,
    ShapeError,
    StudyError,
    UnknownNameError,
)
from concord.fitting import Rows
from concord.relations import Relation
from concord.study.plan import Plan
from concord.study.problems.every_class import apart, covering
from concord.study.spec import AnyNetwork, Regime, TrunkNetwork
from concord.tasks import MISSING_CLASS, Encoded, MulticlassTask, Task, task_names

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]
Parts = tuple[Index, dict[str, Index]]
"""Rows that are annotated for all tasks, and by task those that are its own."""

SPLITS = ("train", "val", "test")
NUMBERS = "biuf"
"""Kinds of NumPy arrays that inputs may be: booleans, whole numbers and fractions."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Samples with all the annotations there are, of which a regime hides most.

    Args:
        name: What to call it.
        tasks: The tasks.
        inputs: (n, ...) numbers in memory, kept as float32, which networks take; or rows of sources, which
            are read when a network needs them.
        targets: By task, encoded (`task.encode`): (n,) or (n, K), with gaps where nobody knows.
        splits: Row indices of `train`, `val` and `test`, or (n,) whether each row is in it; no row is in two.
        relations: Relations between pairs of the tasks.
        groups: (n,) which rows belong together (videos, persons), equal for rows of one; None: each row
            stands alone. Rows of one group lie in one split.
        picture: Gives a row as a PNG image, or None where there is none to show.
        origins: Data sets with terms of their own that rows come from; their samples are shown on demand.

    Raises:
        ShapeError: Another number of rows, a row that there is not, a row that is twice in a split, or a row
            or a group in two splits.
        EmptyDataError: A split without rows.
        NotFiniteError: NaN or infinite inputs in memory, or numbers that are too large for float32.
        StudyError: Inputs in memory that are no numbers, or targets that their task does not have.
        UnknownNameError: A task without targets, or a split that is missing.
    """

    name: str
    tasks: tuple[Task, ...]
    inputs: Array | StreamedInputs
    targets: Mapping[str, Array]
    splits: Mapping[str, Index]
    relations: tuple[Relation, ...] = ()
    picture: Callable[[int], bytes] | None = field(default=None, repr=False)
    groups: Array | None = None
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        task_names(self.tasks)
        if not isinstance(self.inputs, StreamedInputs):
            object.__setattr__(self, "inputs", _held(self.name, self.inputs))
        splits = {name: self._index(name, rows) for name, rows in self.splits.items()}
        object.__setattr__(self, "splits", splits)
        object.__setattr__(self, "targets", {name: np.asarray(of) for name, of in self.targets.items()})
        if self.groups is not None:
            object.__setattr__(self, "groups", np.asarray(self.groups))
        for task in self.tasks:
            if task.name not in self.targets:
                raise UnknownNameError.of("task in the targets", task.name, self.targets)
            if len(self.targets[task.name]) != len(self.inputs):
                raise ShapeError(
                    f"problem {self.name!r}: {len(self.inputs)} rows, but "
                    f"{len(self.targets[task.name])} of task {task.name!r}"
                )
            self._check_targets(task)
        seen: set[int] = set()
        for split in SPLITS:
            if split not in self.splits:
                raise UnknownNameError.of("split", split, self.splits)
            rows = set(self.splits[split].tolist())
            if not rows:
                raise EmptyDataError(f"problem {self.name!r}: split {split!r} has no rows")
            for row in (min(rows), max(rows)):
                if not 0 <= row < len(self.inputs):
                    raise ShapeError(
                        f"problem {self.name!r}: split {split!r} has row {row} of {len(self.inputs)}"
                    )
            if seen & rows:
                raise ShapeError(f"problem {self.name!r}: row {min(seen & rows)} is in two splits")
            seen |= rows
        if self.groups is not None:
            self._check_groups(self.groups)

    def _index(self, split: str, rows: Any) -> Index:
        """Numbers of rows: given as such, or as which rows they are."""
        found, of = np.asarray(rows), f"problem {self.name!r}: split {split!r}"
        if found.dtype == np.bool_ and found.shape != (len(self.inputs),):
            raise ShapeError(
                f"{of}: which rows it has is of shape ({len(self.inputs)},), found {found.shape}"
            )
        if found.dtype == np.bool_:
            return np.flatnonzero(found)
        if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
            raise ShapeError(f"{of} is a list of row numbers, found an array {found.shape} of {found.dtype}")
        distinct, count = np.unique(found, return_counts=True)
        if (count > 1).any():
            raise ShapeError(f"{of} has row {distinct[count > 1][0]} more than once")
        return found.astype(np.int64)

    def _check_targets(self, task: Task) -> None:
        """Targets as tasks encode them: what is wrong is told before anything is trained."""
        values = self.targets[task.name]
        try:
            encoded = task.encode(Encoded(values))
        except ConcordError as error:
            raise StudyError(f"problem {self.name!r}: {error}") from error
        if isinstance(task, MulticlassTask) or values.dtype.kind not in NUMBERS:
            object.__setattr__(self, "targets", {**self.targets, task.name: encoded})

    def _check_groups(self, groups: Array) -> None:
        if groups.shape != (len(self.inputs),):
            raise ShapeError(
                f"problem {self.name!r}: groups have shape ({len(self.inputs)},), found {groups.shape}"
            )
        for first, second in combinations(SPLITS, 2):
            cut = np.intersect1d(groups[self.splits[first]], groups[self.splits[second]])
            if len(cut):
                raise ShapeError(
                    f"problem {self.name!r}: {len(cut)} groups have rows in both {first} and {second}, so "
                    "that a test would be of what was trained on; `concord data split` draws splits between "
                    "groups"
                )

    def rows(self, index: Index, targets: Mapping[str, Array]) -> Rows:
        """Some rows as networks are trained on them, with targets that hide what they shall not see.

        Args:
            index: (m,) which rows.
            targets: By task, encoded, of these rows.
        """
        groups = None if self.groups is None else self.groups[index]
        if not isinstance(self.inputs, StreamedInputs):
            return Rows.of(self.inputs[index], targets, self.tasks).in_groups(groups)
        encoded = {t.name: torch.from_numpy(t.encode(Encoded(targets[t.name]))) for t in self.tasks}
        return Rows(self.inputs[index], encoded).in_groups(groups)

    def task(self, name: str) -> Task:
        """The task of this name.

        Raises:
            UnknownNameError: No such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownNameError.of("task", name, task_names(self.tasks))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the row."""
        return tuple(self.inputs.shape if isinstance(self.inputs, StreamedInputs) else self.inputs.shape[1:])

    def of(self, split: str) -> tuple[Any, dict[str, Array]]:
        """Inputs and targets of a split."""
        return self.inputs[self.splits[split]], self.targets_of(split)

    def targets_of(self, split: str) -> dict[str, Array]:
        """Targets of a split alone: its inputs may be large."""
        return {task.name: self.targets[task.name][self.splits[split]] for task in self.tasks}


def _held(name: str, inputs: Array) -> npt.NDArray[np.float32]:
    """Inputs in memory as networks take them; the same array where it is float32 already."""
    given = np.asarray(inputs)
    if given.dtype.kind not in NUMBERS:
        raise StudyError(f"problem {name!r}: inputs are numbers, found an array of {given.dtype}")
    with np.errstate(over="ignore"):  # which the next line says
        held = given.astype(np.float32, copy=False)
    if not np.isfinite(held).all():
        large = ", or numbers that are too large for float32" if np.isfinite(given).all() else ""
        raise NotFiniteError(f"problem {name!r}: inputs hold NaN or infinity{large}")
    return held


def draw(problem: Problem, regime: Regime, seed: int) -> tuple[Index, dict[str, Array]]:
    """Rows of a regime, and their targets with everything hidden that the regime does not annotate.

    Rows depend on the seed alone, not on the condition, nor on whether a label task is given before the
    class task. Among the rows annotated for a class task every class has one, where the training rows have
    one to give and the task has rows enough, as far as no other task needs just those rows. Where rows come
    in groups, the others are drawn group by group: few rows are those of few videos, not a few of each.
    Numbers of rows are as asked, so that the last group of a draw is taken in part.

    Args:
        problem: The data.
        regime: How many rows are annotated for what.
        seed: Of the draw.

    Returns:
        Row indices into the problem, and targets by task for these rows.

    Raises:
        StudyError: More rows than the training split has.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    pools = {name: _candidates(problem, name, rng) for name in _in_turn(problem)}
    regime = regime.numbered({name: len(pool) for name, pool in pools.items()})
    shared, own = _with_every_class(problem, regime, pools)
    rows = np.concatenate([shared, *(own[name] for name in pools)])
    if len(regime.numbers) < len(pools):  # of several tasks with `all`, a row may be annotated for each
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    targets = {}
    for task in problem.tasks:
        visible = np.isin(rows, np.concatenate([shared, own[task.name]]))
        hidden = task.gaps(len(rows))
        values = problem.targets[task.name][rows]
        targets[task.name] = np.where(visible if values.ndim == 1 else visible[:, None], values, hidden)
    return rows, targets


def _in_turn(problem: Problem) -> list[str]:
    """Names of the tasks in the order in which they draw: first a class task, which needs certain rows."""
    names = [task.name for task in problem.tasks]
    first = next((t.name for t in problem.tasks if isinstance(t, MulticlassTask)), names[0])
    return [first, *(name for name in names if name != first)]


def _candidates(problem: Problem, name: str, rng: np.random.Generator) -> Index:
    """Training rows that are annotated for a task, in random order, group by group; a row per class first."""
    pool, task = problem.splits["train"], problem.task(name)
    targets = problem.targets[name]
    pool = rng.permutation(pool[task.annotated(targets[pool])])
    if problem.groups is not None:
        _, first, unit = np.unique(problem.groups[pool], return_index=True, return_inverse=True)
        pool = pool[np.argsort(first[unit], kind="stable")]
    if not isinstance(task, MulticlassTask):
        return pool
    _, first = np.unique(targets[pool], return_index=True)
    first = rng.permutation(first)
    return np.concatenate([pool[first], np.delete(pool, first)])


def _with_every_class(problem: Problem, regime: Regime, pools: Mapping[str, Index]) -> Parts:
    """Rows of all tasks and of each task alone, so that every class that can have a row has one.

    Rows are set aside only where a class would go without: others are as likely to be drawn as any.
    """
    parts = _parts(problem, regime, pools, [])
    sizes = {t.name: _classes(problem, t.name, pools[t.name]) for t in _class_tasks(problem)}
    enough = [name for name, size in sizes.items() if len(parts[0]) + len(parts[1][name]) >= size]

    def lacking(drawn: Parts) -> int:
        rows = {name: np.concatenate([drawn[0], drawn[1][name]]) for name in enough}
        return sum(sizes[name] - _classes(problem, name, rows[name]) for name in enough)

    if not lacking(parts):
        return parts
    try:
        other = _parts(problem, regime, pools, enough)
    except StudyError:  # a task needs just the rows that would be set aside
        return parts
    return min(parts, other, key=lacking)


def _class_tasks(problem: Problem) -> list[MulticlassTask]:
    return [task for task in problem.tasks if isinstance(task, MulticlassTask)]


def _classes(problem: Problem, name: str, rows: Index) -> int:
    """Number of different classes of a task in rows that are annotated for it."""
    return len(np.unique(problem.targets[name][rows]))


def _parts(problem: Problem, regime: Regime, pools: Mapping[str, Index], covered: Sequence[str]) -> Parts:
    """Rows that are annotated for all tasks, and by task those that are its own.

    Args:
        problem: The data.
        regime: With numbers in place of shares.
        pools: By task, in the order of their turns, the rows to draw from.
        covered: Class tasks for whose classes rows are set aside before anything is drawn.

    Raises:
        StudyError: More rows than there are.
    """
    names, numbers = list(pools), regime.numbers
    classes = {name: problem.targets[name] for name in covered}
    alone = {name: numbers[name] - regime.both if name in numbers else len(pools[name]) for name in names}
    wanted = {name: _classes(problem, name, pools[name]) - alone[name] for name in covered}
    of_all = set.intersection(*(set(pool.tolist()) for pool in pools.values())) if covered else set()
    first = covering([row for row in pools[names[0]].tolist() if row in of_all], classes, wanted)
    shared = _take(problem, regime, names, regime.both, pools=pools, taken=set(), first=first)
    aside = apart({name: pools[name].tolist() for name in covered}, classes, shared.tolist())
    aside = {name: rows[: alone[name]] for name, rows in aside.items()}
    taken, own = set(shared.tolist()), {}
    for name in (each for each in names if each in numbers):
        barred = taken.union(*(rows for other, rows in aside.items() if other != name))
        first = aside.get(name, [])
        own[name] = _take(problem, regime, [name], alone[name], pools=pools, taken=barred, first=first)
        taken |= set(own[name].tolist())
    for name in names:
        if name not in numbers:
            own[name] = _rest(problem, regime, name, pools[name], taken)
    return shared, own


def _take(
    problem: Problem,
    regime: Regime,
    names: Sequence[str],
    n: int,
    *,
    pools: Mapping[str, Index],
    taken: set[int],
    first: Sequence[int] = (),
) -> Index:
    """The first rows of a pool that are annotated for all these tasks and not taken: some before others."""
    if n == 0:
        return np.empty(0, dtype=np.int64)
    annotated = set.intersection(*(set(pools[name].tolist()) for name in names))
    order = dict.fromkeys([*first, *pools[names[0]].tolist()])
    rows = [row for row in order if row in annotated and row not in taken]
    if len(rows) < n:
        what = " and ".join(repr(name) for name in names)
        raise StudyError(
            f"regime {regime.name!r} needs {n} training rows annotated for {what}; problem "
            f"{problem.name!r} has {len(rows)} that no other part of the regime takes, of "
            f"{len(problem.splits['train'])} in all"
        )
    return np.asarray(rows[:n], dtype=np.int64)


def _rest(problem: Problem, regime: Regime, name: str, pool: Index, taken: set[int]) -> Index:
    """All rows annotated for a task that no task with a number takes."""
    rows = [row for row in pool.tolist() if row not in taken]
    if not rows:
        raise StudyError(
            f"regime {regime.name!r} leaves no training row annotated for {name!r} in problem "
            f"{problem.name!r}; give the other tasks less"
        )
    return np.asarray(rows, dtype=np.int64)


def check_problem(problem: Problem, plan: Plan) -> None:
    """Raise one clear error where the plan cannot be run on the problem.

    Raises:
        UnknownNameError: A task or metric that the problem does not have.
        DenseOnlyError: A sparse relation.
        StudyError: A regime that names other tasks or is larger than the data, a network for another
            kind of inputs, a validation or test split without a row of some class or label, a control table
            where there is no relation.
    """
    from concord.metrics import metric_names

    names = task_names(problem.tasks)
    for relation in problem.relations:
        relation.cells("a study, whose report draws the table,")
    for regime in plan.regimes:
        for name in regime.rows:
            problem.task(name)
        missing = [name for name in names if name not in regime.rows]
        if missing:
            raise StudyError(f"regime {regime.name!r} says no number of rows for task {missing[0]!r}")
        if regime.table != "given" and not problem.relations:
            raise StudyError(f"regime {regime.name!r} wants a table {regime.table}, but there is no relation")
    for name, metric in plan.metrics.items():
        if metric not in metric_names(problem.task(name)):
            raise UnknownNameError.of(f"metric of task {name!r}", metric, metric_names(problem.task(name)))
    for split in ("val", "test"):
        targets = problem.targets_of(split)
        for task in problem.tasks:
            _check_outputs(problem, split, task, targets[task.name])
    for regime in plan.regimes:
        _check_network(problem, regime.network or plan.network)
        for seed in plan.seeds:
            draw(problem, regime, seed)


def _check_network(problem: Problem, network: AnyNetwork) -> None:
    if isinstance(network, TrunkNetwork):
        return  # which is built by name, and says itself what it takes
    found, wanted = 1 + len(problem.shape), {"mlp": 2, "resnet": 4}[network.kind]
    if found != wanted:
        kinds = {2: "rows of features (mlp)", 4: "images (resnet)"}
        raise StudyError(
            f"problem {problem.name!r} has inputs of shape {problem.shape}, which are no "
            f"{kinds[wanted]}; choose another network.kind"
        )


def _check_outputs(problem: Problem, split: str, task: Task, targets: Array) -> None:
    if isinstance(task, MulticlassTask):
        counts = np.bincount(targets[targets != MISSING_CLASS], minlength=task.width)
    else:
        counts = (targets == 1).sum(axis=0)
    if not counts.all():
        absent = task.outputs[int(np.flatnonzero(counts == 0)[0])]
        raise StudyError(
            f"problem {problem.name!r}: split {split!r} has no row of {absent!r}, which the metrics of task "
            f"{task.name!r} need; draw another split or leave it out of the task"
        )
