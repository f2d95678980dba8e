"""Folders of the formats before: read by the digests that they have, and written anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from concord.archive import FORMATS, Kind, pack, read_tensors, save_archive, sha256, tensor_bytes, unpack
from concord.deploy.earlier_names import renamed_config, renamed_log, renamed_parts
from concord.errors import CheckpointError, ConcordError
from concord.files import write_bytes, write_text

if TYPE_CHECKING:
    from torch import Tensor

KEPT = ".before-upgrade"
"""Ending of the folder that an upgrade in place leaves of the old one."""

Old = tuple[dict[str, Any], dict[str, bytes]]
"""Content and files of the new format."""


def upgrade(folder: str | Path, out: str | Path | None = None) -> Path:
    """Bring a folder of an earlier format to the one of this version: whole or not at all.

    Saved estimators, models in the hub's manner, finished trainings, and unfinished ones with their
    checkpoints. Whatever else the folder holds is copied as it is.

    Args:
        folder: What is upgraded; it is never changed.
        out: A new folder. None puts the new folder in the place of the old one, which is kept next to it
            with the ending `.before-upgrade`.

    Returns:
        The new folder.

    Raises:
        CheckpointError: Nothing to upgrade, a folder that is damaged by its own digests, or a place that is
            taken or cannot be written.
    """
    folder = Path(os.path.abspath(folder))  # "." has no name that one could write next to
    parts = list(_parts(folder))
    if not parts:
        raise CheckpointError(f"{folder} holds nothing of an earlier format; there is nothing to upgrade")
    target = folder if out is None else Path(os.path.abspath(out))
    aside = folder.with_name(folder.name + KEPT)
    for taken in (aside,) if out is None else (target,):
        if taken.exists():
            raise CheckpointError(f"{taken} exists already; nothing is written over")
    # Everything is read before anything is written: a damaged folder leaves no trace.
    read = [(place, kind, _READERS[kind](folder / place)) for place, kind in parts]
    work = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, work)
        for place, kind, (content, files) in read:
            save_archive(work / place, kind, content, files)
        if any(kind in ("run", "checkpoint") for _, kind in parts):
            _rename_losses(work)
        if out is None:
            os.rename(folder, aside)
        os.rename(work, target)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, ConcordError):
            raise
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _parts(folder: Path) -> Iterator[tuple[Path, Kind]]:
    """What a folder holds of earlier formats, by its place below the folder."""
    kinds: tuple[Kind, ...] = ("run", "estimator", "hub")
    for kind in kinds:
        record = folder / FORMATS[kind].record
        if record.is_file() and _is_old(record, kind):
            yield Path(), kind
    for record in sorted(folder.rglob(FORMATS["checkpoint"].record)):
        if _is_old(record, "checkpoint"):
            yield record.parent.relative_to(folder), "checkpoint"


def _is_old(record: Path, kind: Kind) -> bool:
    values = _json(record)
    if kind == "hub" and "weights" not in values:  # the config.json of a training, or of something else
        return False
    found = values.get("format")
    return isinstance(found, int) and 0 < found < FORMATS[kind].version


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is no record of a saved folder")
    return values


def _tensors(path: Path, expected: Any) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != expected:
        raise CheckpointError(f"{path} was changed after it was written: its SHA-256 is another")
    return read_tensors(path)


def _rename_losses(folder: Path) -> None:
    """Today's names of losses in what a training keeps as plain text: its config and its log."""
    config, log = folder / "config.json", folder / "log.jsonl"
    if config.is_file():
        write_text(config, json.dumps(renamed_config(_json(config)), indent=1))
    if log.is_file():
        write_bytes(log, renamed_log(log.read_bytes()))


# -- readers, one per kind ---------------------------------------------------------------------------


def _whole(read: Callable[[Path], Old]) -> Callable[[Path], Old]:
    """A reader whose stumbling over a record is one line."""

    def checked(folder: Path) -> Old:
        try:
            return read(folder)
        except ConcordError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{folder} is not whole, and cannot be upgraded: {type(error).__name__} {error}"
            ) from error

    return checked


def _check_digest(path: Path, record: Mapping[str, Any]) -> None:
    rest = {key: value for key, value in record.items() if key != "digest"}
    if record.get("digest") != sha256(json.dumps(rest, sort_keys=True).encode()):
        raise CheckpointError(f"{path} was changed after it was written: its digest does not fit")


def _checkpoint(folder: Path) -> Old:
    """Format 1: tensors were named by their place in the state, and losses by other names."""
    path = folder / FORMATS["checkpoint"].record
    index = _json(path)
    _check_digest(path, index)
    content: dict[str, Any] = {"step": index["step"], "scores": index["scores"], "state": {}}
    files = {}
    for name, packed in index["state"].items():
        file = f"{name}.safetensors"
        known = index["files"].get(file)
        before = {} if known is None else _tensors(folder / file, known["sha256"])
        state = unpack(packed, before)
        if name in ("history", "training"):
            state = renamed_parts(state)
        content["state"][name], tensors = pack(state)
        if tensors:
            files[file] = tensor_bytes(tensors)
    return content, files


