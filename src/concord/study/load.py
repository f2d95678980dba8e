"""The problem that a plan names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from inspect import isfunction
from types import ModuleType

from concord.errors import MissingDataError, StudyError, UnknownNameError
from concord.study.cases import case
from concord.study.plan import Plan, Sourced
from concord.study.problem import Problem

__all__ = ["problem_of"]


def problem_of(plan: Plan) -> Problem:
    """Load the data of a plan: a built-in case, what a function returns, a manifest and features, or sources.

    Raises:
        MissingDataError: A file or module that is not there.
        UnknownNameError: A case, function, task or table that there is not.
        StudyError: Data that no study can be run on.
    """
    if isinstance(plan.problem, str):
        if ":" in plan.problem:
            return _returned(plan.problem, plan.folder)
        return case(plan.problem).problem()
    if isinstance(plan.problem, Sourced):
        from concord.study.sourced import sourced_problem

        return sourced_problem(plan.problem)
    from concord.study.own_data import own_problem

    return own_problem(plan.problem, plan.folder)


def _returned(given: str, folder: str) -> Problem:
    """What the function of `module:function` returns."""
    name, _, function = given.partition(":")
    with _looking_in(folder) as first:
        module = _module(name, first)
        make = getattr(module, function, None)
        if not callable(make):
            known = [key for key, value in vars(module).items() if isfunction(value)]
            raise UnknownNameError.of(f"function of module {name!r}", function, known)
        found = make()
    if not isinstance(found, Problem):
        raise StudyError(
            f"problem {given!r}: the function must return a concord.study.Problem, found "
            f"{type(found).__name__}"
        )
    return found


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
    top = name.partition(".")[0]
    invalidate_caches()
    own, held = PathFinder.find_spec(top, first), sys.modules.get(top)
    if own and held and _origin(own) != _origin(held.__spec__):
        # Python would hand out the one that it knows, and the study would run on other data.
        raise StudyError(
            f"a module {top!r} from elsewhere is imported already: give the one in {first[0]} another name"
        )
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        place = f"in {first[0]}, nor where" if first else "where"
        raise MissingDataError(f"no module {error.name!r} {place} Python looks for modules") from None


def _origin(spec: ModuleSpec | None) -> list[str]:
    """Where a module comes from; a folder without `__init__.py` has places in place of a file."""
    if spec is None:
        return []
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return [os.path.realpath(place) for place in places]
