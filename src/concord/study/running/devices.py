"""The devices that runs are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from concord.errors import ConfigError


def devices_of(names: Sequence[str]) -> tuple[str, ...]:
    """Devices by name, `cuda` being each one that is seen.

    Args:
        names: Such as `cpu`, `cuda` or `cuda:1`; at least one.

    Raises:
        ConfigError: A name that is none, or a device that this machine does not have.
    """
    found: list[str] = []
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError:
            raise ConfigError(f"device {name!r}: cpu, cuda, cuda:N and mps are known") from None
        if device.type == "cuda":
            seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if (device.index or 0) >= seen:
                raise ConfigError(f"device {name!r}: {seen} CUDA devices are seen; concord doctor says more")
            found += [f"cuda:{i}" for i in range(seen)] if device.index is None else [name]
        elif device.type == "mps" and not torch.backends.mps.is_available():
            raise ConfigError("device 'mps' is not seen; concord doctor says more")
        elif device.type in ("cpu", "mps"):
            found.append(device.type)
        else:
            raise ConfigError(f"device {name!r}: cpu, cuda, cuda:N and mps are known")
    if not found:
        raise ConfigError("a device is needed, such as cpu")
    return tuple(found)
