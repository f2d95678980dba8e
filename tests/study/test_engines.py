"""Where cells are trained: the same rows of results whichever way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from study_plans import tiny

from concord.errors import MissingExtraError, NotFiniteError, StudyError, UnknownNameError
from concord.study.judging.comparison import compare
from concord.study.running import cells, one_cell, running
from concord.study.running.cells import Cell, all_cells, finished, open_folder
from concord.study.running.claims import Claims
from concord.study.running.engines import Engine, Here, Ray, check_engine, engine
from concord.study.running.running import run


class TaskError(Exception):
    """Ray's own: prints the task's whole stack, and has what was raised as its cause."""

    def __init__(self, cause):
        super().__init__("ray::_work_on()\n  File ...\n" + str(cause))
        self.cause = cause


class FakeRay(ModuleType):
    """As much of Ray as is used: tasks run when they are asked for, the last submitted first."""

    def __init__(self, running=False, cpus=3.0):
        super().__init__("ray")
        self.running, self.cpus, self.calls, self.most = running, cpus, [], 0
        self.open = {}

    def is_initialized(self):
        return self.running

    def init(self, **options):
        self.running = True
        self.calls.append(("init", options))

    def shutdown(self):
        self.running = False
        self.calls.append(("shutdown", {}))

    def cancel(self, handle):
        self.open.pop(handle)
        self.calls.append(("cancel", handle))

    def cluster_resources(self):
        return {"CPU": self.cpus}

    def remote(self, **options):
        self.calls.append(("remote", options))

        def decorated(function):
            class Task:
                @staticmethod
                def remote(*arguments):
                    handle = f"task-{len(self.calls)}"
                    self.calls.append(("task", arguments))
                    self.open[handle] = (function, arguments)
                    self.most = max(self.most, len(self.open))
                    return handle

            return Task

        return decorated

    def wait(self, handles, num_returns):
        assert num_returns == 1
        return [handles[-1]], handles[:-1]

    def get(self, handle):
        function, arguments = self.open.pop(handle)
        try:
            return function(*arguments)
        except Exception as error:
            raise TaskError(error) from None


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def results(out):
    compare(tiny(), out)
    return (out / "results.csv").read_bytes()


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory):
    """Results of the tiny plan, run in this process."""
    out = tmp_path_factory.mktemp("here")
    assert run(tiny(), out) == 0
    return results(out)


def test_ray_gives_the_rows_of_one_process(tmp_path, ray, of_one_process):
    before = torch.get_num_threads()
    assert run(tiny(), tmp_path / "ray", engine="ray") == 0
    assert results(tmp_path / "ray") == of_one_process
    assert ray.most == 3  # as many as the cluster has processors
    assert ray.calls[0][0] == "init"
    assert ("remote", {"num_cpus": 1}) in ray.calls
    assert ray.calls[-1] == ("shutdown", {})
    [first, *_] = [arguments for kind, arguments in ray.calls if kind == "task"]
    assert first[1] == str((tmp_path / "ray").resolve())  # a worker has another current folder
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_true_ray_gives_the_rows_of_one_process(tmp_path, of_one_process):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(tiny().resolved()))
    command = "from concord.cli import main; main()"
    given = ["study", str(plan), "--engine", "ray", "--out", str(tmp_path / "ray")]
    done = subprocess.run(
        [sys.executable, "-c", command, *given], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "ray") == of_one_process


ON_A_CLUSTER = """
import json, sys
import ray
from ray.cluster_utils import Cluster
from concord.study import as_plan
from concord.study.running.running import run

plan, out = as_plan(json.loads(open(sys.argv[1]).read())), sys.argv[2]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)
done = []


def kill_one(cell):
    done.append(cell.id)
    if len(done) == 1:
        cluster.remove_node(nodes[1], allow_graceful=False)  # whatever it is training


