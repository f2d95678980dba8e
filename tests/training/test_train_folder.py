"""A training from its config to its folder, and what is made of that folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import concord as cc
from concord.archive import own
from concord.data import group_codes, read_manifest, write_manifest
from concord.data.manifest import Manifest
from concord.decoding import Decoders
from concord.errors import (
    CheckpointError,
    ConcordWarning,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    OutputError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.trackers import MLflow
from concord.fitting.watch import TensorBoard
from concord.metrics import class_metrics
from concord.runs import finished as is_finished
from concord.runs import outputs
from concord.runs.building import Built, build
from concord.runs.evaluation import as_table, evaluate, write_metrics
from concord.runs.prediction import predict, predict_split, write_predictions
from concord.runs.run import load_run, save_run
from concord.runs.training import _loggers, train
from config_worlds import MARKS, SHAPE, WORDS, config_of, world, write
from forging import forge

KINDS = ("features", "columns", "texts", "images", "arrays")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training that was long enough to learn something."""
    folder = tmp_path_factory.mktemp("finished")
    values = world(folder, n=240)
    return train(config_of(values, training__steps=150, training__learning_rate=1e-2))


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# -- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_inputs_a_run_is_the_same_after_loading(tmp_path, kind):
    run = train(config_of(world(tmp_path, kind)))
    again = load_run(tmp_path / "out")
    assert same(weights(run), weights(again))
    assert (again.tasks, again.chosen, again.inputs) == (run.tasks, run.chosen, run.inputs)
    assert again.config == run.config
    assert again.decoder.strengths() == run.decoder.strengths()
    assert not again.network.training
    with torch.no_grad():
        for mine, other in zip(
            run.network(run.example_input).values(), again.network(again.example_input).values(), strict=True
        ):
            assert torch.equal(mine, other)
    first, second = predict_split(run, run.config), predict_split(again, again.config)
    assert first.equals(second)
    assert first.height == 20


