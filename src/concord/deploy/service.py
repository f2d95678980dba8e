"""A model behind a server: inputs of requests in, answers as JSON holds them out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.arrays import as_array
from concord.deploy.hub import Pretrained, from_pretrained
from concord.errors import (
    CheckpointError,
    ConcordError,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    ShapeError,
)
from concord.metrics import decisions
from concord.runs import GivenRows, joined_rows, plan_for
from concord.tasks import MulticlassTask, Task


class Service:
    """A folder's model, ready to answer requests; for any server.

    What comes in is data and never a path, so that no request can ask for a file of the server. A request
    that cannot be answered spoils no other one of its batch, and no answer depends on the others.

    Args:
        place: A folder of `save_pretrained`, or `OWNER/NAME` of the hub.
        device: Where the network lies, such as `cpu` or `cuda:0`.
        trunk: As in `from_pretrained`.
        download: As in `from_pretrained`.
        revision: As in `from_pretrained`.
        source: The source of the training whose inputs requests are like; the first one unless given. Needed
            where the training had several kinds of inputs.

    Attributes:
        model: What `from_pretrained` gave.
        kind: What it takes: `images`, `arrays`, `features`, `columns` or `texts`.
        source: As given.

    Raises:
        CheckpointError: As `from_pretrained`; or a folder that does not say how inputs are made.
        ConfigError: Several kinds of inputs and no source; a training that cut pictures out by a table,
            which no request holds; or a task called as a key of answers is, `disagreement` or `error`.
        UnknownNameError: No such source.
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
        source: str | None = None,
    ) -> None:
        self.model: Pretrained = from_pretrained(place, trunk=trunk, download=download, revision=revision)
        if self.model.preprocessing is None:
            raise CheckpointError(
                f"{place} does not say how inputs are made; write it anew (concord export RUN --hub FOLDER)"
            )
        plans = self.model.preprocessing.inputs
        plan = plan_for(plans, {plan.kind for plan in plans.values()}, source)
        if plan.region != "whole":
            raise ConfigError(
                f"the training of {place} cut pictures out by a table ({plan.region}), which no request "
                "holds: give such a table to from_pretrained(...).predict"
            )
        if taken := {task.name for task in self.model.tasks} & {"disagreement", "error"}:
            raise ConfigError(
                f"task {min(taken)!r} has the name of a key that answers have beside their tasks; call "
                "from_pretrained(...).predict"
            )
        self.kind, self.source = plan.kind, source
        self.model.network.to(device)

    def answers(self, requests: Sequence[Any]) -> list[dict[str, Any]]:
        """One answer per request, in order.

        Args:
            requests: A list. Of images, the bytes of an image file, or these in base64; of arrays, rows of
                pixels; of texts, a text; of features, a list of numbers; of a training with feature tables or
                columns, a dictionary of columns.

        Returns:
            By task `class`, or `labels` (those that are present), and `probabilities` by name, jointly
            decoded; `disagreement` by relation. Or `error` alone, with a message.

        Raises:
            ConfigError: One request in place of a list of them.
        """
        if not isinstance(requests, Sequence | np.ndarray) or isinstance(requests, str | bytes | bytearray):
            raise ConfigError(f"requests are a list, found {type(requests).__name__}: give [request] for one")
        if not len(requests):
            return []
        try:
            return self._answers(requests)
        except ConcordError as error:
            if len(requests) == 1:
                return [{"error": str(error)}]
        return [self.answers([request])[0] for request in requests]

    def _answers(self, requests: Sequence[Any]) -> list[dict[str, Any]]:
        model, predictor = self.model, self.model._predictor()
        outputs = model._predicted(self._rows(requests))
        out: list[dict[str, Any]] = [{} for _ in requests]
        for task in model.tasks:
            p = outputs.joint[task.name]
            for answer, found, row in zip(out, decisions(task, p, predictor.cut(task)), p, strict=True):
                named = dict(zip(task.outputs, row.tolist(), strict=True))
                answer[task.name] = {**_decided(task, found), "probabilities": named}
        for name, values in outputs.disagreement.items():
            for answer, value in zip(out, values, strict=True):
                answer.setdefault("disagreement", {})[name] = float(value)
        return out

    def _rows(self, requests: Sequence[Any]) -> GivenRows:
        """Requests as rows, each made by itself: what it becomes must not depend on its company."""
        if self.kind == "images":
            return self._prepared([_image(request) for request in requests])
        if self.kind == "texts":
            return self._prepared(list(requests))
        tables = any(isinstance(request, Mapping) for request in requests)
        if self.kind == "arrays" or (self.kind == "features" and not tables):
            rows = [_numbers(request, self.kind) for request in requests]
            if len({row.shape for row in rows}) > 1:
                raise ShapeError(f"requests of one batch have {self.kind} of one shape")
            return self._prepared(np.stack(rows))
        return joined_rows([self._row(request) for request in requests])

    def _row(self, request: Any) -> GivenRows:
        if not isinstance(request, Mapping):
            return self._prepared(_numbers(request, self.kind)[None])
        known = self.model.preprocessing
        if self.kind == "features" and (known is None or known.columns is None):
            raise ConfigError(
                "this model was trained on an array, whose columns have no names; give a list of numbers"
            )
        if not request:
            raise EmptyDataError("a request without any column")
        return self._prepared({name: [value] for name, value in request.items()})

    def _prepared(self, inputs: Any) -> GivenRows:
        return self.model._rows(inputs, source=self.source)


def _numbers(request: Any, kind: str) -> Any:
    """Numbers of one request, in the type that the network takes."""
    if not isinstance(request, Sequence | np.ndarray) or isinstance(request, str | bytes | bytearray):
        raise ShapeError(f"a request to this model holds {kind}, found {type(request).__name__}")
    array = as_array("a request", request)
    if array.dtype.kind not in "fiub":
        raise DataFormatError(
            f"a request to this model holds {kind}: numbers, found something else among them"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        return array.astype(np.float32)


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


def _decided(task: Task, found: Any) -> dict[str, Any]:
    if isinstance(task, MulticlassTask):
        value = task.as_given([found])[0]
        return {"class": value.item() if isinstance(value, np.generic) else value}
    return {"labels": [name for name, present in zip(task.outputs, found, strict=True) if present]}
