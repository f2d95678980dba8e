"""Libraries that trunks come from: not installed, or installed and of no use beside this torch."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

import torch

from concord.errors import MissingExtraError

BUILT_FOR_TORCH = {"torchvision": "torchvision", "timm": "torchvision", "transformers": "transformers"}
"""Libraries that import beside a torch that fits alone, and which one to install anew where they do not."""


def imported(module: str, trunk: str, install: str) -> Any:
    """A module of a library.

    Args:
        module: Its name, such as `timm`.
        trunk: What needs it, for the message.
        install: What to install where it is missing.

    Raises:
        MissingExtraError: It is not installed, or is and does not import beside this torch: the message says
            which.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == module.partition(".")[0]:
            raise MissingExtraError(
                f"trunk {trunk} needs {error.name.partition('.')[0]}, which is not installed: "
                f"pip install {install}"
            ) from error
        raise MissingExtraError(_unfit(module, trunk, error)) from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise MissingExtraError(_unfit(module, trunk, error)) from error


def unfit(name: str) -> str | None:
    """Why an installed library does not import beside this torch; None where it does, or needs no torch.

    Args:
        name: Of a library that is installed.
    """
    if name not in BUILT_FOR_TORCH:
        return None
    try:
        import_module(name)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return first_line(error)
    return None


def _unfit(module: str, trunk: str, error: BaseException) -> str:
    name = module.partition(".")[0]
    culprit = BUILT_FOR_TORCH.get(name, name)
    return (
        f"trunk {trunk}: {named(name)} is installed, but does not import beside torch {torch.__version__} "
        f"({first_line(error)}); install releases of torch and {culprit} that were built for each other"
    )


def named(distribution: str) -> str:
    """A distribution with its version, where that is known."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution


def first_line(error: BaseException) -> str:
    """What an error says, in its first line; its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