def test_it_learns_and_says_how_much(finished):
    found = evaluate(finished)
    assert found["rows"] == {"classed": 40, "labelled": 40}
    assert found["tasks"]["shape"]["annotated"] == 40
    assert found["tasks"]["shape"]["head"]["accuracy"] > 0.8
    assert found["tasks"]["marks"]["head"]["map"] > 0.8
    assert found["tasks"]["shape"]["joint"].keys() == found["tasks"]["shape"]["head"].keys()
    assert 0 <= found["disagreement"]["shape->marks"] <= 1
    assert json.loads(write_metrics(found, finished.folder).read_text()) == found
    lines = [json.loads(line) for line in (finished.folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 150
    assert set(finished.facts["validation"]) == {k for k in lines[-1] if k.startswith("val/")}
    assert finished.facts["rows"] == {"classed": 160, "labelled": 160}


def test_strengths_are_fitted_by_the_groups_of_the_validation_rows(tmp_path, monkeypatch):
    """Each row's own group arrives with it, from whichever source, and rows without one stand alone."""
    seen = []
    fit = Decoders.fit
    monkeypatch.setattr(
        Decoders,
        "fit",
        lambda self, p, targets, groups=None: seen.append((targets, groups)) or fit(self, p, targets, groups),
    )
    values = world(tmp_path)
    train(config_of(values))
    assert seen[0][1] is None
    for name in ("classed", "labelled"):
        manifest = read_manifest(tmp_path / f"{name}.parquet")
        splits = manifest.frame["split"].to_list()
        groups = [None if i % 3 == 0 else f"{splits[i]}{i % 7}" for i in range(len(manifest))]
        write_manifest(
            replace(manifest, frame=manifest.frame.with_columns(group=pl.Series(groups))),
            tmp_path / f"{name}.parquet",
        )
    train(config_of(values, output=str(tmp_path / "again")))
    targets, groups = seen[1]
    assert set(targets) == {"shape", "marks"}
    built = build(config_of(values))
    expected = group_codes(source.manifest for source in built.validation.values())
    np.testing.assert_array_equal(groups, expected)
    assert 6 < len(np.unique(groups)) < len(groups)


@pytest.mark.parametrize("select", ["final", "metric", "log-loss"])
@pytest.mark.parametrize("calibrate", [False, True])
def test_figures_told_are_those_of_the_weights_kept(select, calibrate, tmp_path):
    changes = {"validation__select": select, "validation__calibrate": calibrate, "validation__every": 7}
    run = train(config_of(world(tmp_path), **changes, training__steps=30))
    kept = evaluate(load_run(run.folder), split="val")["tasks"]
    told = {key: value for key, value in run.facts["validation"].items() if not key.endswith("log-loss")}
    assert told == pytest.approx(
        {f"val/{task}/{metric}": v for task, each in kept.items() for metric, v in each["head"].items()},
        abs=1e-6,
    )


def test_labels_that_are_all_absent_are_annotated(finished, tmp_path):
    values = world(tmp_path)
    path = tmp_path / "labelled.parquet"
    manifest = read_manifest(path)
    zeros = [pl.lit(0, pl.Int8).alias(c) for c in manifest.frame.columns if c.startswith("marks.")]
    write_manifest(replace(manifest, frame=manifest.frame.with_columns(zeros)), path)
    found = evaluate(finished, config_of(values))
    marks = found["tasks"]["marks"]
    assert set(marks["head"]) == set(marks["joint"]) == {"accuracy", "ece"}
    assert marks["undefined"] == ["mean_f1", "map"]
    cells = [cell for column in as_table(found).columns for cell in column._cells]
    assert "no label is present" in cells
    assert not any("nothing is annotated" in cell for cell in cells)


def test_metrics_are_those_of_the_predictions(finished):
    frame = predict_split(finished, finished.config).filter(pl.col("source") == "classed")
    manifest = read_manifest(finished.folder.parent / "classed.parquet").filter("split = 'test'")
    p = frame.select(f"shape.head.{name}" for name in SHAPE.classes).to_numpy()
    expected = class_metrics(manifest.targets()["shape"], p, SHAPE.classes)
    assert evaluate(finished)["tasks"]["shape"]["head"] == pytest.approx(expected)
    assert frame["row"].to_list() == manifest.frame["row"].to_list()


def test_interrupted_it_goes_on_to_the_same_weights(tmp_path):
    values = world(tmp_path)
    whole = train(config_of(values, output=str(tmp_path / "whole")))
    config = config_of(values)
    train(config)
    (tmp_path / "out" / "run.json").unlink()
    (tmp_path / "out" / "model.safetensors").unlink()
    checkpoints = Checkpoints(tmp_path / "out" / "checkpoints")
    os.rename(checkpoints.all()[-1], tmp_path / "gone")
    assert same(weights(train(config)), weights(whole))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [2, 4, 6]
    assert same(weights(train(config)), weights(whole))  # finished: nothing is left to do


def test_a_config_its_plain_data_and_its_file_are_trained_alike(tmp_path):
    values = world(tmp_path)
    first = cc.train(config_of(values))
    second = cc.train({**values, "output": str(tmp_path / "second")})
    cc.train(write({**values, "output": str(tmp_path / "third")}, tmp_path / "third.yaml"))
    assert same(weights(first), weights(second))
    assert same(weights(first), weights(cc.load_run(tmp_path / "third")))


def test_another_configs_folder_is_refused(tmp_path):
    values = world(tmp_path)
    train(config_of(values))
    with pytest.raises(ConfigError, match=r"another config: training\.seed was 0, here it is 3; train into"):
        train(config_of(values, training__seed=3))
    moved = config_of(values, watching__every=1, training__accelerator="auto", checkpoints__keep=5)
    train(moved.model_copy(update={"training": moved.training.model_copy(update={"accelerator": "cpu"})}))
    (tmp_path / "out" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json does not say of what"):
        train(config_of(values))


def test_all_that_differs_is_named_and_a_training_can_take_the_place_of_another(tmp_path):
    values = world(tmp_path)
    train(config_of(values))
    other = config_of(values, training__seed=3, training__learning_rate=0.01)
    with pytest.raises(ConfigError, match=r"here it is 0\.01, training\.seed was 0, here"):
        train(other)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "metrics-test.json").write_text("{}")
    run = train(other, overwrite=True)
    assert same(weights(run), weights(train(other.model_copy(update={"output": str(tmp_path / "new")}))))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "metrics-test.json").exists()
    again = train(other, overwrite=True)  # of the same config, too
    assert same(weights(run), weights(again))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [2, 4, 6]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "data.json", "metrics-test.json", "tokenizer/t.json", "auto/a/b.py",
     "checkpoints/theirs.pt", "checkpoints/step-00000100/model.pt"],
)  # fmt: skip
def test_a_folder_of_somebody_else_is_left_as_it_is(tmp_path, name, overwrite):
    """Whoever exports a model or keeps a project there would lose it; other names do not matter."""
    config = config_of(world(tmp_path))
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"theirs": "yes"}')
    (tmp_path / "out" / "metrics-theirs.json").write_text("{}")
    first = name.partition("/")[0]
    with pytest.raises(ConfigError, match=rf"is no folder of a training and holds {first}, which would be"):
        train(config, overwrite=overwrite)
    assert theirs.read_text() == '{"theirs": "yes"}'
    os.renames(theirs, tmp_path / "gone" / name)
    train(config, overwrite=overwrite)
    train(config, overwrite=True)
    assert (tmp_path / "out" / "metrics-theirs.json").read_text() == "{}"


def test_an_output_has_a_name(tmp_path):
    with pytest.raises(ConfigError, match="output"):
        config_of(world(tmp_path), output="")


class KilledError(Exception):
    """Stands for the end of a process."""


def kill(*_):
    raise KilledError


def killed_at(place, monkeypatch, config, **options):
    """Train until a function is called."""
    with monkeypatch.context() as patch:
        patch.setattr(place, kill)
        with pytest.raises(KilledError):
            train(config, **options)


TAKING_PLACES = "concord.archive.folders._put"
SAVING, BEGINNING = "concord.runs.training.save_run", "concord.runs.training._train"


@pytest.mark.parametrize("kind", ["single", "auto"])
def test_a_training_whose_files_have_not_taken_their_places_is_finished(tmp_path, monkeypatch, kind):
    changes = {"couplings": [], "stages": {"kind": "auto", "effort": "fast"}} if kind == "auto" else {}
    config = config_of(world(tmp_path, n=240), **changes)
    killed_at(TAKING_PLACES, monkeypatch, config)
    if kind == "single":
        os.rename(tmp_path / "out" / "checkpoints", tmp_path / "gone")
        with pytest.raises(ConfigError, match="another config"):
            train(config_of(world(tmp_path, n=240), training__seed=3))
        os.rename(tmp_path / "gone", tmp_path / "out" / "checkpoints")
    assert is_finished(config)


