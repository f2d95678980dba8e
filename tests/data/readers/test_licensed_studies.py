"""Configs and studies of licensed data sets, from native trees to reports; and what is said without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_trees import make
from typer.testing import CliRunner

import concord as cc
from concord.cli import app
from concord.config.load import read_config
from concord.data.registry import reader
from concord.errors import MissingDataError
from concord.runs.evaluation import evaluate
from concord.runs.training import train
from concord.study.judging.comparison import compare
from concord.study.pages.report import write_report
from concord.study.plan import as_plan, read_plan
from concord.study.problems.load import problem_of
from concord.study.running.running import run
from concord.study.spec import TrunkNetwork

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* annotated images are not in"),  # left out on purpose
    pytest.mark.filterwarnings("ignore:.* images count from"),
]

CONFIGS = Path(__file__).parents[3] / "configs"
NAMES = sorted(path.stem for path in (CONFIGS / "licensed").glob("*.yaml"))
DATA_SETS = {
    *("affwild2", "affectnet", "rafdb", "emotionet", "disfa", "bp4d", "bp4d-plus", "celeba", "cub200"),
    *("deepfashion", "ut-zappos50k", "shoes", "clothing-attributes"),
}
QUICK = ("affwild2", "celeba", "cub200", "rafdb_bp4d")
"""Walked with every change: of videos, of two tasks on the same pictures (twice), of two sources."""
SIZE = 12


def test_every_licensed_data_set_has_a_config_and_a_study():
    configs = [read_config(CONFIGS / "licensed" / f"{name}.yaml", environment={}) for name in NAMES]
    assert {source.reader for config in configs for source in config.sources.values()} == DATA_SETS
    assert all((CONFIGS / "studies" / f"{name}.yaml").is_file() for name in NAMES)


@pytest.mark.parametrize("name", [*NAMES, "paper_protocol"])
def test_by_default_a_study_uses_all_of_the_data_and_a_real_network(name):
    plan = read_plan(CONFIGS / "studies" / f"{name}.yaml")
    assert plan.problem.stream
    assert plan.problem.rows == {}, "no row is left out"
    assert {source.inputs.size for source in plan.problem.sources.values()} == {224}
    networks = [regime.network or plan.network for regime in plan.regimes]
    assert all(isinstance(network, TrunkNetwork) and network.pretrained for network in networks)
    assert plan.recipe is not None
    assert plan.recipe.precision == "bf16-mixed"
    quick = read_plan(CONFIGS / "studies" / f"{name}.yaml", quick=True)
    assert quick.problem.rows["train"] <= 8000
    assert {source.inputs.size for source in quick.problem.sources.values()} == {64}
    assert quick.recipe is None


def test_the_protocol_of_the_paper_is_one_plan():
    plan = read_plan(CONFIGS / "studies" / "paper_protocol.yaml")
    trunks = {regime.network.trunk.partition(":")[2] for regime in plan.regimes}
    assert {"".join(filter(str.isalpha, name.partition("_")[0])) for name in trunks} == {
        "vgg", "resnet", "densenet", "vit",
    }  # fmt: skip
    assert {condition.use for condition in plan.conditions} == {
        "single-task", "uncoupled", "paper-coannotation", "paper-matching", "paper",
    }  # fmt: skip
    assert {regime.table for regime in plan.regimes} == {"given", "estimated"}


@pytest.mark.parametrize("pair", ["rafdb_disfa", "rafdb_bp4d", "affectnet_bp4d_plus", "affwild2"])
def test_the_protocol_takes_another_pair_by_its_name_alone(tmp_path, pair):
    text = (CONFIGS / "studies" / "paper_protocol.yaml").read_text(encoding="utf-8")
    (tmp_path / "studies").mkdir()
    (tmp_path / "licensed").symlink_to(CONFIGS / "licensed")
    path = tmp_path / "studies" / "mine.yaml"
    path.write_text(text.replace("affectnet_emotionet", pair), encoding="utf-8")
    config = read_config(CONFIGS / "licensed" / f"{pair}.yaml", environment={})
    for quick in (False, True):
        plan = read_plan(path, quick=quick)
        assert [source.reader for source in plan.problem.sources.values()] == [
            source.reader for source in config.sources.values()
        ]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("CONCORD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_from_a_native_tree_to_network_and_report(tmp_path, data, name):
    path = CONFIGS / "licensed" / f"{name}.yaml"
    sources = read_config(path, environment={}).sources
    for source in sources.values():
        make(source.root, data / source.root)
    small = [f"sources.{source}.inputs.size={SIZE}" for source in sources]
    settings = ["training.steps=2", "training.batch_size=16", "training.warmup=0", "training.accelerator=cpu"]
    settings += [
        "trunk.options={width: 8, stages: 1}",
        "watching.progress=false",
        f"output={tmp_path / 'out'}",
    ]
    found = evaluate(train(read_config(path, [*small, *settings])))
    assert all(task["annotated"] > 0 for task in found["tasks"].values())
    assert all(0 <= value <= 1 for value in found["disagreement"].values())

    plan = read_plan(CONFIGS / "studies" / f"{name}.yaml", quick=True)
    values = plan.model_dump()
    for source in values["problem"]["sources"].values():
        source["inputs"]["size"] = SIZE
    values["regimes"] = [{"name": "small", "rows": dict.fromkeys(values["regimes"][0]["rows"], 12)}]
    values["network"] |= {"width": 8, "stages": 1}
    values |= {"budget": {"steps": 2, "rows_per_task": 8, "log_every": 1}, "resamples": 10}
    plan = as_plan(values)
    assert run(plan, tmp_path / "study") == 0
    summary = compare(plan, tmp_path / "study")
    assert {row["condition"] for row in summary["verdicts"]} == {"uncoupled", "paper"}
    assert "paper" in write_report(tmp_path / "study").read_text()


def command(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_the_protocol_runs_with_a_table_counted_on_another_set(tmp_path, data):
    """The commands and the plan of docs/paper.md."""
    for name in ("affectnet", "emotionet", "affwild2"):
        make(name, data / name)
    frames, training = tmp_path / "frames.parquet", tmp_path / "train.parquet"
    command("data", "index", "affwild2", data / "affwild2", "--option", "conflicts=val", "--out", frames)
    command("data", "filter", frames, "--where", "split = 'train'", "--out", training)
    command("relation", "estimate", training, "--out", data / "counted.csv")

    values = read_plan(CONFIGS / "studies" / "paper_protocol.yaml", quick=True).model_dump()
    values["problem"]["relations"] = [
        {"source": "expression", "target": "action_units", "table": "counted.csv", "extra": "ignore"}
    ]
    for source in values["problem"]["sources"].values():
        source["inputs"]["size"] = SIZE
    (regime,) = values["regimes"]
    regime["rows"] = dict.fromkeys(regime["rows"], 12)
    regime["network"]["options"] |= {"width": 8, "stages": 1}
    values |= {"budget": {"steps": 2, "rows_per_task": 8, "log_every": 1}, "resamples": 10}
    plan = as_plan(values)
    (relation,) = problem_of(plan).relations
    counted = cc.Relation.from_csv(relation.source, relation.target, data / "counted.csv", extra="ignore")
    np.testing.assert_array_equal(relation.table, counted.table)
    assert 0 < relation.known.sum() < relation.known.size, "labels that only one of the sets has are unknown"
    assert run(plan, tmp_path / "study") == 0
    found = {row["condition"] for row in compare(plan, tmp_path / "study")["verdicts"]}
    assert found == {"uncoupled", "paper-coannotation", "paper-matching", "paper"}


@pytest.mark.parametrize("name", NAMES)
def test_without_the_data_it_says_what_to_get_from_whom(data, name):
    plan = read_plan(CONFIGS / "studies" / f"{name}.yaml")
    first = next(iter(plan.problem.sources.values()))
    with pytest.raises(MissingDataError) as info:
        problem_of(plan)
    said = str(info.value)
    assert reader(first.reader).HOME in said
    assert str(data / first.root) in said
    assert "\n" not in said
