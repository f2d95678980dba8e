"""How inputs become what a network takes, as plain data in a model's folder: never code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from concord.config import FIELDS_OF_KIND, InputPlan
from concord.data import Columns, columns_record
from concord.errors import ConfigError
from concord.runs import Vocabulary, trunk_kind

STAYS = ("file", "on_error")
"""Fields of a plan that are of the training's own data, and stay with it."""

PIXELS = ("images", "arrays")


@dataclass(frozen=True)
class Preprocessing:
    """How inputs become what the network takes; `Preprocessing.of` makes one for a network of one's own.

    Attributes:
        inputs: By source of the training, what its inputs are: kind, and size, region, margin, fit, invert or
            white of images.
        vocabulary: Of kind columns: by column the values that it is one-hot in, None for numbers.
        columns: Of kind features, from tables: what each column is; None for arrays.
    """

    inputs: Mapping[str, InputPlan]
    vocabulary: Vocabulary = field(default_factory=dict)
    columns: Columns | None = None

    @classmethod
    def of(cls, kind: str, *, columns: Columns | None = None, **options: Any) -> Preprocessing:
        """One kind of input.

        Args:
            kind: `images`, `arrays`, `features` or `texts`. Texts need a tokenizer that the folder can bring
                again: `save_pretrained` takes them with a named trunk of texts alone (`trunk=TrunkRecord`).
            columns: Of features that come as a table, what each column is, in the order of the network's
                inputs: None for a number, the values that a text is one-hot in, the width of a list. Without
                it features are an array, by position.
            options: Those of `inputs` in a config: `size`, `fit`, `invert`, ... of images.

        Raises:
            ConfigError: Another kind, or an option that it does not have.

        Example:
            >>> Preprocessing.of("images", size=32, fit="crop").inputs["inputs"].fit
            'crop'
            >>> table = Preprocessing.of("features", columns={"age": None, "word": ["no", "yes"]})
        """
        if kind == "columns":
            raise ConfigError(
                "kind columns is of a manifest; a table is of kind features: "
                "Preprocessing.of('features', columns={NAME: None for a number, or [VALUE, ...]})"
            )
        if columns is not None:
            _check_columns("columns", columns, lists=True)
            if kind != "features":
                raise ConfigError(f"columns are of kind features, found kind {kind!r}")
        return cls({"inputs": _plan({"kind": kind, **options})}, columns=columns)

    def takes(self, kind: str) -> bool:
        """Whether any source's inputs are of a kind."""
        return any(plan.kind == kind for plan in self.inputs.values())

    def record(self) -> dict[str, Any]:
        """Plain data, in which nothing is left to a default."""
        return {
            "inputs": {name: _plan_record(plan) for name, plan in self.inputs.items()},
            "vocabulary": self.vocabulary,
            "columns": None if self.columns is None else columns_record(self.columns),
        }

    def check(
        self,
        example: Any,
        normalization: tuple[Sequence[float], Sequence[float]] | None,
        tokenize: Callable[[list[str]], Any] | None,
    ) -> None:
        """Refuse a preprocessing whose outcome the network does not take.

        Args:
            example: One input.
            normalization: Of images.
            tokenize: Of texts.

        Raises:
            ConfigError: It is not of the network; says how.
        """
        for name, plan in self.inputs.items():
            where = f"preprocessing of {name!r}"
            if plan.kind in PIXELS:
                check_normalization(normalization, where)
            if plan.kind == "texts" and tokenize is None:
                raise ConfigError(
                    f"{where}: the network brings no tokenizer; texts need a named trunk, trunk=TrunkRecord"
                )
            made = self._shape(plan)
            if made is not None and (not isinstance(example, Tensor) or tuple(example.shape[1:]) != made):
                found = (
                    f"inputs of shape {tuple(example.shape[1:])}" if isinstance(example, Tensor) else "tokens"
                )
                raise ConfigError(f"{where}: it makes inputs of shape {made}, the network takes {found}")

    def _shape(self, plan: InputPlan) -> tuple[int, ...] | None:
        """Shape of one input without the row; None where it depends on what is given."""
        if plan.kind in PIXELS:
            return (3, plan.size, plan.size)
        if plan.kind == "columns":
            return (sum(1 if values is None else len(values) for values in self.vocabulary.values()),)
        if plan.kind == "features" and self.columns is not None:
            widths = self.columns.values()
            return (sum(1 if w is None else w if isinstance(w, int) else len(w) for w in widths),)
        return None


def preprocessing_of(record: Any) -> Preprocessing:
    """What `Preprocessing.record` wrote.

    Raises:
        ConfigError: Another thing than that; names the part.
    """
    if not isinstance(record, Mapping) or set(record) != {"inputs", "vocabulary", "columns"}:
        raise ConfigError("preprocessing has inputs, vocabulary and columns, and nothing else")
    plans, vocabulary, columns = record["inputs"], record["vocabulary"], record["columns"]
    if not isinstance(plans, Mapping) or not plans:
        raise ConfigError("preprocessing.inputs holds one source at least")
    made = {str(name): _plan(plan) for name, plan in plans.items()}
    if len({trunk_kind(plan) for plan in made.values()}) > 1:
        raise ConfigError("preprocessing.inputs: all sources feed one network")
    _check_columns("vocabulary", vocabulary)
    if columns is not None:
        _check_columns("columns", columns, lists=True)
    if any(plan.kind == "columns" for plan in made.values()) and not vocabulary:
        raise ConfigError("preprocessing.vocabulary: kind columns needs one")
    return Preprocessing(made, dict(vocabulary), columns)


def check_normalization(by: Any, where: str) -> None:
    """Refuse what is no mean and deviation of three channels.

    Raises:
        ConfigError: It is none.
    """
    parts = list(by) if isinstance(by, Sequence) and not isinstance(by, str) else []
    numbers = [value for part in parts if isinstance(part, Sequence) for value in part]
    whole = len(parts) == 2 and all(isinstance(part, Sequence) and len(part) == 3 for part in parts)
    if (
        not whole
        or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers)
        or not all(v > 0 for v in parts[1])
    ):
        raise ConfigError(
            f"{where}: images need normalization=(mean, deviation) of three channels, deviations above 0, "
            f"found {by!r:.80}"
        )


def _plan_record(plan: InputPlan) -> dict[str, Any]:
    fields = sorted(FIELDS_OF_KIND[plan.kind] - set(STAYS))
    return {"kind": plan.kind, **{name: getattr(plan, name) for name in fields}}


def _plan(record: Any) -> InputPlan:
    if not isinstance(record, Mapping):
        raise ConfigError(f"preprocessing.inputs: a mapping is needed, found {record!r:.60}")
    given = dict(record)
    if given.get("kind") in ("arrays", "features"):
        given["file"] = ""  # comes with what is to be predicted
    try:
        return InputPlan.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"preprocessing.inputs{f'.{place}' if place else ''}: {reason}") from None


def _check_columns(what: str, columns: Any, *, lists: bool = False) -> None:
    def fits(value: Any) -> bool:
        if isinstance(value, int) and not isinstance(value, bool):
            return lists and value > 0
        return value is None or (isinstance(value, list) and all(isinstance(v, str) for v in value))

    if not isinstance(columns, Mapping) or not all(map(fits, columns.values())):
        raise ConfigError(f"preprocessing.{what} holds names of columns with what each of them is")