def test_a_training_in_place_of_another_leaves_nothing_of_it(tmp_path, monkeypatch):
    """Not what was saved and had not taken its place, which a folder is read from."""
    config = config_of(world(tmp_path))
    killed_at(TAKING_PLACES, monkeypatch, config)
    assert load_run(tmp_path / "out").facts["steps"] == 6
    other = config_of(world(tmp_path), training__steps=9)
    killed_at(BEGINNING, monkeypatch, other, overwrite=True)
    with pytest.raises(CheckpointError, match="holds no finished training"):
        load_run(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "data.json"]


def test_what_cannot_be_trained_takes_no_place(tmp_path):
    values = world(tmp_path)
    run = train(config_of(values))
    with pytest.raises(UnknownNameError):
        train(config_of(values, tasks={"nosuch": {}}), overwrite=True)
    assert same(weights(cc.load_run(tmp_path / "out")), weights(run))


def test_trained_further_is_trained_longer(tmp_path):
    values = world(tmp_path)
    longer = train(config_of(values, training__steps=10, output=str(tmp_path / "longer")))
    config = config_of(values)
    with pytest.raises(ConfigError, match="holds no training that could go further"):
        train(config, more_steps=4)
    train(config)
    run = train(config, more_steps=4)
    assert same(weights(run), weights(longer))
    assert run.facts["steps"] == 10
    with pytest.raises(ConfigError, match=r"training\.steps was 10, here it is 6"):
        train(config)
    with pytest.raises(RangeError, match="steps on top are >= 1"):
        train(config, more_steps=0)
    with pytest.raises(ConfigError, match=r"seed was 0, here it is 3"):
        train(config_of(values, training__seed=3), more_steps=4)
    for changes in ({"training__schedule": "cosine"}, {"stages": {"kind": "two-stage"}, "couplings": []}):
        other = config_of(values, output=str(tmp_path / "other"), **changes)
        train(other, overwrite=True)
        with pytest.raises(ConfigError, match="is another one at another length"):
            train(other, more_steps=4)


def test_metrics_of_the_weights_before_go_with_them(tmp_path):
    config = config_of(world(tmp_path))
    mine = tmp_path / "out" / "metrics-mine.json"
    written = write_metrics(evaluate(train(config), config, "val"), tmp_path / "out")
    mine.write_text("{}")
    train(config)  # the same weights again
    assert written.is_file()
    train(config, more_steps=4)
    assert not written.is_file()
    assert mine.is_file()


def test_killed_on_the_way_further_it_ends_where_it_was_to_end(tmp_path, monkeypatch):
    values = world(tmp_path)
    longer = train(config_of(values, training__steps=10, output=str(tmp_path / "longer")))
    config = config_of(values, checkpoints__every=2)
    train(config)
    killed_at(SAVING, monkeypatch, config, more_steps=4)
    os.rename(Checkpoints(tmp_path / "out" / "checkpoints").all()[-1], tmp_path / "gone")
    assert load_run(tmp_path / "out").facts["steps"] == 6
    assert same(weights(train(config, more_steps=4)), weights(longer))


def test_what_is_not_finished_or_has_no_checkpoints_goes_no_further(tmp_path, monkeypatch):
    """It would end where it was to end anyway, and say that it was trained further."""
    config = config_of(world(tmp_path))
    killed_at(SAVING, monkeypatch, config)
    os.rename(Checkpoints(tmp_path / "out" / "checkpoints").all()[-1], tmp_path / "gone")
    with pytest.raises(ConfigError, match="is not finished; train without --more-steps first"):
        train(config, more_steps=4)
    train(config)
    os.rename(tmp_path / "out" / "checkpoints", tmp_path / "away")
    with pytest.raises(ConfigError, match=r"no checkpoint .*; train with --set training\.steps=10 into"):
        train(config, more_steps=4)
    assert load_run(tmp_path / "out").facts["steps"] == 6
    os.rename(tmp_path / "away", tmp_path / "out" / "checkpoints")
    assert train(config, more_steps=4).facts["steps"] == 10


def changed_classes(folder):
    path = folder / "classed.parquet"
    manifest = read_manifest(path)
    names = manifest.frame["shape"].cast(str).to_list()
    frame = manifest.frame.with_columns(pl.Series("shape", [*names[1:], names[0]]))
    write_manifest(Manifest(frame, (SHAPE,), folder, "classed"), path)


def changed_rows(folder):
    path = folder / "labelled.parquet"
    manifest = read_manifest(path)
    write_manifest(replace(manifest, frame=manifest.frame.with_columns(pl.col("row").reverse())), path)


def changed_table(folder):
    (folder / "table.csv").write_text("shape,m1,m2\ncircle,.9,.1\nsquare,.1,.9\nstar,.8,.7\n")


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (changed_classes, "the annotations of task 'shape' in source 'classed'"),
        (changed_rows, "the rows of source 'labelled'"),
        (changed_table, "the table of relation shape->marks"),
    ],
)
def test_a_folder_of_other_data_is_refused(tmp_path, done, change, what):
    config = config_of(world(tmp_path))
    train(config)
    if not done:
        (tmp_path / "out" / "run.json").unlink()
        os.rename(Checkpoints(tmp_path / "out" / "checkpoints").all()[-1], tmp_path / "gone")
    change(tmp_path)
    with pytest.raises(ConfigError, match=rf"holds a training of other data: {what} changed since; train in"):
        train(config)


def test_rows_that_are_neither_trained_on_nor_watched_may_change(tmp_path):
    config = config_of(world(tmp_path))
    before = weights(train(config))
    path = tmp_path / "classed.parquet"
    write_manifest(read_manifest(path).filter("split <> 'test'"), path)
    assert same(weights(train(config)), before)
    (tmp_path / "out" / "data.json").unlink()  # as a folder of an earlier version
    changed_table(tmp_path)
    with pytest.raises(CheckpointError, match="is of another training: relations was"):
        train(config)


