"""From what a config says of inputs to what loads them, for any manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from concord.config import InputPlan
from concord.data import (
    IMAGENET,
    Collate,
    Columns,
    FeatureRows,
    Images,
    Inputs,
    Manifest,
    Normalization,
    Texts,
    concatenate,
    mostly_numbers,
    normalize,
    tell_unknown,
)
from concord.errors import ConfigError, DataFormatError, ShapeError, UnknownNameError

Vocabulary = dict[str, list[str] | None]
"""Of each feature column of a manifest, the values that it is one-hot in; None for numbers."""

_TRUNK_KINDS = {
    "images": "images", "arrays": "images", "features": "features", "columns": "features", "texts": "texts",
}  # fmt: skip


@dataclass(frozen=True)
class Preparation:
    """What else than a source's own plan says how its inputs are made.

    Attributes:
        data: What paths are relative to.
        normalization: Mean and standard deviation by channel of images.
        tokenize: Turns texts into what the trunk takes.
        vocabulary: Of feature columns of manifests.
        columns: What the columns of feature tables are, as in training; None where inputs are no such tables.
    """

    data: Path
    normalization: Normalization = IMAGENET
    tokenize: Callable[[list[str]], Any] | None = None
    vocabulary: Vocabulary = field(default_factory=dict)
    columns: Columns | None = None

    @property
    def collate(self) -> Collate:
        """What puts the parts of a batch together: texts are tokenised as one, to one length."""
        return concatenate if self.tokenize is None else Tokenized(self.tokenize)


class Tokenized:
    """Texts of several sources as tokens, padded to the longest of the batch.

    Args:
        tokenize: Turns texts into tensors.
    """

    def __init__(self, tokenize: Callable[[list[str]], Any]) -> None:
        self.tokenize = tokenize

    def __call__(self, parts: Sequence[Any], names: Sequence[str]) -> Any:
        """Tokens of all texts."""
        return self.tokenize(concatenate(parts, names))


class Pixels:
    """Images in whatever layout to normalised float tensors (n, 3, size, size).

    Args:
        size: Height and width of what comes out, in pixels.
        normalization: Mean and standard deviation by channel on a scale of 0 to 1.
        invert: Whether black and white are exchanged.
        white: Value of a fully lit pixel.
    """

    def __init__(
        self, size: int, normalization: Normalization, *, invert: bool = False, white: float = 255.0
    ) -> None:
        self.size, self.normalization, self.invert, self.white = size, normalization, invert, white

    def __call__(self, values: Tensor) -> Tensor:
        """Bring a batch of grey (n, h, w), or colour (n, h, w, 3) or (n, 3, h, w), to the one layout.

        Raises:
            ShapeError: Another layout.
        """
        pixels = _channels_first(values).float() / self.white
        if self.invert:
            pixels = 1 - pixels
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = functional.interpolate(
                pixels, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return normalize(pixels.expand(-1, 3, -1, -1).contiguous(), self.normalization)


def _channels_first(values: Tensor) -> Tensor:
    if values.dim() == 3:
        return values[:, None]
    if values.dim() == 4 and values.shape[1] in (1, 3):
        return values
    if values.dim() == 4 and values.shape[3] in (1, 3):
        return values.permute(0, 3, 1, 2)
    raise ShapeError(
        f"arrays of pixels have shape (n, h, w), (n, h, w, 3) or (n, 3, h, w), found {tuple(values.shape)}"
    )


def trunk_kind(plan: InputPlan) -> str:
    """What a trunk must take for these inputs: `features`, `images` or `texts`."""
    return _TRUNK_KINDS[plan.kind]


def plan_for(plans: Mapping[str, InputPlan], kinds: Collection[str], source: str | None) -> InputPlan:
    """How what is given is prepared: as a source's inputs, or as those of the one kind that it may be.

    Args:
        plans: By source of the training.
        kinds: What it may be.
        source: Whose plan to go by; the first one of the kind unless given.

    Raises:
        UnknownNameError: No such source.
        ConfigError: None of the kinds, or several of them: which it is cannot be seen.
    """
    if source is not None:
        if source not in plans:
            raise UnknownNameError.of("source", source, plans)
        return plans[source]
    first: dict[str, str] = {}
    for name, plan in plans.items():
        if plan.kind in kinds:
            first.setdefault(plan.kind, name)
    if not first:
        taken = ", ".join(dict.fromkeys(plan.kind for plan in plans.values()))
        raise ConfigError(f"this network was trained on {taken}; give a manifest of these")
    if len(first) > 1:
        each = " or ".join(f"{name!r} ({kind})" for kind, name in first.items())
        raise ConfigError(
            f"the training had several kinds of inputs; say whose these are like, source: {each}"
        )
    return plans[next(iter(first.values()))]


def check_on_error(on_error: str) -> None:
    """Refuse another way with images that cannot be read than `raise` and `skip`.

    Raises:
        UnknownNameError: It is one.
    """
    known = get_args(InputPlan.model_fields["on_error"].annotation)
    if on_error not in known:
        raise UnknownNameError.of("way with images that cannot be read", on_error, known)


def vocabulary_of(manifest: Manifest, columns: Sequence[str]) -> Vocabulary:
    """How columns of a manifest become features: numbers as they are, text one-hot in its sorted values.

    Raises:
        UnknownNameError: No such column.
        DataFormatError: A column of neither numbers nor text.
    """
    out: Vocabulary = {}
    for name in columns:
        if name not in manifest.frame.columns:
            raise UnknownNameError.of("feature column", name, manifest.frame.columns)
        series = manifest.frame[name]
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            out[name] = None
        elif series.dtype in (pl.String, pl.Categorical, pl.Enum):
            texts = series.cast(pl.String).unique().drop_nulls().to_list()
            known = sorted(text for text in texts if text.strip())
            out[name] = None if mostly_numbers(series) else known
        else:
            raise DataFormatError(
                f"feature column {name!r}: numbers or text are needed, found {series.dtype}"
            )
    return out


MOST_COLUMNS = 12
"""Columns that a message lists."""


def missing_column(what: str, name: str, there: Sequence[str]) -> UnknownNameError:
    """The error for a column that a network takes and a table lacks: no name is misspelt."""
    shown = ", ".join(there[:MOST_COLUMNS]) + ", ..." * (len(there) > MOST_COLUMNS)
    return UnknownNameError(f"{what} {name!r} is missing; the table has {shown or 'no columns'}")


def column_features(
    manifest: Manifest, vocabulary: Mapping[str, list[str] | None]
) -> npt.NDArray[np.float32]:
    """Features (n, width) of a manifest's columns; see `table_values`."""
    return table_values(manifest.frame, vocabulary, manifest.name)


