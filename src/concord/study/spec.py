"""The parts of a plan: networks, regimes, budgets."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)]
"""Goes into file names and columns."""


Count = Annotated[int, Field(ge=1, lt=2**31)]

OPTIONAL_COUNT = {"anyOf": [{"type": "integer", "minimum": 1, "exclusiveMaximum": 2**31}, {"type": "null"}]}

FEWEST_STEPS = 600
"""Steps of a network unless a plan says others, or has many rows."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Fields are explained by the docstring, where a reader of the code looks for them."""
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        own["description"] = (cls.__doc__ or "").split("\n")[0]
        for name, meaning in meanings(cls).items():
            own["properties"][name]["description"] = meaning
        return schema


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the fields of a part of a plan mean, by its docstring: each on one line."""
    text = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.split(r"\n(?=    \w+: )", "\n" + text)[1:]
    found = (" ".join(entry.split()).partition(": ") for entry in entries)
    return {name: meaning for name, _, meaning in found}


class Network(_Strict):
    """The trunk that all conditions share in kind; a head for each task stands on it.

    Attributes:
        kind: `mlp` for feature rows, `resnet` for small images.
        hidden: Widths of the layers of an MLP.
        dropout: Of an MLP.
        width: Channels of the residual net's first stage.
        stages: Stages of the residual net.
        stem_stride: Stride of its first convolution; 2 quarters the work.
    """

    kind: Literal["mlp", "resnet"] = "mlp"
    hidden: tuple[Count, ...] = (128, 128)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    width: int = Field(default=32, ge=8, multiple_of=8)
    stages: Count = 3
    stem_stride: Literal[1, 2] = 1


def _share(value: Any) -> Any:
    """A share as a number, or as `50 %`."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip().removesuffix("%")) / 100
        except ValueError:
            return value
    return value


class Regime(_Strict):
    """How many training rows are annotated for which task.

    Attributes:
        name: Its name in results.
        rows: Annotated rows of each task, >= 1.
        overlap: Share of the scarcest task's rows that are annotated for all tasks, in [0, 1] or as `50 %`;
            the other rows carry one task's annotation each.
        table: The relation as given (where a config counts it from rows, all training rows are counted, more
            than the regime shows to the networks), as estimated from the regime's rows alone (from those
            annotated for both tasks, or without any through cross-fitted networks), or as a wrong one for
            control, the same in all runs: with its rows shuffled, or partly wrong (see
            `concord.study.tables.control`).
        network: The trunk, where it is not the plan's.
        steps: Optimiser steps of a network, where they are not the budget's. Where neither says any, as many
            as 10 passes over the rows of the task with most of them take, at least 600 and at most 20,000:
            fixed for all conditions when the plan is read, and a part of it.
    """

    name: Name
    rows: dict[str, Count]
    overlap: Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)] = 0.0
    table: Literal["given", "estimated", "shuffled", "partly-wrong"] = "given"
    network: Network | None = None
    steps: Count | None = None

    @property
    def both(self) -> int:
        """Rows that are annotated for all tasks."""
        return round(self.overlap * min(self.rows.values()))

    @property
    def total(self) -> int:
        """Training rows in all."""
        return sum(self.rows.values()) - (len(self.rows) - 1) * self.both


class Budget(_Strict):
    """What every condition may spend: the same for all, single-task networks included.

    Attributes:
        steps: Optimiser steps of a network; null is 600, and more in regimes with many rows (their `steps`).
        rows_per_task: Rows of each task in a step.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        log_every: Steps between two points of a learning curve.
    """

    steps: Annotated[Count, WithJsonSchema(OPTIONAL_COUNT)] = FEWEST_STEPS
    rows_per_task: Count = 64
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    log_every: Count = 50


def case_names() -> tuple[str, ...]:
    """Names of the built-in cases: the files of `problems/cases`."""
    folder = Path(__file__).parent / "problems" / "cases"
    return tuple(sorted(m.name.replace("_", "-") for m in iter_modules([str(folder)]) if m.name[0] != "_"))
