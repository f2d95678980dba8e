"""On which machine values were recorded, where they lie, and how they are compared there and elsewhere."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

VALUES = Path(__file__).parent / "values"
SAVED = Path(__file__).parent / "saved"

ELSEWHERE = 1e-5
"""How close numbers of a training come on another machine than the recording one."""


def fingerprint() -> dict[str, Any]:
    """What the last bits of a training depend on beside the code."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def digest(parts: Any) -> str:
    """SHA-256 of arrays in order: their kind, shape and bytes, not their names."""
    found = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part)
        found.update(repr((array.dtype.str, array.shape)).encode())
        found.update(array.tobytes())
    return found.hexdigest()


def write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def pack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Many small arrays as a few, exactly: a file for each would weigh more than its numbers."""
    index = [
        [name, a.dtype.kind, list(a.shape), a.ravel().tolist() if a.dtype.kind == "U" else None]
        for name, a in arrays.items()
    ]
    numbers = [a.ravel().astype(np.float64) for a in arrays.values() if a.dtype.kind != "U"]
    return {"index": np.frombuffer(json.dumps(index).encode(), np.uint8), "numbers": np.concatenate(numbers)}


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was packed."""
    numbers, start, out = packed["numbers"], 0, {}
    for name, kind, shape, text in json.loads(bytes(packed["index"])):
        if kind == "U":
            out[name] = np.asarray(text, dtype=str).reshape(shape)
            continue
        size = int(np.prod(shape))
        part = numbers[start : start + size].reshape(shape)
        out[name], start = part.astype({"f": float, "b": bool, "i": int}[kind]), start + size
    return out


def check(found: Any, expected: Any, *, tolerance: float = 0.0, where: str = "") -> None:
    """Plain data is as recorded: everything but floats exactly, floats within a tolerance."""
    if isinstance(expected, Mapping):
        assert isinstance(found, Mapping), where
        assert list(found) == list(expected), where
        for key, value in expected.items():
            check(found[key], value, tolerance=tolerance, where=f"{where}/{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            check(found[i], value, tolerance=tolerance, where=f"{where}/{i}")
    elif isinstance(expected, float) and isinstance(found, float):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=where)
    else:
        assert found == expected, where


def check_arrays(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], *, tolerance: float
) -> None:
    """Arrays are as recorded: text, truth values and whole numbers exactly, floats within a tolerance."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)
