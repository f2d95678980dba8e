"""What a part measured, as one small file beside the pages: machines need share no folder to write one page.

`docs/records/PART.tar.xz` holds the texts of a part's runs (results, plans, accounts, measurements; no weights, no
pictures) and who made them when. Where the code is still the same, the part is done on every checkout that has it.
Of a part that is not finished it holds the predictions of what is, too, so that another machine goes on with it.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.files import write_bytes
from concord.study import write_json

RECORD = "part.json"
TEXTS = (".json", ".jsonl", ".csv")
ARRAYS = (".npz",)
UNFINISHED = (".training", ".claim")
"""How folders of a study end that hold what is being trained."""


def path_of(docs: Path, part: str) -> Path:
    """Where a part's runs are kept."""
    return docs / "records" / f"{part}.tar.xz"


def keep(record: Mapping[str, Any], folder: Path, path: Path) -> None:
    """Keep the texts below a folder, and the record of their making; the same ones give the same file.

    Where the record is not `done`, arrays are kept, too: a comparison that is still to be made reads them.

    Args:
        record: With `done` and `sessions`.
        folder: Of the part's runs.
        path: Of the file, written at once.
    """
    held = io.BytesIO()
    with lzma.open(held, "wb", preset=9) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (
            (RECORD, json.dumps(record, sort_keys=True).encode()),
            *_found(folder, TEXTS if record["done"] else (*TEXTS, *ARRAYS)),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, held.getvalue())


def record_in(path: Path) -> dict[str, Any]:
    """Who made what is kept; empty where nothing is."""
    if not path.exists():
        return {}
    with tarfile.open(path) as archive:
        file = archive.extractfile(RECORD)
        assert file is not None
        found: dict[str, Any] = json.loads(file.read())
    return found


def restore(path: Path, folder: Path, record: Path) -> None:
    """Put what is kept into a folder of runs, whose claim the caller holds, and then its record.

    What an interrupted call left there is put there again; the record comes last, and says that all is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path) as archive:
        entries = [entry for entry in archive.getmembers() if entry.name != RECORD]
        archive.extractall(folder, entries, filter="data")
    write_json(record, record_in(path))


def _found(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        unfinished = any(part.endswith(UNFINISHED) for part in inside.parts)
        if path.suffix in suffixes and path.is_file() and not unfinished:
            yield inside.as_posix(), path.read_bytes()
