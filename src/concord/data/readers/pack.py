"""Open packs: small problems with free licences, each a folder with an index, features and tables.

Layout, one folder per pack: an index (`index.csv.gz` or `data.csv.gz`: one line per sample) or arrays
(`data.npz`); tables of P(attribute | class) as CSV, a blank cell unknown; features as `.npz`, key `x`, in
the order of the index; images as JPEG in `images.zip`. The pack is named by its folder, or by the
option `pack`.

Traps: an empty cell is a gap, not a class; attributes of clothing10, fmnist900 and grocery81 are derived from
the class by the table, so that they flatter whatever uses that table; out-of-scope queries of clinc150 carry
"oos", which is no intent; the row order is that of the features and must be kept (column `row`).

Images are named `images.zip/00000.jpg`: a member of the archive next to the index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.frames import read_table, typed
from concord.data.manifest import Manifest, task_columns
from concord.errors import DataFormatError, MissingDataError, UnknownNameError
from concord.files import read_arrays
from concord.relations import Relation
from concord.tasks import MulticlassTask, MultilabelTask, Task

NAME = "pack"
TITLE = "open pack"
HOME = "the public repositories that the README of each pack names"

Array = npt.NDArray[Any]
Columns = dict[str, pl.Series]


@dataclass(frozen=True)
class Derived:
    """Labels of a sample that follow from its class: 1 from `high` on, 0 up to `low`, a gap between."""

    source: str
    table: str
    low: float
    high: float


@dataclass(frozen=True)
class Table:
    """A relation of a pack: in a CSV file (see `Relation.from_csv` for the options), or that of the rows."""

    source: str
    target: str
    file: str | None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pack:
    """What a pack holds: where the rows, classes, labels and tables are."""

    index: str
    classes: Mapping[str, str]
    images: str | None = None
    derived: Mapping[str, Derived] = field(default_factory=dict)
    measured: Mapping[str, Callable[[Path, pl.DataFrame], tuple[Task, Columns]]] = field(default_factory=dict)
    relations: tuple[Table, ...] = ()
    gaps: frozenset[str] = frozenset()
    order: Mapping[str, str] = field(default_factory=dict)


def read(root: Path, *, pack: str | None = None) -> Manifest:
    """Read a pack.

    Args:
        root: The folder of the pack, or the folder that holds it under its name.
        pack: Which pack; the name of the folder by default.

    Returns:
        Rows in the order of the features, with `row` and, where there are, `path` or `text`; the tasks of
        the pack; further columns as they are, with `half` (0 or 1: a suggested cut without overlap).

    Raises:
        UnknownNameError: No such pack.
        MissingDataError: A file of the pack is not there.
        DataFormatError: A file in another format.
    """
    name, folder, about = _find(root, pack)
    frame = _index(folder, about)
    tasks: list[Task] = []
    for task_name, column in about.classes.items():
        tasks.append(MulticlassTask(task_name, _classes(folder, about, frame, task_name, column)))
        texts = frame[column].cast(pl.String)
        values = texts.set(texts.is_in([*about.gaps, ""]).fill_null(False), None)
        frame = frame.drop(column).with_columns(values.alias(task_name))
    for task_name, derived in about.derived.items():
        source = next(task for task in tasks if task.name == derived.source)
        made = _derive(_file(folder, derived.table), source, task_name, derived, frame[derived.source])
        tasks.append(made[0])
        frame = frame.with_columns(list(made[1].values()))
    for make in about.measured.values():
        task, columns = make(folder, frame)
        tasks.append(task)
        frame = frame.with_columns(list(columns.values()))
    front = [c for c in ("row", "path", "text", "split", "half") if c in frame.columns]
    return Manifest(frame.select(*front, pl.exclude(front)), tuple(tasks), folder, name)


def pack_relations(root: str | Path, pack: str | None = None) -> dict[str, Relation]:
    """All tables of a pack by the name `SOURCE->TARGET`, the main one first.

    Raises:
        UnknownNameError: No such pack.
        MissingDataError: A file of the pack is not there.
    """
    name, folder, about = _find(Path(root), pack)
    manifest = read(folder, pack=name)
    out: dict[str, Relation] = {}
    for table in about.relations:
        relation = _relation(manifest, folder, table)
        out[relation.name] = relation
    return out


def pack_relation(root: str | Path, relation: str | None = None, pack: str | None = None) -> Relation:
    """One table of a pack; the main one by default.

    Args:
        root: As in `read`.
        relation: `SOURCE->TARGET`.
        pack: As in `read`.

    Raises:
        UnknownNameError: No such pack or relation.
    """
    known = pack_relations(root, pack)
    if relation is None:
        return next(iter(known.values()))
    if relation not in known:
        raise UnknownNameError.of("relation", relation, known)
    return known[relation]


# -- where things are --------------------------------------------------------------------------------


def _find(root: Path, pack: str | None) -> tuple[str, Path, Pack]:
    name = root.resolve().name if pack is None else pack
    if name not in PACKS:
        raise UnknownNameError.of("pack", name, PACKS)
    folder = root / name if (root / name).is_dir() else root
    return name, folder, PACKS[name]


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        found = (
            ", ".join(sorted(p.name for p in folder.iterdir())[:12]) if folder.is_dir() else "no such folder"
        )
        raise MissingDataError(
            f"{TITLE}: expected the file {path}, found {found or 'nothing'}; the data: {HOME}"
        )
    return path


def _arrays(folder: Path, name: str, *keys: str) -> dict[str, Array]:
    path = _file(folder, name)
    try:
        found = read_arrays(path)
    except DataFormatError as error:
        raise DataFormatError(f"{path}: an archive of plain arrays is expected ({error})") from error
    for key in keys:
        if key not in found:
            raise DataFormatError(f"{path}: an array {key!r} is expected, found {', '.join(found)}")
    return found


def _index(folder: Path, about: Pack) -> pl.DataFrame:
    frame = (
        _arrays_index(folder, about)
        if about.index.endswith(".npz")
        else read_table(_file(folder, about.index), every_row=True)
    )
    halves = frame["half"].cast(pl.String) if "half" in frame.columns else pl.Series([None])
    if not halves.is_in(["0", "1"]).fill_null(False).all():
        raise DataFormatError(f"{folder / about.index}: a column 'half' of 0 and 1 is expected")
    named = {*about.classes.values(), "text", "labels"}
    frame = frame.with_columns(typed(column) for column in frame if column.name not in named)
    frame = frame.with_columns(pl.col("half").cast(pl.Int8), pl.int_range(pl.len()).alias("row"))
    if about.images is None:
        return frame
    return frame.drop("file").with_columns((f"{about.images}/" + frame["file"]).alias("path"))


def _arrays_index(folder: Path, about: Pack) -> pl.DataFrame:
    arrays = _arrays(folder, about.index, "x", "y", "split", "half")
    names = arrays.get("class_names", np.arange(10).astype(str))
    y, lengths = arrays["y"], {len(arrays[key]) for key in ("x", "y", "split", "half")}
    if len(lengths) > 1 or not np.isin(y, range(len(names))).all():
        raise DataFormatError(
            f"{folder / about.index}: x, y, split and half of one length are expected, y below {len(names)}"
        )
    columns = {"class_name": names[y], "split": arrays["split"].astype(str), "half": arrays["half"]}
    return pl.DataFrame(columns)


def _classes(folder: Path, about: Pack, frame: pl.DataFrame, task: str, column: str) -> list[str]:
    """Classes in the order of the table that lists them first, else of the alphabet."""
    if task in about.order:
        return read_table(_file(folder, about.order[task])).to_series(0).to_list()
    return sorted(set(frame[column].drop_nulls().to_list()) - about.gaps - {""})


# -- labels ------------------------------------------------------------------------------------------


def _derive(
    path: Path, source: Task, name: str, derived: Derived, classes: pl.Series
) -> tuple[Task, Columns]:
    labels = read_table(path).columns[1:]
    task = MultilabelTask(name, labels)
    assert isinstance(source, MulticlassTask)
    table = Relation.from_csv(source, task, path).table
    values = np.where(table >= derived.high, 1, np.where(table <= derived.low, 0, np.nan))
    codes = source.encode(classes.to_list())
    of_rows = np.vstack([values, np.full((1, task.width), np.nan)])[codes]
    return task, {c: pl.Series(c, of_rows[:, i]) for i, c in enumerate(task_columns(task))}


def _measured_shapes(folder: Path, _: pl.DataFrame) -> tuple[Task, Columns]:
    arrays = _arrays(folder, "data.npz", "attr", "attr_names")
    task = MultilabelTask("attributes", arrays["attr_names"])
    return task, {c: pl.Series(c, arrays["attr"][:, i]) for i, c in enumerate(task_columns(task))}


def _emotions(folder: Path, frame: pl.DataFrame) -> tuple[Task, Columns]:
    path = _file(folder, "attribute_names.txt")
    task = MultilabelTask("emotions", path.read_text(encoding="utf-8").split())
    ids = frame["labels"].str.split(",")
    columns = task_columns(task)
    return task, {c: ids.list.contains(str(i)).cast(pl.Int8).alias(c) for i, c in enumerate(columns)}


MUSHROOM_ATTRIBUTES = (
    *("class", "does-bruise-or-bleed", "gill-attachment", "gill-spacing"),
    *("stem-surface", "stem-root", "has-ring", "ring-type"),
)
MUSHROOM_LENGTHS = ("cap-diameter", "stem-height", "stem-width")
MUSHROOM_NOMINAL = (
    *("cap-shape", "cap-color", "cap-surface", "gill-color"),
    *("stem-color", "habitat", "season"),
)


def _mushroom_attributes(folder: Path, frame: pl.DataFrame) -> tuple[Task, Columns]:
    header = read_table(_file(folder, "class_attribute_family.csv")).columns
    labels = [c for c in header if c.partition("=")[0] in MUSHROOM_ATTRIBUTES]
    task, columns = MultilabelTask("attributes", labels), {}
    for column, label in zip(task_columns(task), labels, strict=True):
        name, _, value = label.partition("=")
        columns[column] = (frame[name] == value).cast(pl.Int8).alias(column)
    return task, columns


def _relation(manifest: Manifest, folder: Path, table: Table) -> Relation:
    source, target = manifest.task(table.source), manifest.task(table.target)
    assert isinstance(source, MulticlassTask)
    if table.file is not None:
        return Relation.from_csv(source, target, _file(folder, table.file), **table.options)
    pairs = manifest.frame.select(source.name, target.name).drop_nulls().unique()
    cells = np.zeros((source.width, target.width))
    cells[pairs.to_series(0).to_physical().to_numpy(), pairs.to_series(1).to_physical().to_numpy()] = 1
    if (cells.sum(axis=1) != 1).any():
        raise DataFormatError(
            f"{folder}: every {source.name} belongs to one {target.name}, found none or several"
        )
    return Relation(source, target, cells)


ATTRIBUTES = "class_attribute.csv"
SURE = {"attributes": Derived("garment", ATTRIBUTES, 0.1, 0.9)}

PACKS: Mapping[str, Pack] = MappingProxyType(
    {
        "clothing10": Pack(
            "index.csv.gz",
            {"garment": "class_name"},
            images="images.zip",
            derived=SURE,
            relations=(Table("garment", "attributes", ATTRIBUTES),),
            order={"garment": ATTRIBUTES},
        ),
        "fmnist900": Pack(
            "data.npz",
            {"article": "class_name"},
            derived={"attributes": Derived("article", ATTRIBUTES, 0.1, 0.9)},
            relations=(Table("article", "attributes", ATTRIBUTES),),
            order={"article": ATTRIBUTES},
        ),
        "grocery81": Pack(
            "index.csv.gz",
            {"fine": "class_name", "coarse": "coarse_name"},
            images="images.zip",
            derived={"attributes": Derived("fine", ATTRIBUTES, 0.5, 0.5)},
            relations=(Table("fine", "coarse", None), Table("fine", "attributes", ATTRIBUTES)),
            order={"fine": "classes.csv"},
        ),
        "mnist10k_shape": Pack(
            "data.npz",
            {"digit": "class_name"},
            measured={"attributes": _measured_shapes},
            relations=(Table("digit", "attributes", ATTRIBUTES),),
        ),
        "goemotions": Pack(
            "data.csv.gz",
            {"ekman": "ekman", "sentiment": "sentiment"},
            measured={"emotions": _emotions},
            relations=(
                Table("ekman", "emotions", "class_attribute_ekman.csv"),
                Table("sentiment", "emotions", "class_attribute_sentiment.csv"),
            ),
            order={"ekman": "class_attribute_ekman.csv", "sentiment": "class_attribute_sentiment.csv"},
        ),
        "clinc150": Pack(
            "data.csv.gz",
            {"domain": "domain", "intent": "intent"},
            relations=(
                Table("intent", "domain", ATTRIBUTES, {"transpose": True}),
                Table("domain", "intent", ATTRIBUTES, {"normalize": True}),
            ),
            gaps=frozenset({"oos"}),
            order={"domain": ATTRIBUTES},
        ),
        "mushroom": Pack(
            "data.csv.gz",
            {"family": "family", "species": "species"},
            measured={"attributes": _mushroom_attributes},
            relations=(
                Table("family", "attributes", "class_attribute_family.csv", {"extra": "ignore"}),
                Table("species", "attributes", "class_attribute_species.csv", {"extra": "ignore"}),
                Table("species", "family", None),
            ),
            order={"family": "class_attribute_family.csv", "species": "class_attribute_species.csv"},
        ),
    }
)
"""The packs by name."""
