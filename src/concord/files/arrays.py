"""Arrays in .npz files: any text is a name, nothing is unpickled, and nothing unpacks to more than it may."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from concord.errors import DataFormatError
from concord.files.limits import check_unpacked
from concord.files.writing import whole

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNREADABLE = (
    *(ValueError, TypeError, OSError, EOFError, SyntaxError, KeyError, RuntimeError, MemoryError),
    *(NotImplementedError, OverflowError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What NumPy and zipfile raise on a .npy or .npz file that is damaged, encrypted or none."""

ENDING = ".npy"


def write_arrays(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name as a .npz file, whole or not at all.

    `numpy.savez` takes the names `file` and `allow_pickle` for arguments of its own.

    Raises:
        OutputError: It cannot be written; names the file.
    """
    import numpy as np

    with whole(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            # A date of its own would make two files of the same arrays differ.
            member = zipfile.ZipInfo(f"{name}{ENDING}", (1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def read_arrays(path: Path, key: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a .npz file by name, or one of them.

    Args:
        path: The file.
        key: The one to read; all of them unless given.

    Raises:
        DataFormatError: A file that cannot be read, holds pickled objects, or unpacks to far more than it
            takes on the disk.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if key is None or m.filename == f"{key}{ENDING}"]
            check_unpacked(path, path.stat().st_size, sum(member.file_size for member in members))
            return {m.filename.removesuffix(ENDING): _member(archive, m) for m in members}
    except DataFormatError as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error
    except UNREADABLE as error:
        raise DataFormatError(f"{path} cannot be read: {error}") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if not member.filename.endswith(ENDING):
        raise DataFormatError(f"its member {member.filename!r} is no array ({ENDING})")
    import numpy as np

    with archive.open(member) as file:
        shape, _, dtype = read_header(file)
        left = member.file_size - file.tell()
    if bytes_of(shape, dtype) != left:
        raise DataFormatError(f"{member.filename!r} has shape {shape}, but {left:,} bytes")
    with archive.open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of a .npy file that is open at its beginning.

    Raises:
        DataFormatError: No such header, or one of pickled objects.
        ValueError: Or another of `UNREADABLE`: as NumPy raises it.
    """
    import numpy as np

    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DataFormatError("holds Python objects, which are not read (pickle)")
    return shape, fortran, dtype


def bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """How many bytes an array takes; whole numbers of Python do not overflow."""
    size = dtype.itemsize
    for length in shape:
        if length < 0:
            raise DataFormatError(f"a shape of {shape}")
        size *= length
    return size
