"""`concord init`, `schema`, `train`, `evaluate`, `predict`: the walk, mistakes, the configs of the packs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image
from rich.console import Console

from concord import cli
from concord.config.load import ENVIRONMENT, as_config, read_config
from concord.config.schema import Config
from concord.config.templates import example
from concord.fitting.checkpoints import Checkpoints
from concord.runs import as_table
from config_worlds import SHAPE, world, write

ROOT = Path(__file__).parents[2]
PACK_ROOT = Path(os.environ.get("CONCORD_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def concord(monkeypatch, capsys):
    """Run `concord ARGUMENTS` in this process: exit status, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT)]:
        monkeypatch.delenv(name)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["concord", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return stop.value.code, printed.out, printed.err

    return run


def test_the_walk_from_a_starting_config_to_predictions(concord, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world(tmp_path)
    for old, new in (("classed", "classes"), ("labelled", "labels")):
        os.rename(f"{old}.parquet", f"{new}.parquet")
    os.rename("features0.npz", "features.npz")
    status, out, err = concord("init", "mine.yaml", "--inputs", "features")
    assert (status, err) == (0, "")
    assert "concord train mine.yaml" in out
    text = Path("mine.yaml").read_text().replace('"kind"', '"shape"').replace('"traits"', '"marks"')
    text = text.replace("\n  kind:", "\n  shape:", 1).replace("\n  traits:", "\n  marks:")
    Path("mine.yaml").write_text(text.replace("features.npy", "features.npz"))
    settings = [
        "--set",
        "training.steps=4",
        "--set",
        "training.accelerator=cpu",
        "--set",
        "training.batch_size=8",
    ]
    status, out, err = concord("train", "mine.yaml", *settings)
    assert status == 0, err
    assert "shape/accuracy" in out
    assert "joint decoding shape->marks: classes move targets by" in out
    assert "wrote runs/mine" in out
    assert (tmp_path / "runs" / "mine" / "run.json").is_file()
    assert "step 4: shape/accuracy" in err  # the bar's place
    for given in ("mine.yaml", "runs/mine"):
        status, out, err = concord("evaluate", given)
        assert status == 0, err
        assert "balanced_accuracy" in out
        assert json.loads(Path("runs/mine/metrics-test.json").read_text())["split"] == "test"
    status, out, err = concord("predict", "mine.yaml", "--split", "val")
    assert status == 0, err
    assert "wrote predictions.csv: 20 rows" in out
    assert pl.read_csv("predictions.csv")["source"].to_list() == ["first"] * 10 + ["second"] * 10
    status, out, err = concord("predict", "runs/mine", "classes.parquet", "--to", "all.parquet")
    assert status == 0, err
    assert pl.read_parquet("all.parquet").height == 60


def test_a_folder_of_images_from_the_command_line(concord, tmp_path):
    config = write(world(tmp_path, "images"), tmp_path / "mine.yaml")
    assert concord("train", config, "--out", tmp_path / "there")[0] == 0
    (tmp_path / "new").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "new" / "a.jpg")
    to = tmp_path / "p.csv"
    status, _, err = concord("predict", config, tmp_path / "new", "--to", to, "--out", tmp_path / "there")
    assert status == 0, err
    row = pl.read_csv(to).row(0, named=True)
    assert row["path"] == "a.jpg"
    assert row["shape.head"] in SHAPE.classes


def test_without_validation_rows_it_says_so(concord, tmp_path):
    values = world(tmp_path)
    for name in values["sources"]:
        values["sources"][name]["where"] = "split <> 'val'"
    status, out, _ = concord("train", write(values, tmp_path / "mine.yaml"))
    assert status == 0
    assert "no rows of split val: nothing was watched, and joint decoding was not fitted" in " ".join(
        out.split()
    )


def test_a_finished_training_says_that_it_is(concord, tmp_path):
    config = write(world(tmp_path), tmp_path / "mine.yaml")
    assert f"wrote {tmp_path / 'out'}" in concord("train", config)[1]
    status, out, _ = concord("train", config)
    assert status == 0
    assert f"{tmp_path / 'out'} is finished already" in out
    assert "wrote" not in out


def test_the_environment_is_named_where_it_chose_the_data(concord, tmp_path, monkeypatch):
    config = write(world(tmp_path), tmp_path / "mine.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("CONCORD_DATA", str(tmp_path / "elsewhere"))
    status, _, err = concord("train", config)
    assert status == 2
    assert f"found nothing (data is {tmp_path / 'elsewhere'}, from CONCORD_DATA)" in err
    monkeypatch.delenv("CONCORD_DATA")
    status, _, err = concord("train", config, "--set", f"data={tmp_path / 'elsewhere'}")
    assert "CONCORD_DATA" not in err


@pytest.mark.parametrize(
    ("ranks", "tells"),
    [
        ({"RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "NODE_RANK": "1"}, True),
        ({"SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1", "NODE_RANK": "0"}, False),  # Fabric's child
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
    ],
)
def test_other_ranks_say_nothing(concord, tmp_path, monkeypatch, ranks, tells):
    config = write(world(tmp_path), tmp_path / "mine.yaml")
    assert concord("train", config)[0] == 0
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    status, out, _ = concord("train", config, "--json", tmp_path / "out.json")
    assert (status, bool(out), (tmp_path / "out.json").is_file()) == (0, tells, tells)


def test_a_logger_that_is_code_is_announced_before_it_is_imported(concord, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = world(tmp_path) | {
        "watching": {"loggers": [{"use": "not_there_at_all:Logger"}]},
        "output": "out",
    }
    Path("own.yaml").write_text(yaml.safe_dump(values))
    status, _, err = concord("train", "own.yaml", "--set", "training.accelerator=cpu")
    assert status == 2
    first, second = err.splitlines()[:2]
    assert first == "concord: note: logger 'not_there_at_all:Logger' is Python code, and is run"
    assert "no module 'not_there_at_all' in the working folder" in second


def test_the_schema_is_json(concord):
    status, out, _ = concord("schema")
    assert status == 0
    assert json.loads(out) == json.loads(json.dumps(Config.model_json_schema()))


def test_the_schema_of_a_plan_is_json(concord):
    from concord.study import plan_schema

    status, out, _ = concord("schema", "--study")
    assert status == 0
    assert json.loads(out) == json.loads(json.dumps(plan_schema()))


def test_init_writes_a_plan_that_can_be_read(concord, tmp_path, monkeypatch):
    from concord.study import read_plan

    monkeypatch.chdir(tmp_path)
    status, out, _ = concord("init", "study.yaml", "--study")
    assert status == 0
    assert "concord study study.yaml --quick" in out
    assert read_plan("study.yaml").conditions[-1].name == "auto"
    assert concord("init", "study.yaml", "--study")[0] == 2
    status, _, err = concord("init", "other.yaml", "--study", "--inputs", "texts")
    assert status == 2
    assert "--inputs is of a config" in err


def test_init_replaces_nothing_unasked(concord, tmp_path):
    path = tmp_path / "mine.yaml"
    assert concord("init", path)[0] == 0
    before = path.read_text()
    assert as_config(yaml.safe_load(before)) == as_config(example("images"))
    status, _, err = concord("init", path, "--inputs", "texts")
    assert (status, path.read_text()) == (2, before)
    assert err.startswith(f"concord: {path} is there already; --force replaces it\nmore: concord explain ")
    assert concord("init", path, "--inputs", "texts", "--force")[0] == 0
    assert "bag-of-words" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "{tmp}/mine.toml"], "a starting config is YAML"),
        (["init", "{tmp}/mine.yaml/new.yaml"], "cannot write"),
        (["init", "{tmp}/new.yaml", "--inputs", "image"], "unknown inputs 'image'; did you mean 'images'?"),
        (["train", "{tmp}/none.yaml"], "no config at"),
        (
            ["train", "{tmp}/mine.yaml", "--set", "training.steps=0"],
            "training.steps: input should be greater",
        ),
        (["train", "{tmp}/mine.yaml", "--set", "sources.classed.manifest=x.csv"], "expected a manifest at"),
        (
            ["train", "{tmp}/mine.yaml", "--set", "training.accelerator=cuda"],
            "cannot train on accelerator 'cuda'",
        ),
        (
            ["train", "{tmp}/mine.yaml", "--set", "trunk.name=nosuch:x"],
            "trunk: unknown source of a trunk 'nosuch'",
        ),
        (["evaluate", "{tmp}/mine.yaml"], "holds no finished training"),
        (["evaluate", "{tmp}/none"], "no config and no output folder at"),
        (
            ["train", "{tmp}/mine.yaml", "--set", "training.devices=9999"],
            "training.devices: on a CPU each is a process; this machine has",
        ),
        (
            ["train", "{tmp}/mine.yaml", "--set", "trunk.options.hidden=[-8]"],
            "trunk: hidden lists widths of layers, whole numbers >= 1",
        ),
        (["predict", "{tmp}", "x.csv"], "holds no finished training"),
    ],
)
def test_a_mistake_is_one_line(concord, tmp_path, arguments, message):
    import torch

    if "training.accelerator=cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is an accelerator")
    write(world(tmp_path), tmp_path / "mine.yaml")
    status, _, err = concord(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert status == 2
    assert message in err
    said, _, page = err.partition("\nmore: concord explain ")
    assert said.startswith("concord: ")
    assert "\n" not in said.rstrip("\n")
    assert page.count("\n") <= 1


def test_interrupted_it_says_how_to_go_on(concord, tmp_path, monkeypatch):
    values = world(tmp_path)
    config = write(values, tmp_path / "mine.yaml")
    save = Checkpoints.save

    def interrupted(self, step, state, scores):
        save(self, step, state, scores)
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    status, _, err = concord("train", config)
    assert status == 130
    assert err == "concord: stopped; the same command goes on from the last checkpoint\n"
    monkeypatch.setattr(Checkpoints, "save", save)
    assert concord("train", config)[0] == 0
    assert concord("train", config, "--out", tmp_path / "unbroken")[0] == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "unbroken")]
    assert weights[0] == weights[1]


