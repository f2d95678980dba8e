"""The folder of a training: whose it is, what it holds, and whether it is the one that a config asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.archive import FORMATS, SAVED, STAGED, Claim, own, read_archive
from concord.config import Config, differences, shown
from concord.data import SPLITS
from concord.errors import CheckpointError, ConfigError, OutputError, RangeError
from concord.files import write_text
from concord.fitting import Checkpoints, on_first
from concord.runs.run import RUN_FILE, TOKENIZER, WEIGHTS_FILE, metrics_file
from concord.runs.stages import FIRST_STAGE

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CONFIG_FILE = "config.json"
DATA_FILE = "data.json"
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"
AUTO = "auto"
"""Folder of the networks that decide, within a run's."""

OF_AUTO = ("network-*", "features-*", "inputs-*")
"""What it holds until the run is there."""

WRITTEN = (
    *(RUN_FILE, WEIGHTS_FILE, TOKENIZER, CONFIG_FILE, LOG_FILE),
    *(CHECKPOINTS, FIRST_STAGE, AUTO, "tensorboard"),
    *map(metrics_file, SPLITS),
    DATA_FILE,
)
"""What a training and its evaluation write into their folder: first what says that it is finished, last what
says that the folder is a training's."""

STEPS = "training.steps"


def finished(config: Config) -> bool:
    """Whether the output folder of a config holds a training that has nothing left to do."""
    folder = Path(config.output or "")
    if config.stages.kind == "auto":
        return _has_run(folder)
    last = Checkpoints(folder / CHECKPOINTS).latest()
    steps = 0 if last is None else int(last.name.removeprefix("step-"))
    # Without steps in the config they are those that were noted when the training began.
    asked = kept_steps(folder) if config.training.steps is None else config.training.steps
    return _has_run(folder) and steps == asked


def check_place(folder: Path) -> None:
    """Refuse a folder that is no training's and holds files that one would write over.

    Raises:
        ConfigError: It does; names the first of them.
    """
    if holds_training(folder) or _says_of_data(folder / DATA_FILE):
        return
    for name in WRITTEN:
        place = folder / name
        if place.is_dir() and not any(place.iterdir()):
            continue  # made beforehand, or a link to where there is room
        if os.path.lexists(place):
            raise ConfigError(
                f"{folder} is no folder of a training and holds {name}, which would be written over; train "
                f"into another folder (--out), or move {name} elsewhere"
            )


def _says_of_data(path: Path) -> bool:
    """Whether a file is what a training notes of its data, which it does before anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(found, dict)
        and bool(found)
        and all(isinstance(each, str) and re.fullmatch(r"[0-9a-f]{32}", each) for each in found.values())
    )


def check_folder(folder: Path, config: Config, *, further: bool = False) -> None:
    """Refuse a folder with a training of another config; of another length only where it goes further.

    Raises:
        ConfigError: It holds one; says what differs.
        CheckpointError: It does not say of what.
    """
    if not holds_training(folder):
        return  # nothing is lost
    unsaid = config.training.steps is None  # it follows the rows, which are not read yet
    changed = [
        f"{key} was {shown(before)}, here it is {shown(now)}"
        for key, before, now in differences(_kept(folder / CONFIG_FILE), config.identity())
        if not ((further or unsaid) and key == STEPS)
    ]
    if changed:
        raise ConfigError(
            f"{folder} holds a training of another config: {_listed(changed)}; train into another folder "
            "(--out), or in place of that one (--overwrite)"
        )


def check_data(folder: Path, content: Mapping[str, str]) -> None:
    """Refuse a folder with a training of other data.

    Args:
        folder: Of the training.
        content: Digests of the data; see `concord.runs.contents.digests`.

    Raises:
        ConfigError: It holds one; says what changed.
        CheckpointError: What it says of its data cannot be read.
    """
    if not holds_training(folder) or not (folder / DATA_FILE).exists():
        return  # without the file the checkpoints still know their tables and the order of rows
    changed = [what for what, _, _ in differences(_kept(folder / DATA_FILE), dict(content))]
    if changed:
        raise ConfigError(
            f"{folder} holds a training of other data: {_listed(changed)} changed since; train into another "
            "folder (--out), or in place of that one (--overwrite)"
        )


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def holds_training(folder: Path) -> bool:
    """Whether a training was begun there, of which something would be lost."""
    saved = f"step-*/{FORMATS['checkpoint'].record}"  # a folder of somebody else may be called as much
    places = (CHECKPOINTS, FIRST_STAGE, *(f"{AUTO}/{what}" for what in OF_AUTO))
    return _has_run(folder) or any(any(folder.glob(f"{place}/**/{saved}")) for place in places)


def _has_run(folder: Path) -> bool:
    """Whether a finished training is there, be it where it was saved before its files took their places."""
    return (folder / RUN_FILE).exists() or (folder / SAVED / RUN_FILE).exists()


def _kept(path: Path) -> Any:
    """What the folder says of the training that it holds."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.parent} holds a training, but {path} does not say of what ({error}); train into another "
            "folder"
        ) from error


