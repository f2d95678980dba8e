"""Running a plan: every cell once, the same result whichever way."""

from __future__ import annotations

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from scipy import sparse
from study_plans import tiny

import concord
from concord.errors import DenseOnlyError, NotFiniteError, StudyError, UnknownNameError
from concord.relations.relation import Relation
from concord.study.conditions.tables import SHUFFLE_SEED, control
from concord.study.judging.comparison import compare
from concord.study.pages.report import write_report
from concord.study.problems import problem_of
from concord.study.problems.cases.digits import problem
from concord.study.running import engines, environment, one_cell
from concord.study.running import running as run_module
from concord.study.running.cells import Cell, all_cells, finished, load, logits, open_folder
from concord.study.running.one_cell import candidates, run_cell, setting_of
from concord.study.running.running import cells_of, default_processes, run
from concord.study.spec import Budget
from concord.tasks import MulticlassTask, MultilabelTask
from warm import call_warm

DIGITS = problem()


def contents(out):
    compare(tiny(), out)
    return (out / "results.csv").read_bytes(), (out / "summary.json").read_text().split('"cost"')[0]


def in_two_processes(out):
    """Run the tiny plan; processes that are spawned would import torch one after the other."""
    engines.get_context = lambda _: get_context("fork")
    assert run(tiny(), out, processes=2) == 0


def test_one_process_two_processes_and_parts_give_the_same_results(tmp_path):
    assert run(tiny(), tmp_path / "one") == 0
    assert call_warm(in_two_processes, [str(tmp_path / "two")]) == [0]
    assert run(tiny(), tmp_path / "parts", array=(1, 2)) == 3
    assert run(tiny(), tmp_path / "parts", array=(0, 2)) == 0
    one = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == one
    assert contents(tmp_path / "parts") == one


def test_an_interrupted_study_goes_on_and_nothing_is_done_twice(tmp_path):
    class Stop(Exception):
        pass

    done = []

    def stop_after_two(cell):
        done.append(cell)
        if len(done) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(tiny(), tmp_path, on_done=stop_after_two)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    # A run that was cut off while it wrote its files is not a finished one.
    (tmp_path / "runs" / "few-class~posterior~1.npz").write_bytes(b"PK")
    counts = []
    left = run(tiny(), tmp_path, on_done=done.append, on_start=lambda *n: counts.append(n))
    assert left == 0
    assert counts == [(6, 2)]
    assert sorted(c.id for c in done) == sorted(c.id for c in all_cells(tiny()))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(json.loads((tmp_path / "environment.json").read_text())["sessions"]) == 2
    assert run(tiny(), tmp_path, on_done=done.append) == 0
    assert len(done) == 6


def test_a_plan_may_grow_and_not_shrink(tmp_path):
    small = tiny(conditions=["single-task"], seeds=[0])
    regimes = [{"name": "more", "rows": {"digit": 50, "segments": 90}}, *tiny().model_dump()["regimes"]]
    grown = tiny(regimes=regimes, conditions=["posterior", "single-task"], seeds=[1, 0])
    run(small, tmp_path / "a")
    made = {path: path.read_bytes() for path in (tmp_path / "a" / "runs").iterdir()}
    done = []
    assert run(grown, tmp_path / "a", on_done=done.append) == 0
    assert {path: path.read_bytes() for path in made} == made
    assert len(done) == len(all_cells(grown)) - 1
    run(grown, tmp_path / "b")
    for cell in all_cells(grown):
        apart, at_once = (logits(tmp_path / folder, cell) for folder in "ab")
        assert all(np.array_equal(apart[task], at_once[task]) for task in at_once)
    compare(grown, tmp_path / "a")
    with pytest.raises(StudyError, match=r'regimes is \["more", "few-class"\] there, \["few-class"\] here'):
        run(small, tmp_path / "a")


def test_a_plan_may_lose_what_no_run_was_begun_of(tmp_path):
    regimes = [*tiny().model_dump()["regimes"], {"name": "more", "rows": {"digit": 50, "segments": 90}}]
    out = tmp_path / "a"
    open_folder(out, tiny(regimes=regimes))
    small = tiny(conditions=["single-task"], seeds=[0])
    assert run(small, out) == 0
    assert json.loads((out / "config.json").read_text()) == small.resolved()
    compare(small, out)
    assert run(tiny(conditions=["uncoupled", "single-task"], seeds=[0]), out) == 0
    with pytest.raises(
        StudyError, match=r'conditions is \["uncoupled", "single-task"\] there, \["single-task"\]'
    ):
        run(small, out)


