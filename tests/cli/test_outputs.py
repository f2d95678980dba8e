"""No command writes over what it reads, nor two outputs into one file."""

from __future__ import annotations

import json
import os

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from concord.cli import app, outputs
from concord.data import Manifest, files, from_csv, write_manifest
from concord.errors import ConfigError, DuplicateNameError
from concord.runs.training import train
from config_worlds import config_of, world, write

PETS = "path,pet,purrs,barks\na.png,cat,1,0\nb.png,dog,0,1\nc.png,cat,1,0\n"
COLUMNS = ["--task", "pet", "--labels", "traits=purrs,barks"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.csv").write_text(PETS)
    (tmp_path / "table.csv").write_text("pet,purrs,barks\ncat,.9,0\ndog,0,.9\n")
    write_manifest(
        from_csv("pets.csv", classes={"pet": None}, labels={"traits": ["purrs", "barks"]}),
        tmp_path / "pets.parquet",
    )
    os.symlink("pets.csv", tmp_path / "other.csv")
    np.savez("p.npz", pet=np.full((3, 2), 0.5), traits=np.full((3, 2), 0.5))
    return tmp_path


ANNOTATE = ["annotate", "pets.parquet", "--relation", "table.csv", "--source", "pet", "--target", "traits"]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["data", "table", "pets.csv", *COLUMNS, "--out", "pets.csv"], "--out pets.csv"),
        (["data", "table", "pets.csv", *COLUMNS, "--out", "other.csv"], "--out other.csv"),
        (["data", "inspect", "pets.parquet", "--json", "pets.parquet"], "--json pets.parquet"),
        (["data", "filter", "pets.parquet", "--out", "./pets.parquet"], "--out pets.parquet"),
        (["data", "split", "pets.parquet", "--out", "pets.parquet"], "--out pets.parquet"),
        (["data", "join", "pets.parquet", "pets.csv", "--out", "pets.csv"], "--out pets.csv"),
        ([*ANNOTATE, "--out", "pets.parquet"], "--out pets.parquet"),
        ([*ANNOTATE, "--out", "table.csv"], "--out table.csv"),
        (["relation", "show", "table.csv", "--out", "table.csv"], "--out table.csv"),
        (["relation", "estimate", "pets.csv", *COLUMNS, "--out", "pets.csv"], "--out pets.csv"),
        (
            [
                "relation",
                "check",
                "table.csv",
                "pets.csv",
                *COLUMNS,
                "--predictions",
                "p.npz",
                "--out",
                "table.csv",
            ],
            "--out table.csv",
        ),
    ],
)
def test_an_output_never_takes_the_place_of_an_input(folder, arguments, option):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError), result.output
    assert str(result.exception) == f"{option} is a file that is read here; write to one of another name"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data", "inspect", "m.csv", "--json", "m.csv.tasks.json"],
            "--json m.csv.tasks.json is a file that is read here",
        ),
        (
            ["relation", "estimate", "m.csv", "--out", "t.csv", "--cells", "m.csv.tasks.json"],
            "--cells m.csv.tasks.json is a file that is read here",
        ),
        (
            ["data", "split", "m.csv", "--out", "s.csv", "--json", "s.csv.tasks.json"],
            "--out (its tasks) and --json are one file, s.csv.tasks.json",
        ),
        (
            ["data", "filter", "s.csv.tasks.json", "--out", "s.csv"],
            "--out (its tasks) s.csv.tasks.json is a file that is read here",
        ),
        (
            [*ANNOTATE, "--out", "a.csv", "--json", "a.csv.annotation.json"],
            "--out (its record) and --json are one file, a.csv.annotation.json",
        ),
        (
            [
                "annotate",
                "m.csv",
                "--relation",
                "a.csv.annotation.json",
                "--source",
                "pet",
                "--target",
                "traits",
                "--out",
                "a.csv",
            ],
            "--out (its record) a.csv.annotation.json is a file that is read here",
        ),
    ],
)
def test_what_lies_beside_a_file_is_spared_as_the_file_is(folder, arguments, message):
    write_manifest(
        from_csv("pets.csv", classes={"pet": None}, labels={"traits": ["purrs", "barks"]}), folder / "m.csv"
    )
    for name in ("a.csv.annotation.json", "s.csv.tasks.json"):
        if name in arguments[:4]:
            (folder / name).write_bytes((folder / "table.csv").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError), result.output
    assert str(result.exception).startswith(message)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "one", "two", "--out", "-"],
        ["data", "inspect", "pets.parquet", "--out", "-"],
        ["data", "export", "pets.parquet", "--to", "coco", "--out", "-"],
        ["embed", "pets.parquet", "--trunk", "x", "--out", "-"],
        ["upgrade", "old", "--out", "-"],
        ["study", "digits", "--out", "-"],
        ["train", "plan.yaml", "--out", "-"],
        ["export", "run", "--hub", "-"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_cannot_go_to_standard_output_is_no_file_called_so(folder, arguments):
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError), result.output
    assert "cannot be standard output (-) here; give a name" in str(result.exception)
    assert not (folder / "-").exists()