left = run(plan, out, engine="ray", on_done=kill_one)
alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
print(json.dumps({"left": left, "done": done, "workers": len(alive), "still": ray.is_initialized()}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_true_cluster_of_two_workers_of_which_one_is_killed_gives_the_rows_of_one_process(
    tmp_path, of_one_process
):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(tiny().resolved()))
    command = [sys.executable, "-c", ON_A_CLUSTER, str(plan), str(tmp_path / "ray")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found["done"]) == sorted(cell.id for cell in all_cells(tiny()))
    assert (found["left"], found["workers"], found["still"]) == (0, 1, True)
    assert not list((tmp_path / "ray" / "runs").glob("*.claim"))
    assert results(tmp_path / "ray") == of_one_process


class Counting(Engine):
    """Takes cells and finishes them at once, without training; counts what it is asked for."""

    size = 8

    def __init__(self, out):
        self.out, self.asked = out, 0

    def submit(self, cell):
        self.asked += 1
        for ending in ("json", "npz"):
            (self.out / "runs" / f"{cell.id}.{ending}").write_text("")
        return cell

    def first(self, handles):
        self.asked += len(handles)
        return handles[0]

    def result(self, handle):
        self.asked += 1

    def close(self, clean):
        pass


@pytest.mark.parametrize("runs", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_scheduling_takes_a_few_steps_for_each_of_many_runs(runs, tmp_path, monkeypatch):
    """Counted, not timed: looks at finished runs, claims, and what the engine is asked for."""
    plan = tiny(seeds=runs // 2, conditions=["single-task", "uncoupled"])
    engine, looks, claims = Counting(tmp_path), Counter(), Counter()
    monkeypatch.setattr(running, "engine_of", lambda *given: engine)
    for module in (running, cells):
        looking = module.is_finished
        monkeypatch.setattr(
            module, "is_finished", lambda out, cell, look=looking: looks.update([cell]) or look(out, cell)
        )
    listing, listed = Path.iterdir, Counter()
    monkeypatch.setattr(
        Path, "iterdir", lambda self: (listed.update(["entries"]) or each for each in listing(self))
    )
    taking = Claims.take
    monkeypatch.setattr(Claims, "take", lambda self, cell: claims.update([cell]) or taking(self, cell))
    done = []
    assert run(plan, tmp_path, on_done=done.append) == 0
    assert len(done) == len(set(done)) == runs
    assert max(claims.values()) == 1
    assert max(looks.values()) <= 4
    assert listed["entries"] <= runs
    assert engine.asked <= (2 + engine.size) * runs


def test_a_cluster_that_runs_is_left_running(tmp_path, monkeypatch):
    fake = FakeRay(running=True)
    monkeypatch.setitem(sys.modules, "ray", fake)
    run(tiny(seeds=1), tmp_path, engine="ray", processes=2)
    assert fake.most == 2
    assert fake.running
    assert not [kind for kind, _ in fake.calls if kind in ("init", "shutdown")]


def test_what_a_task_raises_is_one_line_once_the_others_are_trained(tmp_path, ray, monkeypatch):
    kept = one_cell.run_cell

    def fail(plan, problem, cell, out, device):
        if cell.condition == "uncoupled":
            raise NotFiniteError("the loss became nan at step 3")
        kept(plan, problem, cell, out, device)

    monkeypatch.setattr(one_cell, "run_cell", fail)
    with pytest.raises(StudyError, match="run few-class~uncoupled~1 failed: the loss became nan") as caught:
        run(tiny(), tmp_path, engine="ray")
    assert "\n" not in str(caught.value)
    assert "1 more failed, run few-class~uncoupled~0 failed" in str(caught.value)
    plan = tiny()
    assert finished(tmp_path, plan) == {c for c in all_cells(plan) if c.condition != "uncoupled"}
    assert not list((tmp_path / "runs").glob("*.claim"))
    assert not ray.running


def test_an_error_that_is_none_of_ours_is_left_as_it_is(tmp_path, ray):
    unknown = Cell("no regime", "uncoupled", 0)
    with pytest.raises(TaskError, match="ray::_work_on"), Ray(tiny(), tmp_path) as made:
        made.result(made.first([made.submit(unknown)]))


def test_without_ray_the_extra_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install concord-mtl\[ray\]"):
        run(tiny(), tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UnknownNameError, match="'processes'"):
        check_engine("process")


def test_one_process_or_one_cell_stays_here(tmp_path):
    for processes, n in ((None, 6), (1, 6), (4, 1)):
        made = engine("processes", tiny(), tmp_path, processes, n, lambda cell: None)
        assert isinstance(made, Here)


def test_two_array_jobs_one_killed_and_gone_on_with(tmp_path, of_one_process):
    class Stop(Exception):
        pass

    def stop(cell):
        raise Stop

    out = tmp_path / "array"
    with pytest.raises(Stop):
        run(tiny(), out, array=(0, 2), on_done=stop)
    assert len(finished(out, tiny())) == 1
    assert run(tiny(), out, array=(1, 2)) == 2
    done = []
    assert run(tiny(), out, array=(0, 2), on_done=done.append) == 0
    assert len(done) == 2
    assert results(out) == of_one_process


def test_a_folder_that_another_session_opens_at_this_moment_is_no_foreign_one(tmp_path):
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    (out / ".config.json.1234.tmp").write_text("{")
    open_folder(out, tiny())
    assert (out / "config.json").is_file()
    other = tmp_path / "other"
    (other / "runs").mkdir(parents=True)
    (other / "runs" / "notes.txt").write_text("")
    with pytest.raises(StudyError, match="holds no study"):
        open_folder(other, tiny())
