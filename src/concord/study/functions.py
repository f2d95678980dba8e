"""Functions that a plan names as `module:function`: code of the plan's author, which is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

from concord.errors import MissingDataError, StudyError, UnknownNameError

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def names_function(given: str) -> bool:
    """Whether a text reads `module:function`."""
    return _FUNCTION.fullmatch(given) is not None


def called(given: str, folder: str, **options: Any) -> Any:
    """What a function of a module returns.

    Args:
        given: `module:function`.
        folder: Where the module is looked for first; empty for where Python looks alone.
        options: What the function is called with.

    Raises:
        MissingDataError: No such module.
        UnknownNameError: No such function in it.
        StudyError: Another module of this name was imported before.
    """
    name, _, function = given.partition(":")
    with _looking_in(folder) as first:
        module = _module(name, first)
        make = getattr(module, function, None)
        if not callable(make):
            known = [key for key, value in vars(module).items() if isfunction(value)]
            raise UnknownNameError.of(f"function of module {name!r}", function, known)
        return make(**options)


@contextmanager
def _looking_in(folder: str) -> Iterator[list[str]]:
    """Have Python look for modules in a folder first, where there is one."""
    first = [os.path.realpath(folder)] if folder else []
    sys.path[:0] = first
    try:
        yield first
    finally:
        for path in first:
            sys.path.remove(path)


def _module(name: str, first: list[str]) -> ModuleType:
    """Import a module, from a folder rather than from elsewhere."""
    invalidate_caches()
    top = name.partition(".")[0]
    next_to_plan = PathFinder.find_spec(top, first) is not None
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        place = f"in {first[0]}, nor where" if first else "where"
        raise MissingDataError(f"no module {error.name!r} {place} Python looks for modules") from None
    if next_to_plan and not Path(os.path.realpath(module.__file__ or "")).is_relative_to(first[0]):
        # Python handed out the one that it knew, and the study would run on other data.
        raise StudyError(
            f"a module {name!r} from elsewhere is imported already: give the one in {first[0]} another name"
        )
    return module