def test_a_task_that_is_not_listed_is_named(tmp_path):
    values = world(tmp_path)
    values["tasks"] = {"shape": {"weight": 2}}
    with pytest.raises(UnknownNameError, match="task 'marks' is not learnt, since `tasks` does not list it"):
        train(config_of(values))
    values["relations"], values["couplings"] = [], []
    with pytest.warns(ConcordWarning, match="not learnt, since `tasks` does not list it: marks"):
        run = train(config_of(values))
    assert [task.name for task in run.tasks] == ["shape"]


def test_features_of_another_width_are_refused(tmp_path, finished):
    np.save(tmp_path / "wide.npy", np.zeros((3, 9)))
    with pytest.raises(ShapeError, match=r"wide\.npy: the network was trained on rows of shape \(6\), found"):
        predict(finished, tmp_path / "wide.npy")
    np.savez(finished.folder.parent / "wide.npz", x=np.zeros((240, 9)))
    wide = replace(finished, inputs={
        name: plan.model_copy(update={"file": "wide.npz"}) for name, plan in finished.inputs.items()
    })  # fmt: skip
    with pytest.raises(ShapeError, match=r"sources\.classed\.inputs: .*wide\.npz: the network was"):
        evaluate(wide)
    with pytest.raises(UnknownNameError, match="cannot be read 'skp'; did you mean 'skip'"):
        predict(finished, tmp_path / "wide.npy", on_error="skp")


def test_inputs_lie_where_the_config_says_that_is_asked(tmp_path):
    values = world(tmp_path)
    run = train(config_of(values))
    for seed in (0, 1):
        inputs = np.load(tmp_path / f"features{seed}.npz")["x"]
        np.savez(tmp_path / f"moved{seed}.npz", y=inputs)
        np.savez(tmp_path / f"zeros{seed}.npz", x=np.zeros_like(inputs))

    def at(name, **others):
        return config_of(values, **{
            f"sources__{source}__inputs__{key}": value
            for seed, source in enumerate(("classed", "labelled"))
            for key, value in {"file": f"{name}{seed}.npz", **others}.items()
        })  # fmt: skip

    assert evaluate(run, at("moved", key="y")) == evaluate(run)
    assert predict_split(run, at("moved", key="y")).equals(predict_split(run, run.config))
    assert predict_split(run, at("zeros"))["shape.head.star"].n_unique() == 1
    with pytest.raises(MissingDataError, match=r"sources\.classed\.inputs: no feature file at .*none0\.npz"):
        evaluate(run, at("none"))


def test_inputs_are_made_as_in_training_and_files_may_be_skipped(tmp_path):
    values = world(tmp_path, "images")
    run = train(config_of(values))
    with pytest.raises(ConfigError, match=r"sources\.classed\.inputs\.size was 12 in training, here it is 8"):
        evaluate(run, config_of(values, sources__classed__inputs__size=8))
    broken = predict_split(run, run.config)["path"][0]
    (tmp_path / broken).write_bytes(b"no image")
    with pytest.raises(DataFormatError, match="cannot be decoded"):
        evaluate(run)
    with pytest.warns(UserWarning, match="is skipped"):
        found = evaluate(run, config_of(values, sources__classed__inputs__on_error="skip"))
    assert (found["rows"], found["skipped"]) == ({"classed": 9, "labelled": 10}, [broken])


def test_predictions_are_made_on_the_device_and_by_the_batches_that_are_asked_for(tmp_path, monkeypatch):
    values = world(tmp_path)
    run = train(config_of(values))
    absent = next(name for name in ("mps", "cuda") if not getattr(torch.backends, name).is_built())
    elsewhere = config_of(values, training__accelerator=absent)
    trained_there = replace(run, config=elsewhere)
    here = config_of(values, validation__batch_size=3)
    seen = []
    real = outputs.mixture_of
    monkeypatch.setattr(outputs, "mixture_of", lambda *args: seen.append(args[2]) or real(*args))
    assert predict_split(trained_there, here).height == 20
    assert predict(trained_there, tmp_path / "classed.parquet", accelerator="cpu", batch_size=4).height == 60
    assert seen == [3, 3, 4]
    for ask in (
        lambda: evaluate(run, elsewhere),
        lambda: predict_split(run, elsewhere),
        lambda: predict(trained_there, tmp_path / "classed.parquet"),
    ):
        with pytest.raises(ConfigError, match=rf"accelerator {absent} is not .*there are auto, cpu"):
            ask()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_which_nothing_came_to_be_is_used(tmp_path, monkeypatch, overwrite):
    values = world(tmp_path)
    killed_at(BEGINNING, monkeypatch, config_of(values, training__seed=3))
    assert (tmp_path / "out" / "config.json").exists()
    assert train(config_of(values), overwrite=overwrite).facts["steps"] == 6


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write to"):
        train(config_of(world(tmp_path), output=str(tmp_path / "file" / "out")))
    with pytest.raises(ConfigError, match="output: a folder for the results is needed"):
        train(config_of(world(tmp_path), output=None))


def test_each_task_may_get_weights_of_its_own(tmp_path):
    values = world(tmp_path, n=120)
    config = config_of(
        values,
        training__steps=40,
        training__learning_rate=0.3,
        validation__select="log-loss",
        validation__every=1,
        tasks__shape__metric="macro_f1",
    )
    run = train(config)
    steps = run.facts["selected_steps"]
    assert set(steps) == {"shape", "marks"}
    assert len(set(steps.values())) == 2  # so far apart are they here that each has a network of its own
    assert set(run.chosen.values()) == {0, 1}
    again = load_run(tmp_path / "out")
    assert same(weights(run), weights(again))
    assert predict_split(run, config).equals(predict_split(again, config))


