"""Thresholds of a training: chosen on rows it was not trained on, and the same in every artefact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from asserts import raises
from concord.cli import app
from concord.config import Config
from concord.decoding import choose_thresholds
from concord.deploy import export_onnx, from_pretrained, save_pretrained
from concord.errors import ConfigError, RangeError, ShapeError
from concord.metrics import decisions, task_metrics
from concord.runs import build, evaluate, load_run, predict_split, train
from concord.runs.building import Built
from config_worlds import MARKS, SHAPE, config_of, world, write

AUTO = {"kind": "auto", "effort": "fast"}


def asked(folder: Path, n: int = 300, **changes: Any) -> Config:
    return config_of(world(folder, n=n), **({"validation__thresholds": "f1"} | changes))


def of_split(run: Any, config: Config, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Joint probabilities and targets of the rows that are annotated for each task."""
    frame = predict_split(run, config, split)
    built = build(config)
    manifests = {name: source.manifest for name, source in built.validation.items()}
    p, y = {}, {}
    for task, source in ((SHAPE, "classed"), (MARKS, "labelled")):
        part = frame.filter(frame["source"] == source)
        p[task.name] = part.select(f"{task.name}.joint.{each}" for each in task.outputs).to_numpy()
        y[task.name] = manifests[source].targets()[task.name]
    return p, y


def test_they_are_those_of_the_validation_rows_and_come_back(tmp_path: Path) -> None:
    config = asked(tmp_path)
    run, loaded = train(config), load_run(tmp_path / "out")
    p, y = of_split(run, config, "val")
    expected = choose_thresholds("f1", run.tasks, y, p)
    for task in run.tasks:
        np.testing.assert_allclose(run.thresholds.of(task), expected.of(task), atol=1e-6)
        np.testing.assert_array_equal(loaded.thresholds.of(task), run.thresholds.of(task))
    assert (run.thresholds.of(MARKS) != 0.5).all()
    assert loaded.thresholds.notes == run.thresholds.notes


def test_predictions_are_cut_there_and_heads_at_one_half(tmp_path: Path) -> None:
    config = asked(tmp_path)
    run = train(config)
    frame = predict_split(load_run(tmp_path / "out"), config, "test")
    for kind in ("head", "joint"):
        p = frame.select(f"marks.{kind}.{each}" for each in MARKS.labels).to_numpy()
        cut = run.thresholds.of(MARKS) if kind == "joint" else 0.5
        named = [";".join(np.array(MARKS.labels)[row]) for row in p >= cut]
        assert frame[f"marks.{kind}"].to_list() == named


def test_both_are_evaluated(tmp_path: Path) -> None:
    config = asked(tmp_path)
    run = train(config)
    found = evaluate(run, config, "val")["tasks"]
    p, y = of_split(run, config, "val")
    for task in run.tasks:
        at = task_metrics(task, y[task.name], p[task.name], run.thresholds.of(task))
        for name, value in at.items():
            assert found[task.name]["thresholds"][name] == pytest.approx(value)
    assert found["marks"]["thresholds"]["mean_f1"] >= found["marks"]["joint"]["mean_f1"]
    out = CliRunner().invoke(app, ["evaluate", str(tmp_path / "out"), "--split", "val"])
    assert out.exit_code == 0
    assert "thresholds" in out.output


def test_auto_takes_out_of_fold_rows_and_no_row_of_split_val(tmp_path: Path) -> None:
    config = asked(tmp_path, stages=AUTO, couplings=[], training__steps=4)
    run = train(config)
    assert run.thresholds.metric == "f1"
    without = {f"sources__{name}__where": "split != 'val'" for name in ("classed", "labelled")}
    fewer = asked(
        tmp_path,
        stages=AUTO,
        couplings=[],
        training__steps=4,
        output=str(tmp_path / "other"),
        **without,
    )
    other = train(fewer)
    assert not other.facts["validation_rows"]
    for task in run.tasks:
        np.testing.assert_array_equal(run.thresholds.of(task), other.thresholds.of(task))


