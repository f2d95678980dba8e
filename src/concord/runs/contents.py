"""What a training depends on besides its config, as digests: it resumes on the same data only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator

from concord.data import BOX, LOCATORS, Source
from concord.relations import array_bytes, digest, relation_digest
from concord.runs.building import Built

ROWS = 1 << 16
"""Rows of a manifest that are written out at a time."""


def digests(built: Built) -> dict[str, str]:
    """A digest of everything that a training reads, by what it is in words; inputs in files are left out.

    That is, of the training and validation rows: where their inputs lie, splits and groups, columns that are
    inputs themselves, annotations; and classes, labels and tables.
    """
    out = {}
    for task in built.tasks:
        out[f"the names in task {task.name!r}"] = digest([json.dumps(task.outputs).encode()])
    for relation in built.relations:
        out[f"the table of relation {relation.name}"] = relation_digest(relation)
    for name, plan in built.config.sources.items():
        sources = [part[name] for part in (built.training, built.validation) if name in part]
        columns = [*LOCATORS, "split", "group", *BOX, "landmarks", *(plan.inputs.columns or [])]
        out[f"the rows of source {name!r}"] = digest(_rows(sources, columns))
        for task in built.tasks:
            annotated = [source.targets(task) for source in sources]
            arrays = [rows.values for rows in annotated]
            arrays += [rows.shares for rows in annotated if rows.shares is not None]
            out[f"the annotations of task {task.name!r} in source {name!r}"] = digest(
                map(array_bytes, arrays)
            )
    return out


def _rows(sources: Iterable[Source], columns: Iterable[str]) -> Iterator[bytes]:
    for source in sources:
        frame = source.manifest.frame
        frame = frame.select(name for name in dict.fromkeys(columns) if name in frame.columns)
        for part in frame.iter_slices(ROWS):
            written = io.BytesIO()
            part.write_ndjson(written)
            yield written.getvalue()
