from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concord.archive import pack, read_tensors, unpack
from concord.errors import CheckpointError, NotFiniteError, RangeError
from concord.files import write_bytes
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.loop import fit
from concord.fitting.watch import JsonLines
from forging import forge
from training_problem import (
    FULL,
    equal,
    network,
    objective,
    rows,
    survive,
    survive_as_nobody,
    survive_in_limits,
    survive_plainly,
    survive_to_14,
    survive_until,
    survive_until_half_a_file,
)
from warm import call_warm, forked

INDEX = "checkpoint.json"


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    with forked() as context:
        yield context


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("unbroken")
    net, history = survive(folder)
    return net, history, (folder / "log.jsonl").read_text()


def without_rates(log: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in log.splitlines()]
    return [{k: v for k, v in line.items() if k != "rate"} for line in lines]


def check_resumed(folder: Path, unbroken: tuple[Any, Any, str]) -> None:
    net, history = survive(folder)
    assert equal(net, unbroken[0])
    assert history.records == unbroken[1].records
    assert history.validation == unbroken[1].validation
    assert {t: s.step for t, s in history.selected.items()} == {
        t: s.step for t, s in unbroken[1].selected.items()
    }
    assert without_rates((folder / "log.jsonl").read_text()) == without_rates(unbroken[2])
    assert not list((folder / "checkpoints").glob(".*"))


@pytest.mark.parametrize("event", [30, *(pytest.param(event, marks=pytest.mark.slow) for event in (9, 71))])
def test_killed_and_resumed_is_unbroken(event: int, tmp_path: Path, unbroken: tuple[Any, Any, str]):
    assert call_warm(survive_until, (str(tmp_path), event)) == [-9]
    check_resumed(tmp_path, unbroken)


def kill_within(folder: Path, file: str, step: int, share: float) -> None:
    assert call_warm(survive_until_half_a_file, (str(folder), file, step, share)) == [-9]
    halves = list((folder / "checkpoints").glob(f".*.tmp/{file}"))
    assert [half.stat().st_size > 0 for half in halves] == [share > 0]
    newest = Checkpoints(folder / "checkpoints").latest()
    assert (newest.name if newest else None) == (f"step-{step - 7:08d}" if step > 7 else None)


def test_killed_within_a_file_and_resumed_is_unbroken(tmp_path: Path, unbroken: tuple[Any, Any, str]):
    kill_within(tmp_path, "optimiser.safetensors", 14, 0.5)
    kill_within(tmp_path, INDEX, 28, 0.9)
    check_resumed(tmp_path, unbroken)


@pytest.mark.slow
def test_killed_twenty_times_within_a_file(tmp_path: Path, unbroken: tuple[Any, Any, str]):
    rng = random.Random(2)
    files = ("network.safetensors", "optimiser.safetensors", "average.safetensors", INDEX)
    for i in range(20):
        step = 7 * rng.randint(1, 8)
        kill_within(tmp_path / str(i), rng.choice(files), step, rng.random())
        check_resumed(tmp_path / str(i), unbroken)


@pytest.mark.slow
def test_killed_twenty_times_at_any_event(tmp_path: Path, unbroken: tuple[Any, Any, str]):
    rng = random.Random(0)
    half_written = 0
    for i in range(20):
        folder = tmp_path / str(i)
        for event in (rng.randrange(2, 100), rng.randrange(2, 60)):  # and once more while it goes on
            assert call_warm(survive_until, (str(folder), event)) in ([-9], [0])
            half_written += len(list((folder / "checkpoints").glob(".*")))
        check_resumed(folder, unbroken)
    assert half_written > 3


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path, processes: Any, unbroken: tuple[Any, Any, str]):
    rng = random.Random(1)
    moments = 0
    for i in range(20):
        folder = tmp_path / str(i)
        child = processes.Process(target=survive_plainly, args=(str(folder),))
        child.start()
        child.join(rng.uniform(0.3, 1.5))
        child.kill()
        child.join()
        moments += child.exitcode == -9
        net, _ = survive(folder, every=2)
        assert equal(net, unbroken[0])
    assert moments >= 10


