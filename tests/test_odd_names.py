"""Any text is the name of a task: what is saved under it is loaded again, and predicts the same."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.deploy import TrunkRecord, from_pretrained, save_pretrained
from concord.errors import AnnotationError, CheckpointError
from concord.fitting import Checkpoints
from concord.networks import build_trunk, predict_logits
from concord.relations import relation_of, relation_record, task_of, task_record

NAMES = [
    "face",
    "face/au",
    "face/au/0",
    "file",
    "allow_pickle",
    "a.b",
    "a",
    "b",
    "$tensor",
    "$items",
    "0",
    "..",
    "/",
]
odd = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
names = st.lists(st.sampled_from(NAMES) | odd, min_size=2, max_size=2, unique=True)


@given(names)
@example(["face", "face/au"])
@example(["face/au", "face"])
@example(["[b]x[/b]", "\u202eabc\x1b[31m\n"])
def test_a_network_and_its_relations_come_back(of: list[str]) -> None:
    tasks = [cc.MulticlassTask(of[0], of), cc.MultilabelTask(of[1], [of[0]])]
    table = cc.Relation(tasks[0], tasks[1], [[0.1], [0.9]])
    built = build_trunk("builtin:mlp", shape=(3,), options={"hidden": [4]})
    network = cc.MultiTaskNetwork(built.module, tasks, built.example).eval()
    x = torch.rand(5, 3)
    with TemporaryDirectory() as folder:
        trunk = TrunkRecord.of(built, "builtin:mlp", (3,), {"hidden": [4]})
        save_pretrained(folder, network, tasks, example=built.example, trunk=trunk, relations=[table])
        found = from_pretrained(folder)
    assert list(found.tasks) == tasks
    np.testing.assert_array_equal(found.relations[0].table, table.table)
    mine, other = predict_logits(network, x), predict_logits(found.network, x)
    assert all(torch.equal(mine[name], other[name]) for name in of)


@given(names)
def test_a_checkpoint_comes_back(of: list[str]) -> None:
    state = {name: {"w": torch.full((2,), float(i)), name: {of[0]: i}} for i, name in enumerate(of)}
    with TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder))
        found = kept.load(kept.save(1, {"state": state}, dict.fromkeys(of, 0.5)))
    assert found["scores"] == dict.fromkeys(of, 0.5)
    for i, name in enumerate(of):
        assert found["state"][name]["w"].tolist() == [i, i]


@given(names)
def test_tasks_and_relations_have_one_record(of: list[str]) -> None:
    tasks = [cc.MulticlassTask(of[0], of), cc.MultilabelTask(of[1], of)]
    assert [task_of(task_record(task)) for task in tasks] == tasks
    table = cc.Relation(tasks[0], tasks[1], [[0.1, np.nan], [0.9, 0.5]], prior=[0.25, 0.75])
    again = relation_of(relation_record(table), tasks)
    assert again.name == table.name
    np.testing.assert_array_equal(again.table, table.table)
    np.testing.assert_array_equal(again.prior, table.prior)


@pytest.mark.parametrize(
    "of", [("face", "face/au"), ("face/au", "face"), ("file", "allow_pickle"), ("a.b", "a")]
)
@pytest.mark.parametrize("coupling", ["auto", "posterior"])
def test_an_estimator_comes_back(of: tuple[str, str], coupling: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    a, b = cc.MulticlassTask(of[0], ["x", "y"]), cc.MultilabelTask(of[1], ["p", "q"])
    y = {
        of[0]: [0, 1] * 15 + [-1] * 30,
        of[1]: np.r_[np.full((30, 2), np.nan), rng.integers(0, 2, (30, 2))],
    }
    table = cc.Relation(a, b, [[0.9, 0.1], [0.1, 0.9]])
    options: dict[str, Any] = {"steps": 4, "hidden": (4, 4), "effort": "fast", "random_state": 0}
    model = cc.CoupledClassifier([a, b], [table], coupling, **options).fit(x, y)
    model.save(tmp_path / "kept")
    again = cc.CoupledClassifier.load(tmp_path / "kept")
    mine, other = model.predict_proba(x), again.predict_proba(x)
    assert all(np.array_equal(mine[name], other[name]) for name in of)


@pytest.mark.parametrize(
    "dtype", ["timedelta64[D]", "datetime64[s]", "int8", "bool", "<U3", "object", "float32"]
)
def test_the_classes_of_a_single_task_come_back(dtype: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.array([0, 1] * 10).astype("U3" if dtype == "object" else "int64").astype(dtype)
    model = cc.CoupledClassifier(steps=2, hidden=(4,), random_state=0).fit(x, y)
    model.save(tmp_path / "kept")
    again = cc.CoupledClassifier.load(tmp_path / "kept")
    assert again.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = cc.CoupledClassifier(steps=2, hidden=(4,), random_state=0).fit(x, np.array(["a", "b"] * 10))
    cost = model.cost_
    model.cost_ = {"networks": {1, 2}}
    with raises(CheckpointError, "found set at cost.networks"):
        model.save(tmp_path / "kept")
    model.cost_ = cost
    model._mean = np.zeros((2, 2))
    model._example_shape = (5,)
    with raises(CheckpointError, "could not be loaded again"):
        model.save(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("kind", [dt.date, dt.datetime])
def test_classes_that_are_dates_come_back_as_dates(kind: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    days = [kind(2020, 1, 1), kind(2021, 12, 31)]
    y = {"day": np.array(days * 10, dtype=object)}
    model = cc.CoupledClassifier([cc.MulticlassTask("day", days)], steps=2, hidden=(4,), random_state=0)
    model.fit(x, y).save(tmp_path / "kept")
    again = cc.CoupledClassifier.load(tmp_path / "kept")
    assert again.predict(x)["day"].tolist() == model.predict(x)["day"].tolist()
    assert set(again.predict(x)["day"].tolist()) <= set(days)
    assert again.score(x, y) == model.score(x, y)


@pytest.mark.parametrize("classes", [[5, 7], ["no", "yes"], [1.0, 3.0], [False, True]])
def test_a_single_task_is_told_by_the_values_of_y(classes: list[Any], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.array(classes * 10)
    model = cc.CoupledClassifier(steps=2, hidden=(4,), random_state=0).fit(x, y)
    assert model.tasks_[0].classes == tuple(map(str, classes))
    model.save(tmp_path / "kept")
    assert ", ".join(map(str, classes)) in (tmp_path / "kept" / "README.md").read_text()
    with raises(AnnotationError, f"all annotated rows are of class '{classes[1]}'"):
        model.fit(x, y, sample_weight=y != y[0])


def test_names_with_blanks_around_them_come_back_from_a_table(tmp_path: Path) -> None:
    pet, trait = cc.MulticlassTask("pet", [" cat", "dog"]), cc.MultilabelTask("trait", ["purrs ", "barks"])
    relation = cc.Relation(pet, trait, [[0.9, 0.1], [0.2, 0.8]])
    relation.to_csv(tmp_path / "table.csv")
    again = cc.Relation.from_csv(pet, trait, tmp_path / "table.csv")
    np.testing.assert_array_equal(again.table, relation.table)
