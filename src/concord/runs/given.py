"""Inputs as people hold them (paths, pictures, arrays, texts, tables) as the rows that a network takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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
    DuplicateNameError,
    EmptyDataError,
    MissingDataError,
    ShapeError,
)
from concord.runs.inputs import (
    Pixels,
    Preparation,
    check_on_error,
    missing_column,
    plan_for,
    prepared,
    table_values,
)
from concord.runs.outputs import check_placed, check_width
from concord.runs.places import ARRAYS, MANIFESTS, images_in, is_utf8

NAME = "inputs"
"""What the rows are called in messages."""

TAKEN = {
    "images": "images: paths, folders, pictures of pillow, arrays (height, width, 3) of uint8, bytes of "
    "image files, or a table with the column path",
    "arrays": "pixels: an array (n, height, width) or (n, height, width, 3), or the path of a .npy or .npz "
    "file",
    "features": "features: an array (n, width), the path of a .npy or .npz file, or, where the training had "
    "tables, a table or the path of a .csv or .parquet file",
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
        source: Whose plan to go by; the first one of the kind that is given unless said. Needed where what is
            given may be of several kinds.
        on_error: `raise` or `skip`, for images.

    Raises:
        ConfigError: Something that the network does not take; says what it takes. Or what may be of several
            kinds, without a source.
        UnknownNameError: No such source or way with errors, or a column that is missing.
        DuplicateNameError: A column that occurs twice.
        DataFormatError: A column of other values than text or numbers, or text that UTF-8 cannot write.
        EmptyDataError: Nothing.
        MissingDataError: No such file.
        ConcordError: What reading and preparing raise.
    """
    check_on_error(on_error)
    if isinstance(given, list | tuple) and not given:
        raise EmptyDataError("nothing to predict: the list is empty")
    plan = plan_for(plans, _kinds(given, plans, preparation), source)
    if plan.kind == "images":
        plan = plan.model_copy(update={"on_error": on_error})
    rows = _MAKERS[plan.kind](given, plan, preparation)
    if plan.kind == "features":
        assert isinstance(rows.source.inputs, FeatureRows)
        check_width(rows.source.inputs, shape)
    return rows


def joined_rows(parts: Sequence[GivenRows]) -> GivenRows:
    """Feature rows that were prepared one by one, as one source: none of them depends on the others.

    Raises:
        NotFiniteError: NaN or infinity among the values.
    """
    values = []
    for part in parts:
        inputs = part.source.inputs
        assert isinstance(inputs, FeatureRows)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
            values.append(inputs.take(np.arange(len(inputs))).astype(np.float32, copy=False))
    joined = FeatureRows(np.concatenate(values))
    return GivenRows(Source(_counted(len(joined)), joined, None, NAME))


def _kinds(given: Any, plans: Mapping[str, InputPlan], preparation: Preparation) -> Collection[str]:
    """What is given may be, by its form, of the kinds that the training had; all of them where it is none."""
    had = {plan.kind for plan in plans.values()}
    return (had if len(had) == 1 else had & _forms(given, preparation)) or had


def _forms(given: Any, preparation: Preparation) -> set[str]:
    places, names = _places(given), _names(given)
    if places is not None:
        suffix = places[0].suffix
        if suffix in ARRAYS:
            return {"arrays", "features"}
        return {"images", "columns", "features"} if suffix in MANIFESTS else {"images"}
    if names is not None:
        known = preparation.columns
        fits = {
            "images": "path" in names,
            "columns": set(preparation.vocabulary) <= set(names),
            "features": known is not None and set(names) == set(known),
        }
        return {kind for kind, fitting in fits.items() if fitting}
    each = given if isinstance(given, list | tuple) else [given]
    if all(isinstance(one, np.ndarray) for one in each):
        pictures = all(one.dtype == np.uint8 for one in each)
        return {"arrays", "features", *(["images"] if pictures else [])}
    return {"arrays", "features"} if as_pictures(given) is None else {"images"}


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


def _names(given: Any) -> list[str] | None:
    """The columns of a table of polars or pandas, or of a mapping of columns; None of anything else."""
    if isinstance(given, pl.DataFrame):
        return given.columns
    if isinstance(given, Mapping):
        return list(map(str, given))
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return list(map(str, given.columns))
    return None


def _table(given: Any) -> pl.DataFrame | None:
    """A table of polars or pandas, or a mapping of columns; None for anything else."""
    names = _names(given)
    if names is None or isinstance(given, pl.DataFrame):
        return given if names is not None else None
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DuplicateNameError(f"{NAME}: column {name!r} occurs twice")
        if not is_utf8(name):
            raise DataFormatError(f"{NAME}: column {name!a} has a name that UTF-8 cannot write")
    values = given.values() if isinstance(given, Mapping) else (given.iloc[:, i] for i in range(len(names)))
    columns = [_series(name, one) for name, one in zip(names, values, strict=True)]
    for column in columns:
        if len(column) != len(columns[0]):
            raise ShapeError(
                f"{NAME}: columns have one length, found {len(columns[0])} values of {names[0]!r} and "
                f"{len(column)} of {column.name!r}"
            )
    return pl.DataFrame(columns)


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    array = values.to_numpy() if hasattr(values, "iloc") else values
    array = as_array(f"{NAME}: column {name!r}", array) if hasattr(array, "detach") else array
    if not _is_listed(array):
        found = "a text" if isinstance(array, str | bytes | bytearray) else type(values).__name__
        raise DataFormatError(f"{NAME}: column {name!r}: a column is a list of values, found {found}")
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiub" and array.ndim == 1:
        return pl.Series(name, array)
    try:
        plain = [None if not isinstance(v, str) and is_gap(v) else v for v in list(array)]
        _check_text(plain, f"{NAME}: column {name!r}")
        if all(v is None for v in plain):
            return pl.Series(name, plain, dtype=pl.Null)  # of numbers or of text: both have gaps
        if all(v is None or isinstance(v, int | float) for v in plain):
            return pl.Series(name, [v if v is None else float(v) for v in plain], dtype=pl.Float64)
        return pl.Series(name, plain)
    except DataFormatError:
        raise
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        raise DataFormatError(f"{NAME}: column {name!r} holds neither numbers nor text throughout") from None


