"""Claims: two sessions on one plan, and sessions that were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from study_plans import tiny

from concord.study.judging.comparison import compare
from concord.study.running import claims as claims_module
from concord.study.running.cells import Cell, all_cells, finished, open_folder
from concord.study.running.claims import RENEW, STALE, Claims
from concord.study.running.running import run

CELL, OTHER = all_cells(tiny())[:2]


@pytest.fixture
def out(tmp_path):
    open_folder(tmp_path, tiny())
    return tmp_path


def claim_of(out, cell):
    return out / "runs" / f"{cell.id}.claim"


def left_behind(out, cell, *, pid, host=None, age=0.0):
    """What a session leaves that was killed."""
    path = claim_of(out, cell)
    content = {"token": "gone", "host": claims_module._host() if host is None else host, "pid": pid}
    path.write_text(json.dumps(content))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_cell_is_claimed_once(out):
    with Claims(out) as first, Claims(out) as second:
        assert first.take(CELL)
        assert not second.take(CELL)
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
            assert claims.take(OTHER)
            claim_of(out, OTHER).write_text("[")  # which is nobody's, as far as one can read
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not claim_of(out, CELL).exists()
    assert claim_of(out, OTHER).exists()


def test_of_many_sessions_one_gets_a_stale_claim(out):
    left_behind(out, CELL, pid=dead_pid())
    sessions = [Claims(out) for _ in range(5)]
    assert sum(session.take(CELL) for session in sessions) == 1
    assert len(list((out / "runs").iterdir())) == 1


def test_a_process_that_is_gone_holds_nothing(out):
    left_behind(out, CELL, pid=dead_pid())
    assert Claims(out).take(CELL)


def test_a_process_that_lives_holds_its_claim_until_it_gives_no_sign(out):
    path = left_behind(out, CELL, pid=os.getppid(), age=STALE - RENEW)
    assert not Claims(out).take(CELL)
    os.utime(path, (path.stat().st_mtime - 2 * RENEW,) * 2)
    assert Claims(out).take(CELL)


def test_a_process_of_another_user_is_alive(monkeypatch):
    def forbidden(pid, signal):
        raise PermissionError

    monkeypatch.setattr(claims_module.os, "kill", forbidden)
    assert claims_module._alive(1)


def test_of_another_machine_only_the_sign_counts(out):
    left_behind(out, CELL, pid=dead_pid(), host="elsewhere", age=STALE / 2)
    assert not Claims(out).take(CELL)
    left_behind(out, CELL, pid=dead_pid(), host="elsewhere", age=STALE + 1)
    assert Claims(out).take(CELL)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}'])
def test_a_claim_cut_off_while_it_was_written_counts_until_it_is_old(out, content):
    path = claim_of(out, CELL)
    path.write_text(content)
    assert not Claims(out).take(CELL)
    os.utime(path, (0, 0))
    assert Claims(out).take(CELL)


def test_renewing_is_a_sign_of_life(out):
    with Claims(out) as claims:
        claims.take(CELL)
        os.utime(claim_of(out, CELL), (0, 0))
        claims.renew()
        assert not Claims(out).take(CELL)
        os.utime(claim_of(out, CELL), (0, 0))
        thief = Claims(out)
        assert thief.take(CELL)
        claims.renew()
        claims.release(CELL)
        assert claim_of(out, CELL).is_file()
        thief.release(CELL)
        claims.held.add(claim_of(out, OTHER))
        claims.renew()  # a claim that is gone is no longer held
        assert claims.held == set()


def test_signs_of_life_are_given_by_themselves(out, monkeypatch):
    monkeypatch.setattr(claims_module, "RENEW", 0.001)
    with Claims(out) as claims:
        given = claims_module.threading.Event()
        monkeypatch.setattr(claims, "renew", given.set)
        assert given.wait(30)


def test_a_claim_that_was_taken_over_meanwhile_is_put_back(out, monkeypatch):
    left_behind(out, CELL, pid=dead_pid())
    slow, quick = Claims(out), Claims(out)
    judged = slow._stale

    def overtaken(path, seen):
        found = judged(path, seen)
        assert quick.take(CELL)
        return found

    monkeypatch.setattr(slow, "_stale", overtaken)
    assert not slow.take(CELL)
    assert json.loads(claim_of(out, CELL).read_text())["token"] == quick.token
    assert len(list((out / "runs").iterdir())) == 1


def test_a_claim_that_goes_away_under_ones_hands_is_free(out, monkeypatch):
    path = left_behind(out, CELL, pid=dead_pid())
    one = Claims(out)
    monkeypatch.setattr(one, "_stale", lambda *_: path.unlink() or True)
    assert one.take(CELL)
    one.release(CELL)
    assert one._put_aside(path)  # it is gone already
    assert Claims(out)._stale(path, "{}")


def test_a_claim_that_comes_and_goes_is_left_to_the_others(out, monkeypatch):
    claim_of(out, CELL).write_text("")
    one = Claims(out)
    monkeypatch.setattr(one, "_put_aside", lambda path: True)
    assert not one.take(CELL)


def test_without_a_name_space_of_processes_the_machine_has_a_name(monkeypatch):
    def none(path):
        raise FileNotFoundError

    monkeypatch.setattr(claims_module.os, "readlink", none)
    assert claims_module._host() == claims_module.platform.node()


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