def claimed(
    folder: Path,
    config: Config,
    content: Mapping[str, str],
    fabric: Fabric,
    *,
    overwrite: bool,
    further: bool,
) -> Claim | None:
    """The claim on the folder, on rank 0; then what the folder holds is looked at once more, and noted."""
    held: list[Claim] = []

    def take() -> None:
        _make(folder)
        held.append(own(folder))
        try:
            check_place(folder)
            if overwrite:
                clear(folder)
            check_folder(folder, config, further=further)
            check_data(folder, content)
            _note(folder, config, content)
        except ConfigError as error:  # of another training, which was here since the first look
            raise CheckpointError(str(error)) from error

    try:
        on_first(fabric, take, f"to {folder}")
    except BaseException:
        for claim in held:
            claim.release()
        raise
    return held[0] if held else None


def clear(folder: Path) -> None:
    """Remove a training from its folder, see `check_place`; files of others stay.

    Raises:
        CheckpointError: Something cannot be removed.
    """
    try:
        # First what was saved and has not taken its place: while it is there, a folder is read from it.
        for name in (SAVED, STAGED, *WRITTEN):
            place = folder / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot remove {error.filename}: {error.strerror or error}") from error


def kept_steps(folder: Path) -> int | None:
    """The length of the training that a folder holds; None where it holds none."""
    if not holds_training(folder):
        return None
    kept = _kept(folder / CONFIG_FILE)
    try:
        return int(kept["training"]["steps"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} does not say of how many steps") from error


def lengthened(config: Config, more: int) -> Config:
    """The config of a training that goes further; killed on the way, it goes on to where it was to end.

    Args:
        config: Of the training, with its folder.
        more: Steps on top, >= 1.

    Raises:
        RangeError: Fewer than one.
        ConfigError: No training, one that is not finished, one whose checkpoints were removed, or one whose
            course depends on its length.
        CheckpointError: What the folder says of its training cannot be read.
    """
    if more < 1:
        raise RangeError(f"steps on top are >= 1, found {more}")
    folder = Path(config.output or "")
    steps = kept_steps(folder)
    if steps is None:
        raise ConfigError(
            f"{config.output} holds no training that could go further; train without --more-steps first"
        )
    if config.stages.kind != "single" or config.training.schedule != "constant":
        what = (
            f"stages: {config.stages.kind}, which is decided or taught at the length of the training"
            if config.stages.kind != "single"
            else f"schedule: {config.training.schedule}, whose rate ends with the last step"
        )
        raise ConfigError(
            f"a training with {what}, is another one at another length; train with --set {STEPS}=... into "
            "another folder"
        )

    def of_length(n: int) -> Config:
        return config.model_copy(update={"training": config.training.model_copy(update={"steps": n})})

    if not _has_run(folder):
        raise ConfigError(f"the training in {folder} is not finished; train without --more-steps first")
    if _steps_of_run(folder) < steps:  # it was to go further, and was killed on the way
        return of_length(steps)
    if not finished(of_length(steps)):
        raise ConfigError(
            f"{folder} holds no checkpoint of the finished training that it could go on from; train with "
            f"--set {STEPS}={steps + more} into another folder"
        )
    return of_length(steps + more)


def _steps_of_run(folder: Path) -> int:
    """The steps of the finished training in a folder."""
    content = read_archive(folder, "run").content
    try:
        return int(content["facts"]["steps"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / RUN_FILE} does not say of how many steps") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write to {folder}: {error.strerror or error}") from error


def _note(folder: Path, config: Config, content: Mapping[str, str]) -> None:
    try:
        write_text(folder / DATA_FILE, json.dumps(content, indent=1))
        write_text(folder / CONFIG_FILE, json.dumps(config.identity(), indent=1))
    except OutputError as error:
        raise CheckpointError(str(error)) from error
