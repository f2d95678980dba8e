"""One owner of a folder, whatever became of the one before, and whatever the clocks say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from asserts import raises
from concord.archive import Claim, Claimant, own, owners, save_archive
from concord.archive.owners import BEAT, LOOK, STALE
from concord.errors import CheckpointError, ConcordWarning
from concord.fitting import Checkpoints
from training_problem import survive, survive_to_14


class Clock:
    """Time that passes only where it is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0.0
        monkeypatch.setattr(owners, "now", lambda: self.time)
        monkeypatch.setattr(owners, "pause", self.wait)

    def wait(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


CLAIMING = """
import os, sys
from pathlib import Path
from concord.archive import own
claim = own(Path(sys.argv[1]))
if "fork" in sys.argv:
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.read(0, 1)  # lives on, whatever becomes of its parent
        os._exit(0)
else:
    print(os.getpid(), flush=True)
os.read(0, 1)
"""


@contextmanager
def claiming(folder: Path, *how: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that holds the claim on a folder, and waits; and the number of the one that waits."""
    command = [sys.executable, "-c", CLAIMING, folder, *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def leave_behind(folder: Path) -> None:
    """The claim of a process that was killed."""
    with claiming(folder) as (holder, _):
        end(holder)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with own(tmp_path) as claim:
        claim.check()
        with raises(CheckpointError, f"is in use by process {os.getpid()} on ", "wait until it is done"):
            own(tmp_path)
    assert list(tmp_path.iterdir()) == []
    own(tmp_path).release()


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path: Path, clock: Clock) -> None:
    with claiming(tmp_path) as (holder, _):
        with raises(CheckpointError, f"is in use by process {holder.pid} on "):
            own(tmp_path)
        end(holder)
    own(tmp_path).release()
    assert clock.time == 0
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_hold_on_to_its_parents_claim(tmp_path: Path, clock: Clock) -> None:
    with claiming(tmp_path, "fork") as (holder, child):
        end(holder)
        os.kill(child, 0)
        own(tmp_path).release()
    assert clock.time == 0


ELSEWHERE = json.dumps({"token": "x", "host": "elsewhere", "machine": "another", "pid": 1}).encode()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"pid": "x"}', ELSEWHERE])
@pytest.mark.parametrize("dated", [0, 2**33])
def test_a_claim_of_nobody_here_counts_for_a_time_by_this_clock_alone(
    content: bytes, dated: int, tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / ".owner"
    path.write_bytes(content)
    os.utime(path, (dated, dated))
    claimant = Claimant()
    assert claimant.take(path) is None
    assert claimant.watched(path)
    clock.time = STALE - 1
    assert claimant.take(path) is None
    clock.time = STALE
    claim = claimant.take(path)
    assert claim is not None
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_a_sign_of_life_on_another_machine_counts(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / ".owner"
    path.write_bytes(ELSEWHERE)
    claimant = Claimant()
    assert claimant.take(path) is None
    for sign in range(1, 20):
        clock.wait(BEAT)
        os.utime(path, (sign, sign))
        assert claimant.take(path) is None
        assert not claimant.watched(path)
    clock.wait(STALE)
    claim = claimant.take(path)
    assert claim is not None
    claim.release()


def test_who_waits_says_so_and_goes_on(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".owner").write_bytes(ELSEWHERE)
    with pytest.warns(ConcordWarning, match=r"in use by process 1 on elsewhere: waiting up to 120 seconds"):
        claim = own(tmp_path)
    assert STALE <= clock.time <= STALE + LOOK
    claim.release()


def test_who_waits_for_a_living_one_is_refused_or_goes_on_waiting(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".owner"
    path.write_bytes(ELSEWHERE)
    looks: list[float] = []

    def beating(seconds: float) -> None:
        clock.wait(seconds)
        looks.append(seconds)
        if len(looks) == 9:
            path.unlink()
        else:
            os.utime(path, (len(looks), len(looks)))

    monkeypatch.setattr(owners, "pause", beating)
    with pytest.warns(ConcordWarning), raises(CheckpointError, "is in use by process 1 on elsewhere"):
        own(tmp_path)
    with pytest.warns(ConcordWarning):
        own(tmp_path, wait=True).release()
    assert len(looks) == 9


def test_an_owner_that_was_taken_over_stops(tmp_path: Path) -> None:
    claim = own(tmp_path)
    (tmp_path / ".owner").unlink()
    with own(tmp_path), raises(CheckpointError, "was taken over by another process"):
        claim.check()
    other = own(tmp_path)
    claim.release()  # which is no longer its own
    other.check()
    other.release()


def test_signs_of_life_are_given_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    given = threading.Event()
    monkeypatch.setattr(owners, "BEAT", 0.001)
    monkeypatch.setattr(Claim, "renew", lambda self: given.set())
    with own(tmp_path):
        assert given.wait(30)


def test_of_many_that_find_a_dead_claim_one_takes_it(tmp_path: Path) -> None:
    leave_behind(tmp_path)
    taken = [Claimant().take(tmp_path / ".owner") for _ in range(5)]
    (claim,) = [each for each in taken if each is not None]
    assert len(list(tmp_path.iterdir())) == 1
    claim.release()


def test_a_claim_that_was_taken_over_meanwhile_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / ".owner"
    path.write_bytes(b"")
    assert owners._put_aside(path, b"what was there before") == "alive"
    assert [each.name for each in tmp_path.iterdir()] == [".owner"]
    path.unlink()
    assert owners._put_aside(path, b"") == "gone"


def test_what_the_dead_left_is_tidied_and_what_others_are_writing_is_not(tmp_path: Path) -> None:
    import fcntl

    dead, alive = tmp_path / "..owner.dead.tmp", tmp_path / "..owner.alive.tmp"
    dead.write_text("")
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        own(tmp_path).release()
    assert list(tmp_path.iterdir()) == [alive]


@pytest.mark.parametrize("failing", ["flock", "link"])
def test_file_systems_without_locks_or_links_serve(
    failing: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unknown(*_: Any, **__: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl if failing == "flock" else os, failing, unknown)
    claim = own(tmp_path)
    assert Claimant().take(tmp_path / ".owner") is None
    claim.release()
    leave_behind(tmp_path)
    own(tmp_path).release()
    assert clock.time == 0
    assert list(tmp_path.iterdir()) == []


# -- trainings and saves ------------------------------------------------------------------------------


def test_a_save_into_a_folder_that_another_writes_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    with own(tmp_path):
        (tmp_path / ".saving.tmp").mkdir()
        with raises(CheckpointError, "is in use by"):
            save_archive(tmp_path, "run", {}, {})
        assert {path.name for path in tmp_path.iterdir()} == {".owner", ".saving.tmp"}
    save_archive(tmp_path, "run", {}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"run.json"}


def test_a_save_that_was_killed_leaves_a_folder_that_is_still_new(tmp_path: Path) -> None:
    (tmp_path / ".owner").write_text(json.dumps({"machine": owners._machine(), "pid": 1}))
    (tmp_path / ".saving.tmp").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"half")
    save_archive(tmp_path, "estimator", {"a": 1}, {"weights.safetensors": b"whole"}, fresh=True)
    with raises(CheckpointError, "is not empty"):
        save_archive(tmp_path, "estimator", {"a": 1}, {"weights.safetensors": b"whole"}, fresh=True)


def test_a_second_training_of_the_same_checkpoints_is_refused_and_cleans_nothing_up(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    survive_to_14(tmp_path)
    folder = tmp_path / "checkpoints"
    first = Checkpoints(folder).claim()
    writing = folder / ".being-written.tmp"
    writing.mkdir()
    with raises(CheckpointError, "is in use by"):
        survive(tmp_path)
    assert writing.is_dir()
    first.release()
    survive(tmp_path)
    assert not list(folder.glob(".*"))
