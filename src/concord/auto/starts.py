"""What a task starts from in the guard, and why: who bears the burden of proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from concord.estimation import RelationCheck
from concord.fitting import Rows
from concord.tasks import Task

Base = Literal["shared", "single-task"]


AVERAGE = "average"
"""The candidate whose logits are the mean of those of the single-task and of the shared network."""


PROVEN_Z = 5.0
"""So many standard errors put a table beyond doubt: the rows of a scarce task need not prove it again."""


MIN_ROWS = 20
"""Below so many annotated rows nothing can be proved, and a task stays where it starts."""


MIN_GROUPS = 10
"""The same for groups of rows, where rows come in groups: one shows more than a row."""


@dataclass(frozen=True)
class Start:
    """What is kept unless a candidate is shown to be better.

    Attributes:
        name: The candidate.
        reason: Why the burden of proof lies with the others.
        otherwise: What takes its place where nothing is shown to be better and this is ahead of it, be it by
            chance; empty where it stays.
    """

    name: str
    reason: str
    otherwise: str = ""


def start_of(
    task: Task,
    rows: Rows,
    checks: Sequence[RelationCheck],
    *,
    judging: Rows,
    base: Base,
    coupled: bool,
    unseen: bool,
    differs: bool,
) -> Start:
    """What a task starts from.

    Args:
        task: The task.
        rows: The training rows.
        checks: What the data said of every relation.
        judging: Those of the training rows that judge.
        base: The balanced shared networks, or the single-task ones of a learner that shares nothing.
        coupled: Whether there are coupled networks.
        unseen: Whether some of its classes can only be predicted through a relation.
        differs: Whether its rows differ from those of another task in their inputs.
    """
    if unrelated(task, judging, checks):
        return Start("single-task", "its tasks are not related, so sharing has to show that it helps")
    if coupled and unseen:
        return Start("coupled", "only a relation predicts some of its classes")
    if differs:
        reason = "its rows differ from another task's, so sharing has to show that it helps"
        return Start("single-task", reason, otherwise=AVERAGE if base == "shared" else "")
    if coupled and proven(task, rows, [check for check in checks if check.exponent > 0]):
        return Start("coupled", "the table is beyond doubt")
    if base == "single-task":
        return Start("single-task", "the learner shares nothing between tasks")
    if nothing_shown(task, checks):
        return Start(AVERAGE, "nothing is shown of the tasks either way")
    return Start("shared", "sharing seldom harms related tasks")


def unrelated(task: Task, rows: Rows, checks: Sequence[RelationCheck]) -> bool:
    """Whether everything that could relate a task to others was weighed and gives no evidence of it.

    With fewer than `MIN_ROWS` rows, or `MIN_GROUPS` groups, on a side that is no finding.
    """
    mine = [c for c in checks if task.name in (c.relation.source.name, c.relation.target.name)]
    sides = {side.name: side for c in mine for side in (c.relation.source, c.relation.target)}
    enough = all(too_few(rows, side) is None for side in sides.values())
    return bool(mine) and enough and all(c.verdict == "unrelated" for c in mine)


def nothing_shown(task: Task, checks: Sequence[RelationCheck]) -> bool:
    """Whether relations of a task were weighed, and none of them is found to tell anything."""
    mine = [c for c in checks if task.name in (c.relation.source.name, c.relation.target.name)]
    return bool(mine) and all(check.exponent == 0 for check in mine)


def too_few(rows: Rows, task: Task) -> str | None:
    """What of a task's annotated rows is too little to prove anything; None where it is enough."""
    known = rows.annotated(task)
    if len(known) < MIN_ROWS:
        return f"{len(known)} annotated rows"
    if rows.group is None or (count := len(np.unique(rows.group[known]))) >= MIN_GROUPS:
        return None
    return f"annotated rows of {count} groups"


def proven(task: Task, rows: Rows, active: Sequence[RelationCheck]) -> bool:
    """Whether a supplied table beyond doubt gives this task targets on more rows than it has annotated.

    An estimated one cannot be: that the tasks are related may be sure, but its cells come from the few rows.
    """
    known = task.annotated(rows.targets[task.name].numpy())
    through = [
        check
        for check in active
        if check.relation.source.name == task.name and check.verdict in ("kept", "calibrated")
    ]
    if not any(check.reverse.z > PROVEN_Z for check in through):
        return False
    gained = np.zeros(len(known), dtype=bool)
    for check in through:
        gained |= check.relation.target.annotated(rows.targets[check.relation.target.name].numpy()) & ~known
    return int(gained.sum()) > int(known.sum())
