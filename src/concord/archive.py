"""Tensors and plain data in files: whole or not there at all, nothing pickled, checked by digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor

from concord.errors import CheckpointError

_TENSOR, _ITEMS, _TUPLE = "$tensor", "$items", "$tuple"


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


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and flush it to the disk."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        write_flushed(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
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


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def checked_tensors(path: Path, expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, if its size and digest are as expected.

    Raises:
        CheckpointError: The file is missing, truncated or changed.
    """
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
