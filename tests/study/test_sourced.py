"""Sources of a config as the data of a study: rows, targets, splits, what is left out, mistakes."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from concord.config.load import ENVIRONMENT
from concord.data import read_manifest, soft_columns, write_manifest
from concord.data.manifest import Manifest
from concord.errors import (
    ConfigError,
    EmptyDataError,
    MissingDataError,
    NoAnnotationError,
    StudyError,
    UnknownNameError,
)
from concord.study.judging.comparison import compare
from concord.study.plan import as_plan, read_plan
from concord.study.problems.load import problem_of
from concord.study.problems.sourced import _by_class
from concord.study.running.running import run
from config_worlds import SHAPE, SIDE, TABLE, world, write

PLAN = {
    "title": "shapes",
    "regimes": [{"name": "few", "rows": {"shape": 9, "marks": 20}}],
    "conditions": ["uncoupled", "posterior"],
    "seeds": 1,
    "network": {"hidden": [8]},
    "budget": {"steps": 4, "rows_per_task": 8, "log_every": 2},
    "resamples": 10,
}


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch):
    monkeypatch.delenv(f"{ENVIRONMENT}DATA", raising=False)


def planned(folder: Path, kind: str = "features", problem=None, **changes):
    """A plan beside a config of two sources; `problem` says more of the data."""
    write(world(folder, kind), folder / "mine.yaml")
    path = folder / "plan.yaml"
    path.write_text(
        yaml.safe_dump({**PLAN, "problem": {"config": "mine.yaml", **(problem or {})}, **changes})
    )
    return path


def edited(path: Path, edit) -> None:
    manifest = read_manifest(path)
    write_manifest(Manifest(edit(manifest.frame), manifest.tasks, manifest.root, manifest.name), path)


@pytest.mark.parametrize("kind", ["features", "columns", "images", "arrays"])
def test_each_source_gives_its_rows_and_its_annotation(tmp_path, kind):
    problem = problem_of(read_plan(planned(tmp_path, kind)))
    first, second = (read_manifest(tmp_path / f"{name}.parquet") for name in ("classed", "labelled"))
    assert [task.name for task in problem.tasks] == ["shape", "marks"]
    for split, rows in problem.splits.items():
        own, other = (m.filter(pl.col("split") == split) for m in (first, second))
        y = problem.targets["shape"][rows]
        assert y[: len(own)].tolist() == own.targets()["shape"].tolist()
        assert (y[len(own) :] == -1).all()
        a = problem.targets["marks"][rows]
        assert np.isnan(a[: len(own)]).all()
        assert a[len(own) :].tolist() == other.targets()["marks"].tolist()
    assert problem.relations[0].table.tolist() == TABLE
    if kind in ("images", "arrays"):
        assert problem.inputs.shape[1:] == (3, SIDE, SIDE)
        with Image.open(BytesIO(problem.picture(0))) as shown:
            lit = np.asarray(shown)[:, :, 0] > 150
        assert lit.any()
        assert not lit.all()
    else:
        train = problem.inputs[problem.splits["train"]]
        assert np.abs(train.mean(axis=0)).max() < 0.05
        assert problem.picture is None


def test_a_study_of_a_config_runs_and_moves_with_its_data(tmp_path, monkeypatch):
    plan = read_plan(planned(tmp_path))
    assert run(plan, tmp_path / "out") == 0
    assert {row["task"] for row in compare(plan, tmp_path / "out")["verdicts"]} == {"shape", "marks"}
    held = json.loads((tmp_path / "out" / "config.json").read_text())
    assert set(held["problem"]["sources"]) == {"classed", "labelled"}
    assert "data" not in held["problem"]
    monkeypatch.setenv("CONCORD_DATA", str(tmp_path / "elsewhere"))
    moved = read_plan(tmp_path / "plan.yaml")
    assert moved.problem.data == str(tmp_path / "elsewhere")
    assert moved.digest == plan.digest
    assert as_plan(json.loads(plan.model_dump_json())).digest == plan.digest
    with pytest.raises(MissingDataError, match=r"sources\.classed"):
        problem_of(moved)
    monkeypatch.setenv("CONCORD_DATA", "")  # as good as none
    assert read_plan(tmp_path / "plan.yaml").problem.data == plan.problem.data


def test_sources_stand_in_the_plan_itself(tmp_path):
    plan = read_plan(planned(tmp_path))
    values = plan.model_dump()
    values["problem"]["sources"].pop("labelled")
    values["problem"] |= {"relations": [], "data": ".", "tasks": {}}
    alone = as_plan({**values, "folder": str(tmp_path), "regimes": [{"name": "a", "rows": {"shape": 9}}]})
    assert problem_of(alone).tasks == (SHAPE,)
    assert alone.digest != plan.digest


def test_at_most_so_many_rows_the_same_each_time(tmp_path):
    path = planned(tmp_path, problem={"rows": {"train": 12, "val": 5}})
    first, again = (problem_of(read_plan(path)) for _ in range(2))
    assert [len(first.splits[s]) for s in ("train", "val", "test")] == [24, 10, 20]
    assert np.array_equal(first.inputs, again.inputs)


def test_splits_are_drawn_and_renamed(tmp_path):
    source = world(tmp_path)["sources"]["classed"]
    source["splits"] = {
        "rename": {"val": "test"},
        "shares": {"train": 0.75, "val": 0.25},
        "keep": ["test"],
        "stratify": ["shape"],
    }
    other = world(tmp_path)["sources"]["labelled"]
    problem = problem_of(
        read_plan(planned(tmp_path, problem={"sources": {"classed": source, "labelled": other}}))
    )
    said = read_manifest(tmp_path / "classed.parquet").frame["split"].cast(pl.String)
    counts = [
        int((problem.targets["shape"][problem.splits[s]] != -1).sum()) for s in ("train", "val", "test")
    ]
    kept = int((said != "train").sum())
    assert counts == [30, 10, kept]


def test_a_split_may_be_renamed_alone(tmp_path):
    from concord.config.load import as_config
    from concord.runs.sources import open_sources

    values = world(tmp_path)
    before = open_sources(as_config(values)).manifests["classed"].frame["split"].cast(pl.String)
    values["sources"]["classed"]["splits"] = {"rename": {"val": "test"}}
    after = open_sources(as_config(values)).manifests["classed"].frame["split"].cast(pl.String)
    assert after.to_list() == ["test" if split == "val" else split for split in before]


def test_classes_and_labels_that_a_split_lacks_are_left_out(tmp_path):
    path = planned(tmp_path, problem={"outputs": "present"})

    def without(frame):
        gone = (pl.col("split") == "val") & (pl.col("shape") == "square")
        return frame.with_columns(pl.when(~gone).then(pl.col("shape")))

    def never(frame):
        kept = pl.when(pl.col("split") != "test").then(pl.col("marks.m1")).otherwise(0)
        return frame.with_columns(kept.cast(pl.Int8).alias("marks.m1"))

    edited(tmp_path / "classed.parquet", without)
    edited(tmp_path / "labelled.parquet", never)
    problem = problem_of(read_plan(path))
    shape, marks = problem.tasks
    assert shape.classes == ("circle", "star")
    assert marks.labels == ("m2",)
    assert problem.relations[0].table.tolist() == [[TABLE[0][1]], [TABLE[2][1]]]
    assert set(np.unique(problem.targets["shape"])) == {-1, 0, 1}


def test_a_task_with_nothing_in_common_is_named(tmp_path):
    path = planned(tmp_path, problem={"outputs": "present"})
    one = pl.col("shape") == "circle"
    edited(tmp_path / "classed.parquet", lambda f: f.with_columns(pl.when(one).then(pl.col("shape"))))
    with pytest.raises(StudyError, match="task 'shape': train, val and test have too few classes"):
        problem_of(read_plan(path))


def test_rows_of_a_class_relation_stay_distributions(tmp_path):
    """Class to class: what is left of a row sums to 1 again, a row without anything is unknown."""
    from concord.relations.relation import Relation
    from concord.study.problems.sourced import _related
    from concord.tasks import MulticlassTask

    fine, coarse = MulticlassTask("fine", list("abc")), MulticlassTask("coarse", list("xyz"))
    relation = Relation(fine, coarse, [[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]])
    tasks = (fine, MulticlassTask("coarse", ["x", "z"]))
    found = _related(relation, tasks, {"fine": [0, 1, 2], "coarse": [0, 2]}).table
    assert found[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [0, 1]


def test_texts_are_refused(tmp_path):
    with pytest.raises(StudyError, match="a study takes no texts"):
        problem_of(read_plan(planned(tmp_path, "texts")))


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("split <> 'train'", EmptyDataError, r"sources\.classed: no training rows"),
        ("split <> 'val'", StudyError, "no source has rows of split 'val'"),
    ],
)
def test_a_split_without_rows_is_named(tmp_path, where, error, message):
    sources = world(tmp_path)["sources"]
    for source in sources.values():
        source["where"] = where
    with pytest.raises(error, match=message):
        problem_of(read_plan(planned(tmp_path, problem={"sources": sources})))


@pytest.mark.parametrize(
    ("problem", "error", "message"),
    [
        ({"outputs": "some"}, StudyError, "outputs"),
        ({"row": 3}, UnknownNameError, "unknown key 'problem.row'; did you mean 'rows'"),
        ({"sources": {"a": {"manifests": "m"}}}, UnknownNameError, "did you mean 'manifest'"),
        ({"config": "none.yaml"}, MissingDataError, "no config at"),
        ({"relations": [{"source": "a"}]}, ConfigError, "is missing"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, problem, error, message):
    with pytest.raises(error, match=message):
        read_plan(planned(tmp_path, problem=problem))


def test_the_quick_look_of_a_plan(tmp_path):
    path = planned(tmp_path, quick={"seeds": 2, "budget": {"steps": 1}})
    assert read_plan(path).budget.steps == 4
    assert (read_plan(path, quick=True).seeds, read_plan(path, quick=True).budget.steps) == ([0, 1], 1)
    assert read_plan(planned(tmp_path), quick=True).budget.steps == 1
    with pytest.raises(StudyError, match="quick: a mapping of fields"):
        read_plan(planned(tmp_path, quick=3))


def test_a_gain_over_nothing_is_left_out():
    """Single-task networks that find none of the labels: no relative gain, and the file is still JSON."""
    from types import SimpleNamespace

    from concord.study.judging.comparison import _delta_m

    plan = as_plan({**PLAN, "problem": "digits", "conditions": ["single-task", "uncoupled", "posterior"]})

    def found(single):
        values = {"single-task": single, "uncoupled": 0.5, "posterior": 0.6}
        return _delta_m(
            SimpleNamespace(
                plan=plan,
                tasks=["digit", "segments"],
                conditions=list(values),
                metric=lambda task: "accuracy",
                seeds=lambda regime, condition, task: np.full(2, values[condition]),
            )
        )

    assert found(0.0) == []
    assert [round(row["mean"]) for row in found(0.4)] == [25, 50]


# -- tables of other classes and labels --------------------------------------------------------------


def test_a_ready_table_gives_what_it_has_in_common(tmp_path):
    from concord.config.load import as_config
    from concord.config.schema import RelationPlan
    from concord.relations.literature import expressions
    from concord.runs.relations import relation_of
    from concord.runs.sources import Sources
    from concord.tasks import MulticlassTask, MultilabelTask

    tasks = (
        MulticlassTask("expression", ["fear", "contempt", "neutral"]),
        MultilabelTask("action_units", ["AU14", "AU4"]),
    )
    config = as_config(world(tmp_path))
    plan = {"source": "expression", "target": "action_units", "table": "expressions"}
    found = relation_of(RelationPlan(**plan, extra="ignore"), Sources({}, tasks), config)
    known = expressions()
    value = known.table[known.source.outputs.index("fear"), known.target.outputs.index("AU4")]
    assert found.table[0, 1] == value
    assert np.isnan(found.table[:, 0]).all()
    assert np.isnan(found.table[1]).all()
    with pytest.raises(UnknownNameError, match="extra: ignore takes what both have"):
        relation_of(RelationPlan(**plan), Sources({}, tasks), config)
    others = (MulticlassTask("expression", ["x", "y"]), tasks[1])
    with pytest.raises(UnknownNameError, match="no class or label in common with task 'expression'"):
        relation_of(RelationPlan(**plan, extra="ignore"), Sources({}, others), config)
    with pytest.raises(NoAnnotationError):
        relation_of(RelationPlan(**{**plan, "table": "estimate"}), Sources({}, tasks), config)


def test_a_study_goes_by_the_class_of_most_votes_however_its_inputs_are_read():
    rows = {"path": ["a.png", "b.png"], "shape": ["circle", None], "split": ["train", "test"]}
    votes = {column: [0.2, None] for column in soft_columns(SHAPE)}
    votes["shape.p.circle"] = [1 - 0.2 * (len(votes) - 1), None]
    found = _by_class({"one": Manifest(pl.DataFrame(rows | votes), (SHAPE,))})["one"]
    assert not found.soft_targets()
    assert found.targets()["shape"].tolist() == [SHAPE.classes.index("circle"), -1]


def test_a_share_of_a_source_has_no_part_in_a_study(tmp_path):
    path = planned(tmp_path)
    values = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    for source, share in zip(values["sources"].values(), (0.9, 0.1), strict=True):
        source["share"] = share
    write(values, tmp_path / "mine.yaml")
    with pytest.raises(StudyError, match=r"sources\.classed: share has no part in a study.*leave it out"):
        problem_of(read_plan(path))
