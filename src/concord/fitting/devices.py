"""Where a training runs: this process, several devices, several machines."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from concord.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


LEARNT_FROM = 31 << 20
"""Bytes of a block that glibc learns its limits from: just below the largest, 32 MiB."""


def launch(
    accelerator: str = "auto", devices: int | str = "auto", nodes: int = 1, precision: str = "32-true"
) -> Fabric:
    """Start Fabric; the number of devices and nodes is the launcher's where there is one.

    Under torchrun or SLURM every process comes by here and finds the others. Without a launcher, more than
    one device starts this program once for each.

    Args:
        accelerator: `auto`, `cpu`, `cuda` or `mps`.
        devices: How many on each machine, or `auto` for all.
        nodes: Machines.
        precision: `32-true`, `bf16-mixed`, `16-mixed` or `64-true`.

    Raises:
        ConfigError: Devices that this machine lacks, or a precision that they do not have.
    """
    from lightning_fabric import Fabric

    devices, nodes = _launched(devices, nodes)
    several = devices not in (1, "1", "auto") or nodes > 1
    options: dict[str, Any] = {"strategy": "ddp"} if several else {}
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=precision,  # type: ignore[arg-type]
            **options,
        )
        fabric.launch()
    except (RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot train on accelerator {accelerator!r}, devices {devices!r}: {reason}"
        ) from None
    return fabric


def keep_freed_memory() -> None:
    """Let the C library keep what one training step frees for the next one; for the whole process.

    glibc gives the free memory at the top of its heap back to the system beyond twice the largest block that
    it has seen freed. A step of a small network frees more than that, and the next one faults the same
    pages in again. Freeing one large block, which nothing was written to, moves that limit to 62 MiB
    (mallopt(3), M_MMAP_THRESHOLD, "dynamic"). Other allocators take no notice, nor does glibc where the
    environment sets limits of its own.
    """
    torch.empty(LEARNT_FROM, dtype=torch.uint8)


def on_first(fabric: Fabric, write: Callable[[], object], what: str) -> None:
    """Write something on rank 0. Every rank learns of it, or the others would wait for rank 0 for ever.

    Args:
        fabric: Launched.
        write: Writes it.
        what: What is written, for the message on other ranks.

    Raises:
        CheckpointError: It could not be written; on every rank.
    """
    failure: CheckpointError | None = None
    if fabric.is_global_zero:
        try:
            write()
        except CheckpointError as error:
            failure = error
    if fabric.world_size > 1:
        failed = torch.tensor(float(failure is not None), device=fabric.device)
        torch.distributed.all_reduce(failed)
        if failed > 0 and failure is None:
            failure = CheckpointError(f"rank 0 could not write {what}")
    if failure is not None:
        raise failure


def _launched(devices: int | str, nodes: int) -> tuple[int | str, int]:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        each = int(os.environ["LOCAL_WORLD_SIZE"])
        return each, int(os.environ["WORLD_SIZE"]) // each
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(os.environ.get("SLURM_NNODES", nodes))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return devices, nodes
