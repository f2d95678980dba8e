"""Inputs as people hold them (paths, pictures, arrays, texts, tables) as the rows that a network takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.arrays import as_array, is_gap
from concord.config import InputPlan
from concord.data import (
    BOX,
    FeatureRows,
    Images,
    Manifest,
    Pictures,
    Source,
    Texts,
    as_pictures,
    read_manifest,
)
from concord.errors import (
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    ShapeError,
    UnknownNameError,
)
from concord.runs.inputs import Pixels, Preparation, prepared
from concord.runs.outputs import check_width
from concord.runs.places import images_in

MANIFESTS = (".csv", ".parquet")
ARRAYS = (".npy", ".npz")
NAME = "inputs"
"""What the rows are called in messages."""

TAKEN = {
    "images": "images: paths, folders, pictures of pillow, arrays (height, width, 3) of uint8, bytes of "
    "image files, or a table with the column path",
    "arrays": "pixels: an array (n, height, width) or (n, height, width, 3), or the path of a .npy or .npz "
    "file",
    "features": "features: an array (n, width), a table, or the path of a .npy, .npz, .csv or .parquet file",
    "columns": "a table with the feature columns of the training, or the path of a .csv or .parquet file",
    "texts": "texts: one, a list of them, a table with the column text, or a Path of a .csv or .parquet file",
}
"""By kind, what may be given."""


class GivenRows(NamedTuple):
    """Rows to predict, and the paths that they are shown with; None for those of the manifest."""

    source: Source
    shown: Sequence[str] | None = None


def given_rows(
    given: Any,
    plans: Mapping[str, InputPlan],
    preparation: Preparation,
    shape: Sequence[int] | None,
    *,
    source: str | None = None,
    on_error: str = "raise",
) -> GivenRows:
    """What is given, prepared as in training.

    Args:
        given: See `TAKEN`.
        plans: By source of the training, how its inputs were made.
        preparation: What else says how; its folder of data is not used.
        shape: Of one input without the row; None for texts.
        source: Whose plan to go by; the first one that fits unless given.
        on_error: `raise` or `skip`, for images.

    Raises:
        ConfigError: Something that the network does not take; says what it takes.
        UnknownNameError: No such source, or a column that is missing.
        EmptyDataError: Nothing.
        MissingDataError: No such file.
        ConcordError: What reading and preparing raise.
    """
    plan = _chosen(plans, given, source)
    if plan.kind == "images":
        plan = plan.model_copy(update={"on_error": on_error})
    if isinstance(given, list | tuple) and not given:
        raise EmptyDataError("nothing to predict: the list is empty")
    rows = _MAKERS[plan.kind](given, plan, preparation)
    if plan.kind == "features":
        assert isinstance(rows.source.inputs, FeatureRows)
        check_width(rows.source.inputs, shape)
    return rows


def _chosen(plans: Mapping[str, InputPlan], given: Any, source: str | None) -> InputPlan:
    if source is not None:
        if source not in plans:
            raise UnknownNameError.of("source", source, plans)
        return plans[source]
    places = _places(given)
    if places is not None:
        kind = "arrays" if places and places[0].suffix in ARRAYS else "images"
        fitting = [plan for plan in plans.values() if plan.kind == kind]
        if fitting:
            return fitting[0]
    return next(iter(plans.values()))


def _refused(kind: str, given: Any) -> ConfigError:
    return ConfigError(f"this model takes {TAKEN[kind]}; found {type(given).__name__}")


# -- what is given -----------------------------------------------------------------------------------


def _places(given: Any) -> list[Path] | None:
    """The paths that are given: one or several; None for anything else."""
    if isinstance(given, str | Path):
        return [Path(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(one, str | Path) for one in given):
        return [Path(one) for one in given]
    return None


def _table(given: Any) -> pl.DataFrame | None:
    """A table of polars or pandas, or a mapping of columns; None for anything else."""
    if isinstance(given, pl.DataFrame):
        return given
    if isinstance(given, Mapping):
        return pl.DataFrame([_series(str(name), values) for name, values in given.items()])
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return pl.DataFrame([_series(str(name), given.iloc[:, i]) for i, name in enumerate(given.columns)])
    return None


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    array = values.to_numpy() if hasattr(values, "iloc") else values
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiub" and array.ndim == 1:
        return pl.Series(name, array)
    try:
        plain = [None if not isinstance(v, str) and is_gap(v) else v for v in list(values)]
        if all(v is None or isinstance(v, int | float) for v in plain):
            return pl.Series(name, [v if v is None else float(v) for v in plain], dtype=pl.Float64)
        return pl.Series(name, plain)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        raise DataFormatError(f"{NAME}: column {name!r} holds neither numbers nor text throughout") from None


def _numbers(table: pl.DataFrame) -> npt.NDArray[np.float64]:
    for name, dtype in table.schema.items():
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise DataFormatError(
                f"{NAME}: column {name!r} holds {dtype}, and this model was trained on numbers"
            )
    return table.cast(pl.Float64).to_numpy()


def _counted(n: int) -> Manifest:
    return Manifest(pl.DataFrame({"row": range(n)}), (), None, NAME)


def _read(place: Path, kind: str) -> Manifest:
    """The rows of a file; annotations play no part."""
    if place.suffix not in MANIFESTS:
        raise ConfigError(f"this model takes {TAKEN[kind]}; found {place}")
    if not place.exists():
        raise MissingDataError(f"no table at {place}")
    return read_manifest(place, tasks=())


def _selected(table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    for name in names:
        if name not in table.columns:
            raise UnknownNameError(f"{NAME}: {UnknownNameError.of('column', name, table.columns)}")
    if not table.height:
        raise EmptyDataError("nothing to predict: the table has no rows")
    return table.select(names)


# -- by kind -----------------------------------------------------------------------------------------


def _images(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    pixels = Pixels(plan.size, preparation.normalization, invert=plan.invert)
    places, table = _places(given), _table(given)
    if places is not None:
        manifest, shown = _image_files(places)
        return GivenRows(Source(*prepared(plan, manifest, preparation), name=NAME), shown)
    if table is not None:
        needed = {"box": BOX, "landmarks": ("landmarks",)}.get(plan.region, ())
        rows = _selected(table, ["path", *needed])
        paths = rows["path"].cast(pl.String).to_list()
        if None in paths:
            raise EmptyDataError(f"{NAME}: no path in row {paths.index(None)}")
        found, shown = images_in([_file(Path(path)) for path in paths])
        manifest = replace(found, frame=rows.with_columns(path=found.frame["path"]))
        return GivenRows(Source(*prepared(plan, manifest, preparation), name=NAME), shown)
    pictures = as_pictures(given)
    if pictures is None:
        raise _refused("images", given)
    images = Images(size=plan.size, region=plan.region, margin=plan.margin, fit=plan.fit, normalize=None)
    return GivenRows(Source(_counted(len(pictures)), Pictures(pictures, images), pixels, NAME))


def _image_files(places: Sequence[Path]) -> tuple[Manifest, Sequence[str] | None]:
    if len(places) == 1 and places[0].suffix in MANIFESTS:
        manifest = _read(places[0], "images")
        return (replace(manifest, root=places[0].parent) if manifest.root is None else manifest), None
    for place in places:
        if not place.exists():
            raise MissingDataError(f"no image and no folder at {place}")
    return images_in(places)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise MissingDataError(f"no image at {path}")
    return path


def _arrays(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    rows = FeatureRows(_values(given, "arrays", "pixels"), key=plan.key)
    pixels = Pixels(plan.size, preparation.normalization, invert=plan.invert, white=plan.white)
    return GivenRows(Source(_counted(len(rows)), rows, pixels, NAME))


def _features(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    known, table = preparation.columns, _table(given)
    values = table if table is not None and known is not None else _values(given, "features", "features")
    rows = FeatureRows(values, key=plan.key, columns=known)
    return GivenRows(Source(_counted(len(rows)), rows, None, NAME))


def _values(given: Any, kind: str, what: str) -> Any:
    """An array, or the path of a file."""
    if isinstance(given, str | Path):
        return Path(given)
    if _places(given) is not None or isinstance(given, bytes):
        raise _refused(kind, given)
    table = _table(given)
    return as_array(what, given if table is None else _numbers(table))


def _columns(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    table = _table(given)
    if table is not None:
        names = list(preparation.vocabulary)
        frame = _selected(table, names).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
        manifest = Manifest(frame, (), None, NAME)
    elif isinstance(given, str | Path):
        manifest = _read(Path(given), "columns")
    else:
        raise _refused("columns", given)
    return GivenRows(Source(*prepared(plan, manifest, preparation), name=NAME))


def _texts(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    table = _table(given)
    if isinstance(given, Path):
        manifest = _read(given, "texts")
    elif table is not None:
        manifest = Manifest(_selected(table, ["text"]), (), None, NAME)
    else:
        listed = [given] if isinstance(given, str) else given
        listed = listed.tolist() if hasattr(listed, "tolist") else listed
        listed = listed.to_list() if isinstance(listed, pl.Series) else listed
        if not isinstance(listed, list | tuple):
            raise _refused("texts", given)
        other = next((i for i, text in enumerate(listed) if not isinstance(text, str)), None)
        if other is not None:
            raise ShapeError(f"texts are strings, found {listed[other]!r:.60} in row {other}")
        manifest = Manifest(pl.DataFrame({"text": list(listed)}), (), None, NAME)
    return GivenRows(Source(manifest, Texts(), None, NAME))


_MAKERS: dict[str, Callable[[Any, InputPlan, Preparation], GivenRows]] = {
    "images": _images,
    "arrays": _arrays,
    "features": _features,
    "columns": _columns,
    "texts": _texts,
}