@pytest.mark.parametrize(
    "name",
    ["few-class~posterior~0.claim", "few-class~posterior~0.training", ".few-class~posterior~0.npz.x.tmp"],
)
def test_a_run_that_left_any_file_was_begun(tmp_path, name):
    open_folder(tmp_path, tiny())
    (tmp_path / "runs" / name).touch()
    with pytest.raises(StudyError, match=r'conditions is .*"posterior"\] there'):
        open_folder(tmp_path, tiny(conditions=["single-task", "uncoupled"]))
    open_folder(tmp_path, tiny(seeds=[0]))


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    open_folder(tmp_path / "a", tiny())
    (tmp_path / "a" / "runs" / "few-class~posterior~1.claim").touch()
    before = (tmp_path / "a" / "config.json").read_bytes()
    with pytest.raises(StudyError, match=r"another plan \(margin is 1.0 there, 2.0 here\)"):
        run(tiny(margin=2.0), tmp_path / "a")
    other = [{"name": "more", "rows": {"digit": 9, "segments": 9}}]
    with pytest.raises(StudyError, match=r'regimes is \["few-class"\] there, \["more"\] here'):
        run(tiny(regimes=other), tmp_path / "a")
    wider = [{"name": "few-class", "rows": {"digit": 41, "segments": 120}}]
    with pytest.raises(StudyError, match=r"regimes.few-class.rows.digit is 40 there, 41 here"):
        run(tiny(regimes=wider), tmp_path / "a")
    with pytest.raises(StudyError, match=r"seeds.1 is 1 there, 2 here"):
        run(tiny(seeds=[0, 2]), tmp_path / "a")
    assert (tmp_path / "a" / "config.json").read_bytes() == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("")
    with pytest.raises(StudyError, match="holds no study"):
        run(tiny(), tmp_path / "b")
    assert len(list((tmp_path / "b").iterdir())) == 1
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("{")
    with pytest.raises(StudyError, match="not readable"):
        run(tiny(), tmp_path / "c")


def test_bad_plans_leave_no_folder(tmp_path):
    huge = [{"name": "huge", "rows": {"digit": 900, "segments": 10}}]
    with pytest.raises(StudyError, match="huge"):
        run(tiny(regimes=huge), tmp_path / "out")
    options = [{"name": "m", "use": "matching", "options": {"wait": 3}}, "uncoupled"]
    with pytest.raises(StudyError, match="'matching' does not take these options: wait"):
        run(tiny(conditions=options), tmp_path / "out")
    with pytest.raises(StudyError, match=r"0 \.\. size-1, found 2 of 2"):
        run(tiny(), tmp_path / "out", array=(2, 2))
    with pytest.raises(UnknownNameError, match="unknown engine 'rye'; did you mean 'ray'"):
        run(tiny(), tmp_path / "out", engine="rye")
    assert not (tmp_path / "out").exists()


FUNCTION = "study_plans:pretrained"
CANNOT = [
    ({"name": "posterior"}, "coupling 'posterior-coannotation' has no relation to work on"),
    ({"name": "two-stage"}, "there is none"),
    ({"name": "table-lookup"}, "there is none"),
    ({"name": "interval-supervision"}, "no relation to work on"),
    ({"name": "merging"}, "adds up what trainings changed"),
    ({"name": "p", "use": "auto", "options": {"effort": "probe"}}, "'probe' decides on frozen features"),
    ({"name": "w", "use": "fixed-weights", "options": {"weights": {"digits": 2}}}, "did you mean 'digit'"),
]
"""Conditions that cannot be trained by perceptrons on digits without their relation, and why."""


