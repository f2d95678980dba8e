"""Folds and hold-outs: between groups where rows come in groups, and alike in what is annotated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from concord.auto.effort import Effort
from concord.auto.starts import MIN_ROWS
from concord.errors import RangeError
from concord.fitting import Rows
from concord.tasks import MulticlassTask, Task

Array = npt.NDArray[np.float64]


def draw_folds(
    rows: Rows, tasks: Sequence[Task], folds: int, seed: int, first: Sequence[Task] = ()
) -> npt.NDArray[np.int64]:
    """Fold of each row, alike in which tasks are annotated and in classes; groups stay whole.

    Args:
        rows: The rows, with their groups.
        tasks: Whose annotations count.
        folds: How many.
        seed: Of the draw.
        first: Tasks whose annotated rows are dealt out before all others, where no groups stay whole.
    """
    rng = np.random.default_rng([seed, 5])
    n = len(rows)
    kind = np.zeros(n, dtype=np.int64)
    for task in tasks:
        values = rows.targets[task.name].numpy()
        part = values + 1 if isinstance(task, MulticlassTask) else task.annotated(values).astype(np.int64)
        # Numbered anew, in the same order: the product of many tasks' widths is no number of 64 bits.
        kind = np.unique(kind * (task.width + 2) + part, return_inverse=True)[1]
    if rows.group is not None:
        _, unit = np.unique(rows.group.numpy(), return_inverse=True)
        if (size := np.bincount(unit)).max() > 1:
            return _dealt(unit, size, kind, folds, rng)[unit]
    fold = np.empty(n, dtype=np.int64)
    turn = np.full(n, len(first))
    for k, task in reversed(list(enumerate(first))):
        turn[rows.annotated(task).numpy()] = k
    order = np.lexsort((rng.random(n), kind, turn))
    fold[order] = np.arange(n) % folds
    return fold


def _dealt(
    unit: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int64],
    folds: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Fold of each group: the largest and rarest first, each where rows of its kinds are fewest."""
    counts = np.zeros((len(size), int(kind.max()) + 1))
    np.add.at(counts, (unit, kind), 1.0)
    counts = np.hstack([counts / counts.sum(axis=0), (size / size.sum())[:, None]])  # kinds weigh alike
    held = np.zeros((folds, counts.shape[1]))
    fold = np.empty(len(size), dtype=np.int64)
    shuffled = rng.permutation(len(size))
    for g in shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]:
        # Squared sums grow least where what the group brings is rare so far; next, where rows are fewest.
        growth = (held * counts[g]).sum(axis=1)
        fold[g] = np.lexsort((held[:, -1], np.round(growth, 12)))[0]
        held[fold[g]] += counts[g]
    return fold


