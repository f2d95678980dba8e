"""Damaged and hostile files of every kind: either a right result comes out, or one line says what is off.

A short run is part of `make test`; `make test-fuzz` draws far more examples, new ones every time.
"""

from __future__ import annotations

import io
import json
import shutil
from functools import partial

import numpy as np
import polars as pl
import pytest
from damage import attempt, damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from study_folders import write_study

from concord import MulticlassTask, MultilabelTask, Relation
from concord.config import as_config, parsed_yaml, read_config
from concord.data import FeatureRows, Manifest, from_csv, read_manifest, write_manifest
from concord.errors import ConcordError
from concord.files import guarded, read_arrays, unguarded
from concord.relations import read_table
from concord.study import read_plan, write_report

CONFIG = """
data: .
sources:
  first: {manifest: rows.parquet, inputs: {kind: features, file: features.npy}}
relations: [{source: kind, target: traits, table: table.csv}]
couplings: [{name: posterior, weight: 1.0}]
trunk: {name: "builtin:mlp", options: {hidden: [8], dropout: 0.0}}
training: {steps: 6, batch_size: 8}
"""
PLAN = """
title: T
problem: digits
regimes: [{name: few, rows: {digit: 20, traits: 30}}]
conditions: [single-task, uncoupled]
seeds: 2
"""


def _manifest():
    kind, traits = MulticlassTask("kind", ["ant", "bee"]), MultilabelTask("traits", ["wings", "fur"])
    columns = {"row": range(12), "kind": ["ant", "bee", None] * 4, "split": ["train", "val", "test"] * 4}
    labels = {"traits.wings": [0, 1, None] * 4, "traits.fur": [1, 1, 0] * 4}
    return Manifest(pl.DataFrame(columns | labels), (kind, traits), None, "m")


def _content(write, name, folder):
    write(folder / name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _features(folder):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(24.0).reshape(6, 4))
    return {"x.npy": buffer.getvalue()}


def _packed(folder):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(24.0).reshape(6, 4))
    return {"x.npz": buffer.getvalue()}


def _table(folder):
    relation = Relation(
        MulticlassTask("k", ["a", "b"]), MultilabelTask("t", ["x", "y"]), [[0.5, 1], [0, 0.1]]
    )
    return _content(relation.to_csv, "x.csv", folder)


READERS = {
    "manifest in CSV": (
        lambda folder: _content(partial(write_manifest, _manifest()), "x.csv", folder),
        lambda folder: read_manifest(folder / "x.csv"),
    ),
    "manifest in Parquet": (
        lambda folder: _content(partial(write_manifest, _manifest()), "x.parquet", folder),
        lambda folder: read_manifest(folder / "x.parquet"),
    ),
    "anyone's table": (
        lambda _: {"x.csv": b"path,kind,AU1,AU2\na.png,x,0,1\nb.png,y,1,\n"},
        lambda folder: from_csv(folder / "x.csv", classes={"kind": None}, labels={"units": "AU*"}),
    ),
    "relation": (_table, lambda folder: read_table(folder / "x.csv")),
    "config": (lambda _: {"x.yaml": CONFIG.encode()}, lambda folder: read_config(folder / "x.yaml")),
    "plan": (lambda _: {"x.yaml": PLAN.encode()}, lambda folder: read_plan(folder / "x.yaml")),
    "array": (_features, lambda folder: FeatureRows(folder / "x.npy")),
    "arrays": (_packed, lambda folder: FeatureRows(folder / "x.npz")),
    "all arrays": (_packed, lambda folder: read_arrays(folder / "x.npz")),
}


SLOW = {"manifest in Parquet": 6}
"""Of so many examples one: each is read in a process of its own."""


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_right_or_refused(tmp_path_factory, kind):
    make, read = READERS[kind]
    whole = make(tmp_path_factory.mktemp("whole"))
    folder = tmp_path_factory.mktemp("damaged")
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    assert not attempt(lambda: read(folder))

    @settings(max_examples=settings().max_examples // SLOW.get(kind, 1))
    @given(st.data())
    def check(data):
        name = data.draw(st.sampled_from(sorted(whole)))
        for other, content in whole.items():
            (folder / other).write_bytes(content)
        (folder / name).write_bytes(data.draw(damaged(whole[name])))
        attempt(lambda: read(folder))

    check()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value, path=()):
    """Every place in plain data."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def replaced(value, path, new):
    """Plain data with another value at a place."""
    if not path:
        return new
    out = value.copy()
    out[path[0]] = replaced(value[path[0]], path[1:], new)
    return out


@given(st.data())
def test_any_value_at_any_place_of_a_config_is_taken_or_refused(data):
    values = parsed_yaml(CONFIG)
    path = data.draw(st.sampled_from(list(places(values))))
    changed = replaced(values, path, data.draw(PLAIN))
    if isinstance(changed, dict):
        attempt(lambda: as_config(changed))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@settings(max_examples=max(12, settings().max_examples // 20))
@given(st.data())
def test_a_study_folder_of_a_stranger_is_reported_or_refused(study, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("stranger") / "s"
    shutil.copytree(study, folder)
    names = ["config", "environment", "summary", "relation", "gallery", "confusion"]
    path = folder / f"{data.draw(st.sampled_from(names))}.json"
    values = json.loads(path.read_text())
    place = data.draw(st.sampled_from(list(places(values))))
    path.write_text(json.dumps(replaced(values, place, data.draw(PLAIN))))
    before = sorted(p.name for p in folder.iterdir())
    refused = attempt(lambda: write_report(folder))
    assert refused or (folder / "report.html").is_file()
    assert set(before) <= {p.name for p in folder.iterdir()}
    shutil.rmtree(folder)


NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(NAME, NAME)
def test_any_two_names_make_a_task_that_a_table_keeps_or_are_refused(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("names") / "t.csv"
    try:
        relation = Relation(
            MulticlassTask("k", [first, second]), MultilabelTask("t", [second, first]), np.eye(2)
        )
    except ConcordError:
        return
    relation.to_csv(path)
    assert unguarded(guarded(first)) == first

    def read():
        again = Relation.from_csv(relation.source, relation.target, path)
        np.testing.assert_array_equal(again.table, relation.table)

    attempt(read)