@pytest.mark.parametrize(("chosen", "said"), CANNOT, ids=[chosen["name"] for chosen, _ in CANNOT])
def test_a_condition_that_cannot_be_trained_is_refused_before_anything_is(
    tmp_path, monkeypatch, chosen, said
):
    monkeypatch.setattr(run_module, "problem_of", lambda plan: replace(DIGITS, relations=()))
    trunk = {**tiny().regimes[0].model_dump(), "name": "trunk", "network": {"trunk": FUNCTION}}
    regimes = [trunk, {**trunk, "name": "small", "network": {"hidden": [8]}}]
    plan = tiny(regimes=regimes, conditions=["single-task", chosen])
    with pytest.raises(
        StudyError, match=rf"^regime '(trunk|small)', condition '{chosen['name']}': .*{said}"
    ) as caught:
        run(plan, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_layers_to_freeze_that_a_trunk_has_not_are_refused_before_anything_is_trained(tmp_path):
    network = {"trunk": "builtin:mlp", "options": {"hidden": [8]}, "freeze": ["trunk.zero"]}
    with pytest.raises(UnknownNameError, match=r"module to freeze 'trunk\.zero'"):
        run(tiny(network=network), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_is_named_once_the_others_are_trained(tmp_path, monkeypatch):
    def fail(plan, given, cell, out, device):
        if cell.condition == "posterior":
            raise NotFiniteError("the loss became nan at step 3")
        run_cell(plan, given, cell, out, device)

    monkeypatch.setattr(run_module, "run_cell", fail)
    with pytest.raises(StudyError, match=r"run few-class~posterior~0 failed: the loss became nan"):
        run(tiny(), tmp_path)
    assert len(finished(tmp_path, tiny())) == 4
    with pytest.raises(StudyError, match="2 runs are not done yet"):
        compare(tiny(), tmp_path)


def test_a_budget_with_which_a_training_diverges_is_not_chosen(tmp_path, monkeypatch):
    class Diverging:
        def __init__(self, limit):
            self.limit = limit

        def train(self, setting):
            if setting.budget.learning_rate > self.limit:
                raise NotFiniteError("the loss became nan at step 3")
            return lambda x: {t.name: torch.zeros(len(x), t.width) for t in setting.tasks}

    plan = tiny(conditions=["single-task"], seeds=[0], tuning={"learning_rate": [1e6, 2e-3, 1e3]})
    problem, cell = problem_of(plan), all_cells(plan)[0]
    open_folder(tmp_path, plan)
    monkeypatch.setattr(one_cell, "named_condition", lambda *_: Diverging(1e-4))
    with pytest.raises(NotFiniteError):
        run_cell(plan, problem, cell, tmp_path)
    monkeypatch.setattr(one_cell, "named_condition", lambda *_: Diverging(1))
    run_cell(plan, problem, cell, tmp_path)
    record = json.loads((tmp_path / "runs" / f"{cell.id}.json").read_text())
    assert record["budget"]["learning_rate"] == 2e-3


def test_sessions_say_what_they_ran_with(tmp_path, monkeypatch):
    run(tiny(conditions=["single-task"]), tmp_path)
    monkeypatch.setattr(environment, "__version__", "9.9.9")
    run(tiny(conditions=["single-task", "uncoupled"]), tmp_path)
    compare(tiny(conditions=["single-task", "uncoupled"]), tmp_path)
    sessions = json.loads((tmp_path / "environment.json").read_text())["sessions"]
    assert [each["concord"] == "9.9.9" for each in sessions] == [False, True]
    assert {each["devices"] for each in sessions} == {"cpu"}
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert f"whose concord differ: {concord.__version__}, 9.9.9." in page


def test_the_conditions_of_a_seed_are_trained_one_after_the_other(tmp_path, monkeypatch):
    """Whatever share a job has of the runs, which are dealt out in the order of results."""
    monkeypatch.setattr(run_module, "run_cell", lambda *_: None)
    regimes = [{"name": name, "rows": {"digit": 40, "segments": 120}} for name in ("b", "a")]
    plan, done = tiny(regimes=regimes, seeds=[7, 2]), []
    run(plan, tmp_path, on_done=done.append)
    names = [c.name for c in plan.conditions]
    assert done == [Cell(r, c, s) for r in ("b", "a") for s in (7, 2) for c in names]
    half = []
    run(plan, tmp_path, array=(0, 2), on_done=half.append)
    assert set(half) == set(all_cells(plan)[::2])
    assert half == [cell for cell in done if cell in half]


def test_a_process_that_is_killed_is_said_in_words(tmp_path, monkeypatch):
    class Killed:
        def __init__(self, *_, **__):
            pass

        def submit(self, *_):
            future = Future()
            future.set_exception(BrokenProcessPool("a child process terminated abruptly"))
            return future

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(engines, "ProcessPoolExecutor", Killed)
    with pytest.raises(StudyError, match="ended from outside"):
        run(tiny(), tmp_path, processes=2)


def test_threads_are_left_as_they_were(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(tiny(seeds=1, conditions=["uncoupled"]), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_condition_sees_no_test_target(tmp_path):
    """Test targets that are spoilt change no run."""
    rows = DIGITS.splits["test"]
    spoilt = {name: values.copy() for name, values in DIGITS.targets.items()}
    spoilt["digit"][rows] = -1
    spoilt["segments"][rows] = np.nan
    cell = Cell("few-class", "posterior", 0)
    run_cell(tiny(), DIGITS, cell, tmp_path / "a")
    run_cell(tiny(), replace(DIGITS, targets=spoilt), cell, tmp_path / "b")
    first, second = (load(tmp_path / name, tiny(), cell) for name in "ab")
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    for name, values in logits(tmp_path / "a", cell).items():
        assert (values == logits(tmp_path / "b", cell)[name]).all()


def test_all_conditions_of_a_seed_start_from_the_same_rows_and_weights():
    settings = [setting_of(tiny(), DIGITS, tiny().regimes[0], 1, tiny().budget) for _ in range(2)]
    first, second = (s.build(s.tasks).state_dict() for s in settings)
    alone = settings[0].build(settings[0].tasks[:1]).state_dict()
    assert all((first[k] == second[k]).all() for k in first)
    trunk = [k for k in alone if k.startswith("trunk")]
    assert trunk
    assert all((first[k] == alone[k]).all() for k in trunk)
    assert (settings[0].rows.inputs == settings[1].rows.inputs).all()


def test_tuning_gives_every_condition_the_same_candidates_and_validation_chooses(tmp_path):
    plan = tiny(tuning={"learning_rate": [1e-9, 1e-2]}, seeds=1)
    assert [b.learning_rate for b in candidates(plan)] == [1e-9, 1e-2]
    assert candidates(tiny()) == [Budget(steps=12, rows_per_task=16, log_every=6)]
    run(plan, tmp_path)
    for cell in all_cells(plan):
        assert load(tmp_path, plan, cell)["budget"]["learning_rate"] == 1e-2


def test_damaged_or_foreign_runs_are_named(tmp_path):
    run(tiny(), tmp_path)
    cell = all_cells(tiny())[0]
    path = tmp_path / "runs" / f"{cell.id}.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "plan": "0"}))
    with pytest.raises(StudyError, match="belongs to another plan"):
        compare(tiny(), tmp_path)
    path.write_text("{")
    with pytest.raises(StudyError, match="is damaged"):
        compare(tiny(), tmp_path)
    path.write_text(json.dumps(record))
    arrays = tmp_path / "runs" / f"{cell.id}.npz"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=r"npz is damaged"):
        compare(tiny(), tmp_path)
    arrays.write_bytes(b"PK")
    with pytest.raises(StudyError, match=r"npz is damaged"):
        compare(tiny(), tmp_path)


def test_controls_change_the_relation_and_nothing_else():
    rows = {"digit": 60, "segments": 60}
    table = DIGITS.relations[0].table
    settings = {}
    for kind in ("given", "shuffled", "partly-wrong", "estimated"):
        plan = tiny(regimes=[{"name": "r", "rows": rows, "overlap": 1.0, "table": kind}])
        settings[kind] = setting_of(plan, DIGITS, plan.regimes[0], 0, plan.budget)
    assert (settings["given"].relations[0].table == table).all()
    shuffled = settings["shuffled"].relations[0].table
    assert (shuffled != table).any(axis=1).all()
    assert (np.sort(shuffled, axis=0) == np.sort(table, axis=0)).all()
    partly = control(DIGITS.relations[0], "partly-wrong", SHUFFLE_SEED).table
    assert (settings["partly-wrong"].relations[0].table == partly).all()
    assert np.abs(settings["estimated"].relations[0].table - table).max() < 0.45
    assert settings["estimated"].relations[0].strength is not None
    assert (settings["given"].rows.inputs == settings["shuffled"].rows.inputs).all()


LETTERS = MulticlassTask("letter", list("abcdefghijkl"))


def test_a_partly_wrong_table_has_a_quarter_of_its_rows_moved_and_a_tenth_of_its_cells_turned_over():
    """Cells that tell their row and column apart, and are no other cell's 1 minus the cell."""
    table = (np.arange(12 * 40).reshape(12, 40) + 1) / 1000
    table[::2, 0] = np.nan
    given = Relation(LETTERS, MultilabelTask("sign", [f"s{k}" for k in range(40)]), table)
    for seed in range(5):
        found = control(given, "partly-wrong", seed).table
        plain = np.where(found > 0.5, 1 - found, found)
        row = np.floor((np.nan_to_num(plain[:, 1:]) * 1000 - 0.5) / 40).astype(int)
        assert (row == row[:, :1]).all()
        assert sorted(row[:, 0]) == list(range(12))
        assert (row[:, 0] != np.arange(12)).sum() == 3
        assert (np.isnan(found) == np.isnan(table[row[:, 0]])).all()
        assert 0.05 < (found > 0.5).mean() < 0.15
    assert (
        control(given, "partly-wrong", 3).table[:, 1:] == control(given, "partly-wrong", 3).table[:, 1:]
    ).all()
    assert (control(given, "shuffled", 3).table[:, 1:] == given.shuffled(3).table[:, 1:]).all()
    assert given.table[0, 1] == 0.002


def test_a_partly_wrong_table_of_classes_has_rows_moved_alone():
    for c, moved in ((12, 3), (4, 2), (2, 2)):
        source = MulticlassTask("letter", list("abcdefghijkl")[:c])
        table = np.random.default_rng(0).dirichlet(np.ones(5), size=c)
        given = Relation(source, MulticlassTask("group", list("vwxyz")), table)
        found = control(given, "partly-wrong", 1).table
        assert (found != table).all(axis=1).sum() == (found != table).any(axis=1).sum() == moved
        assert (np.sort(found[:, 0]) == np.sort(table[:, 0])).all()
    loose = Relation(source, MultilabelTask("sign", ["s", "t"]), sparse.csr_array(np.eye(2)))
    with pytest.raises(DenseOnlyError, match="a partly wrong control needs all 2 x 2 cells"):
        control(loose, "partly-wrong", 1)
    with pytest.raises(UnknownNameError, match="unknown control table 'partly wrong'; did you mean"):
        control(given, "partly wrong", 1)


def test_a_table_is_estimated_without_a_row_annotated_for_both():
    """By networks that have not seen the rows; one table for all conditions of a seed."""
    regime = {"name": "r", "rows": {"digit": 200, "segments": 300}, "table": "estimated"}
    plan = tiny(regimes=[regime], budget={"steps": 120, "rows_per_task": 32, "learning_rate": 0.01})
    one, again, other = (setting_of(plan, DIGITS, plan.regimes[0], seed, plan.budget) for seed in (0, 0, 1))
    given, found = DIGITS.relations[0].table, one.relations[0]
    assert found is again.relations[0]
    assert not np.allclose(found.table, other.relations[0].table)
    assert found.strength is not None
    chance = np.abs(given - given.mean(axis=0)).mean()
    assert np.abs(found.table - given).mean() < 0.4 * chance
    few = tiny(regimes=[{**regime, "rows": {"digit": 3, "segments": 300}}])
    with pytest.raises(StudyError, match="cannot be estimated: task 'digit' has 3 annotated rows"):
        setting_of(few, DIGITS, few.regimes[0], 0, few.budget)


def test_parts_and_processes():
    assert cells_of([1, 2, 3, 4, 5], (1, 3)) == [2, 5]
    assert sorted(c for i in range(3) for c in cells_of(range(7), (i, 3))) == list(range(7))
    assert default_processes() >= 1
    options = {"name": "c", "use": "matching", "options": {"capacity": "all"}}
    plan = tiny(conditions=[options, "uncoupled"])
    with pytest.raises(UnknownNameError, match="capacity"):
        run(plan, "unused")