def _run(folder: Path) -> Old:
    """Format 1: tables were dense, without strength and interval; no digest covered the tokenizer.

    Losses of the config had other names.
    """
    path = folder / FORMATS["run"].record
    record = _json(path)
    _check_digest(path, record)
    weights = _tensors(folder / "model.safetensors", record["weights"]["sha256"])
    content = {key: value for key, value in record.items() if key not in ("format", "weights", "digest")}
    content["config"] = renamed_config(record["config"])
    content["relations"] = [{"strength": None, "interval": None, **each} for each in record["relations"]]
    return content, {"model.safetensors": tensor_bytes(weights), **_tokenizer(folder)}


def _hub(folder: Path) -> Old:
    """Format 1: a digest covered the weights alone."""
    config = _json(folder / FORMATS["hub"].record)
    weights = _tensors(folder / "model.safetensors", config["weights"]["sha256"])
    content = {key: value for key, value in config.items() if key not in ("format", "weights")}
    content["tasks"] = [_task(each) for each in config["tasks"]]
    return content, {"model.safetensors": tensor_bytes(weights), **_tokenizer(folder)}


def _tokenizer(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in (folder / "tokenizer").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _task(record: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"multiclass": "classes", "multilabel": "labels"}
    return {"name": record["name"], kinds[record["kind"]]: record["outputs"]}


def _estimator(folder: Path) -> Old:
    """Format 3: tensors were named FAMILY/FOLD/TASK/..., and class weights were lists of pairs."""
    path = folder / FORMATS["estimator"].record
    record = _json(path)
    digest = record.pop("digest", None)
    if digest != sha256(json.dumps(record).encode()):
        raise CheckpointError(f"{path} was changed after it was written: its digest does not fit")
    if record["format"] != 3:
        raise CheckpointError(f"{path} has format {record['format']}, which is no longer upgraded")
    tensors = _tensors(folder / "weights.safetensors", record["weights"])
    networks, families = _networks(record, tensors)
    dropped = ("format", "weights", "classes_dtype")
    state = {key: value for key, value in record.items() if key not in dropped} | {
        "tasks": [_task(each) for each in record["tasks"]],
        "parameters": record["parameters"]
        | {"class_weight": _dictionary(record["parameters"]["class_weight"])},
        "classes": _classes(record["classes"], record["classes_dtype"]) if record["single"] else None,
        "networks": networks,
        "families": families,
    }
    content, found = pack(state)
    return content, {"weights.safetensors": tensor_bytes(found)}


def _networks(
    record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    tasks = [each["name"] for each in record["tasks"]]
    if not record["automatic"]:
        capacity = "shared" if len(tasks) == 1 else "half-shared"
        return [_network(tasks, capacity, "network", ["network"], tensors)], {}
    networks: list[dict[str, Any]] = []
    families: dict[str, Any] = {}
    for family, each in record["families"].items():
        folds = []
        for i, of in enumerate(each["networks"]):
            prefixes = [f"{family}/{i}/{task}" for task in of]
            if family == "single-task":
                folds.append({task: len(networks) + n for n, task in enumerate(of)})
                for task, prefix in zip(of, prefixes, strict=True):
                    networks.append(_network([task], "shared", prefix, prefixes, tensors))
            else:
                folds.append(dict.fromkeys(of, len(networks)))
                networks.append(_network(tasks, "half-shared", prefixes[0], prefixes, tensors))
        families[family] = {"networks": folds, "scale": each["scale"]}
    return networks, families


def _network(
    tasks: list[str], capacity: str, prefix: str, prefixes: list[str], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """One network's weights. Where one task's name begins another's, a tensor is of the longer prefix."""
    longer = tuple(f"{other}/" for other in prefixes if other.startswith(f"{prefix}/"))
    weights = {
        key.removeprefix(f"{prefix}/"): value
        for key, value in tensors.items()
        if key.startswith(f"{prefix}/") and not key.startswith(longer)
    }
    return {"tasks": tasks, "capacity": capacity, "weights": weights}


def _dictionary(pairs: Any) -> Any:
    return {key: _dictionary(value) for key, value in pairs} if isinstance(pairs, list) else pairs


def _classes(values: list[Any], dtype: str) -> dict[str, Any]:
    kind = np.dtype(dtype).kind
    if kind == "m":  # "3 days"
        values = [int(value.split()[0]) for value in values]
    elif kind == "M":
        values = np.asarray(values, dtype=dtype).astype(np.int64).tolist()
    return {"dtype": dtype, "values": values}


_READERS: Mapping[Kind, Callable[[Path], Old]] = {
    "checkpoint": _whole(_checkpoint),
    "estimator": _whole(_estimator),
    "hub": _whole(_hub),
    "run": _whole(_run),
}