def checked_folds(rows: Rows, tasks: Sequence[Task], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Folds, each of which leaves annotated rows of every task to train on.

    Raises:
        RangeError: Fewer annotated rows of a task, or groups with any, than folds.
    """
    for task in tasks:
        if (n := len(rows.annotated(task))) < folds:
            raise RangeError(
                f"task {task.name!r} has {n} annotated rows, fewer than the {folds} folds of cross-fitting; "
                "annotate more, choose a smaller effort, or name a coupling"
            )
        if rows.group is not None and (n := len(np.unique(rows.group[rows.annotated(task)].numpy()))) < folds:
            raise RangeError(
                f"task {task.name!r} has annotated rows in {n} groups, fewer than the {folds} folds of "
                "cross-fitting; give finer groups, choose a smaller effort, or name a coupling"
            )
    fold = draw_folds(rows, tasks, folds, seed)
    # Few rows of a task, among those of many kinds of other tasks, may all have got the same place.
    if together := _in_one_fold(rows, tasks, fold):
        fold = draw_folds(rows, tasks, folds, seed, together)
        together = _in_one_fold(rows, tasks, fold)
    if together:
        raise RangeError(
            f"all annotated rows of task {together[0].name!r} fall into one fold: its rows come from too few "
            f"groups for {folds} folds, or are too few; give finer groups, annotate more, or name a coupling"
        )
    return fold


def _in_one_fold(rows: Rows, tasks: Sequence[Task], fold: npt.NDArray[np.int64]) -> list[Task]:
    """Tasks of which one fold holds all annotated rows: those with the fewest first."""
    found = [task for task in tasks if len(np.unique(fold[rows.annotated(task).numpy()])) < 2]
    return sorted(found, key=lambda task: len(rows.annotated(task)))


PARTS = 5
"""One part of the rows in so many is held out."""

JUDGES = 50
"""So many rows of a task are held out where its fifth is fewer, as far as they are no more than half."""

TRAINED_ON = -1
"""In place of the number of a fold: a row that is in none, and that every network is trained on."""


def split(rows: Rows, tasks: Sequence[Task], effort: Effort, seed: int) -> npt.NDArray[np.int64]:
    """Fold of each row; with a hold-out, 0 for the rows that are held out and `TRAINED_ON` for the others.

    Raises:
        RangeError: As `checked_folds` and `hold_out`.
    """
    if effort.holds_out:
        held = hold_out(rows, tasks, seed, learnt_later=effort.final_share > 0)
        return np.where(held, 0, TRAINED_ON)
    return checked_folds(rows, tasks, effort.folds, seed)


def hold_out(rows: Rows, tasks: Sequence[Task], seed: int, *, learnt_later: bool) -> npt.NDArray[np.bool_]:
    """Which rows are held out: about a fifth, alike in what is annotated; groups stay whole.

    Where what is chosen learns them later, up to half of the rows of a scarce task are, so that `JUDGES`
    rows judge it, and with them whatever is of the same row or group. A task of which even half would be too
    few to judge anything is dealt out as the others are.

    Of each class, and of each value of a label, the others keep at least one row: networks that knew nothing
    of it would be no sample of the final ones.

    Args:
        rows: The rows, with their groups.
        tasks: Each has rows on both sides.
        seed: Of the draw.
        learnt_later: Whether what is chosen learns the held-out rows later.

    Raises:
        RangeError: A task with annotations in too few rows, or groups.
    """
    group = np.arange(len(rows)) if rows.group is None else rows.group.numpy()
    parts = _parts(rows, tasks, group) if learnt_later else np.full(len(rows), PARTS)
    part = np.zeros(len(rows), dtype=np.int64)
    for count in np.unique(parts):
        part = np.where(parts == count, draw_folds(rows, tasks, int(count), seed), part)
    short: Task | None = None
    for k in range(PARTS):
        held = _without_the_last(part == k % parts, group, rows, tasks)
        short = next((t for t in tasks if len(np.unique(held[rows.annotated(t).numpy()])) < 2), None)
        if short is None:
            return held
    assert short is not None
    n = len(rows.annotated(short))
    raise RangeError(
        f"task {short.name!r} has {n} annotated rows, which cannot be divided into rows to train on and rows "
        "to judge by; annotate more, give finer groups, or name a coupling"
    )


def _parts(rows: Rows, tasks: Sequence[Task], group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many parts a row's are dealt into: by the scarcest task that its group is annotated for."""
    parts = np.full(len(rows), PARTS)
    for task in tasks:
        known = rows.annotated(task).numpy()
        of_task = min(max(len(known) // JUDGES, 2), PARTS)
        if len(known) >= 2 * MIN_ROWS:  # else no half of them would judge
            parts[known] = np.minimum(parts[known], of_task)
    _, unit = np.unique(group, return_inverse=True)
    least = np.full(len(rows), PARTS)
    np.minimum.at(least, unit, parts)
    return least[unit]


def _without_the_last(
    held: npt.NDArray[np.bool_], group: npt.NDArray[np.int64], rows: Rows, tasks: Sequence[Task]
) -> npt.NDArray[np.bool_]:
    """The same, less a group of each class and label value that would be held out with all its rows."""
    held = held.copy()
    for task in tasks:
        values = rows.targets[task.name].numpy()
        if isinstance(task, MulticlassTask):
            kinds = [values == c for c in range(task.width)]
        else:
            kinds = [values[:, k] == on for k in range(task.width) for on in (0.0, 1.0)]
        for kind in kinds:
            if kind.any() and held[kind].all():
                held &= group != group[np.flatnonzero(kind)[0]]
    return held
