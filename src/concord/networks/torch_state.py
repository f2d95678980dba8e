"""torch's process-wide state while the package draws and trains: its own inside, the caller's outside.

Layers draw their first weights and dropout its masks from torch's global generator, which all threads share.
Whoever seeds it here holds one lock meanwhile, so that trainings in several threads take turns and each sees
its own numbers; afterwards the generator is where it was. Other code that draws from it in another thread at
the same time still disturbs a training: processes do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock

import torch


class _Turn:
    """The lock of whoever seeds; a forked process gets its own, as another thread may have held it."""

    def __init__(self) -> None:
        self.lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.lock = RLock()


_turn = _Turn()


@contextmanager
def seeded(seed: int | None, device: torch.device | None = None) -> Iterator[None]:
    """Draw from torch's global generators, of the CPU and of `device`, and leave them as they were.

    Args:
        seed: What to begin with; None goes on from where the generators are.
        device: Where else is drawn; None is the CPU alone.
    """
    accelerator = device is not None and device.type == "cuda"
    with _turn.lock, torch.random.fork_rng([device] if accelerator else []):
        if seed is not None:
            reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device | None = None) -> None:
    """Seed the generators of the CPU and of `device` alone.

    `torch.manual_seed` would seed every accelerator, too, whose generators nobody here restores.
    """
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the linear algebra of NumPy and scikit-learn: the same bits everywhere.

    Other threads that ask for it wait meanwhile, as the number is the whole process's.
    """
    from threadpoolctl import threadpool_limits

    with _turn.lock:
        threads = torch.get_num_threads()
        try:
            with threadpool_limits(1):
                torch.set_num_threads(1)
                yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def usual_torch() -> Iterator[None]:
    """float32 on the CPU with gradients, whatever the caller's default dtype, device and modes are."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        yield


class _Float32:
    """The default dtype, which all threads share: the first one in sets it, the last one out restores it."""

    def __init__(self) -> None:
        self.inside, self.before = 0, torch.float32

    def __enter__(self) -> None:
        with _turn.lock:
            if not self.inside:
                self.before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with _turn.lock:
            self.inside -= 1
            if not self.inside:
                torch.set_default_dtype(self.before)


_float32 = _Float32()
