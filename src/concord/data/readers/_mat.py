"""Reading of MATLAB files: one named variable, or an error with the file's name."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.data.readers._mat_check import check_mat
from concord.errors import DataFormatError, MissingDataError


def mat_variables(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Read variables of a .mat file (version 4 to 7.2).

    Raises:
        MissingDataError: No such file.
        DataFormatError: Not such a file, or without one of the variables.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise MissingDataError(f"{path}: expected a .mat file, found none; is the data set complete?")
    try:
        content = path.read_bytes()
        if content[124:126] not in (b"\x00\x02", b"\x02\x00"):  # version 7.3, which SciPy names
            check_mat(content, names)
        found = loadmat(BytesIO(content), variable_names=list(names))
        held = sorted(key for key in found if not key.startswith("__"))
    except NotImplementedError as error:
        raise DataFormatError(
            f"{path}: expected a .mat file up to version 7.2, found version 7.3; save it again with '-v7'"
        ) from error
    except Exception as error:  # the parser raises whatever a damaged file leads it to
        raise DataFormatError(
            f"{path}: expected a .mat file, found one that cannot be read ({error})"
        ) from error
    for name in names:
        if name not in found:
            raise DataFormatError(
                f"{path}: expected the variable {name!r}, found {', '.join(held) or 'none'}"
            )
    return {name: np.asarray(found[name]) for name in names}


def column(path: Path, name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A vector of numbers, however it lies: shape (n,), float64.

    Raises:
        DataFormatError: Not numbers, or not a vector.
    """
    if array.dtype.kind not in "biuf" or array.size != max(array.shape, default=0):
        raise DataFormatError(
            f"{path}: expected the variable {name!r} to be a vector of numbers, found {_shape(array)}"
        )
    return array.reshape(-1).astype(np.float64)


def matrix(path: Path, name: str, array: npt.NDArray[Any], columns: int) -> npt.NDArray[np.float64]:
    """A matrix of finite numbers with so many columns: float64.

    Raises:
        DataFormatError: Not numbers, or of another shape.
    """
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != columns:
        raise DataFormatError(
            f"{path}: expected the variable {name!r} to be a matrix of numbers with {columns} columns, "
            f"found {_shape(array)}"
        )
    out = array.astype(np.float64)
    if not np.isfinite(out).all():
        row = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
        raise DataFormatError(f"{path}: expected finite numbers in {name!r}, found none in row {row + 1}")
    return out


def cell_strings(path: Path, name: str, array: npt.NDArray[Any]) -> list[str]:
    """A cell vector of texts, as a list.

    Raises:
        DataFormatError: A cell that is no text; the message counts cells from 1.
    """
    if array.dtype.kind == "U" and array.ndim == 1:  # a character matrix: rows padded with blanks
        return [str(text).rstrip() for text in array]
    if array.dtype != object or array.size != max(array.shape, default=0):
        raise DataFormatError(
            f"{path}: expected the variable {name!r} to be a list of texts, found {_shape(array)}"
        )
    texts = []
    for number, outer in enumerate(array.reshape(-1), 1):
        cell = outer
        while isinstance(cell, np.ndarray) and cell.size == 1:  # cells may be nested
            cell = cell.reshape(-1)[0]
        if not isinstance(cell, str) or not cell.strip():
            raise DataFormatError(f"{path}: expected a text in cell {number} of {name!r}, found {cell!r:.60}")
        texts.append(str(cell))
    return texts


def _shape(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