def test_selection_needs_validation_rows_of_every_task(tmp_path):
    values = world(tmp_path)
    path = tmp_path / "labelled.parquet"
    manifest = read_manifest(path).filter("split != 'val'")
    write_manifest(manifest, path)
    with pytest.raises(
        ConfigError, match=r"validation\.select: no row of split val is annotated for task 'marks'"
    ):
        train(config_of(values, validation__select="metric"))
    assert "val/marks/map" not in train(config_of(values)).facts["validation"]


def test_without_validation_rows_nothing_is_watched_or_fitted(tmp_path):
    values = world(tmp_path)
    for name in values["sources"]:
        path = tmp_path / f"{name}.parquet"
        write_manifest(read_manifest(path).filter("split != 'val'"), path)
    run = train(config_of(values))
    assert run.facts["validation"] == run.facts["scales"] == {}
    assert run.decoder.strengths() == {"shape->marks": {"target": 0, "class": 0}}


def test_calibration_scales_logits_and_nothing_else(tmp_path):
    values = world(tmp_path)
    scaled = train(config_of(values, output=str(tmp_path / "scaled")))
    raw = train(config_of(values, validation__calibrate=False))
    with torch.no_grad():
        first, second = (run.network(torch.full((2, 6), 100.0)) for run in (scaled, raw))
    for task, scale in scaled.facts["scales"].items():
        torch.testing.assert_close(first[task], second[task] * scale)
    assert raw.facts["scales"] == {}
    assert set(scaled.facts["scales"]) == {"shape", "marks"}


def test_all_of_the_recipe_reaches_the_loop(tmp_path):
    config = config_of(
        world(tmp_path, "images"),
        training__schedule="cosine", training__warmup=2, training__clip=1.0, training__average=0.9,
        training__accumulate=2, training__channels_last=True, training__decay="matrices",
        training__precision="bf16-mixed", trunk__layer_decay=0.7, trunk__freeze=["trunk"],
        augmentation={"flip": 0.5, "shift": 2}, mixing={"workers": 1}, watching__tensorboard=True,
    )  # fmt: skip
    before = build(config).network.state_dict()
    run = train(config)
    after = weights(run)
    kept = [torch.equal(value, before[name]) for name, value in after.items() if name.startswith("trunk.")]
    assert all(kept)
    assert not torch.equal(after["heads.task_shape.weight"], before["heads.task_shape.weight"])
    assert list((tmp_path / "out" / "tensorboard").iterdir())


def test_a_network_trained_in_double_precision_is_kept_in_single(tmp_path):
    run = train(config_of(world(tmp_path), training__precision="64-true"))
    assert {value.dtype for value in weights(run).values()} == {torch.float32}
    assert predict_split(run, run.config).equals(predict_split(load_run(tmp_path / "out"), run.config))


@pytest.mark.filterwarnings("ignore::concord.data.batches.SkippedInputWarning")
@pytest.mark.parametrize("kind", ["single", "two-stage", "auto"])
def test_nothing_is_learnt_where_no_file_can_be_read(tmp_path, kind):
    stages = {"auto": {"kind": kind, "effort": "fast"}, "two-stage": {"kind": kind, "folds": 2}}
    values = world(tmp_path, "images")
    for source in values["sources"].values():
        source["inputs"]["on_error"] = "skip"
    if kind == "auto":  # one source that has both tasks
        del values["sources"]["labelled"]
        manifest = read_manifest(tmp_path / "classed.parquet")
        labels = [pl.Series(f"marks.{name}", [0, 1] * 30) for name in MARKS.labels]
        both = replace(manifest, frame=manifest.frame.with_columns(labels), tasks=(SHAPE, MARKS))
        write_manifest(both, tmp_path / "classed.parquet")
    for path in tmp_path.glob("images*/*.png"):
        path.write_bytes(b"no image")
    changes = {} if kind == "single" else {"stages": stages[kind], "couplings": []}
    with pytest.raises(EmptyDataError, match=r"none of the inputs of \d+ rows can be read.*on_error: raise"):
        train(config_of(values, training__steps=40, **changes))
    assert not (tmp_path / "out" / "run.json").exists()


def test_augmentation_is_for_images(tmp_path):
    with pytest.raises(ConfigError, match="augmentation is for images, but the sources give features"):
        train(config_of(world(tmp_path), augmentation__flip=0.5))


def test_loggers_are_those_asked_for(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(MLflow, "__init__", lambda self, uri, run_name: made.append((uri, run_name)))
    config = config_of(
        world(tmp_path), watching={"tensorboard": True, "mlflow": "http://there", "progress": False}
    )
    loggers = _loggers(config, tmp_path / "out")
    assert made == [("http://there", "out")]
    assert [type(each).__name__ for each in loggers] == ["JsonLines", "TensorBoard", "MLflow"]
    assert isinstance(loggers[1], TensorBoard)


def test_a_misspelt_logger_is_told_before_the_first_stage(tmp_path):
    plan = {"progress": False, "loggers": [{"use": "no_such_module:Nothing"}]}
    config = config_of(world(tmp_path), watching=plan, stages={"kind": "two-stage", "folds": 2}, couplings=[])
    with pytest.raises(ConfigError, match="no module 'no_such_module'"):
        train(config)
    assert not (tmp_path / "out" / "first-stage").exists()


def test_loggers_are_closed_where_the_first_stage_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "closing_logger.py").write_text(
        "class Closing:\n"
        "    closed = 0\n"
        "    def log(self, record): pass\n"
        "    def state_dict(self): return {}\n"
        "    def resume(self, step, state): pass\n"
        "    def close(self): type(self).closed += 1\n"
    )
    plan = {"progress": False, "loggers": [{"use": "closing_logger:Closing"}]}
    config = config_of(world(tmp_path), watching=plan, stages={"kind": "two-stage", "folds": 2}, couplings=[])
    killed_at("concord.runs.training.teach", monkeypatch, config)
    assert sys.modules.pop("closing_logger").Closing.closed == 1


