"""Manifests on disk: Parquet with the tasks in its metadata, or CSV with the tasks in a file next to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.frames import found_classes, parse_labels, read_table, typed, with_lines
from concord.data.gap_words import GAPS, TEXT, ReadColumns, tell_gap_words
from concord.data.manifest import RESERVED, SPLITS, Manifest, RowError, class_type, task_columns
from concord.data.parquet import note_written, parquet_metadata, scan_parquet
from concord.data.parsing import polars_errors
from concord.errors import (
    AnnotationError,
    ConcordError,
    DataFormatError,
    MissingDataError,
    NoAnnotationError,
    OutputError,
)
from concord.files import FORMULA, NUMBER, check_place, parse_json, unguarded, whole, write_text
from concord.files import guarded as guard
from concord.relations import task_of, task_record
from concord.tasks import MulticlassTask, MultilabelTask, Task

PARQUET = (".parquet", ".pq")
SIDECAR = ".tasks.json"
METADATA = "concord"
VERSION = 1
MOST_CLASSES = 1000
SIMPLE = {
    str(dtype): dtype
    for dtype in (
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Null),
    )
}
"""Types of further columns that a CSV file can hold, and lists of them (blanks between the values)."""


def _tasks(records: Any, where: str) -> tuple[Task, ...]:
    """The tasks of a description; `where` says in which file it stands."""
    try:
        return tuple(task_of(record) for record in records)
    except (KeyError, TypeError, ValueError, ConcordError) as error:
        raise DataFormatError(f"{where}: not a list of tasks ({error})") from error


# -- writing -----------------------------------------------------------------------------------------


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest; the file appears when it is complete.

    A root at or below the folder of the file is written relative to it, any other as an absolute path.

    Args:
        manifest: What to write.
        path: Ends in .parquet, .pq or .csv; a CSV file gets `FILE.tasks.json` next to it.

    Raises:
        DataFormatError: Another ending, or a column that CSV cannot hold.
        OutputError: It cannot be written.
    """
    path = Path(path)
    kind = _kind(path)
    description: dict[str, Any] = {
        "version": VERSION,
        "name": manifest.name,
        "root": _root_text(manifest.root, path.parent),
        "tasks": [task_record(task) for task in manifest.tasks],
    }
    if manifest.origins:
        description["origins"] = list(manifest.origins)
    if kind == "parquet":
        write_frame(manifest.frame, path, {METADATA: json.dumps(description)})
        return
    frame, description["columns"] = _flat(manifest, path)
    check_place(path)
    description["guarded"] = True
    # The table last: without it nobody reads the description.
    write_text(_sidecar(path), json.dumps(description, indent=1) + "\n")
    write_frame(frame, path)


