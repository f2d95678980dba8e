"""Hugging Face `datasets`: folders that it saved, and Parquet files with the images inside.

Layout: a folder of `save_to_disk` (`dataset_info.json`, or `dataset_dict.json` with one folder per split), or
Parquet files as on the hub, `data/train-00000-of-00001.parquet` (in the root or in `data/`), whose names
begin with the split. A column of images is found by its type. Read with the library `datasets` (`pip install
concord-mtl[datasets]`).

A column of `ClassLabel` is a class task; one of sequences of `ClassLabel` is a multilabel task; a class of -1
or null is a gap. Columns of texts and numbers are kept as they are; `classes` makes class tasks of some.

Traps: pictures lie inside the tables, so that they are written once, as they are, to one archive in the
user's cache folder, by a digest of the files; a split that the hub calls `validation` is `val`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.frames import SPLIT_SPELLINGS
from concord.data.manifest import Manifest
from concord.data.readers._files import entries, not_found
from concord.data.readers._pictures import PictureArchive, cache_folder, digest_of
from concord.errors import DataFormatError, MissingExtraError, NoAnnotationError, UnknownNameError
from concord.tasks import MulticlassTask, MultilabelTask, Task

NAME = "huggingface"
TITLE = "Hugging Face datasets"
HOME = "the user: https://huggingface.co/datasets, downloaded or saved with save_to_disk"

_ENDINGS = {b"\x89PN": ".png", b"\xff\xd8\xff": ".jpg", b"GIF": ".gif", b"BM": ".bmp", b"RIF": ".webp"}


def read(
    root: Path,
    *,
    image: str | None = None,
    classes: Sequence[str] = (),
    group: str | None = None,
    cache: str | Path | None = None,
) -> Manifest:
    """Read tables with images inside.

    Args:
        root: Folder that `save_to_disk` wrote, or that holds Parquet files.
        image: Column of the images; None takes the one of that type.
        classes: Columns of texts or whole numbers that are class tasks.
        group: Column of the subject or video.
        cache: Folder of the archive with the pictures; None takes the user's cache folder.

    Returns:
        A manifest with a task for each column of classes, `split` where the data set has splits, and the
        other columns of texts and numbers.

    Raises:
        MissingExtraError: The library `datasets` is not installed.
        MissingDataError: No such folder or files, or no folder to write the pictures to.
        DataFormatError: Files that the library cannot read, a row without a picture, or -1 among classes.
        UnknownNameError: No such column.
        NoAnnotationError: No column of classes.
    """
    files = _files(root)
    tables = _tables(root, files)
    archive = cache_folder(cache) / f"huggingface-{digest_of(files)}.zip"
    features = next(iter(tables.values())).features
    column = _image_column(features, image)
    for name in (*classes, *((group,) if group else ())):
        if name not in features:
            raise UnknownNameError.of("column", name, features)
    tasks = _tasks(features, tables, classes)
    if not tasks:
        raise NoAnnotationError(
            f"{TITLE}: expected a column of ClassLabel in {root}, found {', '.join(features)}; name "
            "class columns with classes="
        )
    with PictureArchive(archive, TITLE) as pictures:
        parts = [
            _frame(table, split, column, tasks, features, pictures, group) for split, table in tables.items()
        ]
    return Manifest(pl.concat(parts, how="diagonal_relaxed"), tuple(tasks), archive.parent, TITLE)


def _files(root: Path) -> list[Path]:
    """The files of the tables, in order."""
    saved = ("dataset_info.json", "dataset_dict.json")
    if any((root / name).is_file() for name in saved):
        return sorted(path for path in root.rglob("*.arrow") if not path.name.startswith("cache-"))
    found = [
        root / folder / name
        for folder in (".", "data")
        if (root / folder).is_dir()
        for name in entries(root / folder, ".parquet")
    ]
    if not found:
        choices = [*saved, "*.parquet", "data/*.parquet"]
        raise not_found(root, "dataset_info.json, dataset_dict.json or *.parquet", choices, TITLE, HOME)
    return found


def _tables(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Tables by the name of their split."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"{TITLE} needs the library datasets: pip install concord-mtl[datasets] ({error})"
        ) from error
    try:
        if files[0].suffix == ".parquet":
            by_split: dict[str, list[str]] = {}
            for file in files:
                by_split.setdefault(file.name.split("-")[0].split(".")[0], []).append(str(file))
            return {split: _parquet(datasets, names) for split, names in by_split.items()}
        found = datasets.load_from_disk(str(root))
        return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
    except (
        ValueError,
        OSError,
        KeyError,
        TypeError,
        LookupError,
    ) as error:  # what pyarrow raises is one of these
        raise DataFormatError(
            f"{root}: expected tables that datasets can read, found others ({str(error)[:200]!r})"
        ) from error


def _parquet(datasets: Any, names: list[str]) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    return datasets.Dataset(pa.concat_tables([parquet.read_table(name) for name in names]))


def _image_column(features: Mapping[str, Any], image: str | None) -> str:
    if image is not None and image not in features:
        raise UnknownNameError.of("column", image, features)
    found = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if image is None and len(found) != 1:
        raise UnknownNameError(
            f"{TITLE}: expected one column of images, found {', '.join(found) or 'none'} of "
            f"{', '.join(features)}; say image=COLUMN"
        )
    return image or found[0]


def _tasks(features: Mapping[str, Any], tables: Mapping[str, Any], classes: Sequence[str]) -> list[Task]:
    tasks: list[Task] = []
    for name, feature in features.items():
        inner: Any = getattr(feature, "feature", None)
        if type(feature).__name__ == "ClassLabel":
            tasks.append(MulticlassTask(name, feature.names))
        elif type(inner).__name__ == "ClassLabel":
            tasks.append(MultilabelTask(name, inner.names))
        elif name in classes:
            seen = {value for table in tables.values() for value in table[name] if value is not None}
            tasks.append(MulticlassTask(name, _class_names(name, sorted(seen))))
    return tasks


def _class_names(column: str, values: Sequence[Any]) -> list[str]:
    names = [str(value) for value in values]
    if "-1" in names:
        raise DataFormatError(
            f"{TITLE}: column {column!r} holds -1 among classes, which is a gap as often as a class: write "
            "null for a gap, or make it a column of ClassLabel that has such a class"
        )
    return names


def _frame(
    table: Any,
    split: str,
    image: str,
    tasks: Sequence[Task],
    features: Mapping[str, Any],
    pictures: PictureArchive,
    group: str | None,
) -> pl.DataFrame:
    columns: dict[str, Any] = {"path": _paths(table, split, image, pictures)}
    known = SPLIT_SPELLINGS.get(split.lower())
    columns["split"] = pl.Series([known] * len(table), dtype=pl.String)
    by_name = {task.name: task for task in tasks}
    for name, feature in features.items():
        if name in by_name:
            columns |= _annotations(by_name[name], feature, list(table[name]))
        elif type(feature).__name__ == "Value" and name not in columns and name != "source":
            columns[name] = list(table[name])
    if group is not None:
        columns["group"] = [None if value is None else str(value) for value in table[group]]
    return pl.DataFrame(columns)


def _paths(table: Any, split: str, image: str, pictures: PictureArchive) -> list[str]:
    """Members of the archive, one per row."""
    import datasets

    raw = table.cast_column(image, datasets.Image(decode=False))[image]
    paths = []
    for row, cell in enumerate(raw):
        data = (cell or {}).get("bytes")
        if not data:
            raise DataFormatError(
                f"{TITLE}: expected the picture of row {row} of split {split!r} inside the table, found none"
            )
        name = f"{split or 'all'}/{row:07d}{_ENDINGS.get(data[:3], _ENDINGS.get(data[:2], '.png'))}"
        pictures.add(name, data)
        paths.append(f"{pictures.path.name}/{name}")
    return paths


def _annotations(task: Task, feature: Any, values: list[Any]) -> dict[str, Any]:
    if isinstance(task, MultilabelTask):
        return {
            f"{task.name}.{label}": [None if chosen is None else int(k in chosen) for chosen in values]
            for k, label in enumerate(task.labels)
        }
    if type(feature).__name__ == "ClassLabel":  # codes, of which -1 is a gap
        named = [None if value is None or value < 0 else task.outputs[value] for value in values]
    else:
        named = [None if value is None else str(value) for value in values]
    return {task.name: pl.Series(named, dtype=pl.String)}