def _is_listed(values: Any) -> bool:
    """Whether values come one by one: a text is not a list of letters."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    if isinstance(values, str | bytes | bytearray | Mapping):
        return False
    return hasattr(values, "__len__") and hasattr(values, "__getitem__")


def _check_text(values: Sequence[Any], where: str) -> None:
    for row, value in enumerate(values):
        if isinstance(value, str) and not is_utf8(value):
            raise DataFormatError(f"{where}: row {row} holds text that UTF-8 cannot write, {value!a:.60}")


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
            raise missing_column(f"{NAME}: the column", name, table.columns)
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
        if rows["path"].dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            raise DataFormatError(f"{NAME}: paths are text, found {rows['path'].dtype} in column 'path'")
        paths = rows["path"].cast(pl.String).to_list()
        if None in paths:
            raise EmptyDataError(f"{NAME}: no path in row {paths.index(None)}")
        found, shown = images_in([_file(Path(path)) for path in paths])
        manifest = replace(found, frame=rows.with_columns(path=found.frame["path"]))
        return GivenRows(Source(*prepared(plan, manifest, preparation), name=NAME), shown)
    pictures = as_pictures(given)
    if pictures is None:
        if isinstance(given, list | tuple) and len({type(one) for one in given}) > 1:
            kinds = ", ".join(sorted({type(one).__name__ for one in given}))
            raise ConfigError(f"images come as a list of one kind, paths or pictures; found {kinds} in one")
        raise _refused("images", given)
    if not pictures:
        raise EmptyDataError("nothing to predict: the array has no rows")
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
    shape = rows.shape
    if len(shape) == 3 and shape[2] in (3, 4) and shape[1] != shape[2]:
        raise ShapeError(
            f"pixels of shape {shape} are one picture in colours, or {shape[0]} grey ones of width "
            f"{shape[2]}: give x[None] for the one, x[..., None] for the others"
        )
    pixels = Pixels(plan.size, preparation.normalization, invert=plan.invert, white=plan.white)
    return GivenRows(Source(_counted(len(rows)), rows, pixels, NAME))


def _features(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    known, table = preparation.columns, _table(given)
    check_placed(_names(given), known)
    if table is not None and not table.height:
        raise EmptyDataError("nothing to predict: the table has no rows")
    values = table if table is not None and known is not None else _values(given, "features", "features")
    rows = FeatureRows(values, key=plan.key, columns=known)
    check_placed(rows.known_columns, known)
    return GivenRows(Source(_counted(len(rows)), rows, None, NAME))


def _values(given: Any, kind: str, what: str) -> Any:
    """An array, or the path of a file."""
    if isinstance(given, str | Path):
        return Path(given)
    names = _names(given)
    if _places(given) is not None or isinstance(given, bytes | bytearray) or (names and kind == "arrays"):
        raise _refused(kind, given)
    table = _table(given)
    array = as_array(what, given if table is None else _numbers(table))
    if not array.ndim:
        raise _refused(kind, given)
    if not len(array):
        raise EmptyDataError(f"nothing to predict: {what} of shape {array.shape} have no rows")
    return array


def _columns(given: Any, plan: InputPlan, preparation: Preparation) -> GivenRows:
    table = _table(given)
    if table is not None:  # no manifest is made of it: a feature may be called row, group or split
        frame = _selected(table, list(preparation.vocabulary))
        features = FeatureRows(table_values(frame, preparation.vocabulary, NAME))
        return GivenRows(Source(_counted(len(features)), features, None, NAME))
    if isinstance(given, str | Path):
        manifest = _read(Path(given), "columns")
        return GivenRows(Source(*prepared(plan, manifest, preparation), name=NAME))
    raise _refused("columns", given)


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
        if not listed:
            raise EmptyDataError("nothing to predict: there is no text")
        other = next((i for i, text in enumerate(listed) if not isinstance(text, str)), None)
        if other is not None:
            raise ShapeError(f"texts are strings, found {listed[other]!r:.60} in row {other}")
        _check_text(listed, "texts")
        manifest = Manifest(pl.DataFrame({"text": list(listed)}), (), None, NAME)
    return GivenRows(Source(manifest, Texts(), None, NAME))


_MAKERS: dict[str, Callable[[Any, InputPlan, Preparation], GivenRows]] = {
    "images": _images,
    "arrays": _arrays,
    "features": _features,
    "columns": _columns,
    "texts": _texts,
}
