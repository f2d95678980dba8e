"""The parts of a plan: networks, regimes, budgets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from concord.config import WHOLE, Count, Fraction, Portion, Positive, Probability, Weight, Whole

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)]
"""Goes into file names and columns."""

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
    dropout: Fraction = 0.2
    width: Annotated[int, Field(ge=8, multiple_of=8), WHOLE] = 32
    stages: Count = 3
    stem_stride: Literal[1, 2] = 1


class TrunkNetwork(_Strict):
    """A trunk by name, as in a config of `concord train`; a head for each task stands on it.

    Attributes:
        trunk: `builtin:mlp`, `builtin:resnet`, `timm:NAME`, `torchvision:NAME`, `hf:NAME_OR_FOLDER` or
            `package:efficientnet-lite0`; or `module:function`, a Python function of the options that returns
            a module from inputs to features, which is looked for next to the plan first.
        options: Options of the architecture.
        pretrained: Whether weights that were trained before are loaded.
        download: Whether they may be fetched when nothing local has them.
        freeze: Modules that are not trained: `trunk` for all of it, or `trunk.LAYER`.
        layer_decay: Factor of the learning rate from a layer to the one before it, in (0, 1].
    """

    trunk: str = Field(pattern=r"^[^:\s]+:.+$")
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    download: bool = False
    freeze: tuple[str, ...] = ()
    layer_decay: Portion = 1.0


def _kind_of_network(value: Any) -> str:
    named = "trunk" in value if isinstance(value, dict) else isinstance(value, TrunkNetwork)
    return "TrunkNetwork" if named else "Network"


AnyNetwork = Annotated[
    Annotated[Network, Tag("Network")] | Annotated[TrunkNetwork, Tag("TrunkNetwork")],
    Discriminator(_kind_of_network),
]
"""Small ones of the package's own, by `kind`, or any trunk by name."""


class StudyRecipe(_Strict):
    """How the weights of every network of a study are changed, beyond the budget; as in a config.

    Attributes:
        schedule: Course of the learning rate after the warm-up.
        warmup: Steps in which the learning rate rises linearly, fewer than there are; a shorter training, and
            a regime with fewer steps than the budget, has its share of them.
        decay: What weight decay applies to.
        clip: Largest norm of the gradient.
        average: Decay of an exponential moving average of the weights, which is then the result.
        accumulate: Pieces that a batch is cut into, so that it fits into memory; methods that weigh gradients
            take whole batches.
        precision: Of the arithmetic.
        channels_last: Whether images lie in memory channels last.
        flip: Probability of mirroring training images left and right.
        shift: Largest shift of training images, in pixels.
    """

    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Whole = 0
    decay: Literal["all", "matrices"] = "all"
    clip: Positive | None = None
    average: Fraction | None = None
    accumulate: Count = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    flip: Probability = 0.0
    shift: Annotated[int, Field(ge=0, lt=2**15), WHOLE] = 0


ALL = "all"


def _rows(value: Any) -> Any:
    """A number of rows, `all`, or a share as `5 %`, written in one way."""
    if isinstance(value, bool):
        raise ValueError(f"a number >= 1, all, or a share as 5 % is needed, found {str(value).lower()}")
    if isinstance(value, str):
        text = "".join(value.split())
        if text == ALL:
            return text
        match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
        if match and 0 < float(match[1]) <= 100:
            return f"{Decimal(match[1]).normalize():f} %"  # never 1e-05, which would not be read again
        raise ValueError(f"a number >= 1, all, or a share as 5 % is needed, found {value!r}")
    return value


RowCount = Annotated[Count | str, BeforeValidator(_rows)]
"""So many annotated rows of a task: a number, a share of those that there are, or all."""


def _number(rows: int | str, annotated: int) -> int | str:
    if isinstance(rows, int) or rows == ALL:
        return rows
    return max(1, round(float(rows.removesuffix("%")) / 100 * annotated))


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
        rows: Annotated rows of each task: a number >= 1, a share of the annotated training rows as `5 %`
            (at least one row), or `all` of them that no task with a number or a share takes.
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
    rows: dict[str, RowCount]
    overlap: Annotated[Probability, BeforeValidator(_share)] = 0.0
    table: Literal["given", "estimated", "shuffled", "partly-wrong"] = "given"
    network: AnyNetwork | None = None
    steps: Count | None = None

    def numbered(self, annotated: Mapping[str, int]) -> Regime:
        """The same regime with numbers in place of shares.

        Args:
            annotated: By task, the annotated training rows.
        """
        return self.model_copy(
            update={"rows": {task: _number(rows, annotated[task]) for task, rows in self.rows.items()}}
        )

    @property
    def numbers(self) -> dict[str, int]:
        """Rows of the tasks that have a number."""
        return {task: rows for task, rows in self.rows.items() if isinstance(rows, int)}

    @property
    def both(self) -> int:
        """Rows that are annotated for all tasks."""
        return round(self.overlap * min(self.numbers.values())) if self.overlap else 0

    @property
    def total(self) -> int:
        """Training rows in all, where every task has a number."""
        return sum(self.numbers.values()) - (len(self.rows) - 1) * self.both

    @model_validator(mode="after")
    def _overlap_of_numbers(self) -> Regime:
        if self.overlap and ALL in self.rows.values():
            raise ValueError("overlap is a share of numbers of rows; with all, rows keep what they have")
        return self


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
    learning_rate: Positive = 2e-3
    weight_decay: Weight = 0.01
    log_every: Count = 50


def case_names() -> tuple[str, ...]:
    """Names of the built-in cases: the files of `problems/cases`."""
    folder = Path(__file__).parent / "problems" / "cases"
    return tuple(sorted(m.name.replace("_", "-") for m in iter_modules([str(folder)]) if m.name[0] != "_"))