def test_a_finished_training_is_not_trained_again(tmp_path: Path, unbroken: tuple[Any, Any, str]):
    survive(tmp_path)
    check_resumed(tmp_path, unbroken)


def test_newest_and_best_are_kept(tmp_path: Path):
    kept = Checkpoints(tmp_path, keep=2)
    kept.prepare()
    for step, score in ((1, 0.2), (2, 0.9), (3, 0.1), (4, 0.3)):
        kept.save(step, {"network": {"w": torch.full((2,), float(step))}}, {"a": score, "b": -score})
    assert [path.name for path in kept.all()] == [f"step-{i:08d}" for i in (2, 3, 4)]
    assert {task: (path.name[-1], score) for task, (path, score) in kept.best().items()} == {
        "a": ("2", 0.9),
        "b": ("3", -0.1),
    }
    assert kept.load(kept.latest())["network"]["w"].tolist() == [4, 4]
    kept.save(3, {"network": {"w": torch.zeros(1)}}, {})
    assert kept.load(tmp_path / "step-00000003")["network"]["w"].tolist() == [0]
    with pytest.raises(CheckpointError, match="already holds step-00000004"):
        Checkpoints(tmp_path, resume=False).prepare()
    with pytest.raises(RangeError):
        Checkpoints(tmp_path, every=0)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(torch.tensor)
)
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(states)
def test_packed_state_comes_back(state: Any):
    plain, tensors = pack(state)
    assert same(unpack(json.loads(json.dumps(plain)), tensors), state)


