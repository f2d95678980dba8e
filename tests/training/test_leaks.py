"""Samples and groups that are trained on and judged by are told, across sources too."""

from __future__ import annotations

import warnings

import polars as pl
import pytest

from concord.data import read_manifest, write_manifest
from concord.errors import ConcordWarning
from concord.runs import evaluate, load_run
from concord.runs.leaks import tell_leaks
from concord.runs.sources import open_sources
from concord.runs.training import train
from config_worlds import config_of, world


def changed(folder, name, **columns):
    manifest = read_manifest(folder / f"{name}.parquet")
    frame = manifest.frame.with_columns(**columns)
    write_manifest(type(manifest)(frame, manifest.tasks, folder, name), folder / f"{name}.parquet")


def told(config, splits=("val", "test")):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ConcordWarning)
        tell_leaks(config, open_sources(config), splits)
    return [str(each.message) for each in found]


@pytest.mark.parametrize("kind", ["features", "images", "columns", "texts"])
def test_splits_that_share_nothing_are_silent(tmp_path, kind):
    assert told(config_of(world(tmp_path, kind))) == []


def test_the_row_of_one_source_in_the_test_split_of_another(tmp_path):
    values = world(tmp_path, "images")
    first = read_manifest(tmp_path / "classed.parquet").frame
    paths = read_manifest(tmp_path / "labelled.parquet").frame["path"].to_list()
    trained = first.filter(pl.col("split") == "train")["path"][0]
    at = read_manifest(tmp_path / "labelled.parquet").frame["split"].to_list().index("test")
    paths[at] = trained
    changed(tmp_path, "labelled", path=pl.Series(paths))
    (message,) = told(config_of(values))
    assert message.startswith(
        f"split 'test' is not new to the network: 1 sample ('{tmp_path.as_posix()}/{trained}')"
    )
    boxed = {f"box_{side}": pl.Series(range(60)) for side in ("x", "y", "width", "height")}
    for name, start in (("classed", 0), ("labelled", 100)):  # other faces of one picture
        changed(tmp_path, name, **{side: values + start for side, values in boxed.items()})
    assert told(config_of(values)) == []


def test_a_group_of_one_source_in_two_splits_but_not_of_two_sources(tmp_path):
    values = world(tmp_path)
    apart = pl.Series([f"{split}{i // 12}" for i, split in enumerate((["t"] * 4 + ["v", "e"]) * 10)])
    changed(tmp_path, "classed", group=apart)
    changed(tmp_path, "labelled", group=apart)
    assert told(config_of(values)) == []
    changed(tmp_path, "labelled", group=pl.Series([f"p{i}" for i in range(60)]))
    changed(tmp_path, "classed", group=pl.Series([f"p{60 - i}" for i in range(60)]))
    assert told(config_of(values)) == []  # p1 of one source is nobody of the other
    changed(tmp_path, "classed", group=pl.Series([f"p{i // 6}" for i in range(60)]))
    found = told(config_of(values))
    assert [message.partition(" is not")[0] for message in found] == ["split 'val'", "split 'test'"]
    assert all("10 groups ('p0', 'p1', 'p2', ...)" in message for message in found)


def test_training_and_evaluation_say_so(tmp_path):
    config = config_of(world(tmp_path))
    changed(tmp_path, "classed", group=pl.Series(["one"] * 60))
    with pytest.warns(ConcordWarning) as found:
        train(config)
    assert {"split 'val'", "split 'test'"} == {
        str(each.message).partition(" is not new")[0] for each in found
    }
    with pytest.warns(ConcordWarning, match=r"split 'test' is not new to the network: 1 group \('one'\)"):
        evaluate(load_run(tmp_path / "out"), config)
