"""What the readers of face data sets share: the two tasks, and the end of every reading."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest, task_columns
from concord.data.readers._files import Missing, check_choice, keep_present
from concord.errors import ConcordWarning, EmptyDataError
from concord.relations import EXPRESSIONS
from concord.tasks import MulticlassTask, MultilabelTask, Task

Gaps = Literal["drop", "keep"]
"""What to do with a row that no task annotates: leave it out, or keep it with nulls."""


def expression_task(*more: str) -> MulticlassTask:
    """The task `expression`: the seven basic ones in the project's order, then `more`."""
    return MulticlassTask("expression", (*EXPRESSIONS, *more))


def unit_task(units: Iterable[int]) -> MultilabelTask:
    """The task `action_units` with labels AU1, AU2, ... of these numbers."""
    return MultilabelTask("action_units", [f"AU{unit}" for unit in units])


def unit_column(unit: int) -> str:
    """The manifest's column of an action unit."""
    return f"action_units.AU{unit}"


def face_manifest(
    frame: pl.DataFrame, tasks: Sequence[Task], root: Path, title: str, *, missing: Missing, gaps: Gaps
) -> Manifest:
    """A manifest of the annotated rows whose images are there, or as the user asks.

    Images that are annotated more than once are kept, with a `ConcordWarning`.

    Raises:
        EmptyDataError: Nothing is annotated, and `gaps` is "drop".
        MissingDataError: Images are missing; see `keep_present`.
        UnknownNameError: Another value of `missing` or `gaps`.
    """
    check_choice("value of gaps", gaps, ("drop", "keep"))
    if gaps == "drop":
        columns = [column for task in tasks for column in task_columns(task)]
        frame = frame.filter(pl.any_horizontal(pl.col(columns).is_not_null()))
    if frame.is_empty():
        raise EmptyDataError(
            f"{title}: expected annotated rows in {root}, found none; gaps='keep' keeps all rows"
        )
    repeated = frame["path"].filter(frame["path"].is_duplicated())
    if len(repeated):
        warnings.warn(
            f"{title}: images annotated more than once: {repeated.n_unique():,}, the first {repeated[0]!r}; "
            "`concord data inspect` says where annotations differ and which stand in two splits",
            ConcordWarning,
            stacklevel=3,
        )
    return Manifest(keep_present(frame, root, missing), tuple(tasks), root, title)