def test_optimiser_state_and_tied_weights_come_back(tmp_path: Path):
    layer = torch.nn.Linear(3, 3)
    tied = torch.nn.Sequential(layer, layer)
    optimiser = torch.optim.AdamW(tied.parameters())
    tied(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    kept = Checkpoints(tmp_path)
    path = kept.save(1, {"network": dict(tied.state_dict()), "optimiser": optimiser.state_dict()}, {})
    state = kept.load(path)
    assert same(state["optimiser"], optimiser.state_dict())
    assert torch.equal(state["network"]["1.weight"], layer.weight)
    files = sorted(file.name for file in path.iterdir())
    assert files == [INDEX, "network.safetensors", "optimiser.safetensors"]


def test_state_that_is_no_data_is_refused():
    with pytest.raises(CheckpointError, match=r"found function at a\.0"):
        pack({"a": [len, lambda: 0][1:]})
    with pytest.raises(CheckpointError, match="is missing"):
        unpack({"$tensor": "w"}, {})


def damage_truncated(path: Path) -> None:
    os.truncate(path / "network.safetensors", 100)


def damage_tampered(path: Path) -> None:
    content = bytearray((path / "network.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "network.safetensors").write_bytes(content)


def damage_missing(path: Path) -> None:
    (path / "network.safetensors").unlink()


def damage_swapped(path: Path) -> None:
    size = (path / "network.safetensors").stat().st_size
    (path / "network.safetensors").unlink()
    (path / "network.safetensors").write_bytes(b"x" * size)


def damage_index(path: Path) -> None:
    index = json.loads((path / INDEX).read_text())
    index["scores"] = {"shape": 1.0}
    (path / INDEX).write_text(json.dumps(index))


def damage_half_index(path: Path) -> None:
    os.truncate(path / INDEX, 50)


def damage_no_index(path: Path) -> None:
    (path / INDEX).unlink()


def damage_format(path: Path) -> None:
    (path / INDEX).write_text('{"format": 99}')


def damage_list(path: Path) -> None:
    (path / INDEX).write_text("[]")


def damage_renamed(path: Path) -> None:
    path.rename(path.with_name("step-99999999"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_truncated, "network.safetensors is truncated"),
        (damage_tampered, "network.safetensors was changed"),
        (damage_missing, "network.safetensors is missing"),
        (damage_swapped, "network.safetensors was changed"),
        (damage_index, "checkpoint.json was changed"),
        (damage_half_index, "checkpoint.json cannot be read"),
        (damage_no_index, "it has no checkpoint.json"),
        (damage_format, "format 99, this version reads 2"),
        (damage_list, "is no record of a checkpoint"),
        (damage_renamed, "step-99999999 was renamed: it holds step 14"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(damage: Any, words: str, tmp_path: Path):
    survive_to_14(tmp_path)
    damage(tmp_path / "checkpoints" / "step-00000014")
    with pytest.raises(CheckpointError, match=words) as caught:
        survive(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_never_runs_code(tmp_path: Path):
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "pwned"),))

    (tmp_path / "x.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_tensors(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="is missing"):
        read_tensors(tmp_path / "y.safetensors")
    # Whoever forges a file can forge its digests, too: still nothing in it is run.
    kept = Checkpoints(tmp_path)
    path = kept.save(1, {"network": {"w": torch.zeros(3)}}, {})
    bomb = pickle.dumps(Evil())
    (path / "network.safetensors").write_bytes(bomb)
    forge(path, "checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        kept.load(path)
    assert not (tmp_path / "pwned").exists()


def test_another_training_is_refused(tmp_path: Path):
    def again(**changes: Any) -> None:
        options: dict[str, Any] = {"steps": 4, "rows_per_task": 8, "seed": 0} | changes
        fit(options.pop("net", network()), options.pop("loss", objective()), options.pop("data", rows()),
            checkpoints=Checkpoints(tmp_path), **options)  # fmt: skip

    again()
    with pytest.raises(CheckpointError, match="seed was 0, here it is 1"):
        again(seed=1)
    with pytest.raises(CheckpointError, match="schedule was constant, here it is cosine"):
        again(recipe=FULL)
    with pytest.raises(CheckpointError, match="is at step 4, beyond the 3"):
        again(steps=3)
    with pytest.raises(CheckpointError, match="rows differ"):
        again(data=rows(100), steps=5)
    wider = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="another network"):
        again(net=wider, steps=5)
    again(steps=6)  # a longer budget goes on
    assert Checkpoints(tmp_path).latest().name == "step-00000006"


@pytest.mark.parametrize("where", ["fsync", "rename"])
def test_a_full_disk_is_one_line_and_leaves_the_last_one_whole(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    survive_to_14(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, where, full)
        patch.setattr(JsonLines, "resume", lambda *_: None)
        with pytest.raises(
            CheckpointError, match=r"no space left on device; the last good one is .*00000014"
        ) as e:
            survive(tmp_path, steps=60)
    assert "\n" not in str(e.value)
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.load(kept.latest())["step"] == 14
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_file_that_cannot_grow_is_one_line(tmp_path: Path):
    survive_to_14(tmp_path)
    assert call_warm(survive_in_limits, (str(tmp_path), 60, 4096)) == [2]
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.load(kept.latest())["step"] == 14
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_one_line(tmp_path: Path):
    survive_to_14(tmp_path)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    assert call_warm(survive_as_nobody, (str(tmp_path), 60)) == [2]
    assert Checkpoints(tmp_path / "checkpoints").latest().name == "step-00000014"


def test_a_read_only_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(
        CheckpointError, match=r"cannot write checkpoints to .*: read-only file system"
    ) as caught:
        Checkpoints(tmp_path / "new").prepare()
    assert "\n" not in str(caught.value)


def test_write_file_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "a.txt"
    write_bytes(target, b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path):
    loss = objective()
    loss.validate = False
    data = rows()
    data.inputs.fill_(math.nan)
    with pytest.raises(NotFiniteError):
        fit(network(), loss, data, steps=9, log_every=9, checkpoints=Checkpoints(tmp_path, every=2))
    assert Checkpoints(tmp_path).all() == []


def test_no_checkpoints_where_there_is_no_folder(tmp_path: Path):
    assert Checkpoints(tmp_path / "nothing").latest() is None
    shutil.rmtree(tmp_path)
    assert Checkpoints(tmp_path).all() == []
