"""Killed at any file operation, and run again: the same bytes, and nothing is left over."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from attack_worlds import command, make_world, told

from concord.archive import Claimant
from warm import run_warm

CRASH = """
import os, signal, sys
count, limit, home = 0, {limit}, {home!r}
def operation(place):
    global count
    if not isinstance(place, (str, bytes, os.PathLike)):
        return
    if not os.path.abspath(os.fsdecode(place)).startswith(home):
        return
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def hook(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        operation(arguments[0])
    elif event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.chmod"):
        operation(arguments[0])
sys.addaudithook(hook)
flush = os.fsync
def fsync(descriptor):
    operation(home)
    flush(descriptor)
os.fsync = fsync
import atexit
atexit.register(lambda: print("operations:", count, file=sys.stderr))
"""
"""Kills this process the n-th time that it opens a file of a folder to write, renames, flushes or removes."""

TIMED = {"seconds", "memory", "cost", "rate", "started", "duration", "sessions"}
"""Fields that say when, how long and with how much memory."""


def untimed(value):
    """Plain data without what says when and how long."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def contents(folder):
    """What a folder holds, by path: bytes, or plain data without times; page and session by name only."""
    out = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name in ("report.html", "environment.json"):
            out[name] = None
        elif path.suffix == ".json":
            out[name] = untimed(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            out[name] = [untimed(json.loads(line)) for line in path.read_text().splitlines()]
        else:
            out[name] = path.read_bytes()
    return out


COMMANDS = {
    "study": ["study", "plan.yaml", "--out", "out", "--processes", "1"],
    "train": ["train", "config.yaml", "--out", "out"],
    "manifest": ["data", "filter", "rows.csv", "--where", "row > 3", "--out", "out/rows.csv"],
    "table": ["relation", "show", "table.csv", "--out", "out/table.csv"],
}


SAVING = str(Path(__file__).with_name("saving.py"))


class Killed:
    """A command, what it leaves when nobody kills it, and what is left when somebody does."""

    def __init__(self, folder, name):
        make_world(folder)
        self.folder, self.arguments = folder, COMMANDS[name]
        done = command(folder, *self.arguments, before=self._crash(0))
        assert done.returncode == 0, done.stderr
        self.operations = int(done.stderr.decode().rsplit("operations: ", 1)[1])
        self.expected = contents(folder / "out")
        shutil.rmtree(folder / "out")

    def _crash(self, limit):
        return CRASH.format(limit=limit, home=str((self.folder / "out").resolve()))

    def check(self, n):
        """Kill the command at its n-th operation, run it again, compare."""
        killed = command(self.folder, *self.arguments, before=self._crash(n))
        assert killed.returncode == -signal.SIGKILL, (n, killed.stderr)
        again = command(self.folder, *self.arguments)
        assert again.returncode == 0, (n, again.stderr)
        told(again)
        found = contents(self.folder / "out")
        assert list(found) == list(self.expected), n
        for name, content in self.expected.items():
            assert found[name] == content, (n, name)
        shutil.rmtree(self.folder / "out")


@pytest.fixture(scope="module", params=COMMANDS)
def killed(request, tmp_path_factory):
    return Killed(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_killed_command_finishes_with_the_same_bytes(killed, share):
    killed.check(max(1, round(share * killed.operations)))


@pytest.mark.slow
def test_wherever_it_is_killed(killed):
    for n in range(1, killed.operations + 1):
        killed.check(n)


def killed_saves(what, work, first, every):
    """What is left of saves that were killed: by older model or none, in the order of the operations."""
    # Of the slow ones some take longer than any command may.
    code = f"import runpy, signal; signal.alarm(0); runpy.run_path({SAVING!r}, run_name='__main__')"
    done = run_warm(code, [what, str(work), str(first), str(every)], work, {})
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    for before, outcomes in found.items():
        assert set(outcomes) <= {"old" if before == "old" else None, "new", "CheckpointError", "ConcordError"}
        for earlier, later in pairwise(outcomes):
            assert (earlier, later) in {(earlier, earlier), (earlier, "new")}, outcomes
    return found


@pytest.mark.parametrize("what", ["hub", pytest.param("estimator", marks=pytest.mark.slow)])
def test_a_killed_save_leaves_the_older_model_or_the_new_one(tmp_path, what):
    found = killed_saves(what, tmp_path, 5, 14)
    assert {"old", "new"} >= set(found.get("old", []))
    assert set(found["none"]) == {"CheckpointError", "new"}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hub", "estimator", "onnx"])
def test_wherever_a_save_is_killed(tmp_path, what):
    found = killed_saves(what, tmp_path, 1, 1)
    assert {"old", "new"} >= set(found.get("old", []))
    assert "new" in found["none"]


@pytest.mark.slow
def test_an_interrupt_ends_a_study_at_once_and_leaves_it_resumable(tmp_path):
    make_world(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan.read_text().replace("steps: 2,", "steps: 400,").replace("seeds: 2", "seeds: 40"))
    code = "from concord.cli import main; main()"
    arguments = [sys.executable, "-c", code, "study", "plan.yaml", "--out", "out", "--processes", "2"]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while not list((tmp_path / "out" / "runs").glob("*.json")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert b"goes on from there" in out
    for left in (tmp_path / "out" / "runs").glob("*.claim"):  # of a worker that was ended first: free at once
        claim = Claimant().take(left)
        assert claim is not None, left
        claim.release()
    assert not list((tmp_path / "out" / "runs").glob(".*.tmp"))