def test_the_file_of_tasks_is_called_as_it_is_written():
    assert outputs.TASKS == files.SIDECAR


JOIN = ["data", "join", "pets.parquet", "pets.parquet", "--out", "j.csv"]
CHECK = ["relation", "check", "table.csv", "pets.parquet", "--predictions", "p.npz"]
AUDIT = ["relation", "audit", "pets.parquet", "--predictions", "p.npz"]
ESTIMATE = ["relation", "estimate", "pets.parquet", "--out", "t.csv"]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ([*JOIN, "--conflict", "gap"], "--conflict"),
        (["relation", "show", "expressions", "--classes"], "--classes"),
        ([*ESTIMATE, "--effort", "fast"], "--effort"),
        ([*ESTIMATE, "--seed", "0"], "--seed"),
        ([*CHECK, "--processes", "2"], "--processes"),
        ([*AUDIT, "--out", "t.csv", "--rows", "5"], "--rows"),
        ([*AUDIT, "--propose", "rows.csv", "--out", "t.csv"], "--out"),
        ([*AUDIT, "--propose", "rows.csv", "--cells", "t.csv"], "--cells"),
        ([*ANNOTATE, "--out", "a.csv", "--temperature", "2"], "--temperature"),
        ([*ANNOTATE, "--out", "a.csv", "--method", "hard", "--prior", "data"], "--prior"),
        (["export", "run", "--license", "mit"], "--license"),
        (["export", "run", "--hub", "h", "--tolerance", "1"], "--tolerance"),
        (["predict", "run", "--on-error", "skip"], "--on-error"),
        (["predict", "run", "a.png", "--split", "val"], "--split"),
        (["embed", "m.csv", "--trunk", "builtin:mlp", "--out", "e", "--texts", "--size", "64"], "--size"),
        (["embed", ".", "--trunk", "builtin:resnet", "--out", "e", "--random", "--root", "."], "--root"),
        (["embed", "m.csv", "--trunk", "timm:x", "--out", "e", "--random", "--download"], "--download"),
        (["data", "split", "pets.parquet", "--out", "s.csv", "--keep", "val", "--val", "0.2"], "--val"),
        (["data", "inspect", "pets.parquet", "--group", "nosuch"], "--group"),
        (["data", "inspect", "pets.parquet", "--separator", ";"], "--separator"),
        ([*ESTIMATE, "--gap", "1"], "--gap"),
    ],
)  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(folder, arguments, option):
    before = set(folder.iterdir())
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError), result.output
    assert str(result.exception).startswith(f"{option} ")
    assert "leave it out" in str(result.exception)
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "table", "pets.csv", "--task", "pet", "--task", "pet=path", "--out", "t.csv"],
        ["data", "index", "celeba", ".", "--option", "a-b=1", "--option", "a_b=2", "--out", "t.csv"],
    ],
)
def test_what_is_named_twice_is_refused(folder, arguments):
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DuplicateNameError), result.output
    assert "twice" in str(result.exception)
    assert not (folder / "t.csv").exists()


def test_two_outputs_are_two_files(folder):
    arguments = ["relation", "estimate", "pets.csv", *COLUMNS, "--out", "x.csv", "--cells", "./x.csv"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "--out and --cells are one file, x.csv; give each its own name"
    assert not (folder / "x.csv").exists()


def test_predictions_spare_the_data_of_the_config(tmp_path):
    values = world(tmp_path)
    train(config_of(values))
    config = write(values, tmp_path / "mine.yaml")
    for given, to in ((config, "table.csv"), (tmp_path / "out", "classed.parquet")):
        before = (tmp_path / to).read_bytes()
        result = CliRunner().invoke(app, ["predict", str(given), "--to", str(tmp_path / to)])
        assert isinstance(result.exception, ConfigError), result.output
        assert "is a file that is read here" in str(result.exception)
        assert (tmp_path / to).read_bytes() == before
    weights = str(tmp_path / "out" / "model.safetensors")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "out"), "--out", weights])
    assert isinstance(result.exception, ConfigError), result.output


