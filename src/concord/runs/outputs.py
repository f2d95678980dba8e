"""What a network says of rows: probabilities of the heads, jointly decoded ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.config import InputPlan
from concord.data import Columns, FeatureRows, Manifest, Mixture, Source
from concord.errors import ConfigError, EmptyDataError, ShapeError
from concord.metrics import probabilities
from concord.networks import moved
from concord.runs.inputs import Preparation, prepared
from concord.runs.predictor import Predictor
from concord.runs.run import Run
from concord.runs.sources import mixture_of
from concord.tasks import Task


@dataclass(frozen=True)
class Outputs:
    """Predictions of one source's rows.

    Attributes:
        index: (n,) rows of the source's manifest, in order; rows that could not be loaded are left out.
        heads: By task, (n, C) or (n, K) probabilities of the heads.
        joint: By task, the jointly decoded ones.
        disagreement: By relation, (n,) in [0, 1].
        targets: By task, (n,) with -1 or (n, K) with NaN.
        skipped: Paths of inputs that could not be loaded.
        shares: By class task, where there are any: (n, C) soft targets, rows of NaN for none.
    """

    index: npt.NDArray[np.int64]
    heads: dict[str, npt.NDArray[np.float64]]
    joint: dict[str, npt.NDArray[np.float64]]
    disagreement: dict[str, npt.NDArray[np.float64]]
    targets: dict[str, npt.NDArray[Any]]
    skipped: tuple[str, ...]
    shares: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def device_of(accelerator: str = "auto") -> torch.device:
    """The device to predict on.

    Args:
        accelerator: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ConfigError: It is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there.get(accelerator, False):
        known = ", ".join(("auto", *(name for name, is_there in there.items() if is_there)))
        raise ConfigError(
            f"accelerator {accelerator} is not on this machine; here there are {known} (training.accelerator "
            "of a config)"
        )
    return torch.device(accelerator)


def taken_by(run: Run, plan: InputPlan, manifest: Manifest, preparation: Preparation, name: str) -> Source:
    """A manifest's rows with their inputs, as a run's network takes them.

    Raises:
        ShapeError: Feature rows of another width than the network was trained on.
        ConfigError: A table with named columns, where the training had an array.
        ConcordError: See `concord.runs.inputs.prepared`.
    """
    source = Source(*prepared(plan, manifest, preparation), name=name)
    if plan.kind == "features" and isinstance(source.inputs, FeatureRows):
        check_placed(source.inputs.known_columns, preparation.columns)
        check_width(source.inputs, run.shape)
    return source


def check_placed(names: Iterable[str] | None, known: Columns | None) -> None:
    """Refuse columns with names where the training had an array: nothing says which one is which.

    Args:
        names: Of the columns that are given; None where they have none.
        known: Columns of the training; None where it had an array.

    Raises:
        ConfigError: They are refused. Names such as polars and pandas give columns without any are none.
    """
    if names is None or known is not None:
        return
    found = list(names)
    numbers = range(len(found))
    if found not in ([f"column_{i}" for i in numbers], [str(i) for i in numbers]):
        raise ConfigError(
            "this model was trained on an array, so that nothing says which feature column "
            f"{', '.join(found)!r:.60} is: give an array (n, width), in the order of the training"
        )


def check_width(rows: FeatureRows, shape: Sequence[int] | None) -> None:
    """Refuse feature rows of another shape than a network was trained on.

    Raises:
        ShapeError: They are.
    """
    if rows.shape[1:] != shape:
        raise ShapeError(
            f"{rows.path or 'features'}: the network was trained on {_width(shape)}, found "
            f"{_width(rows.shape[1:])}"
        )


def _width(shape: Sequence[int] | None) -> str:
    return "rows of shape (" + ", ".join(map(str, shape or ())) + ")"


@torch.no_grad()
def outputs_of(predictor: Predictor, source: Source, batch_size: int, device: torch.device) -> Outputs:
    """Predictions for all rows of a source.

    Raises:
        EmptyDataError: No row could be loaded.
    """
    network, tasks = predictor.network.to(device).eval(), predictor.tasks
    mixture = mixture_of({source.name: source}, tasks, batch_size, predictor.collate)
    index, logits, targets, soft = [], [], [], []
    for batch in mixture:
        if not len(batch):
            continue
        out = network(moved(batch.inputs, device))
        index.append(batch.index)
        logits.append({name: z.double().cpu() for name, z in out.items()})
        targets.append(batch.targets)
        soft.append(batch.soft)
    if not index:
        raise EmptyDataError(f"source {source.name!r}: none of {len(source)} inputs could be loaded")
    heads = {
        task.name: probabilities(task, torch.cat([part[task.name] for part in logits]).numpy())
        for task in tasks
    }
    return Outputs(
        torch.cat(index).numpy(),
        heads,
        predictor.decoder.decode(heads),
        predictor.decoder.disagreement(heads),
        _joined(tasks, targets),
        _skipped(mixture),
        {name: torch.cat([part[name] for part in soft]).numpy() for name in soft[0]},
    )


def _joined(tasks: Sequence[Task], parts: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    return {task.name: torch.cat([part[task.name] for part in parts]).numpy() for task in tasks}


def _skipped(mixture: Mixture) -> tuple[str, ...]:
    return tuple(row.path for row in mixture.skipped.values())
