"""Checkpoints: tensors in safetensors, everything else in JSON, whole or not there at all.

A checkpoint is a folder `step-00001200` with one safetensors file a part and `checkpoint.json`, which holds
the rest of the state and the SHA-256 of every file. It is written under another name beside its place,
flushed to the disk and renamed, so that a process that is killed at any moment leaves either the whole
checkpoint or none. Nothing is pickled, so loading never runs code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from concord.errors import CheckpointError, RangeError

__all__ = ["Checkpoints", "pack", "read_tensors", "unpack", "write_file"]

FORMAT = 1
INDEX = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8,})")
_TENSOR, _ITEMS, _TUPLE = "$tensor", "$items", "$tuple"


# -- state without pickle --------------------------------------------------------------------------


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested state into what JSON holds and named tensors on the CPU.

    Args:
        state: Numbers, text, None, tensors, and lists, tuples and mappings of these.

    Raises:
        CheckpointError: A value of another kind; names its place.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, "", tensors), tensors


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: path}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(v, f"{path}.{i}" if path else str(i), tensors) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_pack(v, f"{path}.{i}" if path else str(i), tensors) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        items = [(k, _pack(v, f"{path}.{k}" if path else str(k), tensors)) for k, v in value.items()]
        if all(isinstance(k, str) and not k.startswith("$") for k, _ in items):
            return dict(items)
        return {_ITEMS: [[k, v] for k, v in items]}
    raise CheckpointError(
        f"a checkpoint holds numbers, text and tensors, found {type(value).__name__} at {path or 'the top'}"
    )


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what `pack` split.

    Raises:
        CheckpointError: A tensor is missing.
    """
    if isinstance(packed, list):
        return [unpack(value, tensors) for value in packed]
    if not isinstance(packed, dict):
        return packed
    if set(packed) == {_TENSOR}:
        if packed[_TENSOR] not in tensors:
            raise CheckpointError(f"the checkpoint lacks tensor {packed[_TENSOR]!r}")
        return tensors[packed[_TENSOR]]
    if set(packed) == {_ITEMS}:
        return {key: unpack(value, tensors) for key, value in packed[_ITEMS]}
    if set(packed) == {_TUPLE}:
        return tuple(unpack(value, tensors) for value in packed[_TUPLE])
    return {key: unpack(value, tensors) for key, value in packed.items()}


# -- files -----------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and flush it to the disk."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        _write(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: No such file, or one that is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _index_digest(index: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in index.items() if key != "digest"}
    return _digest(json.dumps(rest, sort_keys=True).encode())


# -- a run's checkpoints ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in one folder.

    Args:
        folder: Where they are.
        every: Steps between two of them, >= 1; the last step always has one.
        keep: How many of the newest are kept, >= 1. For each task the one with the best score on
            validation rows is kept beside them.
        resume: Whether a training goes on from the newest one, where there is one. Otherwise a folder
            that holds checkpoints is refused.

    Raises:
        RangeError: A number below 1.
    """

    folder: Path
    every: int = 500
    keep: int = 2
    resume: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if self.every < 1 or self.keep < 1:
            raise RangeError(f"every and keep of checkpoints are >= 1, found {self.every} and {self.keep}")

    def all(self) -> list[Path]:
        """All whole checkpoints, the newest last."""
        if not self.folder.is_dir():
            return []
        found = [(int(m[1]), path) for path in self.folder.iterdir() if (m := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        found = self.all()
        return found[-1] if found else None

    def prepare(self) -> None:
        """Make the folder and clear what a killed process left half written.

        Raises:
            CheckpointError: The folder cannot be written to, or holds checkpoints that are not to be resumed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(".*.tmp"):
                shutil.rmtree(path)
            probe = self.folder / f".{uuid4().hex}.tmp"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {_reason(error)}") from error
        newest = self.latest()
        if newest is not None and not self.resume:
            raise CheckpointError(
                f"{self.folder} already holds {newest.name}; resume it, or train into another folder"
            )

    def save(self, step: int, state: Mapping[str, Any], scores: Mapping[str, float]) -> Path:
        """Write one checkpoint, then remove those that are no longer kept.

        Args:
            step: The step that is done.
            state: By part: anything that `pack` takes.
            scores: By task, the score on validation rows at this step, larger is better; may be empty.

        Raises:
            CheckpointError: It could not be written; the ones before it are whole.
        """
        from safetensors.torch import save

        target = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".{uuid4().hex}.tmp"
        index: dict[str, Any] = {
            "format": FORMAT, "step": step, "scores": dict(scores), "files": {}, "state": {},
        }  # fmt: skip
        try:
            temporary.mkdir()
            for name, part in state.items():
                index["state"][name], tensors = pack(part)
                if tensors:
                    content = save(tensors)
                    index["files"][f"{name}.safetensors"] = {
                        "sha256": _digest(content),
                        "bytes": len(content),
                    }
                    _write(temporary / f"{name}.safetensors", content)
            index["digest"] = _index_digest(index)
            _write(temporary / INDEX, json.dumps(index, indent=1).encode())
            _flush_folder(temporary)
            if target.exists():  # a run that was resumed before it comes by here again
                self._remove(target)
            os.rename(temporary, target)
            _flush_folder(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            newest = self.latest()
            left = "there is no earlier one" if newest is None else f"the last good one is {newest}"
            raise CheckpointError(
                f"cannot write checkpoint {target.name} to {self.folder}: {_reason(error)}; {left}"
            ) from error
        self._prune()
        return target

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint and check every file of it.

        Returns:
            By part, what `save` was given; and `step` and `scores`.

        Raises:
            CheckpointError: It is missing, truncated, renamed, tampered with, or of another format.
        """
        index = _read_index(path)
        out: dict[str, Any] = {"step": index["step"], "scores": index["scores"]}
        for name, packed in index["state"].items():
            tensors: dict[str, Tensor] = {}
            file = f"{name}.safetensors"
            if file in index["files"]:
                tensors = _checked_tensors(path / file, index["files"][file])
            out[name] = unpack(packed, tensors)
        return out

    def best(self) -> dict[str, tuple[Path, float]]:
        """By task, the checkpoint with the best score on validation rows."""
        out: dict[str, tuple[Path, float]] = {}
        for path in self.all():
            for task, score in _read_index(path)["scores"].items():
                if task not in out or score > out[task][1]:
                    out[task] = (path, score)
        return out

    def _prune(self) -> None:
        found = self.all()
        if len(found) <= self.keep:
            return
        kept = set(found[-self.keep :]) | {path for path, _ in self.best().values()}
        for path in found:
            if path not in kept:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        # Renamed first: a checkpoint that is being removed is never taken for a whole one.
        gone = path.with_name(f".{uuid4().hex}.tmp")
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / INDEX).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path} is no checkpoint: it has no {INDEX}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / INDEX} cannot be read: {error}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else type(index).__name__
        raise CheckpointError(f"{path / INDEX} has format {found}, this version reads {FORMAT}")
    if index.get("digest") != _index_digest(index):
        raise CheckpointError(f"{path / INDEX} was changed after it was written")
    named = _NAME.fullmatch(path.name)
    if named and int(named[1]) != index["step"]:
        raise CheckpointError(f"{path} was renamed: it holds step {index['step']}")
    return index


def _checked_tensors(path: Path, expected: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{path} is truncated: {expected['bytes']} bytes expected, found {size}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    if digest != expected["sha256"]:
        raise CheckpointError(f"{path} was changed after it was written: its SHA-256 is another")
    return read_tensors(path)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators that a training on `device` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
