"""From a config to data, network and loss: what fits together, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import concord as cc
from concord.arrays import moments
from concord.data import read_manifest, write_manifest
from concord.data.manifest import Manifest
from concord.errors import (
    AnnotationError,
    ConcordError,
    ConcordWarning,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.networks.standardize import LIMIT, Standardize
from concord.runs.building import build
from concord.runs.inputs import Pixels, column_features, vocabulary_of
from config_worlds import SHAPE, SIDE, TABLE, config_of, world

KINDS = ("features", "columns", "texts", "images", "arrays")


def changed(path, edit):
    """A manifest on disk, edited."""
    manifest = read_manifest(path)
    write_manifest(Manifest(edit(manifest.frame), manifest.tasks, manifest.root, manifest.name), path)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_two_sources_fit_the_network(tmp_path, kind):
    built = build(config_of(world(tmp_path, kind)))
    assert [task.name for task in built.tasks] == ["shape", "marks"]
    batch = next(iter(built.mixture()))
    logits = built.network(batch.inputs)
    assert {name: tuple(z.shape) for name, z in logits.items()} == {"shape": (16, 3), "marks": (16, 2)}
    result = built.objective(logits, batch.targets)
    assert sorted(result.parts) == ["marks", "posterior-coannotation:shape->marks", "shape"]
    assert len(built.training["classed"]) == 40
    assert len(built.validation["classed"]) == 10
    assert torch.isnan(batch.targets["marks"][batch.source == 0]).all()
    assert built.relations[0].table.tolist() == TABLE


def test_weights_follow_the_seed_alone(tmp_path):
    values = world(tmp_path)
    before = torch.get_rng_state()
    first, again, other = (build(config_of(values, training__seed=s)).network for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    one, two, three = (network.head("shape").weight for network in (first, again, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_tasks_can_be_chosen_ordered_and_widened(tmp_path):
    values = world(tmp_path)
    config = config_of(
        values,
        tasks={
            "marks": {"labels": ["m2", "m1", "m3"], "weight": 2},
            "shape": {"classes": ["star", *SHAPE.classes[:2]]},
        },
        relations=[],
        couplings=[],
    )
    built = build(config)
    assert [task.outputs for task in built.tasks] == [("m2", "m1", "m3"), ("star", "circle", "square")]
    assert built.objective.task_weights == {"marks": 2.0, "shape": 1.0}
    batch = next(iter(built.mixture()))
    labelled = batch.source == 1
    assert torch.isnan(batch.targets["marks"][labelled][:, 2]).all()
    alone = build(
        config_of(values, tasks={"shape": {}}, relations=[], couplings=[], sources__labelled__tasks=[])
    )
    assert [task.name for task in alone.tasks] == ["shape"]


def test_shares_and_rows_are_those_asked_for(tmp_path):
    values = world(tmp_path)
    one = build(config_of(values, sources__classed__share=3, sources__labelled__share=1)).mixture()
    assert one.shares == {"classed": 0.75, "labelled": 0.25}
    assert build(config_of(values, mixing__share="size")).mixture().shares["classed"] == 0.5
    built = build(
        config_of(values, sources__classed__train_where="row < 10", sources__labelled__where="row < 30")
    )
    sizes = [len(source) for source in (*built.training.values(), *built.validation.values())]
    assert sizes == [8, 20, 10, 5]


def test_a_manifest_without_splits_has_training_rows(tmp_path):
    values = world(tmp_path)
    for name in values["sources"]:
        changed(tmp_path / f"{name}.parquet", lambda frame: frame.drop("split"))
    built = build(config_of(values))
    assert len(built.training["classed"]) == 60
    assert built.validation == {}
    assert built.validation_rows() is None


def test_features_are_standardised_by_the_training_rows(tmp_path):
    built = build(config_of(world(tmp_path)))
    layer = built.network.trunk[0]
    x = torch.cat([batch.inputs for batch in built.mixture()])
    assert x.mean() > 90
    assert layer(x).mean().abs() < 0.2
    assert 0.8 < layer(x).std() < 1.2
    assert not isinstance(
        build(config_of(world(tmp_path), trunk__standardize=False)).network.trunk[0], Standardize
    )


@pytest.mark.parametrize("kind", ["features", "columns"])
def test_features_of_sorted_rows_are_standardised_by_all_of_them(tmp_path, monkeypatch, kind):
    """The first rows of a table that is sorted by class show what one class has, and nothing else."""
    values = world(tmp_path, kind, n=240)
    training = {"classed": 160, "labelled": 160}
    whole = build(config_of(values)).network.trunk[0]
    if kind == "features":
        for seed, n in enumerate((240, 240)):
            x = np.zeros((n, 3))
            x[n // 2 :, 0] = np.arange(n // 2)  # constant in the first half
            x[n // 2 + 7, 1] = 5  # one row alone has it, and no sample
            np.savez(tmp_path / f"features{seed}.npz", x=x)
    else:
        for name in training:
            changed(tmp_path / f"{name}.parquet", lambda frame: frame.sort("size"))
    monkeypatch.setattr("concord.runs.building.ROWS_FOR_MOMENTS", 20)
    layer = build(config_of(values)).network.trunk[0]
    if kind == "columns":
        torch.testing.assert_close(layer.mean, whole.mean)
        torch.testing.assert_close(layer.scale, whole.scale)
        return
    assert layer.mean[0] == pytest.approx(np.arange(120).sum() / 240, rel=0.1)
    assert layer.scale[1:].tolist() == [1, 1]
    assert layer.mean[1:].tolist() == [0, 0]
    monkeypatch.setattr("concord.runs.building.ROWS_FOR_MOMENTS", 160)
    assert build(config_of(values)).network.trunk[0].scale[2] == 0  # all rows were seen


def test_moments_are_those_of_numpy_but_for_constant_columns():
    drawn = np.random.default_rng(0)
    rows = drawn.normal(50, 3, size=(400, 4))
    rows[:, 1] = 0.7
    rows[:, 2] = 1e9 + 0.3
    rows[:, 3] = 1e-9 * drawn.normal(size=400)  # small, and no constant
    mean, deviation = moments(rows)
    assert (rows.std(axis=0) > 0).all()  # of constant columns by rounding
    np.testing.assert_array_equal(mean, rows.mean(axis=0))
    np.testing.assert_array_equal(deviation, rows.std(axis=0) * [1, 0, 0, 1])


def test_a_standardising_layer_by_its_formula():
    x = torch.tensor([[1.0, 5.0, 100.0], [3.0, 5.0, -100.0]])
    layer = Standardize(torch.tensor([2.0, 5.0, 0.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert layer(x).tolist() == [[-1.0, 0.0, LIMIT], [1.0, 0.0, -LIMIT]]


# -- relations and couplings -------------------------------------------------------------------------


def both(tmp_path):
    """A world whose label source has the classes too, in another order."""
    values = world(tmp_path)
    path = tmp_path / "labelled.parquet"
    manifest, rng = read_manifest(path), np.random.default_rng(0)
    names = ["star", "circle", "square"]
    frame = manifest.frame.with_columns(pl.Series("shape", rng.choice(names, len(manifest))))
    write_manifest(
        Manifest(frame, (*manifest.tasks, type(SHAPE)("shape", names)), tmp_path, "labelled"), path
    )
    return values, frame


def test_a_relation_is_estimated_from_training_rows_with_both(tmp_path):
    values, frame = both(tmp_path)
    built = build(config_of(values, relations__0__table="estimate"))
    assert built.tasks[0].classes == SHAPE.classes  # the order of the first source that has the task
    train = frame.filter(pl.col("split") == "train")
    base = (train["marks.m1"].sum() + 0.5) / (len(train) + 1)
    for c, name in enumerate(SHAPE.classes):
        rows = train.filter(pl.col("shape") == name)["marks.m1"]
        assert built.relations[0].table[c, 0] == pytest.approx((rows.sum() + base) / (len(rows) + 1))


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("shape,m1,m2\ncircle,.9,.1\nsquare,.1,.9\n", "star of task 'shape'"),
        ("shape,m1\ncircle,.9\nsquare,.1\nstar,.8\n", "m2 of task 'marks'"),
    ],
)
def test_a_table_that_lacks_a_class_or_label_is_refused_unless_it_is_ignored(tmp_path, text, lacking):
    values = world(tmp_path)
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UnknownNameError, match=rf"relations.shape->marks: .*table.csv lacks {lacking}"):
        build(config_of(values))
    built = build(config_of(values, relations__0__extra="ignore"))
    assert np.isnan(built.relations[0].table).any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"relations__0__source": "shap"}, UnknownNameError, "relations.shap->marks: unknown task 'shap'"),
        (
            {"relations__0": {"source": "marks", "target": "shape", "table": "table.csv"}, "couplings": []},
            ConfigError,
            "relations.marks->shape: its source must be a task of classes",
        ),
        ({"relations__0__table": "none.csv"}, MissingDataError, "relations.shape->marks: no"),
        ({"relations__0__table": "expressions"}, UnknownNameError, "no class or label in common"),
        ({"relations__0__table": "estimate"}, NoAnnotationError, "no source has both 'shape' and 'marks'"),
        ({"relations__0__table": "pack:none"}, UnknownNameError, "unknown pack 'none'"),
        ({"couplings__0__options": {"exponnt": 1}}, UnknownNameError, "couplings.0: unknown option of post"),
        (
            {"couplings__0__options": {"exponent": "x"}},
            RangeError,
            "couplings.0: posterior-coannotation: exponent is a number, found 'x'",
        ),
        (
            {"relations__0": {"source": "shape", "target": "marks", "table": "estimate", "transpose": True}},
            ConfigError,
            "relations.shape->marks: transpose changes nothing of table 'estimate'; leave it out",
        ),
        (
            {"relations__0": {"source": "shape", "target": "marks", "table": "estimate", "extra": "ignore"}},
            ConfigError,
            "relations.shape->marks: extra changes nothing of table 'estimate'; leave it out",
        ),
        (
            {"relations__0": {"source": "shape", "target": "marks", "table": "expressions", "normalize": 1}},
            ConfigError,
            "relations.shape->marks: normalize changes nothing of table 'expressions'; leave it out",
        ),
        (
            {"sources__classed__splits": {"keep": ["test"]}},
            ConfigError,
            "classed: splits.keep says how",
        ),
        (
            {"sources__classed__splits": {"rename": {"val": "test"}, "stratify": ["shape"]}},
            ConfigError,
            "classed: splits.stratify says how shares are drawn: give splits.shares, or leave it out",
        ),
        ({"tasks__shape": {"metric": "mean_f1"}}, UnknownNameError, "tasks.shape: unknown metric 'mean_f1'"),
        (
            {"training__steps": 5, "training__warmup": 5},
            ConfigError,
            "training.warmup: the learning rate rises for 5 steps of 5; it must be fewer than the steps",
        ),
        ({"training__steps": None, "training__warmup": 600}, ConfigError, "rises for 600 steps of 600"),
        ({"couplings__0__options": {"exponent": 7}}, ConcordError, "couplings.0: an evidence exponent"),
        ({"trunk__options": {"hiden": [3]}}, ConfigError, "trunk: trunk builtin:mlp: unknown option 'hiden'"),
        ({"trunk__name": "builtin:resnet"}, ConcordError, "trunk: "),
        ({"trunk": {"name": "builtin:bag-of-words"}}, ConfigError, "takes texts, but source classed gives"),
        ({"tasks__other": {}}, UnknownNameError, "tasks: unknown task 'other'"),
        ({"tasks__shape": {"labels": ["a"]}}, ConfigError, "tasks.shape: the sources have classes"),
        ({"tasks__shape": {"classes": ["a", "b"]}}, UnknownNameError, "tasks.shape: unknown class or label"),
        ({"sources__classed__manifest": "none.parquet"}, MissingDataError, "sources.classed: expected a"),
        ({"sources__classed__tasks": ["shapes"]}, UnknownNameError, "sources.classed: unknown task 'shapes'"),
        ({"sources__classed__where": "nothing = 1"}, ConfigError, "sources.classed: cannot apply"),
        ({"sources__classed__train_where": "row > 99"}, EmptyDataError, "sources.classed: no training rows"),
        ({"sources__classed__inputs__file": "none.npz"}, MissingDataError, "classed.inputs: no feature file"),
        ({"sources__classed__inputs": {"kind": "texts"}}, ShapeError, "classed gives texts, labelled gives"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(tmp_path, changes, error, message):
    with pytest.raises(error) as caught:
        build(config_of(world(tmp_path), **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_coupling_that_suits_no_relation(tmp_path, monkeypatch):
    values = world(tmp_path)
    monkeypatch.setattr(cc.couplings.PosteriorCoannotation, "supports", lambda self, relation: False)
    with pytest.raises(
        ConfigError, match=r"couplings\.0: posterior-coannotation is not defined for any of the relations"
    ):
        build(config_of(values))
    values["couplings"].insert(0, {"name": "marginal", "relation": "shape->marks"})
    with pytest.raises(ConfigError, match=r"couplings\.1: posterior-coannotation"):
        build(config_of(values))


def test_couplings_of_one_kind_stand_side_by_side(tmp_path):
    values = world(tmp_path)
    values["couplings"] = [
        {"name": "matching", "weight": 0.25},
        {"name": "distribution-matching", "options": {"form": "papr"}},
    ]
    with pytest.raises(UnknownNameError, match=r"couplings\.1: unknown form of distribution matching 'papr'"):
        build(config_of(values))
    values["couplings"][1]["options"] = {"cells": "binary"}
    objective = build(config_of(values)).objective
    assert [coupling.weight for coupling in objective.couplings] == [0.25, 1.0]
    assert objective.part_names == [
        "distribution-matching:shape->marks",
        "distribution-matching-2:shape->marks",
    ]


def test_one_name_for_two_kinds_of_task(tmp_path):
    values = world(tmp_path)
    path = tmp_path / "labelled.parquet"
    manifest = read_manifest(path)
    frame = manifest.frame.rename({"marks.m1": "shape.m1", "marks.m2": "shape.m2"})
    write_manifest(
        Manifest(frame, (type(manifest.tasks[0])("shape", ["m1", "m2"]),), tmp_path, "labelled"), path
    )
    with pytest.raises(AnnotationError, match="task 'shape' has classes in one source and labels in another"):
        build(config_of(values, tasks={}, relations=[], couplings=[]))


def test_a_task_without_annotation_in_the_training_rows(tmp_path):
    values = world(tmp_path)
    nothing = pl.when(pl.col("split") != "train").then(pl.col("shape"))
    changed(tmp_path / "classed.parquet", lambda frame: frame.with_columns(nothing))
    with pytest.raises(NoAnnotationError, match="task 'shape' has no annotation in the training rows"):
        build(config_of(values))


# -- inputs ------------------------------------------------------------------------------------------


def test_columns_become_features_by_the_training_rows_vocabulary():
    frame = pl.DataFrame({"row": [0, 1, 2], "n": [1, 2, 3], "t": ["b", "", "a"], "flag": [True, False, True]})
    vocabulary = vocabulary_of(Manifest(frame, ()), ["n", "t", "flag"])
    assert vocabulary == {"n": None, "t": ["a", "b"], "flag": None}
    other = Manifest(frame.with_columns(t=pl.Series(["a", "new", None])), ())
    with pytest.warns(ConcordWarning, match=r"'t': 1 of 3 rows hold a value .* \('new'\)"):
        found = column_features(other, vocabulary)
    assert found.tolist() == [[1, 1, 0, 1], [2, 0, 0, 0], [3, 0, 0, 1]]
    with pytest.raises(DataFormatError, match="'t' of '' held text in training, found numbers"):
        column_features(Manifest(frame.with_columns(t=pl.col("n")), ()), vocabulary)
    mistaken = Manifest(frame.with_columns(n=pl.Series(["1", "NA", "3"])), ())
    assert vocabulary_of(mistaken, ["n"]) == {"n": None}
    with pytest.raises(DataFormatError, match="found 'NA' in row 1"):
        column_features(mistaken, {"n": None})
    with pytest.raises(
        DataFormatError, match=r"'n' of '': a number is needed in every row, found None in row 1"
    ):
        column_features(Manifest(frame.with_columns(n=pl.Series([1, None, 3])), ()), vocabulary)
    with pytest.raises(UnknownNameError, match="unknown feature column 'm'"):
        vocabulary_of(Manifest(frame, ()), ["m"])
    with pytest.raises(UnknownNameError, match="the feature column 'm' is missing; the table has row, n, t"):
        column_features(Manifest(frame, ()), {"m": None})
    with pytest.raises(DataFormatError, match="numbers or text are needed"):
        vocabulary_of(Manifest(frame.with_columns(n=pl.Series([[1], [2], [3]])), ()), ["n"])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (["word", "size", "one", "two"], "the same columns in one order"),
        (None, "'size' is text here and numbers"),
    ],
)
def test_columns_of_two_sources_must_agree(tmp_path, second, message):
    values = world(tmp_path, "columns")
    if second is None:
        changed(tmp_path / "labelled.parquet", lambda f: f.with_columns(pl.col("size").cast(str)))
    else:
        values["sources"]["labelled"]["inputs"]["columns"] = second
    with pytest.raises(ConfigError, match=message):
        build(config_of(values))


def test_pixels_come_out_alike_from_every_layout():
    rng = np.random.default_rng(0)
    grey = torch.from_numpy(rng.integers(0, 256, (4, 8, 8)).astype(np.float32))
    made = Pixels(8, ((0.5,) * 3, (0.5,) * 3))
    expected = (grey / 255 - 0.5) / 0.5
    colour = grey[:, None].expand(-1, 3, -1, -1)
    for layout in (grey, grey[:, None], colour, colour.permute(0, 2, 3, 1), grey[..., None]):
        out = made(layout)
        assert out.shape == (4, 3, 8, 8)
        for channel in range(3):
            torch.testing.assert_close(out[:, channel], expected)
    torch.testing.assert_close(
        Pixels(8, ((0.5,) * 3, (0.5,) * 3), invert=True, white=1.0)(grey / 255), -made(grey)
    )
    assert Pixels(5, ((0.5,) * 3, (0.5,) * 3))(grey).shape == (4, 3, 5, 5)
    with pytest.raises(ShapeError, match=r"found \(4, 8\)"):
        made(grey[:, 0])


def test_images_and_arrays_of_the_same_pixels_are_the_same(tmp_path):
    world(tmp_path, "arrays")
    as_files = build(config_of(world(tmp_path, "images")))
    as_arrays = build(config_of(world(tmp_path, "arrays")))
    rows = np.arange(10)
    both = [
        source.transform(source.inputs.load(source.keys(rows)).values)
        for source in (as_files.training["classed"], as_arrays.training["classed"])
    ]
    assert both[0].shape == (10, 3, SIDE, SIDE)
    torch.testing.assert_close(both[0], both[1])


def test_an_array_that_holds_no_images(tmp_path):
    values = world(tmp_path, "arrays")
    np.save(tmp_path / "pixels0.npy", np.zeros((60, 5), dtype=np.uint8))
    with pytest.raises(ShapeError, match=r"sources\.classed: arrays of pixels have shape"):
        build(config_of(values))