def test_a_logger_of_ones_own_is_code_that_training_alone_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting_logger.py").write_text(
        "class Counting:\n"
        "    seen = []\n"
        "    def log(self, record): self.seen.append(record['step'])\n"
        "    def state_dict(self): return {}\n"
        "    def resume(self, step, state): pass\n"
        "    def close(self): pass\n"
    )
    plan = {"progress": False, "loggers": [{"use": "counting_logger:Counting"}]}
    run = train(config_of(world(tmp_path), watching=plan))
    counting = sys.modules.pop("counting_logger").Counting
    assert counting.seen[-1] == run.config.training.steps
    load_run(run.folder)
    assert "counting_logger" not in sys.modules


@pytest.mark.parametrize("use", ["no_class", "a:b:c", "a b:C", ":C", "a.:C"])
def test_a_logger_is_named_by_module_and_class(tmp_path, use):
    with pytest.raises(ConfigError, match=r"watching\.loggers"):
        config_of(world(tmp_path), watching={"loggers": [{"use": use}]})


# -- the folder of a run -----------------------------------------------------------------------------


def damaged(run, tmp_path):
    """A copy of a run's folder."""
    import shutil

    shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.safetensors", lambda b: b[:-9], "model.safetensors is truncated"),
        ("model.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "model.safetensors was changed after"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("run.json", None, "holds no finished training"),
        ("run.json", lambda b: b[:-9], "run.json cannot be read"),
        ("run.json", lambda b: b.replace(b'"circle"', b'"cycle"'), "run.json was changed after"),
        ("run.json", lambda b: b.replace(b'"format": 2', b'"format": 3'), "has format 3"),
        ("run.json", lambda b: b"[]", "is no record of"),
    ],
)
def test_a_run_that_is_not_what_was_written_is_refused(finished, tmp_path, file, change, message):
    folder = damaged(finished, tmp_path)
    path = folder / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_network_or_with_parts_missing(finished, tmp_path):
    folder = damaged(finished, tmp_path)
    others = [{"name": "shape", "classes": ["a", "b"]}, {"name": "marks", "labels": ["x"]}]
    forge(folder, "run", tasks=others, relations=[], strengths={})
    with pytest.raises(CheckpointError, match=r"model\.safetensors is of another network"):
        load_run(folder)
    forge(folder, "run", shape=...)
    with pytest.raises(CheckpointError, match=r"run\.json is not whole"):
        load_run(folder)


