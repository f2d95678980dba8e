"""Tasks and relations as JSON holds them, the same in every file that the package writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Any

import numpy as np

from concord.errors import ShapeError
from concord.relations.relation import Relation
from concord.tasks import MulticlassTask, MultilabelTask, Task

FIELDS = ("table", "strength", "interval", "prior", "base_rate")


def task_record(task: Task) -> dict[str, Any]:
    """A task as plain data: its name, and `classes` (numbers and dates where given as such) or `labels`.

    Classes of any other kind are kept by name.
    """
    if not isinstance(task, MulticlassTask):
        return {"name": task.name, "labels": list(task.outputs)}
    given = zip(task.values, task.classes, strict=True)
    return {"name": task.name, "classes": [_class_record(value, name) for value, name in given]}


def _class_record(value: Any, name: str) -> Any:
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    return value if isinstance(value, (int, float)) else name


def _class_of(record: Any) -> Any:
    if isinstance(record, Mapping):
        kind: type[date] = datetime if "datetime" in record else date
        return kind.fromisoformat(record[kind.__name__])
    return record


def task_of(record: Mapping[str, Any]) -> Task:
    """The task of a record.

    Raises:
        KeyError: A record without a name, or without classes and labels.
        ValueError: A class that is no date.
        ConcordError: Names that a task cannot have.
    """
    if "classes" in record:
        return MulticlassTask(record["name"], map(_class_of, record["classes"]))
    return MultilabelTask(record["name"], record["labels"])


def relation_record(relation: Relation) -> dict[str, Any]:
    """A relation as plain data; its tasks by name, unknown cells as None, a sparse table in CSR parts."""
    return {
        "source": relation.source.name,
        "target": relation.target.name,
        **{name: _plain(getattr(relation, name)) for name in FIELDS},
    }


def relation_of(record: Mapping[str, Any], tasks: Sequence[Task]) -> Relation:
    """The relation of a record, between two of the tasks.

    Raises:
        KeyError: An unknown task, or a missing field.
        ConcordError: A table that does not fit the tasks, or is no table.
    """
    by_name: dict[str, Any] = {task.name: task for task in tasks}
    return Relation(
        by_name[record["source"]],
        by_name[record["target"]],
        **{name: _array(record[name]) for name in FIELDS},
    )


def relation_digest(relation: Relation) -> str:
    """Fingerprint of what a relation says, in time and memory of its known cells."""
    table: Any = relation.table
    cells = (table.data, table.indices, table.indptr) if relation.sparse else (table,)
    return digest(map(array_bytes, (*cells, relation.prior, relation.base_rate)))


def array_bytes(values: Any) -> bytes:
    """What an array holds; nothing, of None."""
    return b"" if values is None else np.ascontiguousarray(values).tobytes()


def digest(parts: Iterable[bytes]) -> str:
    """Fingerprint of several contents, in order."""
    found = blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))  # else a byte could move from one part to the next
        found.update(part)
    return found.hexdigest()


def _plain(values: Any) -> Any:
    if values is None:
        return None
    if hasattr(values, "tocsr"):
        parts = {name: getattr(values, name).tolist() for name in ("data", "indices", "indptr")}
        return {"shape": list(values.shape), **parts}
    array = np.asarray(values, dtype=np.float64)
    out = array.astype(object)
    out[np.isnan(array)] = None  # NaN is not JSON
    return out.tolist()


def _whole(values: Any, name: str) -> Any:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind != "i"):
        raise ShapeError(f"a sparse table is damaged: {name} are not whole numbers in a list")
    return array.astype(np.int64)


def _array(values: Any) -> Any:
    if isinstance(values, Mapping):
        from scipy import sparse

        data = np.asarray(values["data"], dtype=np.float64)
        indices, indptr = (_whole(values[name], name) for name in ("indices", "indptr"))
        try:
            array = sparse.csr_array((data, indices, indptr), shape=tuple(values["shape"]))
            array.check_format(full_check=True)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"a sparse table is damaged: {error}") from error
        return array
    return None if values is None else np.asarray(values, dtype=np.float64)  # null becomes NaN
