"""Tensors and plain data in files: whole or not there at all, checked by digest, nothing pickled."""

from concord.archive.folders import (
    FORMATS,
    SAVED,
    STAGED,
    Archive,
    Kind,
    holds,
    read_archive,
    save_archive,
    sha256,
    write_archive,
)
from concord.archive.owners import LOOK, STALE, Claim, Claimant, covering, own, owned
from concord.archive.state import pack, read_tensors, tensor_bytes, unpack

__all__ = [
    "FORMATS",
    "LOOK",
    "SAVED",
    "STAGED",
    "STALE",
    "Archive",
    "Claim",
    "Claimant",
    "Kind",
    "covering",
    "holds",
    "own",
    "owned",
    "pack",
    "read_archive",
    "read_tensors",
    "save_archive",
    "sha256",
    "tensor_bytes",
    "unpack",
    "write_archive",
]