def table_values(
    frame: pl.DataFrame, vocabulary: Mapping[str, list[str] | None], owner: str
) -> npt.NDArray[np.float32]:
    """Features (n, width) of a table's columns; a text that the vocabulary lacks is 0 everywhere and told.

    Raises:
        UnknownNameError: No such column.
        DataFormatError: A gap or text where a number is needed.
    """
    parts: list[npt.NDArray[Any]] = []
    for name, values in vocabulary.items():
        if name not in frame.columns:
            raise missing_column("the feature column", name, frame.columns)
        series = frame[name]
        if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
            raise DataFormatError(
                f"feature column {name!r} of {owner!r}: numbers or text are needed, found {series.dtype}"
            )
        if values is None:
            numbers = series.cast(pl.Float32, strict=False)
            if numbers.null_count():
                row = int(numbers.is_null().arg_max() or 0)
                raise DataFormatError(
                    f"feature column {name!r} of {owner!r}: a number is needed in every row, found "
                    f"{series[row]!r} in row {row}"
                )
            parts.append(numbers.to_numpy()[:, None])
        else:
            if series.dtype.is_numeric():
                raise DataFormatError(
                    f"feature column {name!r} of {owner!r} held text in training, found numbers"
                )
            texts = series.cast(pl.String)
            tell_unknown(texts, values, repr(owner))
            parts += [(texts == value).fill_null(False).to_numpy()[:, None] for value in values]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def shape_of(
    plan: InputPlan, data: Path, vocabulary: Mapping[str, list[str] | None], columns: Columns | None = None
) -> tuple[int, ...] | None:
    """Shape of one input without the row; None for texts.

    Raises:
        MissingDataError: No such feature file.
        DataFormatError: A file that cannot be read as features.
    """
    if trunk_kind(plan) == "images":
        return (3, plan.size, plan.size)
    if plan.kind == "features":
        assert plan.file is not None
        return FeatureRows(data / plan.file, key=plan.key, columns=columns).shape[1:]
    if plan.kind == "columns":
        return (sum(1 if values is None else len(values) for values in vocabulary.values()),)
    return None


def prepared(
    plan: InputPlan, manifest: Manifest, preparation: Preparation
) -> tuple[Manifest, Inputs, Callable[[Any], Any] | None]:
    """What a `Source` is made of: manifest, inputs, transform.

    Raises:
        MissingDataError: A file or folder that is not there.
        ConcordError: See `Images`, `FeatureRows` and `Texts`.
    """
    if plan.kind == "texts":
        return manifest, Texts(), None  # tokenised with the rest of the batch
    if plan.kind == "columns":
        features = FeatureRows(column_features(manifest, preparation.vocabulary))
        numbered = manifest.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
        return replace(manifest, frame=numbered), features, None
    if plan.kind == "images":
        images = Images(
            size=plan.size,
            region=plan.region,
            margin=plan.margin,
            fit=plan.fit,
            on_error=plan.on_error,
            normalize=None,
        )
        return manifest, images, Pixels(plan.size, preparation.normalization, invert=plan.invert)
    assert plan.file is not None
    rows = FeatureRows(preparation.data / plan.file, key=plan.key, columns=preparation.columns)
    if plan.kind == "features":
        return manifest, rows, None
    pixels = Pixels(plan.size, preparation.normalization, invert=plan.invert, white=plan.white)
    pixels(torch.zeros(1, *rows.shape[1:]))  # a wrong layout is told before the training
    return manifest, rows, pixels
