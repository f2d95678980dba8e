"""Claims: two sessions on one plan, and sessions that were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from study_plans import tiny

from concord.archive import owners
from concord.study.judging.comparison import compare
from concord.study.running import running as running_module
from concord.study.running.cells import Cell, all_cells, finished, open_folder
from concord.study.running.claims import Claims, finishing
from concord.study.running.running import run

CELL, OTHER = all_cells(tiny())[:2]
ELSEWHERE = json.dumps({"token": "x", "host": "elsewhere", "machine": "another", "pid": 1})


@pytest.fixture
def out(tmp_path):
    open_folder(tmp_path, tiny())
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where it is waited for."""
    time = [0.0]
    monkeypatch.setattr(owners, "now", lambda: time[0])
    for module in (owners, running_module):
        monkeypatch.setattr(module, "pause", lambda seconds: time.__setitem__(0, time[0] + seconds))
    return time


def claim_of(out, cell):
    return out / "runs" / f"{cell.id}.claim"


def test_a_cell_is_claimed_once(out):
    with Claims(out) as first, Claims(out) as second:
        assert first.take(CELL)
        assert not second.take(CELL)
        assert not second.watched(CELL)
        assert second.take(OTHER)
        first.release(CELL)
        assert second.take(CELL)
        first.release(CELL)  # which is no longer its own
        assert claim_of(out, CELL).is_file()
    assert list((out / "runs").iterdir()) == []


def test_a_claim_is_given_up_where_a_session_ends_in_an_error(out):
    def fail():
        with Claims(out) as claims:
            assert claims.take(CELL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not claim_of(out, CELL).exists()


# -- in a study ----------------------------------------------------------------------------------------


def test_two_sessions_share_a_plan_and_train_no_cell_twice(tmp_path):
    """A second session starts in the middle of the first one's first cell; both go on until all is done."""
    trained = {"first": [], "second": []}

    def second():
        run(tiny(), tmp_path, on_done=trained["second"].append)

    def first_done(cell):
        trained["first"].append(cell)
        if len(trained["first"]) == 1:
            with Claims(tmp_path) as elsewhere:
                elsewhere.take(Cell("few-class", "posterior", 1))
                second()

    assert run(tiny(), tmp_path, on_done=first_done) == 0
    everything = trained["first"] + trained["second"]
    assert len(everything) == len(set(everything)) == 6
    assert trained["first"] == [all_cells(tiny())[0], Cell("few-class", "posterior", 1)]
    assert not list((tmp_path / "runs").glob("*.claim"))
    run(tiny(), tmp_path / "alone")
    for folder in (tmp_path, tmp_path / "alone"):
        compare(tiny(), folder)
    assert (tmp_path / "results.csv").read_bytes() == (tmp_path / "alone" / "results.csv").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from study_plans import tiny
from concord.study.running import run
done = []
def kill(cell):
    done.append(cell)
    if len(done) == 2:
        from concord.study.running.claims import Claims
        from concord.study.running.cells import all_cells
        Claims(Path(sys.argv[1])).take(all_cells(tiny())[-1])
        os.kill(os.getpid(), signal.SIGKILL)
run(tiny(), sys.argv[1], on_done=kill)
"""


@pytest.mark.slow
def test_a_session_killed_with_its_claims_is_finished_by_the_next(tmp_path):
    out = tmp_path / "out"
    here = os.path.dirname(__file__)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out), here], check=False)
    assert ended.returncode < 0
    assert len(finished(out, tiny())) == 2
    assert len(list((out / "runs").glob("*.claim"))) >= 1
    kept = {p: p.stat().st_mtime_ns for p in (out / "runs").glob("*.npz")}
    done = []
    assert run(tiny(), out, on_done=done.append) == 0
    assert len(done) == 4
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert not list((out / "runs").glob("*.claim"))


@pytest.mark.parametrize("content", ["", "{", ELSEWHERE])
@pytest.mark.parametrize("dated", [0, 2**33])
def test_claims_of_the_dead_elsewhere_empty_or_of_the_future_never_keep_a_study_from_its_end(
    out, clock, content, dated, monkeypatch
):
    def finish(plan, problem, cell, folder, *_):  # what is trained is nothing to a claim
        for ending in ("json", "npz"):
            (folder / "runs" / f"{cell.id}.{ending}").write_text("")

    monkeypatch.setattr(running_module, "run_cell", finish)
    for cell in (CELL, OTHER):
        claim_of(out, cell).write_text(content)
        os.utime(claim_of(out, cell), (dated, dated))
    assert run(tiny(), out) == 0
    assert owners.STALE <= clock[0] <= owners.STALE + 2 * owners.LOOK
    assert not list((out / "runs").glob("*.claim"))


def test_claims_of_the_living_elsewhere_are_left_to_them(out, clock, monkeypatch):
    path = claim_of(out, CELL)
    path.write_text(ELSEWHERE)

    def beating(seconds):
        clock[0] += seconds
        os.utime(path, (clock[0], clock[0]))

    monkeypatch.setattr(running_module, "pause", beating)
    assert run(tiny(), out) == 1
    assert clock[0] < owners.STALE


def test_a_study_that_was_killed_behind_its_last_run_can_be_finished(tmp_path):
    assert run(tiny(), tmp_path) == 0
    for damaged in (None, "", "[]"):
        (tmp_path / "environment.json").unlink()
        if damaged is not None:
            (tmp_path / "environment.json").write_text(damaged)
        assert run(tiny(), tmp_path) == 0
        assert len(json.loads((tmp_path / "environment.json").read_text())["sessions"]) == 1
    before = (tmp_path / "environment.json").read_bytes()
    assert run(tiny(), tmp_path) == 0
    assert (tmp_path / "environment.json").read_bytes() == before


def test_who_finishes_a_study_waits_for_another_that_does(tmp_path, monkeypatch):
    first = finishing(tmp_path)
    looks = []

    def look(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            first.release()

    monkeypatch.setattr(owners, "pause", look)
    finishing(tmp_path).release()
    assert len(looks) == 3
