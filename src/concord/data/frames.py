"""Anyone's table brought to the convention of a manifest: columns mapped, gaps recognised, names checked."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

import polars as pl

from concord.data.gap_words import GAPS, ReadColumns, tell_gap_words
from concord.data.locating import likely_locator
from concord.data.manifest import LOCATORS, RESERVED, SPLITS, Manifest, RowError, check_columns, task_columns
from concord.data.parquet import MARK
from concord.errors import (
    ConfigError,
    DataFormatError,
    DuplicateNameError,
    EmptyDataError,
    MissingDataError,
    UnknownNameError,
)
from concord.files import check_unpacked
from concord.tasks import MulticlassTask, MultilabelTask, Task

SPLIT_SPELLINGS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "testing": "test",
    **{split: split for split in SPLITS},
}
LABEL_SPELLINGS = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}
IDENTIFIER = r"^[+-]?(0\d|\d{19,}$)"
"""Digits that would not come back from a number as they were: `007`, or more of them than a number holds."""
WHOLE_NUMBER = r"^([+-]?\d+)\.0+$"
ROW_NUMBER = r"\+?\d+(\.0+)?"
NUMBER = r"[+-]?\d+(\.\d*)?"
MINUS_ONE = r"-1(\.0*)?"
CHUNK = 1 << 24


def from_frame(
    frame: pl.DataFrame,
    name: str = "",
    *,
    classes: Mapping[str, Iterable[str] | None] | None = None,
    labels: Mapping[str, str | Iterable[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    path: str | None = None,
    row: str | None = None,
    text: str | None = None,
    split: str | None = None,
    group: str | None = None,
    gaps: Iterable[str] = (),
    not_gaps: Iterable[str] = (),
    root: str | Path | None = None,
    count_rows: bool = True,
) -> Manifest:
    """Bring a table to the convention.

    Columns called `path`, `row`, `text`, `split` and `group` are taken as such unless others are named.
    Without a path, row or text, `row` counts the rows of the table (see `count_rows`). Backslashes in paths
    become slashes, and paths below `root` become relative to it. Splits may be spelled training, validation,
    dev, ... Columns that nothing names are kept; one column may serve several purposes (a subject that is
    also a class).

    Args:
        frame: One row a sample.
        name: What to call this data.
        classes: For each multiclass task its classes, or None for those found in the data (in the order of
            numbers or of the alphabet; -1 is refused until `gaps` or `not_gaps` says what it is). The column
            has the name of the task, or that given in `columns`.
        labels: For each multilabel task its columns, as names or patterns with `*` and `?` (a column of just
            that name comes first); a label has the name of its column, without a leading `TASK.`.
        columns: For a multiclass task the column it is in, where that has another name.
        path: Column of the paths.
        row: Column of the rows in a feature file.
        text: Column of the texts.
        split: Column of the splits.
        group: Column of the groups (subjects, videos).
        gaps: Further spellings of a gap, such as "-1", in columns of any type (numbers from 0 on stay rows in
            that of the rows); the usual words (NA, nan, null, None, ...) are known, and those found are told
            and counted unless they are named here.
        not_gaps: Words that are names here, such as "None" or "-1"; an empty cell is a gap always.
        root: What paths are relative to.
        count_rows: Whether a table without a path, row or text is that of a feature file with the same rows
            in the same order. False refuses it where a column looks like one of them, or where nothing but
            annotations is left; other columns may be features themselves.

    Raises:
        UnknownNameError: A column that is not there, a pattern that no column fits, or a column for a class
            task that is not there.
        ConfigError: Without `count_rows`, nothing says where a sample is; names the likely column.
        DuplicateNameError: A column is to be the path, but another is called `path`; likewise the others, and
            the columns of the tasks.
        AnnotationError: A value that is no class, no label and no gap; names column and row.
        UnsafePathError: A path outside the root.
        EmptyDataError: No rows.
        ConcordWarning: A usual word for a gap that may be a name.
    """
    if frame.is_empty():
        raise EmptyDataError(f"{name or 'the table'}: at least one row is expected, found none")
    gaps, not_gaps = frozenset(gaps), frozenset(not_gaps)
    spellings = (gaps | frozenset(GAPS)) - (not_gaps - {""})
    special = {"path": path, "row": row, "text": text, "split": split, "group": group}
    made, used = _special(frame, special, root, spellings)
    read = [
        ReadColumns(purpose, [frame[special[purpose] or purpose]])
        for purpose in ("group", "split")
        if (special[purpose] or purpose) in used
    ]
    tasks: list[Task] = []
    classes, columns = classes or {}, columns or {}
    for task_name in columns:
        if task_name not in classes:
            raise UnknownNameError.of("class task", task_name, classes)
    for task_name, names in classes.items():
        column = _column(frame, columns.get(task_name, task_name))
        own = frozenset(() if names is None else names)
        values = _texts(column, spellings, own)
        read.append(ReadColumns("class", [column], own))
        found = found_classes(values, column.name, not_gaps) if names is None else names
        tasks.append(MulticlassTask(task_name, found))
        made.append(values.alias(task_name))
        used.add(column.name)
    for task_name, patterns in (labels or {}).items():
        matched = _matching(frame, patterns)
        task = MultilabelTask(task_name, [name.removeprefix(f"{task_name}.") for name in matched])
        tasks.append(task)
        read.append(ReadColumns("labels", [frame[name] for name in matched]))
        parsed = (parse_labels(frame[name], spellings) for name in matched)
        made.extend(column.alias(name) for column, name in zip(parsed, task_columns(task), strict=True))
        used.update(matched)
    check_columns(tasks)
    _check_kept(frame, used, tasks)
    if not count_rows and not _is_located(frame, path, row, text):
        _check_located(frame, used, name)
    tell_gap_words(name or "the table", read, gaps | not_gaps)
    return Manifest(
        frame.drop(used).with_columns(made), tuple(tasks), None if root is None else Path(root), name
    )


def from_csv(
    path: str | Path,
    *,
    name: str | None = None,
    separator: str = ",",
    classes: Mapping[str, Iterable[str] | None] | None = None,
    labels: Mapping[str, str | Iterable[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    path_column: str | None = None,
    row: str | None = None,
    text: str | None = None,
    split: str | None = None,
    group: str | None = None,
    gaps: Iterable[str] = (),
    not_gaps: Iterable[str] = (),
    root: str | Path | None = None,
    count_rows: bool = True,
) -> Manifest:
    """Read anyone's CSV file; as `from_frame`, where `path_column` names the column of the paths.

    Args:
        path: UTF-8, with or without a byte order mark; a header line; may be gzipped.
        name: What to call this data; the file's name without its ending by default.
        separator: One character between the cells.
        classes: As in `from_frame`.
        labels: As in `from_frame`.
        columns: As in `from_frame`.
        path_column: Column of the paths.
        row: As in `from_frame`.
        text: As in `from_frame`.
        split: As in `from_frame`.
        group: As in `from_frame`.
        gaps: As in `from_frame`.
        not_gaps: As in `from_frame`.
        root: As in `from_frame`.
        count_rows: As in `from_frame`. Where rows are counted, every line is a row, an empty one too, as in
            a feature file; only empty lines at the end are left out.

    Raises:
        MissingDataError: No such file.
        DataFormatError: Not a CSV file, or a value that is no annotation; names file and line.
        UnknownNameError: A column that is not there, or a pattern that no column fits.
        ConfigError: As in `from_frame`.
    """
    file = Path(path)
    frame = read_table(file, separator, every_row=True)
    counted = not _is_located(frame, path_column, row, text)
    if not counted:
        frame = _without_empty(frame)
    try:
        manifest = from_frame(
            frame,
            file.name.split(".")[0] if name is None else name,
            classes=classes,
            labels=labels,
            columns=columns,
            path=path_column,
            row=row,
            text=text,
            split=split,
            group=group,
            gaps=gaps,
            not_gaps=not_gaps,
            root=root,
            count_rows=count_rows,
        )
    except RowError as error:
        raise with_lines(error, file, separator, every_row=counted) from error
    own = {*RESERVED, *(column for task in manifest.tasks for column in task_columns(task))}
    further = [typed(column) for column in manifest.frame if column.name not in own]
    return replace(manifest, frame=manifest.frame.with_columns(further))


# -- columns -----------------------------------------------------------------------------------------


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise UnknownNameError.of("column", name, frame.columns)
    return frame[name]


def _matching(frame: pl.DataFrame, patterns: str | Iterable[str]) -> list[str]:
    out: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = [c for c in _fitting(frame.columns, pattern) if c not in RESERVED]
        if not found:
            raise UnknownNameError.of("label column", pattern, frame.columns)
        out.extend(c for c in found if c not in out)
    return out


def _fitting(names: Sequence[str], pattern: str) -> Sequence[str]:
    """The name that a pattern is, else all that fit it; only `*` and `?` stand for others."""
    plain = pattern.replace("[", "[[]")
    return [pattern] if pattern in names else [name for name in names if fnmatchcase(name, plain)]


def _check_kept(frame: pl.DataFrame, used: set[str], tasks: Sequence[Task]) -> None:
    """Refuse a task whose column would take the place of one that nothing names."""
    for task in tasks:
        for column in task_columns(task):
            if column in frame.columns and column not in used:
                raise DuplicateNameError(
                    f"task {task.name!r} is made of other columns and would replace column {column!r}; drop "
                    "or rename that column, or give the task another name"
                )


def _special(
    frame: pl.DataFrame, special: Mapping[str, str | None], root: str | Path | None, gaps: frozenset[str]
) -> tuple[list[pl.Series], set[str]]:
    """The columns that every manifest has, and which columns of the table they were made of."""
    found = {
        purpose: name or purpose for purpose, name in special.items() if name or purpose in frame.columns
    }
    for purpose, name in found.items():
        if name != purpose and purpose in frame.columns:
            raise DuplicateNameError(
                f"column {name!r} is to be the {purpose}, but there is a column {purpose!r} too; drop one"
            )
    columns = {purpose: _column(frame, name).alias(purpose) for purpose, name in found.items()}
    if columns.keys().isdisjoint(LOCATORS):
        columns["row"] = pl.Series("row", range(frame.height), dtype=pl.Int64)
    makers = {"row": _rows, "split": _splits, "group": _texts}
    for purpose, make in makers.items():
        if purpose in columns:
            columns[purpose] = make(columns[purpose], gaps)
    if "path" in columns:
        columns["path"] = _paths(columns["path"], gaps, root)
    return list(columns.values()), set(found.values())


def _is_located(frame: pl.DataFrame, *named: str | None) -> bool:
    """Whether a table says where a sample is, by a usual name or in a named column; else rows count."""
    return any(named) or not {*LOCATORS}.isdisjoint(frame.columns)


def _check_located(frame: pl.DataFrame, used: set[str], name: str) -> None:
    """Refuse a table that says of no sample where it is; further columns may be the samples themselves."""
    likely, nowhere = likely_locator(frame, used), f"{name or 'the table'}: nothing says where a sample is"
    rows = "--count-rows takes the rows of a feature file in this order"
    if likely is not None:
        purpose, column = likely
        raise ConfigError(
            f"{nowhere}, but column {column!r} looks like a {purpose}: --{purpose} {column!r}; {rows}"
        )
    if not set(frame.columns) - used:
        raise ConfigError(f"{nowhere}; name a column with --path, --row or --text; {rows}")


def _paths(column: pl.Series, gaps: frozenset[str], root: str | Path | None) -> pl.Series:
    paths = _texts(column, gaps).str.replace_all("\\", "/", literal=True)
    if root is not None:
        paths = paths.str.strip_prefix(Path(root).as_posix().rstrip("/") + "/")
    return paths.str.replace(r"^(\./)+", "")


def _rows(column: pl.Series, gaps: frozenset[str]) -> pl.Series:
    # A number that is a gap among labels (9: not coded) is a row all the same.
    texts = _texts(column, frozenset(word for word in gaps if not re.fullmatch(ROW_NUMBER, word)))
    return _checked(texts, texts.cast(pl.Int64, strict=False), "a row of a feature file is a whole number")


def _splits(column: pl.Series, gaps: frozenset[str]) -> pl.Series:
    texts = _texts(column, gaps)
    splits = texts.str.to_lowercase().replace_strict(SPLIT_SPELLINGS, default=None, return_dtype=pl.String)
    return _checked(texts, splits, f"a split is {', '.join(SPLITS)} or a usual name of those")


# -- values ------------------------------------------------------------------------------------------


def _texts(column: pl.Series, gaps: frozenset[str], keep: frozenset[str] = frozenset()) -> pl.Series:
    """Cells as text without blanks around, whole numbers without decimals, gaps as null."""
    texts = column.cast(pl.String).str.strip_chars()
    if _all_numbers(texts, gaps):
        texts, gaps = texts.str.replace(WHOLE_NUMBER, "$1"), _whole(gaps)
    return texts.set(texts.is_in(list(gaps - keep)).fill_null(False), None)


def _whole(words: frozenset[str]) -> frozenset[str]:
    """Words, whole numbers among them without decimals, as cells become."""
    return frozenset(re.sub(WHOLE_NUMBER, r"\1", word) for word in words)


def _all_numbers(texts: pl.Series, gaps: frozenset[str]) -> bool:
    numbers = texts.cast(pl.Float64, strict=False).is_not_null()
    return bool((numbers | texts.is_null() | texts.is_in(list(gaps)).fill_null(False)).all())


def parse_labels(column: pl.Series, gaps: frozenset[str] = frozenset(GAPS)) -> pl.Series:
    """Labels as int8 with null for gaps, from 0/1, false/true, no/yes or numbers.

    Raises:
        RowError: Any other value.
    """
    if column.dtype in (pl.Int8, pl.Boolean) and gaps <= frozenset(GAPS):
        return column  # no word of a gap that such a column could hold
    plain = column.cast(pl.String).str.strip_chars().str.replace(WHOLE_NUMBER, "$1").alias(column.name)
    texts = _texts(plain, _whole(gaps))
    parsed = texts.str.to_lowercase().replace_strict(LABEL_SPELLINGS, default=None, return_dtype=pl.Int8)
    return _checked(texts, parsed, f"column {column.name!r}: labels are 0, 1 or a gap")


def _checked(texts: pl.Series, parsed: pl.Series, expected: str) -> pl.Series:
    if parsed.null_count() > texts.null_count():
        row = int((parsed.is_null() & texts.is_not_null()).arg_max() or 0)
        raise RowError(f"{expected}, found {texts[row]!r}", row)
    return parsed


def found_classes(values: pl.Series, column: str, declared: frozenset[str] = frozenset()) -> list[str]:
    """The classes that a column holds, in the order of numbers or of the alphabet.

    Args:
        values: Names, a gap as null.
        column: What to call the column.
        declared: Names that -1 may be among.

    Raises:
        RowError: -1, which is a gap as often as a class, where it is not declared.
    """
    names = values.drop_nulls().unique().to_list()
    for name in names:
        word = name.strip()
        if re.fullmatch(MINUS_ONE, word) and word not in declared:
            raise RowError(
                f"column {column!r}: {word} among classes is declared with --gap {word} of concord data "
                f"table (gaps), or with --no-gap {word} (not_gaps) where it is a class, found it undeclared",
                int((values == name).fill_null(False).arg_max() or 0),
            )
    return sorted(names, key=float if all(re.fullmatch(NUMBER, name) for name in names) else None)


# -- CSV files ---------------------------------------------------------------------------------------


def typed(column: pl.Series) -> pl.Series:
    """A column of text cells as int64 or float64 where all are numbers and no identifiers, else as it is."""
    if column.dtype != pl.String or column.str.contains(IDENTIFIER).any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        numbers = column.cast(dtype, strict=False)
        if numbers.null_count() == column.null_count() < len(column):
            return numbers
    return column


def read_table(path: Path, separator: str = ",", *, every_row: bool = False) -> pl.DataFrame:
    """Read a CSV file as text cells; an empty cell is null.

    Args:
        path: UTF-8, with or without a byte order mark; a header line; may be gzipped.
        separator: One character between the cells.
        every_row: Whether a row keeps its number: an empty line, or one of empty cells, is then a row of
            nulls, as in a table of features, and only empty lines at the end are left out. Otherwise all
            such rows are.

    Raises:
        MissingDataError: No such file.
        EmptyDataError: No line after the header.
        DataFormatError: Not UTF-8, a NUL, a line with another number of cells than the header, two columns
            of one name; names file and line.
        ConfigError: A separator that is no single ASCII character.
    """
    if len(separator) != 1 or not separator.isascii():
        raise ConfigError(f"the separator of cells is one character, such as ; or tab, found {separator!r}")
    if not path.is_file():
        raise MissingDataError(
            f"expected a CSV file at {path}, found {'a folder' if path.exists() else 'nothing'}"
        )
    if _has_bare_returns(path):
        _check_lines(path, separator)
    try:
        frame = pl.read_csv(path, infer_schema=False, separator=separator, glob=False)
    except pl.exceptions.NoDataError as error:
        raise EmptyDataError(
            f"{path}: a header and at least one line are expected, found an empty file"
        ) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        _check_lines(path, separator)
        raise DataFormatError(f"{path}: not a CSV file in UTF-8 ({str(error).splitlines()[0]})") from error
    # A line that was cut lacks its last cells: only a look at the text tells these from empty ones.
    if frame[frame.columns[-1]].null_count():
        _check_lines(path, separator)
    frame.columns = _header(path, separator, frame.width)
    frame = _without_last_lines(frame, path, separator) if every_row else _without_empty(frame)
    if frame.is_empty():
        raise EmptyDataError(f"{path}: at least one line after the header is expected, found none")
    return frame


def _filled(frame: pl.DataFrame) -> pl.Series:
    """Which rows have a cell that is not empty."""
    return frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()


def _without_empty(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(_filled(frame))


def _without_last_lines(frame: pl.DataFrame, path: Path, separator: str) -> pl.DataFrame:
    """A table without the empty lines that its file ends with; a line of empty cells there is a row."""
    if _filled(frame.tail(1)).all():
        return frame
    return frame.head(max(row for row, (_, cells) in enumerate(_lines(path, separator)) if cells))


def _bytes(path: Path) -> Iterator[bytes]:
    """A file, unpacked where it is gzipped, in large pieces that end with a line or the file."""
    opener = gzip.open if path.suffix == ".gz" else open
    size, unpacked = path.stat().st_size, 0
    try:
        with opener(path, "rb") as file:
            while chunk := file.read(CHUNK) + file.readline():
                unpacked += len(chunk)
                check_unpacked(path, size, unpacked)
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataFormatError(f"{path}: not a gzipped file ({error})") from error


def _has_bare_returns(path: Path) -> bool:
    """Whether a carriage return stands alone; raises for a NUL byte, and for a Parquet file."""
    lines, bare = 1, False
    for chunk in _bytes(path):
        if lines == 1 and chunk.startswith(MARK):
            raise DataFormatError(
                f"{path}: a CSV file is expected, found a Parquet file; one that is called .parquet is read "
                "as a manifest (in Python by concord.data.read_manifest)"
            )
        at = chunk.find(b"\0")
        if at >= 0:
            number = lines + chunk.count(b"\n", 0, at)
            raise DataFormatError(f"{path}, line {number}: text is expected, found a NUL byte")
        lines += chunk.count(b"\n")
        bare = bare or chunk.count(b"\r") != chunk.count(b"\r\n")
    return bare


def _lines(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line from the header on; none of an empty line."""
    opener, start, begun = gzip.open if path.suffix == ".gz" else open, 1, False
    with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            for cells in reader:
                begun = begun or bool(cells)
                if begun:
                    yield start, cells
                start = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataFormatError(
                f"{path}, line {start} or later: not a CSV file in UTF-8 ({error})"
            ) from error


