"""A training on votes: from a manifest on disk to the metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import entropy

from concord.data import read_manifest, write_manifest
from concord.runs.evaluation import as_table, evaluate, split_sources
from concord.runs.outputs import device_of, outputs_of
from concord.runs.training import train
from config_worlds import SHAPE, config_of, world

SHARES = np.array([0.7, 0.2, 0.1])


def with_votes(path):
    """Votes for the class of a row and, fewer, for the next two; every second test row has no votes."""
    manifest = read_manifest(path)
    y = manifest.targets()["shape"]
    votes = np.stack([np.roll(SHARES, c) for c in y])
    votes[5::12] = np.nan
    columns = [
        pl.Series(f"shape.p.{name}", votes[:, k]).fill_nan(None) for k, name in enumerate(SHAPE.classes)
    ]
    write_manifest(replace(manifest, frame=manifest.frame.with_columns(columns)), path)


def test_a_network_learns_the_votes_and_is_judged_by_them(tmp_path):
    values = world(tmp_path, n=240)
    with_votes(tmp_path / "classed.parquet")
    config = config_of(
        values,
        training__steps=120,
        training__learning_rate=1e-2,
        couplings=[],
        relations=[],
        validation__calibrate=False,
    )
    run = train(config)
    found = evaluate(run, split="test")
    scores = found["tasks"]["shape"]
    assert scores["annotated"] == 40  # of votes the class of most counts
    assert scores["head"]["accuracy"] > 0.9
    # No network can beat this by much, and one that is trained on the classes alone misses it by far.
    assert scores["head"]["cross-entropy to votes"] == pytest.approx(entropy(SHARES), abs=0.15)
    assert "cross-entropy to votes" not in found["tasks"]["marks"]["head"]
    assert as_table(found).row_count > 0

    source = split_sources(run, config, "test")["classed"]
    outputs = outputs_of(run.predictor, source, 16, device_of("cpu"))
    votes = source.manifest.soft_targets()["shape"][outputs.index]
    voted = ~np.isnan(votes).any(axis=1)
    expected = -(votes[voted] * np.log(outputs.heads["shape"][voted])).sum(axis=1).mean()
    assert scores["head"]["cross-entropy to votes"] == pytest.approx(expected)