def test_a_training_that_is_not_finished_is_no_model(concord, tmp_path):
    """Its `config.json` is its config: the record of a model has the same name."""
    for name in ("config.json", "data.json", "log.jsonl"):
        (tmp_path / "killed" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "killed" / name).write_text('{"sources": {}}')
    for command in (("predict", "killed", "a.png"), ("evaluate", "killed")):
        code, _, said = concord(command[0], tmp_path / "killed", *command[2:])
        assert code == 2
        assert "killed holds no finished training: it has no run.json" in said


@pytest.mark.slow
def test_killed_and_started_again_it_ends_in_the_same_weights(concord, tmp_path):
    """The command itself, killed at the write of its second checkpoint."""
    values = world(tmp_path)
    values["checkpoints"] = {"every": 2}
    config = write(values, tmp_path / "mine.yaml")
    code = (
        "import os, signal, sys\n"
        "from concord import cli\n"
        "from concord.checkpoint import Checkpoints\n"
        "save = Checkpoints.save\n"
        "def dying(self, step, state, scores):\n"
        "    if step == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return save(self, step, state, scores)\n"
        "Checkpoints.save = dying\n"
        f"sys.argv = ['concord', 'train', {str(config)!r}]\n"
        "cli.main()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == -9
    assert not (tmp_path / "out" / "run.json").exists()
    assert [p.name for p in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000002"]
    assert concord("train", config)[0] == 0
    assert concord("train", config, "--out", tmp_path / "unbroken")[0] == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "unbroken")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_two_ranks_train_what_one_does(concord, tmp_path):
    """The same config under torchrun: dropout off, the global batch is the same."""
    from safetensors.torch import load_file

    values = world(tmp_path)
    values["trunk"]["options"]["dropout"] = 0.0
    config = write(values, tmp_path / "mine.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    command = ["concord", "train", str(config), "--out", str(tmp_path / "two")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([*launcher, *command], check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert concord("train", config)[0] == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "out"))
    assert max(float((first[key] - second[key]).abs().max()) for key in first) <= 1e-6


# -- the configs of the packs ------------------------------------------------------------------------

SMALL = {
    "clothing_fmnist": ["sources.photos.where='row % 20 = 0'", "trunk.options={width: 8, stages: 1}"],
    "goemotions": ["sources.grouped.where='row % 50 = 0'", "sources.detailed.where='row % 50 = 0'"],
    "clinc150": ["sources.domains.where='domain IS NOT NULL AND row % 5 = 0'"],
    "mushroom": ["trunk.options={hidden: [16]}"],
    "grocery81": ["sources.fine.where='row % 20 = 0'", "sources.coarse.where='row % 20 = 0'",
                  "trunk.options={width: 8, stages: 1}", "mixing.workers=0"],
}  # fmt: skip


def test_every_config_is_tested():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == set(SMALL)


# The mushrooms of a species are drawn from one description: that they are near-copies is told, and right.
@pytest.mark.filterwarnings("ignore:.*features nearly equal:concord.errors.ConcordWarning")
@pytest.mark.parametrize("name", SMALL)
def test_the_config_of_a_pack_trains_with_one_command(concord, tmp_path, name):
    config = read_config(ROOT / "configs" / f"{name}.yaml", environment={"CONCORD_DATA": str(PACK_ROOT)})
    for source in config.sources.values():
        if not (PACK_ROOT / source.root).is_dir():
            pytest.skip(f"no pack {source.root} in {PACK_ROOT}; CONCORD_DATA names the folder of the packs")
    changes = [*SMALL[name], f"data={PACK_ROOT}", "training.steps=3", "training.warmup=0",
               "training.batch_size=16", "training.accelerator=cpu", "watching.progress=false",
               f"output={tmp_path}"]  # fmt: skip
    settings = [part for change in changes for part in ("--set", change)]
    status, out, err = concord("train", ROOT / "configs" / f"{name}.yaml", *settings)
    assert status == 0, err
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 3
    assert any(
        line.startswith(("posterior-coannotation:", "distribution-matching:"))
        for line in (tmp_path / "log.jsonl").read_text().split('"')
    )
    assert "joint decoding" in out


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_metrics_are_whole_on_narrow_terminals(width):
    values = {"accuracy": 0.5, "balanced_accuracy": 0.25}
    task = {"head": values, "joint": values, "annotated": 1234, "undefined": []}
    shown = Console(width=width, record=True, file=io.StringIO())
    shown.print(as_table({"split": "val", "tasks": {"a very long name of a task": task}}))
    text = shown.export_text()
    assert text.count("0.5000") == text.count("0.2500") == 2
    assert "…" not in text
