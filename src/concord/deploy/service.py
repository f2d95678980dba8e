"""A model behind a server: inputs of requests in, answers as JSON holds them out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.decoding import Decoders
from concord.deploy.hub import Pretrained, from_pretrained
from concord.errors import CheckpointError, ConcordError, DataFormatError, EmptyDataError, ShapeError
from concord.metrics import decisions
from concord.tasks import MulticlassTask, Task


class Service:
    """A folder's model, ready to answer requests; for any server.

    What comes in is data and never a path, so that no request can ask for a file of the server. A request
    that cannot be answered spoils no other one of its batch.

    Args:
        place: A folder of `save_pretrained`, or `OWNER/NAME` of the hub.
        device: Where the network lies, such as `cpu` or `cuda:0`.
        trunk: As in `from_pretrained`.
        download: As in `from_pretrained`.
        revision: As in `from_pretrained`.

    Attributes:
        model: What `from_pretrained` gave.
        kind: What it takes: `images`, `arrays`, `features`, `columns` or `texts`.

    Raises:
        CheckpointError: As `from_pretrained`; or a folder that does not say how inputs are made.
        ConcordError: As `from_pretrained`.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        device: str = "cpu",
        trunk: torch.nn.Module | None = None,
        download: bool = False,
        revision: str | None = None,
    ) -> None:
        self.model: Pretrained = from_pretrained(place, trunk=trunk, download=download, revision=revision)
        if self.model.preprocessing is None:
            raise CheckpointError(
                f"{place} does not say how inputs are made; write it anew (concord export RUN --hub FOLDER)"
            )
        self.kind = next(iter(self.model.preprocessing.inputs.values())).kind
        self.model.network.to(device)

    def answers(self, requests: Sequence[Any]) -> list[dict[str, Any]]:
        """One answer per request, in order.

        Args:
            requests: Of images, the bytes of an image file, or these in base64; of arrays, rows of pixels; of
                texts, a text; of features, a list of numbers, or a dictionary of columns.

        Returns:
            By task `class`, or `labels` (those that are present), and `probabilities` by name, jointly
            decoded; `disagreement` by relation. Or `error` alone, with a message.
        """
        if not len(requests):
            return []
        try:
            return self._answers(requests)
        except ConcordError as error:
            if len(requests) == 1:
                return [{"error": str(error)}]
        return [self.answers([request])[0] for request in requests]

    def _answers(self, requests: Sequence[Any]) -> list[dict[str, Any]]:
        model = self.model
        heads, joint = model.probabilities(self._inputs(requests))
        decoder = Decoders([])
        decoder.decoders = list(model.decoders)
        out: list[dict[str, Any]] = [{} for _ in requests]
        for task in model.tasks:
            decided = decisions(task, joint[task.name], model.thresholds.get(task.name, 0.5))
            for answer, found, p in zip(out, decided, joint[task.name], strict=True):
                named = dict(zip(task.outputs, p.tolist(), strict=True))
                answer[task.name] = {**_decided(task, found), "probabilities": named}
        for name, values in decoder.disagreement(heads).items():
            for answer, value in zip(out, values, strict=True):
                answer.setdefault("disagreement", {})[name] = float(value)
        return out

    def _inputs(self, requests: Sequence[Any]) -> Any:
        if self.kind == "images":
            return [_image(request) for request in requests]
        if self.kind == "texts":
            return list(requests)
        if any(isinstance(request, str | bytes | Path) for request in requests):
            raise ShapeError(f"a request to this model holds {self.kind}, not text")
        if all(isinstance(request, Mapping) for request in requests):
            return _columns(requests)
        try:
            return np.asarray([np.asarray(request) for request in requests])
        except ValueError:
            raise ShapeError("requests of one batch have rows of one length") from None


def _image(request: Any) -> bytes:
    """The bytes of an image file; never those of a file that a request names."""
    if isinstance(request, str):
        try:
            return base64.b64decode(request, validate=True)
        except (binascii.Error, ValueError):
            raise DataFormatError("an image comes as the bytes of its file, in base64") from None
    if not isinstance(request, bytes | bytearray):
        raise DataFormatError(f"an image comes as the bytes of its file, found {type(request).__name__}")
    return bytes(request)


def _columns(requests: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = list(requests[0])
    if not names:
        raise EmptyDataError("a request without any column")
    if any(set(request) != set(names) for request in requests):
        raise ShapeError("requests of one batch have the same columns")
    return {name: [request[name] for request in requests] for name in names}


def _decided(task: Task, found: Any) -> dict[str, Any]:
    if isinstance(task, MulticlassTask):
        value = task.as_given([found])[0]
        return {"class": value.item() if isinstance(value, np.generic) else value}
    return {"labels": [name for name, present in zip(task.outputs, found, strict=True) if present]}
