"""Conditions by name: how a network is trained on the rows of a regime. Peers are found here too."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from concord.couplings import coupling_names
from concord.errors import ConcordError, StudyError, UnknownNameError

if TYPE_CHECKING:
    from concord.study.conditions.base import Condition


_HOMES = {
    "single-task": "single_task",
    "uncoupled": "coupled",
    **dict.fromkeys(coupling_names(), "coupled"),
    "two-stage": "two_stage",
    "auto": "auto",
}
"""File of every condition of the package's own; each coupling is one, by its name."""


@cache
def _peers() -> dict[str, str]:
    from concord.study import peers

    return {m.name.replace("_", "-"): m.name for m in iter_modules(peers.__path__) if m.name[0] != "_"}


def condition_names() -> tuple[str, ...]:
    """Names of all conditions, the package's own first."""
    return (*_HOMES, *sorted(_peers()))


def condition(name: str, **options: Any) -> Condition:
    """A condition by name, with options of its own.

    Raises:
        UnknownNameError: No such condition.
        StudyError: An option that it does not take.
    """
    if name in _HOMES:
        make = import_module(f"concord.study.conditions.{_HOMES[name]}").condition
        options = {"name": name, **options}
    elif name in _peers():
        make = import_module(f"concord.study.peers.{_peers()[name]}").condition
    else:
        raise UnknownNameError.of("condition", name, condition_names())
    known = [key for key in inspect.signature(make).parameters if key != "name"]
    unknown = ", ".join(key for key in options if key != "name" and key not in known)
    if unknown:
        taken = f"it takes {', '.join(known)}" if known else "it takes none"
        raise StudyError(f"condition {name!r} does not take these options: {unknown}; {taken}")
    try:
        return make(**options)
    except ConcordError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(key for key in options if key != "name")
        raise StudyError(f"condition {name!r} does not take these options: {given} ({error})") from error