def test_every_file_of_a_training_is_spared(tmp_path):
    values = world(tmp_path)
    run = train(config_of(values)).folder
    assert CliRunner().invoke(app, ["evaluate", str(run), "--split", "val"]).exit_code == 0
    config = write(values, tmp_path / "mine.yaml")
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert len(kept) > 5
    for path in kept:
        for command in (
            ["train", str(config), "--json"],
            ["evaluate", str(run), "--split", "val", "--json"],
            ["export", str(run), "--out"],
        ):
            result = CliRunner().invoke(app, [*command, str(path)])
            assert isinstance(result.exception, ConfigError), (command, path, result.output)
            assert "in its folder keeps" in str(result.exception)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    beside = run / "mine.json"
    for _ in range(2):  # what lies there from the time before is written again
        result = CliRunner().invoke(app, ["evaluate", str(run), "--split", "val", "--json", str(beside)])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["evaluate", str(run), "--out", str(tmp_path / "elsewhere")])
    assert isinstance(result.exception, ConfigError)
    assert "leave out --out" in str(result.exception)


def test_every_file_of_a_study_and_of_its_plan_is_spared(folder):
    rng = np.random.default_rng(0)
    table = from_csv("pets.csv", classes={"pet": None}, labels={"traits": ["purrs", "barks"]})
    many = pl.concat([table.frame] * 12).with_columns(
        pl.int_range(pl.len()).alias("row"), pl.Series("split", np.repeat(["train", "val", "test"], 12))
    )
    write_manifest(Manifest(many, table.tasks), folder / "many.parquet")
    np.save("x.npy", rng.normal(size=(36, 3)))
    data = {
        "manifest": "many.parquet",
        "features": "x.npy",
        "relations": [{"source": "pet", "target": "traits", "table": "table.csv"}],
    }
    plan = {
        "title": "pets",
        "problem": data,
        "regimes": [{"name": "few", "rows": {"pet": 4, "traits": 4}}],
        "conditions": ["single-task"],
        "seeds": [0],
        "budget": {"steps": 2},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    command = ["study", "plan.json", "--out", "s", "--processes", "1"]
    result = CliRunner().invoke(app, [*command, "--json", "s/mine.json"])
    assert result.exit_code == 0, (result.output, result.exception)
    kept = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    study = [path for path in kept if path.parts[0] == "s" and path.name not in ("report.html", "mine.json")]
    assert len(study) > 8
    for path in (*study, "many.parquet", "x.npy", "table.csv", "plan.json"):
        result = CliRunner().invoke(app, [*command, "--json", str(path)])
        assert isinstance(result.exception, ConfigError), (path, result.output)
    for path in study:
        result = CliRunner().invoke(app, ["report", "s", "--out", str(path)])
        assert isinstance(result.exception, ConfigError), (path, result.output)
    assert {path: (folder / path).read_bytes() for path in kept} == kept
    for out in ("s/mine.json", "new.json"):
        assert CliRunner().invoke(app, [*command, "--json", out]).exit_code == 0


def test_a_file_of_a_data_set_is_spared_and_a_manifest_is_written_again(folder):
    data = folder / "set"
    for name, colour in (("cat", 0), ("dog", 255)):
        (data / name).mkdir(parents=True)
        Image.new("L", (4, 4), colour).save(data / name / "a.png")
    (data / "labels.csv").write_text("path,mine\ncat/a.png,1\n")
    index = ["data", "index", "imagefolder", str(data), "--out"]
    for _ in range(2):
        result = CliRunner().invoke(app, [*index, str(data / "m.parquet")])
        assert result.exit_code == 0, (result.output, result.exception)
    check = ["data", "check", "imagefolder", str(data), "--json"]
    for _ in range(2):
        result = CliRunner().invoke(app, [*check, str(data / "report.json")])
        assert result.exit_code == 0, (result.output, result.exception)
    (data / "notes.json").write_text('{"mine": 1}')
    for words in ([*index, str(data / "labels.csv")], [*check, str(data / "notes.json")]):
        before = (data / words[-1]).read_bytes()
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, ConfigError), result.output
        assert (data / words[-1]).read_bytes() == before


def test_folders_of_outputs_are_made(folder):
    for arguments in (
        ["show", "table.csv", "--out", "new/a/t.csv"],
        ["estimate", "pets.csv", *COLUMNS, "--out", "new/b/t.csv", "--cells", "new/c/t.csv"],
    ):
        result = CliRunner().invoke(app, ["relation", *arguments])
        assert result.exit_code == 0, (result.output, result.exception)
    assert all((folder / "new" / name / "t.csv").is_file() for name in "abc")
