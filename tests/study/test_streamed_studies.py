"""Studies of trunks by name on images in their files: the same numbers as in memory, killed or not."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from study_plans import tiny

from concord.config.load import ENVIRONMENT
from concord.data import StreamedInputs
from concord.data.images import IMAGENET
from concord.errors import ConfigError, MissingDataError, ShapeError, StudyError, UnknownNameError
from concord.files import read_arrays
from concord.fitting import loop
from concord.study.conditions import auto, base
from concord.study.conditions.building import network_for
from concord.study.judging.comparison import compare
from concord.study.plan import as_plan, read_plan
from concord.study.problems.load import problem_of
from concord.study.problems.problem import draw
from concord.study.running import memory
from concord.study.running.memory import PeakMemory
from concord.study.running.running import run
from concord.study.spec import Regime, TrunkNetwork
from config_worlds import MARKS, SHAPE, world, write

PEERS = ("dwa", "mgda", "distillation", "pseudo-labels", "table-lookup")
"""One of each way to look at rows: losses of an epoch, gradients of a batch, predictions, all rows."""
TREES = {"name": "extra-trees", "options": {"trees": 3}}
PLAN = {
    "title": "shapes",
    "regimes": [{"name": "few", "rows": {"shape": 20, "marks": 30}}],
    "conditions": ["single-task", "uncoupled", "posterior"],
    "seeds": 1,
    "network": {"trunk": "builtin:resnet", "options": {"width": 8, "stages": 1}, "layer_decay": 0.8},
    "recipe": {"schedule": "cosine", "warmup": 2, "flip": 0.5, "shift": 1, "clip": 1.0},
    "budget": {"steps": 4, "rows_per_task": 4, "log_every": 2},
    "resamples": 10,
}

NETWORKS = """
from torch import nn


def small(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def wrong():
    return 3
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv(f"{ENVIRONMENT}DATA", raising=False)
    auto._made.clear()


def planned(folder: Path, kind: str = "images", stream: bool = True, size: int | None = None, **changes):
    values = world(folder, kind)
    for source in values["sources"].values():
        if size is not None:
            source["inputs"]["size"] = size
    write(values, folder / "mine.yaml")
    path = folder / "plan.yaml"
    problem = {"config": "mine.yaml", "stream": stream}
    path.write_text(yaml.safe_dump({**PLAN, "problem": problem, **changes}))
    return read_plan(path)


def results(out: Path) -> dict[str, tuple]:
    """By run: its record without times, and its logits."""
    found = {}
    for path in sorted((out / "runs").glob("*.json")):
        record = json.loads(path.read_text())
        kept = {key: value for key, value in record.items() if key not in ("seconds", "memory")}
        found[path.stem] = kept, read_arrays(path.with_suffix(".npz"))
    return found


def check_same(first: dict[str, tuple], second: dict[str, tuple]) -> None:
    assert first.keys() == second.keys()
    for run_id, (record, logits) in first.items():
        assert record == second[run_id][0], run_id
        for task, values in logits.items():
            assert np.array_equal(values, second[run_id][1][task]), (run_id, task)


@pytest.mark.parametrize(("kind", "size"), [("images", None), ("arrays", 16)])
def test_inputs_in_files_are_those_in_memory_in_the_same_order(tmp_path, kind, size):
    held, streamed = (problem_of(planned(tmp_path, kind, stream, size)) for stream in (False, True))
    assert isinstance(streamed.inputs, StreamedInputs)
    assert held.shape == streamed.shape
    assert np.array_equal(held.inputs, streamed.inputs.read(7).numpy())
    rows = streamed.splits["test"][[3, 0, 2]]
    assert np.array_equal(held.inputs[rows], streamed.inputs[rows].read().numpy())
    for task in ("shape", "marks"):
        assert np.array_equal(held.targets[task], streamed.targets[task], equal_nan=True)
    assert held.picture(4) == streamed.picture(4)


@pytest.mark.parametrize(
    "conditions",
    [
        ["single-task", "posterior", "two-stage", *PEERS, TREES],
        pytest.param(["uncoupled", "uncertainty", "pcgrad"], marks=pytest.mark.slow),
        pytest.param(["uncoupled", {"name": "auto", "options": {"effort": "fast"}}], marks=pytest.mark.slow),
    ],
    ids=["peers", "losses", "auto"],
)
def test_streamed_and_in_memory_end_in_the_same_numbers(tmp_path, conditions):
    plans = [planned(tmp_path, stream=stream, conditions=conditions) for stream in (True, False)]
    assert plans[0].digest == plans[1].digest, (
        "one fingerprint: the folder of one may be gone on with as the other"
    )
    for plan, name in zip(plans, ("streamed", "held"), strict=True):
        auto._made.clear()
        assert run(plan, tmp_path / name) == 0
    check_same(results(tmp_path / "streamed"), results(tmp_path / "held"))
    summary = compare(plans[0], tmp_path / "streamed")
    assert {row["condition"] for row in summary["cost"]} == {c.name for c in plans[0].conditions}
    assert all(row["seconds"] > 0 for row in summary["cost"])
    assert all(row["memory"] is None or row["memory"] > 50 for row in summary["cost"])


class Killed(BaseException):
    """Of a process that is ended."""


@pytest.mark.parametrize(
    "name",
    [
        "single-task",
        "dwa",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("pcgrad", "uncertainty", "two-stage")),
    ],
)
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, monkeypatch, name):
    """Bit by bit, and without repeating what was saved: also what a rule remembers from step to step."""
    monkeypatch.setattr(base, "CHECKPOINT_EVERY", 2)
    plan = planned(tmp_path, conditions=["uncoupled", name], budget={**PLAN["budget"], "steps": 6})
    assert run(plan, tmp_path / "whole") == 0
    advance, taken = loop.Stepper.advance, []

    def counted(self, step, batch):
        taken.append(step)
        if len(taken) == stop:
            raise Killed
        return advance(self, step, batch)

    monkeypatch.setattr(loop.Stepper, "advance", counted)
    stop = 12 if name not in ("dwa", "pcgrad", "uncertainty") else 11
    with pytest.raises(Killed):
        run(plan, tmp_path / "killed")
    stop, before = None, len(taken)
    assert run(plan, tmp_path / "killed") == 0
    check_same(results(tmp_path / "whole"), results(tmp_path / "killed"))
    assert taken[before] > 1, "the training went on, it did not begin again"
    assert not list((tmp_path / "killed" / "runs").glob("*.training")), "nothing is left behind"


