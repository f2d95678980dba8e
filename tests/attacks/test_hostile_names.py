"""Any text is a name: in a study with its report, in tables on disk, in a training and its console."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from attack_worlds import command, told

from concord import MulticlassTask, MultilabelTask, Relation
from concord.data import Manifest, read_manifest, write_manifest
from concord.study import Problem, as_plan, compare, run, write_report

NAMES = [
    "file",
    "allow_pickle",
    "self",
    "a/b",
    "kind[/b]",
    "[red]",
    "ki\nnd",
    "<script>alert(1)</script>",
    "\u202egpj",
    "\x1b[2Jx",
    "=1+1",
    "$\\frac{$",
    "a,b\"c'd",
    "{{ 7 * 7 }}",
    "..",
    "ünï ☕",
]


def problem(kind, label):
    rng = np.random.default_rng(0)
    first, second = MulticlassTask(kind, ["a", label, "c"]), MultilabelTask("marks", ["p", label])
    y, labels = rng.integers(0, 3, 80), rng.integers(0, 2, (80, 2)).astype("f4")
    return Problem(
        name="names",
        tasks=(first, second),
        inputs=rng.normal(size=(80, 4)).astype("f4"),
        targets={kind: y, "marks": labels},
        splits={"train": np.arange(40), "val": np.arange(40, 60), "test": np.arange(60, 80)},
        relations=(Relation(first, second, [[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]]),),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_study_of_any_names_ends_with_a_report(tmp_path, monkeypatch, name):
    from concord.study.judging import comparison
    from concord.study.running import running

    for module in (comparison, running):
        monkeypatch.setattr(module, "problem_of", lambda _: problem(name, f"{name}!"))
    plan = as_plan(
        {
            "title": name,
            "problem": "digits",
            "regimes": [{"name": "few", "rows": {name: 12, "marks": 12}}],
            "network": {"hidden": [4]},
            "conditions": ["single-task", "uncoupled"],
            "seeds": 2,
            "budget": {"steps": 2, "rows_per_task": 4},
            "resamples": 5,
        }
    )
    assert run(plan, tmp_path) == 0
    assert compare(plan, tmp_path)["metrics"].keys() == {name, "marks"}
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "49" not in page.partition("<h1")[2].partition("</h1>")[0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", NAMES)
def test_tables_keep_any_name(tmp_path, name, kind):
    given = problem(name, f"{name}!")
    first, second = given.tasks
    columns = {name: [first.classes[i] for i in given.targets[name]], "group": [f"{name}?"] * 80}
    labels = given.targets["marks"].astype(int)
    columns |= {f"marks.{label}": labels[:, k] for k, label in enumerate(second.labels)}
    manifest = Manifest(pl.DataFrame({"row": range(80), **columns}), (first, second), None, name)
    write_manifest(manifest, tmp_path / f"m.{kind}")
    back = read_manifest(tmp_path / f"m.{kind}")
    assert back.tasks == manifest.tasks
    assert back.frame["group"].to_list() == manifest.frame["group"].to_list()
    for task, targets in manifest.targets().items():
        np.testing.assert_array_equal(back.targets()[task], targets)
    relation = given.relations[0]
    relation.to_csv(tmp_path / "t.csv")
    again = Relation.from_csv(first, second, tmp_path / "t.csv")
    np.testing.assert_array_equal(again.table, relation.table)


def test_a_training_shows_names_as_they_are(tmp_path):
    name = "kind[/b]"
    rows = {"row": range(40), name: ["x", "y[/]"] * 20, "split": (["train"] * 3 + ["val"]) * 10}
    pl.DataFrame(rows).write_csv(tmp_path / "m.csv")
    np.save(tmp_path / "f.npy", np.random.default_rng(0).normal(size=(40, 4)))
    (tmp_path / "c.yaml").write_text(
        "sources: {s: {manifest: m.csv, inputs: {kind: features, file: f.npy}}}\n"
        "training: {steps: 4, batch_size: 8, accelerator: cpu}\nvalidation: {every: 2}\n"
    )
    for _ in range(2):
        done = command(tmp_path, "train", "c.yaml", "--out", "run")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr.decode()
        assert name in done.stdout.decode()
    assert json.loads((tmp_path / "run" / "run.json").read_text())
    done = command(tmp_path, "data", "inspect", "m.csv", "--out", "m.png")
    assert done.returncode == 0
    told(done)
    assert name in done.stdout.decode()
