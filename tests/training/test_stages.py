"""Two stages: what the first one teaches, and that interruptions leave no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from concord.auto.posterior import posterior_targets
from concord.auto.splits import draw_folds
from concord.config.load import read_config
from concord.data import read_manifest, write_manifest
from concord.decoding.calibration import temperature
from concord.errors import CheckpointError, ConfigError, RangeError
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.devices import launch
from concord.fitting.rows import Rows
from concord.learners import StreamLearner
from concord.runs.building import build
from concord.runs.folder import holds_training
from concord.runs.run import load_run
from concord.runs.stages import FIRST_STAGE, teach
from concord.runs.training import _augment, _recipe, train
from config_worlds import MARKS, SHAPE, config_of, world, write

TWO = {"kind": "two-stage", "folds": 2, "share": 0.5}


def two_stages(folder, kind="features", n=60, **changes):
    values = world(folder, kind, n)
    return config_of(
        values | {"couplings": []},
        **({"stages": TWO, "checkpoints__every": 2, "watching__every": 3} | changes),
    )


def taught(config, folder):
    built = build(config)
    training = config.training
    options = {
        "learning_rate": training.learning_rate, "weight_decay": training.weight_decay, "log_every": 50,
        "recipe": _recipe(config, built), "augment": _augment(built), "fabric": launch("cpu", 1),
    }  # fmt: skip
    return built, teach(built, options["fabric"], folder, options)


def test_what_is_taught_is_the_posterior_of_predictions_out_of_sample(tmp_path, monkeypatch):
    seen, said = [], []
    fitted, predict = StreamLearner._fitted, StreamLearner.predict
    monkeypatch.setattr(
        StreamLearner, "_fitted", lambda me, rows, *a: seen.append(rows.inputs.number) or fitted(me, rows, *a)
    )
    monkeypatch.setattr(
        StreamLearner, "predict", lambda me, net, rows: said.append(predict(me, net, rows)) or said[-1]
    )
    built, found = taught(two_stages(tmp_path, stages=TWO | {"folds": 3}), tmp_path / "out")

    y = np.concatenate([built.training["classed"].manifest.targets()["shape"], np.full(40, -1)])
    a = np.concatenate([np.full((40, 2), np.nan), built.training["labelled"].manifest.targets()["marks"]])
    targets = {"shape": torch.from_numpy(y), "marks": torch.from_numpy(a).float()}
    fold = draw_folds(Rows(torch.arange(80), targets), built.tasks, 3, 0)
    assert [rows.tolist() for rows in seen] == [np.flatnonzero(fold != k).tolist() for k in range(3)]
    z = np.stack([each["shape"] for each in said])[fold, np.arange(80)].astype(float)
    p = softmax(temperature(z[:40], y[:40], True) * z, axis=1)
    relation = replace(built.relations[0], base_rate=np.nanmean(a, axis=0))
    exponent = float(found.report[0].rpartition(" ")[2])
    expected = posterior_targets(p, a, relation, exponent)
    np.testing.assert_allclose(found.tables["shape"], expected, rtol=1e-5)
    assert found.tables["shape"].isnan().all(dim=1).tolist() == [True] * 40 + [False] * 40

    batch = next(iter(built.mixture()))
    rows = (batch.source * 40 + batch.index).numpy()
    assert torch.equal(batch.targets["shape"], torch.from_numpy(y[rows]))  # a batch's rows are these rows
    np.testing.assert_array_equal(found(batch)["shape"], found.tables["shape"][rows])


def test_the_second_stage_learns_what_it_is_taught(tmp_path):
    config = two_stages(tmp_path, training__steps=8)
    run = train(config)
    assert run.facts["first_stage"] == load_run(tmp_path / "out").facts["first_stage"]
    assert "shape->marks: two stages, no guard, evidence exponent" in run.facts["first_stage"][0]
    log = (tmp_path / "out" / "log.jsonl").read_text()
    assert '"shape/soft"' in log
    assert "soft" not in (tmp_path / "out" / FIRST_STAGE / "network-1.jsonl").read_text()
    ignoring = train(
        two_stages(tmp_path, training__steps=8, stages=TWO | {"weight": 0.0}, output=f"{tmp_path}/0")
    )
    single = train(two_stages(tmp_path, training__steps=8, stages={}, output=f"{tmp_path}/single"))
    assert same(ignoring, single)
    assert not same(run, single)


def same(first, second):
    mine, other = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train(two_stages(tmp_path_factory.mktemp("unbroken"), training__average=0.9, training__warmup=4))


@pytest.mark.parametrize("event", [2, 3, 4, 6, 8, 9, 11])  # of eleven checkpoints
def test_stopped_in_either_stage_it_goes_on_to_the_same_weights(tmp_path, monkeypatch, unbroken, event):
    config = two_stages(tmp_path, training__average=0.9, training__warmup=4)
    saved, saving = Checkpoints.save, []

    def stopping(self, *arguments):
        saving.append(self.folder.name)
        if len(saving) == event:
            raise KeyboardInterrupt
        return saved(self, *arguments)

    monkeypatch.setattr(Checkpoints, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    saving = [name.partition("-")[0] for name in saving]
    network = ["training", "training", "weights", "predictions"]
    assert saving == [*network, *network, "targets", "checkpoints", "checkpoints"][:event]
    assert holds_training(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"another config: stages\.share was 0\.5, here it is 0\.6"):
        train(two_stages(tmp_path, training__average=0.9, training__warmup=4, stages=TWO | {"share": 0.6}))
    assert same(train(config), unbroken)
    left = sorted(path.name for path in (tmp_path / "out" / FIRST_STAGE).iterdir())
    assert left == ["network-1.jsonl", "network-2.jsonl", "targets"]


def test_groups_are_never_divided(tmp_path, monkeypatch):
    config = two_stages(tmp_path)
    group = [None if i % 5 == 0 else f"s{i % 4}" for i in range(60)]
    for name in config.sources:
        manifest = read_manifest(tmp_path / f"{name}.parquet")
        frame = manifest.frame.with_columns(pl.Series("group", group, dtype=pl.String))
        write_manifest(replace(manifest, frame=frame), tmp_path / f"{name}.parquet")
    seen = []
    fitted = StreamLearner._fitted
    monkeypatch.setattr(
        StreamLearner, "_fitted", lambda me, rows, *a: seen.append(rows.inputs.number) or fitted(me, rows, *a)
    )
    built, _ = taught(config, tmp_path / "out")
    names = np.array(
        [str(name) for source in built.training.values() for name in source.manifest.frame["group"]]
    )
    parts = [set(names[number]) - {"None"} for number in seen]
    assert parts[0] & parts[1] == set()
    assert parts[0] | parts[1] == set(names) - {"None"}


def test_what_cannot_be_taught_is_told_in_a_line(tmp_path):
    with pytest.raises(
        RangeError, match=r"^stages: task 'shape' has 40 annotated rows, fewer than the 50 fold"
    ):
        train(two_stages(tmp_path, stages=TWO | {"folds": 50}))
    config = two_stages(tmp_path)
    train(config)
    grown = config.model_copy(update={"sources": {**config.sources, "more": config.sources["classed"]}})
    with pytest.raises(CheckpointError, match="is of other rows than the 120 of these sources"):
        taught(grown, tmp_path / "out")


def test_an_image_that_cannot_be_read_has_no_prediction(tmp_path):
    config = two_stages(tmp_path, "images", 12, sources__classed__inputs__on_error="skip")
    first = sorted((tmp_path / "images0").glob("*.png"))[0]
    Image.open(first).verify()
    first.write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(ConfigError, match="the inputs of 1 training rows cannot be read"),
    ):
        train(config)


def test_a_file_may_ask_for_it(tmp_path):
    values = world(tmp_path) | {"couplings": [], "stages": {"kind": "two-stage"}}
    config = read_config(write(values, tmp_path / "two.yaml"), ["stages.folds=2"], {})
    assert (config.stages.folds, config.stages.share, config.stages.weight) == (2, 0.45, 1.0)
    assert [task.name for task in build(config).tasks] == [SHAPE.name, MARKS.name]