def write_frame(frame: pl.DataFrame, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a table, whole or not at all.

    Args:
        frame: The table.
        path: Ends in .csv, else it is written as Parquet. Text in a CSV file is guarded: see
            `concord.files.guarded`.
        metadata: Of the Parquet file.

    Raises:
        OutputError: It cannot be written.
    """
    with whole(path) as part:
        try:
            if path.suffix.lower() == ".csv":
                guarded_frame(frame).write_csv(part)
            else:
                frame.write_parquet(part, metadata=metadata)
                note_written(part)
        except pl.exceptions.PolarsError as error:  # a full disk, too
            raise OutputError.of(path, OSError(str(error).splitlines()[0])) from error


def guarded_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """A table in which no text, nor the name of a column, begins like a formula of a spreadsheet."""
    texts = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    formula = texts.str.contains(FORMULA) & ~texts.str.contains(NUMBER)
    guarded = pl.when(formula).then("'" + texts).otherwise(texts).name.keep()
    return frame.with_columns(guarded).rename(guard)


def unguarded_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """What `guarded_frame` was given, text where it had enumerations."""
    return frame.with_columns(pl.col(pl.String).str.replace(f"^'{FORMULA[1:]}", "$1$2")).rename(unguarded)


def _kind(path: Path) -> str:
    if path.suffix.lower() in PARQUET:
        return "parquet"
    if path.suffix.lower() == ".csv":
        return "csv"
    raise DataFormatError(f"{path}: a manifest is a .parquet or .csv file, found the ending {path.suffix!r}")


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR)


def _root_text(root: Path | None, folder: Path) -> str | None:
    if root is None:
        return None
    absolute, base = root.resolve(), folder.resolve()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()


def _flat(manifest: Manifest, path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """The frame with lists as text, and the types of the columns that the convention leaves open."""
    frame, types = manifest.frame, {}
    own = {*RESERVED, *(column for task in manifest.tasks for column in task_columns(task))}
    for name, dtype in frame.schema.items():
        if name in own:
            continue
        if isinstance(dtype, (pl.Categorical, pl.Enum)):
            types[name] = "String"
        elif isinstance(dtype, pl.List) and str(dtype.inner) in SIMPLE and dtype.inner != pl.String:
            types[name] = f"List({dtype.inner})"
            joined = pl.col(name).cast(pl.List(pl.String)).list.join(" ")
            frame = frame.with_columns(joined)
        elif str(dtype) in SIMPLE:
            types[name] = str(dtype)
        else:
            raise DataFormatError(f"{path}: column {name!r} of type {dtype} cannot be in CSV; write .parquet")
    return frame, types


# -- reading -----------------------------------------------------------------------------------------


def read_manifest(
    path: str | Path, tasks: Sequence[Task] | None = None, root: str | Path | None = None
) -> Manifest:
    """Read a manifest.

    Args:
        path: A .parquet, .pq or .csv file.
        tasks: The tasks in it. By default those it was written with; where it names no tasks, dotted
            columns are labels, and text columns in which values recur are classes. In such a file the usual
            words for a gap (NA, nan, None, ...) are gaps among classes, groups and splits, as among labels,
            unless a task has such a class; they are told and counted.
        root: What paths are relative to; by default what the manifest was written with.

    Raises:
        MissingDataError: No such file.
        DataFormatError: Not a manifest, or -1 among classes of a file that names no tasks; names file and, in
            CSV, line.
        NoAnnotationError: A file that names no tasks, and has no column that looks like one.
        ConcordWarning: A usual word for a gap that may be a name.
    """
    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise MissingDataError(
            f"expected a manifest at {path}, found {'a folder' if path.exists() else 'nothing'}"
        )
    description = _parquet_description(path) if kind == "parquet" else _csv_description(path)
    if tasks is None and "tasks" in description:
        where = f"{path}, metadata {METADATA!r}" if kind == "parquet" else str(_sidecar(path))
        tasks = _tasks(description["tasks"], where)
    if root is None and description.get("root") is not None:
        root = path.parent / description["root"]
    read = _read_parquet if kind == "parquet" else _read_csv
    try:
        frame, tasks = read(path, tasks, description)
        return Manifest(
            frame,
            tuple(tasks),
            None if root is None else Path(root),
            description.get("name", path.stem),
            tuple(description.get("origins", ())),
        )
    except RowError as error:
        raise (with_lines(error, path) if kind == "csv" else DataFormatError(f"{path}: {error}")) from error


def is_written_manifest(path: Path) -> bool:
    """Whether a file is a manifest that this library wrote: one that says which tasks there are.

    Args:
        path: The file, which need not be there.
    """
    try:
        kind = _kind(path)
        description = _parquet_description(path) if kind == "parquet" else _csv_description(path)
    except ConcordError:
        return False
    return "tasks" in description


def _parquet_description(path: Path) -> dict[str, Any]:
    with polars_errors(path, "a Parquet file"):
        text = parquet_metadata(path).get(METADATA)
    return {} if text is None else _description(text, f"{path}, metadata {METADATA!r}")


def _csv_description(path: Path) -> dict[str, Any]:
    sidecar = _sidecar(path)
    if not sidecar.is_file():
        return {}
    try:
        text = sidecar.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{sidecar}: not text in UTF-8 ({error})") from error
    return _description(text, str(sidecar))


def _description(text: str, where: str) -> dict[str, Any]:
    try:
        description = parse_json(text)
    except ValueError as error:
        raise DataFormatError(f"{where}: not JSON ({error})") from error
    root = description.get("root") if isinstance(description, dict) else 0
    if not (root is None or isinstance(root, str)) or not isinstance(description.get("name", ""), str):
        raise DataFormatError(f"{where}: an object with tasks, name and root is expected")
    origins = description.get("origins", [])
    if not (isinstance(origins, list) and all(isinstance(name, str) for name in origins)):
        raise DataFormatError(f"{where}: origins is a list of names of data sets")
    if description.get("version", VERSION) != VERSION:
        raise DataFormatError(
            f"{where}: version {VERSION} is expected, found {description['version']}; it was written by "
            "another release"
        )
    return description


def _read_parquet(
    path: Path, tasks: Sequence[Task] | None, description: dict[str, Any]
) -> tuple[pl.DataFrame, Sequence[Task]]:
    with polars_errors(path, "a Parquet file"):
        scan = scan_parquet(path)
        frame = scan.collect() if tasks is None else _collected(scan, tasks)
    if tasks is None:
        tasks = infer_tasks(frame, str(path))
    return (frame if "tasks" in description else _words_as_gaps(frame, tasks, str(path))), tasks


def _collected(scan: pl.LazyFrame, tasks: Sequence[Task]) -> pl.DataFrame:
    schema = scan.collect_schema()
    # Enumerations take a byte or two a row where text takes sixteen: cast while reading.
    wanted = {"split": pl.Enum(SPLITS)} | {
        t.name: class_type(t) for t in tasks if isinstance(t, MulticlassTask)
    }
    casts = [pl.col(name).cast(dtype) for name, dtype in wanted.items() if schema.get(name) == pl.String]
    try:
        return scan.with_columns(casts).collect(engine="streaming")
    except pl.exceptions.InvalidOperationError:
        return scan.collect()  # an unknown name or a word for a gap: the manifest says which, and where


def _read_csv(
    path: Path, tasks: Sequence[Task] | None, description: dict[str, Any]
) -> tuple[pl.DataFrame, Sequence[Task]]:
    frame = read_table(path)
    if description.get("guarded"):
        frame = unguarded_frame(frame)
    if tasks is None:
        tasks = infer_tasks(frame, str(path))
    if "tasks" not in description:
        frame = _words_as_gaps(frame, tasks, str(path))
    return frame.with_columns(_typed(frame, tasks, _column_types(description, path))), tasks


def _words_as_gaps(frame: pl.DataFrame, tasks: Sequence[Task], owner: str) -> pl.DataFrame:
    """A table that nobody described, the usual words for a gap null where names are; tells them, too."""
    read = [
        ReadColumns("class", [frame[task.name]], frozenset(task.classes))
        for task in tasks
        if isinstance(task, MulticlassTask) and task.name in frame.columns
    ]
    read += [ReadColumns(name, [frame[name]]) for name in ("group", "split") if name in frame.columns]
    names = {column.name: _without_words(column, each.names) for each in read for column in each.columns}
    labels = [c for t in tasks if isinstance(t, MultilabelTask) for c in task_columns(t)]
    read.append(ReadColumns("labels", [frame[name] for name in labels if name in frame.columns]))
    tell_gap_words(owner, read, ())
    return frame.with_columns(names.values())


def _without_words(column: pl.Series, names: frozenset[str] = frozenset()) -> pl.Series:
    """A column in which the usual words for a gap are null, but for those that are names; else as it is."""
    if column.dtype not in TEXT:
        return column
    texts = column.cast(pl.String)
    words = texts.str.strip_chars().is_in(list(frozenset(GAPS) - names)).fill_null(False)
    return texts.set(words, None) if words.any() else column


def _column_types(description: dict[str, Any], path: Path) -> dict[str, str]:
    types = description.get("columns", {})
    if not isinstance(types, dict):
        raise DataFormatError(f"{_sidecar(path)}: 'columns' gives the type of a column by its name")
    known = {*SIMPLE, *(f"List({name})" for name in SIMPLE)}
    for name, dtype in types.items():
        if dtype not in known:
            raise DataFormatError(
                f"{_sidecar(path)}: column {name!r} has a type {dtype!r} that CSV cannot hold"
            )
    return types


def _typed(frame: pl.DataFrame, tasks: Sequence[Task], types: dict[str, str]) -> list[pl.Series]:
    labels = {c for t in tasks if isinstance(t, MultilabelTask) for c in task_columns(t)}
    classes = {t.name for t in tasks if isinstance(t, MulticlassTask)}
    out = []
    for column in frame:
        name = column.name
        if name in labels:
            out.append(parse_labels(column))
        elif name == "row":
            out.append(_cast(column, pl.Int64))
        elif name not in classes and name not in RESERVED:
            out.append(_further(column, types.get(name)))
    return out


def _further(column: pl.Series, dtype: str | None) -> pl.Series:
    if dtype is None or dtype == str(pl.Null):
        return typed(column)
    if dtype.startswith("List("):
        inner = SIMPLE[dtype[5:-1]]
        return _cast_lists(column, inner)
    return _cast(column, SIMPLE[dtype])


def _cast(column: pl.Series, dtype: Any) -> pl.Series:
    if dtype == pl.Boolean:
        cast = column.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    else:
        cast = column.cast(dtype, strict=False)
    bad = cast.is_null() & column.is_not_null()
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise RowError(f"column {column.name!r} holds {dtype}, found {column[row]!r}", row)
    return cast


def _cast_lists(column: pl.Series, inner: Any) -> pl.Series:
    empty = column == ""
    lists = column.str.split(" ").set(empty.fill_null(False), [])
    cast = lists.cast(pl.List(inner), strict=False)
    bad = cast.list.eval(pl.element().is_null()).list.any().fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise RowError(
            f"column {column.name!r} holds numbers with blanks between, found {column[row]!r}", row
        )
    return cast


def infer_tasks(frame: pl.DataFrame, where: str) -> tuple[Task, ...]:
    """The tasks that a table without a word on them seems to hold.

    Columns `TASK.LABEL` that hold only 0, 1 and gaps are labels; text columns with two values or more, of
    which at least one recurs, are classes. The usual words for a gap are no values.

    Raises:
        NoAnnotationError: There is none.
        RowError: -1 among classes, which is a gap as often as one.
    """
    labels: dict[str, list[str]] = {}
    tasks: list[Task] = []
    for column in frame:
        name = column.name
        task, dot, label = name.partition(".")
        if name in RESERVED:
            continue
        if dot and label.startswith("p.") and task in frame.columns:
            continue  # soft targets of a class task
        if dot and task and label and _label_like(column):
            labels.setdefault(task, []).append(label)
        elif column.dtype in (pl.String, pl.Categorical, pl.Enum) and _class_like(column):
            tasks.append(MulticlassTask(name, _class_order(column)))
    tasks.extend(MultilabelTask(task, names) for task, names in labels.items())
    if not tasks:
        raise NoAnnotationError(
            f"{where}: no column looks like a task; name the columns of a plain CSV file: "
            "`concord data table FILE.csv --task NAME --labels 'NAME=PATTERN' --out FILE.parquet`. In Python "
            "pass the tasks, or read it with concord.data.from_csv"
        )
    return tuple(tasks)


def _label_like(column: pl.Series) -> bool:
    try:
        parsed = parse_labels(column)
    except AnnotationError:
        return False
    return parsed.null_count() < len(parsed) or column.dtype in (pl.Int8, pl.Null)


def _class_like(column: pl.Series) -> bool:
    seen = _names(column).drop_nulls()
    if not seen.cast(pl.Float64, strict=False).is_null().any():
        return False  # numbers are measurements unless somebody says otherwise
    return 2 <= seen.n_unique() <= MOST_CLASSES and seen.n_unique() < len(seen)


def _class_order(column: pl.Series) -> list[str]:
    if isinstance(column.dtype, pl.Enum):
        return column.dtype.categories.to_list()
    return found_classes(_names(column), column.name)


def _names(column: pl.Series) -> pl.Series:
    """Text without the usual words for a gap; an enumeration declares what its names are."""
    if isinstance(column.dtype, pl.Enum):
        return column.cast(pl.String)
    return _without_words(column.cast(pl.String))
