from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import concord as cc
from asserts import raises
from concord.cli import app
from concord.config.load import as_config
from concord.config.schema import InputPlan
from concord.data import read_manifest
from concord.decoding.decoders import Decoders
from concord.deploy.hub import from_pretrained
from concord.errors import CheckpointError, ConfigError, ExportError
from concord.networks.predict import predict_logits
from concord.networks.trunks.named import build_trunk
from concord.runs.run import Run, load_run, save_run
from concord.runs.training import train
from config_worlds import config_of, world
from training_problem import MARKS, SHAPE, relation


def call(*arguments: str) -> str:
    return CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False).output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    folder.mkdir()
    options, shape = {"width": 8, "stages": 1}, (3, 8, 8)
    inputs = {"kind": "images", "size": 8}
    config = as_config(
        {
            "output": str(folder),
            "sources": {"shapes": {"manifest": "shapes.parquet", "inputs": inputs}},
            "trunk": {"name": "builtin:resnet", "options": options},
        },
        "config",
    )
    built = build_trunk("builtin:resnet", shape=shape, options=options)
    decoder = Decoders([relation()])
    decoder.set_strengths({"shape->marks": {"target": 0.5, "class": 0.2}})
    made = Run(
        folder=folder,
        config=config,
        network=cc.MultiTaskNetwork(built.module, (SHAPE, MARKS), built.example).eval(),
        tasks=(SHAPE, MARKS),
        relations=(relation(),),
        decoder=decoder,
        example_input=built.example,
        inputs={"shapes": InputPlan.model_validate(inputs)},
        shape=shape,
        trunk=built.resolved,
        facts={"validation": {"val/shape/accuracy": 0.75, "val/marks/mean_f1": 0.5}},
    )
    save_run(made)
    return made


def test_onnx_lies_beside_the_run_unless_told_otherwise(run: Run):
    out = call(str(run.folder))
    assert (run.folder / "model.onnx").is_file()
    assert "images -> shape_probabilities, marks_probabilities, shape_decoded, marks_decoded" in out
    assert "at most on 100 random inputs" in out


@pytest.mark.slow
def test_what_differs_too_much_is_not_written(run: Run, tmp_path: Path):
    with raises(ExportError, "was not written"):
        call(str(run.folder), "--out", str(tmp_path / "here.onnx"), "--tolerance", "1e-30")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.json", "config.json", "README.md", "model.safetensors"])
def test_what_is_no_model_is_not_written_over(run: Run, tmp_path: Path, name: str):
    (tmp_path / name).write_text('{"plan": 1}')
    for _ in range(2):
        found = CliRunner().invoke(app, ["export", str(run.folder), "--hub", str(tmp_path)])
        assert isinstance(found.exception, ConfigError), found.output
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: '{"plan": 1}'}
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    found = CliRunner().invoke(app, ["export", str(run.folder), "--hub", str(run.folder)])
    assert "is the folder of a training" in str(found.exception)
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_for_the_hub(run: Run, tmp_path: Path):
    assert "from_pretrained" in call(str(run.folder), "--hub", str(tmp_path / "hub"), "--license", "cc0-1.0")
    found = from_pretrained(tmp_path / "hub")
    x = torch.rand(3, 3, 8, 8)
    mine, other = predict_logits(run.network, x), predict_logits(found.network, x)
    assert all(torch.equal(mine[task], other[task]) for task in mine)
    assert found.decoders[0].target_strength == 0.5
    assert found.normalization == [list(part) for part in run.normalization]
    card = (tmp_path / "hub" / "README.md").read_text()
    for line in ("# toy", "license: cc0-1.0", r"| marks | mean\_f1 | 0.5000 |", "| shapes | not stated |"):
        assert line in card


def test_mistakes_are_one_line(run: Run, tmp_path: Path):
    with raises(ConfigError, "give one of them"):
        call(str(run.folder), "--out", "a.onnx", "--hub", "b")
    with raises(CheckpointError, "no finished training"):
        call(str(tmp_path))


def test_a_graph_of_columns_says_what_each_number_is(tmp_path: Path):
    """The file alone is enough to feed it: rows put together by its metadata are predicted as by the run."""
    onnxruntime = pytest.importorskip("onnxruntime")
    config = config_of(world(tmp_path, "columns"), training__steps=9)
    train(config)
    call(str(tmp_path / "out"), "--out", str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    names = json.loads(session.get_modelmeta().custom_metadata_map["features"])
    run = load_run(tmp_path / "out")
    assert [name for name in names if "=" not in name] == [k for k, v in run.vocabulary.items() if v is None]
    place = next(iter(config.sources.values())).manifest
    frame = read_manifest(Path(config.data) / place).frame
    x = np.stack(
        [
            frame[name].cast(str) == value if value else frame[name].cast(float)
            for name, _, value in (each.partition("=") for each in names)
        ],
        axis=1,
    ).astype(np.float32)
    found = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"features": x}), strict=True)
    )
    said = predict_logits(run.network, torch.from_numpy(x))["shape"].softmax(-1).numpy()
    np.testing.assert_allclose(found["shape_probabilities"], said, atol=1e-5)


@pytest.mark.parametrize("kind", ["features", pytest.param("texts", marks=pytest.mark.slow)])
def test_a_training_from_a_config_serves_what_it_predicts(kind: str, tmp_path: Path):
    """Standardised features or tokens, weights selected by task: all of it lies in the graph."""
    onnxruntime = pytest.importorskip("onnxruntime")
    config = config_of(world(tmp_path, kind), validation__select="metric", training__steps=9)
    trained = train(config)
    trained.decoder.decoders[0].target_strength, trained.decoder.decoders[0].class_strength = 0.5, 0.35
    save_run(trained)
    call(str(tmp_path / "out"), "--out", str(tmp_path / "model.onnx"))
    call(str(tmp_path / "out"), "--hub", str(tmp_path / "hub"))
    if trained.tokenize is None:
        x = 100 + 10 * torch.randn(20, 6)
    else:
        x = trained.tokenize(["a round thing m1", "a spiky thing", "m2"])
    logits = predict_logits(trained.network, x)
    said = {
        "shape": logits["shape"].double().softmax(-1).numpy(),
        "marks": logits["marks"].double().sigmoid().numpy(),
    }
    decoded = trained.decoder.decode(said)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    found = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {session.get_inputs()[0].name: x.numpy()}),
            strict=True,
        )
    )
    for name in ("shape", "marks"):
        np.testing.assert_allclose(found[f"{name}_probabilities"], said[name], atol=1e-5)
        np.testing.assert_allclose(found[f"{name}_decoded"], decoded[name], atol=1e-5)
    again = predict_logits(from_pretrained(tmp_path / "hub").network, x)
    assert all(torch.equal(again[name], logits[name]) for name in logits)