def test_a_run_that_cannot_be_written(finished, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write the finished training to"):
        save_run(replace(finished, folder=tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics-test\.json"):
        write_metrics({"split": "test"}, tmp_path / "file")


def test_a_tokenizer_travels_with_its_run(tmp_path):
    run = train(config_of(world(tmp_path, "texts")))

    class Saving:
        def save(self, folder):
            folder.mkdir()
            (folder / "words.txt").write_text("a word")

    save_run(replace(run, tokenize=Saving()))
    assert (tmp_path / "out" / "tokenizer" / "words.txt").is_file()
    assert load_run(tmp_path / "out").tokenize(["a word"]).shape == (1, 3)


def test_a_pretrained_transformer_needs_its_folder_no_longer(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = tmp_path / "model"
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.AutoModel.from_config(config).save_pretrained(model)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "m1", "m2"]
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(model)
    trunk = {"name": f"hf:{model}", "pretrained": True, "options": {"tokens": 8}, "layer_decay": 0.9}
    run = train(config_of(world(tmp_path, "texts"), trunk=trunk))
    expected = predict(run, tmp_path / "classed.parquet")
    os.rename(model, tmp_path / "gone")
    again = predict(load_run(tmp_path / "out"), tmp_path / "classed.parquet")
    assert again.equals(expected)
    assert expected["shape.head.star"].n_unique() > 3  # every word has a say


# -- evaluation and prediction -----------------------------------------------------------------------


def test_splits_that_there_are_not(finished, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown split 'tset'; did you mean 'test'"):
        evaluate(finished, split="tset")
    values = world(tmp_path)
    for name in values["sources"]:
        write_manifest(
            read_manifest(tmp_path / f"{name}.parquet").filter("split != 'test'"),
            tmp_path / f"{name}.parquet",
        )
    run = train(config_of(values))
    with pytest.raises(EmptyDataError, match="no source has rows of split 'test'"):
        evaluate(run)
    write_manifest(read_manifest(tmp_path / "classed.parquet"), tmp_path / "labelled.parquet")
    config = config_of(values, tasks__marks__labels=None, sources__labelled__tasks=[])
    found = evaluate(run, config.model_copy(update={"tasks": {}}), split="val")
    assert found["tasks"]["marks"] == {
        "annotated": 0,
        "head": {},
        "joint": {},
        "undefined": ["mean_f1", "map", "accuracy", "ece"],
    }
    assert any("nothing is annotated" in cell for cell in as_table(found).columns[1]._cells)


def test_predictions_hold_both_heads_the_joint_result_and_their_disagreement(finished, tmp_path):
    data = finished.folder.parent
    frame = predict(finished, data / "classed.parquet")
    names = [f"shape.{k}.{c}" for k in ("head", "joint") for c in SHAPE.classes]
    names += [f"marks.{k}.{m}" for k in ("head", "joint") for m in MARKS.labels]
    assert set(names) <= set(frame.columns)
    assert frame.height == 240
    np.testing.assert_allclose(frame.select(names[:3]).sum_horizontal(), 1)
    assert frame["shape->marks.disagreement"].is_between(0, 1).all()
    p = frame.select(names[:3]).to_numpy()
    assert frame["shape.head"].to_list() == [SHAPE.classes[c] for c in p.argmax(axis=1)]
    q = (
        frame.select(names[8:10]).to_numpy()
        if False
        else frame.select("marks.joint.m1", "marks.joint.m2").to_numpy()
    )
    expected = [";".join(m for m, on in zip(MARKS.labels, row >= 0.5, strict=True) if on) for row in q]
    assert frame["marks.joint"].to_list() == expected
    for suffix, read in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        path = write_predictions(frame, tmp_path / "deep" / f"p{suffix}")
        assert read(path).columns == frame.columns
        assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []
    with pytest.raises(ConfigError, match=r"written to \.csv or \.parquet"):
        write_predictions(frame, "p.xlsx")
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "taken.csv", tmp_path / "file" / "p.csv"):
        with pytest.raises(OutputError, match=rf"{place}"):
            write_predictions(frame, place)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_features_without_a_manifest_and_another_feature_file(finished, tmp_path):
    data = finished.folder.parent
    with np.load(data / "features0.npz") as arrays:
        x = arrays["x"]
    np.save(tmp_path / "bare.npy", x[5:10])
    bare = predict(finished, tmp_path / "bare.npy")
    whole = predict(finished, data / "classed.parquet")
    both = [frame["shape.head.circle"].to_numpy() for frame in (bare, whole[5:10])]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-5)
    (tmp_path / "rows.csv").write_text("row\n1\n0\n")
    with pytest.raises(ConfigError, match=r"nosuch\.npy would not be read"):
        predict(finished, tmp_path / "bare.npy", features=tmp_path / "nosuch.npy")
    other = predict(finished, tmp_path / "rows.csv", features=tmp_path / "bare.npy")
    np.testing.assert_allclose(other["shape.head.star"], bare["shape.head.star"][[1, 0]], rtol=1e-6)
    named = predict(finished, tmp_path / "rows.csv", source="labelled")
    assert not np.allclose(named["shape.head.star"], other["shape.head.star"])


def test_data_that_moved_and_a_source_that_was_not_trained_on(tmp_path):
    (tmp_path / "here").mkdir()
    values = world(tmp_path / "here")
    run = train(config_of(values, output=str(tmp_path / "out")))
    before = predict(run, tmp_path / "here" / "classed.parquet")
    os.rename(tmp_path / "here", tmp_path / "there")
    values["data"] = str(tmp_path / "there")
    again = predict(
        load_run(tmp_path / "out"), tmp_path / "there" / "classed.parquet", root=tmp_path / "there"
    )
    assert again.equals(before)
    config = config_of(values, sources__another=values["sources"]["classed"])
    assert evaluate(run, config)["rows"] == {"classed": 10, "labelled": 10, "another": 10}


@pytest.mark.parametrize(
    ("place", "options", "error", "message"),
    [
        ("none", {}, MissingDataError, "expected a manifest, images or a feature file"),
        (".", {}, EmptyDataError, "no image in"),
        (
            "rows.csv",
            {"source": "clased"},
            UnknownNameError,
            "unknown source 'clased'; did you mean 'classed'",
        ),
        ("pictures", {}, ConfigError, "this network was trained on features; give a manifest of these"),
    ],
)
def test_what_cannot_be_predicted(finished, tmp_path, place, options, error, message):
    (tmp_path / "rows.csv").write_text("row\n1\n0\n")
    if place == "pictures":
        (tmp_path / place).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / place / "a.png")
    with pytest.raises(error, match=message):
        predict(finished, tmp_path / place, **options)


def test_a_folder_of_images_with_a_damaged_one(tmp_path):
    run = train(config_of(world(tmp_path, "images")))
    folder = tmp_path / "new"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.png", "deep/a.jpg", "c.PNG"):
        Image.new("RGB", (9, 5), (200, 10, 10)).save(folder / name)
    frame = predict(run, folder)
    names = ["b.png", "c.PNG", "deep/a.jpg"]
    assert frame["path"].to_list() == names
    (folder / "b.png").write_bytes(b"no image")
    with pytest.raises(Exception, match=r"b\.png: cannot be decoded"):
        predict(run, folder)
    with pytest.warns(UserWarning, match=r"b\.png"):
        skipped = predict(run, folder, on_error="skip")
    assert skipped["path"].to_list() == names[1:]
    assert skipped["shape.head.star"].to_list() == pytest.approx(frame["shape.head.star"].to_list()[1:])
    for name in ("c.PNG", "deep/a.jpg"):
        (folder / name).write_bytes(b"no image")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(EmptyDataError, match="none of 3"):
        predict(run, folder, on_error="skip")
    with pytest.raises(UnknownNameError, match="cannot be read 'sikp'; did you mean 'skip'"):
        predict(run, folder, on_error="sikp")


def test_files_that_are_no_images_by_their_ending_are_counted(tmp_path):
    run = train(config_of(world(tmp_path, "images")))
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("b.png", "a.jfif", "other.JP2", "bare"):
        Image.new("RGB", (9, 5), (200, 10, 10)).save(folder / name, {"a.jfif": "jpeg"}.get(name, "png"))
    said = r"new: passed over are files with other endings than an image's: 1 \.jp2, 1 without an ending$"
    with pytest.warns(ConcordWarning, match=said):
        assert predict(run, folder)["path"].to_list() == ["a.jfif", "b.png"]
    assert predict(run, folder / "a.jfif").height == 1
    for name in ("other.JP2", "bare"):
        with pytest.raises(ConfigError, match=rf"{name} is no manifest .*, image or .*images end in \.jpg"):
            predict(run, folder / name)
    for name in ("a.jfif", "b.png"):
        (folder / name).unlink()
    with pytest.raises(EmptyDataError, match=r"no image in .*new, found 1 \.jp2, 1 without an ending; known"):
        predict(run, folder)


def test_images_keep_the_paths_that_they_were_given_by(tmp_path, monkeypatch):
    run = train(config_of(world(tmp_path, "images")))
    monkeypatch.chdir(tmp_path)
    for place, name in (("new", "a.png"), ("new", "b.png"), ("other", "c.png")):
        (tmp_path / place).mkdir(exist_ok=True)
        Image.new("RGB", (9, 5), (200, 10, len(name) * 9)).save(tmp_path / place / name)
    (tmp_path / "link.png").symlink_to(tmp_path / "other" / "c.png")
    whole = predict(run, ["new", "other"])
    assert whole["path"].to_list() == ["new/a.png", "new/b.png", "other/c.png"]
    one = predict(run, "./new/../new/b.png")
    assert one["path"].to_list() == ["new/../new/b.png"]
    mixed = predict(run, ["link.png", str(tmp_path / "new"), "other/c.png", "link.png"])
    absolute = [f"{tmp_path.as_posix()}/new/{name}" for name in ("a.png", "b.png")]
    assert mixed["path"].to_list() == ["link.png", *absolute, "other/c.png", "link.png"]
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    outer = predict(run, ["../new", "../other/c.png"])
    assert outer["path"].to_list() == ["../new/a.png", "../new/b.png", "../other/c.png"]
    monkeypatch.chdir(tmp_path)
    values = whole.drop("path")
    for found, rows in (
        (one, [1]),
        (mixed, [2, 0, 1, 2, 2]),
        (outer, [0, 1, 2]),
    ):  # of other batches, to rounding
        both = (frame.select(pl.selectors.numeric()) for frame in (found, values[rows]))
        np.testing.assert_allclose(*both, rtol=1e-5)
    (tmp_path / "rows.csv").write_text("path\nnew/a.png\n")
    with pytest.raises(ConfigError, match=r"several images or folders of images can be given, and rows\.csv"):
        predict(run, ["new", "rows.csv"])
    with pytest.raises(EmptyDataError, match="nothing to predict"):
        predict(run, [])


def test_a_second_training_into_one_folder_is_refused_and_changes_nothing(tmp_path):
    values = world(tmp_path, "features")
    train(config_of(values))
    before = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()}
    with own(tmp_path / "out"):
        with pytest.raises(
            CheckpointError, match=r"out is in use by process \d+ on .*; wait until"
        ) as caught:
            train(config_of(values))
        assert "\n" not in str(caught.value)
    assert before == {p: p.read_bytes() for p in sorted((tmp_path / "out").rglob("*")) if p.is_file()}
    train(config_of(values))
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_training_that_has_begun_goes_on_whatever_is_said_of_its_keys_by_now(tmp_path, monkeypatch):
    values = {"sources__classed__splits": {"stratify": ["shape"]}, "checkpoints__every": 2}
    config = config_of(world(tmp_path), training__warmup=6, training__steps=6, **values)
    with pytest.raises(ConfigError, match="leave it out"):
        train(config)
    monkeypatch.setattr("concord.runs.building.check_effects", lambda *_: None)  # as an older version
    run = train(config)
    monkeypatch.undo()
    assert train(config).folder == run.folder
    assert evaluate(run, run.config, "val")
    (run.folder / "run.json").unlink()
    for name in ("model.safetensors", "checkpoints/step-00000006"):
        place = run.folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    again = train(config)
    assert all(
        torch.equal(a, b) for a, b in zip(run.network.parameters(), again.network.parameters(), strict=True)
    )
    with pytest.raises(ConfigError, match="leave it out"):
        train(config, overwrite=True)


def test_a_folder_of_checkpoints_that_was_made_or_linked_beforehand_is_used(tmp_path):
    config = config_of(world(tmp_path))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out" / "tensorboard").mkdir(parents=True)
    (tmp_path / "out" / "checkpoints").symlink_to(tmp_path / "scratch", target_is_directory=True)
    train(config)
    assert any((tmp_path / "scratch").iterdir())


def test_a_bar_is_drawn_once_nothing_before_the_training_can_fail(tmp_path, monkeypatch):
    config = config_of(world(tmp_path), watching__progress=True)
    made, closed = [], []
    monkeypatch.setattr("concord.runs.training.Progress", made.append)
    monkeypatch.setattr(
        "concord.runs.training._loggers", lambda *_: [SimpleNamespace(close=lambda: closed.append(1))]
    )
    monkeypatch.setattr(Built, "mixture", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config)
    assert (made, closed) == ([], [1])
