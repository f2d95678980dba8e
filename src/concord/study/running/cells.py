"""The cells of a plan, and the files that finished ones leave: what is done is never done twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from concord.config import differences, shown
from concord.errors import DataFormatError, StudyError
from concord.files import read_arrays, read_json, write_arrays, write_text
from concord.study.plan import GROWING, Plan

CONFIG = "config.json"

KEPT = (
    *(CONFIG, "environment.json", "runs"),
    *("summary.json", "results.csv", "curves.csv", "relation.json", "confusion.json", "gallery.json"),
)
"""What a study keeps in its folder: of its runs, then of the comparison that its report is drawn from."""

FIELDS: dict[str, Any] = {
    "rows": dict,
    "validation": dict,
    "curves": list,
    "relations": dict,
    "seconds": (int, float),
}
"""What the record of a run holds, next to the names of the run."""


@dataclass(frozen=True)
class Cell:
    """One run of a plan.

    Attributes:
        regime: Name of the regime.
        condition: Name of the condition.
        seed: The seed.
    """

    regime: str
    condition: str
    seed: int

    @property
    def id(self) -> str:
        """Name of its files."""
        return f"{self.regime}~{self.condition}~{self.seed}"


def all_cells(plan: Plan) -> list[Cell]:
    """All runs of a plan, in the order of its results: regime, condition, seed."""
    return [
        Cell(regime.name, condition.name, seed)
        for regime in plan.regimes
        for condition in plan.conditions
        for seed in plan.seeds
    ]


def open_folder(out: Path, plan: Plan) -> None:
    """Take a folder for a plan: a new or empty one, or one that holds the same plan, or less of it.

    A plan may gain regimes, conditions and seeds. It may lose only what no run was begun of, so that no run
    which was made is left out of the results, and may not change how verdicts come about.

    Raises:
        StudyError: The folder holds another plan, or other things; nothing is written then.
    """
    config = out / CONFIG
    if config.is_file():
        try:
            held = read_json(config)
        except (OSError, DataFormatError) as error:
            raise StudyError(f"{config} is not readable as a plan; choose another --out") from error
        wanted = plan.resolved()
        kept = _without_unbegun(out, held, wanted)
        difference = next(differences(kept, _without_growth(kept, wanted)), None)
        if difference is not None:
            key, there, here = difference
            raise StudyError(
                f"{out} holds another plan ({key} is {shown(there)} there, {shown(here)} here); choose "
                "another --out"
            )
        if held != wanted:
            write_json(config, wanted)
        return
    if out.exists() and (not out.is_dir() or any(map(_foreign, out.iterdir()))):
        raise StudyError(f"{out} exists and holds no study; choose another --out")
    (out / "runs").mkdir(parents=True, exist_ok=True)
    write_json(config, plan.resolved())


def _foreign(path: Path) -> bool:
    """Whether a file is none that a session leaves which opens the same folder at this moment."""
    if path.is_dir():
        return path.name != "runs" or any(path.iterdir())
    return not (path.name.startswith(f".{CONFIG}.") and path.name.endswith(".tmp"))


def finished(out: Path, plan: Plan) -> set[Cell]:
    """The runs of a plan that a folder holds complete."""
    return {cell for cell in all_cells(plan) if is_finished(out, cell)}


def is_finished(out: Path, cell: Cell) -> bool:
    """Whether a folder holds a run complete."""
    return _json(out, cell).is_file() and _npz(out, cell).is_file()


def save(
    out: Path, cell: Cell, record: Mapping[str, Any], logits: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    """Write a finished run; a reader sees all of it or nothing."""
    # Zip archives end a name at a NUL, and some systems see folders in slashes.
    write_arrays(_npz(out, cell), {quote(name, safe=" "): array for name, array in logits.items()})
    write_json(_json(out, cell), record)  # last: it says that the run is complete


def load(out: Path, plan: Plan, cell: Cell) -> dict[str, Any]:
    """What a finished run recorded.

    Raises:
        StudyError: It is damaged, or belongs to another plan.
    """
    path = _json(out, cell)
    try:
        record = read_json(path)
    except (OSError, DataFormatError) as error:
        raise StudyError(f"{path} is damaged; delete it and start the study again") from error
    if not isinstance(record, dict) or not all(isinstance(record.get(k), t) for k, t in FIELDS.items()):
        raise StudyError(f"{path} is damaged; delete it and start the study again")
    if record.get("plan") != plan.digest_of(cell.regime, cell.condition):
        raise StudyError(f"{path} belongs to another plan; delete it and start the study again")
    return record


def logits(out: Path, cell: Cell) -> dict[str, npt.NDArray[np.float32]]:
    """Test logits of a finished run, by task.

    Raises:
        StudyError: The file is damaged.
    """
    path = _npz(out, cell)
    try:
        return {unquote(name): array for name, array in read_arrays(path).items()}
    except DataFormatError as error:
        raise StudyError(f"{path} is damaged; delete it and start the study again") from error


def write_json(path: Path, values: Any) -> None:
    """Write JSON at once, so that nobody reads half of it.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def _json(out: Path, cell: Cell) -> Path:
    return out / "runs" / f"{cell.id}.json"


def _npz(out: Path, cell: Cell) -> Path:
    return out / "runs" / f"{cell.id}.npz"


def _without_growth(held: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """A plan without the entries that a held one has not; a field that lacks any of the held ones stays."""
    there = held if isinstance(held, dict) else {}
    return {**wanted, **{key: _shared(there.get(key), wanted[key]) for key in GROWING}}


def _without_unbegun(out: Path, held: Any, wanted: dict[str, Any]) -> Any:
    """A held plan without the entries that a wanted one has not, and that no run was begun of."""
    if not isinstance(held, dict):
        return held
    begun = _begun(out)
    return {**held, **{key: _needed(held.get(key), wanted[key], begun[key]) for key in GROWING}}


def _begun(out: Path) -> dict[str, set[str]]:
    """By growing field, what runs are named by that left any file: finished, claimed or in training."""
    # A file that is being written begins with a dot. No name of a plan holds a tilde.
    parts = [path.name.removeprefix(".").split("~") for path in (out / "runs").glob("*~*~*")]
    return {
        "regimes": {json.dumps(part[0]) for part in parts},
        "conditions": {json.dumps(part[1]) for part in parts},
        "seeds": {part[2].partition(".")[0] for part in parts},
    }


def _needed(there: Any, here: list[Any], begun: set[str]) -> Any:
    if not isinstance(there, list):
        return there
    wanted = {_name(value) for value in here}
    return [value for value in there if _name(value) in wanted or _name(value) in begun]


def _shared(there: Any, here: list[Any]) -> list[Any]:
    entries = {_name(value): value for value in here}
    if not isinstance(there, list) or not all(_name(value) in entries for value in there):
        return here
    return [entries[_name(value)] for value in there]


def _name(value: Any) -> str:
    return json.dumps(value["name"] if isinstance(value, dict) and "name" in value else value)
