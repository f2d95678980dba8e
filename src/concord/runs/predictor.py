"""What predictions take: of a finished training, and of a folder that others load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from concord.data import Collate, concatenate
from concord.decoding import HALF, Decoders
from concord.tasks import Task


@dataclass(frozen=True)
class Predictor:
    """A network with its joint decoding and thresholds.

    Attributes:
        network: Input to logits by task.
        tasks: The tasks.
        decoder: Joint decoding, with fitted strengths.
        collate: What puts the inputs of a batch together.
        cuts: By task, where jointly decoded predictions are cut; .5 where there is nothing.
    """

    network: nn.Module
    tasks: tuple[Task, ...]
    decoder: Decoders
    collate: Collate = concatenate
    cuts: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def cut(self, task: Task) -> Any:
        """Where predictions of a task are cut."""
        return self.cuts.get(task.name, HALF)
