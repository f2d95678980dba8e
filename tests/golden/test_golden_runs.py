"""A tiny study and two trainings write the same files as before.

Byte for byte on the machine that recorded them; elsewhere their numbers are close.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from golden.computing import TRAININGS, study_files, training_file
from golden.machine import ELSEWHERE, VALUES, check, fingerprint, one_thread, read_json


def compare(found: dict[str, bytes], folder: Path) -> None:
    with one_thread():
        here = read_json(folder / "machine.json") == fingerprint()
    for name, content in found.items():
        expected = (folder / name).read_bytes()
        if here:
            assert content.decode() == expected.decode(), name
        else:
            check(plain(content, name), plain(expected, name), tolerance=ELSEWHERE, where=name)


def plain(content: bytes, name: str) -> Any:
    """The file as plain data, without what is a digest of weights."""
    text = content.decode()
    if name.endswith(".csv"):
        return [[_number(cell) for cell in row] for row in csv.reader(text.splitlines())]
    values = json.loads(text)
    values.pop("files", None)
    return values


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def test_a_study_writes_the_same_files(tmp_path: Path) -> None:
    compare(study_files(tmp_path / "study"), VALUES / "study")


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_writes_the_same_run(name: str, tmp_path: Path) -> None:
    compare({f"{name}.json": training_file(name, tmp_path)}, VALUES / "training")