def test_code_of_a_plan_is_told():
    regimes = [
        {"name": "r", "rows": {"digit": 9, "segments": 9}, "network": {"trunk": "mine:net"}},
        {"name": "s", "rows": {"digit": 9, "segments": 9}, "network": {"trunk": "builtin:mlp"}},
    ]
    assert tiny(regimes=regimes).code() == ["trunk 'mine:net'"]
    assert tiny(problem="a:b").code() == ["problem 'a:b'"]
    assert tiny().code() == []


def test_a_function_next_to_the_plan_makes_the_trunk(tmp_path):
    (tmp_path / "own_small_nets.py").write_text(NETWORKS)
    network = {"trunk": "own_small_nets:small", "options": {"width": 6}, "freeze": ["trunk.0"]}
    plan = planned(tmp_path, network=network, conditions=["uncoupled"])
    assert run(plan, tmp_path / "out") == 0
    made = network_for(plan.network, [SHAPE, MARKS], (3, 12, 12), "half-shared", 1, str(tmp_path))
    again = network_for(plan.network, [SHAPE, MARKS], (3, 12, 12), "half-shared", 1, str(tmp_path))
    assert made.trunk[0].out_channels == 6
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        ({"trunk": "own_wrong_nets:wrong"}, StudyError, "must return a module, found int"),
        ({"trunk": "own_other_nets:smal"}, UnknownNameError, "did you mean 'small'"),
        ({"trunk": "own_more_nets:small", "pretrained": True}, StudyError, "loads its own weights"),
        ({"trunk": "no_such_module_here:net"}, MissingDataError, "no module 'no_such_module_here'"),
        ({"trunk": "builtin:rsnet"}, UnknownNameError, "did you mean 'resnet'"),
        ({"trunk": "tim-m:resnet18"}, UnknownNameError, "source of a trunk 'tim-m'"),
        ({"trunk": "builtin:mlp"}, ShapeError, r"found \(3, 12, 12\)"),
        ({"trunk": "builtin:bag-of-words"}, StudyError, "takes texts, and the problem has images"),
    ],
)
def test_a_trunk_that_cannot_be_is_told_before_anything_is_written(tmp_path, network, error, words):
    module = network["trunk"].partition(":")[0]
    if module.startswith("own_"):  # each test its own, as Python imports a module once
        (tmp_path / f"{module}.py").write_text(NETWORKS)
    with pytest.raises(error, match=words):
        run(planned(tmp_path, network=network), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_come_to_a_trunk_as_its_weights_know_them(monkeypatch):
    seen = []

    class Trunk(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean(dim=(2, 3))

    from concord.networks.trunks.named import NamedTrunk
    from concord.study.conditions import building

    half = ((0.5,) * 3, (0.25,) * 3)
    made = NamedTrunk(Trunk(), "images", torch.zeros(1, 3, 4, 4), normalization=half)
    monkeypatch.setattr(building, "build_trunk", lambda *_, **__: made)
    network = network_for(TrunkNetwork(trunk="timm:any"), [SHAPE], (3, 4, 4))
    pixels = torch.rand(2, 3, 4, 4)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    network((pixels - mean) / deviation)
    torch.testing.assert_close(seen[-1], (pixels - 0.5) / 0.25, atol=1e-5, rtol=1e-5)


def test_features_are_not_streamed(tmp_path):
    with pytest.raises(StudyError, match=r"sources\.classed: stream is for images"):
        problem_of(planned(tmp_path, "features", network={"hidden": [4]}))


# -- numbers of rows -------------------------------------------------------------------------------------


def test_plans_of_before_keep_their_fingerprint():
    plan = tiny()
    assert (plan.digest, plan.digest_of("few-class", "posterior")) == ("cce4a8dea422820c", "dcc284a17f07d2e4")


def shown(problem, rows, **more):
    index, targets = draw(problem, Regime(name="r", rows=rows, **more), 0)
    y, a = targets["shape"] != -1, ~np.isnan(targets["marks"]).any(axis=1)
    return index, y, a


def test_rows_by_share_and_all(tmp_path):
    problem = problem_of(planned(tmp_path))
    index, y, a = shown(problem, {"shape": "10 %", "marks": "all"})
    assert (y.sum(), a.sum()) == (4, 40)
    assert len(set(index.tolist())) == len(index) == 44
    same = shown(problem, {"shape": 4, "marks": 40})
    assert set(index[y].tolist()) == set(same[0][same[1]].tolist()), "a share is its number"
    assert shown(problem, {"shape": "0.1 %", "marks": 1})[1].sum() == 1, "at least one row"


def test_all_keeps_every_annotation_of_a_row_and_leaves_the_others_to_numbers():
    plan = tiny()
    digits = problem_of(plan)
    every = len(digits.splits["train"])

    def count(**rows):
        index, targets = draw(digits, Regime(name="r", rows=rows), 3)
        y, a = targets["digit"] != -1, ~np.isnan(targets["segments"]).any(axis=1)
        assert len(set(index.tolist())) == len(index)
        return len(index), int(y.sum()), int(a.sum()), int((y & a).sum())

    assert count(digit="all", segments="all") == (every, every, every, every)
    assert count(digit=50, segments="all") == (every, 50, every - 50, 0)
    assert count(digit="50 %", segments="40 %")[3] == 0
    with pytest.raises(StudyError, match="leaves no training row annotated for 'segments'"):
        count(digit="100 %", segments="all")


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ({"digit": "half", "segments": 3}, {}, "a number >= 1, all, or a share as 5 %"),
        ({"digit": "0 %", "segments": 3}, {}, "a number >= 1, all, or a share as 5 %"),
        ({"digit": 0, "segments": 3}, {}, r"rows\.digit: Input should be greater"),
        ({"digit": "all", "segments": 3}, {"overlap": 0.5}, "overlap is a share of numbers"),
    ],
)
def test_mistakes_in_numbers_of_rows(rows, more, words):
    with pytest.raises(StudyError, match=words):
        tiny(regimes=[{"name": "r", "rows": rows, **more}])


