"""Folders that an earlier version saved are upgraded, and predict what they predicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from golden import api
from golden.computing import MODELS, estimator_said, gone_on_with, network_said, run_said
from golden.machine import ELSEWHERE, SAVED, check, read_json

CLOSE = 1e-6
"""No training lies between a saved folder and its predictions: the same on every machine but for rounding."""


def upgraded(folder: Path, load: Callable[[Path], object], to: Path) -> Path:
    """The folder in today's format; as it lies, it is refused in a line that names the command."""
    with pytest.raises(OSError, match=f"concord upgrade {folder}") as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    return api.upgrade(folder, to)


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_estimator_predicts_what_it_predicted(name: str, tmp_path: Path) -> None:
    kept = read_json(SAVED / name / "expected.json")
    load = api.CoupledClassifier.load
    model = load(upgraded(SAVED / name / "model", load, tmp_path / "new"))
    check(estimator_said(model, kept["inputs"]), kept["expected"], tolerance=CLOSE)


def test_a_network_of_the_hub_predicts_what_it_predicted(tmp_path: Path) -> None:
    kept = read_json(SAVED / "hub" / "expected.json")
    model = api.from_pretrained(upgraded(SAVED / "hub" / "model", api.from_pretrained, tmp_path / "new"))
    (decoder,) = model.decoders
    check(network_said(model.network, decoder, kept["inputs"]), kept["expected"], tolerance=CLOSE)


def test_a_run_predicts_what_it_predicted(tmp_path: Path) -> None:
    kept = read_json(SAVED / "run" / "expected.json")
    run = upgraded(SAVED / "run" / "run", api.load_run, tmp_path / "new")
    check(run_said(run, kept["inputs"], tmp_path), kept["expected"], tolerance=CLOSE)


def test_an_unfinished_training_is_gone_on_with_to_the_same_weights(tmp_path: Path) -> None:
    expected = read_json(SAVED / "unfinished" / "expected.json")["expected"]
    run = api.upgrade(SAVED / "unfinished" / "run", tmp_path / "new")
    (tmp_path / "scratch").mkdir()
    check(gone_on_with(run, tmp_path / "scratch"), expected, tolerance=ELSEWHERE)
