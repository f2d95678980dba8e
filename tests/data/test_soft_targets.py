"""Votes as class targets: from the manifest through the mixture to the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import log_softmax

from concord.data.files import read_manifest, write_manifest
from concord.data.inputs import Texts
from concord.data.joining import merge, stack
from concord.data.manifest import Manifest, soft_columns
from concord.data.mixture import Mixture
from concord.data.source import Source
from concord.errors import AnnotationError, UnknownNameError
from concord.objective import CoupledObjective
from concord.tasks import MulticlassTask, MultilabelTask

MOOD = MulticlassTask("mood", ["calm", "v. happy", "sad"])
COLUMNS = ["mood.p.calm", r"mood.p.v\. happy", "mood.p.sad"]
VOTES = [[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], None, None, [0.4, 0.4, 0.2]]
NAMES = ["calm", "v. happy", "sad", None, None]


def manifest(name: str = "votes", votes: list[list[float] | None] = VOTES) -> Manifest:
    columns = {c: [None if v is None else v[k] for v in votes] for k, c in enumerate(COLUMNS)}
    texts = [f"{name}-{k}" for k in range(len(votes))]
    frame = pl.DataFrame(
        {"text": texts, "mood": NAMES, **columns}, schema_overrides=dict.fromkeys(COLUMNS, pl.Float64)
    )
    return Manifest(frame, (MOOD,), None, name)


def test_columns_are_named_by_class_with_dots_escaped() -> None:
    assert soft_columns(MOOD) == COLUMNS
    assert soft_columns(MultilabelTask("units", ["AU1"])) == []


def test_shares_of_a_manifest() -> None:
    shares = manifest().soft_targets()["mood"]
    expected = np.array([[np.nan] * 3 if v is None else v for v in VOTES], dtype=np.float32)
    np.testing.assert_array_equal(shares, expected)
    plain = Manifest(pl.DataFrame({"text": ["a"], "mood": ["sad"]}), (MOOD,))
    assert plain.soft_targets() == {}


@pytest.mark.parametrize(
    ("votes", "found"),
    [
        ([0.5, 0.3, 0.1], "0.5, 0.3, 0.1 in row 1"),
        ([1.5, -0.5, 0.0], "1.5, -0.5, 0 in row 1"),
        ([0.5, None, 0.5], "0.5, null, 0.5 in row 1"),
        ([0.5, 0.5, None], "0.5, 0.5, null in row 1"),
        ([0.0, 0.0, 0.0], "0, 0, 0 in row 1"),
    ],
)
def test_votes_that_are_no_shares_are_named(votes: list[float], found: str) -> None:
    with pytest.raises(AnnotationError, match=f"sum to 1, or all null; found {found}"):
        manifest(votes=[VOTES[0], votes, *VOTES[2:]])


def test_a_class_without_a_column_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"soft targets of task 'mood'.*mood\.p\.sad"):
        Manifest(manifest().frame.drop("mood.p.sad"), (MOOD,))
    words = manifest().frame.with_columns(pl.lit("much").alias("mood.p.sad"))
    with pytest.raises(AnnotationError, match="soft targets are numbers, found String"):
        Manifest(words, (MOOD,))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_votes_survive_a_file(tmp_path: Path, ending: str) -> None:
    write_manifest(manifest(), tmp_path / f"m.{ending}")
    again = read_manifest(tmp_path / f"m.{ending}")
    np.testing.assert_array_equal(again.soft_targets()["mood"], manifest().soft_targets()["mood"])
    assert again.tasks == (MOOD,)


def test_a_task_goes_with_its_votes() -> None:
    both = manifest().frame.with_columns(pl.Series("units.AU1", [0, 1, None, 1, 0]))
    kept = Manifest(both, (MOOD, MultilabelTask("units", ["AU1"]))).select("units")
    assert not [column for column in kept.frame.columns if column.startswith("mood")]


def test_stacked_and_merged_with_more_classes() -> None:
    wider = MulticlassTask("mood", ["angry", "calm"])
    other = Manifest(pl.DataFrame({"text": ["x"], "mood": ["angry"]}), (wider,), None, "plain")
    for joined in (stack([manifest(), other]), merge([manifest(), other], on="text")):
        task = joined.task("mood")
        assert task.outputs == (*MOOD.outputs, "angry")
        shares = joined.soft_targets()["mood"]
        np.testing.assert_array_equal(shares[:5, :3], manifest().soft_targets()["mood"])
        np.testing.assert_array_equal(shares[:5, 3], [0, 0, np.nan, np.nan, 0])
        assert np.isnan(shares[5]).all()


def mixture() -> Mixture:
    other = MulticlassTask("mood", ["sad", "calm", "v. happy"])
    plain = Manifest(pl.DataFrame({"text": ["x", "y"], "mood": ["sad", None]}), (other,), None, "plain")
    sources = [Source(manifest(), Texts()), Source(plain, Texts())]
    return Mixture(
        sources, [MulticlassTask("mood", ["sad", "calm", "v. happy"])], batch_size=7, shuffle=False
    )


def test_a_batch_holds_votes_in_its_own_order_of_classes() -> None:
    (batch,) = mixture()
    order = [2, 0, 1]
    expected = [[np.nan] * 3 if v is None else [v[k] for k in order] for v in [*VOTES, None, None]]
    np.testing.assert_array_equal(batch.soft["mood"].numpy(), np.array(expected, dtype=np.float32))
    assert batch.targets["mood"].tolist() == [1, 2, 0, -1, -1, 0, -1]  # what metrics are computed on
    assert batch.to("cpu").soft["mood"].shape == (7, 3)


def test_the_loss_is_the_cross_entropy_to_the_votes() -> None:
    (batch,) = mixture()
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tasks = [MulticlassTask("mood", ["sad", "calm", "v. happy"])]
    own = torch.where(batch.soft["mood"].isnan().any(dim=1), batch.targets["mood"], -1)  # a row counts once
    found = CoupledObjective(tasks)({"mood": logits}, {"mood": own}, soft=batch.soft).parts
    log_p, votes = log_softmax(logits.numpy(), axis=1), batch.soft["mood"].double().numpy()
    voted = ~np.isnan(votes).any(axis=1)
    soft = -(votes[voted] * log_p[voted]).sum(axis=1).mean()
    hard = -np.mean([log_p[2, 0], log_p[5, 0]])
    assert float(found["mood/soft"]) == pytest.approx(soft)
    assert float(found["mood"]) == pytest.approx(hard)