def test_steps_are_said_where_rows_are_shares():
    budget = {"rows_per_task": 8}
    with pytest.raises(StudyError, match="regime r: steps are counted from numbers of rows"):
        tiny(regimes=[{"name": "r", "rows": {"digit": "5 %", "segments": 9}}], budget=budget)
    long = {"name": "r", "rows": {"digit": "5 %", "segments": 9}, "steps": 7}
    assert tiny(regimes=[long], budget=budget).regimes[0].steps == 7


def test_shares_are_written_in_one_way():
    plans = [
        tiny(regimes=[{"name": "r", "rows": {"digit": text, "segments": 9}}]) for text in ("5%", " 5.0 %")
    ]
    assert plans[0].digest == plans[1].digest
    assert as_plan(json.loads(plans[0].model_dump_json())) == plans[0]


def test_the_peak_of_memory_is_that_since_it_was_asked_for():
    block = mmap.mmap(-1, 100 << 20)  # not an array: a freed one may stay with the allocator
    block.write(b"\1" * len(block))
    held, before = memory._kibibytes("VmRSS"), PeakMemory("cpu").mebibytes()
    block.close()
    left, after = memory._kibibytes("VmRSS"), PeakMemory("cpu").mebibytes()
    if held is None or left is None or held - left < 90 << 10:
        pytest.skip("this system does not say that memory is given back")
    if before is not None and after is not None:  # None where the system does not set the peak back
        assert before - after > 60