def test_without_rows_to_choose_on_nothing_is_trained(tmp_path: Path) -> None:
    changes = {f"sources__{name}__where": "split != 'val'" for name in ("classed", "labelled")}
    with raises(ConfigError, "validation.thresholds", "split val"):
        train(asked(tmp_path, **changes))
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("given", ["accuracy", {"precision": 1.5}, {"recall": 0.5}])
def test_other_thresholds_are_no_config(tmp_path: Path, given: Any) -> None:
    with raises(ConfigError, "validation.thresholds"):
        asked(tmp_path, validation__thresholds=given)


def test_a_precision_is_set_key_by_key(tmp_path: Path) -> None:
    path = write(world(tmp_path), tmp_path / "config.yaml")
    out = CliRunner().invoke(app, ["train", str(path), "--set", "validation.thresholds.precision=0.9"])
    assert out.exit_code == 0, out.output
    assert load_run(tmp_path / "out").thresholds.metric == {"precision": 0.9}
    assert "thresholds: shape: the most probable class is taken" in out.output


def test_folders_of_versions_without_thresholds_can_be_resumed(tmp_path: Path) -> None:
    config = config_of(world(tmp_path))
    assert "thresholds" not in config.identity()["validation"]
    assert asked(tmp_path).identity()["validation"]["thresholds"] == "f1"


# -- artefacts -----------------------------------------------------------------------------------------


def test_the_graph_predicts_what_the_run_predicts(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = train(asked(tmp_path))
    made = export_onnx(
        tmp_path / "m.onnx", run.network, run.tasks, example=run.example_input,
        decoders=run.decoder.decoders, thresholds=run.thresholds.values,
    )  # fmt: skip
    assert made.outputs[-2:] == ("shape_predicted", "marks_predicted")
    session = onnxruntime.InferenceSession(str(made.path))
    x = 100 + 30 * torch.randn(200, 6)
    found = dict(zip(made.outputs, session.run(list(made.outputs), {"features": x.numpy()}), strict=True))
    heads = {task.name: found[f"{task.name}_probabilities"].astype(float) for task in run.tasks}
    joint = run.decoder.decode(heads)
    for task in run.tasks:
        cut = run.thresholds.of(task)
        ratio = np.sort(joint[task.name] / cut, axis=1)
        near = np.abs(joint[task.name] - cut) < 1e-4 if task == MARKS else ratio[:, -1] - ratio[:, -2] < 1e-4
        same = found[f"{task.name}_predicted"] == decisions(task, joint[task.name], cut)
        assert (same | near).all()
        assert near.mean() < 0.1
    kept = json.loads(
        {p.key: p.value for p in pytest.importorskip("onnx").load(made.path).metadata_props}["thresholds"]
    )
    assert kept == run.thresholds.record()["values"]


@pytest.mark.slow
def test_without_thresholds_the_graph_has_no_predictions(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = train(config_of(world(tmp_path)))
    made = export_onnx(tmp_path / "m.onnx", run.network, run.tasks, example=run.example_input)
    assert made.outputs == ("shape_probabilities", "marks_probabilities")


def test_a_folder_for_others_holds_them_and_the_card_names_them(tmp_path: Path) -> None:
    train(asked(tmp_path))
    out = CliRunner().invoke(app, ["export", str(tmp_path / "out"), "--hub", str(tmp_path / "hub")])
    assert out.exit_code == 0, out.output
    run, found = load_run(tmp_path / "out"), from_pretrained(tmp_path / "hub")
    for task in run.tasks:
        np.testing.assert_array_equal(found.thresholds[task.name], run.thresholds.of(task))
    assert "## Thresholds" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "error"),
    [({"marks": [0.5]}, ShapeError), ({"marks": [0.5, 2]}, RangeError), ({"x": [1]}, ShapeError)],
)
def test_other_thresholds_are_not_exported(tmp_path: Path, given: Any, error: Any) -> None:
    built = build(config_of(world(tmp_path)))
    assert isinstance(built, Built)
    with raises(error, "thresholds"):
        save_pretrained(
            tmp_path / "hub", built.network, built.tasks, example=built.trunk.example, thresholds=given
        )
    assert not (tmp_path / "hub").exists()
