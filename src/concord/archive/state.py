"""Nested state as plain data and numbered tensors, and tensors as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concord.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_TENSOR, _ITEMS, _TUPLE = "$tensor", "$items", "$tuple"


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested state into what JSON holds and tensors on the CPU.

    Tensors are numbered, in order: a number cannot clash with another one, as names joined from parts can.

    Args:
        state: Numbers, text, None, tensors, and lists, tuples and mappings of these.

    Raises:
        CheckpointError: A value of another kind; names its place.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, "", tensors), tensors


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        number = str(len(tensors))
        # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
        tensors[number] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: number}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(v, _below(path, i), tensors) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_pack(v, _below(path, i), tensors) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        items = [(_plain(k, _below(path, k)), _pack(v, _below(path, k), tensors)) for k, v in value.items()]
        if all(isinstance(k, str) and not k.startswith("$") for k, _ in items):
            return dict(items)
        return {_ITEMS: [[k, v] for k, v in items]}
    return _plain(value, path)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _plain(value: Any, path: str) -> Any:
    """A value that JSON holds and gives back; a number of NumPy as Python's own."""
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CheckpointError(f"text that UTF-8 cannot write, {value!a}, at {path!a}") from None
        return str(value)
    raise CheckpointError(
        f"what is saved are numbers, text and tensors, found {type(value).__name__} at {path or 'the top'}"
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
            raise CheckpointError(f"tensor {packed[_TENSOR]!r} is missing")
        return tensors[packed[_TENSOR]]
    if set(packed) == {_ITEMS}:
        return {key: unpack(value, tensors) for key, value in packed[_ITEMS]}
    if set(packed) == {_TUPLE}:
        return tuple(unpack(value, tensors) for value in packed[_TUPLE])
    return {key: unpack(value, tensors) for key, value in packed.items()}


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file with these tensors.

    Raises:
        CheckpointError: A tensor that safetensors cannot hold.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
    owned = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    try:
        return bytes(save(owned))
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"the tensors cannot be saved: {' '.join(str(error).split())}") from error


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
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be read as safetensors: {reason}") from error
