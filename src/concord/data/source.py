"""A source: a manifest, and where its inputs come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.data.inputs import Inputs, Rows
from concord.data.manifest import Manifest
from concord.errors import AnnotationError, UnknownNameError
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task

MISSING_LABEL = -1


class Source:
    """Samples of one origin, annotated for some tasks.

    Args:
        manifest: What is annotated on which sample.
        inputs: Where the inputs of the samples come from.
        transform: What to do with this source's part of a batch (a tensor or list, rows first) before it
            joins the others. Runs in a worker where there are any. Random numbers that it draws from
            torch's global generator depend on the mixture's seed and step only.
        name: What the mixture calls it; the manifest's name unless given.

    Raises:
        UnknownNameError: No name at all, or a manifest without a column that the inputs need.
    """

    def __init__(
        self,
        manifest: Manifest,
        inputs: Inputs,
        transform: Callable[[Any], Any] | None = None,
        name: str | None = None,
    ) -> None:
        self.manifest, self.inputs, self.transform = manifest, inputs, transform
        self.name = manifest.name if name is None else name
        if not self.name:
            raise UnknownNameError("a source needs a name: Source(..., name=...), or a manifest with one")
        self.keys = inputs.keys(manifest)

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {len(self):,} rows, {self.inputs!r})"

    def targets(self, task: Task) -> TaskRows:
        """The source's annotations for a task of a mixture; all gaps where it has no such task.

        Classes and labels are matched by name, so their order may differ; a label that the source does
        not have is a gap.

        Raises:
            UnknownNameError: A class or label of the source that the mixture's task does not have.
            NoAnnotationError: A task of the same name and another kind.
        """
        own = next((mine for mine in self.manifest.tasks if mine.name == task.name), None)
        if own is None:
            return TaskRows(task, None)
        if type(own) is not type(task):
            raise AnnotationError(
                f"task {task.name!r} is {type(task).__name__} in the mixture and {type(own).__name__} in "
                f"source {self.name!r}; rename one of them"
            )
        for output in own.outputs:
            if output not in task.outputs:
                known = UnknownNameError.of(f"class or label of task {task.name!r}", output, task.outputs)
                raise UnknownNameError(f"source {self.name!r}: {known}")
        manifest = self.manifest.select(own.name)
        return TaskRows(task, _matched(manifest, own, task), _matched_shares(manifest, own, task))


class TaskRows:
    """Targets of all rows of a source for one task, kept as small integers."""

    def __init__(
        self, task: Task, values: npt.NDArray[Any] | None, shares: npt.NDArray[np.float32] | None = None
    ) -> None:
        self.task, self.values, self.shares = task, values, shares

    def fill(self, out: Tensor, start: int, rows: Rows) -> None:
        """Write the targets of some rows into a batch's targets, from row `start` on."""
        if self.values is None:
            return
        chosen = torch.from_numpy(self.values.take(rows, axis=0)).to(out.dtype)
        if isinstance(self.task, MultilabelTask):
            chosen[chosen == MISSING_LABEL] = torch.nan
        out[start : start + len(rows)] = chosen

    def fill_shares(self, out: Tensor, start: int, rows: Rows) -> None:
        """Write the soft targets of some rows into a batch's, from row `start` on."""
        if self.shares is not None:
            out[start : start + len(rows)] = torch.from_numpy(self.shares.take(rows, axis=0))


def _matched_shares(manifest: Manifest, own: Task, task: Task) -> npt.NDArray[np.float32] | None:
    """Soft targets in the order of the mixture's classes; 0 for those the source lacks."""
    found = manifest.soft_targets().get(own.name)
    if found is None:
        return None
    out = np.zeros((len(found), task.width), dtype=np.float32)
    out[:, [task.outputs.index(output) for output in own.outputs]] = found
    out[np.isnan(found).any(axis=1)] = np.nan
    return out


def _matched(manifest: Manifest, own: Task, task: Task) -> npt.NDArray[Any]:
    targets = manifest.targets()[own.name]
    place = [task.outputs.index(output) for output in own.outputs]
    if isinstance(task, MulticlassTask):
        dtype = np.int16 if task.width < np.iinfo(np.int16).max else np.int64
        return np.asarray([*place, MISSING_CLASS], dtype=dtype).take(targets)
    out = np.full((len(targets), task.width), MISSING_LABEL, dtype=np.int8)
    out[:, place] = np.nan_to_num(targets, nan=MISSING_LABEL)
    return out
