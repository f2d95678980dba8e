"""Images or texts to a feature file: a trunk is run once, and everything that takes features can be used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from concord.archive import own, sha256, tensor_bytes
from concord.config import InputPlan, TrunkPlan
from concord.data import (
    BOX,
    IMAGENET,
    DataRoot,
    Manifest,
    Source,
    StreamedInputs,
    read_manifest,
    write_manifest,
)
from concord.errors import CheckpointError, ConcordError, ConfigError, EmptyDataError, MissingDataError
from concord.files import write_text
from concord.networks import NamedTrunk, dry_features, moved, seeded, usual_torch
from concord.runs.inputs import Preparation, prepared, trunk_kind
from concord.runs.outputs import device_of
from concord.runs.places import images_below
from concord.runs.run import trunk_of

FEATURES, MANIFEST, RECORD = "features.npy", "manifest.parquet", "embedding.json"
PARTIAL, PROGRESS = "features.partial.npy", "progress.json"

FILES = (FEATURES, MANIFEST, RECORD)

READ = ("path", "text", "row", *BOX, "landmarks")
"""Columns of a manifest that inputs are read by."""

SAMPLE = 64
"""Files whose content tells one set of pictures from another; to read all may take as long as to embed."""

EVERY = 20
"""Batches between two notes of how far it is."""


@dataclass(frozen=True)
class Embedding:
    """What `embed` wrote.

    Attributes:
        folder: `features.npy` (n, width) float32, `manifest.parquet` whose column `row` counts its rows, and
            `embedding.json`, which says by which trunk and preprocessing.
        rows: Rows of the manifest: those whose inputs could be read.
        width: Features of a row.
        skipped: Rows whose inputs could not be read, and were left out.
    """

    folder: Path
    rows: int
    width: int
    skipped: int


def embed(
    data: str | Path,
    folder: str | Path,
    trunk: TrunkPlan,
    inputs: InputPlan,
    *,
    root: str | Path | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    progress: Callable[[int, int], object] = lambda done, rows: None,
) -> Embedding:
    """Write the features of every row; a folder that holds a part of them is gone on with, to the same bits.

    Of a folder that is done the manifest alone is written again, with what is annotated by now.

    Args:
        data: A manifest (.parquet, .csv) or a folder of images.
        folder: Where to write.
        trunk: What makes features; without pretrained weights, those that seed 0 draws.
        inputs: How images are read; of kind images or texts.
        root: What the manifest's paths are relative to; as it says itself unless given.
        batch_size: Rows at a time.
        accelerator: `auto`, `cpu`, `cuda` or `mps`.
        progress: Told of rows that are done, and of all rows.

    Raises:
        ConfigError: Inputs that the trunk does not take.
        CheckpointError: A folder of other rows or other pictures, of another trunk or preprocessing; one that
            another process writes to, or that cannot be written.
        MissingDataError: No such data, or no such weights.
        EmptyDataError: No row, or none that can be read.
        ConcordError: What manifests, images and trunks raise.
    """
    manifest, folder = _manifest(Path(data), root), Path(folder)
    device_of(accelerator)
    shape = (3, inputs.size, inputs.size) if inputs.kind == "images" else None
    with usual_torch(), seeded(0):
        built = trunk_of(trunk, shape)
    if built.kind != trunk_kind(inputs):
        raise ConfigError(f"trunk {trunk.name} takes {built.kind}, and these are {trunk_kind(inputs)}")
    preparation = Preparation(Path(), built.normalization or IMAGENET, built.tokenize)
    source = Source(*prepared(inputs, manifest, preparation), name=manifest.name or "data")
    record = _record(built, trunk, inputs, source, batch_size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write features to {folder}: {error}") from error
    with own(folder):
        _check_foreign(folder)
        done = _finished(folder, record)
        if done is not None:
            _write_rows(manifest, _kept(folder), folder)
            return done
        width, skipped = _features(
            built, source, preparation, record, folder, batch_size, accelerator, progress
        )
        kept = np.delete(np.arange(len(manifest)), skipped)
        if not len(kept):
            raise EmptyDataError(f"none of the {len(manifest)} inputs of {data} can be read")
        _write_rows(manifest, kept, folder)
        (folder / PARTIAL).replace(folder / FEATURES)
        content = record | {"rows": len(kept), "width": width, "skipped": len(skipped)}
        write_text(folder / RECORD, json.dumps(content, indent=1))
        (folder / PROGRESS).unlink(missing_ok=True)
        return Embedding(folder, len(kept), width, len(skipped))


def _write_rows(manifest: Manifest, kept: npt.NDArray[np.int64], folder: Path) -> None:
    """The manifest of the rows that have features, with their numbers."""
    frame = manifest.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))[kept]
    write_manifest(replace(manifest, frame=frame), folder / MANIFEST)


def _kept(folder: Path) -> npt.NDArray[np.int64]:
    """Numbers of the rows that have features, of a folder that is done."""
    return read_manifest(folder / MANIFEST).frame["row"].to_numpy()


def _manifest(data: Path, root: str | Path | None) -> Manifest:
    if data.is_dir():
        return images_below(data)
    if not data.exists():
        raise MissingDataError(f"expected a manifest or a folder of images, found nothing at {data}")
    return read_manifest(data, root=None if root is None else Path(root))


def _record(
    built: NamedTrunk, trunk: TrunkPlan, inputs: InputPlan, source: Source, batch_size: int
) -> dict[str, Any]:
    """What the features depend on, as plain data."""
    frame = source.manifest.frame
    rows = frame.select(name for name in READ if name in frame.columns).write_ndjson()
    normalization = built.normalization or IMAGENET if built.kind == "images" else None
    return {
        "trunk": {"name": trunk.name, "options": dict(trunk.options), "pretrained": trunk.pretrained},
        "weights": sha256(tensor_bytes(built.module.state_dict())),
        "inputs": inputs.model_dump(mode="json", exclude_defaults=True),
        "normalization": None if normalization is None else [list(part) for part in normalization],
        "data": hashlib.sha256(rows.encode()).hexdigest(),
        "files": _files(source.manifest) if built.kind == "images" else None,
        "batch_size": batch_size,
    }


def _files(manifest: Manifest) -> str:
    """Digest of some of the files, evenly spread: the same names may lie below another root."""
    found, paths = hashlib.sha256(), manifest.frame["path"]
    if manifest.root is None:  # what reads them says so
        return ""
    root = DataRoot(manifest.root)
    for place in np.unique(np.linspace(0, len(paths) - 1, num=SAMPLE).round().astype(int)):
        with suppress(ConcordError, OSError), root.open(paths[int(place)]) as file:
            found.update(hashlib.sha256(file.read()).digest())
        found.update(b"\n")
    return found.hexdigest()


def _check_foreign(folder: Path) -> None:
    """Refuse to write over features or a manifest that no embedding put there.

    Raises:
        CheckpointError: There are some.
    """
    if any((folder / name).exists() for name in (RECORD, PROGRESS, PARTIAL)):
        return
    for name in (FEATURES, MANIFEST):
        if (folder / name).exists():
            raise CheckpointError(
                f"{folder / name} is of no embedding and is not written over; write to another folder"
            )


def _finished(folder: Path, record: dict[str, Any]) -> Embedding | None:
    """What the folder holds already; None where something is left to do."""
    for name in (RECORD, PROGRESS):
        path = folder / name
        if not path.exists():
            continue
        try:
            known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}; write to another folder") from error
        for key, value in record.items():
            if known.get(key) != value:
                raise CheckpointError(
                    f"{folder} holds features of another embedding: {key} differs; write to another folder"
                )
        if name == RECORD:
            return Embedding(folder, known["rows"], known["width"], known["skipped"])
    return None


@torch.no_grad()
def _features(
    built: NamedTrunk,
    source: Source,
    preparation: Preparation,
    record: dict[str, Any],
    folder: Path,
    batch_size: int,
    accelerator: str,
    progress: Callable[[int, int], object],
) -> tuple[int, list[int]]:
    """Fill the feature file, from where it stands; the width, and rows that could not be read."""
    device, n = device_of(accelerator), len(source)
    width = dry_features(built.module, built.example).shape[1]
    module = built.module.to(device).eval()
    done, skipped = 0, list[int]()
    out, state = _opened(folder, n, width, record)
    if state is not None:
        done, skipped = state["done"], list(state["skipped"])
    inputs = StreamedInputs.of([source], collate=preparation.collate)
    for number, (values, places) in enumerate(inputs.load(_pieces(done, n, batch_size)), 1):
        asked = np.arange(done, min(done + batch_size, n))
        if len(places):
            out[places] = module(moved(values, device)).float().cpu().numpy()
        skipped += [int(row) for row in np.setdiff1d(asked, places)]
        done = int(asked[-1]) + 1
        if number % EVERY == 0 or done == n:
            out.flush()
            note = record | {"done": done, "skipped": skipped}
            write_text(folder / PROGRESS, json.dumps(note))
            progress(done, n)
    return width, skipped


def _opened(
    folder: Path, n: int, width: int, record: dict[str, Any]
) -> tuple[np.memmap[Any, np.dtype[np.float32]], Any]:
    """The feature file that is being filled, and how far it is; None where it begins."""
    path, note = folder / PARTIAL, folder / PROGRESS
    try:
        if note.exists() and path.exists():
            held: Any = np.lib.format.open_memmap(path, mode="r+")
            if held.shape == (n, width):
                return held, json.loads(note.read_text(encoding="utf-8"))
        # What it says is done lay in a file that is no longer here: rows of the new one would be passed over.
        write_text(note, json.dumps(record | {"done": 0, "skipped": []}))
        made: Any = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, width))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot write features to {folder}: {error}") from error
    return made, None


def _pieces(start: int, n: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
    for first in range(start, n, size):
        yield np.arange(first, min(first + size, n))