def _header(path: Path, separator: str, width: int) -> list[str]:
    number, cells = next(_lines(path, separator))
    names = [cell.strip() for cell in cells]
    if len(names) != width:
        raise DataFormatError(
            f"{path}, line {number}: a header of {width} names is expected, found {len(names)}"
        )
    for name in names:
        if names.count(name) > 1:
            raise DuplicateNameError(f"{path}, line {number}: column {name!r} occurs twice")
    return names


def _check_lines(path: Path, separator: str) -> None:
    width = 0
    for number, cells in _lines(path, separator):
        width = width or len(cells)
        if any(cells) and len(cells) != width:
            raise DataFormatError(
                f"{path}, line {number}: {width} cells are expected as in the header, found {len(cells)}"
            )


def with_lines(
    error: RowError, path: Path, separator: str = ",", *, every_row: bool = False
) -> DataFormatError:
    """An error that names file and line in place of the row of a table that `read_table` read so."""
    row = error.row
    if not every_row:
        # Only the table tells empty cells from quoted ones without text, which count.
        row = int(_filled(read_table(path, separator, every_row=True)).arg_true()[row])
    for number, _ in islice(_lines(path, separator), 1 + row, None):  # the header comes first
        return DataFormatError(f"{path}, line {number}: {error.message}")
    return DataFormatError(f"{path}: {error}")
