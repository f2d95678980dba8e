"""Folders that an earlier version saved are loaded, and predict what they predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden import api
from golden.computing import MODELS, estimator_said, gone_on_with, network_said, run_said
from golden.machine import ELSEWHERE, SAVED, check, read_json

CLOSE = 1e-6
"""No training lies between a saved folder and its predictions: the same on every machine but for rounding."""


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_estimator_predicts_what_it_predicted(name: str) -> None:
    kept = read_json(SAVED / name / "expected.json")
    model = api.CoupledClassifier.load(SAVED / name / "model")
    check(estimator_said(model, kept["inputs"]), kept["expected"], tolerance=CLOSE)


def test_a_network_of_the_hub_predicts_what_it_predicted() -> None:
    kept = read_json(SAVED / "hub" / "expected.json")
    model = api.from_pretrained(SAVED / "hub" / "model")
    (decoder,) = model.decoders
    check(network_said(model.network, decoder, kept["inputs"]), kept["expected"], tolerance=CLOSE)


def test_a_run_predicts_what_it_predicted(tmp_path: Path) -> None:
    kept = read_json(SAVED / "run" / "expected.json")
    check(run_said(SAVED / "run" / "run", kept["inputs"], tmp_path), kept["expected"], tolerance=CLOSE)


def test_an_unfinished_training_is_gone_on_with_to_the_same_weights(tmp_path: Path) -> None:
    expected = read_json(SAVED / "unfinished" / "expected.json")["expected"]
    check(gone_on_with(SAVED / "unfinished" / "run", tmp_path), expected, tolerance=ELSEWHERE)