@pytest.mark.parametrize(("peak", "told"), [(409600, None), (204800, 200.0)])
def test_a_peak_that_the_system_did_not_set_back_is_not_told(tmp_path, monkeypatch, peak, told):
    status = tmp_path / "status"
    status.write_bytes(
        b"Name:\t\xc3\xa9tude\xc3\nVmHWM:\t%d kB\nVmRSS:\t204800 kB\n" % peak
    )  # a name cut short
    monkeypatch.setattr(memory, "STATUS", status)
    monkeypatch.setattr(memory, "REFERENCES", tmp_path / "clear_refs")
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert PeakMemory("cpu").mebibytes() == told


def test_a_peak_is_not_told_where_it_cannot_be_set_back(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "REFERENCES", tmp_path / "absent" / "clear_refs")
    assert PeakMemory("cpu").mebibytes() is None


@pytest.mark.slow
def test_processes_take_devices_in_turn(tmp_path):
    plan = planned(tmp_path, conditions=["uncoupled", "posterior"])
    assert run(plan, tmp_path / "two", processes=2, devices=["cpu", "cpu:0"]) == 0
    assert run(plan, tmp_path / "one") == 0
    check_same(results(tmp_path / "two"), results(tmp_path / "one"))


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["abacus"], "device 'abacus': cpu, cuda"),
        (["meta"], "device 'meta': cpu, cuda"),
        (["cuda:77"], "CUDA devices are seen"),
        ([], "a device is needed"),
    ],
)
def test_a_device_that_is_not_there(tmp_path, devices, words):
    with pytest.raises(ConfigError, match=words):
        run(planned(tmp_path), tmp_path / "out", devices=devices)
    assert not (tmp_path / "out").exists()


def test_one_size_for_all_images_of_a_config(tmp_path):
    write(world(tmp_path, "images"), tmp_path / "mine.yaml")
    plan = as_plan({**PLAN, "problem": {"config": "mine.yaml", "size": 20}, "folder": str(tmp_path)})
    assert problem_of(plan).shape == (3, 20, 20)
    with pytest.raises(ConfigError, match=r"inputs\.size"):
        as_plan({**PLAN, "problem": {"config": "mine.yaml", "size": 0}, "folder": str(tmp_path)})


def test_images_that_are_streamed_are_not_skipped(tmp_path):
    """In memory a study has the rows that can be read, which are not known before all are."""
    planned(tmp_path)
    values = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    values["sources"]["labelled"]["inputs"]["on_error"] = "skip"
    write(values, tmp_path / "mine.yaml")
    with pytest.raises(
        StudyError, match=r"sources\.labelled: with stream, .* leave stream out, or"
    ) as caught:
        problem_of(read_plan(tmp_path / "plan.yaml"))
    assert "\n" not in str(caught.value)
    held = {"config": "mine.yaml", "stream": False}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "problem": held}))
    assert isinstance(problem_of(read_plan(tmp_path / "plan.yaml")).inputs, np.ndarray)
