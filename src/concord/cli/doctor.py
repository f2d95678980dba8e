"""`concord doctor`: what is installed, which extras are missing, which accelerator is seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import typer

from concord.cli.outputs import check_outputs
from concord.cli.streams import JsonOption, write_json
from concord.terminal import say

NOT_FOR_USERS = ("dev", "docs")
"""Extras for work on the library itself."""

CORE = ""
"""Key of what is always needed, next to the names of extras."""


def doctor(json_out: JsonOption = None) -> None:
    """Say what is installed, which extras are missing or do not fit, how to get them, and the accelerators.

    Ends with status 1 where something that is always needed is missing.
    """
    import platform
    from importlib.metadata import requires

    from concord import __version__

    check_outputs({"--json": json_out}, [])
    needed = requirements(requires("concord-mtl") or ())
    core = {name: _version(name) for name in needed.pop(CORE, [])}
    extras = {
        extra: {name: _version(name) for name in names}
        for extra, names in needed.items()
        if extra not in NOT_FOR_USERS
    }
    missing = [name for name, version in core.items() if not version]
    unfit = {extra: _unfit(versions) for extra, versions in extras.items()} if "torch" not in missing else {}
    accelerator = _accelerator() if "torch" not in missing else "unknown without torch"
    write_json(
        json_out,
        {
            "concord": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "installed": core,
            "extras": extras,
            "unfit": {extra: reason for extra, reason in unfit.items() if reason},
            "missing": missing,
            "accelerator": accelerator,
        },
    )
    say(f"concord {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    say("installed: " + ", ".join(f"{name} {version}" for name, version in core.items() if version))
    for extra, versions in extras.items():
        reason = unfit.get(extra)
        say(_extra(extra, versions) + (f"; {reason}" if reason else ""))
    say(f"accelerator: {accelerator}")
    if missing:
        say(f"missing: {', '.join(missing)}; pip install concord-mtl brings them")
        raise typer.Exit(1)


def requirements(lines: Iterable[str]) -> dict[str, list[str]]:
    """Names of packages by extra, from the requirements in a package's metadata.

    Args:
        lines: Such as `numpy>=1.26` or `onnx>=1.17; extra == 'onnx'`.

    Returns:
        By extra, in their order, names of other packages; under the empty name what is always needed. An
        extra that only names others is left out.
    """
    found: dict[str, list[str]] = {}
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w.-]+)['\"]", line)
        if name is not None and name.group() != "concord-mtl":
            found.setdefault(extra.group(1) if extra else CORE, []).append(name.group())
    return found


def _version(name: str) -> str:
    """The installed version, or nothing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _extra(extra: str, versions: Mapping[str, str]) -> str:
    if all(versions.values()):
        return f"extra {extra}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
    lacking = ", ".join(name for name, version in versions.items() if not version)
    return f"extra {extra}: missing {lacking}; pip install 'concord-mtl[{extra}]'"


def _unfit(versions: Mapping[str, str]) -> str:
    """What to say of the first library that does not import beside this torch; nothing where all do."""
    from concord.networks import unfit

    for name in versions if all(versions.values()) else ():
        reason = unfit(name)
        if reason is not None:
            return f"installed, but {name} does not fit this torch ({reason}): install releases of one build"
    return ""


def _accelerator() -> str:
    import os

    import torch

    seen = list(_devices())
    if seen:
        return ", ".join(seen)
    build = "a CPU build" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
    return f"none is seen (torch is {build}); trainings run on {os.cpu_count()} CPU cores"


def _devices() -> Iterator[str]:
    import torch

    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found = torch.cuda.get_device_properties(i)
        yield f"cuda:{i} {found.name}, {found.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps"
