"""Checkpoints: tensors in safetensors, everything else in JSON, whole or not there at all.

A checkpoint is a folder `step-00001200` with one safetensors file per part and `checkpoint.json`, which holds
the rest of the state and the digests (see `concord.archive`). It is written under another name next to its
place, flushed to the disk and renamed, so that a process that is killed at any moment leaves either the whole
checkpoint or none. Nothing is pickled, so loading never runs code.
"""

from __future__ import annotations

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

from concord.archive import (
    Archive,
    Claim,
    covering,
    own,
    pack,
    read_archive,
    tensor_bytes,
    unpack,
    write_archive,
)
from concord.arrays import whole_number
from concord.errors import CheckpointError
from concord.files import flush

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in one folder.

    Args:
        folder: Where they are.
        every: Steps between two of them, >= 1; the last step always has one.
        keep: How many of the newest are kept, >= 1. For each task the one with the best score on
            validation rows is kept as well.
        resume: Whether a training goes on from the newest one, where there is one. Otherwise a folder
            that holds checkpoints is refused.
        owner: The claim that covers the folder, if the one that saves is to see that it still holds it.

    Raises:
        RangeError: A number that is no whole number >= 1.
    """

    folder: Path
    every: int = 500
    keep: int = 2
    resume: bool = True
    owner: Claim | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        whole_number("every of checkpoints", self.every)
        whole_number("keep of checkpoints", self.keep)

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

    def claim(self) -> Claim:
        """Make the folder and claim it.

        Raises:
            CheckpointError: The folder cannot be written to, or another process writes to it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {_reason(error)}") from error
        return own(self.folder)

    def prepare(self) -> None:
        """Make the folder and, as its owner, clear what a killed process left half written.

        Raises:
            CheckpointError: The folder cannot be written to, or holds checkpoints that are not to be resumed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            owner = self.owner or covering(self.folder)
            for path in self.folder.glob(".*.tmp") if owner is not None else ():
                if path.is_dir():
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
        if self.owner is not None:
            self.owner.check()
        target = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".{uuid4().hex}.tmp"
        content: dict[str, Any] = {"step": step, "scores": dict(scores), "state": {}}
        files = {}
        for name, part in state.items():
            content["state"][name], tensors = pack(part)
            if tensors:
                files[f"{name}.safetensors"] = tensor_bytes(tensors)
        try:
            temporary.mkdir()
            write_archive(temporary, "checkpoint", content, files)
            if target.exists():  # a run that was resumed before it comes by here again
                self._remove(target)
            os.rename(temporary, target)
            flush(self.folder)
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
        archive = _read(path)
        out: dict[str, Any] = {"step": archive.content["step"], "scores": archive.content["scores"]}
        for name, packed in archive.content["state"].items():
            file = f"{name}.safetensors"
            out[name] = unpack(packed, archive.tensors(file) if file in archive.files else {})
        return out

    def best(self) -> dict[str, tuple[Path, float]]:
        """By task, the checkpoint with the best score on validation rows."""
        out: dict[str, tuple[Path, float]] = {}
        for path in self.all():
            for task, score in _read(path).content["scores"].items():
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


def _read(path: Path) -> Archive:
    archive = read_archive(path, "checkpoint")
    named = _NAME.fullmatch(path.name)
    if named and int(named[1]) != archive.content["step"]:
        raise CheckpointError(f"{path} was renamed: it holds step {archive.content['step']}")
    return archive


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
