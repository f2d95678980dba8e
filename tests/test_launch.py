from __future__ import annotations

import platform
import resource

import pytest
import torch

from asserts import raises
from concord.errors import ConfigError
from concord.fitting.devices import _launched, keep_freed_memory, launch

LAUNCHERS = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME", "SLURM_NNODES")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_the_default():
    fabric = launch("cpu", devices=1)
    assert (fabric.world_size, fabric.global_rank, fabric.device) == (1, 0, torch.device("cpu"))
    assert launch("cpu", precision="bf16-mixed").strategy.precision.precision == "bf16-mixed"


def test_torchrun_says_how_many(monkeypatch: pytest.MonkeyPatch):
    assert _launched("auto", 1) == ("auto", 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "12")
    assert _launched("auto", 1) == (4, 3)


def test_slurm_says_how_many_but_not_in_a_shell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    assert _launched(1, 1) == (4, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert _launched(3, 1) == (3, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_devices_that_there_are_not_are_one_line():
    with raises(ConfigError, "cannot train on accelerator 'cuda'"):
        launch("cuda", devices=1)


def test_several_devices_train_data_parallel(monkeypatch: pytest.MonkeyPatch):
    import lightning_fabric

    asked = {}

    class Fake:
        def __init__(self, **options):
            asked.update(options)

        def launch(self):
            asked["launched"] = True

    monkeypatch.setattr(lightning_fabric, "Fabric", Fake)
    launch("cpu", devices=2, nodes=3)
    assert asked["strategy"] == "ddp"
    assert (asked["devices"], asked["num_nodes"], asked["launched"]) == (2, 3, True)
    asked.clear()
    launch("cpu", devices=1)
    assert "strategy" not in asked


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")
def test_freed_memory_is_kept_for_the_next_step():
    def faulted_in() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        [torch.ones(1 << 18) for _ in range(12)]  # 12 MiB, freed together
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    faulted_in()
    assert sum(faulted_in() for _ in range(10)) < 10 * 12 * 256 / 10  # a tenth of the pages
