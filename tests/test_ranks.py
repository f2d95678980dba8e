"""Two ranks over gloo train what one process trains on the same global batches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from concord.runs import load_run, train
from rank_training import (
    QUICK_FORMS,
    STEPS,
    auto_config,
    couplings,
    run_as_rank,
    train_auto_as_rank,
    train_coupled,
    train_rows,
)
from warm import call_warm

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def on_ranks(work: Callable[..., None], folder: Path, port: int) -> None:
    """Run on two ranks of this machine, and see that both end well."""
    assert call_warm(work, *((str(folder), rank, 2, port) for rank in range(2))) == [0, 0]


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the weights of every training on two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    port = free_port()
    on_ranks(run_as_rank, folder, port)
    return folder


def check_alike(mine: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", QUICK_FORMS)
def test_two_ranks_train_what_one_process_trains(name: str, on_two_ranks: Path):
    one, uncoupled = train_coupled(name), train_coupled("none")
    check_alike(load_file(on_two_ranks / f"{name}.safetensors"), one)
    if name.startswith("labels"):
        moved = max((value - uncoupled[key]).abs().max() for key, value in one.items())
        assert moved > 1e-3, "the coupling does something"


def test_rows_pieces_averages_and_selection_are_those_of_one_process(on_two_ranks: Path, tmp_path: Path):
    one, two = train_rows(tmp_path), load_file(on_two_ranks / "rows.safetensors")
    check_alike(two, one)
    logs = [folder / "log.jsonl" for folder in (tmp_path, on_two_ranks / "unbroken")]
    told, also = ([json.loads(line) for line in log.read_text().splitlines()] for log in logs)
    assert [line["step"] for line in told] == [line["step"] for line in also]  # rank 0 alone writes
    for line, other in zip(told, also, strict=True):
        assert line.keys() == other.keys()
        assert all(abs(line[key] - other[key]) < 1e-6 for key in line if key != "rate")
    assert told[-1]["step"] == STEPS


def test_ranks_resume_bit_by_bit(on_two_ranks: Path):
    unbroken, resumed = (load_file(on_two_ranks / f"{name}.safetensors") for name in ("rows", "resumed"))
    assert all(torch.equal(unbroken[name], value) for name, value in resumed.items())


@pytest.mark.slow
def test_auto_on_two_ranks_decides_and_trains_what_one_process_does(tmp_path: Path):
    on_ranks(train_auto_as_rank, tmp_path, free_port())
    two, one = load_run(tmp_path / "ranks"), train(auto_config(tmp_path / "data", tmp_path / "one"))
    assert two.facts["auto"]["verdicts"] == one.facts["auto"]["verdicts"]
    for task, choice in one.facts["auto"]["choices"].items():
        other = two.facts["auto"]["choices"][task]
        assert other["weights"].keys() == choice["weights"].keys()
        assert other["scores"] == pytest.approx(choice["scores"], abs=1e-3)
    alike, reference = two.network.state_dict(), one.network.state_dict()
    assert alike.keys() == reference.keys()
    assert all(torch.allclose(alike[name], value, atol=1e-4) for name, value in reference.items())


@pytest.mark.slow
def test_every_form_under_torchrun(tmp_path: Path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(free_port()), str(HERE / "rank_training.py"), str(tmp_path),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"PYTHONPATH": str(HERE)})
    for name in couplings():
        check_alike(load_file(tmp_path / f"{name}.safetensors"), train_coupled(name))
