"""The problem that a plan names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from inspect import isfunction
from pathlib import Path
from types import ModuleType

from concord.errors import MissingDataError, StudyError, UnknownNameError
from concord.study.plan import Plan, Sourced
from concord.study.problems.cases import case
from concord.study.problems.problem import Problem


def problem_of(plan: Plan) -> Problem:
    """Load the data of a plan: a built-in case, what a function returns, a manifest and features, or sources.

    Raises:
        MissingDataError: A file or module that is not there.
        UnknownNameError: An unknown case, function, task or table.
        StudyError: Data that no study can be run on.
    """
    if isinstance(plan.problem, str):
        if ":" in plan.problem:
            return _returned(plan.problem, plan.folder)
        return case(plan.problem).problem()
    if isinstance(plan.problem, Sourced):
        from concord.study.problems.sourced import sourced_problem

        return sourced_problem(plan.problem)
    from concord.study.problems.own_data import own_problem

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
